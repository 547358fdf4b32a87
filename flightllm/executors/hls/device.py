"""The HLS kernel as a `Device`: packages run on its C++, compiled natively."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flightllm.errors import FitError, ProgramError
from flightllm.executors.hls.kernel import HlsKernel, Outcome
from flightllm.kernel import control_map as cm
from flightllm.package import Package
from flightllm.runtime.device import check_chunk, gather_logits
from flightllm.runtime.driver import ArrayMemory, place

#: seconds that a run may take
LIMIT_S = 3600.0


class HlsDevice:
    """Executes packages on the HLS kernel.

    limit_s: wall time of a run. library, exact_depths: see `HlsKernel`.

    Attributes:
        memory: uint8 [cores * channels, bytes], after `load`. last: counters of the last run; the HLS kernel has none.
    """

    def __init__(self, limit_s: float = LIMIT_S, library: Path | None = None, exact_depths: bool = False) -> None:
        self.limit_s, self.library, self.exact_depths = limit_s, library, exact_depths
        self.memory = np.zeros((0, 0), np.uint8)
        self.last: dict[str, int] = {}
        self._kernel: HlsKernel | None = None
        self._package: Package | None = None
        self._counters: dict[str, int] = {}

    def load(self, package: Package) -> None:
        """Build the kernel for the package's config (a minute, the first time), copy images and program into memory.

        Raises:
            PackageError: damaged package. FitError: not enough memory on this machine. ToolError: no compiler, or it fails.
        """
        m = package.manifest
        size = -(-max(r.end for r in m.memory) // 64) * 64
        self._kernel = HlsKernel(m.arch, self.library, self.exact_depths)
        try:
            self.memory = np.zeros((m.arch.cores * m.arch.channels, size), np.uint8)
        except MemoryError as e:
            raise FitError(
                "this machine has too little memory for the package's memory images",
                where=m.name,
                why=f"{m.arch.cores * m.arch.channels} channels of {size} bytes",
                do="use the cycle model, or a machine with more memory",
            ) from e
        self._package = package
        self._counters = {"chunks": 0, "tokens": 0}
        place(package, ArrayMemory(self.memory), zero=False)

    def close(self) -> None:
        """Nothing to free."""

    def reset(self) -> None:
        """Begin a new conversation. The cache needs no clearing: keys past the position are never visible."""

    def counters(self) -> dict[str, int]:
        """Chunks and tokens since load."""
        return dict(self._counters)

    def run_chunk(self, ids: list[int], pos: int, nlog: int, masken: bool) -> np.ndarray:
        """Run the program once; see `flightllm.runtime.device.Device`.

        Raises:
            ProgramError: the kernel reports an error, stands still, or takes longer than `limit_s`.
        """
        package, kernel = self._package, self._kernel
        if package is None or kernel is None:
            raise ProgramError("no package is loaded", do="call load(package) first")
        m = package.manifest
        check_chunk(m, ids, pos, nlog)
        raw = np.asarray(ids, "<i4").view(np.uint8)
        for core in range(m.arch.cores):
            self.memory[core * m.arch.channels, m.host.ids_addr : m.host.ids_addr + raw.size] = raw
        inputs = {
            "pos": pos, "ntok": len(ids), "nlog": nlog, "masken": int(masken), "program": m.program_region().addr,
            "instructions": m.instructions, "watchdog": 0, "soft_reset": 0,
        }  # fmt: skip
        result = kernel.run(inputs, list(self.memory), self.limit_s)
        error = result.outputs["error"]
        what = {
            Outcome.DONE: f"the kernel reports error {error & 15} ({cm.ERRORS.get(error & 15, 'unknown')}) in core {error >> 8 & 3}",
            Outcome.DEADLOCK: "the kernel stands still: every process waits for another",
            Outcome.TIMEOUT: f"the kernel did not end within {self.limit_s:g} s",
        }[result.outcome]
        if result.outcome is not Outcome.DONE or error:
            raise ProgramError(what, where=m.name, do="check the package with `flightllm verify`")
        self._counters["chunks"] += 1
        self._counters["tokens"] += len(ids)
        rows = self.memory.reshape(m.arch.cores, m.arch.channels, -1)
        return gather_logits(m, nlog, lambda k, c, addr, n: rows[k, c, addr : addr + n])
