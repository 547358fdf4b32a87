"""The Makefiles, run by make with stand-ins for the vendor's programs that say what they were called with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

FAKE = """#!/bin/sh
echo "$(basename "$0") $*" >>"$FAKE_LOG"
for last; do
  if [ "$previous" = -o ] || [ "$previous" = --output ]; then : >"$last"; fi
  previous=$last
done
case "$*" in
  *package_kernel.tcl*) mkdir -p build/ip/flightllm && : >build/flightllm.xo && : >build/ip/flightllm/component.xml ;;
  *design.tcl*) : >build/flightllm.pdi && : >build/flightllm.bit ;;
  *"--mode hls"*) mkdir -p build/hls/hls/impl/ip && : >build/flightllm.xo && : >build/hls/hls/impl/ip/component.xml ;;
esac
"""
PROGRAMS = ("v++", "vivado", "xclbinutil", "emconfigutil")


@pytest.fixture
def make(tmp_path):
    """(project, arguments, programs on PATH) -> (exit code, output, calls of programs)."""

    def run(folder, *arguments, programs=PROGRAMS):
        copy = tmp_path / "project"
        if not copy.exists():
            shutil.copytree(folder, copy)
        tools = tmp_path / f"tools{len(programs)}"
        tools.mkdir(exist_ok=True)
        for name in ("mkdir", "cp", "rm", "sh", "basename", "make"):
            if not (tools / name).exists():
                (tools / name).symlink_to(shutil.which(name))
        for name in programs:
            (tools / name).write_text(FAKE)
            (tools / name).chmod(0o755)
        log = tmp_path / "log"
        log.write_text("")
        env = {
            "PATH": str(tools),
            "FAKE_LOG": str(log),
            "PLATFORM_REPO_PATHS": "/somewhere",
            "HOME": os.environ.get("HOME", "/"),
        }
        done = subprocess.run(
            ["make", *arguments], cwd=copy, env=env, capture_output=True, text=True, check=False, timeout=60
        )
        return done.returncode, done.stdout + done.stderr, log.read_text().splitlines()

    return run


def test_dry_run_of_an_xclbin(project, make):
    code, output, calls = make(project("u280"), "-n", "xclbin")
    assert (code, calls) == (0, [])
    lines = [line for line in output.splitlines() if line.startswith(("v++", "vivado", "xclbinutil", "cp"))]
    assert [line.split()[0] for line in lines] == ["vivado", "v++", "xclbinutil", "cp"]
    link = lines[1]
    assert "-t hw --config link.cfg" in link and link.endswith("-o build/hw/linked.xclbin build/flightllm.xo")
    assert "run.impl_1.STEPS.PLACE_DESIGN.TCL.PRE=/" in link and "/scripts/floorplan.tcl" in link
    code, output, _ = make(project("u280"), "-n", "xclbin", "TARGET=hw_emu")
    assert code == 0
    assert "-t hw_emu" in output and "TCL.PRE" not in output  # emulation places nothing


def test_an_xclbin_with_its_metadata(project, make, tmp_path):
    code, output, calls = make(project("u280"), "xclbin")
    assert code == 0, output
    assert [call.split()[0] for call in calls] == ["vivado", "v++", "xclbinutil"]
    assert "--add-replace-section USER_METADATA:RAW:flightllm.xclbin.json" in calls[2]
    out = tmp_path / "project" / "build" / "hw"
    assert (out / "flightllm.xclbin").is_file()
    assert json.loads((out / "flightllm.xclbin.json").read_text())["flavour"] == "rtl"
    # nothing is made again, and clean leaves the project as it was written
    assert make(project("u280"), "xclbin")[2] == []
    assert make(project("u280"), "clean")[0] == 0
    left = {p.relative_to(tmp_path / "project") for p in (tmp_path / "project").rglob("*")}
    assert left == {p.relative_to(project("u280")) for p in project("u280").rglob("*")}


def test_emulation(project, make):
    code, output, calls = make(project("u50"), "xclbin", "emconfig", "TARGET=hw_emu")
    assert code == 0, output
    assert calls[-1].startswith("emconfigutil --platform xilinx_u50_gen3x16_xdma_5_202210_1")
    code, output, _ = make(project("u50"), "xclbin", "TARGET=sw_emu")
    assert code != 0 and "take hw" in output


@pytest.mark.parametrize("board", ["u280", "vhk158", "kv260"])
def test_kernel_from_hls(project, make, board):
    code, output, calls = make(project(board, "hls"), "xclbin" if board == "u280" else "image")
    assert code == 0, output
    assert calls[0] == "v++ -c --mode hls --config hls_config.cfg --work_dir build/hls"
    assert not any("package_kernel" in call for call in calls)


@pytest.mark.parametrize(("board", "image"), [("vhk158", "flightllm.pdi"), ("kv260", "flightllm.bit")])
def test_block_designs(project, make, tmp_path, board, image):
    code, output, calls = make(project(board), "image", "JOBS=2")
    assert code == 0, output
    assert [call.split("-source ")[1] for call in calls] == [
        "scripts/package_kernel.tcl",
        "scripts/design.tcl -tclargs 2",
    ]
    assert (tmp_path / "project" / "build" / f"{image}.json").is_file()


@pytest.mark.parametrize(
    ("board", "target", "missing", "advice"),
    [
        ("u280", "xclbin", "v++", "settings64.sh of Vitis 2023.2"),
        ("u280", "xo", "vivado", "settings64.sh"),
        ("u280", "check", "xclbinutil", "setup.sh of the Xilinx runtime"),
        ("vhk158", "image", "vivado", "settings64.sh of Vitis 2024.1"),
        ("kv260", "ip", "vivado", "settings64.sh"),
    ],
)
def test_a_missing_tool_is_named_before_anything_runs(project, make, board, target, missing, advice):
    code, output, calls = make(project(board), target, programs=[p for p in PROGRAMS if p != missing])
    assert code != 0
    assert f"{missing} is not on PATH" in output and advice in output
    assert calls == []


@pytest.mark.parametrize("board", ["u280", "vhk158"])
def test_help_is_the_default(project, make, board):
    code, output, calls = make(project(board))
    assert code == 0 and "make check" in output and calls == []
