"""A VPU: every N, tile length, index and corner value, with gaps and stalls, against sums in numpy; two that share a chain as well, tiles
for both at once and for each of them by turns."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from player import Player

from flightllm.sim.sources import rtl_sources

DENSE, EIGHT, FOUR, TWO = range(4)
POSITIONS, CODES = 8, 16
#: cycles from the codes to the taps of the last nodes; the sums stand one later
TAPS = 11
#: windows of the longest tile, by mode: a block has 128 columns, a K row 256
LONGEST = np.array([16, 16, 8, 8])
#: nodes whose sums scale operations read, by mode
READ = np.array([[n % 4 == 3, n % 4 == 3, n % 2 == 1, True] for n in range(8)]).T
SUM_BITS = 22


@cache
def vpu(chain_vpus: int) -> Player:
    window = (POSITIONS * 16, 8)
    ports = {
        "ce_i": 1, "win_a_i": window, "win_b_i": window, "mode_i": (POSITIONS, 2),
        "side_i": (POSITIONS, 1), "packed_i": (POSITIONS, 1), "code_i": (CODES, 8), "code1_i": (CODES, 8),
        "index_i": (CODES, 4), "valid_i": 4, "last_i": 4, "clear_i": 4,
    }  # fmt: skip
    sources = [
        p
        for p in rtl_sources("matrix")
        if p.stem in ("matrix_pkg", "DSP48E2", "dsp_slice", "mac_dsp", "csd_cascade", "vpu")
    ]
    outputs = {"sum_a_o": (8, SUM_BITS), "sum_b_o": (8, SUM_BITS)}
    return Player("vpu", sources, ports, outputs, {"ChainVpus": chain_vpus})


def delayed(x: np.ndarray, by: int, noise: np.ndarray) -> np.ndarray:
    """x `by` cycles later; what comes before it is noise."""
    return np.concatenate([noise[:by], x[: len(x) - by]])


def chain(products: np.ndarray, mode: np.ndarray) -> np.ndarray:
    """Products [beats, 16] of the DSPs -> sums [beats, 8] at the nodes behind every second one, since the last cut."""
    out = np.zeros((len(products), 8), np.int64)
    sums = np.zeros(len(products), np.int64)
    for d in range(16):
        cut = (d % 8 == 0) | ((d % 4 == 0) & (mode >= FOUR)) | ((d % 2 == 0) & (mode == TWO))
        sums = np.where(cut, 0, sums) + products[:, d]
        if d % 2:
            out[:, d // 2] = sums
    return out


def beat_cycles(tiles: np.ndarray, modes: np.ndarray, rng: np.random.Generator, slow: bool) -> np.ndarray:
    """Cycles of the beats: each tile's last at least as many cycles behind the one before as that has scale operations."""
    steps = rng.geometric(0.6 if slow else 1.0, int(tiles.sum()))
    ends = np.cumsum(tiles) - 1
    at = end = 0
    for k, last in enumerate(ends):
        first = last - tiles[k] + 1
        length = int(steps[first : last + 1].sum())
        if k:
            steps[rng.integers(first, last + 1)] += max(0, (1 << int(modes[k - 1])) - (at + length - end))
        at = end = at + int(steps[first : last + 1].sum())
    return np.cumsum(steps) - 1


