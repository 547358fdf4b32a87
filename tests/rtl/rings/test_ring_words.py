"""Both rings of a channel against two queues: any counts of words pushed and popped, both memory styles, W under full load."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import pytest

from flightllm.sim.sources import rtl_sources
from flightllm.sim.verilate import build

HERE = Path(__file__).parent
CYCLES = 60_000


@cache
def library(w_bytes: int, k_bytes: int) -> ctypes.CDLL:
    sources = [p for p in rtl_sources("common", "memory") if p.stem in ("ring", "ring_pointer", "ram")]
    parameters = {"WBytes": w_bytes, "KBytes": k_bytes}
    lib = ctypes.CDLL(str(build("ring", sources, [HERE / "ring_tb.cpp"], parameters)))
    lib.ring_run.restype = ctypes.c_int64
    return lib


@pytest.mark.slow
# a row and a half of each; rows that are no power of two, in block RAM; UltraRAM; and the size of a U280
@pytest.mark.parametrize(("w_bytes", "k_bytes"), [(192, 192), (768, 384), (128 * 1024, 2048), (480 * 1024, 32 * 1024)])
def test_words_come_out_in_order(w_bytes, k_bytes):
    ring = library(w_bytes, k_bytes).ring_run
    for seed, (w, k, w_pop, k_pop) in enumerate(
        [
            (100, 100, 100, 100),
            (100, 30, 90, 20),
            (30, 100, 20, 90),
            (70, 70, 70, 70),
            (100, 60, 100, 30),
            (0, 100, 0, 100),
        ]
    ):
        out = (ctypes.c_int64 * 3)()
        sizes = w_bytes // 8, k_bytes // 8
        checked = ring(ctypes.c_uint64(seed), ctypes.c_int64(CYCLES), *sizes, w, k, w_pop, k_pop, out)
        assert checked > 20_000, f"seed {seed}: cycle {-1 - checked}" if checked < 0 else checked
        pushes, waits, holds = out
        assert pushes > CYCLES // 50
        assert waits - holds in (0, 1) and (waits > 300) == (w > 0)


@pytest.mark.slow
def test_w_at_full_load_leaves_k_its_turn():
    """W brings a beat in every cycle that it may and K has words all the time: neither stands still, and no cycle goes unused."""
    out = (ctypes.c_int64 * 3)()
    checked = library(128 * 1024, 2048).ring_run(
        ctypes.c_uint64(1), ctypes.c_int64(CYCLES), 16384, 256, 100, 100, 100, 100, out
    )
    assert checked > 0
    pushes, waits, holds = out
    assert pushes > CYCLES // 8 and waits - holds in (0, 1)
