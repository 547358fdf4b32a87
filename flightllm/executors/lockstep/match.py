"""Matches the events of one core with what the functional executor expects, instruction by instruction (docs/lockstep.md)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from flightllm.executors.lockstep.expected import Expected, Places
from flightllm.isa.fields import Addr, Count, Field, Instruction, Unit
from flightllm.sim.events import Kind

#: kinds of events that an END closes
_EFFECTS = (Kind.VB, Kind.AB, Kind.MB, Kind.MEMORY, Kind.K_RING)
#: and those that come from the unit itself
_CLOSED = (Kind.END, Kind.VB, Kind.AB, Kind.MB, Kind.K_RING)
_OPERAND_BYTES = 5


@dataclass
class Finding:
    """A difference. what: a sentence without the place. space: "VB", "AB", "MB", "MEM", "W", "K", or "" (no place).

    index: unit within the space (ring: byte of the instruction's stream). channel: -1 if it has none. want, got: raw values, None if
    there is none. count: places that differ in the same instruction and space, as far as looked. stream: W and K: bytes that came,
    from byte `stream_at` on.
    """

    cycle: int
    what: str
    expected: Expected | None
    unit: Unit
    space: str = ""
    index: int = 0
    channel: int = -1
    want: Any = None
    got: Any = None
    count: int = 1
    stream: np.ndarray | None = None
    stream_at: int = 0


class CoreMatcher:
    """One core. ahead: gives the functional executor's next instruction of the core, None behind its last.

    Attributes:
        instructions: ended. writes: places compared, bytes of rings included.
    """

    def __init__(self, ahead: Callable[[], Expected | None]) -> None:
        self._ahead = ahead
        self._queues: dict[Unit, deque[Expected]] = {u: deque() for u in Unit}
        self._found: list[Finding] = []
        self._lost = False  # dispatch has diverged: nothing after it can be matched
        self.instructions = self.writes = 0

    def take(self, events: np.ndarray) -> list[Finding]:
        """Compare a batch of events of this core (MEMORY: `channel` is the core's channel); returns what differs."""
        self._found = []
        kind, unit = events["kind"], events["unit"]
        self._dispatch(events[(kind == Kind.DISPATCH) | (kind == Kind.OPERANDS)])
        self._weights(events[kind == Kind.W_RING])
        for u in (Unit.L, Unit.M, Unit.S, Unit.T):
            mine = events[((unit == u) & np.isin(kind, _CLOSED)) | ((kind == Kind.MEMORY) & (u == Unit.T))]
            begin = 0
            for end in np.flatnonzero(mine["kind"] == Kind.END).tolist():
                self._effects(u, mine[begin:end])
                self._end(u, int(mine["cycle"][end]))
                begin = end + 1
            self._effects(u, mine[begin:])
        return self._found

    def oldest(self) -> list[Expected]:
        """What each unit has begun or has next in its queue."""
        return [queue[0] for queue in self._queues.values() if queue]

    def finish(self, cycle: int) -> list[Finding]:
        """The run of the program has ended: everything must have been seen."""
        self._found = []
        for unit, queue in self._queues.items():
            self._drop_weights()
            if queue:
                self._add(cycle, "the run ended before this instruction did", queue[0], unit)
        following = self._ahead()
        if following is not None and not self._found:
            self._add(cycle, "the run ended without this instruction", following, following.unit)
        return self._found

    def _add(self, cycle: int, what: str, expected: Expected | None, unit: Unit, **place: Any) -> None:
        self._found.append(Finding(int(cycle), what, expected, unit, **place))

    # --- dispatch -----------------------------------------------------------------------------------------------
    def _dispatch(self, events: np.ndarray) -> None:
        for word, operands in zip(events[::2], events[1::2], strict=True):
            if self._lost:
                return
            e, cycle, pc = self._ahead(), word["cycle"], int(word["addr"])
            if e is None or e.pc != pc:
                self._lost = True
                what = "another instruction is dispatched" if e is not None else "an instruction behind the last one"
                self._add(cycle, what, e, Unit(word["unit"]), want=e and f"pc {e.pc}", got=f"pc {pc}")
                return
            if word["data"].tobytes() != e.inst.encode():
                self._lost = True
                got = _text(word["data"].tobytes())
                self._add(cycle, "another instruction word is dispatched", e, e.unit, want=str(e.inst), got=got)
                return
            for name, want, found in _operands(e, operands["data"].tobytes()):
                if want != found:
                    self._add(cycle, f"operand {name} is resolved to another value", e, e.unit, want=want, got=found)
                    break
            self._queues[e.unit].append(e)

    # --- effects of L, M, S, T ----------------------------------------------------------------------------------
    def _effects(self, unit: Unit, events: np.ndarray) -> None:
        if not len(events):
            return
        queue = self._queues[unit]
        if not queue:
            if not self._lost:
                self._add(events["cycle"][0], "a write of a unit without an instruction", None, unit)
            return
        e = queue[0]
        for kind in _EFFECTS:
            some = events[events["kind"] == kind]
            if not len(some):
                continue
            if kind == Kind.K_RING:
                self._keys(e, some)
            else:
                self._writes(e, kind, some)

    def _writes(self, e: Expected, kind: Kind, events: np.ndarray) -> None:
        space, event, index, value, channel = _decoded(kind, events)
        self.writes += len(index)
        places = e.places.get(space) or Places(np.zeros(0, np.int64), value[:0], np.zeros(0, bool))
        row, there = places.find(index)
        if len(places.index):
            want = places.value[row] if channel is None else places.value[row, channel]
            same = want == value
            good = there & (same if same.ndim == 1 else same.all(axis=1))
            places.seen[row[there] if channel is None else (row[there], channel[there])] = True
        else:
            good = there
        bad = np.flatnonzero(~good)
        if not len(bad):
            return
        i = int(bad[0])
        at = -1 if channel is None else int(channel[i])
        place = {"space": space, "index": int(index[i]), "channel": at, "got": value[i], "count": len(bad)}
        if there[i]:
            self._add(events["cycle"][event[i]], "another value is written", e, e.unit, want=want[i], **place)
        else:
            what = "a write to a place that the instruction does not write"
            self._add(events["cycle"][event[i]], what, e, e.unit, **place)

    def _keys(self, e: Expected, events: np.ndarray) -> None:
        for channel in np.unique(events["channel"]).tolist():
            mine = events[events["channel"] == channel]
            words = np.arange(8)
            first, count = mine["addr"][:, None], mine["mask"][:, None]
            used = (words >= first) & (words < first + count)
            data = mine["data"].reshape(-1, 8, 8)[used].reshape(-1)
            self._stream(e, "K", channel, data, mine["cycle"], np.cumsum(8 * mine["mask"].astype(np.int64)))

    def _stream(
        self, e: Expected, space: str, channel: int, data: np.ndarray, cycles: np.ndarray, ends: np.ndarray
    ) -> bool:
        """Compare ring bytes of a channel with an instruction's; False if they differ.

        cycles [n], ends [n]: bytes of `data` before ends[i] had come in cycle cycles[i].
        """
        self.writes += len(data)
        have = int(e.taken[channel]) if e.taken is not None else 0
        want = e.stream[channel, have : have + len(data)] if e.stream is not None else data[:0]
        wrong = np.flatnonzero(want != data[: len(want)])
        place = {"space": space, "channel": channel, "stream": data, "stream_at": have}

        def cycle(i: int) -> int:
            return int(cycles[np.searchsorted(ends, i, "right")])

        if len(wrong):
            i = int(wrong[0])
            what = "another byte goes into the ring"
            self._add(cycle(i), what, e, e.unit, index=have + i, want=want[i], got=data[i], count=len(wrong), **place)
            return False
        if len(data) > len(want):
            what = "more goes into the ring than the instruction loads"
            self._add(cycle(len(want)), what, e, e.unit, index=have + len(want), got=data[len(want)], **place)
            return False
        if e.taken is not None:
            e.taken[channel] += len(data)
        return True

    def _end(self, unit: Unit, cycle: int) -> None:
        queue = self._queues[unit]
        if not queue:
            if not self._lost:
                self._add(cycle, "a unit without an instruction gives tokens", None, unit)
            return
        e = queue.popleft()
        self.instructions += 1
        for space, places in e.places.items():
            left = np.argwhere(~places.seen)
            if len(left):
                row, channel = int(left[0][0]), int(left[0][1]) if places.seen.ndim > 1 else -1
                want = places.value[row] if channel < 0 else places.value[row, channel]
                place = {"space": space, "index": int(places.index[row]), "channel": channel, "want": want}
                self._add(cycle, "the instruction ended without this write", e, unit, count=len(left), **place)
        if e.stream is not None and e.taken is not None and (e.taken < e.stream.shape[1]).any():
            self._missing(e, cycle, "K")

    def _missing(self, e: Expected, cycle: int, space: str) -> None:
        assert e.stream is not None and e.taken is not None
        channel = int(np.argmin(e.taken))
        i = int(e.taken[channel])
        what = "bytes are missing in the ring"
        place = {"space": space, "index": i, "channel": channel, "want": e.stream[channel, i]}
        self._add(cycle, what, e, e.unit, count=e.stream.shape[1] - i, **place)

    # --- W: no ends, one stream of bytes per channel --------------------------------------------------------------
    def _weights(self, events: np.ndarray) -> None:
        for channel in np.unique(events["channel"]).tolist():
            mine = events[events["channel"] == channel]
            data = mine["data"].reshape(-1)
            ends = 64 * np.arange(1, len(mine) + 1)
            at = 0
            for e in self._queues[Unit.W]:
                assert e.stream is not None and e.taken is not None
                part = data[at : at + e.stream.shape[1] - int(e.taken[channel])]
                if not self._stream(e, "W", channel, part, mine["cycle"], ends - at):
                    break
                at += len(part)
            else:
                if at < len(data) and not self._lost:
                    what = "bytes go into the W ring without an instruction"
                    self._add(mine["cycle"][at // 64], what, None, Unit.W, space="W", channel=channel)
        self._drop_weights()

    def _drop_weights(self) -> None:
        queue = self._queues[Unit.W]
        while queue:
            e = queue[0]
            assert e.stream is not None and e.taken is not None
            if (e.taken < e.stream.shape[1]).any():
                return
            queue.popleft()
            self.instructions += 1


def _decoded(kind: Kind, events: np.ndarray) -> tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """(space, event of each unit, index of each unit, values, channel of each unit or None), in the order of the events."""
    addr, mask, data = events["addr"].astype(np.int64), events["mask"], np.ascontiguousarray(events["data"])
    if kind == Kind.MB:
        return "MB", np.arange(len(events)), addr, data[:, 0], None
    wide = {Kind.VB: 16, Kind.AB: 2, Kind.MEMORY: 64}[kind]
    units = np.arange(wide)
    event, unit = np.nonzero(mask[:, None] >> units.astype(np.uint64) & np.uint64(1))
    if kind == Kind.VB:
        return "VB", event, 16 * addr[event] + unit, data.view("<u4")[event, unit], None
    if kind == Kind.AB:
        return "AB", event, addr[event] + unit, data.view(np.int8).reshape(-1, 4, 16)[event, unit], None
    return "MEM", event, addr[event] + unit, data[event, unit], events["channel"].astype(np.int64)[event]


def _text(word: bytes) -> str:
    from flightllm.errors import ProgramError

    try:
        return str(Instruction.decode(word))
    except ProgramError as error:
        return error.what


def _operands(e: Expected, raw: bytes) -> list[tuple[str, int, int]]:
    """(name, functional value, dispatched value) of every operand that the sequencer resolves."""
    out = []
    resolved = [f for f in e.inst.fields.values() if isinstance(f, Addr | Count)]
    for i, f in enumerate(resolved):
        value = int.from_bytes(raw[_OPERAND_BYTES * i : _OPERAND_BYTES * (i + 1)], "little")
        bits = _operand_bits(f)
        out.append((f.name, getattr(e.operands, f.name) & ((1 << bits) - 1), value & ((1 << bits) - 1)))
    return out


def _operand_bits(f: Field) -> int:
    return f.bits if isinstance(f, Addr) else 32
