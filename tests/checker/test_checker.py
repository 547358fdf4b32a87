"""The checker passes what the compiler makes and catches what is broken, one defect at a time."""

import copy
import itertools

import pytest
from graphs import VARIANTS, decoder
from hypothesis import given
from hypothesis import strategies as st
from packages import build, small_arch

from flightllm.checker import check_program
from flightllm.compiler.emit import Emitter
from flightllm.compiler.passes import assign_tokens, finish
from flightllm.errors import ProgramError
from flightllm.isa import assemble, decode_program
from flightllm.isa.control import BARRIER, HALT
from flightllm.isa.fields import TOKEN_UNITS
from flightllm.isa.load import LDK, LDV, LDW
from flightllm.isa.special import ACT
from flightllm.isa.store import STV

ARCH = small_arch()
LIMITS = {"max_context": 256, "max_chunk": 32}


def check(text, arch=ARCH):
    return check_program(assemble(text), arch, **LIMITS)


GOOD = """
LDV slots=4 rows=1 dst=0x0 dst_row=1 signal=S
ACT src=0x0 dst=0x4 n0=1 n1=1 len=16 wait=L signal=T
STV src=0x4 src_row=1 rows=1 slots=4 addr=0x1000 row=64 wait=S
HALT
"""


def test_a_good_program_passes():
    result = check(GOOD)
    assert (result.operations, result.conflicts) == (4, 2)
    assert result.all_lengths


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace(" signal=S", "").replace(" wait=L", ""), "race"),
        (lambda t: t.replace(" signal=S", ""), "deadlock"),
        (lambda t: t.replace(" wait=L", ""), "race|left over"),
        (lambda t: t.replace("wait=S\n", "wait=S signal=L\n"), "left over"),
        (lambda t: t.replace(" signal=T", " signal=M").replace("row=64 wait=S", "row=64"), "race|left over"),
        (lambda t: t.replace("HALT", "LDW addr=0x1000 nbytes=64\nMM k=16 slots=1 dst=0x40\nHALT"), "weight load reads"),
        (lambda t: t.replace("HALT", "LDW addr=0x0 nbytes=64\nHALT"), "W ring is not empty at HALT"),
        (lambda t: t.replace("HALT", "MM k=16 slots=1 dst=0x40\nHALT"), "taken before its load"),
        (
            lambda t: t.replace("HALT", "LOOP rd=R8 count=2 body=1\nACT src=0x8 dst=0x9 n0=1 n1=1 len=16\nHALT"),
            "barriers",
        ),
        (lambda t: t.replace("HALT\n", ""), "past its end"),
    ],
)
def test_defects_are_caught(change, message):
    with pytest.raises(ProgramError, match=message):
        check(change(GOOD))


KV = """
LDK kind=K addr=0x0 unit_bytes=64 len=64
LDK kind=V addr=0x1000 unit_bytes=32 len=64
MMQK ab=0x0 n0=1 n1=1 k=16 dst=0x0 len=64 signal=S
SOFTMAX src=0x0 ks=0x100 vs=0x180 n0=1 n1=1 len=64 ab=0x100 wait=M signal=M
MMPV ab=0x100 n0=1 n1=1 slots=2 row_slots=2 dst=0x200 len=64 dual=1 wait=S
HALT
"""


def test_streams_must_come_in_the_order_they_are_taken():
    check(KV)
    lines = KV.strip().splitlines()
    with pytest.raises(ProgramError, match="another stream"):
        check("\n".join([lines[1], lines[0], *lines[2:]]))


def test_a_ring_filled_too_early_is_a_deadlock():
    """Loads of the K ring wait for room that only an instruction behind them in the program could make, through a full queue."""
    arch = small_arch(k_ring_bytes=64, queue_depth=2)
    loads = "LDK kind=K addr=0x0 unit_bytes=64 len=64\n" * 5
    uses = "MMQK ab=0x0 n0=1 n1=1 k=16 dst=0x0 len=64\n" * 5
    check(loads + uses + "HALT", small_arch())
    with pytest.raises(ProgramError, match="deadlock"):
        check(loads + uses + "HALT", arch)


