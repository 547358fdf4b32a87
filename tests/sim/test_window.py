"""A window of a run in RTL: with a stand-in that shares nothing with the functional executor but the package, and with the RTL."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from graphs import decoder
from lockstep.kernels_rtl import SMALL
from packages import build, small_arch

from flightllm.cli import main
from flightllm.errors import FlightError, ProgramError
from flightllm.executors.functional import FunctionalDevice
from flightllm.executors.rtl import RtlDevice
from flightllm.executors.rtl.window import Window, WindowDevice
from flightllm.runtime.device import open_device
from flightllm.sim.simulator import build_kernel

IDS = np.random.default_rng(5).integers(0, 70, 200).tolist()


class FakeRtl:
    """A functional executor with the RTL device's face: memory of all channels in one array, cycles = 100 a token."""

    flip = None  # (port, address) of a bit that is wrong after a run

    def __init__(self, options=None, **_):
        self.device, self.sim, self.runs, self.last = FunctionalDevice(), None, [], {}

    def load(self, package):
        self.device.load(package)
        memory = np.concatenate([core.mem for core in self.device.cores])
        c = package.manifest.arch.channels
        for k, core in enumerate(self.device.cores):
            core.mem = memory[k * c : (k + 1) * c]
        self.sim = SimpleNamespace(memory=memory)

    def run_chunk(self, ids, pos, nlog, masken):
        out = self.device.run_chunk(ids, pos, nlog, masken)
        self.runs.append((pos, len(ids)))
        self.last = {"cycles": 100 * len(ids)}
        if self.flip is not None:
            self.sim.memory[self.flip] ^= 1
        return out

    def reset(self):
        pass

    def close(self):
        self.sim = None


@pytest.fixture(scope="module", params=[(1, 4, 4), (2, 2, 4)], ids=["one core", "two cores"])
def package(request, tmp_path_factory):
    return build(decoder(), tmp_path_factory.mktemp("window") / "p.flpkg", small_arch(*request.param))


def feed(device, chunks):
    out, pos = [], 0
    for n in chunks:
        out.append(device.run_chunk(IDS[pos : pos + n], pos, n, n > 1))
        pos += n
    return np.concatenate(out)


def test_parse():
    assert Window.parse("500:4") == Window(500, 4)
    for text in ("500", "5:0", "-1:4", "a:b", "5:4:3", ""):
        with pytest.raises(FlightError, match="FIRST:COUNT"):
            Window.parse(text)


def test_which_runs_belong_to_it():
    window = Window(10, 5)
    assert [window.contains(pos, n) for pos, n in ((0, 10), (0, 11), (9, 1), (10, 1), (14, 9), (15, 1), (0, 99))] == [
        False,
        True,
        False,
        True,
        True,
        False,
        True,
    ]


def test_results_are_those_of_a_whole_run(package):
    """Before, in and after the window; the RTL sees the cache only through the checkpoint."""
    chunks = [20, 12, 1, 1, 1, 1, 8, 1]
    rtl = FakeRtl()
    device, alone = WindowDevice(Window(33, 2), rtl), FunctionalDevice()
    device.load(package)
    alone.load(package)
    assert rtl.sim is None, "not loaded before it is needed"
    assert np.array_equal(feed(device, chunks), feed(alone, chunks))
    assert rtl.runs == [(33, 1), (34, 1)]
    assert device.counters()["rtl_cycles"] == 200
    assert device.last is None
    assert "positions 33 to 34, 2 runs of the program, 200 cycles" in device.summary()


def test_each_way_into_the_window_takes_a_checkpoint(package):
    """A conversation that goes back behind the window and comes again, with other tokens."""
    rtl = FakeRtl()
    device = WindowDevice(Window(8, 4), rtl)
    device.load(package)
    feed(device, [6, 4])
    device.run_chunk(IDS[50:56], 0, 1, True)
    device.run_chunk(IDS[60:66], 6, 1, True)
    assert rtl.runs == [(6, 4), (6, 6)]


def test_a_difference_is_an_error(package):
    m = package.manifest
    for region in ("layers.1.attn.core.K", "logits"):
        rtl = FakeRtl()
        device = WindowDevice(Window(3, 1), rtl)
        device.load(package)
        feed(device, [3])
        rtl.flip = (1, m.region(region).addr + 200 if region == "logits" else m.region(region).addr + 1)
        with pytest.raises(ProgramError, match=f"run from position 3: core 0, {region}, byte .* of channel 1"):
            device.run_chunk(IDS[3:4], 3, 1, False)


