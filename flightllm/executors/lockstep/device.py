"""The functional executor and another one as one `Device` that stops where they differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from flightllm.errors import ProgramError
from flightllm.executors.functional import FunctionalDevice
from flightllm.executors.lockstep.expected import Expected, Recorder
from flightllm.executors.lockstep.match import CoreMatcher, Finding
from flightllm.executors.lockstep.names import Names
from flightllm.executors.lockstep.report import Divergence, divergence
from flightllm.isa.fields import Unit
from flightllm.isa.registers import host_registers
from flightllm.isa.trace import trace
from flightllm.package import Package
from flightllm.runtime.device import Device
from flightllm.sim.events import Kind

#: decoded weights kept, bytes: less than when the functional executor is alone
CACHE_BYTES = 4 << 30


class ObservedDevice(Device, Protocol):
    """An executor that tells what it does.

    observer: called during `run_chunk` with batches of events (`flightllm.sim.events.EVENT` [n], in order of time); what it
    raises ends the run.
    """

    observer: Callable[[np.ndarray], None] | None


class LockStep:
    """Runs every chunk on both and compares what each instruction does (docs/lockstep.md).

    other: the executor compared with the functional one. name: what reports call it. progress: called during `run_chunk` with
    (text, instructions that have ended, instructions of the run), all cores together.

    Attributes:
        functional: the functional executor. matchers: per core, since `load`, with counts.
    """

    def __init__(
        self,
        other: ObservedDevice,
        name: str = "rtl",
        cache_bytes: int = CACHE_BYTES,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self.other, self.name, self.progress = other, name, progress
        self.functional = FunctionalDevice(cache_bytes)
        self.matchers: list[CoreMatcher] = []
        self._chunk = (0, 0, 0, False)
        self._cycle = self._ended = self._total = 0

    def load(self, package: Package) -> None:
        """Load both; errors are theirs."""
        arch = package.manifest.arch
        self.names = Names(package)
        self._channels = arch.channels
        self._recorder = Recorder(arch.cores)
        self.functional.before, self.functional.hook = self._recorder.before, self._recorder.after
        self.functional.load(package)
        self.matchers = [CoreMatcher(lambda k=k: self._ahead(k)) for k in range(arch.cores)]  # type: ignore[misc]
        self.other.observer = self._take
        self.other.load(package)

    def reset(self) -> None:
        """Begin a new conversation."""
        self.functional.reset()
        self.other.reset()

    def counters(self) -> dict[str, int]:
        """The other side's, and what was compared: instructions that have ended, places written (bytes in rings)."""
        compared = {
            "compared_instructions": sum(m.instructions for m in self.matchers),
            "compared_writes": sum(m.writes for m in self.matchers),
        }
        return self.other.counters() | compared

    def run_chunk(self, ids: list[int], pos: int, nlog: int, masken: bool) -> np.ndarray:
        """Run the program once on both; see `flightllm.runtime.device.Device`.

        Raises:
            Divergence: at the first difference. The devices must be loaded again afterwards.
            ProgramError: the program is illegal.
        """
        self._chunk = (pos, len(ids), nlog, masken)
        self._recorder.start()
        self._ended = sum(m.instructions for m in self.matchers)
        self._total = self._instructions() if self.progress is not None else 0
        self._steps = self.functional.start_chunk(ids, pos, nlog, masken)
        try:
            logits = self.other.run_chunk(ids, pos, nlog, masken)
        except Divergence:
            raise
        except ProgramError as error:
            raise self._broken(error) from error
        self._report([(k, f) for k, m in enumerate(self.matchers) for f in m.finish(self._cycle)])
        want = self.functional.logits(nlog)
        if not np.array_equal(want.view(np.uint32), logits.view(np.uint32)):
            raise ProgramError("the logits read differ although every write agreed", where=f"position {pos}")
        return logits

    def _instructions(self) -> int:
        """Instructions that units carry out in this run, all cores together."""
        pos, tokens, nlog, masken = self._chunk
        runs = (host_registers(pos, tokens, k, nlog, masken) for k in range(len(self.matchers)))
        return sum(inst.unit is not Unit.Q for regs in runs for _, inst, _ in trace(self.names.program, regs))

    def _ahead(self, core: int) -> Expected | None:
        """The functional executor's next instruction of a core that a unit carries out; None at the end of the run."""
        queue = self._recorder.done[core]
        while not queue:
            if not self._steps.step(core):
                return None
        return queue.popleft()

    def _take(self, events: np.ndarray) -> None:
        if not len(events):
            return
        self._cycle = int(events["cycle"][-1])
        events = events.copy()
        memory = events["kind"] == Kind.MEMORY
        core, channel = np.divmod(events["channel"][memory], self._channels)
        events["core"][memory], events["channel"][memory] = core, channel
        self._report([(k, f) for k, m in enumerate(self.matchers) for f in m.take(events[events["core"] == k])])
        if self.progress is not None:
            pos, tokens = self._chunk[:2]
            ended = sum(m.instructions for m in self.matchers) - self._ended
            self.progress(f"positions {pos} to {pos + tokens - 1}", ended, self._total)

    def _report(self, found: list[tuple[int, Finding]]) -> None:
        if found:
            core, first = min(found, key=lambda item: item[1].cycle)
            raise divergence(self.names, self.name, core, first, self._chunk)

    def _broken(self, error: ProgramError) -> Divergence:
        """The other side ended with an error before any difference showed."""
        oldest = [f"core {k}: {e.unit.name} at pc {e.pc}" for k, m in enumerate(self.matchers) for e in m.oldest()]
        also = "\n    ".join([error.why, "in the units, oldest first: " + (", ".join(oldest) or "nothing")])
        finding = Finding(self._cycle, error.what, None, Unit.Q)
        return divergence(self.names, self.name, 0, finding, self._chunk, also)