def test_a_wait_that_crosses_a_full_queue_is_a_deadlock():
    text = "".join(
        f"ACT src={16 * i:#x} dst={16 * i + 8:#x} n0=1 n1=1 len=16 {'wait=L' if not i else ''}\n" for i in range(6)
    )
    text += "LDV slots=4 rows=1 dst=0x400 signal=S\nHALT"
    with pytest.raises(ProgramError):
        check(text, small_arch(queue_depth=2))


@pytest.fixture(scope="module", params=["llama", "opt", "window", "wide"])
def program(request, tmp_path_factory):
    graph = decoder(**VARIANTS[request.param])
    package = build(graph, tmp_path_factory.mktemp("p") / "p.flpkg", small_arch(cores=2))
    m = package.manifest
    limits = {"max_context": m.limits.max_context, "max_chunk": m.limits.max_chunk}
    return decode_program(bytes(package.program)), m.arch, limits


def tokens_of(program):
    """(giver pc, taker pc, giver unit, taker unit) of every token, matched in order between barriers (programs loop over whole segments)."""
    given, out = {}, []
    for pc, inst in enumerate(program):
        for source in TOKEN_UNITS:
            if inst.wait >> source & 1:
                out.append((given[source, inst.unit].pop(0), pc, source, inst.unit))
        for target in TOKEN_UNITS:
            if inst.signal >> target & 1:
                given.setdefault((inst.unit, target), []).append(pc)
    return out


def test_every_token_of_a_compiled_program_is_needed(program):
    """Take out one token, giver and taker, at a time: the checker must object every time."""
    instructions, arch, limits = program
    check_program(instructions, arch, **limits)
    tokens = tokens_of(instructions)
    assert len(tokens) > 40
    for giver, taker, source, target in tokens[::3]:
        broken = list(instructions)
        for pc, field, bit in ((giver, "signal", target), (taker, "wait", source)):
            broken[pc] = copy.copy(broken[pc])
            setattr(broken[pc], field, getattr(broken[pc], field) & ~(1 << bit))
        with pytest.raises(ProgramError, match="race"):
            check_program(broken, arch, **limits)


def test_every_barrier_of_a_compiled_program_is_needed(program):
    instructions, arch, limits = program
    barriers = [pc for pc, i in enumerate(instructions) if type(i).__name__ == "BARRIER"]
    for pc in barriers:
        broken = list(instructions)
        broken[pc] = assemble("ALU op=add rd=R31 ra=R31")[0]
        with pytest.raises(ProgramError, match=r"barriers|race"):
            check_program(broken, arch, **limits)


def access(unit, lo, write):
    """An instruction of a unit that reads or writes 16 elements at unit `lo` of VB."""
    if unit == "L":
        return LDV(slots=4, rows=1, dst=lo)
    if unit == "T":
        return STV(src=lo, rows=1, slots=4, addr=0x8000, row=64)
    return ACT(src=lo if not write else 100 + lo, dst=lo if write else 200 + lo, n0=1, n1=1, len=16)


