"""lane_max: largest magnitude or number of vectors of any length, with lanes that do not count, NaN, infinities and gaps."""

from __future__ import annotations

import numpy as np
import pytest
from player import Player

from flightllm.sim.sources import rtl_sources

CORNERS = np.array([0, 1, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000], np.uint32)
CORNERS = np.concatenate([CORNERS, CORNERS | np.uint32(1 << 31)])
MINUS_INFINITY = 0xFF800000


def expected(words: np.ndarray, visible: np.ndarray, ordered: bool) -> int:
    """Maximum of uint32 [n] in which `visible` count; subnormals are zeros, -0 is not larger than +0 and the first of equals stays."""
    best = MINUS_INFINITY if ordered else 0
    for w in words[visible].tolist():
        exponent, mantissa = w >> 23 & 0xFF, w & 0x7FFFFF
        if exponent == 0xFF and mantissa:
            continue
        if not exponent:
            w &= 1 << 31
        if ordered:
            if float(np.uint32(w).view(np.float32)) > float(np.uint32(best).view(np.float32)):
                best = w
        elif exponent:
            best = max(best, w & 0x7FFFFFFF)
    return best


@pytest.mark.parametrize("share", [0.0, 0.02, 0.9])
@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_maxima(lanes, share):
    rng = np.random.default_rng(lanes)
    sources = [p for p in rtl_sources("fp", "special") if p.parent.name != "special" or p.stem == "lane_max"]
    inputs = {"rst_ni": 1, "valid_i": 1, "ordered_i": 1, "first_i": 1, "last_i": 1, "vec_i": 5}
    inputs |= {"visible_i": lanes, "data_i": (lanes, 32)}
    outputs = {"done_o": 1, "ordered_o": 1, "vec_o": 5, "max_o": 32}
    player = Player("lane_max", sources, inputs, outputs, {"Lanes": lanes})
    n = 6000
    x = {name: rng.integers(0, 2, n) for name in inputs}
    x["rst_ni"] = (np.arange(n) >= 4).astype(np.int64)
    x["vec_i"] = rng.integers(0, 32, n)
    words = (
        (rng.standard_normal((n, lanes)) * 2.0 ** rng.integers(-20, 20, (n, lanes))).astype(np.float32).view(np.uint32)
    )
    words = np.where(rng.random(words.shape) < share, rng.choice(CORNERS, words.shape), words).astype(np.uint32)
    shown = rng.random((n, lanes)) < rng.choice([1.0, 0.5, 0.0], (n, 1), p=[0.5, 0.4, 0.1])
    x["data_i"], x["visible_i"] = words, (shown << np.arange(lanes)).sum(axis=1)
    x["valid_i"][:8] = x["valid_i"][-8:] = 0
    at, want = 8, []
    latency = lanes.bit_length() - 1 + 2  # from the last issue of a vector to its maximum
    while at < n - 60:
        issues, ordered, vec = int(rng.choice([1, 1, 2, 8, 20])), bool(rng.integers(2)), int(rng.integers(32))
        cells = []
        while len(cells) < issues:
            x["valid_i"][at] = int(rng.random() < 0.8)
            if x["valid_i"][at]:
                cells.append(at)
            at += 1
        x["first_i"][cells], x["last_i"][cells] = 0, 0
        x["first_i"][cells[0]], x["last_i"][cells[-1]] = 1, 1
        x["ordered_i"][cells], x["vec_i"][cells] = int(ordered), vec
        seen = expected(words[cells].reshape(-1), shown[cells].reshape(-1), ordered)
        want.append((cells[-1] + latency, int(ordered), vec, hex(seen)))
    x["valid_i"][at:] = 0
    out = player.run(**x)
    done = np.flatnonzero(out["done_o"])
    assert [(int(i), int(out["ordered_o"][i]), int(out["vec_o"][i]), hex(int(out["max_o"][i]))) for i in done] == want
