"""Brings everything of a report together."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flightllm import __version__
from flightllm.config.board import Board
from flightllm.isa.blocks import WINDOW_POSITIONS
from flightllm.report.accuracy import accuracy
from flightllm.report.data import MemoryMap, PhaseReport, Published, Ratio, RegionRow, Report, ResourceRow, Roofline
from flightllm.report.phases import Progress, Runner
from flightllm.report.published import published
from flightllm.report.subject import Subject
from flightllm.resources import FitRow, fit_rows, reference_errors, tightness
from flightllm.resources.estimate import FLIGHTLLM_U280, LIMITED

#: multiply-adds of a VPU in a beat, for one token
VPU_MACS = WINDOW_POSITIONS


def collect(subject: Subject, on: str, command: str, progress: Progress) -> Report:
    """Run everything that is asked for. on: "model" or "rtl". command: that makes the report again."""
    m = subject.manifest
    with Runner(subject, on, progress) as runner:
        phases = [runner.phase(*part) for part in subject.plan]
    name, results = published(subject.shape, subject.board.name)
    return Report(
        title=f"{m.name} on {subject.board.title}",
        version=__version__,
        date=datetime.now(UTC).date().isoformat(),
        command=command,
        source="shapes" if subject.package is None else "package",
        model=_model(subject),
        shape=subject.shape,
        board={"name": subject.board.name, "title": subject.board.title, "memory": subject.board.memory.kind},
        config=m.arch.to_dict(),
        phases=phases,
        roofline=_roofline(subject),
        memory_map=_memory_map(subject),
        resources=_resources(subject),
        published=results,
        comparable_model=name,
        ratios=_ratios(phases, results),
        accuracy=accuracy(m.arch),
        notes=subject.notes,
    )


def _ratios(phases: list[PhaseReport], results: list[Published]) -> list[Ratio]:
    found = []
    for p in phases:
        for q in results:
            if p.phase.kind == "token" and q.comparable and q.same_board and q.context == p.phase.context:
                ours, how = p.phase.tokens_per_second, "measured in RTL" if p.measured else "modelled"
                theirs = q.tokens_per_second
                found.append(Ratio(p.title, q.system, ours, how, theirs, q.how, ours / theirs))
    return found


def _model(subject: Subject) -> dict[str, Any]:
    m = subject.manifest
    return {
        "name": m.name,
        "arch": m.model.arch,
        "layers": m.model.layers,
        "dim": m.model.dim,
        "vocab": m.model.vocab,
        "bits_per_weight": subject.bits,
        "formats": subject.formats,
        "kv_bits": m.kv_bits,
        "instructions": m.instructions or len(subject.program),
        "chunk": m.limits.max_chunk,
        "max_context": m.limits.max_context,
    }


def _roofline(subject: Subject) -> Roofline:
    arch, memory = subject.manifest.arch, subject.board.memory
    channels = arch.cores * arch.channels
    rate = channels * VPU_MACS * arch.clock_mhz / 1000
    # a chain multiplies for two lanes: of a single token, dense, the rows of the two VPUs that share it, else two tokens
    return Roofline(
        arch.vpus * rate, 2 * arch.chains * rate, channels * memory.channel_gbps, channels * memory.measured_gbps
    )


def _memory_map(subject: Subject) -> MemoryMap:
    m = subject.manifest
    kinds: dict[str, int] = {}
    for r in m.memory:
        kinds[r.kind] = kinds.get(r.kind, 0) + r.bytes
    regions = [RegionRow(r.name, r.kind, r.addr, r.bytes) for r in sorted(m.memory, key=lambda r: r.addr)]
    used = max((r.end for r in m.memory), default=0)
    order = sorted(kinds.items(), key=lambda item: -item[1])
    return MemoryMap(
        m.arch.channel_bytes, used, m.arch.cores * m.arch.channels, m.limits.max_context, dict(order), regions
    )


def _resources(subject: Subject) -> list[ResourceRow]:
    errors: dict[str, float] = {}
    for e in reference_errors():
        for r in LIMITED:
            errors[r] = max(errors.get(r, 0.0), abs(e.percent(r) or 0.0))
    rows = []
    for row in fit_rows(subject.board, subject.manifest.arch):
        key = row.resource.split(" ")[0].lower()
        text = _shortage(row, subject.board)
        synthesised = key in LIMITED
        rows.append(
            ResourceRow(
                row.resource, row.need, row.have, row.fits, row.estimate or synthesised,
                errors.get(key) if synthesised else None, FLIGHTLLM_U280.get(key) if synthesised else None, text,
            )
        )  # fmt: skip
    return rows


def _shortage(row: FitRow, board: Board) -> str:
    """What keeps a resource from fitting, or might; "" if nothing does."""
    if not row.have:
        return "" if row.fits else f"{row.resource}: {board.title} has none"
    share = row.need / row.have
    if not row.fits:
        return f"{row.resource}: {board.title} has {row.have:,.10g}, the config needs {row.need:,.10g}, {100 * (share - 1):.0f} % too much"
    return tightness(row, board, board.title)
