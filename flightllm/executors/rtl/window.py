"""A window of a long run in RTL: the functional executor does everything, the RTL repeats the runs of the window."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from flightllm.errors import FlightError, ProgramError
from flightllm.executors.functional import FunctionalDevice
from flightllm.executors.rtl.device import RtlDevice
from flightllm.package import Package, Region


@dataclass(frozen=True)
class Window:
    """Token positions first .. first + count - 1. A run of the program belongs to it if one of its positions does."""

    first: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Window:
        """Read "FIRST:COUNT". Raises FlightError."""
        match = re.fullmatch(r"(\d+):(\d+)", text)
        if match is None or not int(match[2]):
            what, do = f"{text!r} is not a window", "give FIRST:COUNT in token positions, e.g. 500:4"
            raise FlightError(what, where="--rtl-window", do=do)
        return cls(int(match[1]), int(match[2]))

    def contains(self, pos: int, count: int) -> bool:
        """Whether a run of `count` tokens from position `pos` belongs to it."""
        return pos < self.first + self.count and pos + count > self.first


class WindowDevice:
    """A `Device` that runs the chunks of a window in RTL too, from the functional executor's memory, and compares.

    Every chunk runs on the functional executor, which also gives the results. The first chunk of the window finds the RTL's
    memory as the functional executor left it. After each chunk in RTL all logits and all memory that programs write must agree.
    The RTL is built when the window is reached.

    Attributes:
        measured: per chunk in RTL, {"pos", "tokens"} and the kernel's counters (`read_counters`). last: those of the last
        `run_chunk`, None if it was not in the window.
    """

    def __init__(self, window: Window, rtl: RtlDevice | None = None) -> None:
        self.window, self.rtl = window, rtl or RtlDevice()
        self.functional = FunctionalDevice()
        self.measured: list[dict[str, int]] = []
        self.last: dict[str, int] | None = None
        self._package: Package | None = None
        self._loaded = self._same = False  # the RTL has the package; its memory is the functional executor's

    def load(self, package: Package) -> None:
        """Load the functional executor; the RTL follows when it is needed."""
        self.rtl.close()
        self.functional.load(package)
        self._package, self._loaded, self._same = package, False, False
        self.measured, self.last = [], None

    def reset(self) -> None:
        """Begin a new conversation."""
        self.functional.reset()
        self.rtl.reset()

    def close(self) -> None:
        """Free the simulator."""
        self.rtl.close()

    def counters(self) -> dict[str, int]:
        """Those of the functional executor, and `rtl_chunks`, `rtl_tokens`, `rtl_cycles` of the window."""
        sums = {"chunks": len(self.measured)} | {
            name: sum(r[name] for r in self.measured) for name in ("tokens", "cycles")
        }
        return self.functional.counters() | {f"rtl_{name}": value for name, value in sums.items()}

    def summary(self) -> str:
        """What was measured in RTL and what was not, one line."""
        if not self.measured:
            return f"RTL window {self.window.first}:{self.window.count} was not reached: nothing was measured in RTL"
        first, last = self.measured[0], self.measured[-1]
        cycles = sum(r["cycles"] for r in self.measured)
        return (
            f"measured in RTL: positions {first['pos']} to {last['pos'] + last['tokens'] - 1}, {len(self.measured)} runs of the "
            f"program, {cycles:,} cycles; logits and memory are the functional executor's. All else: functional executor only"
        )

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        runs = [{name: r[name] for name in ("pos", "tokens", "cycles")} for r in self.measured]
        return {"first": self.window.first, "count": self.window.count, "measured": runs}

    def run_chunk(self, ids: list[int], pos: int, nlog: int, masken: bool) -> np.ndarray:
        """Run the program; see `flightllm.runtime.device.Device`.

        Raises:
            ProgramError: RTL and functional executor differ.
        """
        inside = self.window.contains(pos, len(ids))
        if inside:
            self._prepare()
        logits = self.functional.run_chunk(ids, pos, nlog, masken)
        self.last = None
        self._same = self._same and inside
        if inside:
            self._compare(logits, self.rtl.run_chunk(ids, pos, nlog, masken), pos)
            self.last = self.rtl.last
            self.measured.append({"pos": pos, "tokens": len(ids)} | self.rtl.last)
        return logits

    def _written(self) -> list[Region]:
        """Regions that a program may write. The program itself lies only in the RTL's memory."""
        assert self._package is not None
        m = self._package.manifest
        return [r for r in m.memory if r.end > m.image_bytes and r.kind != "program"]

    def _prepare(self) -> None:
        """Give the RTL the functional executor's memory, unless it has it."""
        if self._package is None:
            raise ProgramError("no package is loaded", do="call load(package) first")
        if not self._loaded:
            self.rtl.load(self._package)
            self._loaded = True
        if not self._same:
            for region in self._written():
                for mine, other in self._parts(region):
                    other[:] = mine
            self._same = True

    def _parts(self, region: Region) -> list[tuple[np.ndarray, np.ndarray]]:
        """(functional, RTL) views uint8 [C, bytes] of a region, per core."""
        assert self.rtl.sim is not None
        c = self.functional.cores[0].channels
        part = slice(region.addr, region.end)
        memory = self.rtl.sim.memory
        return [(core.mem[:, part], memory[k * c : (k + 1) * c, part]) for k, core in enumerate(self.functional.cores)]

    def _compare(self, want: np.ndarray, got: np.ndarray, pos: int) -> None:
        where, why = "", ""
        wrong = np.argwhere(want.view(np.uint32) != got.view(np.uint32))
        if wrong.size:
            row, e = (int(i) for i in wrong[0])
            where = f"logit {e} of row {row}, the first of {len(wrong)} of {want.size}"
            why = f"{got[row, e]!r} instead of {want[row, e]!r}"
        for region in self._written():
            for k, (mine, other) in enumerate(self._parts(region)):
                bad = np.argwhere(mine != other)
                if bad.size and not where:
                    where = f"core {k}, {region.name}, byte {bad[0][1]} of channel {bad[0][0]}, the first of {len(bad)}"
        if where:
            raise ProgramError(
                "RTL and functional executor disagree",
                where=f"run from position {pos}: {where}",
                why=why,
                do="find the instruction with: flightllm verify",
            )
