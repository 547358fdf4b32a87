"""Unit M (rtl/matrix): fetch stage, execute stage and drain, each with a clock of its own.

Fetch and execute are processes; each runs ahead of the kernel's clock as far as it knows what the other, the rings and the tokens do. All
cycles are those of docs/rtl.md: a pop *fires* in the cycle in which fetch_pop decides it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from flightllm.config.arch import ArchConfig
from flightllm.cycles.block_runs import run_steps
from flightllm.cycles.control import Tokens, Unit
from flightllm.cycles.kernel import Kernel, Part, Process, Signal
from flightllm.cycles.matrix_items import AHEAD, STEADY_WORDS, Item, Tile, header_pieces, key_tile, sides, value_tile
from flightllm.cycles.rings import Ring
from flightllm.cycles.streams import Strip
from flightllm.isa.blocks import active_blocks, runs
from flightllm.isa.fields import Instruction, Operands
from flightllm.isa.fields import Unit as UnitName
from flightllm.isa.matrix import MM, MMQK

# fetch_plan: cycles from the cycle in which it takes something to the first in which it offers the next item
PLAN_STRIP, PLAN_ENTRY = 3, 7
#: from the instruction to the start of block_runs; from a run taken to its item; from an item to the next run
PLAN_RUNS, PLAN_RUN, PLAN_NEXT = 1, 2, 1
#: from an item to the first possible firing of its first piece: the walk, its section, the queue of pops
WALKED = 3
#: from a firing to the popped words at the format table, and a byte of them parsed each
TABLE = 5
#: from the cycle in which execute frees a tile's beats, a scale row or the drain a strip's rho to the firing that takes the room
FREED = 2
#: words that a ring's level shows at most
LEVEL = 63
#: from a firing to the beat in the replay buffer that execute counts
AVAILABLE = 5
#: from the last beat of a run to its first scale operation; to a strip's entry in the drain's queue behind the last operation
SCALE_ROW, STRIP = 13, 19
#: from a last issue to the next instruction's StTake
TURN = 2
#: drain: cycles of a row beat of a token besides its steps; of another read; from its last step to the end of the instruction
READ, READ_MORE, WRITTEN = 3, 2, 22
#: a read of accumulators that has waited so long makes the array pause; from then to the first pause (`starved_q`, `waits_q`); from a pause to the cycle
#: of the accumulators that it leaves free
STARVED, WAITS, PAUSE = 8, 2, 17
#: from the first cycle of such a read to the one that it gets
PAUSED = STARVED + WAITS + PAUSE
#: reads after which they are in step
READS = 64
REPLAY_BEATS, SCALE_ROWS, STRIPS = 16, 8, 2


@cache
def _in_step(run: int, period: int, units: tuple[int, ...]) -> float:
    """Cycles that a read waits, on the average of many, if the first `run` of `period` cycles are taken; the next one comes `units` cycles behind it, by turns."""
    if run >= period:
        return math.inf
    phase = total = 0
    for n in range(READS):
        wait = max(0, run - phase)
        total += wait
        phase = (phase + wait + units[n % len(units)]) % period
    return total / READS


def _read_cycles(reads: int) -> int:
    """Cycles of a row beat of a token in the drain besides its steps, with so many reads."""
    return READ + (reads - 1) * READ_MORE


@dataclass(slots=True)
class _Strip:
    """A strip as the drain sees it: steps of its row beats for one token."""

    steps: list[int]
    op_last: bool


@dataclass(slots=True)
class _Load:
    """What a strip asks of the array: cycles; pairs of tokens of each tile; scale operations one after the other, within so many cycles."""

    cycles: int = 0
    pairs: int = 0
    run: int = 0
    period: int = 1


@cache
def _work(count: int, two: int, runs: int, last_ops: int) -> tuple[int, int, int]:
    """Cycles of the array for `runs` through a tile of `count` windows, with `two` scale operations each and `last_ops` the last; and `run`, `period` of a `_Load`."""
    step = max(count, two)
    took = (runs - 1) * step + max(count, last_ops)
    if two >= count and runs > 1:  # without a gap from run to run
        return took, (runs - 1) * step + last_ops, took
    return took, last_ops if runs == 1 else two, count


@dataclass(slots=True)
class _Mop:
    """An instruction on its way through the stages. there: cycle in which execute sees it. taken: its tokens, None until known."""

    inst: Instruction
    o: Operands
    tokens: int
    dual: bool
    there: float
    taken: float | None = None

    @property
    def pairs(self) -> int:
        """Pairs of tokens, or of the two codes of one."""
        return self.tokens if self.dual else (self.tokens + 1) // 2

    @property
    def odd(self) -> bool:
        """The last pair is a single token."""
        return not self.dual and self.tokens % 2 == 1


@dataclass(slots=True)
class _Log:
    """Things that get free in order: how many in all, and in which cycle."""

    signal: Signal
    entries: deque[tuple[int, float]] = field(default_factory=deque)
    last: tuple[int, float] = (0, 0.0)
    total: int = 0

    def add(self, count: int, time: float) -> None:
        """So many more get free in this cycle."""
        self.total += count
        self.entries.append((self.total, time))
        if self.signal.waiting:
            self.signal.set()

    def until(self, count: int) -> float | None:
        """Cycle in which `count` in all are free, None if it is not known yet. Ask in order."""
        while self.last[0] < count:
            if not self.entries:
                return None
            self.last = self.entries.popleft()
        return self.last[1]


class MatrixUnit(Unit):
    """Carries out MM, MMQK and MMPV.

    Args:
        w_ring, k_ring: what it pops. level_age: cycles until a ring's level is seen. mask: bytes of the mask buffer.
        strips: of the next MM.
    """

    name = UnitName.M

    def __init__(
        self,
        kernel: Kernel,
        tokens: Tokens,
        arch: ArchConfig,
        w_ring: Ring,
        k_ring: Ring,
        level_age: int,
        mask: np.ndarray,
        strips: Callable[[Operands], Iterator[Strip]],
    ) -> None:
        super().__init__(kernel, tokens, arch.queue_depth)
        self._arch, self._w, self._k, self._mask, self._strips = arch, w_ring, k_ring, mask, strips
        self._lanes = min(16, 4 * arch.channels)
        self._window = level_age + 2  # cycles over which the words of pops may not exceed the level that is shown
        self.beats = 0.0  # of the array
        # between the stages
        self._mops: deque[_Mop] = deque()
        # tile; cycle, and for each window how much later its last piece fires; first of its strip or tile of keys; strip that ends with it
        self._tiles: deque[tuple[Tile, float, Sequence[float], bool, _Strip | None]] = deque()
        self._handed, self._tile_there, self._tokens_taken = Signal(kernel), Signal(kernel), Signal(kernel)
        self._mop_places = _Log(Signal(kernel))
        self._beats_free = _Log(Signal(kernel))
        self._rows_free = _Log(Signal(kernel))
        self._rho_free = _Log(Signal(kernel))
        # fetch
        self._fired = 0.0  # last piece
        self._fires: deque[float] = deque([-1.0] * (AHEAD + 1), maxlen=AHEAD + 1)
        self._accepts = 0.0  # from when on the walk takes an item
        self._w_words = self._k_words = 0
        self._beats_used = self._rows_used = self._rho_used = 0
        self._recent: deque[tuple[float, int]] = deque()
        kernel.start(self._fetch())
        kernel.start(self._execute())

    # --- fetch -------------------------------------------------------------------------------------------------------
    def _fetch(self) -> Process:
        planned = 0.0
        count = 0
        while True:
            while not self.queue:
                yield self.more
            at = max(planned, self.queue[0][0])
            count += 1
            while (free := self._mop_places.until(count - 2)) is None:
                yield self._mop_places.signal
            at = max(at, free + 1 if count > 2 else 0.0)
            yield at
            inst, o = self.take()
            attention = not isinstance(inst, MM)
            tokens = max(0, o.n0) * o.n1 if attention else max(0, o.tokens)
            mop = _Mop(inst, o, tokens, bool(o.dual), at + 1)
            self._mops.append(mop)
            self._handed.set()
            if attention:
                planned = yield from self._attention(mop, at)
            else:
                planned = yield from self._weights(o, at)

    def _weights(self, o: Operands, at: float) -> Part[float]:
        """Strips of a weight stream; returns the cycle from which on the plan takes an instruction."""
        v, lanes, channels = self._arch.vpus, self._lanes, self._arch.channels
        begun = self._w_words
        strips = list(self._strips(o))
        for index, popped in enumerate(strips):
            if popped.table:
                accepted = self._accept(at + PLAN_STRIP)
                words = (popped.table + 7) // 8
                for k in range(words):
                    yield from self._pop_w((1,), accepted + WALKED + k)
                ready = self._fired + TABLE + popped.table
            else:
                ready = at + PLAN_STRIP
            accepted = self._accept(ready)
            pieces = header_pieces(popped.slots, bool(o.bias))
            self._rho_used += 1
            while (free := self._rho_free.until(self._rho_used - STRIPS)) is None:
                yield self._rho_free.signal
            yield from self._pop_w(pieces, max(accepted + WALKED, free + FREED if free else 0.0))
            self._accepts = max(accepted + len(pieces), self._fires[0] + 1)
            full, rest = divmod(popped.slots, v)
            strip = _Strip([-(-v * channels // lanes)] * full, index == len(strips) - 1)
            if rest:
                strip.steps.append(-(-rest * channels // lanes))
            ready = accepted + PLAN_ENTRY
            last = len(popped.items) - 1
            for number, item in enumerate(popped.items):
                accepted = self._accept(ready)
                yield from self._pop_entry(item, accepted + WALKED, number == 0, strip if number == last else None)
                self._accepts = max(accepted + item.pieces, self._fires[0] + 1)
                ready = accepted + PLAN_ENTRY
            at = accepted
        accepted = self._accept(at + 1)
        pad = -(self._w_words - begun) % 8
        if pad:
            yield from self._pop_w((pad,), accepted + WALKED)
        self._accepts = accepted + 1
        return accepted + 1

    def _accept(self, ready: float) -> float:
        """Cycle in which the walk takes an item that is ready."""
        return max(ready, self._accepts)

    def _pop_w(self, pieces: tuple[int, ...], earliest: float) -> Process:
        """Pops of the W ring that need no other room."""
        ring = self._w
        time = max(self._fired, earliest - 1)
        for words in pieces:
            self._w_words += words
            while self._w_words > ring.coming:
                yield ring.arrived
            time = max(time + 1, ring.time_of(self._w_words))
            self._fires.append(time)
        self._fired = time
        ring.pop(self._w_words, time)

    def _pop_entry(self, item: Item, earliest: float, first: bool, strip: _Strip | None) -> Process:
        """An entry: scales, then tiles, which go to execute. strip: it is the last of this strip."""
        ring, rows, beats = self._w, self._rows_free, self._beats_free
        time, total = max(self._fired, earliest - 1), self._w_words
        time_of, fires = ring.time_of, self._fires
        for words, needs_row in item.scales:
            total += words
            while total > ring.coming:
                yield ring.arrived
            time = max(time + 1, time_of(total))
            if needs_row:
                self._rows_used += 1
                while (free := rows.until(self._rows_used - SCALE_ROWS)) is None:
                    yield rows.signal
                if free + FREED > time:
                    time = free + FREED
            fires.append(time)
        used, last = self._beats_used, len(item.tiles) - 1
        times: Sequence[float]
        for number, tile in enumerate(item.tiles):
            while (free := beats.until(used + 1 - REPLAY_BEATS)) is None:
                yield beats.signal
            if free + FREED > time + 1:
                time = free + FREED - 1
            room = beats.last[0] + REPLAY_BEATS - used
            if room >= tile.count and tile.steady and ring.come(total + tile.words, time + 1):
                # nothing holds up the tile any more: a piece a cycle
                begin, times = time, tile.ends
                time += times[-1]
                if number >= item.tail:  # nobody asks for those before
                    fires.extend([begin + k + 1 for k in range(times[-1])])
            else:
                times = yield from self._pop_tile(tile, time, total, used)
                begin, time = 0.0, times[-1]
            total += tile.words
            used += tile.count
            ring.pop(total, time)
            self._tiles.append((tile, begin, times, first and number == 0, strip if number == last else None))
            if self._tile_there.waiting:
                self._tile_there.set()
        self._beats_used, self._w_words, self._fired = used, total, time

    def _pop_tile(self, tile: Tile, time: float, total: int, used: int) -> Part[Sequence[float]]:
        """A tile of the W ring, piece by piece; returns the cycle of each window's last. total, used: words and beats before it."""
        ring, beats, fires = self._w, self._beats_free, self._fires
        times = []
        for window in tile.windows:
            used += 1
            while (free := beats.until(used - REPLAY_BEATS)) is None:
                yield beats.signal
            if free + FREED > time + 1:
                time = free + FREED - 1
            for words in window:
                total += words
                while total > ring.coming:
                    yield ring.arrived
                came = ring.time_of(total)
                time = time + 1 if came <= time + 1 else came
                if words > STEADY_WORDS:
                    time = self._level(time, words)
                fires.append(time)
            times.append(time)
        return times

    def _level(self, time: float, words: int) -> float:
        """A pop waits while the words of the last ones and its own are more than a level can show."""
        recent = self._recent
        while recent and recent[0][0] <= time - self._window:
            recent.popleft()
        while sum(w for _, w in recent) + words > LEVEL:
            time = max(time, recent.popleft()[0] + self._window)
        recent.append((time, words))
        return time

    def _attention(self, mop: _Mop, at: float) -> Part[float]:
        """Runs of blocks of the K ring's stream; returns the cycle from which on the plan takes an instruction."""
        o = mop.o
        masked = bool(o.masked)
        blocks = active_blocks(o, self._mask)
        if not blocks:
            accepted = self._accept(at + 1)
            self._accepts = accepted + 1
            self._tiles.append((Tile((), 0, 0), 0.0, (), True, _Strip([], True)))
            self._fired = max(self._fired + 1, accepted + WALKED)
            self._tile_there.set()
            return accepted + 1
        begin = at + 1
        if masked:
            while mop.taken is None:
                yield self._tokens_taken
            begin = max(begin, mop.taken + 1)
            # the mask as it is when the tokens are there
            yield begin
            blocks = active_blocks(o, self._mask)
        taken = accepted = begin - 1 + PLAN_RUNS
        keys = isinstance(mop.inst, MMQK)
        spans = runs(blocks)
        for index, ((lo, hi), steps) in enumerate(zip(spans, run_steps(spans, masked), strict=True)):
            last_run = index == len(spans) - 1
            taken = max(taken + steps, accepted + PLAN_NEXT)
            accepted = self._accept(taken + PLAN_RUN)
            earliest = accepted + WALKED
            pieces = yield from (self._keys if keys else self._values)(o, lo, hi, last_run, index == 0, earliest)
            self._accepts = max(accepted + pieces, self._fires[0] + 1)
        return accepted + 1

    def _keys(self, o: Operands, lo: int, hi: int, last_run: bool, first: bool, earliest: float) -> Part[int]:
        arch = self._arch
        windows, bits = -(-o.k // 16), int(o.bits)
        begin = lo * 64 // arch.channels
        end = -(-o.len // arch.channels) if last_run else hi * 64 // arch.channels
        pieces = 0
        for unit in range(begin, end, arch.vpus):
            lanes = min(arch.vpus, end - unit)
            tile = key_tile(lanes, windows, bits, arch.channels, sides(lanes, arch.vpus, arch.chain_vpus))
            last = last_run and unit + arch.vpus >= end
            strip = _Strip([-(-lanes * arch.channels // self._lanes)], last)
            yield from self._pop_k(tile, earliest, True, strip)
            pieces += sum(map(len, tile.windows))
        return pieces

    def _values(self, o: Operands, lo: int, hi: int, last_run: bool, first: bool, earliest: float) -> Part[int]:
        arch = self._arch
        rows, bits = -(-o.slots // arch.vpus), int(o.bits)
        tail = o.slots - (rows - 1) * arch.vpus
        begin, end = 4 * lo, -(-o.len // 16) if last_run else 4 * hi
        counts = [arch.vpus] * (rows - 1) + [tail]
        steps = [-(-n * arch.channels // self._lanes) for n in counts]
        pieces = 0
        tiles = [value_tile(n, bits, sides(n, arch.vpus, arch.chain_vpus)) for n in counts]
        for unit in range(begin, end):
            for row, tile in enumerate(tiles):
                last = last_run and unit == end - 1 and row == rows - 1
                strip = _Strip(steps, True) if last else None
                yield from self._pop_k(tile, earliest, first and unit == begin and row == 0, strip)
                pieces += len(tile.windows[0])
        return pieces

    def _pop_k(self, tile: Tile, earliest: float, first: bool, strip: _Strip | None) -> Process:
        """A tile of the K ring."""
        ring, beats = self._k, self._beats_free
        time, total = max(self._fired, earliest - 1), self._k_words
        self._beats_used += tile.held or tile.count
        while (free := beats.until(self._beats_used - REPLAY_BEATS)) is None:
            yield beats.signal
        time = max(time, free + FREED - 1)
        times = []
        for window in tile.windows:
            for words in window:
                total += words
                while total > ring.coming:
                    yield ring.arrived
                came = ring.time_of(total)
                time = time + 1 if came <= time + 1 else came
                self._fires.append(time)
            times.append(time)
        ring.pop(total, time)
        self._k_words, self._fired = total, time
        self._tiles.append((tile, 0.0, times, first, strip))
        self._tile_there.set()

    @staticmethod
    def _read_waits(tokens: int, strip: _Strip, load: _Load, reads: int) -> tuple[float, int]:
        """Cycles that the drain waits for reads of accumulators while the array works on the next strip, which is as this one; and how
        often the array pauses for it: once in so many cycles, 0: never. reads: of a row beat.

        Scale operations come before reads. Of `period` cycles they take `run`, one after the other: with several pairs of tokens, which follow each
        other without a gap, reads fall into step with them; with one, a read waits run (run + 1) / 2 period cycles on the average. Where no cycle is
        free, or a read would wait longer than STARVED, the array pauses (matrix_drain: Turn).
        """
        if not load.cycles:
            return 0.0, 0
        steps = max(strip.steps)
        unit, beats = _read_cycles(reads) + steps, tokens * len(strip.steps)
        run, period = load.run, load.period
        units = (READ_MORE,) * (reads - 1) + (READ + steps,)
        if load.pairs > 1:
            wait = _in_step(run, period, units)
        else:  # two VPUs in a chain may leave no cycle free
            wait = run * (run + 1) / (2 * period) if run < period else math.inf
        if wait > STARVED:  # each read has a pause of its own
            turn = steps + 4 | 1
            # the first read comes before the next strip's operations
            active = max(0, load.cycles * turn // (turn - 1) - unit)
            paused = min(beats, max(0, active - PAUSED) // (reads * turn))
            return min(PAUSED, active) + paused * (reads * turn - unit), turn
        wait *= reads
        return min(beats, load.cycles / (unit + wait)) * wait, 0

    def _load_behind(self) -> _Load:
        """What the next instruction asks of the array, if it is there and waits for no token: the last strip drains meanwhile."""
        load = _Load()
        if not self._mops or not self._tiles or not self.tokens.there(self.name, self._mops[0].inst.wait):
            return load
        mop, tile = self._mops[0], self._tiles[0][0]
        if not mop.pairs or not tile.count:
            return load
        last_ops = tile.one if mop.odd else tile.two
        took, load.run, load.period = _work(tile.count, tile.two, tile.runs(mop.pairs, mop.odd), last_ops)
        load.cycles, load.pairs = took, mop.pairs
        if isinstance(mop.inst, MM):  # as its first tile, so are all
            o = mop.o
            load.cycles = took * -(-o.slots // self._arch.vpus) * -(-o.k // 16) // tile.count
        return load

    # --- execute and drain -------------------------------------------------------------------------------------------
    def _execute(self) -> Process:
        kernel = self.kernel
        issued = 0.0  # last beat
        drained = 0.0  # the drain waits for a strip from this cycle on
        busy_from, busy_to, turn = 0.0, 0.0, 0  # the drain of the strip before, and its pauses
        pause = 0.0  # what is left of a cycle
        ends: deque[float] = deque([-1.0, -1.0], maxlen=2)  # of the last two instructions
        halves: deque[float] = deque([-1.0, -1.0], maxlen=2)  # releases of the last two strips
        while True:
            while not self._mops:
                yield self._handed
            mop = self._mops.popleft()
            popped = max(issued + TURN - 1, mop.there)
            self._mop_places.add(1, popped)
            yield max(popped + 1, ends[0] + 1)
            yield from self.wait_tokens(mop.inst.wait)
            mop.taken = kernel.now
            self._tokens_taken.set()
            issued = kernel.now + mop.tokens
            pairs, odd = mop.pairs, mop.odd
            # of a row beat: the sums of the two codes lie in one place for each side
            reads = self._arch.chain_vpus if mop.dual else 1
            read_cycles = _read_cycles(reads)
            free = 0.0  # the first cycle in which a run's last beat may be issued
            load = _Load(pairs=pairs)  # of this strip
            while True:
                while not self._tiles:
                    yield self._tile_there
                tile, at, times, first, strip = self._tiles.popleft()
                count = tile.count
                if first and count:
                    issued = max(issued, halves[0])
                if pairs and count:
                    begin = issued
                    if at + times[-1] + AVAILABLE <= issued + 1:
                        issued += count
                    else:
                        for later in times:
                            there = at + later + AVAILABLE
                            issued = issued + 1 if there <= issued + 1 else there
                    if issued < free:
                        issued = free
                    last_ops = tile.one if odd else tile.two
                    step = count if count > tile.two else tile.two
                    rounds = tile.runs(pairs, odd)
                    took, load.run, load.period = _work(count, tile.two, rounds, last_ops)
                    load.cycles += took
                    issued += (rounds - 1) * step
                    if turn and begin < busy_to:
                        pause += max(0.0, min(issued, busy_to) - max(begin, busy_from)) / turn
                        issued += int(pause)
                        pause -= int(pause)
                    free = issued + last_ops
                    self.beats += rounds * count
                else:
                    issued = max(issued + 1, (at + times[-1] if times else self._fired) + AVAILABLE + 1)
                    last_ops = 1
                if count:
                    self._beats_free.add(count, issued)
                if tile.frees_row:
                    self._rows_free.add(1, issued + SCALE_ROW + last_ops)
                if strip is not None:
                    there = issued + (STRIP + last_ops if pairs and count else 2)
                    read = max(drained, there) + 1
                    if strip.op_last:
                        yield issued  # the fetch stage has what comes next, if it is there
                    work: float = mop.tokens * sum(read_cycles + s for s in strip.steps)
                    behind = self._load_behind() if strip.op_last else load
                    waits, turn = self._read_waits(mop.tokens, strip, behind, reads)
                    work += waits
                    first_pause = read_cycles + max(strip.steps) + STARVED + WAITS if turn else 0
                    busy_from, busy_to = read + first_pause, read + work
                    load = _Load(pairs=pairs)
                    release = read + work - 1 if work else read - 1
                    if count:
                        halves.append(release + 1)
                    if isinstance(mop.inst, MM):
                        self._rho_free.add(1, release)
                    drained = release + 1
                    if strip.op_last:
                        end = release + WRITTEN if work else release + 1
                        drained = end + 1
                        ends.append(end)
                        self.finish_at(end, mop.inst.signal)
                        break
