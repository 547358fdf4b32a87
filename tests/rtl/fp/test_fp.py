"""The fp32 units against flightllm.numerics: millions of operands, and every pair of corner cases."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from flightllm.numerics import fp32, tables
from flightllm.sim.sources import rtl_sources
from flightllm.sim.verilate import build

HERE = Path(__file__).parent
FUNCTIONS = {0: tables.exp2, 1: tables.recip, 2: tables.rsqrt}
SPECIAL = [0x00000000, 0x00000001, 0x007FFFFF, 0x00800000, 0x00800001, 0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x4B000000]
SPECIAL += [0x4B7FFFFF, 0x4B800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x33800000, 0x34000000, 0x42FC0000]
SPECIAL += [0x20000001, 0x1FFFFFFE]  # their product rounds up to the smallest normal number
SPECIAL += [0x42FC0001, 0x43000000, 0x42FFFFFF, 0x3F000000, 0x3FC00000, 0x40200000, 0x467E0000, 0x42FE0000, 0x20000000]
CORNERS = np.array(SPECIAL + [w | 0x80000000 for w in SPECIAL], np.uint32)


@cache
def library() -> ctypes.CDLL:
    sources = rtl_sources("fp")
    lib = ctypes.CDLL(str(build("fp_bench", [*sources, HERE / "fp_bench.sv"], [HERE / "fp_bench.cpp"])))
    lib.fp_run.restype = ctypes.c_int64
    return lib


def run(a: np.ndarray, b: np.ndarray, integers: np.ndarray, function: int = 0, top: int = 127, gap: int = 0):
    """(add, mul, int -> fp32, fp32 -> int, table) of operand arrays (fp32 words, int64)."""
    n = len(a)
    a, b, integers = (np.ascontiguousarray(x, t) for x, t in ((a, np.uint32), (b, np.uint32), (integers, np.int64)))
    out = [np.zeros(n, t) for t in (np.uint32, np.uint32, np.uint32, np.int32, np.uint32)]
    pointers = [ctypes.c_void_p(x.ctypes.data) for x in (a, b, integers)]
    missing = library().fp_run(
        ctypes.c_int64(n), *pointers, function, top, gap, *(ctypes.c_void_p(x.ctypes.data) for x in out)
    )
    assert missing == 0
    return out


def compare(name: str, got: np.ndarray, want: np.ndarray, *operands: np.ndarray) -> None:
    want = want.view(np.uint32) if want.dtype == np.float32 else want
    bad = np.flatnonzero(got != want)
    shown = [[hex(int(o[i])) for o in operands] + [hex(int(got[i])), hex(int(want[i]))] for i in bad[:4]]
    assert not bad.size, f"{name}: {bad.size} of {len(got)} differ; operands, got, want: {shown}"


def check(a: np.ndarray, b: np.ndarray, integers: np.ndarray, function: int, top: int, gap: int = 0) -> None:
    add, mul, real, whole, table = run(a, b, integers, function, top, gap)
    x, y = a.view(np.float32), b.view(np.float32)
    with np.errstate(all="ignore"):
        compare("add", add, fp32.add(x, y), a, b)
        compare("mul", mul, fp32.mul(x, y), a, b)
        compare("int_to_fp32", real, fp32.from_int48(integers), integers)
        compare("fp32_to_int", whole, fp32.to_int(fp32.flush(x), -top, top), a)
        compare("table", table, np.ascontiguousarray(FUNCTIONS[function](x)), a)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_all_pairs_of_corner_cases(function):
    a, b = (np.ascontiguousarray(x.reshape(-1)) for x in np.meshgrid(CORNERS, CORNERS))
    edges = np.array([0, 1, -1, 2**47 - 1, -(2**47), 2**24, 2**24 + 1, 2**25 + 2, 2**25 + 3, 3 << 23], np.int64)
    check(a, b, np.resize(edges, len(a)), function, top=16256, gap=3)


@pytest.mark.parametrize("seed", range(3))
def test_random_operands(seed):
    """Any words, close exponents (cancellation), and integers of every size."""
    rng = np.random.default_rng(seed)
    n = 500_000
    a = rng.integers(0, 1 << 32, n, np.uint32)
    b = rng.integers(0, 1 << 32, n, np.uint32)
    near = rng.random(n) < 0.6  # exponents close to each other, and fractions that cancel
    b[near] = (a[near] ^ 0x80000000) + rng.integers(-(1 << 25), 1 << 25, near.sum()).astype(np.uint32)
    tiny = rng.random(n) < 0.2  # products around the smallest normal number
    a[tiny] = a[tiny] & 0x807FFFFF | (rng.integers(1, 127, tiny.sum()).astype(np.uint32) << np.uint32(23))
    b[tiny] = b[tiny] & 0x807FFFFF | (
        (
            np.uint32(127)
            - (a[tiny] >> np.uint32(23) & np.uint32(0xFF))
            + rng.integers(0, 3, tiny.sum()).astype(np.uint32)
        )
        << np.uint32(23)
    )
    integers = rng.integers(-(1 << 47), 1 << 47, n) >> rng.integers(0, 47, n)
    check(a, b, integers, seed, top=[7, 127, 16256][seed])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_tables_in_their_range(function):
    """Every segment, and the fractions around its borders; arguments that occur."""
    rng = np.random.default_rng(function)
    steps = (np.arange(128, dtype=np.uint32)[:, None] << np.uint32(16)) + np.array(
        [0, 1, 0x7FFF, 0x8000, 0xFFFF], np.uint32
    )
    fractions = np.concatenate([steps.reshape(-1), rng.integers(0, 1 << 23, 60_000).astype(np.uint32)])
    a = np.concatenate([fractions | np.uint32(e << 23) for e in (126, 127, 128, 132)])
    if function != 2:
        a = np.concatenate([a, a | np.uint32(0x80000000)])
    check(a, a[::-1].copy(), np.zeros(len(a), np.int64), function, top=127)


@pytest.mark.parametrize("top", [7, 127, 16256])
def test_ties(top):
    """Results exactly half-way between two numbers, and just beside: sums, products, integers to fp32 and fp32 to integers."""
    rng = np.random.default_rng(top)
    n = 40_000
    # sums: half a unit in the last place of a, of either sign, one up and one down; also where a's exponent changes
    exponent = rng.integers(26, 254, n).astype(np.uint32)
    fraction = np.where(rng.random(n) < 0.2, 0, rng.integers(0, 1 << 23, n)).astype(np.uint32)
    sign = rng.integers(0, 2, (2, n)).astype(np.uint32) << np.uint32(31)
    a = sign[0] | exponent << np.uint32(23) | fraction
    b = sign[1] | (exponent - np.uint32(24)) << np.uint32(23)
    b = (b.astype(np.int64) + rng.integers(-1, 2, n)).astype(np.uint32)
    # products of a 12-bit and a 13-bit odd integer: 25 bits, the last one half a unit
    x = rng.integers(1 << 11, 1 << 12, n) | 1
    y = rng.integers(1 << 12, 1 << 13, n) | 1
    scale = 2.0 ** rng.integers(-50, 50, n)
    p, q = (x * scale).astype(np.float32).view(np.uint32), (y / scale).astype(np.float32).view(np.uint32)
    # halves, and their neighbours; beyond the range as well
    halves = (np.arange(-16400, 16400) + 0.5).astype(np.float32).view(np.uint32)
    halves = np.concatenate([halves, halves + np.uint32(1), halves - np.uint32(1)])
    # integers half-way between numbers of 24 bits
    shift = rng.integers(1, 23, n)
    integers = (rng.integers(1 << 23, 1 << 24, n) << shift) + (1 << (shift - 1)) + rng.integers(-1, 2, n)
    integers *= rng.choice([-1, 1], n)
    assert (np.abs(integers) < 1 << 47).all()
    operands = [np.concatenate([a, p, halves]), np.concatenate([b, q, halves[::-1]])]
    check(*operands, np.resize(integers, len(operands[0])), 0, top=top)


def test_ends_of_the_range():
    """Sums and products that become infinite, subnormal or zero, or just do not; and complete cancellation."""
    rng = np.random.default_rng(1)
    n = 100_000
    ends = np.array(
        [0x7F7FFFFF, 0x7F7FFFFE, 0x7F000000, 0x73000000, 0x72FFFFFF, 0x72800000, 0x00800000, 0x00800001], np.uint32
    )
    ends = np.concatenate(
        [ends, ends | np.uint32(0x80000000), np.array([0x00FFFFFF, 0x01000000, 0x0C000000], np.uint32)]
    )
    a = rng.choice(ends, n) + rng.integers(0, 3, n).astype(np.uint32)
    b = rng.choice(ends, n) + rng.integers(0, 3, n).astype(np.uint32)
    same = rng.random(n) < 0.1
    b[same] = a[same] ^ np.uint32(0x80000000)  # x - x is +0
    # products around 2^128 and around 2^-126
    e, f = rng.integers(1, 255, n), rng.integers(0, 1 << 23, (2, n))
    edge = rng.random(n) < 0.5
    other = np.where(rng.random(n) < 0.5, 381 - e, 127 - e) + rng.integers(-1, 2, n)
    ok = edge & (other > 0) & (other < 255)
    a[ok], b[ok] = (e << 23 | f[0])[ok].astype(np.uint32), (other << 23 | f[1])[ok].astype(np.uint32)
    check(a, b, np.resize(np.array([2**47 - 1, -(2**47), 2**47 - 2**22, 0, -1], np.int64), n), 1, top=127)
