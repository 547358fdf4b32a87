"""Whose time a cycle is: every cycle of a run is charged to one instruction, so that parts add up to the whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from flightllm.isa.fields import TOKEN_UNITS, Unit
from flightllm.report.operators import SEQUENCER, Work
from flightllm.timeline import Span, Timeline

#: units that have instructions, in the order in which they are shown
UNITS = (Unit.W, Unit.L, Unit.M, Unit.S, Unit.T)
#: what is charged with cycles in which no unit has an instruction
NOBODY = Work(Unit.Q, -1, SEQUENCER, SEQUENCER)


@dataclass
class Share:
    """What belongs to an operator or a layer, in one run or several; fields as of `data.Row`."""

    cycles: int = 0
    elapsed: int = 0
    first: int | None = None
    last: int | None = None
    instructions: int = 0
    busy: dict[str, int | None] = field(default_factory=lambda: {u.name: 0 for u in UNITS})
    moved: int = 0
    macs: int = 0


def charge(spans: Sequence[Span], works: Sequence[Work], cycles: int) -> Iterator[tuple[Work, int]]:
    """(work, cycles) of a core's run: a cycle goes to the oldest instruction of L, M, S, T that has been dispatched and has not ended.

    W does not count: it runs ahead, and whoever waits for its weights is charged.
    """
    at = 0
    for span, work in zip(spans, works, strict=True):
        if span.unit not in TOKEN_UNITS:
            continue
        begin = min(max(at, span.dispatched), cycles)
        end = max(begin, min(cycles, cycles if span.ended is None else span.ended))
        yield NOBODY, begin - at
        yield work, end - begin
        at = end
    yield NOBODY, cycles - at


def union(intervals: Iterable[tuple[int, int]]) -> int:
    """Length of the union of intervals [begin, end)."""
    total, reach = 0, 0
    for begin, end in sorted(intervals):
        total += max(0, end - max(begin, reach))
        reach = max(reach, end)
    return total


class Ledger:
    """Adds up runs, by operator or by layer.

    Args:
        by: "operator" or "layer".

    Attributes:
        shares: name -> what belongs to it.
    """

    def __init__(self, by: str) -> None:
        self._by = by
        self.shares: dict[str, Share] = defaultdict(Share)

    def add_time(self, timeline: Timeline, spans: Sequence[Span], works: Sequence[Work]) -> None:
        """The time of a run, of the core whose instructions are given."""
        for work, cycles in charge(spans, works, timeline.cycles):
            self.shares[getattr(work, self._by)].cycles += cycles
        found: dict[str, dict[Unit, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
        parts: dict[tuple[str, str], list[int]] = {}  # begin and end; an operator can come several times in a layer
        for share in self.shares.values():
            share.first = share.last = None
        for span, work in zip(spans, works, strict=True):
            name = getattr(work, self._by)
            share = self.shares[name]
            share.instructions += 1
            if span.taken is None or span.ended is None:
                share.busy[span.unit.name] = None
                continue
            found[name][span.unit].append((span.taken, span.ended))
            if span.unit in TOKEN_UNITS:
                place = f"{work.layer}.{work.role}" if self._by == "operator" else ""
                part = parts.setdefault((name, place), [span.taken, span.ended])
                part[1] = max(part[1], span.ended)
                part[0] = min(part[0], span.taken)
        for name, units in found.items():
            for unit, intervals in units.items():
                self.shares[name].busy[unit.name] = (self.shares[name].busy[unit.name] or 0) + union(intervals)
        for (name, _), (begin, end) in parts.items():
            share = self.shares[name]
            share.elapsed += end - begin
            share.first = begin if share.first is None else min(begin, share.first)
            share.last = end if share.last is None else max(end, share.last)

    def add_work(self, spans: Sequence[Span], works: Sequence[Work]) -> None:
        """Bytes and multiply-adds of a run, of one core; spans of the cycle model, which know their bytes."""
        for span, work in zip(spans, works, strict=True):
            share = self.shares[getattr(work, self._by)]
            share.moved += span.moved or 0
            share.macs += work.macs
