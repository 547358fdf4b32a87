"""The lane behind the accumulators against flightllm.numerics: bias + s * (rho * float(I)), each step rounded."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from player import Player

from flightllm.numerics import fp32
from flightllm.sim.sources import rtl_sources

CORNERS = np.array(
    [0, 0x80000000, 1, 0x00800000, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0x3F800000], np.uint32
)


@cache
def lane() -> Player:
    ports = {"rst_ni": 1, "valid_i": 1, "sum_i": 48, "rho_i": 32, "scale_i": 32, "bias_i": 32, "has_bias_i": 1}
    sources = [p for p in rtl_sources("common", "fp", "matrix") if p.parent.name != "matrix" or p.stem == "drain_lane"]
    return Player("drain_lane", sources, ports, {"valid_o": 1, "y_o": 32})


@pytest.mark.parametrize("gaps", [0.0, 0.4])
def test_lane(gaps):
    rng = np.random.default_rng(int(gaps * 10))
    n = 200_000
    sums = rng.integers(-(1 << 47), 1 << 47, n) >> rng.integers(0, 48, n)
    sums = np.where(rng.random(n) < 0.05, rng.choice([0, 1, -1, (1 << 47) - 1, -(1 << 47)], n), sums)
    real = [
        (rng.standard_normal(n) * 2.0 ** rng.integers(-30, 30, n)).astype(np.float32).view(np.uint32) for _ in range(3)
    ]
    rho, s, bias = (np.where(rng.random(n) < 0.05, rng.choice(CORNERS, n), w).astype(np.uint32) for w in real)
    has = rng.integers(0, 2, n)
    valid = rng.random(n) >= gaps
    valid[-40:] = False
    reset = np.arange(n) >= 20  # nothing comes of what stands in the pipeline before
    out = lane().run(rst_ni=reset, valid_i=valid, sum_i=sums, rho_i=rho, scale_i=s, bias_i=bias, has_bias_i=has)
    sent = np.flatnonzero(valid & reset)
    got = np.flatnonzero(out["valid_o"] & (np.arange(n) > 20))
    assert len(got) == len(sent) and len(set((got - sent).tolist())) == 1, "results do not come a fixed time later"
    with np.errstate(all="ignore"):
        x = fp32.mul(fp32.mul(fp32.from_int48(sums[sent]), rho[sent].view(np.float32)), s[sent].view(np.float32))
        want = np.where(has[sent], fp32.add(x, bias[sent].view(np.float32)), x).astype(np.float32).view(np.uint32)
    bad = np.flatnonzero(out["y_o"][got] != want)
    assert not bad.size, f"{bad.size} of {len(want)} differ, first {bad[:3]}"


def test_negative_zero_stays_without_a_bias():
    n = 40
    out = lane().run(
        rst_ni=np.arange(n) > 2,
        valid_i=np.arange(n) == 5,
        sum_i=-1,
        rho_i=1 << 23,
        scale_i=1 << 23,
        bias_i=0,
        has_bias_i=0,
    )
    assert out["y_o"][5:][out["valid_o"][5:] == 1].tolist() == [0x80000000]