@given(
    st.lists(st.tuples(st.sampled_from("LST"), st.integers(0, 3), st.booleans()), min_size=2, max_size=14), st.data()
)
def test_token_pass_and_checker_agree_on_random_code(code, data):
    """What the token pass orders, the checker finds ordered; with a token removed it finds a race, or the order follows otherwise."""
    out = Emitter()
    for unit, place, write in code:
        inst = access(unit, place, write)
        reads, writes = [], []
        for a in inst.footprint(inst.resolve([0] * 32), ARCH):
            if a.space == "VB":
                lo, hi = a.span
                (writes if a.write else reads).append(("VB", lo // 16, -(-hi // 16)))
        out.emit(inst, reads, writes)
    out.emit(HALT())
    count = assign_tokens(out.items)
    program = finish(out.items)
    check_program(program, ARCH, **LIMITS)
    if not count:
        return
    giver, taker, source, target = data.draw(st.sampled_from(tokens_of(program)))
    program[giver].signal &= ~(1 << target)
    program[taker].wait &= ~(1 << source)
    if ordered_without(program):
        check_program(program, ARCH, **LIMITS)
    else:
        with pytest.raises(ProgramError, match="race"):
            check_program(program, ARCH, **LIMITS)


def ordered_without(program):
    """Independent judgement: reachability over unit order and tokens, for every conflicting pair."""
    n = len(program)
    before = [set() for _ in range(n)]  # everything complete before i starts
    last, given = {}, {}
    for i, inst in enumerate(program):
        if inst.unit in last:
            before[i] |= before[last[inst.unit]] | {last[inst.unit]}
        for source in TOKEN_UNITS:
            if inst.wait >> source & 1:
                j = given[source, inst.unit].pop(0)
                before[i] |= before[j] | {j}
        last[inst.unit] = i
        for target in TOKEN_UNITS:
            if inst.signal >> target & 1:
                given.setdefault((inst.unit, target), []).append(i)
    for i, a in enumerate(program):
        for j in range(i):
            b = program[j]
            if a.unit != b.unit and conflict(a, b) and j not in before[i]:
                return False
    return True


def conflict(a, b):
    for x in a.footprint(a.resolve([0] * 32), ARCH):
        for y in b.footprint(b.resolve([0] * 32), ARCH):
            if x.space == y.space == "VB" and (x.write or y.write):
                (p, q), (r, s) = x.span, y.span
                if p < s and r < q:
                    return True
    return False


def changed(program, pc, **fields):
    """A copy of the program with other masks or field values at `pc`."""
    broken = list(program)
    broken[pc] = copy.copy(program[pc])
    broken[pc].values = dict(program[pc].values)
    for name, value in fields.items():
        if name in ("wait", "signal"):
            setattr(broken[pc], name, value)
        else:
            broken[pc].values[name] = value
    return broken


def test_every_end_of_a_token_is_needed(program):
    """Half a token taken out, or given to another unit, is found each time."""
    instructions, arch, limits = program
    for giver, taker, source, target in tokens_of(instructions)[1::5]:
        other = next(u for u in TOKEN_UNITS if u not in (source, target))
        without = instructions[giver].signal & ~(1 << target)
        for broken in (
            changed(instructions, giver, signal=without),
            changed(instructions, taker, wait=instructions[taker].wait & ~(1 << source)),
            changed(instructions, giver, signal=without | 1 << other),
        ):
            with pytest.raises(ProgramError):
                check_program(broken, arch, **limits)


def test_streams_of_a_compiled_program_cannot_change_places(program):
    """Neighbours of each kind of load, exchanged: another kind, another length."""
    instructions, arch, limits = program
    barriers = [pc for pc, i in enumerate(instructions) if isinstance(i, BARRIER)]
    for cls, same in ((LDW, lambda i: i.values["nbytes"]), (LDK, lambda i: i.values["kind"])):
        loads = [pc for pc, i in enumerate(instructions) if isinstance(i, cls)]
        pairs = [
            (a, b)
            for a, b in itertools.pairwise(loads)
            if same(instructions[a]) != same(instructions[b]) and not any(a < pc < b for pc in barriers)
        ]
        assert pairs
        for a, b in pairs[:4]:
            broken = list(instructions)
            broken[a], broken[b] = broken[b], broken[a]
            with pytest.raises(ProgramError, match="another stream"):
                check_program(broken, arch, **limits)


@pytest.mark.parametrize("field", ["len", "sink", "first", "unit_bytes"])
def test_both_ends_of_the_k_ring_must_agree(program, field):
    instructions, arch, limits = program
    pc = next(pc for pc, i in enumerate(instructions) if isinstance(i, LDK))
    broken = changed(instructions, pc, **{field: instructions[pc].values[field] + 1})
    with pytest.raises(ProgramError, match="another stream|outside MEM"):
        check_program(broken, arch, **limits)


MASK = """
LDM addr=0x40 nbytes=8 dst=0x0
LDK kind=K addr=0x0 unit_bytes=64 len=64 masked=1
{between}
MMQK ab=0x0 n0=1 n1=1 k=16 dst=0x0 len=64 masked=1 wait=L signal=L
LDM addr=0x40 nbytes=8 dst=0x0 wait=M
HALT
"""


def test_a_mask_stays_between_both_ends_of_the_k_ring():
    check(MASK.format(between="LDM addr=0x80 nbytes=8 dst=0x8 signal=M"))
    with pytest.raises(ProgramError, match="mask changes"):
        check(MASK.format(between="LDM addr=0x80 nbytes=8 dst=0x0 signal=M"))


def test_a_ring_must_hold_what_is_used_again():
    text = "LDK kind=K addr=0x0 unit_bytes=256 len=64\nMMQK ab=0x0 n0=1 n1=1 k=64 dst=0x0 len=64\nHALT"
    check(text, small_arch(k_ring_bytes=256))
    with pytest.raises(ProgramError, match="reads again"):
        check(text, small_arch(k_ring_bytes=192))


LOOPED = """
{before}
LOOP rd=R8 count=R2 body={body}
BARRIER
{inside}
BARRIER
{after}
HALT
"""
LOAD, USE = "LDW addr=0x0 nbytes=64", "MM k=16 slots=1 dst=0x40"


@pytest.mark.parametrize(
    ("before", "inside", "after", "message"),
    [
        ("", [LOAD, USE], "", None),
        (LOAD, ["ACT n0=1 n1=1 len=16"], USE, None),
        (LOAD, [LOAD, USE], USE, "streams are under way"),
        ("", [USE, LOAD], "", "taken before its load"),
        ("LDK kind=K len=0", [], "MMQK k=16 n0=0 n1=1", "streams are under way"),
        ("LDV slots=4 signal=S", ["ACT n1=1 len=16 wait=L"], "", "left over at a loop's border"),
        ("LDV slots=4 signal=S", [], "ACT n1=1 len=16 wait=L", "left over at a loop's border"),
        ("", ["LDV slots=4 signal=S"], "", "left over at a loop's border"),
        ("", ["HALT"], "", "HALT is not the last"),
        ("", ["ACT n1=1 len=16 wait=S"], "", "with itself"),
        ("", ["LDW addr=0x0 nbytes=64 wait=L", USE], "", "whose unit has none"),
    ],
)
def test_loops_leave_nothing_behind(before, inside, after, message):
    text = LOOPED.format(before=before, body=1 + len(inside), inside="\n".join(inside), after=after)
    if message is None:
        assert check(text).all_lengths
    else:
        with pytest.raises(ProgramError, match=message):
            check(text)


@pytest.mark.parametrize("lines", [("ACT n1=1", "BARRIER"), ("BARRIER", "ACT n1=1")])
def test_loops_are_enclosed_by_barriers(lines):
    inside, after = lines
    with pytest.raises(ProgramError, match="enclosed by barriers"):
        check(f"LOOP rd=R8 count=R2 body=1\n{inside}\n{after}\nHALT")


def test_loops_nest_four_deep():
    def nest(depth):
        text = "BARRIER"
        for _ in range(depth):
            text = f"BARRIER\nLOOP rd=R8 count=R2 body={len(text.splitlines())}\n{text}\nBARRIER"
        return text + "\nHALT"

    check(nest(4))
    with pytest.raises(ProgramError, match="too deep"):
        check(nest(5))


def test_a_register_changed_in_a_loop_is_not_taken_for_its_first_value():
    """R9 grows: the load of a later iteration runs into what ACT reads after it."""
    text = """
    ALU op=add rd=R9 ra=R0 imm=0
    LOOP rd=R8 count=R2 body=4
    BARRIER
    LDV slots=4 rows=1 dst=0x0+R9*0x1 dst_row=1
    ACT src={at} dst=0x80 n0=1 n1=1 len=16
    ALU op=add rd=R9 ra=R9 imm=1
    BARRIER
    HALT
    """
    with pytest.raises(ProgramError, match="race"):
        check(text.format(at="0x5"))
    assert not check(text.format(at="0x30")).all_lengths  # 32 iterations at most, but the register has no affine form


@pytest.mark.parametrize(
    "exchange",
    [
        "XCHG src=0x0 dst=0x10+R4*0x1 n=1 n0=1",
        "XCHG src=0x0 dst=0x10 n=1 n0=R4",
        "LOOP rd=R8 count=R4 body=2\nBARRIER\nXCHG src=0x0 dst=0x10 n=1 n0=1\nBARRIER",
    ],
)
def test_cores_must_agree_on_exchanges(exchange):
    check(exchange + "\nHALT")
    with pytest.raises(ProgramError, match="cores disagree"):
        check(exchange + "\nHALT", small_arch(cores=2))


def test_the_parts_of_other_cores_are_written_by_the_own_exchange():
    text = "XCHG src=0x0 dst=0x10 n=1 n0=1 {signal}\nACT src=0x11 dst=0x30 n0=1 n1=1 len=16 {wait}\nHALT"
    check(text.format(signal="", wait=""), small_arch(cores=1))
    check(text.format(signal="signal=S", wait="wait=T"), small_arch(cores=2))
    with pytest.raises(ProgramError, match="race"):
        check(text.format(signal="", wait=""), small_arch(cores=2))


def test_one_channel_does_not_meet_another():
    """Ids lie in channel 0 only, and other channels' bytes at their offset are free; a store to all channels does meet them."""
    text = "STV src=0x40 src_row=1 rows=1 slots=4 addr=0x1000 row=64\n{load}\nHALT"
    with pytest.raises(ProgramError, match="race"):
        check(text.format(load="LDG ids=0x1000 table=0x2000 row=64 limit=2 slots=4 rows=1 dst=0x0 dst_row=1"))
    check(text.format(load="LDG ids=0x1040 table=0x2000 row=64 limit=2 slots=4 rows=1 dst=0x0 dst_row=1"))


def test_a_store_over_the_end_of_a_long_weight_stream_is_found():
    """The stream that starts closest below the store is short; an earlier one reaches into it."""
    loads = "LDW addr=0x0 nbytes=4096\nMM k=16 slots=1 table=1 dst=0x40\nLDW addr=0x40 nbytes=64\nMM k=16 slots=1 dst=0x40 wait=T\n"
    store = "STV src=0x80 src_row=1 rows=1 slots=4 addr={at} row=64 signal=M\nHALT"
    check(loads + store.format(at="0x1000"))
    with pytest.raises(ProgramError, match="weight load reads"):
        check(loads + store.format(at="0xfc0"))


def test_a_read_does_not_hide_the_write_before_it():
    text = """
    ACT src=0x10 dst=0x0 n0=1 n1=1 len=16
    ACT src=0x0 dst=0x20 n0=1 n1=1 len=16
    STV src=0x0 src_row=1 rows=1 slots=4 addr=0x1000 row=64 {wait}
    HALT
    """
    with pytest.raises(ProgramError, match="race: S writes and T reads VB 0..15"):
        check(text.format(wait=""))
    check(text.format(wait="wait=S").replace("dst=0x0 ", "dst=0x0 signal=T "))


def test_a_load_cannot_wait_for_its_own_taker():
    text = "MMQK k=64 n0=1 n1=1 dst=0x0 len={n} signal=L\nHALT"
    load = "LDK kind=K addr=0x0 unit_bytes=256 len={n} wait=M\n"
    with pytest.raises(ProgramError, match=r"(?s)deadlock.*a token from M.*its stream"):
        check((load + text).format(n=64))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("MMQK k=272 n1=1", "heads have 1 to 256 codes"),
        ("MMQK k=24 n1=1", "not a multiple of 16"),
        ("MMPV slots=2 row_slots=3 n1=1 bits=8", "row_slots is 3 for 2 slots of 8 bits"),
        ("MMPV slots=3 row_slots=3 n1=1 bits=4", "row_slots is 3 for 3 slots of 4 bits"),
        ("STKV kind=V len=288 n1=1", "heads have 1 to 256 codes"),
    ],
)
def test_fields_that_no_run_makes_legal(line, message):
    with pytest.raises(ProgramError, match="an instruction is not legal") as caught:
        check_program(assemble(f"{line}\nHALT"), ARCH, **LIMITS)
    assert caught.value.where.startswith("pc 0") and message in caught.value.why
