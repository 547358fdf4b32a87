"""The SystemVerilog files of rtl/, in an order in which every package stands before its users."""

from __future__ import annotations

from pathlib import Path

from flightllm.config.paths import data_dir

#: packages, by dependency; the rest of rtl/ may come in any order
PACKAGES = (
    "flightllm_isa_pkg.sv",
    "flightllm_numerics_pkg.sv",
    "fp/fp32_pkg.sv",
    "matrix/matrix_pkg.sv",
)


def rtl_sources(*folders: str) -> list[Path]:
    """Packages, then the modules of these folders of rtl/ (all if none is named)."""
    root = data_dir("rtl")
    first = [root / name for name in PACKAGES]
    chosen = [root / f for f in folders] or [p for p in root.iterdir() if p.is_dir()]
    modules = sorted(p for folder in chosen for p in folder.glob("*.sv"))
    return first + [p for p in modules if p not in first]
