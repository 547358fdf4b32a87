"""Unit L (rtl/memory/load_request.sv, load_unit.sv): LDV, LDG, LDM, LDS and LDK."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import ceil

import numpy as np

from flightllm.config.arch import ArchConfig
from flightllm.cycles.block_runs import NEXT, run_steps
from flightllm.cycles.channel import BEAT, LOADS, Channel
from flightllm.cycles.control import Tokens, Unit
from flightllm.cycles.gather import Gather
from flightllm.cycles.kernel import Kernel, Part, Process, Signal
from flightllm.cycles.memory import ChannelMemory
from flightllm.cycles.rings import BEAT_WORDS, Ring
from flightllm.isa.blocks import active_blocks, candidate_blocks, key_slots, runs
from flightllm.isa.fields import Instruction, Operands
from flightllm.isa.fields import Unit as UnitName
from flightllm.isa.load import DTYPES, LDG, LDM, LDS, LDV

#: beats of a channel that are asked for and not used, of a request; segments that wait
STAGING, REQUEST_BEATS, SEGMENTS = 64, 32, 8
#: from the cycle of the tokens to the first piece: StBegin, then StRow, or StMask and its own cycle beside those of block_runs
ROW, RUN = 2, 3
#: cycles of the products of a piece; from a piece to its segment
PRODUCTS, SEGMENT = 6, 1
#: from a request to the cycle in which the readers take it; from a piece's last request to the next piece
TAKEN, LAST = 1, 2
#: from a beat at the port to the cycle in which the staging offers it: the reader's data register, the FIFO
STAGED = 2
#: from the last word of a segment to the end of the instruction: register, FIFO and grant
WRITE = 3
#: from the use of a beat to the room for another: `beat_used_q`, `used_q`
ROOM = 2
#: from a beat pushed into the K ring to the cycle in which it counts; from a pop to the room that a push sees
PUSHED, POPPED = 2, 3
#: LDG: cycles of a row (StGather, StCheck, StGatherRow)
GATHER = 3


@dataclass(slots=True)
class _Segment:
    """A piece of memory, equal on all channels. steps: cycles of each beat in the second half: first, others, last. words: of the K ring."""

    kind: str
    beats: int
    first: int
    other: int
    last: int
    words: int
    signal: int
    there: float


class LoadUnit(Unit):
    """Carries out the loads: a walk that asks, and a second half that uses what comes.

    Args:
        channels: that it reads. k_ring: that it fills. level_age: cycles until the matrix unit sees a ring's level. mask: bytes of the mask
        buffer. memory: of channel 0, for masks and token ids.
    """

    name = UnitName.L

    def __init__(
        self,
        kernel: Kernel,
        tokens: Tokens,
        arch: ArchConfig,
        channels: list[Channel],
        k_ring: Ring,
        level_age: int,
        mask: np.ndarray,
        memory: ChannelMemory,
    ) -> None:
        super().__init__(kernel, tokens, arch.queue_depth)
        self._arch, self._channels, self._ring, self._mask, self._memory = arch, channels, k_ring, mask, memory
        self._seen = PUSHED + level_age
        gather = Gather(len(channels), self._come)
        self._arrived = [gather.of(c) for c in range(len(channels))]
        self._beats: deque[tuple[int, float, float]] = (
            deque()
        )  # beats, cycles in which the first and the last are staged
        self._segments: deque[_Segment] = deque()
        self._handed, self._came, self._used = Signal(kernel), Signal(kernel), Signal(kernel)
        self._asked = 0  # beats in all
        self._uses: deque[tuple[int, float]] = deque()  # beats used in all, cycle
        self._room = (0, 0.0)
        self._quiet = 0.0  # the second half has nothing from this cycle on
        self._working = 0  # segments handed over and not used up
        self._pushed = 0  # words of the K ring
        kernel.start(self._walk())
        kernel.start(self._use())

    def _come(self, first: float, last: float, beats: int) -> None:
        self._beats.append((beats, first + STAGED, last + STAGED))
        self._came.set()

    # --- first half --------------------------------------------------------------------------------------------------
    def _walk(self) -> Process:
        kernel = self.kernel
        self._free = 0.0  # the requester takes a piece from this cycle on
        while True:
            yield from self.next_op()
            inst, o = self.take()
            yield kernel.now + 1
            yield from self.wait_tokens(inst.wait)
            at = kernel.now
            if isinstance(inst, LDV):
                row = o.slots * DTYPES[o.dtype]
                if row:
                    for r in range(max(0, o.rows)):
                        at = yield from self._piece("vector", o.addr + r * o.row, row, at + (ROW if r == 0 else 1), o)
            elif isinstance(inst, LDG):
                at = yield from self._gather(o, at)
            elif isinstance(inst, LDM):
                self._mask[o.dst : o.dst + o.nbytes] = self._memory.read(o.addr, o.nbytes)
                at = yield from self._piece("mask", o.addr, o.nbytes, at + ROW, o)
            else:
                at = yield from self._ranges(inst, o, at)
            # the end of the instruction is a piece of its own; the walk goes on
            at = max(at + 1, self._free)
            self._free = at + SEGMENT + 1
            self._hand(_Segment("end", 0, 0, 0, 0, 0, inst.signal, at + SEGMENT + 1))
            yield at + 1

    def _hand(self, segment: _Segment) -> None:
        self._segments.append(segment)
        self._working += 1
        self._handed.set()

    def _piece(
        self, kind: str, addr: int, nbytes: int, ready: float, o: Operands, products: bool = False
    ) -> Part[float]:
        """A piece that the walk hands on in cycle `ready`; returns the cycle in which the requester takes it."""
        kernel = self.kernel
        at = max(ready + 1 + (PRODUCTS if products else 0), self._free)
        if not nbytes:
            return at
        beats = (addr % BEAT + nbytes + BEAT - 1) // BEAT
        first, other, last, words = self._steps(kind, addr, nbytes, beats, o)
        while len(self._segments) >= SEGMENTS:
            yield self._used
        yield at + SEGMENT
        self._hand(_Segment(kind, beats, first, other, last, words, 0, kernel.now + 1))
        addr -= addr % BEAT
        left = beats
        self.current.beats += beats
        yield kernel.now + 1
        while left:
            count = min(left, REQUEST_BEATS)
            self._asked += count
            wanted = self._asked - STAGING
            while self._room[0] < wanted:
                while not self._uses:
                    yield self._used
                self._room = self._uses.popleft()
            if self._room[0] and self._room[1] + ROOM > kernel.now:
                yield self._room[1] + ROOM
            yield kernel.now + TAKEN
            for channel, arrived in zip(self._channels, self._arrived, strict=True):
                while channel.busy(LOADS):
                    yield channel.free[LOADS]
                channel.request(LOADS, addr, count, arrived)
            addr += BEAT * count
            left -= count
            if left:
                yield kernel.now + 1
        self._free = kernel.now - TAKEN + LAST
        return at

    def _steps(self, kind: str, addr: int, nbytes: int, beats: int, o: Operands) -> tuple[int, int, int, int]:
        """Cycles of the first, a middle and the last beat in the second half; words for the K ring."""
        c = self._arch.channels
        offset = addr % BEAT
        stop = (offset + nbytes - 1) % BEAT + 1
        first_bytes = (stop if beats == 1 else BEAT) - offset
        if kind == "keys":
            return 1, 1, 1, -(-nbytes // 8)
        if kind == "ids":
            return 1, 1, 1, 0
        if kind == "mask":
            return first_bytes, BEAT, stop, 0
        if kind == "scales":
            parts = max(1, c // 16)
            return first_bytes // 2 * parts, BEAT // 2 * parts, stop // 2 * parts, 0
        size = DTYPES[o.dtype]

        def words(count: int) -> int:
            return -(-(count // size) * c // 16)

        return words(first_bytes), words(BEAT), words(stop), 0

    def _gather(self, o: Operands, at: float) -> Part[float]:
        kernel = self.kernel
        rows, row = max(0, o.rows), o.slots * DTYPES[o.dtype]
        if not rows:
            return at
        yield from self._still()
        at = yield from self._piece("ids", o.ids, 4 * rows, max(at + ROW, kernel.now), o)
        yield from self._still()
        ready = kernel.now + 1 + GATHER
        ids = self._memory.read(o.ids, 4 * rows).view("<i4")
        for i in ids.tolist():
            at = yield from self._piece("vector", o.table + i * o.row, row, ready, o, products=True)
            ready = max(ready + GATHER, at + 1)
        return at

    def _ranges(self, inst: Instruction, o: Operands, at: float) -> Part[float]:
        c, masked = self._arch.channels, False
        if isinstance(inst, LDS):
            blocks, unit, size = (candidate_blocks(o.len, o.sink, o.first) if o.heads else []), c, 2 * o.heads
        else:
            masked = bool(o.masked)
            if masked:
                yield from self._still()
                at = max(at, self.kernel.now - 1)
            blocks = active_blocks(o, self._mask)
            unit, size = (16 if o.kind == "V" else c * key_slots(c)), o.unit_bytes
        spans = runs(blocks)
        taken = free = at + RUN
        for index, ((lo, hi), steps) in enumerate(zip(spans, run_steps(spans, masked), strict=True)):
            last = index == len(spans) - 1
            begin = 64 * lo // unit
            end = -(-o.len // unit) if last else -(-64 * hi // unit)
            taken = max(taken + steps, free)
            kind = "scales" if isinstance(inst, LDS) else "keys"
            free = yield from self._piece(kind, o.addr + begin * size, (end - begin) * size, taken, o, products=True)
        return max(taken + NEXT, free)

    def _still(self) -> Process:
        """Wait until nothing is at work behind the walk; it is seen a cycle late."""
        while self._working:
            yield self._used
        yield max(self._quiet + 1, self._free)

    # --- second half -------------------------------------------------------------------------------------------------
    def _use(self) -> Process:
        beats = self._beats
        time = 0.0  # first cycle in which a segment can be worked on
        used = 0
        left, start, pitch = 0, 0.0, 0.0  # of the burst at hand: beats, cycle of the next, cycles from one to the next
        while True:
            while not self._segments:
                yield self._handed
            segment = self._segments.popleft()
            time = max(time, segment.there + 2)  # the FIFO, the register of the segment
            if segment.kind == "end":
                end = max(time, self._quiet)
                yield end
                self._working -= 1
                self._used.set()
                self.finish_at(end, segment.signal)
                time = end + 1
                continue
            todo, index = segment.beats, 0
            words_left = segment.words
            while todo:
                if not left:
                    while not beats:
                        yield self._came
                    left, start, last = beats.popleft()
                    pitch = (last - start) / (left - 1) if left > 1 else 0.0
                count = min(todo, left)
                if segment.kind == "keys":
                    time, words_left = yield from self._push(count, time, start, pitch, words_left, index, todo)
                else:
                    for k in range(count):
                        steps = segment.first if index + k == 0 else segment.last if k == todo - 1 else segment.other
                        time = max(time, ceil(start + pitch * k)) + steps
                used += count
                self._uses.append((used, time - 1))
                self._used.set()
                start += pitch * count
                left -= count
                todo -= count
                index += count
            self._quiet = time + (WRITE - 1 if segment.kind in ("vector", "scales") else 0)
            yield time
            self._working -= 1
            self._used.set()

    def _push(
        self, count: int, time: float, start: float, pitch: float, words_left: int, index: int, todo: int
    ) -> Part[tuple[float, int]]:
        """Beats of a burst go to the K ring, as far as it has room; returns (cycle after the last, words left of the segment)."""
        ring = self._ring
        done = 0
        while done < count:
            part = min(count - done, BEAT_WORDS)
            words = min(BEAT_WORDS * part, words_left)
            while (room := ring.room_for(self._pushed + words)) is None:
                yield ring.popped
            first = max(time, start + pitch * done, room + POPPED if room else 0.0)
            last = max(first + part - 1, start + pitch * (done + part - 1))
            ring.put(words, first + self._seen, last + self._seen)
            self._pushed += words
            words_left -= words
            done += part
            time = last + 1
        return time, words_left
