"""Unit T (rtl/memory/store_unit.sv, kv_append.sv, axi_writer.sv, rtl/top/exchange.sv): STV, STKV and XCHG."""

from __future__ import annotations

from flightllm.config.arch import ArchConfig
from flightllm.cycles.channel import BEAT, Channel
from flightllm.cycles.control import Tokens, Unit
from flightllm.cycles.kernel import Kernel, Process, Signal
from flightllm.isa.blocks import key_slots
from flightllm.isa.fields import Operands
from flightllm.isa.fields import Unit as UnitName
from flightllm.isa.store import STKV, STV

#: from the instruction to StTake; from there to StAppend or StExchange, from the instruction to the end of the products
DECODE, BEGIN, PRODUCTS = 2, 2, 9
#: from the tokens to the cycle before the first word stands in the register: StVector, three of the vector buffer, FIFO
VECTOR = 5
#: from StAppend to the cycle before the first step does: reader, window (2), FIFO, step
APPEND = 5
#: from the last word or step of a beat in the register to its address at the port: the beat, the writer
BEAT_OUT = 2
#: from the last answer to the tokens: StDrain
ANSWERED = 1
#: XCHG: cycles of a core's turn besides its words: address, three of the vector buffer, FIFO, the next core; from the last turn to the tokens
EXCHANGE, EXCHANGE_END = 5, 2


class Exchange:
    """The cores' meeting: an XCHG begins when all cores want it."""

    def __init__(self, kernel: Kernel, cores: int) -> None:
        self._cores, self._waiting = cores, 0
        self.all = Signal(kernel)

    def meet(self) -> Process:
        """Wait for the others."""
        self._waiting += 1
        if self._waiting == self._cores:
            self._waiting = 0
            self.all.set()
        else:
            yield self.all


#: cycle in which it comes to the port, channel, address, bytes, whether no other channel has it
_Beat = tuple[float, Channel, int, int, bool]


class StoreUnit(Unit):
    """Carries out the stores, one at a time.

    Args:
        channels: that are modelled; a write to one channel goes to that of them which stands for it.
    """

    name = UnitName.T

    def __init__(
        self, kernel: Kernel, tokens: Tokens, arch: ArchConfig, channels: list[Channel], exchange: Exchange
    ) -> None:
        super().__init__(kernel, tokens, arch.queue_depth)
        self._arch, self._channels, self._exchange = arch, channels, exchange
        self._beats: list[_Beat] = []  # of the instruction at hand, in order of time
        kernel.start(self._run())

    def _run(self) -> Process:
        kernel = self.kernel
        while True:
            yield from self.next_op()
            inst, o = self.take()
            products = kernel.now + PRODUCTS
            yield kernel.now + DECODE
            yield from self.wait_tokens(inst.wait)
            if isinstance(inst, STV):
                if o.rows > 0 and o.slots:
                    self._vectors(o)
                yield from self._drain()
            elif isinstance(inst, STKV):
                yield max(kernel.now + BEGIN, products)
                if o.n0 > 0 and o.n1:
                    self._append(o)
                yield from self._drain()
            else:
                yield max(kernel.now + BEGIN, products)
                yield from self._exchange.meet()
                rows = max(0, o.n0) if o.n else 0
                yield kernel.now + self._arch.cores * (EXCHANGE + rows * o.n) + EXCHANGE_END
            self.give(inst.signal)
            yield kernel.now + 1
            self.finish()

    def _drain(self) -> Process:
        """All beats come to the ports and are answered."""
        kernel, beats = self.kernel, self._beats
        end = kernel.now + BEAT_OUT
        for time, channel, addr, nbytes, alone in beats:
            if time > kernel.now:
                yield time
            channel.write(addr, nbytes, alone)
        self.current.written += sum(nbytes for *_, nbytes, _ in beats)
        self.current.alone += sum(nbytes for *_, nbytes, alone in beats if alone)
        beats.clear()
        yield end
        for channel in self._channels:
            yield from channel.answered()
        yield kernel.now + ANSWERED

    def _vectors(self, o: Operands) -> None:
        c = self._arch.channels
        time = self.kernel.now + VECTOR
        for row in range(o.rows):
            for beat in range(-(-o.slots // 16)):
                slots = min(16, o.slots - 16 * beat)
                time += -(-slots * c // 16)
                for channel in self._channels:
                    self._write(time, channel, o.addr + row * o.row + BEAT * beat, 4 * slots)

    def _write(self, time: float, channel: Channel, addr: int, nbytes: int, alone: bool = False) -> None:
        """A beat of which the last word or step is in the register at `time`."""
        self._beats.append((time + BEAT_OUT, channel, addr // BEAT * BEAT, nbytes, alone))

    def _append(self, o: Operands) -> None:
        """Steps of the rows: a header and the windows of each; a beat is written when its last step has been taken."""
        c = self._arch.channels
        slots, four = key_slots(c), int(o.bits) == 4
        piece = 8 if four else 16
        turns = 4 if c >= 16 else 2 if c == 8 else 1
        time = self.kernel.now + APPEND
        scale = o.scales
        for token in range(o.n0):
            pos = o.pos + token
            slot, channel = pos // c, self._channels[pos % c % len(self._channels)]
            for head in range(o.n1):
                # the scale: two bytes of one channel
                time += 1
                at = scale + 2 * (slot * o.n1 + head)
                self._write(time, channel, at, 2, alone=True)
                base = o.addr + head * o.head
                if o.kind == "K":
                    at = base + slot // slots * o.unit_bytes + slot % slots * piece
                    time = self._key(channel, at, o.len // 16, slots * piece, piece, turns, time)
                else:
                    at = base + pos // 16 * o.unit_bytes + pos % 16
                    time = self._value(at, o.len // c, four, max(1, c // 16), time)

    def _key(self, channel: Channel, at: int, windows: int, stride: int, piece: int, turns: int, time: float) -> float:
        """A row of keys, `stride` bytes from window to window: a window is one step, or two if it crosses into the next 16 bytes; a step takes a turn
        for each part that has bytes. A beat is written when the next byte lies in another one."""
        part, beat, written = 16 // turns, at // BEAT, 0
        for begin in range(at, at + windows * stride, stride):
            end, place = begin + piece, begin
            while place < end:
                stop = min(end, (place // 16 + 1) * 16)
                if place // BEAT != beat:
                    self._write(time, channel, beat * BEAT, written, alone=True)
                    beat, written = place // BEAT, 0
                time += (stop - 1) % 16 // part - place % 16 // part + 1
                written += stop - place
                place = stop
        self._write(time, channel, beat * BEAT, written, alone=True)
        return time

    def _value(self, at: int, rows: int, four: bool, parts: int, time: float) -> float:
        """A row of values: a byte (half a byte) of every channel a row slot; four row slots' bytes lie in a beat."""
        stored = -(-rows // 2) if four else rows
        done = 0
        for byte in range(stored):
            steps = (2 if four and 2 * byte + 1 < rows else 1) * parts
            time += steps
            done += 1
            place = at + 16 * byte
            if byte == stored - 1 or (place + 16) // BEAT != place // BEAT:
                for channel in self._channels:
                    self._write(time, channel, place, done)
                done = 0
        return time
