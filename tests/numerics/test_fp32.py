"""fp32 add and mul against a model in exact rational arithmetic, on random and on nasty bit patterns."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flightllm.numerics import fp32

NASTY = [
    0x00000000,  # +0
    0x00000001,  # smallest subnormal
    0x007FFFFF,  # largest subnormal
    0x00800000,  # smallest normal
    0x00800001,
    0x00FFFFFF,
    0x01000000,
    0x33800000,  # 2^-24
    0x33800001,
    0x3F7FFFFF,
    0x3F800000,  # 1
    0x3F800001,
    0x4B800000,  # 2^24
    0x7F7FFFFF,  # largest
    0x7F800000,  # infinity
    0x7FC00000,  # NaN
    0x7F800001,  # signalling NaN
]
NASTY += [x | 0x80000000 for x in NASTY]
patterns = st.one_of(
    st.sampled_from(NASTY),
    st.integers(0, 0xFFFFFFFF),
    # exponents close to the ends and to each other, where rounding and flushing happen
    st.builds(lambda s, e, m: s << 31 | e << 23 | m, st.integers(0, 1), st.integers(0, 70), st.integers(0, 0x7FFFFF)),
    st.builds(
        lambda s, e, m: s << 31 | e << 23 | m, st.integers(0, 1), st.integers(120, 130), st.integers(0, 0x7FFFFF)
    ),
)

NAN, INF, SIGN = 0x7FC00000, 0x7F800000, 0x80000000


def parts(word):
    """(kind, sign, exact value) of a bit pattern, subnormals read as zero."""
    sign, e, m = word >> 31, word >> 23 & 0xFF, word & 0x7FFFFF
    if e == 255:
        return ("nan" if m else "inf"), sign, None
    if e == 0:
        return "number", sign, Fraction(0)
    return "number", sign, (-1) ** sign * Fraction(m | 1 << 23) * Fraction(2) ** (e - 150)


def rounded(value, zero_sign):
    """Exact value -> bit pattern: nearest even, tiny before rounding flushes, overflow to infinity."""
    if value == 0:
        return zero_sign << 31
    sign, value = int(value < 0), abs(value)
    if value < Fraction(2) ** -126:
        return sign << 31
    e = value.numerator.bit_length() - value.denominator.bit_length()
    if Fraction(2) ** e > value:
        e -= 1
    scaled = value / Fraction(2) ** (e - 23)
    n = scaled.numerator // scaled.denominator
    rest = scaled - n
    if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and n & 1):
        n += 1
    if n == 1 << 24:
        n, e = 1 << 23, e + 1
    return sign << 31 | (INF if e > 127 else (e + 127) << 23 | (n & 0x7FFFFF))


def model_add(a, b):
    (ka, sa, va), (kb, sb, vb) = parts(a), parts(b)
    if "nan" in (ka, kb) or (ka == kb == "inf" and sa != sb):
        return NAN
    if "inf" in (ka, kb):
        return INF | (sa if ka == "inf" else sb) << 31
    return rounded(va + vb, sa & sb)


def model_mul(a, b):
    (ka, sa, va), (kb, sb, vb) = parts(a), parts(b)
    if "nan" in (ka, kb) or (ka == "inf" and vb == 0) or (kb == "inf" and va == 0):
        return NAN
    if "inf" in (ka, kb):
        return INF | (sa ^ sb) << 31
    return rounded(va * vb, sa ^ sb)


def run(function, a, b):
    x, y = (np.array(v, np.uint32).view(np.float32) for v in (a, b))
    return [int(w) for w in function(x, y).view(np.uint32)]


@pytest.mark.parametrize(("function", "model"), [(fp32.add, model_add), (fp32.mul, model_mul)], ids=["add", "mul"])
def test_all_pairs_of_nasty_patterns(function, model):
    pairs = [(a, b) for a in NASTY for b in NASTY]
    got = run(function, [a for a, _ in pairs], [b for _, b in pairs])
    for (a, b), word in zip(pairs, got, strict=True):
        assert word == model(a, b), f"{a:#010x} {b:#010x}"


@given(st.lists(st.tuples(patterns, patterns), min_size=1, max_size=50))
def test_add_and_mul_are_exact(pairs):
    a, b = zip(*pairs, strict=True)
    assert run(fp32.add, a, b) == [model_add(x, y) for x, y in pairs]
    assert run(fp32.mul, a, b) == [model_mul(x, y) for x, y in pairs]


def test_products_at_the_edge_of_the_normal_range():
    """Products that IEEE rounding would lift to the smallest normal number are tiny before rounding: they flush."""
    rng = np.random.default_rng(0)
    a = (rng.integers(0, 1 << 23, 200_000, dtype=np.uint32) | np.uint32(1 << 23)).view(np.float32)
    exact = 2.0**-126 * (1 - rng.uniform(0, 3, a.size) * 2.0**-24)
    b = (exact / a.astype(np.float64)).astype(np.float32)
    product = a.astype(np.float64) * b.astype(np.float64)
    got = fp32.mul(a, b)
    tiny = product < 2.0**-126
    assert tiny.any()
    assert not tiny.all()
    assert (got[tiny] == 0).all()
    assert (got[~tiny] >= np.float32(2.0**-126)).all()
    ieee = a * b
    assert (ieee[tiny] == np.float32(2.0**-126)).any()  # the case that makes the rule necessary does occur


@given(st.lists(patterns, min_size=1, max_size=1200), st.integers(0, 3))
def test_ordered_sum_is_the_loop_of_the_page(words, rows):
    x = np.array(words, np.uint32).view(np.float32)
    acc = np.zeros(256, np.float32)
    for e, value in enumerate(x):
        acc[e % 256] = fp32.add(acc[e % 256], value)
    h = 128
    while h:
        acc[:h] = fp32.add(acc[:h], acc[h : 2 * h])
        h //= 2
    got = fp32.ordered_sum(np.stack([x] * (rows + 1)))
    assert [int(w) for w in got.view(np.uint32)] == [int(acc[:1].view(np.uint32)[0])] * (rows + 1)


@given(st.lists(st.tuples(patterns, patterns), min_size=1, max_size=50))
def test_maximum(pairs):
    a, b = (np.array(v, np.uint32).view(np.float32) for v in zip(*pairs, strict=True))
    got = fp32.maximum(a, b)
    for x, y, z in zip(fp32.flush(a), fp32.flush(b), got, strict=True):
        want = y if np.isnan(x) or (not np.isnan(y) and y > x) else x
        assert np.isnan(z) == np.isnan(want)
        assert np.isnan(z) or (z == want and np.signbit(z) == np.signbit(want))


def test_int_conversions():
    x = np.float32([0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.5, 1e30, -1e30, np.nan, np.inf])
    assert fp32.to_int(x, -127, 127).tolist() == [0, 2, 2, 0, -2, 126, 127, 127, -127, 0, 127]
    big = np.array([2**24 + 1, 2**24 + 3, -(2**47) + 1, 2**47 - 1], np.int64)
    want = [float(rounded_int(int(v))) for v in big]
    assert fp32.from_int48(big).tolist() == want
    assert fp32.from_int48(big.astype(np.float64)).tolist() == want


def rounded_int(value):
    word = rounded(Fraction(value), 0)
    return np.uint32(word).view(np.float32)
