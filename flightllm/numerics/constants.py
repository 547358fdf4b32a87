"""The fp32 constants of the numerics, defined once; RTL and HLS take their bit patterns from here."""

from __future__ import annotations

import numpy as np


def _f32(value: float) -> np.float32:
    return np.float32(value)


LOG2E = _f32(1.4426950408889634)
#: 2 sqrt(2 / pi), the argument scale of tanh-GELU written as a sigmoid
GELU_K = _f32(1.5957691216057308)
GELU_C = _f32(0.044715)
ONE = _f32(1.0)
#: largest code and its reciprocal, by kind of quantised activation
QMAX = {"a8": 127, "dual": 127 * 128, "kv8": 127, "kv4": 7}
INV_QMAX = {kind: _f32(1.0 / q) for kind, q in QMAX.items()}
#: vectors whose largest magnitude is below this quantise to zero
QUANT_TINY = _f32(2.0**-100)
#: smallest normal number
TINY = _f32(2.0**-126)


def bits(value: np.float32) -> int:
    """Bit pattern of a constant."""
    return int(np.float32(value).view(np.uint32))
