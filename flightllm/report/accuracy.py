"""How far the cycle model is from the RTL, from the record of the long tests (docs/figures/rtl.json)."""

from __future__ import annotations

import json
import re

from flightllm.config.arch import ArchConfig
from flightllm.config.paths import data_dir
from flightllm.errors import ToolError
from flightllm.report.data import Accuracy, AccuracyRow

_UNITS = "WLMSTQ"
_SIZE = re.compile(r"(\d+) x (\d+) x (\d+)")


def accuracy(arch: ArchConfig) -> Accuracy:
    """The recorded comparisons, and what of a config lies beyond them.

    Raises:
        ToolError: the record is missing or damaged.
    """
    path = data_dir("docs/figures") / "rtl.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))["cycle model"]
        rows = [
            AccuracyRow(
                name, r["rtl"], r["model"], r["model"] / r["rtl"] - 1, {u: r[u] for u in _UNITS}, r["date"], r["commit"]
            )
            for name, r in sorted(record.items())
        ]
        low, high = min(r.off for r in rows), max(r.off for r in rows)
    except (OSError, ValueError, KeyError) as error:
        raise ToolError(
            "the record of the comparisons with the RTL cannot be read",
            where=str(path),
            why=str(error),
            do="install flightllm again",
        ) from None
    return Accuracy(low, high, max(abs(x) for r in rows for x in r.units.values()), rows, _beyond(arch, rows))


def _beyond(arch: ArchConfig, rows: list[AccuracyRow]) -> list[str]:
    sizes = [tuple(map(int, found.groups())) for r in rows if (found := _SIZE.search(r.name))]
    parts = []
    for value, index, what in ((arch.cores, 0, "cores"), (arch.channels, 1, "channels a core"), (arch.vpus, 2, "VPUs a channel")):  # fmt: skip
        most = max(size[index] for size in sizes)
        if value > most:
            parts.append(f"{value} {what} (the largest config that was has {most})")
    if arch.chain_vpus > 1 and not any("chains" in r.name for r in rows):
        parts.append("two VPUs in a chain (no config that was has them)")
    return parts
