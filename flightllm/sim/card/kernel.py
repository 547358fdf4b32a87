"""The kernel of a simulated card: the protocol, the Verilated one, the choice by name. The one made from HLS is in `native`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol

import numpy as np

from flightllm.config.arch import ArchConfig
from flightllm.errors import ToolError
from flightllm.sim.simulator import SimOptions, Simulator, Stop, build_kernel


class SimulatedKernel(Protocol):
    """A kernel with its registers and AXI ports, whose clock stands still unless it is told to go on."""

    def attach(self, port: int, base: int, memory: np.ndarray) -> None:
        """The port reaches `memory`, uint8 [bytes], at address `base` from now on, and nothing else: other accesses are AXI decode errors.

        Before it is called for a port, the port reaches nothing. `memory` is shared, not copied.
        """

    def read(self, address: int, /) -> int:
        """A register."""

    def write(self, address: int, value: int, /) -> None:
        """Write a register."""

    def advance(self, cycles: int) -> None:
        """Go on for so many clock cycles at most; less if the kernel has ended a run before."""

    def close(self) -> None:
        """Free what it holds."""


class VerilatedKernel:
    """The RTL.

    Args:
        arch: its config. library: from `build_kernel`; built (minutes, the first time) if None.
        options: surroundings.
    """

    def __init__(self, arch: ArchConfig, library: Path | None = None, options: SimOptions | None = None) -> None:
        self._sim = Simulator(arch, 64, options, library or build_kernel(arch))
        for port in range(self._sim.ports):
            self._sim.attach(port, 0, np.zeros(0, np.uint8))
        self.read, self.write, self.attach, self.close = (
            self._sim.read,
            self._sim.write,
            self._sim.attach,
            self._sim.close,
        )

    def advance(self, cycles: int) -> None:
        """Go on; ToolError if the RTL breaks a rule of AXI or of its own."""
        stop = self._sim.run(cycles)
        if stop in (Stop.PROTOCOL, Stop.ASSERTION):
            raise ToolError("the simulated kernel is broken", why=self._sim.message, do="report this with the package")


def open_kernel(name: str, arch: ArchConfig) -> SimulatedKernel:
    """A kernel by name.

    Args:
        name: "rtl" or "hls"; "rtl:LIBRARY" or "hls:LIBRARY" for one that is built already (`build_kernel`, `build_hls`); or
            "MODULE:FUNCTION", which takes the config.
        arch: what it is to be built for.

    Raises:
        ToolError: there is no such kernel, or it cannot be built.
    """
    kind, _, rest = name.partition(":")
    if kind == "rtl":
        return VerilatedKernel(arch, Path(rest) if rest else None)
    if kind == "hls":
        from flightllm.sim.card.native import NativeKernel

        return NativeKernel(arch, Path(rest) if rest else None)
    try:
        kernel: SimulatedKernel = getattr(importlib.import_module(kind), rest)(arch)
    except (ImportError, AttributeError, ValueError) as error:
        raise ToolError(
            f"there is no simulated kernel {name!r}",
            why=f"{type(error).__name__}: {error}",
            do='use "rtl", "hls", either with ":LIBRARY" behind it, or "MODULE:FUNCTION" of a function that takes the config',
        ) from error
    return kernel
