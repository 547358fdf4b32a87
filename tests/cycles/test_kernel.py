"""The kernel of events: order of time, order within a cycle, signals, and the end."""

from __future__ import annotations

import pytest

from flightllm.cycles.kernel import Kernel, Signal
from flightllm.errors import ProgramError


def test_processes_go_on_in_order_of_time():
    kernel, seen = Kernel(), []

    def process(name, *times):
        for time in times:
            yield time
            seen.append((kernel.now, name))

    kernel.start(process("a", 3, 10, 10))
    kernel.start(process("b", 3, 4, 20.5))
    kernel.run(100)
    # the one that became due first goes first; a time that is past is now
    assert seen == [(3, "a"), (3, "b"), (4, "b"), (10, "a"), (10, "a"), (20.5, "b")]


def test_a_signal_wakes_all_that_wait_and_nobody_later():
    kernel, seen = Kernel(), []
    signal = Signal(kernel)

    def waits(name, begin):
        yield begin
        yield signal
        seen.append((kernel.now, name))

    def sets():
        yield 5
        signal.set()
        signal.set()
        yield 9
        signal.set()

    for name, begin in (("a", 1), ("b", 2), ("c", 6)):
        kernel.start(waits(name, begin))
    kernel.start(sets())
    kernel.run(100)
    assert seen == [(5, "a"), (5, "b"), (9, "c")]


def test_what_becomes_due_in_a_cycle_goes_behind_what_is_due_in_it():
    kernel, seen = Kernel(), []
    signal = Signal(kernel)

    def process(name, wanted):
        yield wanted
        seen.append((kernel.now, name))
        signal.set()

    for name, wanted in (("a", 5), ("woken", signal), ("b", 5)):
        kernel.start(process(name, wanted))
    kernel.run(100)
    assert seen == [(5, "a"), (5, "b"), (5, "woken")]


def test_a_signal_for_a_cycle_to_come():
    kernel, seen = Kernel(), []
    signal = Signal(kernel)

    def waits():
        yield signal
        seen.append(kernel.now)

    def sets():
        yield 5
        signal.set_at(8)
        signal.set()  # nobody waits any more

    kernel.start(waits())
    kernel.start(sets())
    kernel.run(100)
    assert seen == [8]


def test_a_run_that_does_not_end():
    kernel = Kernel()

    def forever():
        while True:
            yield kernel.now + 1

    kernel.start(forever())
    with pytest.raises(ProgramError, match="has not ended after 50 cycles"):
        kernel.run(50)
