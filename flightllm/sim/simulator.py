"""The kernel under Verilator with its memories: build, registers, runs, traces. Knows nothing of packages."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from flightllm.config.arch import ArchConfig
from flightllm.config.paths import data_dir
from flightllm.errors import ConfigError, FitError, ToolError
from flightllm.kernel import control_map as cm
from flightllm.sim.events import EVENT
from flightllm.sim.hbm import HbmTiming
from flightllm.sim.sources import rtl_sources
from flightllm.sim.verilate import build

TOP = "flightllm_top"
#: what the RTL can be built with
MAX_LANES, MAX_CHANNELS = 16, 32


class Stop(IntEnum):
    """Why `Simulator.run` came back; numbers as in sim/harness.cpp."""

    INTERRUPT = 0  #: the kernel raised its interrupt
    LIMIT = 1  #: the cycles are used up; may be continued
    QUIET = 2  #: nothing was transferred on any channel for too long
    PROTOCOL = 3  #: the kernel broke a rule of AXI
    ASSERTION = 4  #: an assertion in the RTL failed


@dataclass(frozen=True)
class SimOptions:
    """How the surroundings of the kernel behave.

    timing: of the memory; None: a U280's, or as a device's package says. jitter_ns: extra latency of each burst, uniform from 0. stall: probability of a cycle without ready, per
    channel. seed: of both, and of registers without a reset. trace: "", "vcd" or "fst": what the build can write. probe: the build tells
    what the cores do (`Simulator.events`).
    """

    timing: HbmTiming | None = None
    jitter_ns: float = 0.0
    stall: float = 0.0
    seed: int = 1
    trace: str = ""
    probe: bool = False


class _Timing(ctypes.Structure):
    _fields_ = [(f.name, ctypes.c_double) for f in fields(HbmTiming)]


class _Options(ctypes.Structure):
    _fields_ = [
        ("period_ns", ctypes.c_double),
        ("jitter_ns", ctypes.c_double),
        ("stall", ctypes.c_double),
        ("seed", ctypes.c_uint64),
        ("max_reads", ctypes.c_uint32),
        ("max_writes", ctypes.c_uint32),
    ]


#: bursts that the RTL's axi_reader and axi_writer keep in flight at most (docs/rtl.md)
MAX_READS, MAX_WRITES = 16, 32


@cache
def _library(path: Path) -> ctypes.CDLL:
    lib = ctypes.CDLL(str(path))
    u64, u32, sim, text = ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_char_p
    signatures = {
        "sim_create": (sim, [u32, u32, ctypes.c_void_p, u64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]),
        "sim_destroy": (None, [sim]),
        "sim_reset": (None, [sim]),
        "sim_cycle": (u64, [sim]),
        "sim_message": (text, [sim]),
        "sim_write": (ctypes.c_int, [sim, u32, u32, u32]),
        "sim_read": (ctypes.c_int, [sim, u32, ctypes.POINTER(u32)]),
        "sim_run": (ctypes.c_int, [sim, u64, u64]),
        "sim_inject": (None, [sim, u32, u64, ctypes.c_int, ctypes.c_int]),
        "sim_attach": (None, [sim, u32, ctypes.c_void_p, u64, u64]),
        "sim_port": (None, [sim, u32, ctypes.c_void_p]),
        "sim_observe": (None, [sim]),
        "sim_events": (ctypes.c_void_p, [sim, ctypes.POINTER(u64)]),
        "sim_forget": (None, [sim]),
        "sim_trace_start": (ctypes.c_int, [sim, text, ctypes.c_int]),
        "sim_trace_stop": (None, [sim]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


def build_kernel(arch: ArchConfig, trace: str = "", sources: Sequence[Path] | None = None, probe: bool = False) -> Path:
    """Library of the kernel for this config, from the cache if it is there.

    sources: another `flightllm_top` (tests). trace, probe: see `SimOptions`.

    Raises:
        ConfigError: the RTL has no such configuration. ToolError: Verilator or a compiler fails.
    """
    cm.check_ports(arch)
    for name, most in (("lanes", MAX_LANES), ("channels", MAX_CHANNELS)):
        if sources is None and getattr(arch, name) > most:
            raise ConfigError(
                f"the RTL cannot be built with {name} = {getattr(arch, name)}",
                why=f"it has up to {most} today",
                do=f"compile with --set {name}={most}, or use --on functional",
            )
    folder = data_dir("sim")
    files = list(sources) if sources is not None else rtl_sources(arch=arch)
    if not any(p.stem == TOP for p in files):
        raise ToolError(f"the RTL has no module {TOP}", do="use another executor")
    files += [folder / "lockstep_probe.sv"] if probe else []
    return build(TOP, files, [folder / "harness.cpp"], includes=[folder], trace=trace)


class Simulator:
    """One kernel and its memories. Context manager; `close` frees it.

    Args:
        arch: config of the build.
        size: bytes of memory behind each channel that are simulated.
        options: surroundings. library: from `build_kernel`; built if None. memory: contents, zero if None; not copied.

    Attributes:
        memory: uint8 [cores * channels, size], shared with the simulation.
    """

    def __init__(
        self,
        arch: ArchConfig,
        size: int,
        options: SimOptions | None = None,
        library: Path | None = None,
        memory: np.ndarray | None = None,
    ) -> None:
        self.arch, self.options = arch, options or SimOptions()
        self.library = library or build_kernel(arch, self.options.trace, probe=self.options.probe)
        self._lib = _library(self.library)
        self.ports = arch.cores * arch.channels
        try:
            self.memory = np.zeros((self.ports, size), np.uint8) if memory is None else memory
        except MemoryError as e:
            raise FitError(
                "this machine has too little memory for the simulated channels",
                why=f"{self.ports} of {size} bytes",
                do="use a smaller board, or --on functional",
            ) from e
        self.bases = np.arange(1, self.ports + 1, dtype=np.uint64) << np.uint64((arch.channel_bytes - 1).bit_length())
        self._attached: dict[int, np.ndarray] = {}
        rows = np.array([row.ctypes.data for row in self.memory], np.uint64)
        wanted = self.options.timing or HbmTiming()
        timing = _Timing(*(getattr(wanted, f.name) for f in fields(HbmTiming)))
        o = self.options
        options_c = _Options(1000 / arch.clock_mhz, o.jitter_ns, o.stall, o.seed, MAX_READS, MAX_WRITES)
        self._sim = self._lib.sim_create(
            self.ports,
            arch.port_bits // 8,
            rows.ctypes.data,
            size,
            self.bases.ctypes.data,
            ctypes.byref(timing),
            ctypes.byref(options_c),
        )
        if not self._sim:
            raise ConfigError(
                "the simulator was built for another architecture config", do="make a new simulator for this config"
            )
        if self.options.probe:
            self._lib.sim_observe(self._sim)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Free the model; a trace is finished."""
        sim, self._sim = getattr(self, "_sim", None), None
        if sim:
            self._lib.sim_destroy(sim)

    def reset(self) -> None:
        """Reset of the kernel; memory stays, what is in flight is lost."""
        self._lib.sim_reset(self._sim)

    @property
    def cycle(self) -> int:
        """Clock cycles since the beginning."""
        return int(self._lib.sim_cycle(self._sim))

    @property
    def message(self) -> str:
        """What is wrong after `Stop.PROTOCOL` or `Stop.ASSERTION`."""
        return str(self._lib.sim_message(self._sim).decode())

    def write(self, address: int, value: int, strobes: int = 15) -> None:
        """Write a 32-bit register, the bytes with a strobe; ToolError if the kernel does not answer."""
        self._answered(self._lib.sim_write(self._sim, address, value, strobes), f"write to register {address:#x}")

    def read(self, address: int) -> int:
        """Read a 32-bit register; ToolError if the kernel does not answer."""
        value = ctypes.c_uint32()
        self._answered(self._lib.sim_read(self._sim, address, ctypes.byref(value)), f"read of register {address:#x}")
        return value.value

    @staticmethod
    def _answered(result: int, what: str) -> None:
        if result:
            why = "no answer" if result == -1 else "the answer came too early, changed, or is an error"
            raise ToolError(
                f"a {what} of the kernel failed", why=why, do="report this with the command and the package"
            )

    def write64(self, address: int, value: int) -> None:
        """Write a 64-bit register."""
        self.write(address, value & 0xFFFFFFFF)
        self.write(address + 4, value >> 32)

    def read64(self, address: int) -> int:
        """Read a 64-bit register that does not change meanwhile."""
        return self.read(address) | self.read(address + 4) << 32

    def run(self, cycles: int, quiet: int = 0) -> Stop:
        """Go on until the interrupt, for `cycles` at most; `quiet`: give up after so many without a transfer (0: never)."""
        while True:
            step = min(cycles, 100_000)  # so that Ctrl-C works
            stop = Stop(self._lib.sim_run(self._sim, step, quiet))
            cycles -= step
            if stop is not Stop.LIMIT or cycles <= 0:
                return stop

    def inject(self, port: int, address: int, write: bool, response: int = 2) -> None:
        """Answer accesses that touch byte `address` of channel number `port` with an AXI error (2 SLVERR, 3 DECERR)."""
        self._lib.sim_inject(self._sim, port, int(self.bases[port]) + address, int(write), response)

    def attach(self, port: int, base: int, memory: np.ndarray) -> None:
        """From now on channel number `port` reaches this memory, uint8 [bytes], at address `base`; every other address is a decode error.

        `memory` stays in use until the next call or `close`; the row of `Simulator.memory` no longer counts.
        """
        self._attached[port] = memory
        self.bases[port] = base
        self._lib.sim_attach(self._sim, port, memory.ctypes.data, memory.size, base)

    def port_counts(self, port: int) -> dict[str, int]:
        """What the memory model of channel number `port` has seen since the beginning."""
        out = np.zeros(8, np.uint64)
        self._lib.sim_port(self._sim, port, out.ctypes.data)
        names = ("read_bytes", "written_bytes", "reads", "writes", "row_hits", "rows_opened", "row_misses", "refreshes")
        return dict(zip(names, out.tolist(), strict=True))

    def events(self) -> np.ndarray:
        """What the cores did since the last call, in order: `events.EVENT` [n]. With `SimOptions.probe`, else empty."""
        count = ctypes.c_uint64()
        first = self._lib.sim_events(self._sim, ctypes.byref(count))
        size = count.value * EVENT.itemsize
        raw = ctypes.string_at(first, size) if size else b""
        self._lib.sim_forget(self._sim)
        return np.frombuffer(raw, EVENT)

    def trace_start(self, path: Path, levels: int = 99) -> None:
        """Write signals to a file from now on (the kind of file that it was built for: `SimOptions.trace`)."""
        if self._lib.sim_trace_start(self._sim, str(path).encode(), levels):
            why = "the simulator was built without tracing" if not self.options.trace else "the file cannot be opened"
            raise ToolError(
                "no trace", where=str(path), why=why, do="give a path that can be written; see `flightllm doctor`"
            )

    def trace_stop(self) -> None:
        """Finish the file."""
        self._lib.sim_trace_stop(self._sim)
