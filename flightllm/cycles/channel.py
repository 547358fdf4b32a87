"""One memory channel: the reader that three clients share (rtl/memory/axi_reader.sv), the memory behind it, and the writer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import ceil

from flightllm.cycles.hbm import ATOM, HbmChannel
from flightllm.cycles.kernel import Kernel, Process, Signal
from flightllm.sim.hbm import HbmTiming

FETCH, WEIGHTS, LOADS = 0, 1, 2
BEAT = 64
#: beats up to which a burst may go: 4 KB
BURST_BEATS = 64
#: bursts in flight; of the weights (axi_reader: MaxBursts, WeightBursts)
MAX_BURSTS, WEIGHT_BURSTS = 16, 4
#: writes that wait: from so many, or so many ns, on they go before reads (sim/axi_memory.hpp: serve)
DRAIN_WRITES, DRAIN_NS = 8, 500.0

#: no client has a request
IDLE = [None, None, None]

#: called when a burst's times are known: cycles of the port in which its first and last beat come, and their number
Arrival = Callable[[float, float, int], None]


class _Request:
    __slots__ = ("addr", "arrived", "beats", "since")

    def __init__(self, addr: int, beats: int, arrived: Arrival, since: float) -> None:
        self.addr, self.beats, self.arrived, self.since = addr, beats, arrived, since


class Channel:
    """Reads and writes of one channel, a burst at a time. A client has one request at a time being cut into bursts; bursts go round robin.

    Args:
        timing: of the memory. phase: 0..1, of its refreshes. period_ns: of the kernel clock. port_bits: width of the AXI port.
        start: cycles since the reset of the memory.

    Attributes:
        free: [client] set when its request has been cut up.
        read_beats: of 64 bytes, so far. written_bytes: with a strobe. fetched_beats, alone_bytes: of these, those that no other channel has: of the
        program, and of writes to one channel.
    """

    def __init__(
        self, kernel: Kernel, timing: HbmTiming, phase: float, period_ns: float, port_bits: int, start: float = 0.0
    ) -> None:
        self._kernel, self._period, self._parts = kernel, period_ns, BEAT * 8 // port_bits
        self.memory = HbmChannel(timing, phase)
        self.memory.begin(start * period_ns)
        self._open: list[_Request | None] = [*IDLE]
        self.free = [Signal(kernel) for _ in range(3)]
        self._asked, self._served, self._queued, self._begun = (Signal(kernel) for _ in range(4))
        self._turn = 0
        # bursts that the memory has not begun: arrival in ns, address, beats, client
        self._reads: deque[tuple[float, int, int, Arrival, int]] = deque()
        self._ends: deque[tuple[float, int]] = deque()  # cycles in which begun bursts end, client
        self._weights, self._full = 0, False  # bursts of the weights in flight; they wait, and none of these has begun
        self._writes: deque[tuple[float, int]] = deque()  # arrival in ns, address
        self._written = (0.0, 0.0)  # cycle in which the last write that has begun did, ns of its answer
        self._port_free = 0  # first cycle in which the port has no beat of a begun burst
        self.read_beats = 0
        self.written_bytes = 0
        self.fetched_beats = self.alone_bytes = 0
        kernel.start(self._reader())
        kernel.start(self._memory())

    def busy(self, client: int) -> bool:
        """The client's last request is still being cut."""
        return self._open[client] is not None

    def request(self, client: int, addr: int, beats: int, arrived: Arrival) -> None:
        """The reader takes a request for `beats` beats of 64 bytes in this cycle; the client must not be busy."""
        now, alone = self._kernel.now, self._open == IDLE
        self._open[client] = _Request(addr, beats, arrived, now)
        if alone:
            self._asked.set_at(now + 1)  # the reader has nothing else to do
        else:
            self._asked.set()

    def write(self, addr: int, nbytes: int, alone: bool = False) -> None:
        """Address and data of a beat, `nbytes` of it with a strobe, are at the port in this cycle. alone: other channels have no such write."""
        self._writes.append((self._kernel.now * self._period, addr))
        self.written_bytes += nbytes
        self.alone_bytes += nbytes if alone else 0
        if self._queued.waiting:
            self._queued.set()

    def answered(self) -> Process:
        """Wait until no write is open any more."""
        while self._writes:
            yield self._begun
        begun, done = self._written
        at = max(begun, ceil(done / self._period)) + 1
        if at > self._kernel.now:
            yield at

    # --- the reader ------------------------------------------------------------------------------------------------
    def _reader(self) -> Process:
        kernel, ends, reads = self._kernel, self._ends, self._reads
        while True:
            while ends and ends[0][0] < kernel.now:
                self._weights -= ends.popleft()[1] == WEIGHTS
            request, later, full = None, False, False
            for step in range(3):
                client = (self._turn + step) % 3
                found = self._open[client]
                if found is None:
                    continue
                if found.since == kernel.now:  # issued from the cycle after on
                    later = True
                elif client == WEIGHTS and self._weights >= WEIGHT_BURSTS:
                    full = True
                else:
                    request = found
                    break
            if request is None and later:
                yield kernel.now + 1
                continue
            if request is None and not full:
                yield self._asked
                continue
            if request is None:  # the weights wait for a burst of their own to end; another client may ask before that
                end = next((e for e, c in ends if c == WEIGHTS), None)
                if end is None:
                    self._full = True
                else:
                    kernel.at(end + 1, self._wake())
                yield self._asked
                continue
            if len(ends) + len(reads) >= MAX_BURSTS:
                yield ends[0][0] + 1 if ends else self._served
                continue
            self._weights += client == WEIGHTS
            beats = min(request.beats, BURST_BEATS - request.addr // BEAT % BURST_BEATS)
            reads.append(((kernel.now + 1) * self._period, request.addr, beats, request.arrived, client))
            request.addr += BEAT * beats
            request.beats -= beats
            self.read_beats += beats
            self.fetched_beats += beats if client == FETCH else 0
            self._turn = (client + 1) % 3
            if not request.beats:
                self._open[client] = None
            if self._queued.waiting:
                self._queued.set()
            if not self.free[client].waiting and self._open == IDLE:
                yield self._asked  # whoever asks from now on is served from the cycle after on
                continue
            yield kernel.now + 1
            if self._open[client] is None:
                self.free[client].set()

    # --- the memory ------------------------------------------------------------------------------------------------
    def _memory(self) -> Process:
        """Begins a burst when the data bus is free a cycle later, as sim/axi_memory.hpp does; reads first, unless writes have waited."""
        kernel, memory, reads, writes, period = self._kernel, self.memory, self._reads, self._writes, self._period
        t, burst, ends, parts = memory.timing, memory.burst, self._ends, self._parts
        half, whole = memory.half, t.ccd_short_ns * (BEAT // ATOM - 1) if parts < 2 else 0.0
        draining = False
        while True:
            if not reads and not writes:
                yield self._queued
                continue
            at = ceil(memory.bus_free / period) - 1
            if not writes and (came := round(reads[0][0] / period)) > at:
                at = came
            if at > kernel.now:
                yield at
                continue
            if writes:
                now = kernel.now * period
                draining = draining or len(writes) >= DRAIN_WRITES or now - writes[0][0] > DRAIN_NS
                if draining or not reads or reads[0][0] > now:
                    arrival, addr = writes.popleft()
                    _, last = burst(addr, BEAT, arrival, write=True)
                    self._written = (kernel.now, max(last, arrival) + t.write_ns)
                    if not writes:
                        self._begun.set()
                    continue
            else:  # a pause of reads and writes does not end the draining, a read without a write does
                draining = False
            arrival, addr, beats, arrived, client = reads.popleft()
            first, last = burst(addr, BEAT * beats, arrival)
            # the first beat is there with its last atom
            begin = ceil((first + whole + half) / period - 1e-9)
            if begin < self._port_free:
                begin = self._port_free
            end = ceil((last + half) / period - 1e-9)
            if end < begin + beats * parts - 1:
                end = begin + beats * parts - 1
            self._port_free = end + 1
            ends.append((end, client))
            arrived(begin + parts - 1, end, beats)
            if self._served.waiting:
                self._served.set()
            if self._full:
                self._full = False
                self._asked.set()

    def _wake(self) -> Process:
        self._asked.set()
        return
        yield  # a generator
