"""The proof for all lengths: bounds of register values and places against every single run."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from packages import small_arch

from flightllm.checker import ALL_LENGTHS, check_program
from flightllm.checker.forms import Domain, Unproven
from flightllm.checker.places import Places, _joined, _Span
from flightllm.checker.walk import alu, host_forms, walk_all, walk_one
from flightllm.config.arch import ArchConfig
from flightllm.errors import ProgramError
from flightllm.isa import assemble
from flightllm.isa.control import ALU, ALU_OPS, BARRIER, HALT, LOOP
from flightllm.isa.fields import Addr, Choice, Count, Instruction
from flightllm.isa.load import LDK, LDV
from flightllm.isa.registers import host_registers

CONTEXT, CHUNK, CORES = 9, 3, 2
BIG = ArchConfig(
    cores=CORES, channels=4, vb_elements=1 << 24, ab_windows=1 << 20, mb_bytes=1 << 16, channel_bytes=1 << 40
)
RUNS = [
    (pos, ntok, core, nlog, masken)
    for ntok in range(1, CHUNK + 1)
    for pos in range(CONTEXT - ntok + 1)
    for core in range(CORES)
    for nlog in range(ntok + 1)
    for masken in (False, True)
]
#: reads address MIDDLE + R[r]: its place shows the bounds of a register
MIDDLE = 1 << 36


def probe(register):
    return LDV(addr=MIDDLE, addr_r=register, addr_s=1, slots=1, rows=1, dst=0, dst_row=1)


REGISTER = st.integers(0, 12)
SMALL = st.integers(-3, 70)
ALUS = st.builds(
    lambda op, rd, ra, rb, imm: ALU(op=op, rd=rd, ra=ra, rb=rb, imm=imm),
    st.sampled_from(sorted(ALU_OPS)),
    st.integers(8, 12),
    REGISTER,
    REGISTER,
    SMALL,
)
CLEAR = [ALU(op="and", rd=r, ra=0) for r in range(7, 13)]


@settings(max_examples=60)
@given(st.lists(ALUS, max_size=8), st.none() | st.tuples(REGISTER, st.integers(0, 2)), st.lists(ALUS, max_size=5))
def test_bounds_hold_in_every_run(before, loop, inside):
    """Random arithmetic, some of it in a loop; the lowest and highest address of each probe against all runs."""
    probes = [probe(r) for r in range(13)]
    program = [*CLEAR, *before, *probes]
    if loop:
        register, count = loop
        body = [BARRIER(), *inside, *probes, probe(13), probe(14)]
        program += [
            ALU(op="min", rd=13, ra=register, rb=0, imm=4),
            LOOP(rd=14, count=count, count_r=13, body=len(body)),
        ]
        program += [*body, BARRIER(), *probes]
    program.append(HALT())
    domain = Domain(CONTEXT, CHUNK, CORES)
    try:
        bounds = {op.pc: op.places[0][2:4] for op in walk_all(program, BIG, domain) if isinstance(op.inst, LDV)}
    except Unproven:
        assume(False)  # a value far outside any memory
    seen: dict[int, list[int]] = {}
    for run in RUNS[::2]:
        for op in walk_one(program, BIG, domain, host_registers(*run)):
            if isinstance(op.inst, LDV):
                seen.setdefault(op.pc, []).append(op.places[0][2])
    for pc, addresses in seen.items():
        lo, hi = bounds[pc]
        assert lo <= min(addresses) and max(addresses) + 4 <= hi, program[pc]


@settings(max_examples=150)
@given(st.lists(ALUS, min_size=2, max_size=10))
def test_equal_forms_are_equal_values(code):
    """K loads and their takers are compared by form: equal forms must mean equal values in every run."""
    program = [*CLEAR, *code, HALT()]
    domain = Domain(CONTEXT, CHUNK, CORES)
    regs = host_forms(domain)
    for inst in program[:-1]:
        if inst.values["rd"]:
            regs[inst.values["rd"]] = alu(inst, regs, domain)
    for run in RUNS:
        values = host_registers(*run)
        list(walk_one(program, BIG, domain, values))
        by_form: dict[object, int] = {}
        for r in range(13):
            assert by_form.setdefault(regs[r].key, values[r]) == values[r]


OPERATIONS = sorted(
    (c for c in Instruction.by_opcode.values() if c.fields and c not in (ALU, LOOP)), key=lambda c: c.opcode
)


@st.composite
def operation(draw, cls):
    """Any fields, small enough to stay inside the big memories; addresses and counts on host registers."""
    values = {}
    for name, f in cls.fields.items():
        if isinstance(f, Choice):
            values[name] = draw(st.integers(0, len(f.names) - 1))
        elif isinstance(f, Addr):
            values[name] = draw(st.integers(0, min(1 << f.bits, 1 << 16) // 4))
            values[name + "_r"] = draw(st.integers(0, 6))
            values[name + "_s"] = draw(st.integers(0, 40))
        elif isinstance(f, Count):
            most = {"first": 6, "len": 330, "masked": 1}.get(name, 60)
            values[name] = draw(st.integers(0, min(most, (1 << f.bits) - 1)))
            values[name + "_r"] = draw(st.integers(0, 6))
        else:
            values[name] = draw(st.integers(0, min(6 if name == "sink" else 200, (1 << f.bits) - 1)))
    return cls(**values)


@pytest.mark.parametrize("cls", OPERATIONS, ids=lambda c: c.__name__)
@settings(max_examples=25)
@given(data=st.data())
def test_places_cover_the_footprints_of_every_run(cls, data):
    """Also the proof that footprints may be evaluated on forms: each access of each run lies in a place, rings carry no more."""
    inst = data.draw(operation(cls))
    domain = Domain(CONTEXT, CHUNK, CORES)
    try:
        op = Places(BIG, domain).op(0, inst, host_forms(domain))
    except (Unproven, ProgramError):
        assume(False)
    for run in RUNS[:: data.draw(st.integers(1, 7))]:
        single = inst.resolve(host_registers(*run))
        for a in inst.footprint(single, BIG):
            if a.space in ("W", "K"):
                ring = op.push if a.write else op.pop
                assert ring[0] == a.space and ring[1] >= a.length
            elif not a.empty:
                lo, hi = a.span
                assert any(
                    (s, w, c) == (a.space, a.write, a.channel) and p <= lo and hi <= q for s, w, p, q, c in op.places
                ), (run, a, op.places)


def test_a_last_block_outside_the_window_is_covered():
    """Blocks 4 and up are active, and the last: for 186 keys that is block 2, for 194 block 3."""
    inst = LDK(kind="V", addr=0, unit_bytes=64, len=185, len_r=1, first=4)
    domain = Domain(CONTEXT, CHUNK, CORES)
    (place,) = Places(BIG, domain).op(0, inst, host_forms(domain)).places
    assert place == ("MEM", False, 0, 64 * 13, None)  # 193 keys at most: 13 windows


def test_places_are_no_larger_than_needed():
    """Blocks 0, 3, 4 of 5: the gap stays one; what touches or overlaps becomes one place, also if the later part ends earlier."""
    inst = LDK(kind="V", addr=0, unit_bytes=64, len=320, sink=1, first=3)
    domain = Domain(CONTEXT, CHUNK, CORES)
    places = Places(BIG, domain).op(0, inst, host_forms(domain)).places
    assert places == (("MEM", False, 0, 256, None), ("MEM", False, 768, 1280, None))
    parts = [_Span("VB", True, None, "dst", 16, lo, hi) for lo, hi in ((0, 100), (10, 20), (90, 120), (121, 130))]
    assert [(s.lo, s.hi) for s in _joined(parts)] == [(0, 120), (121, 130)]


BLOCKS = """
ALU op=shr rd=R12 ra=R1 imm=2
ALU op=sub rd=R13 ra=R3 imm=1
ALU op=shr rd=R13 ra=R13 imm=2
ALU op=sub rd=R13 ra=R13 rb=R12
ALU op=add rd=R13 ra=R13 imm=1
LOOP rd=R8 count=R13 body=10
BARRIER
ALU op=add rd=R9 ra=R12 rb=R8
ALU op=shl rd=R10 ra=R9 imm=2
ALU op=add rd=R11 ra=R10 imm=4
ALU op=max rd=R10 ra=R10 rb=R1
ALU op=min rd=R11 ra=R11 rb=R3
ALU op=sub rd=R14 ra=R11 rb=R10
ALU op=sub rd=R15 ra=R10 rb=R1
LDV slots=4 rows=R14 dst=0x10+R15*0x3 dst_row=3 addr=0x0+R10*0x40 row=64
LDV slots=4 rows=R14 dst=0x100 dst_row=3
BARRIER
HALT
"""


def test_queries_of_a_block_stay_in_the_chunk():
    """What attention does: rows POS .. KVLEN - 1 in blocks of 4, the first and last one partial. The bounds are exact."""
    ops = walk_all(assemble(BLOCKS), BIG, Domain(1000, 32, 1))
    rows, block = (op for op in ops if isinstance(op.inst, LDV))
    assert ("VB", True, 16 * 0x10, 16 * (0x10 + 31 * 3) + 16, None) in rows.places
    assert ("VB", True, 16 * 0x100, 16 * (0x100 + 3 * 3) + 16, None) in block.places
    assert ("MEM", False, 0, 64 * 999 + 16, None) in rows.places


def ready(text, **limits):
    return check_program(assemble(text), small_arch(), **{"max_context": 256, "max_chunk": 32, **limits})


TAIL = """
LDV slots=4 rows=R2 dst=0x0 dst_row=1 {signal}
ACT src=0x0+R1*0x1 src_s0=1 dst=0x80 dst_s0=1 n0=1 n1=1 len=16 {wait}
HALT
"""


def test_a_race_of_some_lengths_only_is_found():
    """The load reaches what ACT reads only where NTOK > POS."""
    assert ready(TAIL.format(signal="signal=S", wait="wait=L")).proof == ALL_LENGTHS
    with pytest.raises(ProgramError, match=r"(?s)race.*VB 0\.\.15.*POS=0 NTOK=1"):
        ready(TAIL.format(signal="", wait=""))


def test_spans_that_only_interleave_are_no_race():
    """Even rows are written, odd ones read: no proof by spans, none convicted by any run either, and the result says so."""
    text = """
    LDV slots=4 rows=R2 dst=0x0 dst_row=2
    ACT src=0x1 src_s0=2 dst=0x81 dst_s0=2 n0_r=R2 n1=1 len=16
    HALT
    """.replace("n0_r", "n0")
    result = ready(text)
    assert not result.all_lengths and result.proof.startswith("settings: ") and "race" in result.proof
    with pytest.raises(ProgramError, match="race"):
        ready(text.replace("src=0x1", "src=0x2"))


def test_a_place_outside_its_memory_is_found():
    with pytest.raises(ProgramError, match=r"(?s)access outside VB.*NTOK=32"):
        ready("LDV slots=4 rows=R2 dst=0x3ff0 dst_row=1\nHALT")


def test_a_value_without_bounds_is_left_to_single_runs():
    """A product of two registers has no affine form; its runs are harmless."""
    text = "ALU op=mul rd=R8 ra=R2 rb=R5\nLDV slots=4 rows=1 dst=0x0+R8*0x1 dst_row=1\nHALT"
    result = ready(text)
    assert "address dst may leave" in result.proof
