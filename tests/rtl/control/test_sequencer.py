"""sequencer against flightllm.isa.trace: random programs with nested loops, registers and every instruction's operands.

Hypothesis makes the programs; each is run in the simulator with units that are busy for random times and a fetch that pauses.
Checked: what is dispatched, to which queue, with which resolved operands; that a BARRIER holds until L, M, S and T are idle and HALT
until all are; that a program the trace refuses ends with error 1, and HALT in an unclean state with error 6.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from cocotb_runner import pauses, payload, run_bench, start
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from flightllm.errors import ProgramError
from flightllm.isa.control import ALU, BARRIER, HALT, LOOP
from flightllm.isa.fields import Addr, Choice, Count, Instruction, Unit
from flightllm.isa.registers import host_registers
from flightllm.isa.trace import trace

MOST = 150  # instructions of a run, dispatched or not
DISPATCHED = [c for c in Instruction.by_name.values() if c.unit is not Unit.Q]
FIELDS = {"pos_i": "pos", "ntok_i": "ntok", "core_i": "core", "nlog_i": "nlog", "masken_i": "masken"}


@dataclass
class Case:
    """A program, what the host sets, and what must come of it."""

    words: list[bytes]
    host: dict[str, int]
    #: (queue, encoded instruction, ((bits, value) of each operand), dispatched behind a BARRIER)
    want: list[tuple[int, int, list[tuple[int, int]], bool]]
    error: int = 0


# --- programs ------------------------------------------------------------------------------------------------------
registers = st.integers(0, 31)
small = st.integers(0, 12)


@st.composite
def instructions(draw):
    """An instruction of a unit with any contents."""
    cls = draw(st.sampled_from(DISPATCHED))
    rng = random.Random(draw(st.integers(0, 1 << 30)))  # field by field by hypothesis would be most of the time
    inst = cls(wait=rng.getrandbits(4), signal=rng.getrandbits(4))
    for part, (_, bits) in cls.layout.items():
        if part in inst.values:
            choice = cls.fields.get(part)
            inst.values[part] = (
                rng.randrange(len(choice.names)) if isinstance(choice, Choice) else rng.getrandbits(bits)
            )
    return inst


alus = st.builds(
    lambda op, rd, ra, rb, imm: ALU(op=op, rd=rd, ra=ra, rb=rb, imm=imm),
    st.sampled_from(["add", "sub", "mul", "and", "shl", "shr", "min", "max"]), registers, registers, registers,
    st.one_of(st.integers(-8, 40), st.integers(-(1 << 31), (1 << 31) - 1)),
)  # fmt: skip


def blocks(depth: int):
    leaf = st.one_of(alus, instructions(), st.builds(BARRIER))
    if not depth:
        return st.lists(leaf, min_size=1, max_size=3)
    return st.lists(st.one_of(leaf, loops(depth)), min_size=2, max_size=4).map(flatten)


def flatten(items):
    return [i for item in items for i in (item if isinstance(item, list) else [item])]


@st.composite
def loops(draw, depth):
    body = draw(blocks(depth - 1))
    fields = {
        "rd": draw(st.sampled_from([0, 0, 8, 9, 10, 31])),
        "count": draw(st.sampled_from([2, 3, 2, 1, 0])),
        "body": len(body),
    }
    if draw(st.integers(0, 3)) == 0:
        fields["count_r"] = draw(registers)
    return [LOOP(**fields), *body]


@st.composite
def cases(draw):
    program = [*draw(blocks(4)), HALT()]
    damage = draw(st.sampled_from(["none"] * 6 + ["body", "no halt", "deep"]))
    if damage == "body":
        at = draw(st.integers(0, len(program) - 1))
        program.insert(at, LOOP(rd=9, count=draw(st.integers(0, 2)), body=draw(st.integers(0, 5))))
    elif damage == "no halt":
        program.pop()
    elif damage == "deep":
        program[:0] = [LOOP(rd=1, count=draw(st.integers(1, 2)), body=5 - i) for i in range(4)]
        program.insert(4, LOOP(rd=1, count=draw(st.integers(0, 2)), body=1))
    host = {name: draw(st.integers(0, 9)) for name in ("pos", "ntok", "core", "nlog", "masken")}
    host["masken"] &= 1
    return expected(program, host)


def expected(program: list[Instruction], host: dict[str, int]) -> Case | None:
    """The case, or None if the program runs too long."""
    case = Case([i.encode() for i in program], host, [])
    regs = host_registers(**host)
    behind = False
    try:
        for _, inst, o in trace(program, regs, limit=MOST):
            if inst.unit is Unit.Q:
                behind = True
                continue
            operands = []
            for f in inst.fields.values():
                if isinstance(f, Addr | Count):
                    bits = f.bits if isinstance(f, Addr) else 32
                    operands.append((bits, getattr(o, f.name) & ((1 << bits) - 1)))
            case.want.append((int(inst.unit), int.from_bytes(inst.encode(), "little"), operands, behind))
            behind = False
    except ProgramError as e:
        if "does not end" in str(e):
            return None
        case.error = 1
    return case


def test_random_programs():
    """One simulation for all of them: starting it costs more than a program."""
    batch: list[Case] = []

    @settings(max_examples=120, phases=[Phase.generate])
    @given(cases())
    def collect(case):
        if case is not None:
            batch.append(case)

    collect()
    assert sum(len(c.want) for c in batch) > 300 and sum(c.error for c in batch) > 10
    run_bench("sequencer", __file__, ["control"], only="random_programs", payload=batch)


ADD = ALU(op="add", rd=8, ra=8, imm=1)


def test_illegal_instructions():
    damaged = [
        0x3F,  # no such opcode
        int.from_bytes(HALT().encode(), "little") | 1 << 14,  # reserved bits
        int.from_bytes(ADD.encode(), "little") | 1 << 64,
        int.from_bytes(Instruction.by_name["NORM"]().encode(), "little") | 5 << 239,  # no such choice
    ]
    batch = []
    for word in damaged:
        data = word.to_bytes(64, "little")
        with pytest.raises(ProgramError):
            Instruction.decode(data)
        good = Instruction.by_name["LDW"](addr=64, nbytes=128)
        batch.append(expected([good, HALT()], dict.fromkeys(FIELDS.values(), 0)))
        batch[-1].words[1], batch[-1].error = data, 1
    run_bench("sequencer", __file__, ["control"], only="random_programs", payload=batch)


def test_the_end():
    run_bench("sequencer", __file__, ["control"], only="unclean_ends")


# --- in the simulator ----------------------------------------------------------------------------------------------
IDLE = dict.fromkeys([*FIELDS, "start_i", "program_len_i", "inst_valid_i", "inst_i", "queue_ready_i"], 0)
IDLE |= {"unit_idle_i": 31, "clean_i": 1}


async def run(dut, words: list[bytes], host: dict[str, int], kind: str, seed: int, limit: int = 30000):
    """([(queue, dispatch, held back by a unit that worked)], error code or 0 for done)."""
    for port, name in FIELDS.items():
        getattr(dut, port).value = host[name]
    dut.program_len_i.value, dut.start_i.value = len(words), 1
    await RisingEdge(dut.clk_i)
    dut.start_i.value = 0
    rng = random.Random(seed)
    fetch_pause, unit_pause = pauses(kind, seed), pauses(kind, seed + 1)
    program = [int.from_bytes(w, "little") for w in words]
    work = [0] * 5  # cycles until the unit is idle
    got, pc = [], 0
    for _ in range(limit):
        valid = pc < len(program) and not next(fetch_pause)
        ready = 0 if next(unit_pause) else 31
        idle = sum(1 << u for u in range(5) if not work[u])
        dut.inst_valid_i.value, dut.inst_i.value = int(valid), program[pc] if valid else (1 << 512) - 1
        dut.queue_ready_i.value, dut.unit_idle_i.value = ready, idle
        await RisingEdge(dut.clk_i)
        taken, jump = valid and int(dut.inst_ready_o.value), int(dut.jump_o.value)
        offered = int(dut.queue_valid_o.value)
        work = [max(0, w - 1) for w in work]
        if offered & ready:
            assert offered.bit_count() == 1, f"{offered:05b}"
            unit = offered.bit_length() - 1
            got.append((unit, int(dut.queue_data_o.value), idle))
            work[unit] += rng.randint(1, 60)
        if int(dut.done_o.value):
            assert idle == 31, "done with a unit at work"
            return got, 0
        if int(dut.error_o.value):
            return got, int(dut.error_o.value)
        if jump:
            pc = int(dut.jump_pc_o.value)
        elif taken:
            pc += 1
    raise AssertionError(f"no end within {limit} cycles; pc {int(dut.pc_o.value)}")


@cocotb.test()
async def random_programs(dut):
    await start(dut, **IDLE)
    for i, case in enumerate(payload()):
        kind = ("none", "half", "bursts")[i % 3]
        got, error = await run(dut, case.words, case.host, kind, i)
        text = "\n".join(w.hex() if w[0] == 0x3F or case.error else Instruction.decode(w).text() for w in case.words)
        assert error == case.error, f"case {i}: error {error}, want {case.error}\n{text}"
        if not error:
            assert len(got) == len(case.want), f"case {i}: {len(got)} dispatched, want {len(case.want)}\n{text}"
        assert len(got) >= len(case.want)
        for n, ((unit, data, idle), (queue, word, operands, behind)) in enumerate(zip(got, case.want, strict=False)):
            assert unit == queue and data & ((1 << 512) - 1) == word, f"case {i}, dispatch {n}\n{text}"
            for k, (bits, value) in enumerate(operands):
                have = data >> (512 + 40 * k) & ((1 << bits) - 1)
                assert have == value, f"case {i}, dispatch {n}, operand {k}: {have:#x}, want {value:#x}\n{text}"
            assert not behind or idle & 15 == 15, (
                f"case {i}, dispatch {n} passed a BARRIER while units {idle:05b} were idle"
            )
        for _ in range(3):
            await RisingEdge(dut.clk_i)
        assert not int(dut.busy_o.value)


@cocotb.test()
async def unclean_ends(dut):
    """HALT with tokens or ring contents, or in an open loop; HALT waits for W; a HALT that waits does not fetch."""
    await start(dut, **IDLE)
    host = dict.fromkeys(FIELDS.values(), 0)
    halt = [HALT().encode()]
    assert await run(dut, halt, host, "none", 1) == ([], 0)
    damaged = (int.from_bytes(halt[0], "little") | 1 << 500).to_bytes(64, "little")
    assert await run(dut, [damaged], host, "none", 1) == ([], 1)  # no unit holds it back
    dut.clean_i.value = 0
    assert await run(dut, halt, host, "none", 1) == ([], 6)
    dut.clean_i.value = 1
    assert await run(dut, [LOOP(count=2, body=1).encode(), *halt], host, "none", 1) == ([], 6)
    assert await run(dut, [], host, "none", 1) == ([], 1)
    for unit in range(5):
        dut.unit_idle_i.value, dut.start_i.value, dut.program_len_i.value = 31 & ~(1 << unit), 1, 1
        dut.inst_valid_i.value, dut.inst_i.value = 1, int.from_bytes(halt[0], "little")
        await RisingEdge(dut.clk_i)
        dut.start_i.value = 0
        for _ in range(30):
            await RisingEdge(dut.clk_i)
            assert not int(dut.done_o.value) and not int(dut.error_o.value)
        assert int(dut.fetch_stop_o.value)
        dut.unit_idle_i.value = 31
        for _ in range(3):
            await RisingEdge(dut.clk_i)
        assert int(dut.done_o.value)
