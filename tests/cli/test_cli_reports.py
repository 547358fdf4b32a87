"""eval, inspect, compile, check, doctor, boards: what they pass on and what they print."""

import json
import sys
import types
from typing import NamedTuple

import numpy as np
import pytest

from flightllm.config.arch import ArchConfig
from flightllm.package import Package
from flightllm.runtime.model import Model

TEXT = "It is a truth universally acknowledged, that a single man in possession of a good fortune. " * 4


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def fake_module(monkeypatch, name, **content):
    module = types.ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)
    parent, _, child = name.rpartition(".")
    if parent in sys.modules:
        monkeypatch.setattr(sys.modules[parent], child, module, raising=False)


def test_eval(flightllm, package, text):
    want = Model.open(package).perplexity(TEXT, windows=3, tokens=20)
    args = ["eval", package, text, "--windows", 3, "--tokens", 20]
    data = json.loads(flightllm(*args, "--json").stdout)
    assert data["name"] == "fake"
    assert data["package"]["perplexity"] == want.value
    assert (data["package"]["windows"], data["package"]["tokens"]) == (3, 20)
    assert "ratio" not in data
    shown = flightllm(*args)
    assert "57 predictions" in shown.stdout
    assert f"{want.value:,.3f}" in shown.stdout


def test_eval_against_the_uncompressed_model(flightllm, package, text, monkeypatch):
    """A reference that knows nothing has the vocabulary as its perplexity."""
    seen = []
    graph = types.SimpleNamespace(info=types.SimpleNamespace(vocab=258))
    monkeypatch.setattr("flightllm.api.load_graph", lambda model: graph if model == "a-model" else None)

    def evaluate(graph, ids):
        seen.append((graph, len(ids)))
        return np.zeros((len(ids), 258), np.float32)

    fake_module(monkeypatch, "flightllm.ir.reference", evaluate=evaluate)
    args = ["eval", package, text, "--windows", 2, "--tokens", 9, "--reference", "a-model"]
    data = json.loads(flightllm(*args, "--json").stdout)
    assert data["reference"]["perplexity"] == pytest.approx(258)
    assert data["ratio"] == pytest.approx(data["package"]["perplexity"] / 258)
    assert seen == [(graph, 9)] * 2
    assert f"ratio {data['ratio']:.4f}" in flightllm(*args).stdout
    graph.info.vocab = 1000
    result = flightllm(*args)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "a vocabulary of 1,000, the package one of 258" in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--windows", 100, "--tokens", 20], "too short"),
        (["--tokens", 100], "context is 64 tokens"),
        (["--tokens", 1], "at least 2 tokens"),
        (["--reference", "nothing-here"], "no such model"),
    ],
)
def test_eval_errors(flightllm, package, text, args, message):
    result = flightllm("eval", package, text, *args)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr


def test_eval_without_text(flightllm, package, tmp_path):
    assert "cannot be read" in flightllm("eval", package, tmp_path / "none.txt").stderr
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\xff")
    assert "utf-8" in flightllm("eval", package, tmp_path / "bad.txt").stderr


def test_inspect_summary(flightllm, package):
    out = flightllm("inspect", package).stdout
    for piece in (
        "llama, 2 layers",
        "5.250 (scales",
        "3 instructions, 192 B",
        "2 x 256 B = 512 B",
        "64 tokens (model: 4,096)",
    ):
        assert piece in out


def test_inspect_parts(flightllm, package):
    memory = flightllm("inspect", package, "--memory").stdout
    assert "0x00001000  0x00004000" in memory
    assert "lm_head" not in memory
    assert "4b g32 affine" in flightllm("inspect", package, "--tensors").stdout
    both = flightllm("inspect", package, "--tensors", "--memory").stdout
    assert "4b g32 affine" in both
    assert "0x00001000" in both


