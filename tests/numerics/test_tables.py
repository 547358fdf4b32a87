"""The table functions over every fraction of a binade, against double precision."""

import numpy as np
import pytest

from flightllm.numerics import tables

FRACTIONS = np.arange(1 << 23, dtype=np.uint32)


def binade(exponent):
    return (FRACTIONS | np.uint32(exponent << 23)).view(np.float32)


@pytest.mark.parametrize(
    ("function", "x", "truth", "bound"),
    [
        (tables.exp2, (FRACTIONS.astype(np.float64) / 2**23).astype(np.float32), np.exp2, 0.60),
        (tables.recip, binade(127), np.reciprocal, 0.80),
        (tables.rsqrt, binade(127), lambda v: v**-0.5, 0.62),
        (tables.rsqrt, binade(128), lambda v: v**-0.5, 0.62),
    ],
    ids=["exp2", "recip", "rsqrt-even", "rsqrt-odd"],
)
def test_error_over_all_fractions(function, x, truth, bound):
    """Below one ulp everywhere, and never decreasing where the function does not."""
    y = function(x)
    exact = truth(x.astype(np.float64))
    error = np.abs(y - exact) / np.spacing(exact.astype(np.float32)).astype(np.float64)
    assert error.max() < bound
    assert error.max() > 0.5  # the measure measures: a rounded result cannot do better
    steps = np.diff(y) if function is tables.exp2 else -np.diff(y)
    assert (steps >= 0).all()


def test_powers_of_two_are_exact():
    e = np.arange(-126, 127)
    x = np.exp2(e.astype(np.float64)).astype(np.float32)
    assert np.array_equal(tables.exp2(e.astype(np.float32)), x)
    assert np.array_equal(tables.recip(x[x < 2.0**126]), (1 / x[x < 2.0**126].astype(np.float64)).astype(np.float32))
    even = x[e % 2 == 0]
    assert np.array_equal(tables.rsqrt(even), (even.astype(np.float64) ** -0.5).astype(np.float32))


def test_special_values():
    inf, nan = np.inf, np.nan
    x = np.float32([0.0, -0.0, inf, -inf, nan, 1e-40, -1e-40])
    assert [repr(float(v)) for v in tables.recip(x)] == ["inf", "-inf", "0.0", "-0.0", "nan", "inf", "-inf"]
    assert [repr(float(v)) for v in tables.rsqrt(x)] == ["inf", "inf", "0.0", "nan", "nan", "inf", "inf"]
    assert np.isnan(tables.rsqrt(np.float32([-1.0]))[0])
    t = np.float32([128, 127.99999, -126, -126.00001, -inf, inf, nan])
    got = tables.exp2(t)
    assert got[0] == inf
    assert np.isfinite(got[1])
    assert got[2] == np.float32(2.0**-126)
    assert [repr(float(v)) for v in got[3:]] == ["0.0", "0.0", "inf", "nan"]
    # 1 / x leaves the normal range above 2^126
    assert tables.recip(np.float32([2.0**126, 2.0**126 * 1.5])).tolist() == [2.0**-126, 0.0]


def test_coefficients_fit_the_multipliers():
    """c1 and c2 stay within one DSP48E2 operand (27 and 18 bits), c0 within 29 bits; the second product too."""
    for table in (tables.exp2_table(), tables.recip_table(), *tables.rsqrt_tables()):
        assert table.c0.min() > 0
        assert table.c0.max() < 1 << 29
        assert np.abs(table.c1).max() < 1 << 22
        assert np.abs(table.c2).max() < 1 << 14
        assert len(table.c0) == tables.SEGMENTS


def test_sigmoid_against_double():
    x = np.linspace(-100, 100, 100_001).astype(np.float32)
    exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    got = tables.sigmoid(x)
    assert np.abs(got - exact).max() < 2e-7
    near = x > -80
    assert (np.abs(got - exact)[near] / exact[near]).max() < 1e-5
