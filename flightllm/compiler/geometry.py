"""How vectors, heads and rows are padded and divided over cores.

Everything on chip is padded to `align` = max(16, C) elements: VB addresses have a granularity of 16, and one slot is C
elements. A vector of n elements divided over cores gives each core `part(n)` consecutive elements (the last ones padding), so
element e of the gathered vector is element e of the original: padding is only at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flightllm.config.arch import ArchConfig
from flightllm.ir.ops import Attention


def round_up(n: int, to: int) -> int:
    """n rounded up to a multiple of `to`."""
    return -(-n // to) * to


@dataclass(frozen=True)
class Geometry:
    """Padding rules of one architecture config."""

    arch: ArchConfig

    @property
    def align(self) -> int:
        """Elements to which every vector part is padded."""
        return max(16, self.arch.channels)

    def part(self, n: int) -> int:
        """Elements of a core's part of a vector of n."""
        return round_up(-(-n // self.arch.cores), self.align)

    def whole(self, n: int) -> int:
        """Elements of the gathered vector, padding included."""
        return self.part(n) * self.arch.cores

    def slots(self, n: int) -> int:
        """Slots of a vector of n elements (a multiple of `align`)."""
        return n // self.arch.channels

    def part_rows(self, n: int, core: int) -> np.ndarray:
        """Row index of each row of a core's part, -1 for padding: int64 [part(n)]."""
        rows = np.arange(core * self.part(n), (core + 1) * self.part(n))
        return np.where(rows < n, rows, -1)


@dataclass(frozen=True)
class HeadGeometry:
    """Heads of one attention on this config.

    Each head of `size` is padded to `padded`; kv heads are dealt to cores in order, with dummy heads (all zero) at the end so
    that every core has `kv_per_core`.
    """

    geometry: Geometry
    op: Attention
    #: rotated dimensions of a head (0: no RoPE)
    rotary: int

    @property
    def size(self) -> int:
        return self.op.head_dim

    @property
    def padded(self) -> int:
        """Elements of a head on chip."""
        return round_up(self.size, self.geometry.align)

    @property
    def group(self) -> int:
        """Query heads that share a kv head."""
        return self.op.heads // self.op.kv_heads

    @property
    def kv_per_core(self) -> int:
        return -(-self.op.kv_heads // self.geometry.arch.cores)

    @property
    def q_per_core(self) -> int:
        return self.kv_per_core * self.group

    @property
    def total(self) -> int:
        """Query heads of all cores, dummy heads included."""
        return self.q_per_core * self.geometry.arch.cores

    def rotary_index(self) -> np.ndarray:
        """Head dimension at each padded place of a query or key head, -1 for padding: int64 [padded].

        ROPE rotates place i with place i + padded / 2, so the pair (i, i + rotary / 2) goes there; dimensions that pass through
        take the free places in order. Any order is allowed as long as queries and keys agree.
        """
        half, r = self.padded // 2, self.rotary // 2
        places = np.full(self.padded, -1)
        places[:r] = np.arange(r)
        places[half : half + r] = np.arange(r, 2 * r)
        free = np.flatnonzero(places < 0)[: self.size - 2 * r]
        places[free] = np.arange(2 * r, self.size)
        return places

    def value_index(self) -> np.ndarray:
        """Head dimension at each padded place of a value head: int64 [padded]."""
        places = np.arange(self.padded)
        return np.where(places < self.size, places, -1)

    def rows(self, heads: int, first: int, count: int, index: np.ndarray) -> np.ndarray:
        """Rows of a projection with `heads` real heads for heads first..first+count-1, -1 for padding: [count * padded]."""
        head = first + np.arange(count)[:, None]
        rows = head * self.size + index
        return np.where((index >= 0) & (head < heads), rows, -1).reshape(-1)

    def output_columns(self) -> np.ndarray:
        """Dimension of the attention's output at each place of the gathered, padded vector, -1 for padding."""
        return self.rows(self.op.heads, 0, self.total, self.value_index())
