"""fp32 of the HLS kernel against flightllm.numerics, on the operands of the RTL's bench; fp16, and the larger of two."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import test_fp

from flightllm.executors.hls.build import compile_library
from flightllm.numerics import fp32

HERE = Path(__file__).parent


@cache
def library() -> ctypes.CDLL:
    lib = ctypes.CDLL(str(compile_library("fp_bench_hls", (HERE / "fp_bench_hls.cpp").read_text(), "fp_bench_hls.cpp")))
    lib.fp_run.restype = ctypes.c_int64
    return lib


@pytest.fixture(autouse=True)
def bench(monkeypatch):
    """The RTL's tests on this library: both benches have one interface."""
    monkeypatch.setattr(test_fp, "library", library)


@pytest.mark.parametrize("function", test_fp.FUNCTIONS)
def test_corners_on_hls(function):
    test_fp.test_all_pairs_of_corner_cases(function)
    test_fp.test_tables_in_their_range(function)


@pytest.mark.parametrize("seed", range(3))
def test_random_operands_on_hls(seed):
    test_fp.test_random_operands(seed)


@pytest.mark.parametrize("top", [7, 127, 16256])
def test_ties_and_ends_on_hls(top):
    test_fp.test_ties(top)
    test_fp.test_ends_of_the_range()


def test_halves():
    words = np.arange(65536, dtype=np.uint16)
    out = np.zeros(65536, np.uint32)
    library().fp_half(ctypes.c_void_p(words.ctypes.data), ctypes.c_void_p(out.ctypes.data))
    want = words.view(np.float16).astype(np.float32).view(np.uint32)
    numbers = (words & 0x7C00 != 0x7C00) | (words & 0x3FF == 0)
    assert np.array_equal(out[numbers], want[numbers])


def test_maximum():
    a, b = (np.ascontiguousarray(x.reshape(-1)) for x in np.meshgrid(test_fp.CORNERS, test_fp.CORNERS))
    out = np.zeros(a.size, np.uint32)
    library().fp_max(ctypes.c_int64(a.size), *(ctypes.c_void_p(x.ctypes.data) for x in (a, b, out)))
    want = np.ascontiguousarray(fp32.maximum(a.view(np.float32), b.view(np.float32)))
    nan = np.isnan(want)
    assert np.array_equal(out[~nan], want.view(np.uint32)[~nan])
    assert np.isnan(out.view(np.float32)[nan]).all()
