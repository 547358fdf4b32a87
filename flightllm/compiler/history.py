"""Who touched which place: what an item has to wait for. The token pass and the interleaving of parts both ask this."""

from __future__ import annotations

from typing import Generic, TypeVar

from flightllm.compiler.emit import Item
from flightllm.isa.fields import Unit

Mark = TypeVar("Mark", int, float)


class History(Generic[Mark]):
    """Accesses so far, each with a mark that grows along a unit's items: their number, or the cycle in which they end."""

    def __init__(self) -> None:
        # by space; by unit and whether it wrote: first, behind the last, mark, in the order of marks
        self._entries: dict[str, dict[tuple[Unit, bool], list[tuple[int, int, Mark]]]] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def conflicts(self, item: Item) -> dict[Unit, Mark]:
        """Greatest mark of each other unit's accesses that the item must come behind: to the same place, one of the two a write."""
        found: dict[Unit, Mark] = {}
        for ranges, write in ((item.reads, False), (item.writes, True)):
            for space, lo, hi in ranges:
                for (unit, wrote), known in self._entries.get(space, {}).items():
                    if unit == item.inst.unit or not (write or wrote):
                        continue
                    last = next((mark for a, b, mark in reversed(known) if a < hi and lo < b), None)
                    if last is not None:
                        found[unit] = max(found.get(unit, last), last)
        return found

    def add(self, item: Item, mark: Mark) -> None:
        """Remember what an item touches; accesses of the same unit and kind that it covers are implied by it and go."""
        unit = item.inst.unit
        for ranges, write in ((item.reads, False), (item.writes, True)):
            for space, lo, hi in ranges:
                known = self._entries.setdefault(space, {}).setdefault((unit, write), [])
                known[:] = [e for e in known if not (lo <= e[0] and e[1] <= hi)]
                known.append((lo, hi, mark))
