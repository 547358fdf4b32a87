"""On-chip buffers: allocation of VB and AB while a program is emitted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flightllm.errors import FitError


@dataclass(frozen=True)
class Buffer:
    """A range of an on-chip memory. space: "VB" (units of 16 elements) or "AB" (windows). row: units from token to token."""

    space: str
    base: int
    size: int
    row: int
    name: str

    @property
    def range(self) -> tuple[str, int, int]:
        """(space, first unit, last unit + 1)."""
        return self.space, self.base, self.base + self.size


class Pool:
    """First-fit allocator that goes round: freed space is reused as late as possible, so that reuse orders units less.

    Args:
        space: name of the memory. capacity: in its units. first: unit at which it begins.
    """

    def __init__(self, space: str, capacity: int, first: int = 0) -> None:
        self.space, self.capacity, self.first = space, capacity, first
        self.live: dict[int, Buffer] = {}
        self.peak = 0
        self.names: dict[int, list[str]] = {}
        self._next = first

    def alloc(self, name: str, row: int, rows: int = 1) -> Buffer:
        """A buffer of rows x row units. Raises FitError with the figures if there is no room."""
        size = row * rows
        for start in (self._next, self.first):
            base = self._fit(start, size)
            if base is not None:
                buffer = Buffer(self.space, base, size, row, name)
                self.live[base] = buffer
                role = name.split(".", 2)[-1] if name.startswith("layers.") else name
                if role not in self.names.setdefault(base, []):
                    self.names[base].append(role)
                self._next = base + size
                self.peak = max(self.peak, sum(b.size for b in self.live.values()))
                return buffer
        used = sum(b.size for b in self.live.values())
        held = ", ".join(f"{b.name} {b.size}" for b in sorted(self.live.values(), key=lambda b: b.base))
        raise FitError(
            f"{self.space} has no room for {name}",
            why=f"it needs {size} units, {used} of {self.capacity} are in use ({held})",
            do="use a smaller max_chunk or max context, or a config with a larger buffer",
            parameter={"VB": "vb_elements", "AB": "ab_windows"}.get(self.space, ""),
        )

    def _fit(self, start: int, size: int) -> int | None:
        base = start
        for b in sorted(self.live.values(), key=lambda b: b.base):
            if b.base + b.size <= base:
                continue
            if base + size <= b.base:
                return base
            base = b.base + b.size
        return base if base + size <= self.first + self.capacity else None

    def free(self, buffer: Buffer) -> None:
        """Give a buffer back."""
        del self.live[buffer.base]


def symbols(pools: Iterable[Pool]) -> dict[str, str]:
    """First unit (as text) -> what was ever placed there, layers left out: names for listings."""
    names: dict[int, list[str]] = {}
    for pool in pools:
        for base, own in pool.names.items():
            known = names.setdefault(base, [])
            known += [name for name in own if name not in known]
    return {str(base): "|".join(own) for base, own in sorted(names.items())}


@dataclass(frozen=True)
class MemoryRegion:
    """A region of the memory map (the same on every channel): bytes per channel from `addr`."""

    name: str
    addr: int
    size: int
    kind: str

    @property
    def range(self) -> tuple[str, int, int]:
        """("MEM", first byte, last byte + 1)."""
        return "MEM", self.addr, self.addr + self.size


class MemoryMap:
    """Sequential allocation of memory regions, 64-byte aligned, within a channel's capacity."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.regions: list[MemoryRegion] = []
        self.top = 0

    def add(self, name: str, size: int, kind: str) -> MemoryRegion:
        """Append a region. Going beyond the capacity is found by `check`, so that the figures are complete."""
        region = MemoryRegion(name, self.top, -(-size // 64) * 64, kind)
        self.regions.append(region)
        self.top += region.size
        return region

    def check(self, where: str) -> None:
        """Raise FitError with the use by kind if the regions exceed the capacity."""
        if self.top <= self.capacity:
            return
        kinds: dict[str, int] = {}
        for r in self.regions:
            kinds[r.kind] = kinds.get(r.kind, 0) + r.size
        raise FitError(
            "the model does not fit the memory",
            where=where,
            why=f"{self.top:,} bytes per channel are needed, {self.capacity:,} are there ("
            + ", ".join(f"{k} {v:,}" for k, v in kinds.items())
            + ")",
            do="use fewer bits per weight (--weights), a shorter --max-context, --kv 4, or a board with more memory",
            parameter="channel_bytes",
        )
