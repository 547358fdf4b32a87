"""From encoded instructions to operations: what is dispatched, with the places touched over all runs or in one run.

Two walks over the same code. `walk_all` takes every loop body once, with registers as forms over all runs; `walk_one` carries out
one run with the registers given. Neither looks at anything but the instructions and their footprints.
"""

from __future__ import annotations

from collections.abc import Iterator

from flightllm.checker.forms import INT_MAX, INT_MIN, Domain, Form, Unproven
from flightllm.checker.ops import Op
from flightllm.checker.places import Places
from flightllm.config.arch import ArchConfig
from flightllm.isa.control import ALU, LOOP
from flightllm.isa.fields import REGISTERS, Instruction
from flightllm.isa.registers import HostRegister
from flightllm.isa.store import XCHG
from flightllm.isa.trace import trace


def host_forms(domain: Domain) -> list[Form]:
    """Registers at the start, over all runs."""
    regs = [domain.opaque(f"R{r}") for r in range(REGISTERS)]
    regs[HostRegister.ZERO] = domain.value(0)
    regs[HostRegister.POS] = domain.pos
    regs[HostRegister.NTOK] = domain.ntok
    regs[HostRegister.KVLEN] = domain.pos + domain.ntok
    regs[HostRegister.CORE] = domain.core_id
    regs[HostRegister.NLOG] = domain.nlog
    regs[HostRegister.MASKEN] = domain.masken
    return regs


def walk_all(program: list[Instruction], arch: ArchConfig, domain: Domain) -> list[Op]:
    """Operations of every body once. Raises Unproven where a value has no bounds that can be used."""
    places = Places(arch, domain)
    regs = host_forms(domain)
    ops: list[Op] = []
    _block(program, 0, len(program), regs, places, domain, ops)
    return ops


def _block(
    program: list[Instruction], pc: int, end: int, regs: list[Form], places: Places, domain: Domain, ops: list[Op]
) -> None:
    while pc < end:
        inst = program[pc]
        if isinstance(inst, ALU):
            rd = inst.values["rd"]
            if rd:
                regs[rd] = alu(inst, regs, domain)
        elif isinstance(inst, LOOP):
            v = inst.values
            stop = pc + 1 + v["body"]
            count = wrapped(regs[v["count_r"]] + v["count"], domain)
            body = program[pc + 1 : stop]
            if count.core and any(isinstance(i, XCHG) for i in body):
                raise Unproven("the number of exchanges depends on the core", where=f"pc {pc}: {inst}")
            written = {i.values["rd"] for i in body if isinstance(i, ALU | LOOP)} - {0}
            for r in written:  # any iteration may be the one looked at
                regs[r] = domain.opaque(f"R{r}")
            if v["rd"] and v["rd"] not in written:
                regs[v["rd"]] = domain.counter(f"R{v['rd']}", count)
            _block(program, pc + 1, stop, regs, places, domain, ops)
            for r in written | ({v["rd"]} - {0}):
                regs[r] = domain.opaque(f"R{r}")
            pc = stop
            continue
        else:
            ops.append(places.op(pc, inst, regs))
        pc += 1


def walk_one(program: list[Instruction], arch: ArchConfig, domain: Domain, regs: list[int]) -> Iterator[Op]:
    """Operations of one run. The list `regs` is changed. Raises ProgramError for programs that `trace` refuses."""
    places = Places(arch, domain)
    seen: tuple[int, ...] = ()
    forms: list[Form] = []
    for pc, inst, _ in trace(program, regs):
        now = tuple(regs)
        if now != seen:
            seen, forms = now, [domain.value(r) for r in now]
        op = places.op(pc, inst, forms)
        op.regs = seen
        yield op


def wrapped(x: Form, domain: Domain) -> Form:
    """The 32-bit value of a sum: itself, if it cannot overflow."""
    if x.lo < INT_MIN or x.hi > INT_MAX:
        if x.constant is not None:
            return domain.value((x.constant - INT_MIN) % (1 << 32) + INT_MIN)
        return domain.opaque("overflow", core=x.core)
    return x


def alu(inst: Instruction, regs: list[Form], domain: Domain) -> Form:
    """Result of an ALU instruction over all runs."""
    o = inst.resolve([0] * REGISTERS)
    a, b = regs[o.ra], wrapped(regs[o.rb] + o.imm, domain)
    shift = None if b.constant is None else b.constant & 31
    core = a.core or b.core
    if o.op in ("add", "sub"):
        result = a + b if o.op == "add" else a - b
    elif o.op == "mul" and (a.constant is not None or b.constant is not None):
        result = a * b
    elif o.op == "shl" and shift is not None:
        result = a * (1 << shift)
    elif o.op == "shr" and shift is not None:
        result = domain.floor(a, 1 << shift)
    elif o.op == "min":
        result = domain.least(a, b)
    elif o.op == "max":
        result = domain.greatest(a, b)
    elif a.constant is not None and b.constant is not None:
        result = domain.value(a.constant & b.constant)  # the only operation left that constants reach
    elif o.op == "and" and max(a.lo, b.lo) >= 0:
        result = domain.opaque("and", 0, min(a.hi, b.hi), core)
    elif o.op == "and" and (a.lo >= 0 or b.lo >= 0):
        result = domain.opaque("and", 0, a.hi if a.lo >= 0 else b.hi, core)
    else:
        result = domain.opaque(o.op, core=core)
    return wrapped(result, domain)
