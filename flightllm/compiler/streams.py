"""What lowering knows of the memory images: addresses and formats, no data."""

from __future__ import annotations

from dataclasses import dataclass, field

from flightllm.compiler.buffers import MemoryRegion


@dataclass(frozen=True)
class StreamInfo:
    """One weight stream: where it lies and how MM reads it. addr, nbytes: per channel. slots: rows per channel."""

    addr: int
    nbytes: int
    slots: int
    k: int
    group: int
    format: int | None
    rows_per_vpu: int
    bias: bool
    #: bytes of the largest entry: what the W ring must hold of it at once
    entry_bytes: int
    #: beats of the array, of those of one dense pass
    array_share: float


@dataclass(frozen=True)
class VectorTable:
    """Striped rows in memory: `row` bytes per channel from row to row, `slots` elements per channel."""

    region: MemoryRegion
    dtype: str
    row: int
    slots: int
    rows: int


@dataclass
class CacheRegions:
    """KV cache and mask of one layer. Bytes per channel: unit (group of slots of K, window of V), head (from head to head)."""

    k: MemoryRegion
    v: MemoryRegion
    k_scales: MemoryRegion
    v_scales: MemoryRegion
    k_unit: int
    v_unit: int
    k_head: int
    v_head: int
    mask: MemoryRegion | None = None
    mask_row: int = 0


@dataclass
class Images:
    """Addresses of everything in memory, by graph name."""

    streams: dict[str, list[StreamInfo]] = field(default_factory=dict)
    vectors: dict[str, VectorTable] = field(default_factory=dict)
    caches: dict[str, CacheRegions] = field(default_factory=dict)
    ids: int = 0
    logits: MemoryRegion | None = None
    logits_row: int = 0
