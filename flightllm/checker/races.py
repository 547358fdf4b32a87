"""Races: accesses of different units to one place, one of them a write, that nothing orders."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable
from itertools import product

from flightllm.checker.ops import Op
from flightllm.config.arch import ArchConfig
from flightllm.errors import ProgramError
from flightllm.isa.control import BARRIER
from flightllm.isa.fields import TOKEN_UNITS, Unit
from flightllm.isa.footprint import Access

#: decides whether two operations whose spans meet do touch the same place: (op, op, space) -> bool
Exact = Callable[[Op, Op, str], bool]

#: first, behind the last, number among its unit's operations, channel
_Entry = tuple[int, int, int, int | None, Op]
#: by space and whether it wrote; by unit
_History = dict[tuple[str, bool], dict[Unit, list[_Entry]]]


def check_races(order: list[Op], exact: Exact | None = None) -> int:
    """Raise ProgramError for the first race; returns the number of conflicting pairs found ordered.

    order: operations in an order in which they can start (so whatever happens before an operation stands before it). exact: asked
    about spans that meet unordered; without it meeting spans are a race.
    """
    clock: dict[Unit, list[int]] = {u: [0] * len(TOKEN_UNITS) for u in TOKEN_UNITS}
    count = [0] * len(TOKEN_UNITS)
    tokens: dict[tuple[Unit, Unit], deque[list[int]]] = defaultdict(deque)
    history: _History = defaultdict(lambda: defaultdict(list))
    ordered = 0
    for op in order:
        unit = op.inst.unit
        if isinstance(op.inst, BARRIER):
            history.clear()  # everything before is over
            continue
        if unit not in clock:
            continue
        index = count[unit]
        known = list(clock[unit])
        known[unit] = index
        for source in TOKEN_UNITS:
            if op.inst.wait >> source & 1:
                known = [max(a, b) for a, b in zip(known, tokens[source, unit].popleft(), strict=True)]
        clock[unit] = known
        count[unit] = index + 1
        if op.inst.signal:
            done = list(known)
            done[unit] = index + 1
            for target in TOKEN_UNITS:
                if op.inst.signal >> target & 1:
                    tokens[unit, target].append(done)
        for space, write, lo, hi, channel in op.places:
            for kind in (True, False) if write else (True,):
                for other, entries in history[space, kind].items():
                    if other == unit:
                        continue
                    for a, b, at, ch, old in entries:
                        if a < hi and lo < b and (ch is None or channel is None or ch == channel):
                            if known[other] > at:
                                ordered += 1
                            elif exact is None or exact(old, op, space):
                                raise _race(old, op, space, max(lo, a), min(hi, b), kind, write)
        for space, write, lo, hi, channel in op.places:
            _remember(history, (space, write), unit, (lo, hi, index, channel, op))
    return ordered


def _remember(history: _History, key: tuple[str, bool], unit: Unit, new: _Entry) -> None:
    """Add an access; one of the same unit that it covers is implied by it (a write covers reads too)."""
    lo, hi, _, channel, _ = new
    for kind in (True, False) if key[1] else (False,):
        entries = history[key[0], kind][unit]
        entries[:] = [e for e in entries if not (lo <= e[0] and e[1] <= hi and (channel is None or channel == e[3]))]
    history[key][unit].append(new)


def _race(old: Op, new: Op, space: str, lo: int, hi: int, wrote: bool, writes: bool) -> ProgramError:
    verb = {True: "writes", False: "reads"}
    return ProgramError(
        f"race: {old.inst.unit.name} {verb[wrote]} and {new.inst.unit.name} {verb[writes]} {space} {lo}..{hi - 1}, unordered",
        where=str(new),
        why=f"no token and no barrier orders it with {old}",
        do=f"let {old.inst.unit.name} signal {new.inst.unit.name} in between",
    )


def check_weight_reads(ops: list[Op]) -> None:
    """Raise ProgramError if a store may change what a weight load reads: W takes no tokens, so nothing could order the two."""
    reads = sorted(
        ((lo, hi, op) for op in ops if op.inst.unit == Unit.W for s, _, lo, hi, _ in op.places if s == "MEM"),
        key=lambda r: r[:2],
    )
    tops: list[int] = []  # highest end up to each read: all reads before that one end below it
    for _, hi, _ in reads:
        tops.append(max(hi, tops[-1] if tops else 0))
    for op in ops:
        for space, write, lo, hi, _ in op.places:
            if space != "MEM" or not write:
                continue
            for a, b, load in reads[bisect_right(tops, lo) :]:
                if a >= hi:
                    break
                if lo < b:
                    raise ProgramError(
                        f"a store can change what a weight load reads: MEM {max(a, lo):#x}..{min(b, hi) - 1:#x}",
                        where=str(op),
                        why=f"nothing can order it with {load}",
                    )


def exact_conflicts(arch: ArchConfig) -> Exact:
    """Comparison of the exact strided accesses of two operations of one run."""
    memo: dict[tuple[int, int, str], bool] = {}

    def meet(a: Op, b: Op, space: str) -> bool:
        key = (id(a), id(b), space)
        if key not in memo:
            x, y = (
                [t for t in op.inst.footprint(op.inst.resolve(list(op.regs)), arch) if t.space == space and not t.empty]
                for op in (a, b)
            )
            memo[key] = any((p.write or q.write) and overlap(p, q) for p in x for q in y)
        return memo[key]

    return meet


def overlap(a: Access, b: Access) -> bool:
    """Two accesses that are not empty touch a common unit."""
    if a.channel is not None and b.channel is not None and a.channel != b.channel:
        return False
    (lo, hi), (p, q) = a.span, b.span
    if p >= hi or lo >= q:
        return False
    starts = _starts(b)
    longest = b.length
    for start in _starts(a):
        i = bisect_right(starts, start - longest)  # the first run of b that ends after `start`
        if i < len(starts) and starts[i] < start + a.length:
            return True
    return False


def _starts(a: Access) -> list[int]:
    return sorted(
        a.base + sum(i * s for i, s in zip(index, a.strides, strict=True))
        for index in product(*(range(c) for c in a.counts))
    )
