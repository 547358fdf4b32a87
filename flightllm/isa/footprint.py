"""Accesses of an instruction to shared state: what the checker and the token pass reason about."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class Access:
    """A strided set of unit ranges: for all i0 < counts[0], ...: [base + sum(i * stride), + length).

    space: "VB" (unit: element), "AB" (window), "MB" (byte), "MEM" (byte offset, same on every channel unless `channel` says
    otherwise), "W" and "K" (ring bytes per channel, base ignored). write: True for a write (or push), False for a read (or pop).
    """

    space: str
    write: bool
    base: int
    length: int
    counts: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    channel: int | None = None

    @property
    def empty(self) -> bool:
        """No unit is touched."""
        return self.length <= 0 or any(c <= 0 for c in self.counts)

    @property
    def units(self) -> int:
        """Units touched, counted with multiplicity."""
        return 0 if self.empty else self.length * prod(self.counts)

    @property
    def span(self) -> tuple[int, int]:
        """[lowest, highest + 1) unit touched."""
        last = self.base + sum((c - 1) * s for c, s in zip(self.counts, self.strides, strict=True))
        return self.base, last + self.length
