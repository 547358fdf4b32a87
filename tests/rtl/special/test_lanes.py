"""lane_add, lane_mul and lane_table: every lane its own operands, for both widths that differ, with gaps."""

from __future__ import annotations

import numpy as np
import pytest
from player import Player

from flightllm.numerics import fp32, tables
from flightllm.sim.sources import rtl_sources

TABLES = (tables.exp2, tables.recip, tables.rsqrt)


def words(rng: np.random.Generator, n: int, lanes: int) -> np.ndarray:
    """Any words, and numbers of ordinary size, that is small enough for exp2."""
    ordinary = (
        (rng.standard_normal((n, lanes)) * 2.0 ** rng.integers(-8, 8, (n, lanes))).astype(np.float32).view(np.uint32)
    )
    return np.where(rng.random((n, lanes)) < 0.3, rng.integers(0, 1 << 32, (n, lanes), np.uint32), ordinary)


@pytest.mark.parametrize(("module", "lanes", "function"), [
    ("lane_add", 4, 0), ("lane_add", 16, 0), ("lane_mul", 8, 0), ("lane_table", 4, 0), ("lane_table", 4, 1), ("lane_table", 4, 2),
])  # fmt: skip
def test_lanes(module, lanes, function):
    rng = np.random.default_rng(lanes)
    n = 4000
    sources = [p for p in rtl_sources("fp", "special") if p.parent.name != "special" or p.stem == module]
    operands = ("x_i",) if module == "lane_table" else ("a_i", "b_i")
    ports = {"rst_ni": 1, "valid_i": 1} | dict.fromkeys(operands, (lanes, 32))
    parameters = {"Lanes": lanes} | ({"Function": function} if module == "lane_table" else {})
    player = Player(module, sources, ports, {"valid_o": 1, "out_o": (lanes, 32)}, parameters)
    values = {name: words(rng, n, lanes) for name in operands}
    valid = rng.random(n) < 0.7
    valid[:10], valid[-10:] = False, False
    out = player.run(rst_ni=np.arange(n) >= 8, valid_i=valid, **values)
    real = [v[valid].view(np.float32) for v in values.values()]
    with np.errstate(all="ignore"):
        if module == "lane_table":
            want = TABLES[function](real[0])
        else:
            want = (fp32.add if module == "lane_add" else fp32.mul)(*real)
    got = out["out_o"][8:][out["valid_o"][8:] == 1]
    assert got.shape == want.shape
    bad = np.argwhere(got != np.ascontiguousarray(want).view(np.uint32))
    assert not bad.size, f"{len(bad)} differ, first (result, lane) {bad[0]}"
