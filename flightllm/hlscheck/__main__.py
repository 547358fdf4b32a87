"""`python -m flightllm.hlscheck`: check the kernel of two boards; 1 if there are findings."""

from __future__ import annotations

import sys

from flightllm.config.board import load_board
from flightllm.hlscheck.check import check_arch
from flightllm.hlscheck.findings import UNKNOWN, Finding

BOARDS = ("tiny", "u280")


def main() -> int:
    """Print findings, what could not be told, and what no such check can know."""
    found: dict[Finding, list[str]] = {}
    notes: dict[str, list[str]] = {}
    for board in BOARDS:
        report = check_arch(load_board(board).arch)
        print(
            f"hlscheck {board}: {report.functions} functions, {report.loops} loops, {report.regions} dataflow regions, "
            f"{report.pragmas} pragmas: {len(report.findings)} findings"
        )
        for finding in report.findings:
            found.setdefault(finding, []).append(board)
        for note in report.notes:
            notes.setdefault(note, []).append(board)
    for finding, boards in found.items():
        print(f"{finding}\n    in the kernel of: {', '.join(boards)}")
    if notes:
        print("Could not be told:")
        for note in notes:
            print(f"  {note}")
    for line in UNKNOWN:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
