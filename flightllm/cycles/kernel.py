"""Discrete events: a clock, processes that are generators, and signals that wake them."""

from __future__ import annotations

import heapq
from collections.abc import Generator
from itertools import count
from typing import TypeVar

from flightllm.errors import ProgramError

T = TypeVar("T")
#: A process yields the cycle to go on in, or a signal to wait for. A part of one does so, too, and returns something.
Part = Generator["float | Signal", None, T]
Process = Part[None]


class Signal:
    """Something that processes wait for. Whoever is woken looks again whether it is what it waited for."""

    __slots__ = ("_kernel", "_waiting")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._waiting: list[Process] = []

    def set(self) -> None:
        """Wake all that wait, in this cycle, behind whatever is due in it already."""
        if self._waiting:
            kernel, waiting = self._kernel, self._waiting
            self._waiting = []
            for process in waiting:
                kernel.at(kernel.now, process)

    def wait(self, process: Process) -> None:
        """Put a process to sleep until `set`."""
        self._waiting.append(process)


class Kernel:
    """Runs processes in order of time; those of one cycle in the order in which they became due.

    Attributes:
        now: the cycle.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Process]] = []
        self._order = count()

    def at(self, time: float, process: Process) -> None:
        """Go on with a process in a cycle that is not past."""
        heapq.heappush(self._heap, (time, next(self._order), process))

    def start(self, process: Process) -> None:
        """Begin a process in this cycle."""
        self.at(self.now, process)

    def run(self, limit: float) -> None:
        """Until nothing is due any more.

        Raises:
            ProgramError: the clock passes `limit`.
        """
        heap, push, pop, order = self._heap, heapq.heappush, heapq.heappop, self._order
        while heap:
            time, _, process = pop(heap)
            self.now = time
            if time > limit:
                raise ProgramError(
                    f"the run has not ended after {limit:,.0f} cycles",
                    do="give a higher limit, or report this with the package",
                )
            try:
                wanted = next(process)
            except StopIteration:
                continue
            if isinstance(wanted, Signal):
                wanted.wait(process)
            else:
                push(heap, (max(wanted, time), next(order), process))
