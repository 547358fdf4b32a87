"""Where package data lies: folders of a checkout, or `flightllm/_data` of an installed wheel."""

from __future__ import annotations

from pathlib import Path

from flightllm.errors import ToolError

_PACKAGE = Path(__file__).resolve().parents[1]
#: the folders that are package data; pyproject.toml puts each of them into the wheel
DATA_FOLDERS = ("boards", "templates", "rtl", "hls", "sim", "docs/figures")


def data_dir(name: str) -> Path:
    """One of `DATA_FOLDERS`, as a path that exists.

    Raises:
        ToolError: the installation lacks it.
    """
    # A wheel has _data; only a checkout has not. Beside an installed package lie other people's folders, some called "sim".
    bundled = _PACKAGE / "_data"
    base = bundled if bundled.is_dir() else _PACKAGE.parent
    folder = base / name
    if name in DATA_FOLDERS and folder.is_dir():
        return folder
    raise ToolError(
        f"the installation has no folder {name}",
        where=str(base),
        why=f"package data are {', '.join(DATA_FOLDERS)}",
        do="install flightllm again (pip install --force-reinstall --no-deps flightllm)",
    )
