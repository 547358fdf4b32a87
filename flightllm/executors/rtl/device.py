"""The RTL executor as a `Device`: a package in the simulated card's memory, one run of the kernel per chunk."""

from __future__ import annotations

import numpy as np

from flightllm.errors import FitError, ProgramError
from flightllm.executors.rtl.kernel import Kernel
from flightllm.package import Package
from flightllm.runtime.device import check_chunk, gather_logits

#: cycles after which a chunk counts as hung, whatever the watchdog says
LIMIT = 2_000_000_000


class RtlDevice:
    """Executes packages on the Verilated core.

    jitter_ns, stall, seed: random delays of the memory model (see `Kernel`). trace: path of a VCD file of the whole simulation.
    """

    def __init__(self, jitter_ns: float = 0.0, stall: float = 0.0, seed: int = 1, trace: str = "") -> None:
        self.options = {"jitter_ns": jitter_ns, "stall": stall, "seed": seed, "trace": trace}
        self.package: Package | None = None
        self.kernel: Kernel | None = None
        self.cycles: list[int] = []

    def load(self, package: Package) -> None:
        """Put images and program into memory and start the simulator.

        Raises:
            PackageError: damaged package. FitError: not enough memory here. ToolError: the simulator cannot be built.
        """
        m = package.manifest
        arch = m.arch
        size = max(r.end for r in m.memory)
        try:
            self.memory = np.zeros((arch.cores * arch.channels, -(-size // 4096) * 4096), np.uint8)
        except MemoryError as e:
            raise FitError(
                "this machine has too little memory for the package's memory images", where=m.name, why=f"{size} bytes a channel"
            ) from e
        program = np.frombuffer(bytes(package.program), np.uint8)
        self.program_addr = m.region("program").addr
        for core in range(arch.cores):
            for channel in range(arch.channels):
                image = package.image(core, channel)
                self.memory[core * arch.channels + channel, : len(image)] = image
            self.memory[core * arch.channels, self.program_addr : self.program_addr + program.size] = program
        self.package = package
        self.cycles = []
        if self.kernel is not None:
            self.kernel.close()
        self.kernel = Kernel(arch, self.memory, **self.options)  # type: ignore[arg-type]

    def reset(self) -> None:
        """Begin a new conversation. The cache needs no clearing: keys past the position are never visible."""

    def counters(self) -> dict[str, int]:
        """Counters of the kernel for the last chunk, and the cycles of all chunks together."""
        if self.kernel is None:
            return {}
        return self.kernel.counters() | {"total_cycles": sum(self.cycles), "chunks": len(self.cycles)}

    def run_chunk(self, ids: list[int], pos: int, nlog: int, masken: bool) -> np.ndarray:
        """Run the program once; see `flightllm.runtime.device.Device`."""
        if self.package is None or self.kernel is None:
            raise ProgramError("no package is loaded", do="call load(package) first")
        m = self.package.manifest
        check_chunk(m, ids, pos, nlog)
        raw = np.asarray(ids, "<i4").view(np.uint8)
        channels = m.arch.channels
        for core in range(m.arch.cores):
            self.memory[core * channels, m.host.ids_addr : m.host.ids_addr + raw.size] = raw
        try:
            cycles = self.kernel.run(pos, len(ids), nlog, masken, self.program_addr, m.instructions, LIMIT)
        except ProgramError:
            self.kernel.reset()  # the next run works
            raise
        self.cycles.append(cycles)
        return gather_logits(m, nlog, lambda k, c, addr, n: self.memory[k * channels + c, addr : addr + n])
