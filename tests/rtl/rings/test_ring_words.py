"""The ring against a queue: any counts of words pushed and popped, both memory styles, whole beats and parts."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import pytest

from flightllm.sim.sources import rtl_sources
from flightllm.sim.verilate import build

HERE = Path(__file__).parent


@cache
def library(size: int, whole: int) -> ctypes.CDLL:
    sources = [p for p in rtl_sources("common", "memory") if p.stem in ("ring", "ram")]
    lib = ctypes.CDLL(str(build("ring", sources, [HERE / "ring_tb.cpp"], {"Bytes": size, "WholeBeats": whole})))
    lib.ring_run.restype = ctypes.c_int64
    return lib


@pytest.mark.slow
@pytest.mark.parametrize("whole", [0, 1])
@pytest.mark.parametrize("size", [768, 128 * 1024])  # six rows, which are no power of two, in block RAM; and UltraRAM
def test_words_come_out_in_order(size, whole):
    ring = library(size, whole).ring_run
    for seed, (push, pop) in enumerate([(100, 100), (100, 30), (30, 100), (70, 70), (100, 60)]):
        checked = ring(ctypes.c_uint64(seed), ctypes.c_int64(60_000), size // 8, whole, push, pop)
        assert checked > 20_000, f"seed {seed}: cycle {-1 - checked}" if checked < 0 else checked