def test_a_missing_checkpoint_is_seen(package, monkeypatch):
    """That the comparison notices a cache which was not copied: what this file's other tests rest on."""
    device = WindowDevice(Window(20, 1), FakeRtl())
    device.load(package)
    monkeypatch.setattr(WindowDevice, "_written", lambda self: [])
    with pytest.raises(ProgramError, match="logit"):
        feed(device, [20, 1])


def test_commands(package, monkeypatch):
    monkeypatch.setattr("flightllm.executors.rtl.RtlDevice", FakeRtl)
    call = CliRunner().invoke
    args = [
        "simulate",
        str(package.path),
        "--on",
        "rtl",
        "--prompt-tokens",
        "12",
        "--new-tokens",
        "3",
        "--rtl-window",
        "13:1",
    ]
    monkeypatch.setattr("flightllm.cli.simulate._report", lambda rows, arch: "")
    monkeypatch.setattr("flightllm.cli.simulate._units", lambda rows: "")
    done = call(main, args)
    assert done.exit_code == 0, done.output
    assert "positions 0 to 11: functional executor" in done.stdout
    assert "positions 13 to 13: 100 cycles" in done.stdout
    assert "measured in RTL: positions 13 to 13, 1 runs of the program, 100 cycles" in done.stdout
    report = json.loads(call(main, [*args, "--json"]).stdout)
    assert [r["pos"] for r in report["runs"]] == [13]
    assert report["rtl_window"] == {"first": 13, "count": 1, "measured": [{"pos": 13, "tokens": 1, "cycles": 100}]}
    done = call(main, [*args[:-1], "90:2"])
    assert "was not reached: nothing was measured in RTL" in done.stdout
    assert "give FIRST:COUNT" in call(main, [*args[:-1], "90"]).stderr


def test_run_says_what_was_measured(tmp_path, monkeypatch):
    from flightllm import api

    api.compile("tiny-austen", tmp_path / "a.flpkg", board="tiny")
    monkeypatch.setattr("flightllm.executors.rtl.RtlDevice", FakeRtl)
    args = ["run", str(tmp_path / "a.flpkg"), "--prompt", "It is a truth", "-n", "6"]
    call = CliRunner().invoke
    plain = call(main, args)
    prompt = json.loads(call(main, [*args, "--json"]).stdout)["prompt_tokens"]
    window = ["--on", "rtl", "--rtl-window", f"{prompt + 1}:2"]
    done = call(main, [*args, *window])
    assert done.stdout == plain.stdout
    assert f"measured in RTL: positions {prompt + 1} to {prompt + 2}, 2 runs of the program, 200 cycles" in done.stderr
    report = json.loads(call(main, [*args, *window, "--json"]).stdout)
    assert [r["pos"] for r in report["rtl_window"]["measured"]] == [prompt + 1, prompt + 2]
    assert call(main, [*args, "--rtl-window", "5:1"]).exit_code == 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None or shutil.which("perl") is None, reason="Verilator needs g++ and perl")
def test_on_the_rtl(tmp_path):
    """Positions 40 to 42 of a run in the RTL; the build is the one that the lock-step tests use."""
    package = build(decoder(), tmp_path / "p.flpkg", SMALL, {"default": {"weights": 4}})
    device = WindowDevice(Window(40, 3), RtlDevice(library=build_kernel(SMALL, probe=True)))
    device.load(package)
    alone = FunctionalDevice()
    alone.load(package)
    chunks = [32, 8, 1, 1, 1, 1, 4]
    assert np.array_equal(feed(device, chunks), feed(alone, chunks))
    assert [(r["pos"], r["tokens"]) for r in device.measured] == [(40, 1), (41, 1), (42, 1)]
    assert all(r["cycles"] > 1000 for r in device.measured)
    device.close()


def test_opened_by_name(package, monkeypatch):
    monkeypatch.setattr("flightllm.executors.rtl.RtlDevice", FakeRtl)
    device = open_device("rtl", package, rtl_window="7:2")
    assert isinstance(device, WindowDevice) and device.window == Window(7, 2)
