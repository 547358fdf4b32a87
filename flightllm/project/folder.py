"""Writes a project folder so that it is whole or absent."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from flightllm.errors import ToolError
from flightllm.package.temporary import GROWING, KEPT, REPLACED, TemporaryFolder

#: lists the files that were written, and says that the folder is a project
MARKER = "flightllm-build.json"
FORMAT = "flightllm-project"


def write_folder(target: Path, files: Mapping[str, str], force: bool = False) -> None:
    """Write a project: relative path -> text.

    Raises:
        ToolError: the folder exists and may not be replaced, or the disk refuses; nothing is changed then.
    """
    target = Path(os.path.abspath(target))
    if not target.parent.is_dir():
        raise ToolError("the folder for the project does not exist", where=str(target.parent), do="make it first")
    check_target(target, force)
    content = dict(files)
    content[MARKER] = json.dumps({"format": FORMAT, "files": sorted([*files, MARKER])}, indent=1) + "\n"
    try:
        _write(target, content)
    except OSError as error:
        raise ToolError(
            "the project cannot be written",
            where=str(target),
            why=error.strerror or str(error),
            do="see to the folder's permissions and free space, or choose another output",
        ) from error


def check_target(target: Path, force: bool) -> None:
    """Whether a project may be written there: nothing is there, or with `force` a project and nothing else. ToolError if not."""
    if not os.path.lexists(target):
        return
    known = _files(target)
    if known is None:
        raise ToolError(
            "the output exists and is not a project of `flightllm build`",
            where=str(target),
            why="only such projects are ever replaced",
            do="choose another output with -o, or remove it yourself",
        )
    if not force:
        raise ToolError(
            "the project exists already",
            where=str(target),
            do="choose another output with -o, or use --force to replace it",
        )
    found = {p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_symlink() or not p.is_dir()}
    others = sorted(found - known)
    if others:
        raise ToolError(
            "the project holds files that `flightllm build` has not written",
            where=str(target),
            why=f"{len(others)} of them, {others[0]} for one: what the tools made may have taken hours",
            do="choose another output with -o, or run `make clean` in it first",
        )


def _files(target: Path) -> set[str] | None:
    """The files that the project's marker lists; None if it is no project."""
    try:
        data = json.loads((target / MARKER).read_text(encoding="utf-8"))
        return set(data["files"]) if data["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(target: Path, content: Mapping[str, str]) -> None:
    folder = TemporaryFolder(target.parent, target.name, GROWING)
    try:
        umask = os.umask(0)
        os.umask(umask)
        folder.path.chmod(0o777 & ~umask)  # temporary folders are private, a project is as readable as any
        for name, text in content.items():
            path = folder.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if not os.path.lexists(target):
            folder.path.rename(target)
            return
        old = TemporaryFolder(target.parent, target.name, REPLACED)
        try:
            target.rename(old.path / KEPT)
            try:
                folder.path.rename(target)
            except BaseException:
                (old.path / KEPT).rename(target)
                raise
        finally:
            old.close(remove=os.path.lexists(target))
    finally:
        folder.close()
