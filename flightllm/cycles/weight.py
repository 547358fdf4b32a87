"""Unit W (rtl/memory/weight_unit.sv): the weight stream, as far ahead as the rings have room."""

from __future__ import annotations

from flightllm.cycles.channel import WEIGHTS, Channel
from flightllm.cycles.control import Unit
from flightllm.cycles.gather import Gather
from flightllm.cycles.kernel import Process
from flightllm.cycles.rings import BEAT_WORDS, Ring

BEAT = 64
#: beats of a request, unless half a ring is less
REQUEST_BEATS = 32


class WeightUnit(Unit):
    """Carries out LDWs: requests for the same beats to all channels."""

    def attach(self, channels: list[Channel], ring: Ring) -> None:
        """The channels that it reads, and the ring that it fills."""
        self._channels, self._ring = channels, ring
        self._gather = Gather(len(channels), lambda beats, first, last: ring.put(BEAT_WORDS * beats, first, last))
        beats = ring.size // BEAT_WORDS
        self._most = min(REQUEST_BEATS, max(1, beats // 2))

    def process(self) -> Process:
        """The unit."""
        kernel, ring = self.kernel, self._ring
        while True:
            yield from self.next_op()
            _, o = self.take()
            addr, left = o.addr, o.nbytes // BEAT
            while left:
                beats = min(left, self._most)
                while ring.free() < BEAT_WORDS * beats:
                    begin = kernel.now
                    yield ring.room
                    self.count("space", kernel.now - begin)
                ring.reserve(BEAT_WORDS * beats)
                # the request stands in a register; each channel takes it when its last one has been cut up
                yield kernel.now + 1
                for index, channel in enumerate(self._channels):
                    while channel.busy(WEIGHTS):
                        yield channel.free[WEIGHTS]
                    channel.request(WEIGHTS, addr, beats, self._gather.of(index))
                addr += BEAT * beats
                left -= beats
                yield kernel.now + 1
            self.finish()
