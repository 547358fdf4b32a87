"""A package on the functional executor and on the kernel, in RTL or HLS, side by side: after each run everything must agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from packages import pieces

from flightllm.executors.functional import FunctionalDevice
from flightllm.executors.hls import HlsDevice
from flightllm.executors.rtl import RtlDevice
from flightllm.package import Package
from flightllm.sim.simulator import SimOptions


class Lockstep:
    """Both devices with the package loaded; kernel: the one to compare, by default the RTL with `options`. Memory behind the images holds the same noise on both, so that a write of the wrong
    bytes, a write to the wrong place and a read of something never written all show.

    Attributes:
        cycles: of the kernel, all runs together; 0 if it does not count them.
    """

    def __init__(
        self, package: Package, options: SimOptions | None = None, kernel: RtlDevice | HlsDevice | None = None
    ) -> None:
        self.package = package
        self.functional, self.kernel = FunctionalDevice(), kernel or RtlDevice(options)
        self.functional.load(package)
        self.kernel.load(package)
        self.cycles = 0
        m = package.manifest
        # the functional executor does not fetch the program from memory
        self.compared = np.ones(self._kernel_memory(0).shape[1], bool)
        for region in m.memory:
            if region.kind == "program":
                self.compared[region.addr : region.end] = False
        rng = np.random.default_rng(99)
        for k, core in enumerate(self.functional.cores):
            noise = rng.integers(0, 256, core.mem.shape, np.uint8)
            noise[:, : m.image_bytes] = core.mem[:, : m.image_bytes]
            core.mem[:] = noise
            self._kernel_memory(k)[:, self.compared] = noise[:, self.compared]

    def _kernel_memory(self, core: int) -> np.ndarray:
        """View uint8 [channels, bytes] of a core's memory in the simulation."""
        channels = self.package.manifest.arch.channels
        if isinstance(self.kernel, HlsDevice):
            memory = self.kernel.memory
        else:
            assert self.kernel.sim is not None
            memory = self.kernel.sim.memory
        return memory[core * channels : (core + 1) * channels]

    def run(self, ids: Sequence[int], pos: int, nlog: int, masken: bool) -> np.ndarray:
        """One run of the program on both; asserts that all logits and all of memory are the same, and returns the logits."""
        want = self.functional.run_chunk(list(ids), pos, nlog, masken)
        got = self.kernel.run_chunk(list(ids), pos, nlog, masken)
        self.cycles += self.kernel.last.get("cycles", 0)
        bad = np.argwhere(got.view(np.uint32) != want.view(np.uint32))
        assert not bad.size, f"run at position {pos}: {len(bad)} of {got.size} logits differ, first at {bad[0]}"
        self.memory_agrees(f"run at position {pos}")
        return want

    def memory_agrees(self, when: str) -> None:
        """Assert that the memories of all cores hold the same bytes."""
        for k, core in enumerate(self.functional.cores):
            mine = self._kernel_memory(k)
            different = (core.mem != mine) & self.compared
            if different.any():
                channel, byte = (int(x) for x in np.argwhere(different)[0])
                region = next((r.name for r in self.package.manifest.memory if r.addr <= byte < r.end), "no region")
                raise AssertionError(
                    f"{when}: {different.sum()} bytes of core {k} differ, first: channel {channel}, byte {byte:#x} ({region})"
                )

    def feed(self, ids: Sequence[int], chunks: Sequence[int]) -> np.ndarray:
        """The first `sum(chunks)` ids from position 0, all logits; returns the last run's."""
        logits = np.zeros((0, 0), np.float32)
        for pos, n in pieces(self.package.manifest.limits, chunks):
            logits = self.run(ids[pos : pos + n], pos, n, pos == 0 or n > 1)
        return logits

    def advance(self, ids: Sequence[int], chunks: Sequence[int]) -> None:
        """Feed the first `sum(chunks)` ids from position 0 to the functional executor alone; the kernel gets its memory."""
        for pos, n in pieces(self.package.manifest.limits, chunks):
            self.functional.run_chunk(list(ids[pos : pos + n]), pos, 1, True)
        for k, core in enumerate(self.functional.cores):
            self._kernel_memory(k)[:, self.compared] = core.mem[:, self.compared]

    def generate(self, prompt: Sequence[int], chunks: Sequence[int], new: int) -> list[int]:
        """Feed the prompt in chunks, then `new` tokens, each the most likely one; every logit of every token is compared."""
        assert sum(chunks) == len(prompt)
        out: list[int] = []
        logits = self.feed(prompt, chunks)
        for i in range(new):
            out.append(int(logits[-1].argmax()))
            logits = self.run(out[-1:], len(prompt) + i, 1, False)
        return out

    def close(self) -> None:
        """Free the simulator."""
        self.kernel.close()
