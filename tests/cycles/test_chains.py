"""Two VPUs in a chain in the cycle model: which runs a tile takes, how long they are, and what they leave alone (docs/rtl.md, "Matrix unit")."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flightllm.compiler.emit import Item
from flightllm.compiler.schedule import cost
from flightllm.config.arch import ArchConfig
from flightllm.cycles.control import Tokens
from flightllm.cycles.kernel import Kernel
from flightllm.cycles.matrix import PAUSED, READ, READ_MORE, MatrixUnit, _in_step, _Load, _Strip, _work
from flightllm.cycles.matrix_items import entry_item, key_tile, sides, value_tile
from flightllm.cycles.rings import Ring
from flightllm.cycles.streams import Streams
from flightllm.isa.matrix import MM, MMPV, MMQK
from flightllm.isa.trace import Step
from flightllm.streams.formats import EntryFormat
from flightllm.streams.layout import EntryShape

AFFINE, PLAIN, SPARSE = EntryFormat(4, 16, True), EntryFormat(4, 16), EntryFormat(4, 4)
#: one channel, so that drain and stream are short beside the array
ONE = ArchConfig(channels=1, vpus=8)
#: windows of the tiles below, and of the matrix in all: two groups of 128 columns, which leave no room for words to be what takes longest
WINDOWS, COLUMNS = 8, 2048


def run(arch: ArchConfig, inst) -> tuple[float, float]:
    """Cycles of an instruction alone from its tokens to its end, all words there from the beginning; and beats of the array."""
    kernel = Kernel()
    rings = Ring(kernel, 1 << 20), Ring(kernel, 1 << 20)
    for ring in rings:
        ring.put(1 << 20, 0.0, 0.0)
    streams = Streams(arch, None)
    streams.loaded(0)
    unit = MatrixUnit(kernel, Tokens(kernel), arch, *rings, 2, np.zeros(64, np.uint8), streams.strips)
    unit.push(Step(0, inst, inst.resolve([0] * 32)))
    kernel.run(1e7)
    (span,) = unit.spans
    return span.ended - span.taken, unit.beats


def mm(tokens: int, fmt: EntryFormat, slots: int = 8, dual: bool = False) -> MM:
    return MM(
        tokens=tokens, k=COLUMNS, slots=slots, format=fmt.byte, group="128", rows_per_vpu=str(fmt.share), dual=dual
    )


def beats(inst, vpus: int = 8) -> tuple[float, float]:
    """With a chain for each VPU, and for two."""
    arch = replace(ONE, vpus=vpus)
    return run(arch, inst)[1], run(replace(arch, chain_vpus=2), inst)[1]


@pytest.mark.parametrize("fmt", [AFFINE, PLAIN], ids=["affine", "plain"])
def test_a_single_dense_token_takes_no_beat_more(fmt):
    own, shared = beats(mm(1, fmt))
    assert own == shared == COLUMNS / 16
    # two operations a tile instead of one are hidden behind its windows, but for the last
    assert run(replace(ONE, chain_vpus=2), mm(1, fmt))[0] - run(ONE, mm(1, fmt))[0] == (1 if fmt.affine else 0)


@pytest.mark.parametrize(
    ("tokens", "dual", "own", "shared"),
    [(2, False, 1, 2), (3, False, 2, 3), (4, False, 2, 4), (1, True, 1, 2), (3, True, 3, 6)],
)
def test_two_lanes_take_each_side_in_turn(tokens, dual, own, shared):
    assert beats(mm(tokens, AFFINE, dual=dual)) == (own * COLUMNS / 16, shared * COLUMNS / 16)


@pytest.mark.parametrize(("tokens", "own", "shared"), [(1, 1, 2), (2, 1, 2), (3, 2, 4)])
def test_sparse_weights_are_never_packed(tokens, own, shared):
    assert beats(mm(tokens, SPARSE, slots=32)) == (own * COLUMNS / 16, shared * COLUMNS / 16)


@pytest.mark.parametrize(("slots", "runs"), [(3, 1), (4, 1), (5, 2), (8, 2), (10, 3), (12, 3), (13, 4)])
def test_side_1_is_left_out_where_it_has_no_rows(slots, runs):
    assert beats(mm(2, AFFINE, slots))[1] == runs * COLUMNS / 16
    assert beats(mm(1, AFFINE, slots))[1] == -(-slots // 8) * COLUMNS / 16
    # sparse: four slots for each VPU, the first of each before the second
    assert beats(mm(1, SPARSE, slots))[1] == (1 if slots <= 4 else 2) * COLUMNS / 16


@pytest.mark.parametrize("tokens", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("fmt", [AFFINE, PLAIN], ids=["affine", "plain"])
def test_cycles_are_those_of_half_the_vpus(tokens, fmt):
    """Dense, and as many chains: for pairs the same rows a cycle, for a single token the twofold."""
    shared = run(ArchConfig(channels=1, vpus=16, chain_vpus=2), mm(tokens, fmt, 64))[1]
    half = run(ArchConfig(channels=1, vpus=8), mm(tokens, fmt, 64))[1]
    assert shared / half == tokens / (2 * (tokens // 2) + 2 * (tokens % 2))


@pytest.mark.parametrize(("queries", "heads", "runs"), [(1, 1, 1), (1, 2, 2), (1, 3, 3), (4, 1, 4)])
def test_keys(queries, heads, runs):
    """Of 70 keys on one channel the last tile has six, on both sides; of 68 four, all on side 0."""
    for length, tiles, last in ((70, 8, runs), (68, 8, (queries * heads + 1) // 2)):
        inst = MMQK(k=64, n0=queries, n1=heads, bits="8", len=length)
        assert beats(inst)[1] == 4 * (runs * tiles + last)


@pytest.mark.parametrize("dual", [False, True])
def test_values(dual):
    """Row slots 8, 8, 4: two beats down, both sides, and one with side 0 alone; the codes of a dual token are two lanes."""
    inst = MMPV(slots=20, row_slots=20, n0=1, n1=1, bits="8", len=64, dual=dual)
    assert beats(inst) == (4 * 3, 4 * (5 if dual else 3))


def test_the_drain_reads_dual_sums_once_for_each_side():
    """One key, one window: two cycles more, and those of the run for side 1, which has no rows."""
    arch = replace(ONE, channels=4)
    took = [run(replace(arch, chain_vpus=c), MMQK(k=16, n0=1, n1=1, bits="8", len=4, dual=True)) for c in (1, 2)]
    assert took[0][1] == took[1][1] == 1
    assert took[1][0] - took[0][0] == READ_MORE


@given(st.integers(1, 16), st.integers(1, 8), st.integers(1, 9), st.integers(1, 8))
def test_work_counts_a_step_a_run(count, two, runs, last):
    took, run_, period = _work(count, two, runs, last)
    assert took == (runs - 1) * max(count, two) + max(count, last)
    assert run_ > 0 and period > 0
    assert run_ <= took


def test_reads_of_both_sides_wait_each():
    assert _in_step(2, 8, (5,)) == _in_step(2, 8, (5, 5))
    load = _Load(cycles=10**6, pairs=1, run=2, period=8)
    strip = _Strip([8] * 3, True)
    once, twice = (MatrixUnit._read_waits(4, strip, load, reads)[0] for reads in (1, 2))
    assert twice == 2 * once > 0
    # without a free cycle the array pauses for each read
    load = _Load(cycles=10**6, pairs=4, run=100, period=100)
    (once, turn), (twice, same) = (MatrixUnit._read_waits(100, strip, load, reads) for reads in (1, 2))
    assert turn == same
    assert twice - once == 300 * (turn - READ_MORE)
    assert once == PAUSED + 300 * (turn - READ - 8)


def test_tiles():
    assert [sides(n, 8, 1) for n in (1, 4, 5, 8)] == [1, 1, 1, 1]
    assert [sides(n, 8, 2) for n in (1, 4, 5, 8)] == [1, 1, 2, 2]
    assert (key_tile(8, 4, 8, 1, 2).lone_runs, value_tile(8, 8, 2).lone_runs) == (1, 1)
    for fmt in (AFFINE, PLAIN, SPARSE):
        # 13 slots: two row beats, the second with five VPUs; three entries in a row of a sparse one
        shape = EntryShape(fmt, 13, 256, 128, 8)
        own, shared = entry_item(shape), entry_item(shape, 2)
        assert own.scales == shared.scales
        assert [t.windows for t in own.tiles] == [t.windows for t in shared.tiles]
        assert {(t.pair_runs, t.lone_runs) for t in own.tiles} == {(1, 1)}
        assert {(t.pair_runs, t.lone_runs) for t in shared.tiles} == {(2, 2 if fmt is SPARSE else 1)}
        assert {(t.two, t.one) for t in shared.tiles} == {(fmt.share, fmt.share) if not fmt.affine else (2, 2)}


def test_the_order_of_parts_is_by_the_same_cycles():
    inst = Item(mm(0, AFFINE, 64))
    own, shared = ArchConfig(channels=1, vpus=8), ArchConfig(channels=1, vpus=16, chain_vpus=2)
    assert cost(inst, 16, own, 64) == cost(inst, 16, shared, 64)
    assert cost(inst, 1, own, 64) > cost(inst, 1, shared, 64)
    values = Item(MMPV(slots=64, row_slots=64, n0=1, n1=1, bits="8", len=512, dual=True))
    assert cost(values, 16, own, 512) == cost(values, 16, shared, 512)
