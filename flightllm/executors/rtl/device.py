"""The kernel in simulation as a `Device`: packages run on the RTL, cycle by cycle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from flightllm.errors import FlightError, ProgramError, ToolError
from flightllm.package import Package
from flightllm.runtime.driver import ArrayMemory, Driver, channel_bytes, place
from flightllm.sim.hbm import HbmTiming
from flightllm.sim.simulator import SimOptions, Simulator, Stop, build_kernel

#: cycles that a run may take unless told otherwise
LIMIT = 2_000_000_000
#: cycles without a transfer on any channel that end a run: far more than any instruction computes without memory
QUIET = 20_000_000
#: cycles between two calls of an observer: bounds the events that are kept
EVENT_CYCLES = 2048


class RtlDevice:
    """Executes packages on the simulated kernel.

    options: surroundings of the kernel; default: memory as the package's board has it. limit: cycles of a run at most. watchdog: cycles
    without an event in any unit after which the kernel itself gives up (its WATCHDOG register). library: from `build_kernel`;
    built for the package's config if None. trace: file for the signals of `window`: (first, number)
    of cycles, counting those in which the program runs, since `load`. observer: called during a run with what the cores do
    (`Simulator.events`), cycles counted alike; what it raises ends the run.

    Attributes:
        begun: cycle of the simulation in which it began. sim: the simulator, after `load`.
    """

    def __init__(
        self,
        options: SimOptions | None = None,
        limit: int = LIMIT,
        watchdog: int = 1 << 20,
        library: Path | None = None,
        trace: Path | None = None,
        window: tuple[int, int] = (0, 10_000),
        observer: Callable[[np.ndarray], None] | None = None,
    ) -> None:
        if trace is not None:
            if trace.suffix not in (".vcd", ".fst"):
                raise ToolError("unknown kind of trace", where=str(trace), do="name a file that ends in .vcd or .fst")
            options = replace(options or SimOptions(), trace=trace.suffix[1:])
        self.trace, self.window, self.observer = trace, window, observer
        self.options, self.limit, self.watchdog, self.library = options, limit, watchdog, library
        self.sim: Simulator | None = None
        self.package: Package | None = None
        self._driver: Driver | None = None
        self._tracing, self._ran = False, 0
        self.begun = 0

    @property
    def ran(self) -> int:
        """Cycles in which the program ran since `load`: what traces and observers count."""
        return self._ran

    @property
    def last(self) -> dict[str, int]:
        """Counters of the last run (`read_counters`)."""
        return self._driver.last if self._driver is not None else {}

    def load(self, package: Package) -> None:
        """Build the kernel for the package's config (minutes, the first time), copy images and program into memory.

        Raises:
            PackageError: damaged package. FitError: not enough memory on this machine. ToolError: Verilator is missing or fails.
        """
        m = package.manifest
        size = channel_bytes(m)
        options = self.options or SimOptions()
        options = replace(options, timing=options.timing or HbmTiming.of_board(m.memory_timing))
        if self.observer is not None:
            options = replace(options, probe=True)
        self.close()
        library = self.library or build_kernel(m.arch, options.trace, probe=options.probe)
        self.sim = Simulator(m.arch, size, options, library)
        self.package = package
        memory = ArrayMemory(self.sim.memory, self.sim.bases)
        self._driver = Driver(self.sim, memory, package, self.watchdog, interrupts=True)
        self._tracing, self._ran = False, 0
        place(package, memory, zero=False)
        self._driver.start()

    def close(self) -> None:
        """Free the simulator."""
        if self.sim is not None:
            self.sim.close()
        self.sim = None

    def reset(self) -> None:
        """Begin a new conversation. The cache needs no clearing: keys past the position are never visible."""

    def counters(self) -> dict[str, int]:
        """Chunks, tokens and kernel cycles since load, and every counter of the kernel, summed over runs."""
        return dict(self._driver.sums) if self._driver is not None else {}

    def run_chunk(self, ids: list[int], pos: int, nlog: int, masken: bool) -> np.ndarray:
        """Run the program once; see `flightllm.runtime.device.Device`.

        Raises:
            ProgramError: the kernel reports an error or does not end; the message has the state of all units.
        """
        driver, sim = self._running()
        driver.begin(ids, pos, nlog, masken)
        self.begun = sim.cycle
        stop = self._run(sim)
        if stop is not Stop.INTERRUPT or driver.error():
            raise self._failure(driver, sim, stop)
        return driver.finish(nlog)

    def _run(self, sim: Simulator) -> Stop:
        """Run to the interrupt, writing the trace in its window, and handing on what the cores did."""
        first, last = self.window[0], sum(self.window)
        left, stop = self.limit, Stop.LIMIT
        while stop is Stop.LIMIT and left > 0:
            if self.trace is not None and first <= self._ran < last and not self._tracing:
                sim.trace_start(self.trace)
                self._tracing = True
            slices = [edge - self._ran for edge in (first, last) if self.trace is not None and edge > self._ran]
            slices += [EVENT_CYCLES] if self.observer is not None else []
            begin = sim.cycle
            stop = sim.run(min([left, *slices]), QUIET)
            done = sim.cycle - begin
            if self._tracing and self._ran + done >= last:
                sim.trace_stop()
                self._tracing = False
            if self.observer is not None:
                events = sim.events().copy()
                events["cycle"] = events["cycle"].astype(np.int64) + (self._ran - begin)  # as trace windows count
                self._ran += done
                self.observer(events)
            else:
                self._ran += done
            left -= done
        return stop

    def _failure(self, driver: Driver, sim: Simulator, stop: Stop) -> FlightError:
        """What went wrong, with the state of the kernel; the kernel is reset, so that the device can go on."""
        what = {
            Stop.INTERRUPT: "",
            Stop.LIMIT: f"the kernel did not end within {self.limit:,} cycles",
            Stop.QUIET: f"the kernel stands still: nothing moved on any memory channel for {QUIET:,} cycles",
            Stop.PROTOCOL: f"the kernel broke the AXI protocol: {sim.message}",
            Stop.ASSERTION: sim.message,
        }[stop]
        failure = driver.failure(what)
        sim.close()
        self._tracing = False
        # a model in which an assertion failed cannot go on; memory is kept
        self.sim = Simulator(sim.arch, sim.memory.shape[1], sim.options, sim.library, sim.memory)
        driver.registers, driver.memory = self.sim, ArrayMemory(self.sim.memory, self.sim.bases)
        driver.start()
        return failure

    def _running(self) -> tuple[Driver, Simulator]:
        if self._driver is None or self.sim is None:
            raise ProgramError("no package is loaded", do="call load(package) first")
        return self._driver, self.sim
