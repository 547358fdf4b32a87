"""Writes a report as one page of HTML that needs nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from flightllm.config.paths import data_dir
from flightllm.errors import ToolError
from flightllm.package import Package
from flightllm.report import charts
from flightllm.report.data import Report


def write_report(
    source: str | os.PathLike[str] | Package,
    path: str | os.PathLike[str] | None = None,
    *,
    on: str = "model",
    board: str | None = None,
    arch: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    weights: str | float | None = None,
    group: int | None = None,
    sparsity: int | None = None,
    kv: int | None = None,
    recipe: str | os.PathLike[str] | None = None,
    prompts: Sequence[int] | None = None,
    contexts: Sequence[int] | None = None,
    command: str = "",
    progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Write a page about how a model runs: where its time and its bytes go, by the cycle model or measured in RTL; returns what is on it.

    Args:
        source: package (folder, or an open `Package`), or a model, of which only the shapes are read.
        path: of the page; None: write none. An existing file is replaced.
        on: "model", or "rtl" to run a package on the simulated hardware (minutes for small models).
        board: needed for a model; of a package: its own, unless it was compiled for a board file.
        arch, weights, group, sparsity, kv, recipe: for a model; as of `flightllm.speed`.
        prompts, contexts: lengths, as of `flightllm.speed`. command: shown as the one that makes the page again. progress: called with (phase, runs
            of the program done, in all).

    Returns:
        the report: `.phases`, `.to_json()`.

    Raises:
        ToolError: an option does not fit the source, or the file cannot be written. FlightError: of the kind that fits, as of `flightllm.speed`.
    """
    from flightllm.report.collect import collect
    from flightllm.report.subject import find_subject

    if on not in ("model", "rtl"):
        raise ToolError(f"executor {on!r} counts no cycles", do="use --on model or --on rtl")
    if path is not None:
        _writable(Path(path))
    compression = {"weights": weights, "group": group, "sparsity": sparsity, "kv": kv, "recipe": recipe}
    subject = find_subject(source, board, arch, compression, prompts, contexts)
    if on == "rtl" and subject.package is None:
        raise ToolError(
            "a model without weights cannot run in RTL", where=str(source), do="compile it, and give the package"
        )
    report = collect(subject, on, command, progress or (lambda *_: None))
    if path is not None:
        _write(Path(path), render(report))
    return report


def render(report: Report) -> str:
    """The page."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(data_dir("templates")),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= charts.FILTERS
    data = json.dumps(report.to_json(), separators=(",", ":"))
    # inside <script> only these end it or begin a comment
    data = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return env.get_template("report.html.j2").render(r=report, charts=charts, data=Markup(data))


def _writable(path: Path) -> None:
    """Say at once, not after minutes, that the file cannot be written."""
    if path.is_dir():
        raise _unwritable(path, "it is a folder")
    if not path.parent.is_dir():
        raise _unwritable(path, "its folder does not exist")


def _unwritable(path: Path, why: str) -> ToolError:
    return ToolError("no report", where=str(path), why=why, do="give a path that can be written")


def _write(path: Path, text: str) -> None:
    """The whole file or nothing."""
    growing = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        growing.write_text(text, encoding="utf-8")
        growing.replace(path)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from None
    finally:
        growing.unlink(missing_ok=True)
