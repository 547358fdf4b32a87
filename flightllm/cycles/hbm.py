"""One HBM2 pseudo-channel, a burst at a time: the rules and the state of `sim/hbm_channel.hpp`.

Within 64 column accesses in a row the bank groups alternate and no bank changes but at the first two, so only those are looked at one by one.
"""

from __future__ import annotations

import math

from flightllm.sim.hbm import HbmTiming

ATOM = 32  # bytes of a column access
NEVER = -1e9


class HbmChannel:
    """Serves accesses in order. Times in ns.

    Args:
        phase: 0..1, offset of this channel's refreshes.
    """

    __slots__ = (
        "bus_free", "busy_until", "closed_until", "group_free", "half", "last", "next_refresh", "opened", "row", "timing", "writing",
    )  # fmt: skip

    def __init__(self, timing: HbmTiming, phase: float) -> None:
        self.timing = timing
        self.half = timing.hit_ns / 2  # from the port to the bank, and back
        self.next_refresh = timing.refresh_every_ns * (0.5 + 0.5 * phase) if timing.refresh_every_ns else math.inf
        self.row = [-1] * 16
        self.opened = [NEVER] * 16
        self.busy_until = [0.0] * 16
        self.group_free = [0.0] * 4
        self.bus_free = 0.0
        self.last = NEVER
        self.closed_until = 0.0
        self.writing = False

    def begin(self, now: float) -> None:
        """Count time from this moment on: the next refresh comes as if the memory had been at rest since its reset."""
        every = self.timing.refresh_every_ns
        if every:
            self.next_refresh += every * max(0, math.ceil((now - self.next_refresh) / every)) - now

    def burst(self, address: int, nbytes: int, arrival: float, write: bool = False) -> tuple[float, float]:
        """Times of the first and the last column access of a burst that came to the port at `arrival`.

        Args:
            address, nbytes: a range; whole atoms are accessed.
        """
        word, end = address // ATOM, -(-(address + nbytes) // ATOM)
        first = at = self._serve(word, write, arrival)
        word += 1
        single = True  # the next access is looked at by itself
        short = self.timing.ccd_short_ns
        while word < end:
            if single or word & 63 < 2:
                before = self.next_refresh
                at = self._serve(word, write, arrival)
                # behind a refresh all rows are closed: two more by themselves
                single = self.next_refresh != before
                word += 1
                continue
            count = min(end, (word | 63) + 1) - word
            free = self.bus_free
            if free + (count - 1) * short >= self.next_refresh:
                count = max(0, math.ceil((self.next_refresh - free) / short)) if short else 0
                single = True
                if not count:
                    continue
            at = free + (count - 1) * short
            word += count
            self._stream(word - 1, count, at, write)
        return first, at

    def _stream(self, word: int, count: int, at: float, write: bool) -> None:
        """`count` hits, the last of them to `word` at time `at`."""
        t = self.timing
        after = t.write_recovery_ns if write else t.ccd_long_ns
        group, bank, time = (word & 1) | ((word >> 8 & 1) << 1), word >> 6 & 3, at
        self.busy_until[group * 4 + bank] = time + after
        self.group_free[group] = time + t.ccd_long_ns
        if count > 1:  # the one before went to the other group
            group, time = group ^ 1, at - t.ccd_short_ns
            self.busy_until[group * 4 + bank] = time + after
            self.group_free[group] = time + t.ccd_long_ns
        self.last = at
        self.bus_free = at + t.ccd_short_ns

    def _serve(self, word: int, write: bool, arrival: float) -> float:
        """Time of one column access. (Comparisons instead of `max`: nothing in the model runs as often.)"""
        t = self.timing
        there = arrival + self.half
        group = (word & 1) | ((word >> 8 & 1) << 1)
        bank, row = group * 4 + (word >> 6 & 3), word >> 9
        while True:
            ready = self.closed_until
            if there > ready:
                ready = there
            opened = self.opened[bank]
            if self.row[bank] != row:
                if self.row[bank] >= 0:
                    ready = max(ready, opened + t.row_active_ns, self.busy_until[bank]) + t.precharge_ns
                opened = ready
            column = opened + t.activate_ns
            if ready > column:
                column = ready
            if self.bus_free > column:
                column = self.bus_free
            if self.group_free[group] > column:
                column = self.group_free[group]
            if write != self.writing:
                column = max(column, self.last + t.ccd_short_ns + t.turn_ns)
            if column < self.next_refresh:
                break
            self._refresh(column)
        self.row[bank] = row
        self.opened[bank] = opened
        self.busy_until[bank] = column + (t.write_recovery_ns if write else t.ccd_long_ns)
        self.writing = write
        self.last = column
        self.bus_free = column + t.ccd_short_ns
        self.group_free[group] = column + t.ccd_long_ns
        return column

    def _refresh(self, now: float) -> None:
        t = self.timing
        missed = math.floor((now - self.next_refresh) / t.refresh_every_ns)
        if missed >= 1:  # of the refreshes of a long pause only the last one can matter
            self.next_refresh += t.refresh_every_ns * missed
        self.closed_until = max(self.next_refresh, self.bus_free) + t.refresh_ns
        self.next_refresh += t.refresh_every_ns
        self.row = [-1] * 16
        self.opened = [NEVER] * 16
        self.busy_until = [0.0] * 16
