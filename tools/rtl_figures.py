"""Tables of pages of docs out of docs/figures/rtl.json, which the long RTL tests write: `python tools/rtl_figures.py`.

`--check` compares only (exit code 1 if a page is not current).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs/figures/rtl.json"
BEGIN = "<!-- Generated from figures/rtl.json by `python tools/rtl_figures.py`. Do not edit. -->"
END = "<!-- End of the generated part. -->"

Record = dict[str, Any]


def percent(x: float) -> str:
    return f"{100 * x:.1f} %"


def off(x: float) -> str:
    return f"{100 * x:+.1f} %"


def wall_and_cpu(r: Record) -> str:
    return f"{r['seconds']:,} / {r['cpu']:,}" if "cpu" in r else f"{r['seconds']:,} / -"


def speed(r: Record) -> str:
    return f"{r['cycles'] / r['cpu'] / 1000:,.0f} K" if "cpu" in r else "-"


#: section -> (title, what a row is about, column -> text)
TABLES: dict[str, tuple[str, str, dict[str, Callable[[Record], str]]]] = {
    "utilisation": (
        "Utilisation in the whole kernel: one MM, dense, 4 bits with offsets, groups of 32",
        "tokens, cores x channels x VPUs, memory",
        {
            "cycles": lambda r: f"{r['cycles']:,}",
            "beats of the array / cycles": lambda r: percent(r["array"]),
            "of the port's 64 bytes a cycle": lambda r: percent(r["port"]),
            "of what the memory gives": lambda r: percent(r["delivered"]),
        },
    ),
    "SmolLM2": (
        "SmolLM2-135M, one decode step in lockstep with the functional executor",
        "cores x channels x VPUs",
        {
            "context": lambda r: str(r["context"]),
            "cycles": lambda r: f"{r['cycles']:,}",
            "seconds, wall / CPU": wall_and_cpu,
            "cycles per CPU second": speed,
        },
    ),
    "generation": (
        "tiny-austen, 100 tokens of prompt and 64 generated, in lockstep",
        "cores x channels x VPUs, weights, bits of the cache, attention",
        {
            "cycles": lambda r: f"{r['cycles']:,}",
            "seconds, wall / CPU": wall_and_cpu,
            "cycles per CPU second": speed,
        },
    ),
    "delays": (
        "The same with memory that waits at random",
        "config; delays",
        {"cycles": lambda r: f"{r['cycles']:,}", "seconds, wall / CPU": wall_and_cpu},
    ),
    "cycle model": (
        "Cycles of the model and of the RTL, and by how much cycles and the units' busy cycles differ",
        "program: config, weights, bits of the cache, attention; run",
        {
            "RTL": lambda r: f"{r['rtl']:,}",
            "model": lambda r: f"{r['model']:,}",
            "cycles": lambda r: off(r["model"] / r["rtl"] - 1),
            **{unit: (lambda r, u=unit: off(r[u])) for unit in "LMSTWQ"},
        },
    ),
}


#: page -> its sections, in order
PAGES = {
    "docs/results.md": ("utilisation", "SmolLM2", "generation", "delays"),
    "docs/cycle-model.md": ("cycle model",),
}


def table(section: str, rows: dict[str, Record]) -> list[str]:
    """Lines of one table, by name of the row."""
    title, about, columns = TABLES[section]
    lines = [
        f"### {title}",
        f"| {about} | {' | '.join(columns)} | date | commit |",
        "|" + " --- |" * (len(columns) + 3),
    ]
    for name, r in sorted(rows.items()):
        cells = [name, *(text(r) for text in columns.values()), r["date"], r["commit"]]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def render(page: str, figures: dict[str, dict[str, Record]], sections: tuple[str, ...]) -> str:
    """The page with its generated part made anew."""
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    lines = [line for section in sections if section in figures for line in table(section, figures[section])]
    return before + BEGIN + "\n\n" + "\n".join(lines) + END + after


def main(argv: list[str]) -> int:
    figures, stale = json.loads(FIGURES.read_text()), False
    for name, sections in PAGES.items():
        page = ROOT / name
        old = page.read_text()
        new = render(old, figures, sections)
        if new == old:
            continue
        if "--check" in argv:
            print(f"{name}: not current")
            stale = True
        else:
            page.write_text(new)
            print(f"{name}: written")
    return int(stale)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
