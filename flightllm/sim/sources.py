"""The SystemVerilog files of rtl/, in an order in which every package stands before its users."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from flightllm.config.arch import ArchConfig
from flightllm.config.paths import data_dir
from flightllm.sim.config import write_config_package

_USES = re.compile(r"\b(\w+_pkg)\b")


def rtl_sources(*folders: str, arch: ArchConfig | None = None, users: Sequence[Path] = ()) -> list[Path]:
    """The modules of these folders of rtl/ (all if none is named), behind the packages that they use.

    arch: the build's config, if something uses `flightllm_config_pkg`. users: other files (test benches) whose packages are
    wanted too; they are not in the result.
    """
    root = data_dir("rtl")
    known = {p.stem: p for p in sorted(root.rglob("*_pkg.sv"))}
    if arch is not None:
        config = write_config_package(arch)
        known[config.stem] = config
    chosen = [root / f for f in folders] or [p for p in root.iterdir() if p.is_dir()]
    modules = sorted(p for folder in chosen for p in folder.glob("*.sv") if p.stem not in known)
    order: list[Path] = []
    for module in [*modules, *users]:
        _add_packages(module, known, order)
    return order + modules


def _add_packages(path: Path, known: dict[str, Path], order: list[Path]) -> None:
    """Append what `path` uses to `order`, what a package uses before it."""
    code = re.sub(r"//.*", "", path.read_text())
    for name in sorted(set(_USES.findall(code)) - {path.stem}):
        package = known.get(name)
        if package is not None and package not in order:
            _add_packages(package, known, order)
            order.append(package)
