"""The result of a search as text and as configs to use."""

from __future__ import annotations

from typing import Any

from flightllm.cli.common import table
from flightllm.search.explore import Exploration
from flightllm.search.pareto import OBJECTIVES
from flightllm.search.point import Point

#: how columns name the parameters
HEADS = {
    "vpus": "VPUs", "chain_vpus": "VPUs/chain", "max_chunk": "chunk", "vb_elements": "VB", "ab_windows": "AB", "acc_entries": "accumulators",
    "w_ring_bytes": "W ring", "k_ring_bytes": "K ring", "clock_mhz": "MHz",
}  # fmt: skip
#: shares of the board that the table has, whatever the objectives are
SHARES = ("lut", "dsp", "bram36", "uram")


def front_table(found: Exploration) -> str:
    """The front, one config a line with its number, and the board's config below."""
    shown = [name for name, values in found.space.knobs.items() if len(values) > 1]
    if found.default.arch.clock_mhz != found.space.base.clock_mhz and "clock_mhz" not in shown:
        shown.append("clock_mhz")
    rows = [[str(i + 1), *_cells(found, p, shown)] for i, p in enumerate(found.front)]
    rows.append(["board's", *_cells(found, found.default, shown)])
    heads = [OBJECTIVES[name].head for name in ("token", "prompt")] + [OBJECTIVES[name].head for name in SHARES]
    return table(rows, ["", *(HEADS.get(name, name) for name in shown), *heads])


def _cells(found: Exploration, point: Point, shown: list[str]) -> list[Any]:
    values = point.arch.to_dict()
    out: list[Any] = [f"{values[name]:,.10g}" for name in shown]
    if point.refused:
        out += ["-", "-"]
    else:
        out += [f"{point.token_rate:,.1f}", f"{point.prompt_rate:,.1f}"]
    return out + [_percent(point, found, name) for name in SHARES]


def _percent(point: Point, found: Exploration, resource: str) -> str:
    share = point.needs[resource] / getattr(found.board.resources, resource)
    return f"{100 * share:.1f} %"


def refused_table(found: Exploration) -> str:
    """Why configs were left out, with how many and the figures of one; "" if none was."""
    rows = [[r.count, r.reason, r.why] for r in found.refusals]
    return table(rows, ["configs", "left out because", "for example"]) if rows else ""


def toml(point: Point) -> str:
    """The config as a file for --arch."""
    return "".join(f"{name} = {value}\n" for name, value in point.arch.to_dict().items())
