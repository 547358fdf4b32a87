"""The charts and texts of the page, from the data of a report."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup

from flightllm.config.arch import ArchConfig
from flightllm.report import figures
from flightllm.report.data import PhaseReport, Report, Row
from flightllm.report.figures import Bar
from flightllm.report.operators import OPERATORS

#: units as columns of tables, with what they do
UNITS = {
    "W": "weight loads",
    "L": "other loads",
    "M": "matrices",
    "S": "special functions",
    "T": "stores",
    "Q": "sequencer",
}


def number(value: float | None, digits: int = 0) -> str:
    """12,345.6; a dash for nothing."""
    return "–" if value is None else f"{value:,.{digits}f}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share as percent."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def signed(share: float, digits: int = 1) -> str:
    """A deviation as percent, with its sign."""
    return f"{100 * share:+.{digits}f} %".replace("-", "−")


def amount(count: float) -> str:
    """Bytes, by powers of ten, as rates are."""
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def size(count: float) -> str:
    """Bytes of memory, by powers of two."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


def layer(name: str) -> str:
    """Name of a layer for people."""
    return f"layer {name}" if name.isdigit() else name


def rate(value: float) -> str:
    """Tokens a second."""
    return number(value, 1)


FILTERS: dict[str, Callable[..., str]] = {
    "number": number, "percent": percent, "signed": signed, "amount": amount, "size": size, "layer": layer, "rate": rate,
}  # fmt: skip


def _tip(row: Row, phase: PhaseReport) -> str:
    busy = ", ".join(f"{u} {number(v)}" for u, v in row.busy.items() if v)
    text = f"{layer(row.name)}: {number(row.cycles)} cycles, {percent(row.share)} of {phase.title}"
    return text + (f"; at work: {busy}" if busy else "") + f"; {amount(row.moved)} moved"


def operators(phase: PhaseReport) -> Markup:
    """Bars of the operators."""
    rows = [
        Bar(
            o.name, o.cycles, f"{percent(o.share)} · {number(o.cycles)}", _tip(o, phase), f"op{OPERATORS.index(o.name)}"
        )
        for o in phase.operators
    ]
    return figures.bars(f"Cycles by operator, {phase.title}", rows)


def layers(phase: PhaseReport) -> Markup:
    """Columns of the layers, and of what comes before and after."""
    few = len(phase.layers) <= 16
    names = {"embedding": "in", "logits": "out", "fetch and dispatch": "Q" if few else ""}
    rows = [Bar(names.get(r.name, r.name), r.cycles, "", _tip(r, phase), "layer") for r in phase.layers]
    return figures.columns(f"Cycles by layer, {phase.title}", rows, "cycles", every=1 if few else None)


def channels(phase: PhaseReport, report: Report) -> Markup:
    """Columns of the channels' rates, beside what a channel delivers."""
    per = len(phase.channels)
    lines = [
        (report.roofline.gbps_peak / per, f"peak {report.roofline.gbps_peak / per:.4g}"),
        (
            report.roofline.gbps_measured / per,
            f"delivered in sequential reads {report.roofline.gbps_measured / per:.4g}",
        ),
    ]
    rows = []
    for c in phase.channels:
        name = f"{c.core}.{c.channel}" if report.config["cores"] > 1 else str(c.channel)
        how = "" if c.modelled else "; figures of the channel that stands for it"
        tip = f"channel {name}: {c.gbps:.2f} GB/s, {amount(c.read)} read, {amount(c.written)} written{how}"
        rows.append(Bar(name, c.gbps, "", tip, "channel" if c.modelled else "channel other"))
    # the upper of two lines that lie close together has its label, the other is in the text
    return figures.columns(f"Bandwidth by channel, {phase.title}", rows, "GB/s", lines[1:])


def roofline(report: Report) -> Markup:
    """All phases under the roofs."""
    points = [
        (p.intensity, p.gmacs, f"{p.title}: {p.intensity:.2f} multiply-adds by byte, {number(p.gmacs, 1)} GMAC/s")
        for p in report.phases
    ]
    return figures.roofline(report.roofline, points)


