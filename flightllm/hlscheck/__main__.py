"""`python -m flightllm.hlscheck`: check the kernel for some configs; 1 if there are findings."""

from __future__ import annotations

import sys

from flightllm.config.arch import ArchConfig
from flightllm.config.board import load_board
from flightllm.hlscheck.check import check_arch
from flightllm.hlscheck.findings import UNKNOWN, Report
from flightllm.hlscheck.waivers import stale


def configs() -> dict[str, ArchConfig]:
    """Kernels that are checked."""
    boards = {name: load_board(name).arch for name in ("tiny", "u280")}
    return boards | {"three cores": ArchConfig(cores=3, channels=2, vpus=4, lanes=16, port_bits=128)}


def show(title: str, said: dict[str, list[tuple[str, str]]]) -> None:
    """Print what is said of kernels as (place, text): each text once, with its places, and the kernels if not all have it."""
    places: dict[str, dict[str, list[str]]] = {}  # text: place: kernels
    for name, listed in said.items():
        for place, text in listed:
            places.setdefault(text, {}).setdefault(place, []).append(name)
    if places:
        print(title)
    for text, where in places.items():
        for names in dict.fromkeys(map(tuple, where.values())):
            which = f" [{', '.join(names)}]" if len(names) < len(said) else ""
            print(f"  {', '.join(p for p, n in where.items() if tuple(n) == names)}: {text}{which}")


def main() -> int:
    """Print findings, what is waived, what could not be told, and what no such check can know."""
    reports: dict[str, Report] = {name: check_arch(arch) for name, arch in configs().items()}
    for name, r in reports.items():
        print(
            f"hlscheck, {name}: {r.functions} functions, {r.loops} loops, {r.regions} dataflow regions, "
            f"{r.pragmas} pragmas: {len(r.findings)} findings, {len(r.waived)} waived"
        )
    show("Findings:", {k: [(f.place, f.advice) for f in r.findings] for k, r in reports.items()})
    show(
        "Waived:", {k: [(f.place, f"{f.rule}: {f.text}\n    {why}") for f, why in r.waived] for k, r in reports.items()}
    )
    show("Could not be told:", {k: [(n.place, n.text) for n in r.notes] for k, r in reports.items()})
    old = stale(list(reports.values()))
    for waiver in old:
        print(
            f"hlscheck: nothing needs the waiver of {waiver.rule} in {waiver.file}: take it out of flightllm/hlscheck/waivers.py"
        )
    for line in UNKNOWN:
        print(line)
    return 1 if old or any(r.findings for r in reports.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
