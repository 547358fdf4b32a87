"""fp32 add and mul with subnormals flushed, and what is built from them; docs/numerics.md, "fp32 arithmetic".

numpy computes in IEEE single with subnormals. The functions here run the plain operation and repair the rare elements where
the two differ, so that the common case costs a few comparisons.
"""

from __future__ import annotations

import numpy as np

from flightllm.numerics.constants import TINY

#: accumulators of an ordered sum
ACCUMULATORS = 256
NAN = np.uint32(0x7FC00000).view(np.float32)
#: operands: arrays, or fp32 constants
Operand = np.ndarray | np.float32
_SIGN = np.uint32(0x80000000)
_MAGNITUDE = np.uint32(0x7FFFFFFF)
_MIN_NORMAL = np.uint32(0x00800000)
_INF = np.uint32(0x7F800000)


def _bits(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).view(np.uint32)


def flush(x: Operand) -> np.ndarray:
    """Subnormals to zeros of the same sign; the array itself if there are none."""
    x = np.asarray(x, np.float32)
    word = _bits(x)
    sub = ((word & _MAGNITUDE) - np.uint32(1)) < _MIN_NORMAL - np.uint32(1)
    if not sub.any():
        return x
    return np.where(sub, word & _SIGN, word).view(np.float32).reshape(x.shape)


def canonical(x: np.ndarray) -> np.ndarray:
    """Every NaN to the canonical one, in place; returns x."""
    bad = np.isnan(x)
    if bad.any():
        x[bad] = NAN
    return x


def _unusual(word: np.ndarray) -> bool:
    """Some magnitude is zero, subnormal or NaN: one comparison, since all three wrap around when the smallest normal is taken off."""
    return bool(((word & _MAGNITUDE) - _MIN_NORMAL > _INF - _MIN_NORMAL).any())


def add_flushed(a: Operand, b: Operand) -> np.ndarray:
    """a + b of operands without subnormals (floating-point warnings are the caller's to silence).

    A sum below the normal range is exact in IEEE single, so flushing it afterwards is right.
    """
    out = np.asarray(a + b)
    if _unusual(_bits(out)):
        return canonical(np.atleast_1d(flush(out))).reshape(out.shape)
    return out


def mul_flushed(a: Operand, b: Operand) -> np.ndarray:
    """a * b of operands without subnormals (floating-point warnings are the caller's to silence).

    Products that round up to the smallest normal number were tiny before rounding: they flush too.
    """
    product = a * b
    out = np.atleast_1d(product)
    word = out.view(np.uint32)
    # "less or equal the smallest normal" or NaN; zeros are common and need nothing, but are not told apart yet.
    if ((word & _MAGNITUDE) - _MIN_NORMAL - np.uint32(1) >= _INF - _MIN_NORMAL).any():
        small = (word & _MAGNITUDE) - np.uint32(1) < _MIN_NORMAL  # subnormal, or exactly the smallest normal
        if small.any():
            exact = np.atleast_1d(np.multiply(a, b, dtype=np.float64))
            word[small & (np.abs(exact) < float(TINY))] &= _SIGN
        canonical(out)
    return out if np.ndim(product) else out.reshape(())


def add(a: Operand, b: Operand) -> np.ndarray:
    """a + b."""
    with np.errstate(all="ignore"):
        return add_flushed(flush(a), flush(b))


def mul(a: Operand, b: Operand) -> np.ndarray:
    """a * b."""
    with np.errstate(all="ignore"):
        return mul_flushed(flush(a), flush(b))


def neg(x: np.ndarray) -> np.ndarray:
    """-x; NaN stays canonical."""
    return canonical(-np.asarray(x, np.float32)) if np.ndim(x) else -x


def maximum(a: Operand, b: Operand) -> np.ndarray:
    """The larger operand; a NaN loses against a number; of equal operands (-0 and +0) the first."""
    a, b = np.broadcast_arrays(flush(a), flush(b))
    return np.where(np.isnan(a) | (b > a), b, a)


def max_magnitude(x: np.ndarray) -> np.ndarray:
    """max |x| along the last axis, NaN ignored, 0 for empty vectors: float32 [...]."""
    word = _bits(flush(x)) & _MAGNITUDE
    word = np.where(word > _INF, np.uint32(0), word)
    return word.max(axis=-1, initial=0).view(np.float32)


def to_int(x: np.ndarray, low: int, high: int) -> np.ndarray:
    """Round to nearest even and saturate to [low, high]; NaN gives 0: int32."""
    y = np.clip(np.rint(x), low, high)
    bad = np.isnan(y)
    if bad.any():
        y = np.where(bad, np.float32(0), y)
    return y.astype(np.int32)


def from_int48(x: np.ndarray) -> np.ndarray:
    """Integers below 2^53 in magnitude (int64, or float64 holding them) -> fp32, one rounding to nearest even."""
    return np.asarray(x).astype(np.float32)


def ordered_sum(x: np.ndarray) -> np.ndarray:
    """Sum along the last axis in the order of docs/numerics.md, "Ordered sum": float32 [...].

    Element e goes to accumulator e % 256; elements to be skipped must be +0.
    """
    x = flush(x)
    n = x.shape[-1]
    acc = np.zeros((*x.shape[:-1], ACCUMULATORS), np.float32)
    with np.errstate(all="ignore"):
        # Sums of numbers that are not negative never come below their operands: nothing to flush on the way.
        plain = bool((x >= 0).all())
        plus = np.add if plain else add_flushed
        for lo in range(0, n, ACCUMULATORS):
            part = x[..., lo : lo + ACCUMULATORS]
            acc[..., : part.shape[-1]] = plus(acc[..., : part.shape[-1]], part)
        h = ACCUMULATORS // 2
        width = min(n, ACCUMULATORS)
        while h:
            if h < width:  # accumulators from `width` on are +0 and change nothing
                acc[..., :h] = plus(acc[..., :h], acc[..., h : 2 * h])
            h //= 2
    return acc[..., 0]
