"""The CSD-chain as an RTL black box for Vitis HLS: `python -m flightllm.kernel.blackbox FOLDER` (docs/hls-blackbox.md).

Vitis HLS takes a description in JSON, Verilog and a C++ model. The Verilog is made from rtl/ by Yosys, the description from the ports of
that Verilog, the resources from a synthesis of it.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flightllm.config.arch import ArchConfig
from flightllm.config.paths import data_dir
from flightllm.errors import FlightError
from flightllm.synth import yosys
from flightllm.synth.netlist import counts

#: C++ function and RTL module: Vitis HLS wants one name for both
NAME = "csd_chain_blackbox"
#: attribute of rtl_common_signal -> port
SIGNALS = {
    "module_clock": "ap_clk",
    "module_reset": "ap_rst",
    "module_clock_enable": "ap_ce",
    "ap_ctrl_chain_protocol_idle": "ap_idle",
    "ap_ctrl_chain_protocol_start": "ap_start",
    "ap_ctrl_chain_protocol_ready": "ap_ready",
    "ap_ctrl_chain_protocol_done": "ap_done",
    "ap_ctrl_chain_protocol_continue": "ap_continue",
}
#: suffix of the valid signal beside an output
VALID = "_ap_vld"
#: headers that the model includes
HEADERS = ("csd_chain.hpp", "csd_chain_blackbox.hpp")
_ABOUT = """// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Made from rtl/ by python -m flightllm.kernel.blackbox; do not edit.
"""


def source() -> Path:
    """The module in SystemVerilog."""
    return data_dir("rtl") / "blackbox" / f"{NAME}.sv"


def latency() -> int:
    """Cycles from a call to its sums, as the module states it."""
    found = re.search(r"localparam int unsigned Latency = (\d+);", source().read_text())
    assert found is not None
    return int(found[1])


def verilog() -> tuple[str, dict[str, Any]]:
    """The module as one Verilog module, with instances of DSP48E2; its ports as Yosys has them in JSON, in order.

    Raises:
        ToolError: Yosys is not installed or fails.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # parameters of the primitive that the RTL does not name have its defaults
        named = set(re.findall(r"\.(\w+)\s*\(", (data_dir("rtl") / "matrix" / "dsp_slice.sv").read_text()))
        declared = re.findall(r"\bparameter\b[^=;]*?(\w+)\s*=", yosys.primitive_stub("DSP48E2"))
        unset = [f"setparam -unset {p} t:DSP48E2" for p in declared if p not in named]
        yosys.run(
            [
                yosys.read_command(yosys.sources(ArchConfig(), folder), NAME, {}),
                f"hierarchy -check -top {NAME}",
                "proc; flatten; pmuxtree; opt_clean -purge",
                *unset,
                f"write_json -selected {folder / 'ports.json'}",
                f"write_verilog -noattr {folder / 'module.v'}",
            ]
        )
        ports = json.loads((folder / "ports.json").read_text())["modules"][NAME]["ports"]
        return _ABOUT + (folder / "module.v").read_text(), ports


def resources() -> dict[str, int]:
    """What the module takes of a device, counted in its netlist.

    Raises:
        ToolError: Yosys is not installed or fails.
    """
    have = counts(yosys.synthesise(NAME, {}, wide_muxes=True))
    # block RAM in blocks of 18 Kb, as reports of Vitis HLS count it
    return {
        "FF": int(have["ff"]),
        "LUT": int(have["lut"]),
        "BRAM": int(2 * have["bram36"]),
        "URAM": int(have["uram"]),
        "DSP": int(have["dsp"]),
    }


def description(ports: Mapping[str, Any], used: Mapping[str, int]) -> dict[str, Any]:
    """The description for Vitis HLS (UG1399, "JSON File for RTL Blackbox"): ports from `verilog`, used from `resources`.

    A port that is no signal of the handshake is the argument of the same name; an output has a valid signal beside it.
    """
    arguments = []
    for name, port in ports.items():
        if name in SIGNALS.values() or name.endswith(VALID):
            continue
        if port["direction"] == "input":
            rtl = {"data_read_in": name}
        else:
            rtl = {"data_write_out": name, "data_write_valid": name + VALID}
        direction = {"input": "in", "output": "out"}[port["direction"]]
        arguments.append({"c_name": name, "c_port_direction": direction, "rtl_ports": rtl})
    return {
        "c_function_name": NAME,
        "rtl_top_module_name": NAME,
        "c_files": [{"c_file": f"{NAME}.cpp", "cflag": ""}],
        "rtl_files": [f"{NAME}.v"],
        "c_parameters": arguments,
        "rtl_common_signal": SIGNALS,
        "rtl_performance": {"latency": str(latency()), "II": "1"},
        "rtl_resource_usage": {name: str(n) for name, n in used.items()},
    }


def write_blackbox(folder: Path) -> Path:
    """Write Verilog, model, its headers and description to `folder`, which is made; path of the description.

    Raises:
        ToolError: Yosys is not installed or fails.
    """
    text, ports = verilog()
    described = description(ports, resources())
    headers = folder / "flightllm"
    headers.mkdir(parents=True, exist_ok=True)
    (folder / f"{NAME}.v").write_text(text)
    shutil.copyfile(data_dir("hls") / "blackbox" / f"{NAME}.cpp", folder / f"{NAME}.cpp")
    for name in HEADERS:
        shutil.copyfile(data_dir("hls") / "include" / "flightllm" / name, headers / name)
    path = folder / f"{NAME}.json"
    path.write_text(json.dumps(described, indent=2) + "\n")
    return path


def main(argv: list[str]) -> int:
    """Returns 1 if the files could not be made, 2 without a folder."""
    if len(argv) != 1 or argv[0].startswith("-"):
        print("usage: python -m flightllm.kernel.blackbox FOLDER", file=sys.stderr)
        return 2
    try:
        print(write_blackbox(Path(argv[0])))
    except FlightError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
