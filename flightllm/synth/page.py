"""Tables of docs/resources.md from the record: `python -m flightllm.synth.page [--check]`."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flightllm.config.board import list_boards, load_board
from flightllm.resources.estimate import FLIGHTLLM_U280, LIMITED, estimate, reference_errors
from flightllm.synth.record import load

PAGE = Path(__file__).resolve().parents[2] / "docs" / "resources.md"
BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
COLUMNS = ("dsp", "lut", "lutram", "srl", "ff", "carry8", "bram36", "uram")


def _rows(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(_cell(c) for c in line) + " |\n" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, int | float):
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
    return str(value)


def units() -> str:
    """Every recorded sample: resources of one instance."""
    rows = []
    for name, unit in load()["units"].items():
        for sample in unit["samples"]:
            what = ", ".join(f"{k} {v}" for k, v in sample["parameters"].items())
            rows.append([name, what, *(sample["counts"][c] for c in COLUMNS)])
    return _rows(["unit", "parameters", *COLUMNS], sorted(rows, key=lambda r: r[0]))


def paths() -> str:
    """The longest path of each unit, inside it or at its ports."""
    rows = []
    for name, unit in sorted(load()["units"].items()):
        for kind in ("inside", "input", "output", "across"):
            path = unit["paths"].get(kind)
            if path and (kind == "inside" or path["ns"] > 3.0):
                rows.append([name, kind, f"{path['ns']:.2f}", path["levels"], f"`{path['start']}`", f"`{path['end']}`"])
    return _rows(["unit", "path", "ns", "levels", "from", "to"], rows)


def boards() -> str:
    """Default configs of the boards."""
    rows = []
    for name in list_boards():
        board = load_board(name)
        result = estimate(board.arch)
        shares = []
        for resource in LIMITED:
            need, have = result.total(resource), getattr(board.resources, resource)
            mark = "" if need <= have else " **too much**"
            shares.append(
                f"{need:,.0f} ({100 * need / have:.0f} %){mark}"
                if have
                else f"{need:,.0f} (none there){mark if need else ''}"
            )
        rows.append([name, *shares])
    rows.append(["FlightLLM's U280", *(_cell(FLIGHTLLM_U280[r]) if r in FLIGHTLLM_U280 else "-" for r in LIMITED)])
    return _rows(["board", *LIMITED], rows)


def errors() -> str:
    """Estimator against the references."""
    rows = []
    for e in reference_errors():
        for resource in COLUMNS:
            percent = e.percent(resource)
            if percent is not None:
                rows.append([e.what, resource, e.synthesised[resource], e.estimated[resource], f"{percent:+.1f} %"])
    return _rows(["reference", "resource", "synthesised", "estimated", "error"], rows)


TABLES = {"units": units, "paths": paths, "boards": boards, "errors": errors}


def render(text: str) -> str:
    """The page with its tables as the record has them."""
    return BLOCK.sub(lambda m: m.group(1) + TABLES[m.group(2)]() + m.group(3), text)


def main(argv: Sequence[str] = ()) -> int:
    """Rewrite the page; with --check only say whether it is up to date (1: it is not)."""
    old = PAGE.read_text()
    new = render(old)
    if "--check" in argv:
        if new != old:
            print("docs/resources.md is not what the record says: run python -m flightllm.synth.page")
        return int(new != old)
    PAGE.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
