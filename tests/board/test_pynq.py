"""tiny-austen through unmodified pynq 3.0.1 on a simulated card whose kernel is the Verilated RTL, or the one made from HLS. pynq has an environment, and here a process, of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from whole.generation import Case, config

from flightllm import compile as compile_model
from flightllm.config.board import load_board
from flightllm.executors.functional import FunctionalDevice
from flightllm.executors.hls.build import build_hls
from flightllm.kernel import signature
from flightllm.runtime.model import Model
from flightllm.sim.card import make_xclbin
from flightllm.sim.simulator import build_kernel

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("FLIGHTLLM_PYNQ", ROOT / ".venv-pynq")) / "bin" / "python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON.with_name("pip").exists(), reason="no environment with pynq 3.0.1: make .venv-pynq/.installed"
    ),
    pytest.mark.skipif(
        shutil.which("g++") is None or shutil.which("perl") is None, reason="Verilator needs g++ and perl"
    ),
]
#: two cores of two channels, formats that differ from layer to layer; other tests build the same kernel
CASE = Case(2, 2, 4, ("mixed", "two passes", "2:16", "4:16"), 4, "window")
PROMPT, NEW = "It was a truth", 5
KERNELS = ("rtl", "hls")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What on_pynq.py wants, and what it has to find out."""
    folder = tmp_path_factory.mktemp("pynq")
    package = CASE.package(folder / "p.flpkg")
    arch = package.manifest.arch
    assert arch == config(2, 2, 4)
    make_xclbin(folder / "card.xclbin", arch)
    other = replace(arch, vpus=8, w_ring_bytes=32768)
    make_xclbin(folder / "other.xclbin", other)
    # the container does not tell, and one that has more ports than the package wants
    make_xclbin(folder / "silent.xclbin", replace(arch, channels=1), tells=False)
    make_xclbin(folder / "small.xclbin", arch, bank_bytes=64 << 10)
    make_xclbin(folder / "loose.xclbin", arch, wires={3: None})
    make_xclbin(folder / "absent.xclbin", arch, wires={3: 17})
    (folder / "rtl.txt").write_text(str(build_kernel(arch)))
    (folder / "hls.txt").write_text(str(build_hls(arch)))
    model = Model.open(package, on="functional")
    prompt = model.tokenizer.encode(PROMPT)
    pieces = list(model.stream(prompt, NEW))
    (folder / "ids.json").write_text(json.dumps({"prompt": prompt, "new": NEW}))
    return folder, package, prompt, pieces


def run(*command, **environment):
    """Output of a command in the environment with pynq; fails with what it said."""
    done = subprocess.run(
        [str(PYTHON), *map(str, command)],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
    )
    return done


def scenario(folder, name, kernel="rtl"):
    done = run(Path(__file__).with_name("on_pynq.py"), name, folder, kernel)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kernel", KERNELS)
def test_same_text_and_the_same_logits(folder, kernel):
    folder, package, prompt, pieces = folder
    got = scenario(folder, "generate", kernel)
    assert got["pieces"] == pieces
    functional = FunctionalDevice()
    functional.load(package)
    ids = got["ids"]
    rows = [functional.run_chunk(prompt, 0, len(prompt), True)]
    rows += [functional.run_chunk([i], len(prompt) + n, 1, False) for n, i in enumerate(ids[:-1])]
    want, logits = np.concatenate(rows), np.load(folder / "logits.npy")
    assert logits.shape == want.shape == (len(prompt) + NEW - 1, package.manifest.model.vocab)
    assert np.array_equal(logits.view(np.uint32), want.view(np.uint32))
    assert got["programmed"] == 1, "two conversations, one load"
    assert got["used"] == {"Overlay.__init__": 1, "pynq.allocate": 4}
    assert got["counters"]["chunks"] == 2 * (1 + NEW - 1)
    assert kernel == "hls" or got["counters"]["last.core1.M.busy"] > 0
    banks = [(p["port"], p["bank"], p["address"]) for p in got["placements"]]
    assert banks == [(signature.memory_port(p), f"HBM[{p}]", p * package.manifest.arch.channel_bytes) for p in range(4)]
    assert got["versions"][0] == "3.0.1" and got["versions"][1].startswith("1.")


def good(got, pieces):
    """The runs after the error are as if nothing had been."""
    assert set(got["texts"]) == {"".join(pieces)}


def test_axi_errors(folder):
    got = scenario(folder[0], "cut")
    for error, core in zip(got["errors"], (0, 1), strict=True):
        assert f"the kernel reports error 2 (AXI read error) in core {core}" in error["text"]
        assert "core 1: pc" in error["text"] and "units: L" in error["text"] and "rings: W" in error["text"]
        assert error["seconds"] < 60
    good(got, folder[3])
    assert got["first"] == got["texts"][0]
    assert got["programmed"] == 1, "a reset of the cores is enough"


def test_axi_errors_of_a_kernel_that_does_not_see_them(folder):
    """One made from HLS waits for the rest of its data, and has no reset: the time-out ends it, and the card is programmed again."""
    got = scenario(folder[0], "cut", "hls")
    for error in got["errors"]:
        assert error["text"].startswith("the kernel did not end within 5 s")
        assert "made from HLS does not tell the state of its units" in error["text"]
        assert 5 <= error["seconds"] < 60
    good(got, folder[3])
    assert got["programmed"] == 3


