"""The functional executor and another one as one `Device` that compares logits and all of memory after every run.

For executors that do not tell what single instructions do.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from flightllm.executors.functional import FunctionalDevice
from flightllm.executors.lockstep.device import CACHE_BYTES
from flightllm.executors.lockstep.report import Divergence
from flightllm.package import Package
from flightllm.runtime.device import Device


class MemoryDevice(Device, Protocol):
    """An executor whose memory can be looked at: uint8 [cores * channels, bytes], after `load`."""

    @property
    def memory(self) -> np.ndarray: ...


class RunByRun:
    """Runs every chunk on both. other: the executor compared with the functional one. name: what reports call it."""

    def __init__(self, other: MemoryDevice, name: str, cache_bytes: int = CACHE_BYTES) -> None:
        self.other, self.name = other, name
        self.functional = FunctionalDevice(cache_bytes)
        self._package: Package | None = None
        self._counters: dict[str, int] = {}

    def load(self, package: Package) -> None:
        """Load the package into both. Raises what their `load` raises."""
        self.functional.load(package)
        self.other.load(package)
        self._package = package
        self._counters = {"compared_runs": 0, "compared_logits": 0, "compared_bytes": 0}

    def reset(self) -> None:
        """Begin a new conversation on both."""
        self.functional.reset()
        self.other.reset()

    def counters(self) -> dict[str, int]:
        """The other executor's, and how much was compared."""
        return self.other.counters() | self._counters

    def run_chunk(self, ids: list[int], pos: int, nlog: int, masken: bool) -> np.ndarray:
        """Run the program once on both; see `flightllm.runtime.device.Device`.

        Raises:
            Divergence: a logit or a byte of memory differs.
        """
        want = self.functional.run_chunk(ids, pos, nlog, masken)
        got = self.other.run_chunk(ids, pos, nlog, masken)
        self._compare_memory(pos, len(ids))
        bad = np.argwhere(want.view(np.uint32) != got.view(np.uint32))
        if bad.size:
            row, token = (int(x) for x in bad[0])
            self._differ(
                f"logit of token {token}, row {row}",
                pos,
                len(ids),
                str(want[row, token]),
                str(got[row, token]),
                len(bad),
            )
        self._counters["compared_runs"] += 1
        self._counters["compared_logits"] += want.size
        return got

    def _compare_memory(self, pos: int, tokens: int) -> None:
        assert self._package is not None
        m = self._package.manifest
        memory = self.other.memory.reshape(m.arch.cores, m.arch.channels, -1)
        for region in m.memory:
            if region.kind == "program":  # the functional executor does not fetch it from there
                continue
            for k, core in enumerate(self.functional.cores):
                mine, other = core.mem[:, region.addr : region.end], memory[k, :, region.addr : region.end]
                bad = np.argwhere(mine != other)
                if bad.size:
                    channel, byte = (int(x) for x in bad[0])
                    place = f"memory, core {k}, channel {channel}, byte {region.addr + byte:#x} ({region.name})"
                    self._differ(
                        place, pos, tokens, f"{mine[channel, byte]:#04x}", f"{other[channel, byte]:#04x}", len(bad)
                    )
                self._counters["compared_bytes"] += mine.size

    def _differ(self, place: str, pos: int, tokens: int, want: str, got: str, count: int) -> None:
        run = f"run of the program from position {pos}, {tokens} token{'s' if tokens > 1 else ''}"
        data = {
            "what": "a value differs after a run", "run": {"pos": pos, "tokens": tokens}, "place": place, "count": count,
            "functional": want, self.name: got,
        }  # fmt: skip
        more = f"; the first of {count} that differ there" if count > 1 else ""
        raise Divergence(
            f"{self.name} diverges: {data['what']}", f"{run}\n    {place}", f"functional: {want}, {self.name}: {got}{more}",
            "report this with the package; --against rtl compares instruction by instruction", data,
        )  # fmt: skip
