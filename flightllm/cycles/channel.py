"""One memory channel: the reader that three clients share (rtl/memory/axi_reader.sv), the memory behind it, and the writer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from flightllm.cycles.hbm import HbmChannel
from flightllm.cycles.kernel import Kernel, Process, Signal
from flightllm.sim.hbm import HbmTiming

FETCH, WEIGHTS, LOADS = 0, 1, 2
BEAT = 64
#: beats up to which a burst may go: 4 KB
BURST_BEATS = 64
#: bursts in flight
MAX_BURSTS = 16
#: cycles from the request to the address at the port: axi_reader's request and address registers
ISSUE = 2
#: cycles from a beat at the port to the client: axi_reader's data register
DELIVER = 1

#: called with the cycles in which the first and the last beat of a burst come, and their number
Arrival = Callable[[float, float, int], None]


@dataclass
class _Request:
    addr: int
    beats: int
    arrived: Arrival


class Channel:
    """Reads of one channel. A client has one request at a time being cut into bursts; bursts go round robin between clients.

    Args:
        beat_cycles: cycles of the port for 64 bytes (1 with 512 bits).
        period_ns: of the kernel clock.

    Attributes:
        read_beats: so far. free: by client, set when its request has been cut up.
    """

    def __init__(self, kernel: Kernel, timing: HbmTiming, phase: float, period_ns: float, beat_cycles: int) -> None:
        self._kernel, self._period, self._beat_cycles = kernel, period_ns, beat_cycles
        self.memory = HbmChannel(timing, phase)
        self._open: list[_Request | None] = [None, None, None]
        self.free = [Signal(kernel) for _ in range(3)]
        self._work = Signal(kernel)
        self._turn = 0
        self._flying: deque[float] = deque()  # cycles in which bursts end
        self._port_free = 0.0  # the cycle in which the port has no beat any more
        self.read_beats = 0
        self.written_bytes = 0
        kernel.start(self._run())

    def busy(self, client: int) -> bool:
        """The client's last request is still being cut."""
        return self._open[client] is not None

    def request(self, client: int, addr: int, beats: int, arrived: Arrival) -> None:
        """Ask for `beats` beats of 64 bytes; the client must not be busy. `arrived` is called when the times of a burst are known."""
        self._open[client] = _Request(addr, beats, arrived)
        self._work.set()

    def _run(self) -> Process:
        kernel, flying = self._kernel, self._flying
        while True:
            for step in range(3):
                client = (self._turn + step) % 3
                request = self._open[client]
                if request is not None:
                    break
            else:
                yield self._work
                continue
            while flying and flying[0] <= kernel.now:
                flying.popleft()
            if len(flying) == MAX_BURSTS:
                yield flying[0]
                continue
            beats = min(request.beats, BURST_BEATS - request.addr // BEAT % BURST_BEATS)
            self._burst(request, beats)
            request.addr += BEAT * beats
            request.beats -= beats
            self._turn = (client + 1) % 3
            if not request.beats:
                self._open[client] = None
                self.free[client].set()
            yield kernel.now + 1

    def _burst(self, request: _Request, beats: int) -> None:
        memory, period = self.memory, self._period
        first, last = memory.burst(request.addr, BEAT * beats, (self._kernel.now + ISSUE) * period)
        # a beat goes out in the first cycle in which it is there and the port is free
        begin = max(-(-(first + memory.half) // period), self._port_free)
        end = max(-(-(last + memory.half) // period), begin + (beats - 1) * self._beat_cycles)
        self._port_free = end + self._beat_cycles
        self._flying.append(end)
        self.read_beats += beats
        request.arrived(begin + DELIVER, end + DELIVER, beats)

    def write(self, addr: int, nbytes: int) -> float:
        """A beat of up to 64 bytes at the port now; returns the cycle in which its answer is there."""
        now = self._kernel.now * self._period
        _, at = self.memory.burst(addr, BEAT, now, write=True)
        self.written_bytes += nbytes
        return -(-(at + self.memory.timing.write_ns) // self._period)
