"""Control of a core: instruction fetch, sequencer, queues and tokens (rtl/control), and what all units have in common."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from flightllm.cycles.channel import FETCH, Channel
from flightllm.cycles.kernel import Kernel, Process, Signal
from flightllm.isa.control import BARRIER, HALT
from flightllm.isa.fields import INSTRUCTION_BYTES, TOKEN_UNITS, Addr, Count, Instruction, Operands
from flightllm.isa.fields import Unit as UnitName
from flightllm.isa.trace import Step

#: instructions of a burst, and of the fetch buffer
FETCH_BURST, FETCH_DEPTH = 8, 16
#: cycles of the sequencer: one instruction for a unit takes its operands and this (rtl/control/sequencer.sv)
DISPATCH = 7
#: ALU and LOOP; more where a loop ends or begins anew
SCALAR, LOOP_END = 5, 1
#: from start to the first instruction: registers that the host sets
START = 8
#: from the dispatch to the unit: the queue
QUEUE = 1

Op = tuple[Instruction, Operands]


class Tokens:
    """Counters for each ordered pair of units; see rtl/control/tokens.sv."""

    def __init__(self, kernel: Kernel) -> None:
        self._count = [[0] * len(TOKEN_UNITS) for _ in TOKEN_UNITS]  # [destination][source]
        self._came = [Signal(kernel) for _ in TOKEN_UNITS]

    def there(self, unit: int, mask: int) -> bool:
        """Whether a unit can take one token of every source in the mask."""
        count = self._count[unit]
        return all(count[s] for s in range(len(TOKEN_UNITS)) if mask >> s & 1)

    def take(self, unit: int, mask: int) -> None:
        """Take them."""
        for s in range(len(TOKEN_UNITS)):
            if mask >> s & 1:
                self._count[unit][s] -= 1

    def came(self, unit: int) -> Signal:
        """Set when a unit gets a token."""
        return self._came[unit]

    def give(self, unit: int, mask: int) -> None:
        """One token from a unit to every destination in the mask."""
        for d in range(len(TOKEN_UNITS)):
            if mask >> d & 1:
                self._count[d][unit] += 1
                self._came[d].set()

    def none(self) -> bool:
        """Every counter is zero."""
        return not any(map(any, self._count))


class Unit:
    """What L, M, S, T and W have in common: a queue, tokens, and counters.

    Attributes:
        counters: cycles by event (docs/registers.md). spans: of instructions, (begin, end, name), if they are kept.
    """

    name: UnitName

    def __init__(self, kernel: Kernel, tokens: Tokens, depth: int) -> None:
        self.kernel, self.tokens, self.depth = kernel, tokens, depth
        self._queue: deque[tuple[float, Op]] = deque()
        self.more, self.room, self.rest = Signal(kernel), Signal(kernel), Signal(kernel)
        self.counters = {"busy": 0.0, "token": 0.0, "data": 0.0, "space": 0.0}
        self.open = 0  # instructions in the queue or at work
        self._busy_since = 0.0

    # --- the sequencer's side
    def full(self) -> bool:
        """The queue takes no more."""
        return len(self._queue) >= self.depth

    def push(self, op: Op) -> None:
        """Dispatch; the unit sees it a cycle later."""
        now = self.kernel.now + QUEUE
        if not self.open:
            self._busy_since = now
        self.open += 1
        self._queue.append((now, op))
        self.more.set()

    # --- the unit's side
    def next_op(self) -> Process:
        """Wait until an instruction stands at the head of the queue."""
        while not self._queue:
            yield self.more
        yield self._queue[0][0]

    def take(self) -> Op:
        """The instruction at the head; its place in the queue is free."""
        _, op = self._queue.popleft()
        self.room.set()
        return op

    def wait_tokens(self, mask: int) -> Process:
        """Wait for the tokens of an instruction, and take them."""
        begin = self.kernel.now
        while not self.tokens.there(self.name, mask):
            yield self.tokens.came(self.name)
        self.count("token", self.kernel.now - begin)
        self.tokens.take(self.name, mask)

    def finish(self, signal: int = 0) -> None:
        """An instruction has ended, now: give its tokens."""
        self.open -= 1
        if signal:
            self.tokens.give(self.name, signal)
        if not self.open:
            self.counters["busy"] += self.kernel.now - self._busy_since
            self.rest.set()

    def finish_at(self, time: float, signal: int = 0) -> None:
        """The same in a cycle to come."""
        self.kernel.at(time, self._later(signal))

    def _later(self, signal: int) -> Process:
        self.finish(signal)
        return
        yield  # a generator

    def count(self, event: str, cycles: float) -> None:
        """Add to a counter."""
        self.counters[event] += cycles


class Fetch:
    """Instruction fetch ahead of the sequencer (rtl/control/instruction_fetch.sv)."""

    def __init__(self, kernel: Kernel, channel: Channel, addr: int, length: int) -> None:
        self._kernel, self._channel, self._addr, self._length = kernel, channel, addr, length
        self._next = 0  # instruction to ask for
        self._buffer: deque[float] = deque()  # cycles in which instructions come, first the next
        self._generation = 0
        self._changed = Signal(kernel)
        kernel.start(self._run())

    def jump(self, pc: int) -> None:
        """Drop everything and go on at another instruction."""
        self._generation += 1
        self._buffer.clear()
        self._next = pc
        self._changed.set()

    def stop(self) -> None:
        """Ask for no more."""
        self._next = self._length
        self._changed.set()

    def take(self) -> Process:
        """Wait for the next instruction, and take it."""
        while not self._buffer:
            yield self._changed
        yield self._buffer[0]
        self._buffer.popleft()
        self._changed.set()

    def _run(self) -> Process:
        while True:
            while (
                self._next >= self._length
                or len(self._buffer) + FETCH_BURST > FETCH_DEPTH
                or self._channel.busy(FETCH)
            ):
                yield self._channel.free[FETCH] if self._channel.busy(FETCH) else self._changed
            count = min(FETCH_BURST, self._length - self._next)
            generation = self._generation
            addr = self._addr + INSTRUCTION_BYTES * self._next
            self._next += count
            # the buffer counts what is on its way
            places = len(self._buffer)
            self._buffer.extend([float("inf")] * count)
            waiting = [places]

            def arrived(first: float, last: float, beats: int, waiting: list[int] = waiting, own: int = generation) -> None:
                if own == self._generation:
                    self._came(first, last, beats)

            self._channel.request(FETCH, addr, count, arrived)
            yield self._kernel.now + 1

    def _came(self, first: float, last: float, beats: int) -> None:
        at = next(i for i, t in enumerate(self._buffer) if t == float("inf"))
        for k in range(beats):
            self._buffer[at + k] = first + (last - first) * k / max(1, beats - 1) + QUEUE
        self._changed.set()


class Sequencer:
    """Dispatches the instructions of one run.

    Args:
        steps: of the program, in the order in which the sequencer goes through them (flightllm.isa.trace).
    """

    def __init__(self, kernel: Kernel, fetch: Fetch, units: dict[UnitName, Unit], steps: Sequence[Step]) -> None:
        self._kernel, self._fetch, self._units, self._steps = kernel, fetch, units, steps
        self.counters = {"busy": 0.0, "token": 0.0, "data": 0.0, "space": 0.0}
        self.done = Signal(kernel)
        self.ended = 0.0
        kernel.start(self._run())
