"""Results of others, from published.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from flightllm.report.data import Published

_FILE = Path(__file__).with_name("published.toml")


def published(shape: dict[str, int], board: str) -> tuple[str, list[Published]]:
    """The published model that has these shapes ("" if none has), and all results."""
    data: dict[str, Any] = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    model = next((name for name, shapes in data["shapes"].items() if shapes == shape), "")
    results = [
        Published(**r, comparable=r["model"] == model, same_board=r["board"].lower() == board.lower())
        for r in data["results"]
    ]
    return model, results
