"""The kernel's wrapper and all sources of a project: Verilator's lint and slang's elaboration, as for the RTL itself."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from flightllm.config.paths import data_dir
from flightllm.errors import ToolError
from flightllm.sim.verilate import environment
from flightllm.synth import yosys

#: fits every board and is quick to elaborate
SMALL = {"channels": 2, "vpus": 4, "lanes": 4, "w_ring_bytes": 16384, "vb_elements": 65536, "ab_windows": 4096}


def sources(folder):
    """The files that the packaging script reads, in its order."""
    script = (folder / "scripts" / "package_kernel.tcl").read_text()
    return [folder / name for name in re.findall(r"\[file join \$root (rtl/\S+)\]", script)]


def lint(top, files):
    """What Verilator says; the model stands in for the primitive of the device."""
    model = data_dir("rtl") / "matrix" / "DSP48E2.sv"
    command = ["verilator", "--lint-only", "-Wall", "--top-module", top, str(data_dir("rtl") / "lint.vlt"), str(model)]
    done = subprocess.run(
        [*command, *map(str, files)], env=environment(), capture_output=True, text=True, timeout=600, check=False
    )
    return done.stderr.strip()


def elaborate(top, files, tmp_path):
    """slang, through Yosys; ToolError if it does not elaborate."""
    stub = tmp_path / "DSP48E2.sv"
    stub.write_text(yosys.primitive_stub("DSP48E2"))
    yosys.run([yosys.read_command([*files, stub], top, {}, (), "--ast-compilation-only")])


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"cores": 2, "port_bits": 256}])
def test_verilator_has_no_complaint(project, changes):
    assert lint("flightllm", sources(project("u280", **SMALL, **changes))) == ""


@pytest.mark.parametrize("board", ["u280", "u50", "vhk158", "kv260"])
def test_slang_elaborates_the_boards_own_configs(project, tmp_path, board):
    elaborate("flightllm", sources(project(board)), tmp_path)


def test_ports_stand_in_the_order_of_the_rtl(project):
    """Element p of every packed array is port p: in a concatenation the last one comes first. No lint sees that."""
    text = (project("u280") / "rtl" / "flightllm.v").read_text()
    lists = re.findall(r"\.m_axi_(\w+)_[io]\(\{(.*?)\}\)", text, re.DOTALL)
    assert len(lists) == 25
    for signal, names in lists:
        assert names.replace(" ", "").split(",") == [f"m_axi_gmem{p}_{signal}" for p in reversed(range(32))]
    assert re.findall(r"assign m_axi_gmem7_(\w+) = (\S+);", text) == [
        (f"a{kind}{name}", value)
        for kind in "rw"
        for name, value in (
            ("size", "3'd6"), ("burst", "2'b01"), ("lock", "1'b0"), ("cache", "4'b0011"), ("prot", "3'b000"), ("qos", "4'b0000"),
        )
    ]  # fmt: skip


@pytest.mark.parametrize("board", ["vhk158", "kv260"])
def test_axi_parts_in_its_wrapper(project, tmp_path, board):
    files = [project(board) / "rtl" / name for name in ("fifo.sv", "axi_parts.sv", "axi_parts0_ip.v")]
    assert lint("axi_parts0_ip", files) == ""
    elaborate("axi_parts0_ip", files, tmp_path)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("flightllm.v", ".m_axi_rlast_i(", ".m_axi_rlst_i("),  # no such port
        ("flightllm.v", "{m_axi_gmem1_araddr, m_axi_gmem0_araddr}", "{m_axi_gmem1_arlen, m_axi_gmem0_araddr}"),  # width
        ("flightllm_config_pkg.sv", "Vpus", "Vpu"),
        ("fifo.sv", "module fifo", "module fifa"),
    ],
)
def test_a_wrong_project_does_not_pass(project, tmp_path, file, old, new):
    copy = shutil.copytree(project("u280", **SMALL), tmp_path / "copy")
    path = copy / "rtl" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    try:
        elaborate("flightllm", sources(copy), tmp_path)
    except ToolError:
        return
    assert "WIDTH" in lint("flightllm", sources(copy)) or "ASSIGN" in lint("flightllm", sources(copy))
