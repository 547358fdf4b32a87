"""exp2, recip and rsqrt: one quadratic interpolator in integers with three tables; docs/numerics.md, "Table functions".

Coefficients come from interpolation at Chebyshev nodes in 50-digit decimal arithmetic, so they are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, getcontext, localcontext
from functools import cache

import numpy as np

from flightllm.numerics import fp32
from flightllm.numerics.constants import LOG2E, ONE

#: segments of a table; fraction bits that select one; bits of the distance from its middle
SEGMENTS, SEGMENT_BITS, DISTANCE_BITS = 128, 7, 16
#: fraction bits of c0 (and of the result), of c1 at the distance's scale, of c2 at its square
C0_BITS, SHIFT = 28, 15
C1_BITS, C2_BITS = 20, 12
#: bits by which a result exceeds 24 significant bits
GUARD = C0_BITS - 23


@dataclass(frozen=True)
class Table:
    """Coefficients int64 [128] of one function on one binade."""

    c0: np.ndarray
    c1: np.ndarray
    c2: np.ndarray

    def __call__(self, fraction: np.ndarray) -> np.ndarray:
        """Interpolate at 23-bit fractions: int64 in units of 2^-28, rounded to units of 2^-23 (half up)."""
        i = fraction >> DISTANCE_BITS
        d = (fraction & ((1 << DISTANCE_BITS) - 1)) - (1 << (DISTANCE_BITS - 1))
        inner = self.c1[i] + ((d * self.c2[i]) >> SHIFT)
        r = self.c0[i] + ((d * inner) >> SHIFT)
        return (r + (1 << (GUARD - 1))) >> GUARD


def _fit(f: Callable[[Decimal], Decimal]) -> Table:
    """Quadratic through three Chebyshev nodes of each segment of [0, 1)."""
    with localcontext() as context:
        context.prec = 50
        half = Decimal(1) / (2 * SEGMENTS)
        node = half * Decimal(3).sqrt() / 2
        rows = []
        for i in range(SEGMENTS):
            middle = (2 * i + 1) * half
            low, centre, high = f(middle - node), f(middle), f(middle + node)
            c1 = (high - low) / (2 * node)
            c2 = (high - 2 * centre + low) / (2 * node * node)
            rows.append(
                (
                    int((centre * 2**C0_BITS).to_integral_value()),
                    int((c1 * 2**C1_BITS).to_integral_value()),
                    int((c2 * 2**C2_BITS).to_integral_value()),
                )
            )
    columns = np.array(rows, np.int64).T
    return Table(columns[0], columns[1], columns[2])


@cache
def exp2_table() -> Table:
    """2^x for x in [0, 1)."""
    return _fit(lambda x: (x * Decimal(2).ln(getcontext())).exp())


@cache
def recip_table() -> Table:
    """2 / (1 + x) for x in [0, 1): between 1 and 2."""
    return _fit(lambda x: 2 / (1 + x))


@cache
def rsqrt_tables() -> tuple[Table, Table]:
    """2 / sqrt(1 + x) and 2 / sqrt(2 (1 + x)) for x in [0, 1): between 1 and 2."""
    return _fit(lambda x: 2 / (1 + x).sqrt()), _fit(lambda x: 2 / (2 * (1 + x)).sqrt())


def _split(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(sign word, biased exponent, fraction), int64, of flushed fp32 values."""
    word = np.ascontiguousarray(fp32.flush(x)).view(np.uint32).astype(np.int64)
    return word & 0x80000000, word >> 23 & 0xFF, word & 0x7FFFFF


def _pack(sign: np.ndarray | np.int64, exponent: np.ndarray, significand: np.ndarray) -> np.ndarray:
    """sign | exponent | significand in [2^23, 2^24]; exponents below 1 flush to zero, above 254 give infinity."""
    carry = significand >> 24
    exponent = exponent + carry
    significand = np.where(carry > 0, significand >> 1, significand)
    word = sign | (exponent << 23) | (significand & 0x7FFFFF)
    word = np.where(exponent < 1, sign, np.where(exponent > 254, sign | 0x7F800000, word))
    return word.astype(np.uint32).view(np.float32)


def exp2(t: np.ndarray) -> np.ndarray:
    """2^t, elementwise; below -126 it is +0, from 128 on infinity."""
    t = fp32.flush(t)
    with np.errstate(invalid="ignore"):
        inside = (t >= -126) & (t < 128)
    fixed = np.floor(np.where(inside, t, np.float32(0)).astype(np.float64) * 2.0**23).astype(np.int64)
    out = _pack(np.int64(0), (fixed >> 23) + 127, exp2_table()(fixed & 0x7FFFFF))
    if not inside.all():
        edge = np.where(np.isnan(t), fp32.NAN, np.where(t >= 128, np.float32(np.inf), np.float32(0)))
        out = np.where(inside, out, edge)
    return out


def recip(x: np.ndarray) -> np.ndarray:
    """1 / x, elementwise; keeps the sign of zeros and infinities."""
    x = np.asarray(x, np.float32)
    sign, exponent, fraction = _split(x)
    # x = 2^(e-127) (1 + f): 1 / x = 2^(127-e) / (1 + f) = 2^(126-e) * table
    out = _pack(sign, 253 - exponent, recip_table()(fraction))
    special = (exponent == 0) | (exponent == 255)
    if special.any():
        word = np.where(exponent == 0, sign | 0x7F800000, np.where(fraction == 0, sign, 0x7FC00000))
        out = np.where(special, word.astype(np.uint32).view(np.float32), out)
    return out


def rsqrt(x: np.ndarray) -> np.ndarray:
    """1 / sqrt(x), elementwise; 0 gives +infinity, +infinity gives +0, negative numbers and NaN give NaN."""
    x = np.asarray(x, np.float32)
    sign, exponent, fraction = _split(x)
    power = exponent - 127
    odd = (power & 1) == 1
    even_table, odd_table = rsqrt_tables()
    significand = np.where(odd, odd_table(fraction), even_table(fraction))
    # x = 2^(2k + odd) (1 + f): 1 / sqrt(x) = 2^-k / sqrt(2^odd (1 + f)) = 2^(-k-1) * table
    out = _pack(np.int64(0), 126 - (power >> 1), significand)
    special = (exponent == 0) | (exponent == 255) | (sign != 0)
    if special.any():
        word = np.where(exponent == 0, 0x7F800000, np.where((sign == 0) & (fraction == 0), 0, 0x7FC00000))
        out = np.where(special, word.astype(np.uint32).view(np.float32), out)
    return out


def sigmoid(x: np.ndarray) -> np.ndarray:
    """recip(add(1, exp2(mul(x, -log2 e))))."""
    with np.errstate(all="ignore"):
        return recip(fp32.add_flushed(ONE, exp2(fp32.mul_flushed(fp32.flush(x), -LOG2E))))
