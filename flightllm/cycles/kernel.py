"""Discrete events: a clock, processes that are generators, and signals that wake them."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Generator
from itertools import count
from typing import TypeVar

from flightllm.errors import ProgramError

T = TypeVar("T")
#: A process yields the cycle to go on in, or a signal to wait for. A part of one does so, too, and returns something.
Part = Generator["float | Signal", None, T]
Process = Part[None]


class Signal:
    """Something that processes wait for. Whoever is woken looks again whether it is what it waited for.

    Attributes:
        waiting: that sleep until `set`.
    """

    __slots__ = ("_kernel", "waiting")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.waiting: list[Process] = []

    def set(self) -> None:
        """Wake all that wait, in this cycle, behind whatever is due in it already."""
        if self.waiting:
            self._kernel.due.extend(self.waiting)
            self.waiting.clear()

    def set_at(self, time: float) -> None:
        """Wake all that wait now, in a cycle to come: for those that would find nothing to do before."""
        for process in self.waiting:
            self._kernel.at(time, process)
        self.waiting.clear()


class Kernel:
    """Runs processes in order of time; those of one cycle in the order in which they became due.

    Attributes:
        now: the cycle. due: what became due in this cycle for this cycle; it goes on behind what was due when the cycle began.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.due: deque[Process] = deque()
        self._heap: list[
            tuple[float, int, Process]
        ] = []  # all others: most signals are for the same cycle and never come here
        self._order = count()

    def at(self, time: float, process: Process) -> None:
        """Go on with a process in a cycle that is not past."""
        if time <= self.now:
            self.due.append(process)
        else:
            heapq.heappush(self._heap, (time, next(self._order), process))

    def start(self, process: Process) -> None:
        """Begin a process in this cycle."""
        self.at(self.now, process)

    def run(self, limit: float) -> None:
        """Until nothing is due any more.

        Raises:
            ProgramError: the clock passes `limit`.
        """
        heap, due, push, pop, order = self._heap, self.due, heapq.heappush, heapq.heappop, self._order
        now = self.now
        while heap or due:
            if heap and (not due or heap[0][0] <= now):
                now, _, process = pop(heap)
                self.now = now
                if now > limit:
                    raise ProgramError(
                        f"the run has not ended after {limit:,.0f} cycles",
                        do="give a higher limit, or report this with the package",
                    )
            else:
                process = due.popleft()
            wanted = next(process, None)
            if wanted is None:
                continue
            if isinstance(wanted, Signal):
                wanted.waiting.append(process)
            elif wanted > now:
                push(heap, (wanted, next(order), process))
            else:
                due.append(process)
