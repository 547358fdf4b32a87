"""Control of a core: instruction fetch, sequencer, queues and tokens (rtl/control), and what all units have in common."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from flightllm.cycles.channel import FETCH, Channel
from flightllm.cycles.kernel import Kernel, Process, Signal
from flightllm.isa.control import ALU, BARRIER, HALT, LOOP
from flightllm.isa.fields import INSTRUCTION_BYTES, TOKEN_UNITS, Addr, Count, Instruction, Operands
from flightllm.isa.fields import Unit as UnitName
from flightllm.isa.trace import Step

#: instructions of a request, and of the buffer (instruction_fetch: Burst, Depth)
FETCH_BURST, FETCH_DEPTH = 8, 16
#: cycles from a beat at the port to the instruction at the sequencer: the reader's data register, the buffer
FETCHED = 2
#: cycles from the jump to the next request: `next_q`, `room_q` (instruction_fetch)
JUMP = 3
#: from the take that makes room for a request to the request: the buffer's count, `room_q`
ROOM = 2
#: from start to StFetch: StOff, and a register that the host sets each (sequencer: StInit)
START = 7
#: from StFetch to StDispatch: StDecode, StResolve (three, and one an operand); and on to the next StFetch
RESOLVE, NEXT = 5, 2
#: from StFetch to the next for ALU and LOOP; more for each loop that ends with the instruction (StSettle, StNext)
SCALAR, LOOP_END = 5, 2
#: from StFetch to StBarrier and StHalt, from a unit's rest to the cycle in which these see it, and from there to what follows
HOLD, SEEN, HELD = 2, 1, 2
#: from StDispatch to the unit: the queue
QUEUE = 1


@dataclass(slots=True)
class Span:
    """One instruction in a unit. Cycles: dispatched, tokens taken (W: begun), tokens given (W: the first cycle without it).

    beats: of 64 bytes that it reads on each channel. written: bytes that it writes, over the modelled channels. alone: of these, to one channel each.
    """

    pc: int
    inst: Instruction
    dispatched: float
    taken: float = 0.0
    ended: float = 0.0
    beats: int = 0
    written: int = 0
    alone: int = 0


class Tokens:
    """Counters for each ordered pair of units (rtl/control/tokens.sv)."""

    def __init__(self, kernel: Kernel) -> None:
        self._count = [[0] * len(TOKEN_UNITS) for _ in TOKEN_UNITS]  # [destination][source]
        self._came = [Signal(kernel) for _ in TOKEN_UNITS]
        self._sources = [[s for s in range(len(TOKEN_UNITS)) if mask >> s & 1] for mask in range(1 << len(TOKEN_UNITS))]

    def there(self, unit: int, mask: int) -> bool:
        """Whether a unit can take one token of every source in the mask."""
        count = self._count[unit]
        return all(count[s] for s in self._sources[mask])

    def take(self, unit: int, mask: int) -> None:
        """Take them."""
        for s in self._sources[mask]:
            self._count[unit][s] -= 1

    def came(self, unit: int) -> Signal:
        """Set when a unit gets a token."""
        return self._came[unit]

    def give(self, unit: int, mask: int) -> None:
        """One token from a unit to every destination in the mask."""
        for d in self._sources[mask]:
            self._count[d][unit] += 1
            self._came[d].set()


class Unit:
    """What L, M, S, T and W have in common: a queue, tokens, and counters.

    Attributes:
        counters: cycles by event (docs/registers.md), of the events that are modelled. spans: of all instructions, in order.
        since: cycle since which it has been at work, or at rest.
    """

    name: UnitName
    #: events that are modelled besides "busy"
    events: tuple[str, ...] = ("token",)

    def __init__(self, kernel: Kernel, tokens: Tokens, depth: int) -> None:
        self.kernel, self.tokens, self.depth = kernel, tokens, depth
        self.queue: deque[tuple[float, Step]] = deque()
        self.spans: list[Span] = []
        self._taken = self._ended = 0  # of the spans
        self.more, self.room, self.rested = Signal(kernel), Signal(kernel), Signal(kernel)
        self.counters = dict.fromkeys(("busy", *self.events), 0.0)
        self.open = 0  # instructions in the queue or at work
        self.since = 0.0

    # --- the sequencer's side
    def full(self) -> bool:
        """The queue takes no more."""
        return len(self.queue) >= self.depth

    def push(self, step: Step) -> None:
        """Dispatch in this cycle; the unit sees it a cycle later."""
        now = self.kernel.now + QUEUE
        if not self.open:
            self.since = now
        self.open += 1
        self.queue.append((now, step))
        self.spans.append(Span(step.pc, step.inst, now - QUEUE))
        self.more.set()

    # --- the unit's side
    def next_op(self) -> Process:
        """Wait until an instruction stands at the head of the queue."""
        while not self.queue:
            yield self.more
        yield self.queue[0][0]

    def take(self) -> tuple[Instruction, Operands]:
        """The instruction at the head; its place in the queue is free in the cycle after."""
        _, step = self.queue.popleft()
        self.room.set()
        return step.inst, step.operands

    def wait_tokens(self, mask: int) -> Process:
        """Wait for the tokens of an instruction, and take them."""
        begin = self.kernel.now
        while not self.tokens.there(self.name, mask):
            yield self.tokens.came(self.name)
        self.counters["token"] += self.kernel.now - begin
        self.tokens.take(self.name, mask)
        self.begin()

    def begin(self) -> None:
        """The next instruction has its tokens, now."""
        self.spans[self._taken].taken = self.kernel.now
        self._taken += 1

    @property
    def current(self) -> Span:
        """Of the instruction that began last."""
        return self.spans[self._taken - 1]

    def give(self, mask: int) -> None:
        """An instruction has ended, now; its tokens can be taken in the cycle after."""
        self.spans[self._ended].ended = self.kernel.now
        self._ended += 1
        if mask:
            self.kernel.at(self.kernel.now + 1, self._give(mask))

    def _give(self, mask: int) -> Process:
        self.tokens.give(self.name, mask)
        return
        yield  # a generator

    def finish(self) -> None:
        """An instruction has left the unit; this is the first cycle without it."""
        self.open -= 1
        if not self.open:
            self.counters["busy"] += self.kernel.now - self.since
            self.since = self.kernel.now
            self.rested.set()

    def finish_at(self, time: float, signal: int) -> None:
        """In a cycle to come: give tokens in it, be without the instruction from the next on."""
        self.kernel.at(time, self._finish(signal))

    def _finish(self, signal: int) -> Process:
        self.give(signal)
        yield self.kernel.now + 1
        self.finish()


class Fetch:
    """Instruction fetch ahead of the sequencer (rtl/control/instruction_fetch.sv).

    Args:
        channel: that holds the program. addr: its first byte. length: instructions.
    """

    def __init__(self, kernel: Kernel, channel: Channel, addr: int, length: int) -> None:
        self._kernel, self._channel, self._addr, self._length = kernel, channel, addr, length
        self._next = 0  # instruction to ask for
        self._places = 0  # instructions in the buffer, or on their way
        self._room = 0.0  # cycle in which it is known that a request has room
        self._buffer: deque[float] = deque()  # cycles from which on instructions are there
        self._generation = 0
        self._changed, self._came = Signal(kernel), Signal(kernel)
        kernel.start(self._run())

    def jump(self, pc: int) -> None:
        """Drop everything and go on at another instruction."""
        self._generation += 1
        self._places = 0
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
            yield self._came
        yield self._buffer[0]
        self._buffer.popleft()
        self._places -= 1
        if self._places == FETCH_DEPTH - FETCH_BURST:
            self._room = self._kernel.now + ROOM
        self._changed.set()

    def _run(self) -> Process:
        kernel, channel = self._kernel, self._channel
        generation = 0
        while True:
            if generation != self._generation:
                generation = self._generation
                yield kernel.now + JUMP
                continue
            if channel.busy(FETCH):
                yield channel.free[FETCH]
                continue
            if self._next >= self._length or self._places + FETCH_BURST > FETCH_DEPTH:
                yield self._changed
                continue
            if self._room > kernel.now:
                yield self._room
                continue
            count = min(FETCH_BURST, self._length - self._next)
            addr = self._addr + INSTRUCTION_BYTES * self._next
            self._next += count
            self._places += count

            def arrived(first: float, last: float, beats: int, own: int = generation) -> None:
                if own == self._generation:
                    step = (last - first) / max(1, beats - 1)
                    self._buffer.extend(first + step * k + FETCHED for k in range(beats))
                    self._came.set()

            channel.request(FETCH, addr, count, arrived)
            yield kernel.now + 2


def operand_count(kind: type[Instruction]) -> int:
    """Operands that the sequencer makes for an instruction: those with a register."""
    return sum(isinstance(f, Count | Addr) for f in kind.fields.values())


class Sequencer:
    """Dispatches the instructions of one run (rtl/control/sequencer.sv).

    Args:
        steps: of the program, in the order in which the sequencer goes through them (flightllm.isa.trace).

    Attributes:
        counters: cycles by event. ended: set when HALT has been reached and all units rest. pc: of the instruction that it takes.
    """

    def __init__(self, kernel: Kernel, fetch: Fetch, units: dict[UnitName, Unit], steps: Iterable[Step]) -> None:
        self._kernel, self._fetch, self._units, self._steps = kernel, fetch, units, iter(steps)
        self.counters = {"busy": 0.0, "data": 0.0, "space": 0.0}
        self.ended = False
        self.pc = 0
        self._counts: dict[type[Instruction], int] = {}
        kernel.start(self._run())

    def _run(self) -> Process:
        kernel, fetch = self._kernel, self._fetch
        yield kernel.now + START
        for step in self._steps:
            begin = kernel.now
            yield from fetch.take()
            self.counters["data"] += kernel.now - begin
            kind, self.pc = type(step.inst), step.pc
            if kind is HALT:
                fetch.stop()
                yield from self._hold(UnitName)
                break
            if kind is BARRIER:
                yield from self._hold(TOKEN_UNITS)
            elif kind is ALU or kind is LOOP:
                yield kernel.now + SCALAR
            else:
                if kind not in self._counts:
                    self._counts[kind] = operand_count(kind)
                yield kernel.now + self._counts[kind] + RESOLVE
                unit = self._units[step.inst.unit]
                begin = kernel.now
                while unit.full():
                    yield unit.room
                    yield kernel.now + 1
                self.counters["space"] += kernel.now - begin
                unit.push(step)
                yield kernel.now + NEXT
            if step.ended:
                yield kernel.now + LOOP_END * step.ended
            if step.target is not None:
                fetch.jump(step.target)
        self.ended = True
        self.counters["busy"] = kernel.now

    def _hold(self, names: Iterable[UnitName]) -> Process:
        """Wait until units rest, from StFetch to what follows."""
        yield self._kernel.now + HOLD
        begin = self._kernel.now
        units = [self._units[n] for n in names if n in self._units]
        for unit in units:
            while unit.open:
                yield unit.rested
        self.counters["space"] += self._kernel.now - begin
        yield max([begin, *(unit.since + SEEN for unit in units)]) + HELD
