"""Projects to look at: written once for each board, config and flavour."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from flightllm.project.write import write_project


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """(board, flavour, changes of the config) -> folder of the project."""
    made: dict[str, Path] = {}

    def make(board: str, flavour: str = "rtl", **changes) -> Path:
        key = json.dumps([board, flavour, changes], sort_keys=True)
        if key not in made:
            path = tmp_path_factory.mktemp(board) / "project"
            write_project(None, path, board=board, arch=changes, flavour=flavour)
            made[key] = path
        return made[key]

    return make


@pytest.fixture
def flightllm():
    """Arguments -> result of the command line, in process."""
    from flightllm.cli import main

    return lambda *args: CliRunner().invoke(main, [str(a) for a in args], prog_name="flightllm")
