"""What a search leaves on disk."""

from __future__ import annotations

import json
from pathlib import Path

from flightllm.errors import FlightError
from flightllm.search.explore import Exploration
from flightllm.search.plot import plot
from flightllm.search.table import toml


def check_folder(folder: Path | None) -> None:
    """Raise FlightError if a folder is something else, before a search is spent on it."""
    if folder is not None and folder.exists() and not folder.is_dir():
        raise FlightError("the output is not a folder", where=str(folder), do="give the name of a folder")


def write_files(found: Exploration, folder: Path) -> None:
    """Write the plot, everything found, and a file for --arch of each config of the front.

    Raises:
        FlightError: the folder cannot be written.
    """
    texts = {"front.svg": plot(found), "exploration.json": json.dumps(found.to_json(), indent=1) + "\n"}
    texts |= {f"{i + 1}.toml": toml(point) for i, point in enumerate(found.front)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise FlightError(
            "the result cannot be written",
            where=str(folder),
            why=error.strerror or str(error),
            do="give a folder that can be written (-o)",
        ) from None
