"""RoPE frequencies from a model's parameters, in double precision.

Conventions are those of transformers' `modeling_rope_utils`: `rope_type` default, linear, llama3 and yarn.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flightllm.errors import UnsupportedError


def inverse_frequencies(params: dict[str, Any], dim: int, max_context: int, where: str) -> tuple[np.ndarray, float]:
    """(inv_freq float64 [dim / 2], factor on cos and sin) from rope parameters (`rope_theta`, `rope_type`, its arguments).

    Raises UnsupportedError for types that depend on the length of the input or are unknown.
    """
    theta = float(params.get("rope_theta", 10000.0))
    kind = params.get("rope_type", params.get("type", "default")) or "default"
    base = theta ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)
    if kind == "default":
        return base, 1.0
    if kind == "linear":
        return base / float(params["factor"]), 1.0
    if kind == "llama3":
        return _llama3(base, params), 1.0
    if kind == "yarn":
        return _yarn(base, params, dim, theta, max_context)
    raise UnsupportedError(
        f"rope type {kind!r} is not supported",
        where=where,
        why="its frequencies depend on the length of the input, or it is not known here",
        do="use a model with rope type default, linear, llama3 or yarn",
    )


def _llama3(base: np.ndarray, params: dict[str, Any]) -> np.ndarray:
    """Long waves are slowed down by `factor`, short ones kept, those between interpolated."""
    factor, low, high = (float(params[k]) for k in ("factor", "low_freq_factor", "high_freq_factor"))
    original = float(params["original_max_position_embeddings"])
    wavelength = 2 * math.pi / base
    blend = (original / wavelength - low) / (high - low)
    middle = (1 - blend) * base / factor + blend * base
    return np.where(wavelength > original / low, base / factor, np.where(wavelength < original / high, base, middle))


def _yarn(
    base: np.ndarray, params: dict[str, Any], dim: int, theta: float, max_context: int
) -> tuple[np.ndarray, float]:
    """YaRN (arXiv 2309.00071): a ramp over dimensions between extrapolation and interpolation."""
    factor = float(params["factor"])
    original = float(params.get("original_max_position_embeddings") or max_context)

    def dimension(rotations: float) -> float:
        return dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension(float(params.get("beta_fast") or 32)), dimension(float(params.get("beta_slow") or 1))
    if params.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001
    keep = 1 - np.clip((np.arange(dim // 2) - low) / (high - low), 0, 1)

    def mscale(scale: float, weight: float = 1.0) -> float:
        return 1.0 if scale <= 1 else 0.1 * weight * math.log(scale) + 1.0

    attention = params.get("attention_factor")
    if attention is None:
        if params.get("mscale") and params.get("mscale_all_dim"):
            attention = mscale(factor, params["mscale"]) / mscale(factor, params["mscale_all_dim"])
        else:
            attention = mscale(factor)
    return base / factor * (1 - keep) + base * keep, float(attention)