def test_a_kernel_that_never_ends(folder):
    got = scenario(folder[0], "endless")
    (error,) = got["errors"]
    assert error["text"].startswith("the kernel did not end within 3 s") and "core 1: pc 1: " in error["text"]
    assert 3 <= error["seconds"] < 60
    good(got, folder[3])
    assert got["programmed"] == 1


@pytest.mark.parametrize("kernel", KERNELS)
def test_wired_to_other_banks_than_the_container_says(folder, kernel):
    got = scenario(folder[0], "wired", kernel)
    (error,) = got["errors"]
    assert "the kernel reports error 2 (AXI read error) in core 0" in error["text"] and error["seconds"] < 60
    good(got, folder[3])


def test_containers_that_are_refused(folder):
    got = scenario(folder[0], "refused")
    errors = got["errors"]
    assert errors["other"]["kind"] == "ConfigError"
    assert (
        "VPUs of an MPU (Vpus): 8, not 4; weight ring, bytes of a channel (WRingBytes): 32768, not 8192"
        in errors["other"]["text"]
    )
    assert "argument mem2 of the kernel" in errors["silent"]["text"]
    assert errors["small"]["kind"] == "FitError"
    assert "HBM[0], behind m_axi_gmem0" in errors["small"]["text"] and "it has 65,536" in errors["small"]["text"]
    assert "port m_axi_gmem3 of the kernel reaches no memory" in errors["loose"]["text"]
    assert "m_axi_gmem3 of the kernel is connected to a memory that is not there" in errors["absent"]["text"]
    assert all(e["seconds"] < 60 and "do:" in e["text"] for e in errors.values())
    good(got, folder[3])
    assert got["programmed"] == 1, "the card was not touched for any of them"


def test_command_line(folder):
    folder, _, _, pieces = folder
    card = {"FLIGHTLLM_CARD": f"rtl:{(folder / 'rtl.txt').read_text()}"}
    xclbin = ["--xclbin", folder / "card.xclbin"]
    listed = run("-m", "flightllm", "board", **card)
    assert "0  flightllm_simulated_card_1  pynq" in listed.stdout
    probed = run("-m", "flightllm", "board", folder / "p.flpkg", *xclbin, "--probe", "--json", **card)
    data = json.loads(probed.stdout)
    assert (probed.returncode, data["matches"], data["answer"]["idle"]) == (0, True, True)
    assert data["answer"]["build"] == {"cores": 2, "channels": 2, "vpus": 4, "lanes": 8}
    wrong = run("-m", "flightllm", "board", folder / "p.flpkg", "--xclbin", folder / "other.xclbin", **card)
    assert wrong.returncode == 1 and "does not run on it" in wrong.stdout and "(Vpus): 8, not 4" in wrong.stdout
    done = run(
        "-m",
        "flightllm",
        "run",
        folder / "p.flpkg",
        "--on",
        "board",
        *xclbin,
        "--timeout",
        60,
        "-p",
        PROMPT,
        "-n",
        NEW,
        **card,
    )
    assert done.stdout == "".join(pieces) + "\n"
    assert done.stderr.startswith("memory map: port, bank, address, size\n  m_axi_gmem0  HBM[0] ")
    none = run("-m", "flightllm", "run", folder / "p.flpkg", "--on", "board", *xclbin, "-p", PROMPT)
    assert none.returncode == 1 and "no card was found" in none.stderr


def test_the_config_of_the_u280(tmp_path):
    """32 ports in 32 banks of 256 MB, the kernel being the one made from HLS: the RTL of this size takes too long to build."""
    arch = load_board("u280").arch
    package = tmp_path / "u280.flpkg"
    compile_model("tiny-austen", package, board="u280", weights=4)
    make_xclbin(tmp_path / "u280.xclbin", arch)
    options = ["-p", PROMPT, "-n", 20]
    card = ["--on", "board", "--xclbin", tmp_path / "u280.xclbin", "--timeout", 60]
    done = run("-m", "flightllm", "run", package, *card, *options, FLIGHTLLM_CARD=f"hls:{build_hls(arch)}")
    assert done.stdout == run("-m", "flightllm", "run", package, *options).stdout != ""
    lines = done.stderr.splitlines()
    assert len(lines) == 33 and lines[-1].split()[:3] == ["m_axi_gmem31", "HBM[31]", hex(31 << 28)]


def test_run_on_numpy_1(folder):
    """The functional executor, in the environment that has neither the compiler's packages nor numpy 2."""
    done = run("-m", "flightllm", "run", folder[0] / "p.flpkg", "-p", PROMPT, "-n", NEW)
    assert done.stdout == "".join(folder[3]) + "\n", done.stderr


@pytest.mark.long
def test_whole_generation(folder):
    """A hundred tokens, as `make demo` prints them."""
    folder, package, _, _ = folder
    card = {"FLIGHTLLM_CARD": f"rtl:{(folder / 'rtl.txt').read_text()}"}
    options = ["-p", PROMPT, "-n", 100, "--temperature", 0.8, "--seed", 7]
    done = run(
        "-m",
        "flightllm",
        "run",
        package.path,
        "--on",
        "board",
        "--xclbin",
        folder / "card.xclbin",
        "--timeout",
        60,
        *options,
        **card,
    )
    assert done.stdout == run("-m", "flightllm", "run", package.path, *options).stdout != ""
