"""Charts as inline SVG without scripts. Widths are percentages, so that text keeps its size on narrow screens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil, floor, log10

from markupsafe import Markup, escape

from flightllm.report.data import MemoryMap, Roofline

#: heights in px: of a row of bars with its label, of the bar; of charts with columns; of memory maps
ROW, BAR, COLUMNS, STRIP = 34, 10, 150, 40


@dataclass(frozen=True)
class Bar:
    """label, and text: on the right. tip: shown when pointed at. style: class of the bar."""

    label: str
    value: float
    text: str
    tip: str
    style: str


def _svg(title: str, height: float, parts: Sequence[str], style: str) -> Markup:
    body = "".join(parts)
    return Markup(  # every part is escaped where it is made
        f'<svg class="{style}" role="img" aria-label="{escape(title)}" width="100%" height="{height:g}">{body}</svg>'
    )


def _tag(name: str, content: str = "", **attributes: object) -> str:
    """An SVG element; attributes with _ for -, trailing _ dropped. Numbers are short, text is escaped."""
    parts = []
    for key, value in attributes.items():
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        parts.append(f' {key.rstrip("_").replace("_", "-")}="{escape(text)}"')
    return f"<{name}{''.join(parts)}>{escape(content)}</{name}>"


def _percent(share: float) -> str:
    return f"{100 * share:.3f}%"


def bars(title: str, rows: Sequence[Bar], most: float | None = None) -> Markup:
    """Horizontal bars, label above each. most: value of the full width; default: the largest."""
    full = most or max((r.value for r in rows), default=0) or 1
    parts = []
    for i, r in enumerate(rows):
        y = i * ROW
        parts.append(_tag("text", r.label, x=0, y=y + 14))
        parts.append(_tag("text", r.text, x="100%", y=y + 14, class_="value", text_anchor="end"))
        parts.append(_tag("rect", x=0, y=y + 19, width="100%", height=BAR, class_="track"))
        width = _percent(min(1.0, r.value / full))
        parts.append(_tag("rect", x=0, y=y + 19, width=width, height=BAR, class_=f"bar {r.style}", data_tip=r.tip))
    return _svg(title, len(rows) * ROW, parts, "chart bars")


def columns(
    title: str, rows: Sequence[Bar], unit: str, lines: Sequence[tuple[float, str]] = (), every: int | None = None
) -> Markup:
    """Vertical columns. lines: (value, label) across. every: columns from one label to the next; default: as fits."""
    top = max([*(r.value for r in rows), *(v for v, _ in lines)], default=0) * 1.08 or 1
    left, n = 0.09, max(1, len(rows))
    width = (1 - left) / n
    every = every or ceil(n / 12)
    parts = []
    step = _nice(top / 4)
    for k in range(floor(top / step) + 1):
        y = COLUMNS * (1 - k * step / top) + 8
        parts.append(_tag("line", x1=_percent(left), x2="100%", y1=y, y2=y, class_="grid"))
        parts.append(_tag("text", tick(k * step), x=_percent(left - 0.01), y=y + 4, text_anchor="end", class_="axis"))
    for i, r in enumerate(rows):
        height = COLUMNS * r.value / top
        x = left + width * (i + 0.1)
        parts.append(
            _tag(
                "rect", x=_percent(x), width=_percent(0.8 * width), y=COLUMNS + 8 - height, height=height,
                class_=f"column {r.style}", data_tip=r.tip,
            )
        )  # fmt: skip
        if i % every == 0 if r.label.replace(".", "").isdigit() else r.label:
            at = _percent(left + width * (i + 0.5))
            parts.append(_tag("text", r.label, x=at, y=COLUMNS + 24, text_anchor="middle", class_="axis"))
    for value, label in lines:
        y = COLUMNS * (1 - value / top) + 8
        parts.append(_tag("line", x1=_percent(left), x2="100%", y1=y, y2=y, class_="mark"))
        parts.append(_tag("text", label, x="100%", y=y - 4, text_anchor="end", class_="marked"))
    parts.append(_tag("text", unit, x=0, y=COLUMNS + 24, class_="axis"))
    return _svg(title, COLUMNS + 32, parts, "chart columns")


def tick(value: float) -> str:
    """A round number at an axis, short: 20k, 3M."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.10g}{name}"
    return f"{value:.10g}"


def _nice(step: float) -> float:
    """The next larger of 1, 2, 5 times a power of ten."""
    power = 10.0 ** floor(log10(step))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= step * 0.999)


