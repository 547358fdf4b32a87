"""The kernel in simulation as a `Device`: packages run on the RTL, cycle by cycle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from flightllm.errors import ConfigError, FlightError, ProgramError, ToolError
from flightllm.executors.rtl.status import read_counters, state_dump
from flightllm.isa import decode_program
from flightllm.isa.fields import Instruction
from flightllm.kernel import control_map as cm
from flightllm.package import Package
from flightllm.runtime.device import check_chunk, gather_logits
from flightllm.sim.hbm import HbmTiming
from flightllm.sim.simulator import SimOptions, Simulator, Stop, build_kernel

#: cycles that a run may take unless told otherwise
LIMIT = 2_000_000_000
#: cycles without a transfer on any channel that end a run: far more than any instruction computes without memory
QUIET = 20_000_000
#: cycles between two calls of an observer: bounds the events that are kept
EVENT_CYCLES = 2048


def place(package: Package, memory: np.ndarray) -> None:
    """Copy the images, and the program to channel 0 of each core. memory: uint8 [cores * channels, bytes], zero.

    Raises:
        PackageError: an image cannot be read, or the memory map has no room for the program.
    """
    m = package.manifest
    program = np.frombuffer(bytes(package.program), np.uint8)
    region = m.program_region()
    for core in range(m.arch.cores):
        for channel in range(m.arch.channels):
            memory[core * m.arch.channels + channel, : m.image_bytes] = package.image(core, channel)
        memory[core * m.arch.channels, region.addr : region.addr + program.size] = program


class RtlDevice:
    """Executes packages on the simulated kernel.

    options: surroundings of the kernel; default: memory as the package's board has it. limit: cycles of a run at most. watchdog: cycles
    without an event in any unit after which the kernel itself gives up (its WATCHDOG register). library: from `build_kernel`;
    built for the package's config if None. trace: file for the signals of `window`: (first, number)
    of cycles, counting those in which the program runs, since `load`. observer: called during a run with what the cores do
    (`Simulator.events`), cycles counted alike; what it raises ends the run.

    Attributes:
        last: counters of the last run (`read_counters`). begun: cycle of the simulation in which it began. sim: the simulator, after `load`.
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
        self.last: dict[str, int] = {}
        self._program: list[Instruction] | None = None
        self._counters: dict[str, int] = {}
        self._tracing, self._ran = False, 0
        self.begun = 0

    @property
    def ran(self) -> int:
        """Cycles in which the program ran since `load`: what traces and observers count."""
        return self._ran

    def load(self, package: Package) -> None:
        """Build the kernel for the package's config (minutes, the first time), copy images and program into memory.

        Raises:
            PackageError: damaged package. FitError: not enough memory on this machine. ToolError: Verilator is missing or fails.
        """
        m = package.manifest
        size = max(r.end for r in m.memory)
        options = self.options or SimOptions()
        options = replace(options, timing=options.timing or HbmTiming.of_board(m.memory_timing))
        if self.observer is not None:
            options = replace(options, probe=True)
        self.close()
        library = self.library or build_kernel(m.arch, options.trace, probe=options.probe)
        self.sim = Simulator(m.arch, size, options, library)
        self.package, self._program = package, None
        self._counters = {"chunks": 0, "tokens": 0, "cycles": 0}
        self.last = {}
        self._tracing, self._ran = False, 0
        place(package, self.sim.memory)
        self._start_up(self.sim)

    def close(self) -> None:
        """Free the simulator."""
        if self.sim is not None:
            self.sim.close()
        self.sim = None

    def _start_up(self, sim: Simulator) -> None:
        """Check that the kernel is the one wanted, write what stays the same for all runs."""
        arch = sim.arch
        want = arch.cores | arch.channels << 8 | arch.vpus << 16 | arch.lanes << 24
        there = sim.read(cm.ADDRESS["BUILD"])
        if there != want:
            raise ConfigError(
                "the kernel was built for another config",
                why=f"BUILD is {there:#010x}, not {want:#010x}",
                do="build the kernel for the package's config",
            )
        for port in range(sim.ports):
            sim.write64(cm.base_address(port), int(sim.bases[port]))
        m = self._loaded().manifest
        sim.write64(cm.ADDRESS["PROGRAM"], m.program_region().addr)
        sim.write(cm.ADDRESS["INSTRUCTIONS"], m.instructions)
        sim.write(cm.ADDRESS["WATCHDOG"], self.watchdog)
        sim.write(cm.ADDRESS["GIE"], 1)
        sim.write(cm.ADDRESS["IER"], 1)

    def reset(self) -> None:
        """Begin a new conversation. The cache needs no clearing: keys past the position are never visible."""

    def counters(self) -> dict[str, int]:
        """Chunks, tokens and kernel cycles since load, and every counter of the kernel, summed over runs."""
        return dict(self._counters)

    def run_chunk(self, ids: list[int], pos: int, nlog: int, masken: bool) -> np.ndarray:
        """Run the program once; see `flightllm.runtime.device.Device`.

        Raises:
            ProgramError: the kernel reports an error or does not end; the message has the state of all units.
        """
        package, sim = self._loaded(), self._running()
        m = package.manifest
        check_chunk(m, ids, pos, nlog)
        raw = np.asarray(ids, "<i4").view(np.uint8)
        for core in range(m.arch.cores):
            sim.memory[core * m.arch.channels, m.host.ids_addr : m.host.ids_addr + raw.size] = raw
        for name, value in (("POS", pos), ("NTOK", len(ids)), ("NLOG", nlog), ("MASKEN", int(masken))):
            sim.write(cm.ADDRESS[name], value)
        sim.write(cm.ADDRESS["AP_CTRL"], cm.START)
        self.begun = sim.cycle
        stop = self._run(sim)
        error = sim.read(cm.ADDRESS["ERROR"]) if stop is Stop.INTERRUPT else 0
        if stop is not Stop.INTERRUPT or error:
            raise self._failure(sim, stop, error)
        sim.write(cm.ADDRESS["ISR"], 1)
        self.last = read_counters(sim, m.arch)
        sim.write(cm.ADDRESS["AP_CTRL"], cm.CONTINUE)
        for name, value in (self.last | {"chunks": 1, "tokens": len(ids)}).items():
            self._counters[name] = self._counters.get(name, 0) + value
        rows = sim.memory.reshape(m.arch.cores, m.arch.channels, -1)
        return gather_logits(m, nlog, lambda k, c, addr, n: rows[k, c, addr : addr + n])

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

    def _failure(self, sim: Simulator, stop: Stop, error: int) -> FlightError:
        """What went wrong, with the state of the kernel; the kernel is reset, so that the device can go on."""
        package = self._loaded()
        what = {
            Stop.INTERRUPT: f"the kernel reports error {error & 15} ({cm.ERRORS.get(error & 15, 'unknown')}) in core {error >> 8 & 3}",
            Stop.LIMIT: f"the kernel did not end within {self.limit:,} cycles",
            Stop.QUIET: f"the kernel stands still: nothing moved on any memory channel for {QUIET:,} cycles",
            Stop.PROTOCOL: f"the kernel broke the AXI protocol: {sim.message}",
            Stop.ASSERTION: sim.message,
        }[stop]
        try:
            dump = "\n".join(state_dump(sim, sim.arch, self._listing))
        except FlightError as silent:
            dump = str(silent)
        sim.close()
        self._tracing = False
        # a model in which an assertion failed cannot go on; memory is kept
        self.sim = Simulator(sim.arch, sim.memory.shape[1], sim.options, sim.library, sim.memory)
        self._start_up(self.sim)
        return ProgramError(what, where=package.manifest.name, why=dump)

    def _listing(self, pc: int) -> str:
        """Instruction `pc` of the program as text; "" if there is none or the program is damaged."""
        if self._program is None:
            try:
                self._program = decode_program(bytes(self._loaded().program))
            except FlightError:
                self._program = []
        return repr(self._program[pc]) if pc < len(self._program) else ""

    def _loaded(self) -> Package:
        if self.package is None:
            raise ProgramError("no package is loaded", do="call load(package) first")
        return self.package

    def _running(self) -> Simulator:
        if self.sim is None:
            raise ProgramError("no package is loaded", do="call load(package) first")
        return self.sim
