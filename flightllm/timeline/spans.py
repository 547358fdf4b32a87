"""Spans of instructions in units: the same from the cycle model and from the RTL."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from flightllm.cycles.device import CycleModel
from flightllm.errors import ToolError
from flightllm.executors.rtl import RtlDevice
from flightllm.isa import decode_program
from flightllm.isa.fields import Instruction, Unit
from flightllm.package import Package
from flightllm.sim.events import Kind

_KINDS = (Kind.DISPATCH, Kind.TAKE, Kind.END)


@dataclass(frozen=True, slots=True)
class Span:
    """One instruction in a unit. Cycles of the run: dispatched; taken: it has its tokens (W: it began); ended: it gives its tokens.

    taken and ended are None where nobody says (W in RTL). moved: bytes read and written, all channels of the core; None where nobody says (RTL).
    """

    core: int
    unit: Unit
    pc: int
    inst: Instruction
    dispatched: int
    taken: int | None
    ended: int | None
    moved: int | None = None


@dataclass(frozen=True)
class Timeline:
    """A run. source: "model" or "rtl". start: cycles since the reset of the memory at which it began. counters: of the run, by name."""

    source: str
    cycles: int
    start: int
    spans: list[Span]
    counters: dict[str, int] = field(default_factory=dict)


def model_timeline(
    counter: CycleModel, ids: Sequence[int], pos: int, nlog: int, masken: bool, start: int = 0
) -> Timeline:
    """A run on the cycle model; arguments as of `CycleModel.run`."""
    counters = counter.run(ids, pos, nlog, masken, start)
    assert counter.machine is not None
    channels = counter.manifest.arch.channels
    spans = [
        Span(
            k, name, s.pc, s.inst, round(s.dispatched), round(s.taken), round(s.ended),
            64 * s.beats * channels + (s.written - s.alone) * channels // len(core.channels) + s.alone,
        )
        for k, core in enumerate(counter.machine.cores)
        for name, unit in core.units.items()
        for s in unit.spans
    ]  # fmt: skip
    return Timeline("model", counters["cycles"], start, sorted(spans, key=lambda s: (s.core, s.dispatched)), counters)


class RtlWatch:
    """Collects the events of one run after another on the kernel in simulation. Context manager.

    Attributes:
        device: with the package loaded; run it through `run`.
    """

    def __init__(self, package: Package) -> None:
        self._events: list[np.ndarray] = []
        self._program = decode_program(bytes(package.program))
        self.device = RtlDevice(observer=self._observe)
        self.device.load(package)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.device.close()

    def _observe(self, events: np.ndarray) -> None:
        self._events.append(events[np.isin(events["kind"], _KINDS)].copy())

    def run(self, ids: Sequence[int], pos: int, nlog: int, masken: bool) -> Timeline:
        """A run in RTL; arguments as of `Device.run_chunk`.

        Raises:
            ProgramError: the kernel reports an error. ToolError: the kernel does not tell what it does.
        """
        self._events.clear()
        before = self.device.ran
        self.device.run_chunk(list(ids), pos, nlog, masken)
        if not self._events:
            raise ToolError("the kernel was built without its probe", do="let flightllm build it")
        spans = self._spans(np.concatenate(self._events), before)
        return Timeline("rtl", self.device.last["cycles"], self.device.begun, spans, dict(self.device.last))

    def _spans(self, events: np.ndarray, before: int) -> list[Span]:
        open_: dict[tuple[int, int], deque[list[int | None]]] = defaultdict(
            deque
        )  # dispatched and not ended: pc, cycles
        waiting: dict[tuple[int, int], deque[list[int | None]]] = defaultdict(deque)  # dispatched and not taken
        found: list[tuple[int, int, list[int | None]]] = []
        for e in events:
            key, cycle = (int(e["core"]), int(e["unit"])), int(e["cycle"]) - before
            if e["kind"] == Kind.DISPATCH:
                record: list[int | None] = [int(e["addr"]), cycle, None, None]
                found.append((*key, record))
                open_[key].append(record)
                waiting[key].append(record)
            elif e["kind"] == Kind.TAKE:
                waiting[key].popleft()[2] = cycle
            else:
                open_[key].popleft()[3] = cycle
        return [
            Span(core, Unit(unit), r[0], self._program[r[0]], r[1], r[2], r[3])  # type: ignore[arg-type,index]
            for core, unit, r in found
        ]