def check(
    tiles: np.ndarray,
    modes: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    codes: np.ndarray,
    seed: int,
    slow: bool,
    chain_vpus: int,
) -> None:
    """tiles: windows of each, modes: of each; a, b: int8 windows [beats, 16]; codes [2, beats, 16] of both sides. slow: gaps and stalls.

    With two VPUs in the chain each tile is packed (if dense) or for one of them, at random.
    """
    rng = np.random.default_rng(seed)
    beats = int(tiles.sum())
    index = rng.integers(0, 16, (beats, CODES))
    dense = np.repeat(modes == DENSE, tiles)
    index[dense] = np.arange(16)
    last = np.zeros(beats, bool)
    last[np.cumsum(tiles) - 1] = True
    mode = np.repeat(modes, tiles)
    side = np.repeat(rng.integers(0, 2, len(tiles)), tiles)
    packed = np.repeat((modes == DENSE) & (rng.random(len(tiles)) < 0.5), tiles)

    # cycles that move; the taps of the last nodes come TAPS of them later
    at = beat_cycles(tiles, modes, rng, slow)
    n = int(at[-1]) + 40

    def place(values: np.ndarray, low: int, high: int) -> np.ndarray:
        out = rng.integers(low, high, (n, *values.shape[1:]))
        out[at] = values
        return out

    code, code1, ind = place(codes[0], -128, 128), place(codes[1], -128, 128), place(index, 0, 16)
    win_a, win_b = place(a, -127, 128), place(b, -127, 128)
    md = place(mode, 0, 4)
    noise = rng.integers(-127, 128, (n, 16))
    x = {"code_i": code, "code1_i": code1, "index_i": ind}
    for name, values in (
        ("side_i", place(np.where(packed, rng.integers(0, 2, beats), side), 0, 2)),
        ("packed_i", place(packed, 0, 2)),
    ):
        x[name] = np.stack([delayed(values, p, values) for p in range(8)], axis=1)
    x["win_a_i"] = np.concatenate([delayed(win_a, p, noise) for p in range(8)], axis=1)
    x["win_b_i"] = np.concatenate([delayed(win_b, p, noise) for p in range(8)], axis=1)
    x["mode_i"] = np.stack([delayed(md, p + 3, md) for p in range(8)], axis=1)
    first = np.concatenate([[True], last[:-1]])
    for name, values, early in (("valid_i", np.ones(beats, int), 0), ("last_i", last, 0), ("clear_i", first, 1)):
        x[name] = np.zeros(n, int)
        for node in range(4):
            flag = rng.integers(0, 2, n) if name == "last_i" else np.zeros(n, int)
            flag[at + TAPS - 6 + 2 * node - early] = values
            x[name] |= flag << node

    # stalls: cycles without ce_i, in which the inputs are anything
    moves = np.flatnonzero(rng.random(2 * n) < 0.6)[:n] if slow else np.arange(n)
    assert len(moves) == n
    total = int(moves[-1]) + 2
    ce = np.zeros(total, int)
    ce[moves] = 1
    source = rng.integers(0, n, total)
    source[moves] = np.arange(n)
    out = vpu(chain_vpus).run(signed=("sum_a_o", "sum_b_o"), ce_i=ce, **{name: v[source] for name, v in x.items()})

    ends = np.cumsum(tiles) - 1
    read = READ[modes]
    for number, (lane, window) in enumerate((("sum_a_o", a), ("sum_b_o", b))):
        factors, own = np.take_along_axis(window, index, axis=1), codes[0]
        if chain_vpus == 2:
            own = np.where(side[:, None] > 0, codes[1], codes[0])
            factors, own = (np.where(packed[:, None], x, y) for x, y in ((a, factors), (codes[number], own)))
        per_beat = chain(factors * own, mode)
        want = np.add.reduceat(per_beat, np.cumsum(tiles) - tiles, axis=0)
        seen = moves[at[ends] + TAPS] + 1  # the sums stand from here
        wrong = read & (out[lane][seen] != want)
        assert not wrong.any(), f"{lane}: {np.argwhere(wrong)[:4]}"
        until = np.append(moves[at[ends[1:]] + TAPS], total - 1)  # to the cycle of the next tile's last tap
        assert not (read & (out[lane][until] != want)).any(), f"{lane} changes before the next tile"


@pytest.mark.parametrize("chain_vpus", [1, 2])
@pytest.mark.parametrize("slow", [False, True])
def test_tiles_of_every_kind(slow, chain_vpus):
    rng = np.random.default_rng(int(slow))
    modes = rng.integers(0, 4, 1500)
    tiles = rng.integers(1, LONGEST[modes] + 1)
    n = int(tiles.sum())
    a, b = rng.integers(-127, 128, (2, n, 16))
    check(tiles, modes, a, b, rng.integers(-128, 128, (2, n, 16)), seed=2, slow=slow, chain_vpus=chain_vpus)


@pytest.mark.parametrize("chain_vpus", [1, 2])
@pytest.mark.parametrize("mode", [DENSE, EIGHT, FOUR, TWO])
def test_corner_values(mode, chain_vpus):
    """Sums as large as they get, in both lanes and all pairs of signs, over tiles as long as they get; zeros beside them."""
    rng = np.random.default_rng(mode)
    tiles = np.minimum(np.tile([1, 2, 16, 8], 64), LONGEST[mode])
    n = int(tiles.sum())
    kind = np.repeat(np.arange(len(tiles)), tiles)[:, None]
    ends = np.array([-127, 127, 0, 1])
    a = np.broadcast_to(ends[kind % 4], (n, 16)).copy()
    b = np.broadcast_to(ends[kind // 4 % 4], (n, 16)).copy()
    extremes, kind1 = np.array([-128, 127, -1, 0]), rng.permutation(len(tiles)).repeat(tiles)[:, None]
    codes = np.stack([np.broadcast_to(extremes[k // 16 % 4], (n, 16)) for k in (kind, kind1)])
    flip = rng.random(n) < 0.2  # windows in which every element is another corner
    for x, corners in ((a, ends), (b, ends), *((c, np.array([-128, 127, 0])) for c in codes)):
        x[flip] = rng.choice(corners, (int(flip.sum()), 16))
    check(tiles, np.full(len(tiles), mode), a, b, codes, seed=mode, slow=False, chain_vpus=chain_vpus)
