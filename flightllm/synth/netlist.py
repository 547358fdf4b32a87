"""Counts of a mapped netlist."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

#: resources that are counted; CARRY8 is half the CARRY4 that Yosys maps to; MUXF7 and MUXF8 lie beside the LUTs and cost none
RESOURCES = ("dsp", "lut", "lutram", "srl", "ff", "carry8", "bram36", "uram")

#: LUTs that a distributed RAM takes, by primitive (UG574, "Distributed RAM"): RAM32M16 and RAM64M8 fill a slice of eight
LUTRAM_LUTS = {
    "RAM32X1S": 1, "RAM32X1D": 2, "RAM64X1S": 1, "RAM64X1D": 2, "RAM128X1S": 2, "RAM128X1D": 4, "RAM256X1S": 4,
    "RAM256X1D": 8, "RAM512X1S": 8, "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8, "RAM32X16DR8": 8,
    "RAM64X8SW": 8,
}  # fmt: skip


def counts(module: Mapping[str, Any]) -> dict[str, float]:
    """Resources of a module's cells; `lut` is all LUTs: logic, distributed RAM and shift registers. Black boxes count nothing."""
    kinds = Counter(cell["type"] for cell in module["cells"].values())
    out: dict[str, float] = dict.fromkeys(RESOURCES, 0)
    carry4 = 0
    for kind, n in kinds.items():
        if re.fullmatch(r"LUT[1-6]", kind):
            out["lut"] += n
        elif kind == "INV":
            pass  # absorbed by the LUT, or by the register's inversion, that it drives
        elif kind in LUTRAM_LUTS:
            out["lutram"] += n * LUTRAM_LUTS[kind]
        elif kind.startswith("SRL"):
            out["srl"] += n
        elif re.fullmatch(r"FD[RSCP]E(_1)?", kind):
            out["ff"] += n
        elif kind == "CARRY4":
            carry4 += n
        elif kind == "CARRY8":
            out["carry8"] += n
        elif kind == "DSP48E2":
            out["dsp"] += n
        elif kind == "RAMB36E2":
            out["bram36"] += n
        elif kind == "RAMB18E2":
            out["bram36"] += n / 2
        elif kind == "URAM288":
            out["uram"] += n
    out["lut"] += out["lutram"] + out["srl"]
    out["carry8"] += (carry4 + 1) // 2
    return out
