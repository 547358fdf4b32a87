"""Jinja2 as this project uses it, and files of the checkout that are generated: written, or compared with what they should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2


def environment(folder: Path) -> jinja2.Environment:
    """Environment for the templates of a folder: a name that is missing is an error, lines of statements leave nothing."""
    import jinja2  # a host that drives a card has no need of it

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def write_or_check(root: Path, files: Mapping[str, str], argv: Sequence[str]) -> int:
    """What `python -m ...generate [--check]` does: write the files that are not current and say so, or only say so.

    Args:
        root: of the checkout. files: path relative to it -> text. argv: of the command.

    Returns:
        Its exit code: 1 if it was to check and a file is not current.
    """
    check = "--check" in argv
    stale = [name for name, text in files.items() if not (root / name).exists() or (root / name).read_text() != text]
    for name in stale:
        if not check:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(files[name])
        print(f"{name}: {'not current' if check else 'written'}")
    return 1 if stale and check else 0