def memory(report: Report) -> Markup:
    """A channel's memory map."""
    sizes = [size(p[2]) for p in figures.pieces(report.memory_map)]
    return figures.memory_strip("Memory map of a channel", report.memory_map, sizes, report.memory_map.capacity)


def used_memory(report: Report) -> Markup:
    """The part of it that is used, enlarged."""
    sizes = [size(p[2]) for p in figures.pieces(report.memory_map)]
    return figures.memory_strip("Used part of a channel", report.memory_map, sizes, max(1, report.memory_map.used))


def resources(report: Report) -> Markup:
    """Needs as shares of what the board has."""
    rows = [
        Bar(
            r.name, r.need / r.have if r.have else 0.0, percent(r.need / r.have if r.have else None, 0),
            f"{r.name}: needs {r.need:,.10g}, the board has {r.have:,.10g}", "fits" if r.fits else "short",
        )
        for r in report.resources
    ]  # fmt: skip
    return figures.bars("Resources, share of the board's", rows, 1.0)


def comparison(report: Report) -> Markup:
    """Tokens a second of this report, of its limits, and of others, if they are of this model."""
    rows = []
    for p in report.phases:
        if p.phase.kind == "token":
            how = "measured in RTL" if p.measured else "modelled"
            t, limit = p.phase.tokens_per_second, p.limits.tokens_per_second_measured
            rows.append(
                Bar(f"this report, {p.title} ({how})", t, rate(t), f"{p.title}: {rate(t)} tokens/s, {how}", "ours")
            )
            tip = f"{amount(p.limits.bytes)} a token at {number(report.roofline.gbps_measured, 1)} GB/s"
            rows.append(Bar(f"limit of the memory, {p.title}", limit, rate(limit), tip, "limit"))
    for q in report.published:
        if q.comparable and report.comparable_model:
            name = f"{q.system}, {q.board}" + (f", token at {q.context}" if q.context is not None else "")
            tip = f"{q.model}, {q.bits}; {q.how}: {q.source}"
            rows.append(Bar(f"{name} ({q.how})", q.tokens_per_second, rate(q.tokens_per_second), tip, "theirs"))
    return figures.bars("Generated tokens a second", rows)


def badge(report: Report, measured: bool) -> Markup:
    """Where a figure comes from, and its error."""
    if measured:
        return Markup('<span class="badge measured">measured in RTL</span>')
    a = report.accuracy
    text = f"modelled, {signed(a.low)} to {signed(a.high)} of RTL cycles{' on smaller configs' if a.beyond else ''}"
    return Markup('<span class="badge modelled">{}</span>').format(text)


def facts(report: Report) -> list[tuple[str, str]]:
    """What runs on what, as (name, text)."""
    m, c, roof = report.model, report.config, report.roofline
    weights = f"{m['bits_per_weight']:.2f} bits each in the matrices, scales and padding included"
    if report.source == "shapes":
        weights += " (the weights were not read: a budget is spread evenly)"
    else:
        shares = sorted(m["formats"].items(), key=lambda item: -item[1])
        weights += ": " + ", ".join(f"{name} {percent(share, 0)}" for name, share in shares)
    rates = f"{number(roof.gbps_measured, 1)} GB/s in sequential reads, {number(roof.gbps_peak, 1)} at its peak"
    size_ = f"{c['cores']} × {c['channels']} channels × {ArchConfig(**c).vpus_text}, {c['lanes']} lanes"
    return [
        ("model", f"{m['name']}: {m['arch']}, {m['layers']} layers, dim {m['dim']:,}, vocabulary {m['vocab']:,}"),
        ("weights", weights),
        ("KV cache", f"{m['kv_bits']} bits, room for {m['max_context']:,} tokens"),
        ("program", f"{m['instructions']:,} instructions, prompts in chunks of {m['chunk']} tokens"),
        ("board", f"{report.board['title']}, {report.board['memory']}: {rates}, on the channels used"),
        ("config", f"{size_}, {c['clock_mhz']:g} MHz"),
    ]
