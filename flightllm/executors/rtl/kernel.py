"""The Verilated kernel behind a Python object: registers, run, memory. One library per architecture config, built on demand."""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np

from flightllm.config.arch import ArchConfig
from flightllm.config.paths import data_dir
from flightllm.errors import ProgramError
from flightllm.sim import control_map
from flightllm.sim.config import parameters
from flightllm.sim.sources import rtl_sources
from flightllm.sim.verilate import build


@cache
def library(arch: ArchConfig, trace: str = "") -> ctypes.CDLL:
    """The simulator of this config. ToolError if it cannot be built."""
    sim = data_dir("sim")
    path = build("flightllm_top", rtl_sources(arch=arch), [sim / "kernel.cpp"], includes=[sim], trace=trace)
    lib = ctypes.CDLL(str(path))
    lib.kernel_create.restype = ctypes.c_void_p
    lib.kernel_error.restype = ctypes.c_char_p
    for name in ("kernel_run", "kernel_read", "kernel_cycle"):
        getattr(lib, name).restype = ctypes.c_int64
    return lib


class Kernel:
    """A simulated card: `memory` uint8 [ports, bytes] is shared with it, port = core * channels + channel.

    jitter_ns: extra latency of each burst, at random up to this. stall: probability of a cycle without ready, per AXI channel.
    """

    def __init__(
        self, arch: ArchConfig, memory: np.ndarray, jitter_ns: float = 0.0, stall: float = 0.0, seed: int = 1, trace: str = ""
    ) -> None:
        assert memory.flags.c_contiguous and memory.shape[0] == arch.cores * arch.channels
        assert dict((n, v) for n, v, _ in parameters(arch))["Channels"] == arch.channels
        self.arch, self.memory = arch, memory
        self._lib = library(arch, "vcd" if trace else "")
        pointers = (ctypes.c_void_p * len(memory))(*(row.ctypes.data for row in memory))
        self._handle = ctypes.c_void_p(
            self._lib.kernel_create(
                len(memory), arch.port_bits // 8, pointers, ctypes.c_uint64(memory.shape[1]),
                ctypes.c_double(1000.0 / arch.clock_mhz), None, ctypes.c_double(jitter_ns), ctypes.c_double(stall),
                ctypes.c_uint64(seed),
            )
        )  # fmt: skip
        for port in range(len(memory)):
            self.write(control_map.base_address(port), 0)
            self.write(control_map.base_address(port) + 4, port)
        self.write(control_map.ADDRESS["GIE"], 1)
        self.write(control_map.ADDRESS["IER"], 1)
        if trace:
            self._lib.kernel_trace(self._handle, trace.encode())

    def close(self) -> None:
        """End the simulation (and the trace file)."""
        if self._handle:
            self._lib.kernel_destroy(self._handle)
            self._handle = ctypes.c_void_p()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()

    def write(self, address: int, value: int) -> None:
        """Write a 32-bit register over AXI4-Lite."""
        if self._lib.kernel_write(self._handle, address, ctypes.c_uint32(value & 0xFFFFFFFF)):
            raise ProgramError(f"no answer to a write of register {address:#x}")

    def read(self, address: int, bits: int = 32) -> int:
        """Read a register of 32 or 64 bits."""
        words = [int(self._lib.kernel_read(self._handle, address + 4 * i)) for i in range(bits // 32)]
        if min(words) < 0:
            raise ProgramError(f"no answer to a read of register {address:#x}")
        return sum(w << 32 * i for i, w in enumerate(words))

    def inject(self, port: int, address: int, write: bool, response: int = 2) -> None:
        """Accesses of a port that touch this byte offset are answered with an AXI error."""
        self._lib.kernel_inject(
            self._handle, port, ctypes.c_uint64((port << 32) + address), int(write), response
        )

    def run(self, pos: int, ntok: int, nlog: int, masken: bool, program: int, instructions: int, limit: int) -> int:
        """One run of the program; returns its clock cycles.

        Raises:
            ProgramError: error code of the kernel, a breach of AXI, or no end within `limit` cycles; with the units' states.
        """
        address = control_map.ADDRESS
        values = {"POS": pos, "NTOK": ntok, "NLOG": nlog, "MASKEN": int(masken), "PROGRAM": program, "INSTRUCTIONS": instructions}
        for name, value in values.items():
            self.write(address[name], value)
        self.write(address["AP_CTRL"], control_map.START)
        cycles = int(self._lib.kernel_run(self._handle, ctypes.c_int64(limit)))
        if cycles == -2:
            raise ProgramError("the kernel broke the AXI protocol", why=self._lib.kernel_error(self._handle).decode())
        error = self.read(address["ERROR"])
        if cycles < 0 or error & 15:
            why = "no end within the limit" if cycles < 0 else control_map.ERRORS.get(error & 15, "unknown error")
            raise ProgramError(
                f"the kernel stopped with error {error & 15} on core {error >> 8 & 3}: {why}", why=self.state(),
                do="run the same package with --on functional; if that works, report this with the message",
            )  # fmt: skip
        self.write(address["ISR"], self.read(address["ISR"]))
        self.write(address["AP_CTRL"], control_map.CONTINUE)
        return self.read(address["CYCLES"], 64)

    def reset(self) -> None:
        """Leave an error: hold the cores in reset for some cycles."""
        address = control_map.ADDRESS
        self.write(address["SOFT_RESET"], 1)
        self._lib.kernel_run(self._handle, ctypes.c_int64(2000))
        self.write(address["ISR"], self.read(address["ISR"]))
        self.write(address["AP_CTRL"], control_map.CONTINUE)
        self.write(address["SOFT_RESET"], 0)

    def state(self) -> str:
        """What every unit of every core is doing, in words."""
        lines = []
        for k in range(self.arch.cores):
            read = {n: self.read(control_map.core_register(k, n)) for n in control_map.CORE_ADDRESS}
            units = []
            for u, unit in enumerate(control_map.UNITS):
                now = [e for i, e in enumerate(control_map.EVENTS) if read["STATE"] >> (4 * u + i) & 1]
                units.append(f"{unit} {'+'.join(now) if now else 'idle'}")
            tokens = [
                f"{s}->{d} {read[f'TOKENS_{s}'] >> 8 * i & 255}"
                for s in "LMST"
                for i, d in enumerate("LMST")
                if read[f"TOKENS_{s}"] >> 8 * i & 255
            ]
            lines.append(
                f"core {k}: pc {read['PC']}, {', '.join(units)}; rings W {read['W_LEVEL']}, K {read['K_LEVEL']} words; "
                f"tokens {', '.join(tokens) or 'none'}"
            )
        return "\n".join(lines)

    def counters(self) -> dict[str, int]:
        """Cycles of the last run, cycles of each unit's events (`core0.M.busy`), bytes per port."""
        out = {"cycles": self.read(control_map.ADDRESS["CYCLES"], 64)}
        for k in range(self.arch.cores):
            for unit in control_map.UNITS:
                for event in control_map.EVENTS:
                    out[f"core{k}.{unit}.{event}"] = self.read(control_map.counter(k, unit, event), 64)
        for port in range(len(self.memory)):
            out[f"port{port}.read"] = self.read(control_map.traffic(port, False), 64)
            out[f"port{port}.written"] = self.read(control_map.traffic(port, True), 64)
        return out
