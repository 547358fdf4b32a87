"""RoPE frequencies from a model's parameters, in double precision.

Conventions are those of transformers' `modeling_rope_utils`: `rope_type` default, linear, llama3 and yarn.
"""

from __future__ import annotations

import math
from reprlib import repr as short
from typing import Any

import numpy as np

from flightllm.errors import ModelError, UnsupportedError


def inverse_frequencies(params: dict[str, Any], dim: int, max_context: int, where: str) -> tuple[np.ndarray, float]:
    """(inv_freq float64 [dim / 2], factor on cos and sin) from rope parameters.

    Args:
        params: `rope_theta`, `rope_type` (or `type`) and its arguments, named as in a config.json.
        dim: rotated dimensions of a head, even. max_context: positions, where the parameters name none.
        where: file, for messages.

    Raises:
        UnsupportedError: the type depends on the length of the input or is unknown.
        ModelError: an argument is missing or no positive number.
    """
    p = _Params(params, where)
    kind = params.get("rope_type", params.get("type", "default")) or "default"
    theta = p.positive("rope_theta", 10000.0)
    base = theta ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)
    if kind == "default":
        return base, 1.0
    if kind == "linear":
        return base / p.positive("factor"), 1.0
    if kind == "llama3":
        return _llama3(base, p, max_context), 1.0
    if kind == "yarn":
        return _yarn(base, p, dim, theta, max_context)
    raise UnsupportedError(
        f"rope type {short(kind)} is not supported",
        where=where,
        why="its frequencies depend on the length of the input, or it is not known here",
        do="use a model with rope type default, linear, llama3 or yarn",
    )


class _Params:
    def __init__(self, data: dict[str, Any], where: str) -> None:
        self.data, self.where = data, where

    def positive(self, name: str, default: float | None = None) -> float:
        """A positive finite number; a missing or null field gives the default."""
        value = self.data.get(name)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value < 1e300:
            raise ModelError(
                f"RoPE parameter {name} = {short(value)}",
                where=self.where,
                why="a positive number is needed for this rope type",
                do="see to the model's configuration, or get another copy of it",
            )
        return float(value)


def _llama3(base: np.ndarray, p: _Params, max_context: int) -> np.ndarray:
    """Long waves are slowed down by `factor`, short ones kept, those between interpolated."""
    factor, low, high = (p.positive(k) for k in ("factor", "low_freq_factor", "high_freq_factor"))
    if low >= high:
        raise ModelError(
            f"RoPE parameters low_freq_factor = {low}, high_freq_factor = {high}",
            where=p.where,
            do="see to the model's configuration, or get another copy of it",
        )
    original = p.positive("original_max_position_embeddings", max_context)
    wavelength = 2 * math.pi / base
    blend = (original / wavelength - low) / (high - low)
    middle = (1 - blend) * base / factor + blend * base
    return np.where(wavelength > original / low, base / factor, np.where(wavelength < original / high, base, middle))


def _yarn(base: np.ndarray, p: _Params, dim: int, theta: float, max_context: int) -> tuple[np.ndarray, float]:
    """YaRN (arXiv 2309.00071): a ramp over dimensions between extrapolation and interpolation."""
    original = p.positive("original_max_position_embeddings", max_context)
    factor = p.positive("factor", max_context / original)
    if theta == 1:
        raise ModelError(
            "RoPE parameter rope_theta = 1",
            where=p.where,
            why="yarn divides by its logarithm",
            do="see to the model's configuration, or get another copy of it",
        )

    def dimension(rotations: float) -> float:
        return dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension(p.positive("beta_fast", 32)), dimension(p.positive("beta_slow", 1))
    if p.data.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001
    keep = 1 - np.clip((np.arange(dim // 2) - low) / (high - low), 0, 1)

    def mscale(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    if p.data.get("attention_factor") is not None:
        attention = p.positive("attention_factor")
    elif p.data.get("mscale") and p.data.get("mscale_all_dim"):
        attention = mscale(p.positive("mscale")) / mscale(p.positive("mscale_all_dim"))
    else:
        attention = mscale(1.0)
    return base / factor * (1 - keep) + base * keep, attention