def roofline(roof: Roofline, points: Sequence[tuple[float, float, str]]) -> Markup:
    """Multiply-adds a second over multiply-adds by byte, both logarithmic. points: (intensity, gmacs, tip)."""
    height = 300.0
    xs = [p[0] for p in points] + [roof.gmacs_prompt / roof.gbps_measured, roof.gmacs_token / roof.gbps_peak]
    x0, x1 = floor(log10(min(xs)) - 0.2), ceil(log10(max(xs)) + 0.2)
    ys = [p[1] for p in points] + [roof.gbps_peak * 10.0**x0, roof.gmacs_prompt]
    y0, y1 = floor(log10(max(min(ys), 1e-3))), ceil(log10(max(ys)) + 0.05)
    left, bottom = 0.1, 34.0

    def px(value: float) -> str:
        return _percent(left + (1 - left) * (log10(value) - x0) / (x1 - x0))

    def py(value: float) -> float:
        return 8 + (height - bottom - 8) * (1 - (log10(value) - y0) / (y1 - y0))

    parts = []
    for k in range(x0, x1 + 1):
        parts.append(_tag("line", x1=px(10.0**k), x2=px(10.0**k), y1=8.0, y2=height - bottom, class_="grid"))
        anchor = "end" if k == x1 else "middle"
        parts.append(_tag("text", tick(10.0**k), x=px(10.0**k), y=height - 18, text_anchor=anchor, class_="axis"))
    for k in range(y0, y1 + 1):
        parts.append(_tag("line", x1=_percent(left), x2="100%", y1=py(10.0**k), y2=py(10.0**k), class_="grid"))
        label = tick(10.0**k)
        parts.append(_tag("text", label, x=_percent(left - 0.01), y=py(10.0**k) + 4, text_anchor="end", class_="axis"))
    for rate, style, name in ((roof.gbps_peak, "peak", "peak"), (roof.gbps_measured, "delivered", "delivered")):
        knee = roof.gmacs_prompt / rate
        low = 10.0 ** max(float(x0), y0 - log10(rate))
        tip = f"memory, {name}: {rate:,.1f} GB/s"
        parts.append(
            _tag("line", x1=px(low), y1=py(low * rate), x2=px(knee), y2=py(roof.gmacs_prompt), class_=f"roof {style}", data_tip=tip)
        )  # fmt: skip
    for gmacs, name in ((roof.gmacs_token, "one token"), (roof.gmacs_prompt, "two or more tokens")):
        y = py(gmacs)
        tip = f"array, {name}: {gmacs:,.1f} GMAC/s"
        parts.append(
            _tag("line", x1=px(gmacs / roof.gbps_peak), x2="100%", y1=y, y2=y, class_="roof array", data_tip=tip)
        )
        parts.append(_tag("text", name, x="100%", y=y - 5, text_anchor="end", class_="marked"))
    for i, (x, y, tip) in enumerate(points):
        parts.append(_tag("circle", cx=px(x), cy=py(max(y, 10.0**y0)), r=6, class_=f"point p{i % 6}", data_tip=tip))
    parts.append(_tag("text", "multiply-adds by byte moved", x="100%", y=height - 2, text_anchor="end", class_="axis"))
    parts.append(_tag("text", "GMAC/s", x=0, y=height - 2, class_="axis"))
    return _svg("Roofline", height, parts, "chart roofline")


def memory_strip(title: str, memory: MemoryMap, size: Sequence[str], reach: int) -> Markup:
    """One channel's addresses 0 to `reach` from left to right; neighbours of a kind are one piece. size: of each piece, as text, in order of `pieces`."""
    parts = [_tag("rect", x=0, y=0, width="100%", height=STRIP, class_="track")]
    for (kind, addr, count, name), text in zip(pieces(memory), size, strict=True):
        tip = f"{name}: {kind}, {text} from {addr:#x}"
        x, width = _percent(addr / reach), _percent(count / reach)
        parts.append(_tag("rect", x=x, y=0, width=width, height=STRIP, class_=f"region k-{kind}", data_tip=tip))
    parts.append(_tag("text", "0", x=0, y=STRIP + 16, class_="axis"))
    parts.append(_tag("text", f"{reach:#x}", x="100%", y=STRIP + 16, text_anchor="end", class_="axis"))
    return _svg(title, STRIP + 22, parts, "chart memory")


def pieces(memory: MemoryMap) -> list[tuple[str, int, int, str]]:
    """(kind, address, bytes, name) of neighbours of a kind together."""
    found = []
    for kind, group in groupby(memory.regions, key=lambda r: r.kind):
        regions = list(group)
        end = regions[-1].addr + regions[-1].bytes
        name = regions[0].name if len(regions) == 1 else f"{regions[0].name} to {regions[-1].name}"
        found.append((kind, regions[0].addr, end - regions[0].addr, name))
    return found
