"""Where package data lies: top-level folders of a checkout, or `flightllm/_data` of an installed wheel."""

from __future__ import annotations

from pathlib import Path

from flightllm.errors import ToolError

_PACKAGE = Path(__file__).resolve().parents[1]


def data_dir(name: str) -> Path:
    """Folder `boards`, `templates`, `rtl`, `hls` or `sim`. ToolError if the installation lacks it."""
    for base in (_PACKAGE / "_data", _PACKAGE.parent):
        if (base / name).is_dir():
            return base / name
    raise ToolError(
        f"the installation has no folder {name}",
        where=str(_PACKAGE),
        do="install flightllm again (pip install --force-reinstall flightllm)",
    )
