"""Weights as the graph holds them: a description and a way to read, never the data itself.

A frontend makes `Weight`s that read from the model's file on demand, so that a compile's peak memory follows the largest
tensor. A weight whose file stores integer codes on a grid (GGUF Q4_0, GPTQ, ...) offers that grid, so that it is not
quantised a second time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from flightllm.errors import ModelError


@dataclass(frozen=True)
class GridSpec:
    """The quantisation grid of a stored weight: w[r, k] = d[r, g] * q[r, k] + m[r, g], g = k // group.

    bits: width of the two's complement codes q (after centring). affine: False if m is zero everywhere.
    """

    bits: int
    group: int
    affine: bool


@dataclass
class Grid:
    """Codes and scales of a weight [rows, k] (see `GridSpec`).

    q: int8 [rows, k], two's complement in `spec.bits` bits. d, m: float32 [rows, ceil(k / group)]; d >= 0.
    """

    spec: GridSpec
    q: np.ndarray
    d: np.ndarray
    m: np.ndarray

    def dense(self) -> np.ndarray:
        """The weight as float32 [rows, k]."""
        k = self.q.shape[1]
        d = np.repeat(self.d, self.spec.group, axis=1)[:, :k]
        m = np.repeat(self.m, self.spec.group, axis=1)[:, :k]
        return self.q.astype(np.float32) * d + m


@dataclass(frozen=True, eq=False)
class Weight:
    """One weight tensor of the model, read on demand.

    name: the tensor's name in the file (for messages). shape: as the operator wants it, e.g. [out, in] for Linear.
    read: () -> float32 array of that shape. grid: its stored grid or None. read_grid: () -> Grid, given iff grid is.
    source: file (and place) it comes from, for messages.
    key: two Weights with equal keys hold the same data (tied embeddings).
    """

    name: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray] = field(repr=False)
    source: str = ""
    grid: GridSpec | None = None
    read_grid: Callable[[], Grid] | None = field(default=None, repr=False)
    key: str = ""

    @classmethod
    def of(cls, name: str, data: np.ndarray, source: str = "memory") -> Weight:
        """A weight over an array in memory (tests, small constants)."""
        data = np.ascontiguousarray(data, dtype=np.float32)
        return cls(name=name, shape=data.shape, read=lambda: data, source=source, key=f"{source}:{name}")


def check_finite(weight: Weight, *arrays: np.ndarray) -> None:
    """ModelError if data read of a weight holds NaN or infinity."""
    for array in arrays:
        # the sum is finite unless an element is not (or the values are absurdly large): one pass, no temporary
        if not np.isfinite(np.sum(array, dtype=np.float64)) and not np.isfinite(array).all():
            raise ModelError(
                f"tensor {weight.name} holds NaN or infinity",
                where=weight.source,
                why=f"{int((~np.isfinite(array)).sum())} of {array.size} values are not finite",
                do="the file is damaged or the model diverged in training; get another copy",
            )