def test_inspect_listing(flightllm, package, monkeypatch):
    opened = Package.open(package)

    def disassemble(program, symbols, sections):
        assert (program, symbols, sections) == (opened.program, opened.manifest.symbols(), {})
        return "0 NOP\n1 HALT\n"

    fake_module(monkeypatch, "flightllm.isa", disassemble=disassemble)
    assert flightllm("inspect", package, "--listing").stdout == "0 NOP\n1 HALT\n"
    data = json.loads(flightllm("inspect", package, "--listing", "--json").stdout)
    assert data["listing"] == ["0 NOP", "1 HALT"]
    assert data["limits"] == {"max_chunk": 8, "max_context": 64, "block": 0}


def test_inspect_verify(flightllm, package):
    result = flightllm("inspect", package, "--verify")
    assert result.exit_code == 0
    assert "llama, 2 layers" in result.stdout
    assert result.stdout.endswith("verified: the checksums of all 5 files agree\n")
    assert json.loads(flightllm("inspect", package, "--verify", "--json").stdout)["verified"] is True
    image = Package.open(package).path / "core0.ch0.bin"
    image.write_bytes(b"\1" + image.read_bytes()[1:])
    assert flightllm("inspect", package).exit_code == 0
    result = flightllm("inspect", package, "--verify")
    assert result.exit_code == 1
    assert "core0.ch0.bin" in result.stderr


class Report:
    supported = True

    def tables(self):
        return [("memory", ["name", "bytes"], [["weights", 1234567]]), ("", ["x"], [["y"]])]

    def render(self):
        return "fine\n"

    def to_json(self):
        return {"ok": self.supported}


@pytest.fixture
def compiler(monkeypatch, tmp_path):
    calls = []

    def compile_model(model, **options):
        calls.append((model, options))
        return Report()

    fake_module(monkeypatch, "flightllm.compiler", compile_model=compile_model)
    fake_module(monkeypatch, "flightllm.config.board", load_board=lambda name: Board(name, ArchConfig()))
    monkeypatch.setattr("flightllm.api.load_graph", lambda *args: args)
    fake_module(monkeypatch, "flightllm.compress", Recipe=FakeRecipe, parse_weights=lambda text: f"parsed {text}")
    (tmp_path / "m.gguf").write_text("")
    monkeypatch.chdir(tmp_path)
    return calls


class Board(NamedTuple):
    name: str
    arch: ArchConfig


class FakeRecipe(dict):
    @classmethod
    def from_options(cls, **options):
        return cls(options)

    @classmethod
    def load(cls, path, **options):
        return cls(options, path=str(path))


def test_compile_defaults(flightllm, compiler):
    result = flightllm("compile", "m.gguf", "--board", "u280")
    assert result.exit_code == 0, result.output
    (((model, seed), options),) = compiler
    assert (model.name, seed) == ("m.gguf", None)
    assert options["recipe"] == dict.fromkeys(["weights", "group", "sparsity", "kv", "calibrate", "calibrate_tokens"])
    assert options["output"].name == "m.flpkg"
    progress = options.pop("progress")
    progress("weights", 1, 3)
    wanted = {"board": Board("u280", ArchConfig()), "arch": ArchConfig(), "max_context": None, "force": False}
    assert {k: options[k] for k in wanted} == wanted
    assert "weights  1,234,567" in result.stdout


