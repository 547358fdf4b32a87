"""Yosys with the slang frontend, as a separate process: RTL -> mapped netlist of a Xilinx UltraScale+ device."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from flightllm.config.arch import ArchConfig
from flightllm.config.paths import data_dir
from flightllm.errors import ToolError
from flightllm.sim.sources import rtl_sources

#: modules of rtl/ that stand for primitives of the device: simulation models, which synthesis leaves out
PRIMITIVES = ("DSP48E2",)
FAMILY = "xcup"
TIMEOUT_S = 3600
_RUN = "import sys; from pyosys import libyosys as y; d = y.Design(); [y.run_pass(c, d) for c in sys.stdin.read().splitlines()]"


def share_folder() -> Path:
    """Yosys' folder of cell libraries.

    Raises:
        ToolError: pyosys is not installed.
    """
    spec = importlib.util.find_spec("pyosys")
    if spec is None or not spec.submodule_search_locations:
        raise ToolError("Yosys is not installed", do="pip install 'flightllm[synth]'")
    return Path(next(iter(spec.submodule_search_locations))) / "share"


def run(commands: Sequence[str], timeout: float = TIMEOUT_S) -> str:
    """Run commands on one design and return what Yosys printed.

    Raises:
        ToolError: a command failed or took too long; its last lines are in the message.
    """
    share_folder()
    try:
        done = subprocess.run(
            [sys.executable, "-c", _RUN], input="\n".join(commands), capture_output=True, text=True, timeout=timeout,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ToolError(
            f"Yosys took longer than {timeout:.0f} s",
            where=commands[0][:200],
            do="try again when the machine is less busy",
        ) from None
    if done.returncode:
        text = (done.stdout + done.stderr).splitlines()
        wrong = [line for line in text if re.search(r"\berror\b", line, re.IGNORECASE)]
        how = f"killed by signal {-done.returncode}" if done.returncode < 0 else "failed"
        why = "\n".join((wrong or text)[-20:])
        raise ToolError(f"Yosys {how}", where=commands[0][:200], why=why, do="report this with the message")
    return done.stdout


@cache
def primitive_stub(name: str) -> str:
    """Declaration of a primitive with its ports and parameters, from Yosys' cell library, as a black box for slang.

    The frontend then checks every port and parameter that the RTL names against those of the primitive.
    """
    library = (share_folder() / "xilinx" / "cells_xtra.v").read_text()
    found = re.search(rf"^module {name}\b.*?^endmodule", library, re.DOTALL | re.MULTILINE)
    if found is None:
        raise ToolError(
            f"Yosys' cell library has no {name}", do="install the version of pyosys that pyproject.toml names"
        )
    return f"(* blackbox *)\n{found.group(0)}\n"


def sources(arch: ArchConfig, folder: Path) -> list[Path]:
    """The RTL for synthesis: the primitives' simulation models replaced by declarations, which are written to `folder`."""
    stubs = []
    for name in PRIMITIVES:
        path = folder / f"{name}_stub.sv"
        path.write_text(primitive_stub(name))
        stubs.append(path)
    return [p for p in rtl_sources(arch=arch) if p.stem not in PRIMITIVES] + stubs


def read_command(
    files: Sequence[Path], top: str, parameters: Mapping[str, int], black_boxes: Sequence[str] = (), *more: str
) -> str:
    """The `read_slang` command that elaborates `top`."""
    options = [f"-G {name}={value}" for name, value in parameters.items()]
    options += [f"--blackboxed-module {name}" for name in black_boxes]
    # outputs of a primitive that nobody needs; assertions are for simulation
    fixed = "--ignore-assertions --empty-blackboxes -Wno-unconnected-output-port"
    return " ".join(["read_slang", fixed, *more, f"--top {top}", *options, *map(str, files)])


def elaborate(arch: ArchConfig, top: str = "flightllm_top") -> None:
    """Elaborate the whole RTL for a config, without synthesis; every instance of every module is checked.

    Raises:
        ToolError: it does not elaborate.
    """
    with tempfile.TemporaryDirectory() as folder:
        run([read_command(sources(arch, Path(folder)), top, {}, (), "--ast-compilation-only")])


def synthesise(
    top: str,
    parameters: Mapping[str, int],
    black_boxes: Sequence[str] = (),
    wide_muxes: bool = False,
    timeout: float = TIMEOUT_S,
) -> dict[str, Any]:
    """Netlist of `top` in the device's cells, flattened; instances of `black_boxes` stay as they are.

    wide_muxes: cover selections of 5 and more with MUXF7 and MUXF8. It pays where data are selected by an index; elsewhere it lengthens
    paths, and Yosys 0.70 has inputs on which it stops.

    Returns:
        Yosys' JSON of the module: ports, cells, netnames.

    Raises:
        ToolError: Yosys is not installed or fails.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        out = folder / "netlist.json"
        run(
            [
                read_command(sources(ArchConfig(), folder), top, parameters, black_boxes),
                # -overwrite: slang's declarations of the primitives go
                "read_verilog -lib -overwrite -specify +/xilinx/cells_sim.v",
                "read_verilog -lib -overwrite +/xilinx/cells_xtra.v",
                *_unparameterised(black_boxes),
                f"hierarchy -check -top {top}",
                # dynamic element selection as trees of multiplexers, so that MUXF7 and MUXF8 cover them
                *(["proc; opt; bmuxmap; techmap t:$shiftx"] if wide_muxes else []),
                f"synth_xilinx -family {FAMILY} -uram -flatten -noiopad -noclkbuf {'-widemux 5' if wide_muxes else ''} -top {top} "
                "-run prepare:check",
                "blackbox =A:whitebox",
                f"write_json {out}",
            ],
            timeout,
        )
        modules: dict[str, Any] = json.loads(out.read_text())["modules"]
    module: dict[str, Any] = modules[top]
    for cell in module["cells"].values():
        if cell["type"] in black_boxes:  # Yosys knows no directions: the ports' names tell
            cell["port_directions"] = {p: "output" if p.endswith("_o") else "input" for p in cell["connections"]}
    return module


def _unparameterised(black_boxes: Sequence[str]) -> list[str]:
    """Commands that take the parameters from cells of black boxes: Yosys refuses parameters of a module that it does not have."""
    commands = []
    for name in black_boxes:
        (path,) = data_dir("rtl").rglob(f"{name}.sv")
        # slang hands over all constants of the module, loop variables too
        found = re.findall(r"\b(?:parameter|localparam|genvar)\b[^=;]*?(\w+)\s*=", path.read_text())
        commands += [f"setparam -unset {parameter} t:{name}" for parameter in sorted(set(found))]
    return commands


def version() -> str:
    """Yosys and its version, for the record."""
    return f"pyosys {metadata.version('pyosys')}"
