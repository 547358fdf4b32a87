"""`check_program`: no deadlock and no race, for every length and every order that the tokens allow. See docs/checker.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flightllm.checker.forms import Domain, Unproven
from flightllm.checker.ops import Op
from flightllm.checker.races import check_races, check_weight_reads, exact_conflicts
from flightllm.checker.rings import check_rings
from flightllm.checker.simulate import simulate
from flightllm.checker.structure import check_fields, check_structure
from flightllm.checker.walk import walk_all, walk_one
from flightllm.config.arch import ArchConfig
from flightllm.errors import ProgramError
from flightllm.isa.fields import Instruction
from flightllm.isa.registers import host_registers
from flightllm.isa.store import XCHG

ALL_LENGTHS = "all lengths by intervals"


@dataclass(frozen=True)
class CheckResult:
    """What was proven.

    proof: ALL_LENGTHS, or "settings ..." with the number of register settings that were run and why the proof for all did not go
    through. operations: instructions looked at, over all runs. conflicts: pairs of accesses found ordered.
    """

    proof: str
    operations: int
    conflicts: int

    @property
    def all_lengths(self) -> bool:
        """The proof covers every setting of the registers."""
        return self.proof == ALL_LENGTHS


def check_program(
    instructions: list[Instruction], arch: ArchConfig, *, max_context: int, max_chunk: int
) -> CheckResult:
    """Prove a program, or raise ProgramError naming the instructions that break it.

    max_context: POS + NTOK at most. max_chunk: NTOK at most.
    """
    check_fields(instructions, arch)
    check_structure(instructions)
    try:
        ops, conflicts = _check_all(instructions, arch, Domain(max_context, max_chunk, arch.cores))
        return CheckResult(ALL_LENGTHS, ops, conflicts)
    except (Unproven, ProgramError) as e:
        # Over all runs at once the figures are bounds; only a single run can convict.
        reason = e
    domain = Domain(max_context, max_chunk, arch.cores)
    total = conflicts = 0
    runs = settings(max_context, max_chunk, _reads_masken(instructions))
    for pos, ntok, nlog, masken in runs:
        ops, found = check_run(instructions, arch, pos=pos, ntok=ntok, nlog=nlog, masken=masken, domain=domain)
        total, conflicts = total + ops, conflicts + found
    detail = " ".join(filter(None, (reason.what, reason.where)))
    return CheckResult(f"settings: {len(runs)} runs; not for all lengths: {detail}", total, conflicts)


def check_run(
    instructions: list[Instruction],
    arch: ArchConfig,
    *,
    pos: int,
    ntok: int,
    nlog: int,
    masken: int,
    domain: Domain | None = None,
) -> tuple[int, int]:
    """Prove one run, with these registers, on all cores; returns (operations, conflicts found ordered).

    Raises ProgramError naming the instructions that break it. The rules of form (`check_structure`) are taken as kept.
    """
    domain = domain or Domain(pos + ntok, ntok, arch.cores)
    total = conflicts = 0
    try:
        exchanges = []
        for core in range(arch.cores):
            regs = host_registers(pos, ntok, core, nlog, bool(masken))
            ops, found, exchange = _check_one(instructions, arch, domain, regs)
            exchanges.append(exchange)
            total, conflicts = total + ops, conflicts + found
        if any(x != exchanges[0] for x in exchanges):
            raise ProgramError("cores disagree on their exchanges", why="each must reach the same, with equal operands")
    except ProgramError as e:
        where = f"{e.where}; with POS={pos} NTOK={ntok} NLOG={nlog} MASKEN={masken}"
        raise ProgramError(e.what, where=where, why=e.why, do=e.do) from None
    return total, conflicts


def _check_all(program: list[Instruction], arch: ArchConfig, domain: Domain) -> tuple[int, int]:
    ops = walk_all(program, arch, domain)
    for op in ops:
        if op.core and arch.cores > 1 and isinstance(op.inst, XCHG):
            raise Unproven("the place or size of an exchange may depend on the core", where=str(op))
    return _check(ops, arch, None)


def _check_one(
    program: list[Instruction], arch: ArchConfig, domain: Domain, regs: list[int]
) -> tuple[int, int, list[tuple[Any, ...]]]:
    ops = list(walk_one(program, arch, domain, regs))
    exchanges = []
    for op in ops:
        if isinstance(op.inst, XCHG):
            o = op.inst.resolve(list(op.regs))
            exchanges.append((op.pc, o.dst, o.dst_row, o.n, o.n0))
    return *_check(ops, arch, arch), exchanges


def _check(ops: list[Op], arch: ArchConfig, single: ArchConfig | None) -> tuple[int, int]:
    check_rings(ops, arch)
    check_weight_reads(ops)
    order = simulate(ops, arch)
    return len(ops), check_races(order, exact_conflicts(arch) if single else None)


def _reads_masken(program: list[Instruction]) -> bool:
    """MASKEN is used for more than making an access to the mask conditional."""
    for inst in program:
        for part, value in inst.values.items():
            reads = part in ("ra", "rb") or part.endswith("_r")
            if reads and value == 6 and part != "masked_r":
                return True
    return False


def settings(max_context: int, max_chunk: int, masken: bool) -> list[tuple[int, int, int, int]]:
    """(POS, NTOK, NLOG, MASKEN) that run each loop zero times, once, twice and more, at both ends and in the middle of the context.

    masken: also without masks; with them every access takes place that there is without.
    """
    out = []
    chunk = min(max_chunk, max_context)
    for ntok in sorted({1, 2, chunk} & set(range(1, chunk + 1))):
        for pos in sorted({0, 62, 63, 64, max_context // 2 - 1, max_context - ntok}):
            if 0 <= pos <= max_context - ntok:
                out += [(pos, ntok, n, m) for n in sorted({0, 1, ntok}) for m in ((0, 1) if masken else (1,))]
    return out
