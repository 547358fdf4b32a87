"""The same bursts on several channels: a burst is there when the slowest channel has it."""

from __future__ import annotations

from collections import deque

from flightllm.cycles.channel import Arrival


class Gather:
    """Brings arrivals of `channels` channels together, each of which has the same bursts in the same order.

    Args:
        put: called burst by burst with the latest cycles of the first and the last beat, and their number.
    """

    def __init__(self, channels: int, put: Arrival) -> None:
        self._channels, self._put = channels, put
        self._bursts: deque[list[float]] = deque()  # channels that have it, beats, first, last
        self._base = 0  # bursts that all channels have
        self._next = [0] * channels

    def of(self, channel: int) -> Arrival:
        """What to call when a burst of this channel comes."""
        if self._channels == 1:
            return self._put

        def arrived(first: float, last: float, beats: int) -> None:
            place = self._next[channel] - self._base
            self._next[channel] += 1
            if place == len(self._bursts):
                self._bursts.append([0, beats, first, last])
            burst = self._bursts[place]
            burst[0] += 1
            burst[2], burst[3] = max(burst[2], first), max(burst[3], last)
            if burst[0] == self._channels:
                self._bursts.popleft()
                self._base += 1
                self._put(burst[2], burst[3], int(burst[1]))

        return arrived