def test_compile_options(flightllm, compiler, tmp_path):
    (tmp_path / "arch.toml").write_text("channels = 8\nvpus = 12\nclock_mhz = 200\n")
    args = (
        "--weights 3.5 --group 64 --sparsity 8 --kv 4 --recipe r.toml --max-context 99 --synthetic 3 --force -o o.flpkg"
        " --calibrate text.txt --calibrate-tokens 512"
    )
    result = flightllm(
        "compile", "m.gguf", "--board", "b", *args.split(), "--arch", "arch.toml", "--set", "vpus=16", "--json"
    )
    assert json.loads(result.stdout) == {"ok": True}
    (((_, seed), options),) = compiler
    assert options["recipe"] == {"weights": "parsed 3.5", "group": 64, "sparsity": 8, "kv": 4, "path": "r.toml"} | {
        "calibrate": "text.txt",
        "calibrate_tokens": 512,
    }
    assert options["arch"] == ArchConfig(channels=8, vpus=16, clock_mhz=200)
    assert (options["max_context"], seed, options["force"]) == (99, 3, True)
    assert str(options["output"]) == "o.flpkg"


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--set", "chanels=8"], 1, "unknown parameter chanels"),
        (["--set", "channels=8.5"], 1, "not a whole number"),
        (["--set", "clock_mhz=0"], 1, "clock_mhz = 0 is not legal\n  where: config of board u280"),
        (["--set", "channels=true"], 1, "not a whole number"),
        (["--set", "channels"], 2, "NAME=VALUE"),
        (["--set", "channels=3"], 1, "a power of two"),
        (["--set", "channels=x y"], 2, "not a number"),
        (["--arch", "none.toml"], 1, "cannot be read"),
        (["--max-context", "0"], 2, "max-context"),
        (["--calibrate", "t", "--calibrate-tokens", "0"], 2, "calibrate-tokens"),
    ],
)
def test_compile_errors(flightllm, compiler, args, code, message):
    result = flightllm("compile", "m.gguf", "--board", "u280", *args)
    assert (result.exit_code, compiler) == (code, [])
    assert message in result.stderr


def test_compile_unknown_model(flightllm, compiler):
    result = flightllm("compile", "no-such", "--board", "u280")
    assert result.exit_code == 1
    assert "no-such" in result.stderr


@pytest.mark.parametrize("supported", [True, False])
def test_check(flightllm, monkeypatch, tmp_path, supported):
    report = Report()
    report.supported = supported
    seen = []
    fake_module(monkeypatch, "flightllm.frontends.report", check_model=lambda m: seen.append(m) or report)
    result = flightllm("check", tmp_path)
    assert (result.exit_code, result.stdout) == (0 if supported else 1, "fine\n")
    assert json.loads(flightllm("check", tmp_path, "--json").stdout) == {"ok": supported}
    assert seen == [tmp_path, tmp_path]


@pytest.mark.parametrize("missing", ["", "gguf"])
def test_doctor(flightllm, monkeypatch, missing):
    """The report is printed in both forms whatever it says; the exit code says whether flightllm can be used."""
    monkeypatch.setattr("flightllm.installed._package_version", lambda name: "" if name == missing else "1.0")
    monkeypatch.setenv("PATH", "")
    text, data = flightllm("doctor"), flightllm("doctor", "--json")
    assert text.exit_code == data.exit_code == (1 if missing else 0)
    assert ("not ready" in text.stdout, "missing  gguf" in text.stdout) == (bool(missing), bool(missing))
    (gguf,) = [check for check in json.loads(data.stdout) if check["name"] == "gguf"]
    assert gguf["found"] == ("" if missing else "1.0")
    assert text.stderr == data.stderr == ""


class FakeBoard(Board):
    def to_dict(self):
        return {"name": self.name, "arch": self.arch.to_dict()}


def test_boards(flightllm, monkeypatch):
    known = {"big": ArchConfig(channels=32, channel_bytes=256 << 20), "small": ArchConfig(channels=2)}
    fake_module(
        monkeypatch,
        "flightllm.config.board",
        boards=lambda: [FakeBoard(name, arch) for name, arch in known.items()],
    )
    shown = flightllm("boards").stdout.splitlines()
    assert shown[2].split()[:3] == ["big", "1", "32"]
    assert "256.0 MiB" in shown[2]
    data = json.loads(flightllm("boards", "--json").stdout)
    assert [b["name"] for b in data] == ["big", "small"]
    assert data[1]["arch"]["channels"] == 2
