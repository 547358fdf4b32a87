"""`flightllm simulate` and `--on rtl`, with the stand-in kernel."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from kernels import ERROR, arch_of, expected_logits, package, standin

from flightllm.cli import main
from flightllm.executors.rtl import RtlDevice
from flightllm.runtime.device import open_device
from flightllm.sim.verilate import FST_HEADERS, has_header

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("g++") is None or shutil.which("perl") is None, reason="Verilator needs g++ and perl"
    ),
]
ARCH = arch_of()


class Beside:
    """In place of the functional executor: knows what the stand-in writes; flips a bit of row 0 if told to."""

    flip = 0

    def run_chunk(self, ids, pos, nlog, masken):
        bits = expected_logits(ARCH, ids, pos, nlog, masken)
        if nlog:
            bits[0, 7] ^= self.flip
        return bits.view(np.float32)


@pytest.fixture
def simulate(monkeypatch):
    monkeypatch.setattr("flightllm.executors.rtl.device.build_kernel", lambda arch, trace="", **_: standin(arch, trace))

    def call(*args):
        return CliRunner().invoke(main, ["simulate", "--on", "rtl", *map(str, args)], prog_name="flightllm")

    return call


def test_report(tmp_path, simulate):
    path = package(tmp_path / "p.flpkg", ARCH).path
    result = simulate(path, "--prompt-tokens", 20, "--new-tokens", 2, "--json")
    assert result.exit_code == 0, result.output
    runs = json.loads(result.stdout)["runs"]
    assert [(r["pos"], r["tokens"], r["prompt"]) for r in runs] == [
        (0, 16, True),
        (16, 4, True),
        (20, 1, False),
        (21, 1, False),
    ]
    assert [r["core0.ch1.written_bytes"] for r in runs] == [0, 64, 64, 64], (
        "logits of the last token of the prompt only"
    )
    slow = simulate(path, "--prompt-tokens", 20, "--new-tokens", 2, "--json", "--jitter", 500, "--stall", 0.3)
    assert sum(r["cycles"] for r in json.loads(slow.stdout)["runs"]) > 1.2 * sum(r["cycles"] for r in runs)
    text = simulate(path, "--prompt-tokens", 3, "--new-tokens", 0).stdout
    assert "positions 0 to 2: " in text
    unit = next(line.split() for line in text.splitlines() if line.startswith("Q "))
    assert unit[1] == "100", "the sequencer is busy all the time"
    assert "one token at a time" not in text


def test_compare(tmp_path, simulate, monkeypatch):
    path = package(tmp_path / "p.flpkg", ARCH).path
    monkeypatch.setattr("flightllm.simulation.open_device", lambda name, package: Beside())
    result = simulate(path, "--compare")
    assert result.exit_code == 0, result.output
    assert "bit for bit" in result.stdout
    monkeypatch.setattr(Beside, "flip", 1)
    result = simulate(path, "--compare")
    assert result.exit_code == 1
    assert "disagree" in result.stderr
    assert "logit 7 of row 0, the first of 1 of 32" in result.stderr


def test_errors(tmp_path, simulate):
    path = package(tmp_path / "p.flpkg", ARCH, ERROR).path
    result = simulate(path)
    assert result.exit_code == 1
    assert "error: the kernel reports error 1 (illegal instruction)" in result.stderr
    assert "units: L idle" in result.stderr
    assert "is not one of" in simulate(path, "--on", "functional").stderr
    assert "has room for 65536" in simulate(path, "--prompt-tokens", 70000).stderr
    assert "ends in .vcd" in simulate(path, "--trace", tmp_path / "a.txt").stderr


def read_vcd(path):
    """(time -> value of each signal from then on, by its full name) of a VCD file, and all its times."""
    names, scope, changes, times = {}, [], {}, []
    for line in path.read_text().splitlines():
        words = line.split()
        if line.startswith("$scope") or " $scope" in line:
            scope.append(words[2])
        elif line.strip().startswith("$upscope"):
            scope.pop()
        elif line.strip().startswith("$var"):
            names.setdefault(words[3], []).append(".".join([*scope, words[4]]))
        elif line.startswith("#"):
            times.append(int(line[1:]))
        elif words and times and line[0] in "01b":
            value, code = (line[0], line[1:]) if line[0] != "b" else (words[0][1:], words[1])
            for name in names[code]:
                changes.setdefault(name, {})[times[-1]] = int(value, 2)
    return changes, times


def read_fst(path):
    """The same of an FST file."""
    pywellen = pytest.importorskip("pywellen", reason="reads FST files: pip install pywellen")
    wave = pywellen.Waveform(str(path))
    changes = {}
    for var in wave.all_vars():
        known = changes[var.full_name] = {}
        wave.stream_changes(lambda time, _, value, known=known: known.__setitem__(time, value), [var])
    return changes, sorted({time for known in changes.values() for time in known})


@pytest.mark.parametrize("kind", ["vcd", "fst"])
def test_trace_window(kind, tmp_path, simulate):
    """100 cycles from cycle 150 of the runs: times, the clock, and ports whose values must be there."""
    path = package(tmp_path / "p.flpkg", ARCH).path
    if kind == "fst" and not all(map(has_header, FST_HEADERS)):
        assert "apt-get install" in simulate(path, "--trace", tmp_path / "t.fst").stderr
        return
    trace = tmp_path / f"t.{kind}"
    result = simulate(path, "--trace", trace, "--trace-from", 150, "--trace-cycles", 100, "--new-tokens", 4)
    assert result.exit_code == 0, result.output
    changes, stamps = (read_vcd if kind == "vcd" else read_fst)(trace)
    ran = sum(r["cycles"] for r in json.loads(simulate(path, "--new-tokens", 4, "--json").stdout)["runs"])
    assert ran > 250
    assert stamps[-1] - stamps[0] >= 199, "100 cycles, and register accesses if a run ends between them"
    assert stamps[-1] - stamps[0] < 1000
    assert stamps[0] >= 300
    clock = next(v for name, v in changes.items() if name.endswith("clk_i"))
    assert [clock[t] for t in stamps[:100]] == [0, 1] * 50
    valid = next(v for name, v in changes.items() if name.endswith("m_axi_arvalid_o"))
    assert len(set(valid.values())) > 1, "something is read from memory meanwhile"
    assert any(name.endswith("m_axi_araddr_o") for name in changes)


def test_missing_headers(tmp_path, monkeypatch, simulate):
    """The message names the Debian packages, before anything is built."""
    monkeypatch.setenv("FLIGHTLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("flightllm.sim.verilate.has_header", lambda name: name == "zlib.h")
    result = simulate(package(tmp_path / "p.flpkg", ARCH).path, "--trace", tmp_path / "t.fst")
    assert result.exit_code == 1
    assert "g++ does not find lz4.h" in result.stderr
    assert "apt-get install liblz4-dev, or trace to a .vcd file" in result.stderr


def test_opened_by_name(tmp_path, simulate):
    device = open_device("rtl", package(tmp_path / "p.flpkg", ARCH))
    assert isinstance(device, RtlDevice)
    assert device.run_chunk([3], 4, 1, False).view(np.uint32)[0, 0] >> 16 == 7
