"""Unit W (rtl/memory/weight_unit.sv): the weight stream, as far ahead as the rings have room."""

from __future__ import annotations

from flightllm.cycles.channel import BEAT, WEIGHTS, Channel
from flightllm.cycles.control import Tokens, Unit
from flightllm.cycles.gather import Gather
from flightllm.cycles.kernel import Kernel, Process
from flightllm.cycles.rings import BEAT_WORDS, Ring
from flightllm.isa.fields import Unit as UnitName

#: beats of a request, unless half a ring is less; it ends at a multiple of them, so that no burst of the reader is cut short
REQUEST_BEATS = 32
#: from the cycle of a pop to the request that its room allows: `w_pop_o`, `used_q`
ROOM = 2
#: from a beat at the port to the cycle in which the ring counts it: the reader's data register, `w_count_q`
PUSHED = 2


class WeightUnit(Unit):
    """Carries out LDW: requests for the same beats to all channels.

    Args:
        channels: that it reads. ring: that it fills. level_age: cycles until the matrix unit sees a ring's level.
    """

    name = UnitName.W
    events = ("space",)

    def __init__(
        self, kernel: Kernel, tokens: Tokens, depth: int, channels: list[Channel], ring: Ring, level_age: int
    ) -> None:
        super().__init__(kernel, tokens, depth)
        self._channels, self._ring = channels, ring
        seen = PUSHED + level_age

        def put(first: float, last: float, beats: int) -> None:
            ring.put(BEAT_WORDS * beats, first + seen, last + seen)

        gather = Gather(len(channels), put)
        self._arrived = [gather.of(c) for c in range(len(channels))]
        beats = ring.size // BEAT_WORDS
        self._most = 1 if beats < 2 else min(REQUEST_BEATS, beats // 2)
        kernel.start(self._run())

    def _run(self) -> Process:
        kernel, ring = self.kernel, self._ring
        asked = 0  # words in all
        grain = self._most if self._most == REQUEST_BEATS else 1  # requests end at multiples of it
        while True:
            yield from self.next_op()
            _, o = self.take()
            self.begin()
            addr, left = o.addr, o.nbytes // BEAT
            self.current.beats = left
            begin = kernel.now + 1  # in which a request may be made
            while left:
                beats = min(left, self._most - addr // BEAT % grain)
                asked += BEAT_WORDS * beats
                while (room := ring.room_for(asked)) is None:
                    yield ring.popped
                allowed = max(begin, kernel.now, room + ROOM if room else 0.0)
                self.counters["space"] += allowed - begin
                # the request stands in a register; each channel takes it when its last one has been cut up
                yield allowed + 1
                for channel, arrived in zip(self._channels, self._arrived, strict=True):
                    while channel.busy(WEIGHTS):
                        yield channel.free[WEIGHTS]
                    channel.request(WEIGHTS, addr, beats, arrived)
                addr += BEAT * beats
                left -= beats
                begin = kernel.now + 1
            yield begin
            self.give(0)
            self.finish()
