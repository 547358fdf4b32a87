"""`flightllm build`: a project folder for the vendor's tools."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flightllm.config.arch import ArchConfig
from flightllm.config.board import Board, load_board
from flightllm.errors import ConfigError
from flightllm.package import Package
from flightllm.project.flows import project_files
from flightllm.project.folder import MARKER, check_target, write_folder
from flightllm.project.metadata import metadata
from flightllm.project.plan import Plan, make_plan


@dataclass(frozen=True)
class Project:
    """A project that was written. files: relative paths. next_steps: commands, in the project's folder."""

    path: Path
    plan: Plan
    files: tuple[str, ...]

    @property
    def next_steps(self) -> tuple[str, ...]:
        """What makes the image from it."""
        return ("make check", f"make {'xclbin TARGET=hw' if self.plan.board.flow == 'vitis' else 'image'}")

    def to_json(self) -> dict[str, Any]:
        """Plain data: where, what, and the JSON beside the image."""
        return {
            "path": str(self.path),
            "files": list(self.files),
            "warnings": list(self.plan.warnings),
            "next": list(self.next_steps),
            "build": metadata(self.plan),
        }


def write_project(
    source: str | os.PathLike[str] | Package | None = None,
    output: str | os.PathLike[str] | None = None,
    *,
    board: str | None = None,
    arch: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    flavour: str = "rtl",
    force: bool = False,
) -> Project:
    """Write a project that makes the kernel with the vendor's tools; whole or not at all.

    Args:
        source: package whose config is built (folder, or an open `Package`), or a TOML file of parameters that differ from the board's config; None: the
            board's config.
        output: folder; default: NAME-build in the current folder, NAME being the board's.
        board: name of a board or path of its file; default for a package: the one that it was compiled for.
        arch: file or mapping of parameters that differ; not with a package.
        flavour: "rtl" or "hls": what the kernel is made from.
        force: replace a project that is there.

    Returns:
        the project: `.path`, `.files`, `.to_json()`.

    Raises:
        ConfigError: the board has no tool flow, or a parameter is wrong. FitError: the config does not fit the board. PackageError: not a package.
        ToolError: the output cannot be written.
    """
    target, config = _subject(source, board, arch)
    folder = Path(output) if output is not None else Path(f"{target.name}-build")
    check_target(Path(os.path.abspath(folder)), force)
    plan = make_plan(target, config, flavour)
    files = project_files(plan)
    write_folder(folder, files, force)
    return Project(folder, plan, tuple(sorted([*files, MARKER])))


def _subject(
    source: str | os.PathLike[str] | Package | None,
    board: str | None,
    arch: str | os.PathLike[str] | Mapping[str, Any] | None,
) -> tuple[Board, ArchConfig]:
    from flightllm import api

    if isinstance(source, Package) or (source is not None and Path(source).suffix != ".toml"):
        package = source if isinstance(source, Package) else Package.open(source)
        if arch:
            raise ConfigError(
                "the parameters of a package's config cannot be changed",
                where=str(package.path),
                why="the package was compiled for them",
                do="compile it anew with them (`flightllm compile --arch`), or build from a config instead",
            )
        return load_board(board or package.manifest.board), package.manifest.arch
    if board is None:
        raise ConfigError("no board was named", do="give --board (`flightllm boards` lists them)")
    target = load_board(board)
    changes = api.arch_overrides(source)
    changes |= api.arch_overrides(settings=arch) if isinstance(arch, Mapping) else api.arch_overrides(arch)
    return target, api.board_config(target, changes)
