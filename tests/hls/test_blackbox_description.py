"""The description of the black box against the rules of UG1399, the ports of its Verilog, the signature in C++ and the files beside it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from flightllm.config.paths import data_dir
from flightllm.executors.hls.build import ap_types, include_folders
from flightllm.kernel import blackbox
from flightllm.sim.verilate import environment
from flightllm.synth import yosys

#: rtl_ports of an argument that are taken here, by direction: wire, and ap_vld
PROTOCOLS = {"in": {"data_read_in"}, "out": {"data_write_out", "data_write_valid"}}
HANDSHAKE = {
    "module_clock": "input",
    "module_reset": "input",
    "module_clock_enable": "input",
    "ap_ctrl_chain_protocol_start": "input",
    "ap_ctrl_chain_protocol_continue": "input",
    "ap_ctrl_chain_protocol_ready": "output",
    "ap_ctrl_chain_protocol_done": "output",
    "ap_ctrl_chain_protocol_idle": "output",
}
RESOURCES = {"FF", "LUT", "BRAM", "URAM", "DSP"}
KEYS = {
    "c_function_name", "rtl_top_module_name", "c_files", "rtl_files", "c_parameters", "rtl_common_signal", "rtl_performance",
    "rtl_resource_usage",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    pytest.importorskip("pyosys")
    path = tmp_path_factory.mktemp("blackbox") / "made" / "here"
    assert blackbox.write_blackbox(path) == path / "csd_chain_blackbox.json"
    return path


@pytest.fixture(scope="module")
def described(folder) -> dict:
    return json.loads((folder / "csd_chain_blackbox.json").read_text())


@pytest.fixture(scope="module")
def ports(folder) -> dict[str, tuple[str, int]]:
    """Port -> direction and bits, from the Verilog file alone."""
    out = folder / "ports.json"
    yosys.run([f"read_verilog {folder / 'csd_chain_blackbox.v'}", "proc", f"write_json {out}"])
    modules = json.loads(out.read_text())["modules"]
    assert set(modules) == {"csd_chain_blackbox"}, "one module, and no model of a primitive"
    return {n: (p["direction"], len(p["bits"])) for n, p in modules["csd_chain_blackbox"]["ports"].items()}


def signature(text: str) -> list[tuple[str, int, bool]]:
    """Arguments of the function as declared or defined in `text`: name, bits, reference. Plain ap_uint only, no template, one function."""
    code = re.sub(r"//.*", "", text)
    assert "template" not in code
    found = re.findall(r"^void csd_chain_blackbox\(([^)]*)\)", code, re.MULTILINE)
    assert len(found) == 1
    arguments = []
    for argument in found[0].split(","):
        m = re.fullmatch(r"\s*ap_uint<(\d+)>(&?) (\w+)\s*", argument)
        assert m, argument
        arguments.append((m[3], int(m[1]), m[2] == "&"))
    return arguments


def number(text) -> int:
    assert isinstance(text, str), "numbers are strings"
    assert re.fullmatch(r"0|[1-9]\d*", text), text
    return int(text)


def test_form(described):
    assert set(described) == KEYS  # a void function has no c_return
    assert described["c_function_name"] == described["rtl_top_module_name"] == "csd_chain_blackbox"
    for p in described["c_parameters"]:
        assert set(p) == {"c_name", "c_port_direction", "rtl_ports"}
        assert set(p["rtl_ports"]) == PROTOCOLS[p["c_port_direction"]]
    assert set(described["rtl_common_signal"]) == set(HANDSHAKE)
    assert set(described["rtl_performance"]) == {"latency", "II"}
    assert number(described["rtl_performance"]["latency"]) > 0
    assert number(described["rtl_performance"]["II"]) == 1
    assert set(described["rtl_resource_usage"]) == RESOURCES
    used = {name: number(n) for name, n in described["rtl_resource_usage"].items()}
    assert used["DSP"] == 16
    assert used["FF"] > 0
    assert used["LUT"] > 0


def test_files_are_beside_it(described, folder):
    assert [set(f) for f in described["c_files"]] == [{"c_file", "cflag"}]
    names = [f["c_file"] for f in described["c_files"]] + described["rtl_files"]
    assert all(not Path(n).is_absolute() and (folder / n).is_file() for n in names)
    assert all(n.endswith(".v") for n in described["rtl_files"]), "Verilog, not SystemVerilog"


def test_every_port_is_named_once(described, ports):
    named = [*described["rtl_common_signal"].values()]
    for p in described["c_parameters"]:
        named += p["rtl_ports"].values()
    assert sorted(named) == sorted(ports)
    for attribute, port in described["rtl_common_signal"].items():
        assert ports[port] == (HANDSHAKE[attribute], 1), attribute


def test_ports_fit_the_function(described, ports):
    arguments = signature((include_folders()[0] / "flightllm" / "csd_chain_blackbox.hpp").read_text())
    assert [p["c_name"] for p in described["c_parameters"]] == [name for name, _, _ in arguments]
    for p, (_, bits, reference) in zip(described["c_parameters"], arguments, strict=True):
        assert reference == (p["c_port_direction"] == "out")
        if reference:
            assert ports[p["rtl_ports"]["data_write_out"]] == ("output", bits)
            assert ports[p["rtl_ports"]["data_write_valid"]] == ("output", 1)
        else:
            assert ports[p["rtl_ports"]["data_read_in"]] == ("input", bits)


def test_model_stands_alone(described, folder):
    """The C++ file has the function that the header declares, and compiles in its folder with nothing but ap_int.h."""
    (file,) = (folder / f["c_file"] for f in described["c_files"])
    header = folder / "flightllm" / "csd_chain_blackbox.hpp"
    assert signature(file.read_text()) == signature(header.read_text())
    command = ["g++", "-std=c++17", "-fsyntax-only", "-Wno-unknown-pragmas", "-isystem", str(ap_types()), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=folder)
    assert done.returncode == 0, done.stderr


def test_verilog_states_the_primitive(folder):
    """16 DSPs, in Verilog 2005; what is stated of them is what the simulation model of rtl/ has."""
    file = folder / "csd_chain_blackbox.v"
    assert len(re.findall(r"^  DSP48E2 #", file.read_text(), re.MULTILINE)) == 16
    command = [
        "verilator",
        "--lint-only",
        "-Wno-WIDTH",
        "+1364-2005ext+v",
        "--top-module",
        "csd_chain_blackbox",
        str(file),
    ]
    command.append(str(data_dir("rtl") / "matrix" / "DSP48E2.sv"))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment())
    assert done.returncode == 0, done.stderr


def test_command_line(capsys):
    assert blackbox.main([]) == 2
    assert blackbox.main(["--help"]) == 2
    assert "usage" in capsys.readouterr().err
