"""Perfetto traces of timelines: a process for each core, tracks for its units, a slice for each instruction.

Open them at ui.perfetto.dev or with trace_processor. Time is that of the config's clock.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TrackDescriptor, TrackEvent
from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder

from flightllm.cycles.device import CycleModel
from flightllm.errors import ToolError
from flightllm.isa.fields import Unit
from flightllm.package import Package
from flightllm.runtime.chunks import chunks, random_ids
from flightllm.timeline.spans import RtlWatch, Span, Timeline, model_timeline

#: order of the tracks
UNITS = (Unit.W, Unit.L, Unit.M, Unit.S, Unit.T)
#: all packets belong to one sequence
SEQUENCE = 1
#: numbers of tracks: of a core's process, and of the lanes of its units
_CORE, _UNIT, _LANES = 1 << 16, 1 << 8, 1 << 8


def write_trace(
    package: str | os.PathLike[str] | Package,
    path: str | os.PathLike[str],
    *,
    on: str = "model",
    prompt_tokens: int = 16,
    new_tokens: int = 1,
    chunk: int | None = None,
    seed: int = 1,
    skip_prompt: bool = False,
) -> list[Timeline]:
    """Feed random tokens to a package, on the cycle model or in RTL, and write a Perfetto trace; returns the runs.

    Args:
        package: folder, or an open `Package`. path: of the trace. on: "model" or "rtl". The others as of `flightllm.simulate`.

    Raises:
        ToolError: no such executor, or the file cannot be written. FlightError: as of `flightllm.simulate`.
    """
    opened = package if isinstance(package, Package) else Package.open(package)
    m = opened.manifest
    if on not in ("model", "rtl"):
        raise ToolError(f"executor {on!r} has no timeline", do="use --on model or --on rtl")
    if skip_prompt and on != "model":
        raise ToolError("--skip-prompt is for the cycle model", do="make the prompt shorter")
    ids = random_ids(m.model.vocab, prompt_tokens + new_tokens, seed)
    plan = [r for r in chunks(m.limits, prompt_tokens, new_tokens, chunk) if not (skip_prompt and r.prompt)]
    counter = CycleModel.of_package(opened) if on == "model" else None
    found = []
    with ExitStack() as stack:
        writer = stack.enter_context(TraceWriter(Path(path), m.arch.clock_mhz, m.sections()))
        watch = stack.enter_context(RtlWatch(opened)) if on == "rtl" else None
        for run in plan:
            args = (ids[run.pos : run.pos + run.count], run.pos, int(run.last), run.prompt)
            timeline = watch.run(*args) if watch is not None else model_timeline(counter, *args)  # type: ignore[arg-type]
            writer.add(timeline, f"{run.count} tokens at {run.pos}" if run.count > 1 else f"token at {run.pos}")
            found.append(timeline)
    return found


class TraceWriter:
    """Writes runs one after another into one trace. Context manager; nothing is left if it ends by an exception.

    Args:
        clock_mhz: of the cycles. nodes: instruction -> node of the model's graph that it belongs to.

    Raises:
        ToolError: the file cannot be written.
    """

    def __init__(self, path: Path, clock_mhz: float, nodes: Mapping[int, str]) -> None:
        self._ns = 1000.0 / clock_mhz
        self._nodes = sorted(nodes.items())
        self._path = path
        self._known: set[int] = set()
        self._offset = 0  # cycles of the runs before

    def __enter__(self) -> TraceWriter:
        try:
            self._growing = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
            self._file = self._growing.open("xb")
        except OSError as error:
            why = error.strerror or str(error)
            raise ToolError("no trace", where=str(self._path), why=why, do="give a path that can be written") from None
        self._builder = StreamingTraceProtoBuilder(self._file)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is None:
            self._growing.replace(self._path)
        else:
            self._growing.unlink()

    def add(self, timeline: Timeline, name: str) -> None:
        """A run, behind those before it. name: of the run."""
        for core in sorted({s.core for s in timeline.spans}):
            self._slice(self._track(core, None, 0, timeline.source), 0, timeline.cycles, name, {})
            for unit in UNITS:
                mine = [s for s in timeline.spans if (s.core, s.unit) == (core, unit)]
                self._unit(core, unit, mine, timeline)
        self._offset += timeline.cycles

    def _unit(self, core: int, unit: Unit, spans: Iterable[Span], timeline: Timeline) -> None:
        """An instruction may begin before the one before it has ended: as many lanes as are needed."""
        lanes: list[int] = []
        for span in spans:
            begin = span.dispatched if span.taken is None else span.taken
            end = timeline.cycles if span.ended is None else span.ended
            lane = next((i for i, free in enumerate(lanes) if free <= begin), len(lanes))
            lanes[lane : lane + 1] = [end]
            facts = {"pc": span.pc, "instruction": span.inst.text(), "node": self._node(span.pc)}
            facts |= {"cycles": end - begin, "cycles from dispatch to tokens": begin - span.dispatched}
            track = self._track(core, unit, lane, timeline.source)
            self._slice(track, begin, end, type(span.inst).__name__, facts)

    def _node(self, pc: int) -> str:
        index = bisect_right(self._nodes, (pc, "\U0010ffff")) - 1
        return self._nodes[index][1] if index >= 0 else ""

    # --- packets -----------------------------------------------------------------------------------------------------
    def _track(self, core: int, unit: Unit | None, lane: int, source: str) -> int:
        """Number of a track, described when it comes first."""
        process = (core + 1) * _CORE
        number = process if unit is None else process + (UNITS.index(unit) + 1) * _UNIT + lane
        if number not in self._known:
            self._known.add(number)
            if unit is not None:
                self._track(core, None, 0, source)
            packet = self._builder.create_packet()
            packet.trusted_packet_sequence_id = SEQUENCE
            track: TrackDescriptor = packet.track_descriptor
            track.uuid = number
            if unit is None:
                track.process.pid = core + 1
                track.process.process_name = f"core {core} ({source})"
                track.child_ordering = TrackDescriptor.EXPLICIT
            else:
                track.parent_uuid = process
                track.name = unit.name if lane == 0 else f"{unit.name} ({lane + 1})"
                track.sibling_order_rank = UNITS.index(unit) * _LANES + lane
            self._builder.write_packet(packet)
        return number

    def _slice(self, track: int, begin: int, end: int, name: str, facts: dict[str, Any]) -> None:
        for kind, cycle in ((TrackEvent.TYPE_SLICE_BEGIN, begin), (TrackEvent.TYPE_SLICE_END, end)):
            packet = self._builder.create_packet()
            packet.trusted_packet_sequence_id = SEQUENCE
            packet.timestamp = round((self._offset + cycle) * self._ns)
            event: TrackEvent = packet.track_event
            event.type = kind
            event.track_uuid = track
            if kind == TrackEvent.TYPE_SLICE_BEGIN:
                event.name = name
                for key, value in facts.items():
                    note = event.debug_annotations.add()
                    note.name = key
                    if isinstance(value, int):
                        note.int_value = value
                    else:
                        note.string_value = value
            self._builder.write_packet(packet)
