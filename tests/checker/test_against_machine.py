"""The checker's verdicts against a machine model that tries every order (`machine.py`)."""

from hypothesis import given, settings
from hypothesis import strategies as st
from machine import Machine, conflict, explore, run
from packages import small_arch

from flightllm.checker import check_program
from flightllm.checker.forms import Domain
from flightllm.checker.simulate import simulate
from flightllm.checker.walk import walk_one
from flightllm.errors import ProgramError
from flightllm.isa.control import BARRIER, HALT
from flightllm.isa.fields import TOKEN_UNITS
from flightllm.isa.load import LDK, LDV, LDW
from flightllm.isa.matrix import MM, MMQK
from flightllm.isa.special import ACT
from flightllm.isa.store import STV

ARCH = small_arch()
LIMITS = {"max_context": 1, "max_chunk": 1}


def accepts(program, arch=ARCH):
    try:
        check_program(program, arch, **LIMITS)
    except ProgramError:
        return False
    return True


@st.composite
def instruction(draw):
    """Strided accesses that often interleave without meeting: two rows of 16 elements each, two VB units apart."""
    unit, place, rows = draw(st.sampled_from("LLSSTT-")), draw(st.integers(0, 4)), draw(st.sampled_from([1, 2, 2]))
    if unit == "L":
        return LDV(slots=4, rows=rows, dst=place, dst_row=2)
    if unit == "T":
        return STV(src=place, src_row=2, rows=rows, slots=4, addr=0x8000, row=64)
    if unit == "S":
        other = draw(st.integers(0, 4))
        return ACT(src=place, src_s0=2, dst=other, dst_s0=2, n0=rows, n1=1, len=16)
    return BARRIER()


def put_tokens(program, pairs):
    for giver, taker in pairs:
        a, b = program[giver], program[taker]
        if a.unit in TOKEN_UNITS and b.unit in TOKEN_UNITS and a.unit != b.unit:
            a.signal |= 1 << b.unit
            b.wait |= 1 << a.unit


VERDICTS = {"good": 0, "race": 0, "stuck": 0}


@settings(max_examples=400)
@given(st.lists(instruction(), min_size=2, max_size=6), st.data())
def test_races_and_deadlocks_of_tiny_programs(program, data):
    """Tokens between random pairs, mostly forward: accepted if and only if no order goes wrong."""
    places = st.integers(0, len(program) - 1)
    pairs = [tuple(sorted(p)) for p in data.draw(st.lists(st.tuples(places, places), max_size=6))]
    pairs += data.draw(st.lists(st.tuples(places, places), max_size=1))
    put_tokens(program, pairs)
    program = [*program, HALT()]
    well, together = explore(Machine(program, ARCH))
    races = any(conflict(program[a], program[b], ARCH) for a, b in together)
    VERDICTS["stuck" if not well else "race" if races else "good"] += 1
    assert accepts(program) == (well and not races)


def test_the_tiny_programs_were_of_all_kinds():
    if sum(VERDICTS.values()):  # alone, this test has nothing to look at
        assert min(VERDICTS.values()) > 20, VERDICTS


@st.composite
def ring_program(draw):
    """Loads and takers of both rings, each in order but anywhere, with tokens and small queues and rings."""
    lines, open_k, open_w = [], [], []
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from("KKKW"))
        size = draw(st.integers(1, 3))
        if kind == "K":
            lines.append(LDK(kind="K", addr=0, unit_bytes=64, len=16 * size))
            open_k.append(MMQK(k=16, n0=0, n1=1, len=16 * size, dst=0, dst_s0=4, ab=0))
        else:
            lines.append(LDW(addr=0, nbytes=64 * size))
            open_w.append(MM(k=16, slots=1, table=1, dst=0, tokens=0))
        while (open_k or open_w) and draw(st.booleans()):
            lines.append((open_k or open_w).pop(0))
        if draw(st.integers(0, 4)) == 0:
            lines.append(draw(st.sampled_from([BARRIER(), LDV(slots=4, rows=0), ACT(n0=0)])))
    lines += open_k + open_w
    places = st.integers(0, len(lines) - 1)
    pairs = [tuple(sorted(p)) for p in draw(st.lists(st.tuples(places, places), max_size=3))]
    pairs += draw(st.lists(st.tuples(places, places), max_size=1))
    put_tokens(lines, pairs)
    return [*lines, HALT()]


ENDINGS = {True: 0, False: 0}


@settings(max_examples=300)
@given(
    ring_program(), st.sampled_from([64, 128, 256]), st.sampled_from([64, 128]), st.integers(2, 3), st.integers(0, 99)
)
def test_rings_and_queues_end_as_on_the_machine(program, k_ring, w_ring, depth, seed):
    """`simulate` decides at instruction granularity what a machine that moves chunk by chunk does, in any order."""
    arch = small_arch(k_ring_bytes=k_ring, w_ring_bytes=w_ring, queue_depth=depth)
    machine = Machine(program, arch)
    well = machine.final(run(machine, seed))
    assert machine.final(run(machine, seed + 1)) == well  # no choice matters
    ops = list(walk_one(program, arch, Domain(1, 1, 1), [0] * 32))
    try:
        simulate(ops, arch)
        simulated = True
    except ProgramError:
        simulated = False
    ENDINGS[well] += 1
    assert simulated == well


def test_the_ring_programs_were_of_both_kinds():
    if sum(ENDINGS.values()):
        assert min(ENDINGS.values()) > 20, ENDINGS
