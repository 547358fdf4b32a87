"""The result of a search as a plot, in SVG: rates over what they take of the board."""

from __future__ import annotations

import math
from html import escape

from flightllm.search.explore import Exploration
from flightllm.search.pareto import OBJECTIVES, Objective
from flightllm.search.point import Point

#: a panel's size and the room around it, pixels
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, RIGHT = 560, 340, 72, 44, 52, 24
STYLE = (
    "text{font:13px sans-serif;fill:#222}.t{font-weight:600}.g{stroke:#ddd}.a{stroke:#444}.p{fill:#b8bec6}.f{fill:#1565c0}"
    ".l{fill:none;stroke:#1565c0;stroke-width:1.5}.d{fill:none;stroke:#c62828;stroke-width:2.5}.m{stroke:#c62828;stroke-dasharray:5 4}"
)


def plot(found: Exploration) -> str:
    """SVG text: a panel for each rate among the objectives, all points grey, the front blue, the board's config a red ring."""
    costs = [o for o in found.objectives if not o.more] or [OBJECTIVES["lut"]]
    rates = [o for o in found.objectives if o.more] or [OBJECTIVES["token"]]
    cost = costs[0]
    panels = [_panel(found, cost, rate, i * (WIDTH + LEFT + RIGHT)) for i, rate in enumerate(rates)]
    width, height = len(rates) * (WIDTH + LEFT + RIGHT), HEIGHT + TOP + BOTTOM
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(panels)}</svg>\n'
    )


def ticks(most: float) -> list[float]:
    """Round values from 0 to just above `most`, four to ten of them."""
    step = 10.0 ** math.floor(math.log10(most))
    step *= next(f for f in (0.2, 0.5, 1.0, 2.0) if most / (f * step) <= 8)
    return [i * step for i in range(math.ceil(most / step - 1e-9) + 1)]


def _panel(found: Exploration, cost: Objective, rate: Objective, left: int) -> str:
    shown = [*found.points, *found.front, *([] if found.default.refused else [found.default])]
    percent = {id(p): 100 * cost.value(p, found.board) for p in shown}
    limit = 100 * found.limits[cost.name]
    xs, ys = ticks(max(*percent.values(), limit)), ticks(max(rate.value(p, found.board) for p in shown))

    def x(value: float) -> float:
        return round(left + LEFT + WIDTH * value / xs[-1], 1)

    def y(value: float) -> float:
        return round(TOP + HEIGHT * (1 - value / ys[-1]), 1)

    def dot(p: Point, kind: str, radius: float) -> str:
        at = f'cx="{x(percent[id(p)])}" cy="{y(rate.value(p, found.board))}"'
        return f'<circle class="{kind}" {at} r="{radius}"><title>{escape(_label(found, p))}</title></circle>'

    out = [
        f'<text class="t" x="{x(0)}" y="{TOP - 16}">{escape(f"{found.model} on {found.board.name}: {rate.head}")}</text>'
    ]
    for v in ys:
        out.append(f'<line class="g" x1="{x(0)}" x2="{x(xs[-1])}" y1="{y(v)}" y2="{y(v)}"/>')
        out.append(f'<text text-anchor="end" x="{x(0) - 8}" y="{y(v) + 4}">{v:,.10g}</text>')
    for v in xs:
        out.append(f'<text text-anchor="middle" x="{x(v)}" y="{y(0) + 20}">{v:.10g}</text>')
    out.append(f'<line class="a" x1="{x(0)}" x2="{x(xs[-1])}" y1="{y(0)}" y2="{y(0)}"/>')
    axis = f"{cost.head} (estimate), % of the board"
    out.append(f'<text text-anchor="middle" x="{x(xs[-1] / 2)}" y="{y(0) + 42}">{escape(axis)}</text>')
    out.append(f'<line class="m" x1="{x(limit)}" x2="{x(limit)}" y1="{TOP}" y2="{y(0)}"><title>limit</title></line>')
    out += [dot(p, "p", 3) for p in found.points]
    # of the front in all objectives, the line joins those that this panel's two alone keep
    best, line = -1.0, []
    for p in sorted(found.front, key=lambda p: (percent[id(p)], -rate.value(p, found.board))):
        if rate.value(p, found.board) > best:
            best = rate.value(p, found.board)
            line.append(f"{x(percent[id(p)])},{y(best)}")
    out.append(f'<polyline class="l" points="{" ".join(line)}"/>')
    out += [dot(p, "f", 4.5) for p in found.front]
    if not found.default.refused:
        out.append(dot(found.default, "d", 7))
    return "".join(out)


def _label(found: Exploration, point: Point) -> str:
    values = point.arch.to_dict()
    names = [name for name, choice in found.space.knobs.items() if len(choice) > 1]
    config = ", ".join(f"{name} {values[name]:,.10g}" for name in names)
    return f"{config}: {point.token_rate:,.1f} tokens/s, prompt {point.prompt_rate:,.1f} tokens/s"
