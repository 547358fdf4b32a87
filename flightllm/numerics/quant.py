"""Quantised activations: codes and scales; docs/numerics.md, "Quantised activations"."""

from __future__ import annotations

import numpy as np

from flightllm.numerics import fp32
from flightllm.numerics.constants import INV_QMAX, QMAX, QUANT_TINY
from flightllm.numerics.tables import recip


def f32_to_bf16(x: np.ndarray) -> np.ndarray:
    """fp32 -> bf16 as uint16, rounded up in magnitude (scales must not become too small for their codes)."""
    word = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((word + np.uint32(0xFFFF)) >> np.uint32(16)).astype(np.uint16)


def bf16_to_f32(words: np.ndarray) -> np.ndarray:
    """bf16 as uint16 -> fp32, exact."""
    return (np.asarray(words).astype(np.uint32) << np.uint32(16)).view(np.float32)


def quantise(x: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Vectors float32 [..., n] -> (codes [..., n] int8, int16 for dual; scales float32 [...])."""
    return codes_of(x, *scales_of(x, kind), QMAX[kind])


def scales_of(x: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """(scale, multiplier that makes codes) of vectors float32 [..., n]; both 0 for vectors below 2^-100."""
    a = fp32.max_magnitude(x)
    none = a < QUANT_TINY
    scale = fp32.mul(a, INV_QMAX[kind])
    if kind.startswith("kv"):
        scale = bf16_to_f32(f32_to_bf16(scale))
        inverse = recip(scale)
    else:
        inverse = fp32.mul(recip(a), np.float32(QMAX[kind]))
    zero = np.float32(0)
    return np.where(none, zero, scale), np.where(none, zero, inverse)


def codes_of(x: np.ndarray, scale: np.ndarray, inverse: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """(codes, scale): rint(x * inverse) saturated to +-top."""
    with np.errstate(all="ignore"):
        codes = fp32.to_int(fp32.mul_flushed(fp32.flush(x), inverse[..., None]), -top, top)
    return codes.astype(np.int8 if top <= 127 else np.int16), scale


def split_dual(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dual codes -> (high, low) int8 with code = 128 * high + low."""
    codes = codes.astype(np.int32)
    high = (codes + 64) >> 7
    return high.astype(np.int8), (codes - 128 * high).astype(np.int8)
