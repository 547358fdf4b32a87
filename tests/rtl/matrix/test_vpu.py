"""A VPU: every N, tile length, index and corner value, with gaps and stalls, against sums in numpy."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from player import Player

from flightllm.sim.sources import rtl_sources

DENSE, EIGHT, FOUR, TWO = range(4)
POSITIONS, CODES = 8, 16
#: cycles from the codes to the taps; the sums stand one later
TAPS = 11


@cache
def vpu() -> Player:
    window = (POSITIONS * 16, 8)
    ports = {
        "ce_i": 1, "win_a_i": window, "win_b_i": window, "mode_i": (POSITIONS, 2), "code_i": (CODES, 8),
        "index_i": (CODES, 4), "valid_i": 1, "first_i": 1, "last_i": 1,
    }  # fmt: skip
    sources = [p for p in rtl_sources("matrix") if p.stem in ("matrix_pkg", "DSP48E2", "dsp_slice", "mac_dsp", "vpu")]
    return Player("vpu", sources, ports, {"sum_a_o": (8, 24), "sum_b_o": (8, 24)})


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


def check(
    tiles: np.ndarray, modes: np.ndarray, a: np.ndarray, b: np.ndarray, codes: np.ndarray, seed: int, slow: bool
) -> None:
    """tiles: windows of each, modes: of each; a, b: int8 windows [beats, 16]; codes [beats, 16]. slow: gaps and stalls."""
    rng = np.random.default_rng(seed)
    beats = int(tiles.sum())
    index = rng.integers(0, 16, (beats, CODES))
    dense = np.repeat(modes == DENSE, tiles)
    index[dense] = np.arange(16)
    last = np.zeros(beats, bool)
    last[np.cumsum(tiles) - 1] = True
    mode = np.repeat(modes, tiles)

    # cycles that move; the taps come TAPS of them later
    there = rng.random(3 * beats) < 0.6 if slow else np.ones(beats, bool)
    at = np.flatnonzero(there)[:beats]
    assert len(at) == beats
    n = int(at[-1]) + 40

    def place(values: np.ndarray, low: int, high: int) -> np.ndarray:
        out = rng.integers(low, high, (n, *values.shape[1:]))
        out[at] = values
        return out

    code, ind = place(codes, -128, 128), place(index, 0, 16)
    win_a, win_b = place(a, -127, 128), place(b, -127, 128)
    md = place(mode, 0, 4)
    noise = rng.integers(-127, 128, (n, 16))
    x = {"code_i": code, "index_i": ind}
    x["win_a_i"] = np.concatenate([delayed(win_a, p, noise) for p in range(8)], axis=1)
    x["win_b_i"] = np.concatenate([delayed(win_b, p, noise) for p in range(8)], axis=1)
    x["mode_i"] = np.stack([delayed(md, p + 3, md) for p in range(8)], axis=1)
    first = np.concatenate([[True], last[:-1]])
    for name, values in (("valid_i", np.ones(beats, int)), ("first_i", first), ("last_i", last)):
        flag = np.zeros(n, int) if name == "valid_i" else rng.integers(0, 2, n)
        flag[at + TAPS] = values
        x[name] = flag

    # stalls: cycles without ce_i, in which the inputs are anything
    moves = np.flatnonzero(rng.random(2 * n) < 0.6)[:n] if slow else np.arange(n)
    assert len(moves) == n
    total = int(moves[-1]) + 2
    ce = np.zeros(total, int)
    ce[moves] = 1
    source = rng.integers(0, n, total)
    source[moves] = np.arange(n)
    out = vpu().run(signed=("sum_a_o", "sum_b_o"), ce_i=ce, **{name: v[source] for name, v in x.items()})

    ends = np.cumsum(tiles) - 1
    for lane, window in (("sum_a_o", a), ("sum_b_o", b)):
        per_beat = chain(np.take_along_axis(window, index, axis=1) * codes, mode)
        want = np.add.reduceat(per_beat, np.cumsum(tiles) - tiles, axis=0)
        seen = moves[at[ends] + TAPS] + 1  # the sums stand from here
        assert np.array_equal(out[lane][seen], want), f"{lane}: {np.argwhere(out[lane][seen] != want)[:4]}"
        until = np.append(moves[at[ends[1:]] + TAPS], total - 1)  # to the cycle of the next tile's last tap
        assert np.array_equal(out[lane][until], want), f"{lane} changes before the next tile"


@pytest.mark.parametrize("slow", [False, True])
def test_tiles_of_every_kind(slow):
    rng = np.random.default_rng(int(slow))
    tiles = rng.integers(1, 17, 1500)
    n = int(tiles.sum())
    a, b = rng.integers(-127, 128, (2, n, 16))
    check(tiles, rng.integers(0, 4, len(tiles)), a, b, rng.integers(-128, 128, (n, 16)), seed=2, slow=slow)


@pytest.mark.parametrize("mode", [DENSE, EIGHT, FOUR, TWO])
def test_corner_values(mode):
    """Sums as large as they get, in both lanes and all pairs of signs, over tiles of up to 16 windows; zeros beside them."""
    rng = np.random.default_rng(mode)
    tiles = np.tile([1, 2, 16, 8], 64)
    n = int(tiles.sum())
    kind = np.repeat(np.arange(len(tiles)), tiles)[:, None]
    ends = np.array([-127, 127, 0, 1])
    a = np.broadcast_to(ends[kind % 4], (n, 16)).copy()
    b = np.broadcast_to(ends[kind // 4 % 4], (n, 16)).copy()
    codes = np.broadcast_to(np.array([-128, 127, -1, 0])[kind // 16 % 4], (n, 16)).copy()
    flip = rng.random(n) < 0.2  # windows in which every element is another corner
    for x, corners in ((a, ends), (b, ends), (codes, np.array([-128, 127, 0]))):
        x[flip] = rng.choice(corners, (int(flip.sum()), 16))
    check(tiles, np.full(len(tiles), mode), a, b, codes, seed=mode, slow=False)
