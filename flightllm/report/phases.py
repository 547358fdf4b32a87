"""Runs the phases of a report, on the cycle model or in RTL, and adds up what belongs to what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from flightllm.cycles.device import CycleModel
from flightllm.cycles.machine import MODELLED_CHANNELS
from flightllm.isa.fields import Unit
from flightllm.isa.registers import host_registers
from flightllm.isa.trace import steps
from flightllm.performance import TOKEN, Phase, beats, make_phase, moved, phase_title, runs_of
from flightllm.report.attribution import UNITS, Ledger, Share
from flightllm.report.data import ChannelTraffic, Limits, PhaseReport, Row, RunTimeline, UnitTimeline
from flightllm.report.operators import AFTER, APPEND, ATTENTION, BEFORE, OPERATORS, SEQUENCER, Namer, Work
from flightllm.report.subject import Subject
from flightllm.runtime.chunks import Chunk
from flightllm.timeline import RtlWatch, Span, Timeline, model_timeline

#: called with (what is being run, runs done, runs in all)
Progress = Callable[[str, int, int], None]
#: instructions of a run above which neighbours in its timeline are merged
TIMELINE_MOST = 12_000


@dataclass(frozen=True)
class _Run:
    """One run. timeline: what is shown, of the model or of the RTL. works: [core] its instructions. core: that ended last."""

    chunk: Chunk
    timeline: Timeline
    model: Timeline
    works: list[list[Work]]
    core: int
    beats: float

    def spans(self, core: int) -> list[Span]:
        """Of a core, in order of dispatch."""
        return [s for s in self.timeline.spans if s.core == core]

    def modelled(self, core: int) -> list[Span]:
        """The same of the model."""
        return [s for s in self.model.spans if s.core == core]


class Runner:
    """Runs phases of a program. Context manager. on: "model" or "rtl" (packages only)."""

    def __init__(self, subject: Subject, on: str, progress: Progress) -> None:
        self._subject, self._progress = subject, progress
        self._total = sum(len(runs_of(subject.manifest, *part)) for part in subject.plan)
        self._done = 0
        self._counter = CycleModel(subject.manifest, subject.program, subject.constants)
        self._namer = Namer(subject.manifest)
        self._stack = ExitStack()
        self._watch: RtlWatch | None = None
        if on == "rtl":
            assert subject.package is not None
            self._watch = self._stack.enter_context(RtlWatch(subject.package))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def phase(self, kind: str, tokens: int, context: int) -> PhaseReport:
        """Run a phase; arguments as of `performance.Phase`."""
        m, board = self._subject.manifest, self._subject.board
        operators, layers = Ledger("operator"), Ledger("layer")
        runs, weights, cache = [], 0, 0
        title = phase_title(kind, tokens, context)
        for chunk in runs_of(m, kind, tokens, context):
            self._progress(title, self._done, self._total)
            run = self._run(chunk)
            self._done += 1
            loaded: dict[tuple[int, int], int] = {}  # by core and place: what is loaded twice need not be
            for core, works in enumerate(run.works):
                for ledger in (operators, layers):
                    ledger.add_work(run.modelled(core), works)
                for span, work in zip(run.modelled(core), works, strict=True):
                    if span.unit == Unit.W:
                        loaded[core, span.inst.values["addr"]] = span.moved or 0
                    if work.operator == APPEND or (work.operator == ATTENTION and kind == "token"):
                        cache += span.moved or 0
            weights = max(weights, sum(loaded.values()))
            for ledger in (operators, layers):
                ledger.add_time(run.timeline, run.spans(run.core), run.works[run.core])
            runs.append(run)
        phase = make_phase(
            kind, m, board, tokens, context, [(r.timeline.cycles, moved(r.timeline.counters), r.beats) for r in runs]
        )
        total = sum(moved(r.timeline.counters) for r in runs)
        for ledger in (operators, layers):  # what no unit has moved is the program
            ledger.shares[SEQUENCER].moved = total - sum(s.moved for s in ledger.shares.values())
        macs = sum(s.macs for s in operators.shares.values())
        between = map(str, range(m.model.layers))
        return PhaseReport(
            title=title,
            measured=self._watch is not None,
            model_cycles=sum(r.model.cycles for r in runs),
            phase=phase,
            runs=len(runs),
            busy=_busy(runs, m.arch.cores),
            moved=total,
            macs=macs,
            intensity=macs / max(1, total),
            gmacs=macs / phase.seconds / 1e9,
            limits=self._limits(phase, weights, cache, sum(r.beats for r in runs)),
            operators=_rows(operators.shares, OPERATORS, phase.cycles),
            layers=_rows(layers.shares, (BEFORE, *between, AFTER, SEQUENCER), phase.cycles),
            channels=self._channels(runs, phase.seconds),
            timeline=_timeline(runs[-1]),
        )

    def _run(self, chunk: Chunk) -> _Run:
        m = self._subject.manifest
        args = ([TOKEN] * chunk.count, chunk.pos, int(chunk.last), chunk.prompt)
        model = model_timeline(self._counter, *args)
        busy = beats(self._counter)
        timeline = self._watch.run(*args) if self._watch is not None else model
        works = []
        for core, constants in enumerate(self._subject.constants):
            registers = host_registers(chunk.pos, chunk.count, core, int(chunk.last), chunk.prompt)
            works.append(self._namer.works(steps(self._subject.program, registers), constants))
            for t in (model, timeline):
                assert [s.pc for s in t.spans if s.core == core] == [w.pc for w in works[core]], "of another program"
        last = max(range(m.arch.cores), key=lambda k: timeline.counters[f"core{k}.Q.busy"])
        return _Run(chunk, timeline, model, works, last, busy)

    def _limits(self, phase: Phase, weights: int, cache: int, busy: float) -> Limits:
        m, memory = self._subject.manifest, self._subject.board.memory
        channels, least = m.arch.cores * m.arch.channels, weights + cache
        measured, peak = (
            1e9 * rate * channels * phase.tokens / max(1, least) for rate in (memory.measured_gbps, memory.channel_gbps)
        )
        array = 1e6 * m.arch.clock_mhz * m.arch.cores * phase.tokens / max(1.0, busy)
        bound = min(measured, array)
        return Limits(
            least, weights, cache, measured, peak, array, phase.tokens_per_second / bound,
            "memory" if measured <= array else "array",
        )  # fmt: skip

    def _channels(self, runs: Sequence[_Run], seconds: float) -> list[ChannelTraffic]:
        arch = self._subject.manifest.arch
        stands = 1 if self._watch is not None else max(1, arch.channels // MODELLED_CHANNELS)
        found = []
        for core in range(arch.cores):
            for channel in range(arch.channels):
                read, written = (
                    sum(r.timeline.counters[f"core{core}.ch{channel}.{what}_bytes"] for r in runs)
                    for what in ("read", "written")
                )
                gbps = (read + written) / seconds / 1e9
                found.append(ChannelTraffic(core, channel, read, written, gbps, channel % stands == 0))
        return found


def _busy(runs: Sequence[_Run], cores: int) -> dict[str, float]:
    """Cycles of each unit, mean of the cores."""
    return {
        unit: sum(r.timeline.counters[f"core{k}.{unit}.busy"] for r in runs for k in range(cores)) / cores
        for unit in "WLMSTQ"
    }


def _rows(shares: dict[str, Share], order: Iterable[str], cycles: int) -> list[Row]:
    rows = []
    for name in order:
        s = shares.get(name)
        if s is not None and (s.instructions or s.cycles or s.moved):
            rows.append(
                Row(name, s.cycles, s.cycles / cycles, s.elapsed, s.first, s.last, s.instructions, s.busy, s.moved, s.macs)
            )  # fmt: skip
    assert sum(r.cycles for r in rows) == cycles, "every cycle is charged once"
    return rows


def _timeline(run: _Run) -> RunTimeline:
    spans, works = run.spans(run.core), run.works[run.core]
    merged = len(spans) > TIMELINE_MOST
    kinds: dict[str, int] = {}
    layers: dict[str, int] = {}
    units = {u.name: UnitTimeline() for u in (*UNITS, Unit.Q)}
    for span, work in zip(spans, works, strict=True):
        kind = kinds.setdefault(type(span.inst).__name__, len(kinds))
        facts = (span.pc, kind, OPERATORS.index(work.operator), layers.setdefault(work.layer, len(layers)))
        if span.taken is not None and span.ended is not None:
            _append(units[span.unit.name], span.taken, span.ended, *facts, merged)
        if not merged:
            _append(units["Q"], span.dispatched, span.dispatched, *facts, False)
    chunk = run.chunk
    title = f"{chunk.count} tokens at {chunk.pos}" if chunk.count > 1 else f"token at {chunk.pos}"
    shown = {name: unit for name, unit in units.items() if unit.begin}
    return RunTimeline(title, run.core, run.timeline.cycles, list(kinds), list(OPERATORS), list(layers), shown, merged)


def _append(
    unit: UnitTimeline, begin: int, end: int, pc: int, kind: int, operator: int, layer: int, merge: bool
) -> None:
    if merge and unit.begin and (unit.operator[-1], unit.layer[-1]) == (operator, layer):
        unit.end[-1] = max(unit.end[-1], end)
        return
    for column, value in zip(
        (unit.begin, unit.end, unit.pc, unit.kind, unit.operator, unit.layer),
        (begin, end, pc, kind, operator, layer),
        strict=True,
    ):
        column.append(value)
