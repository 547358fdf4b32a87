"""The Python API: what the command line can do, under the same names."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import flightllm
from flightllm.cli import COMMANDS

ROOT = Path(__file__).parents[1]
#: command -> where it is in Python
NAMES = {
    "compile": "flightllm.compile",
    "run": "flightllm.Model.run",
    "eval": "flightllm.Model.eval",
    "inspect": "flightllm.inspect",
    "check": "flightllm.check",
    "boards": "flightllm.boards",
    "board": "flightllm.probe",
    "doctor": "flightllm.doctor",
    "resources": "flightllm.estimate",
    "simulate": "flightllm.simulate",
    "speed": "flightllm.speed",
    "explore": "flightllm.explore",
    "trace": "flightllm.write_trace",
    "report": "flightllm.write_report",
    "build": "flightllm.write_project",
    "verify": "flightllm.verify",
}
TEXT = "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife."


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("api") / "tiny.flpkg"
    report = flightllm.compile("tiny-austen", path, board="tiny", max_context=64)
    assert report.path == str(path)
    return path


def test_every_command_is_there_and_documented():
    for command in COMMANDS:
        name = NAMES[command].removeprefix("flightllm.")
        function = flightllm
        for part in name.split("."):
            assert part in dir(function)
            function = getattr(function, part)
        assert callable(function)
        assert len(function.__doc__) > 30
        usage = (ROOT / "docs" / "usage.md").read_text().partition("## Python")[2]
        assert (name.replace("Model", "model") if "." in name else f"flightllm.{name}") + "(" in usage, name


def test_names_are_discoverable():
    assert set(flightllm.__all__) <= set(dir(flightllm))
    for name in flightllm.__all__:
        assert getattr(flightllm, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'chekc'"):
        flightllm.chekc  # noqa: B018


def test_names_stay_what_they_are_when_the_command_line_was_used(package):
    """A submodule of the same name would take the function's place as soon as it is imported."""
    code = """
        import flightllm
        from flightllm.cli import COMMANDS, main
        for name in COMMANDS:
            main.get_command(None, name)
        try:
            main(["doctor", "--json"])
        except SystemExit:
            pass
        assert all(callable(getattr(flightllm, n)) for n in flightllm.__all__ if n != "__version__")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def test_importing_is_cheap():
    """Nothing heavy comes with the import or with looking around; doctor works without numpy, torch is never needed."""
    code = """
        import sys
        import flightllm
        dir(flightllm)
        heavy = {"numpy", "torch", "tokenizers", "jinja2", "networkx", "onnx", "gguf", "transformers"}
        assert not heavy & set(sys.modules)
        flightllm.doctor()
        flightllm.boards()
        assert not heavy & set(sys.modules)
        flightllm.compile, flightllm.check, flightllm.load
        assert "torch" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, cwd=ROOT)


def test_check(tmp_path):
    report = flightllm.check("tiny-austen")
    assert report.supported
    (tmp_path / "config.json").write_text("{}")
    assert not flightllm.check(tmp_path).supported
    with pytest.raises(flightllm.FlightError, match="no such model"):
        flightllm.check("nothing-here")


def test_inspect(package):
    plain = flightllm.inspect(package)
    assert (plain.manifest.limits.max_context, plain.listing, plain.verified) == (64, "", False)
    assert set(plain.to_json()) == set(json.loads((package / "manifest.json").read_text()))
    full = flightllm.inspect(package, listing=True, verify=True)
    assert full.listing.count("\n") >= full.manifest.instructions
    assert full.to_json()["verified"] is True
    assert full.to_json()["listing"] == full.listing.splitlines()


def test_same_input_same_bytes(package, tmp_path):
    """The name of the output folder is not part of the package."""
    flightllm.compile("tiny-austen", tmp_path / "another-name.flpkg", board="tiny", max_context=64)
    files = sorted(f.name for f in package.iterdir())
    assert sorted(f.name for f in (tmp_path / "another-name.flpkg").iterdir()) == files
    for name in files:
        assert (package / name).read_bytes() == (tmp_path / "another-name.flpkg" / name).read_bytes(), name
    assert flightllm.inspect(package).manifest.name == "tiny-austen"


def test_boards_and_doctor():
    assert {b.name for b in flightllm.boards()} >= {"u280", "tiny"}
    assert flightllm.doctor().ok


def test_run_and_eval(package, tmp_path):
    model = flightllm.load(package)
    answer = model.run("It is a truth", max_new_tokens=5)
    assert answer.text == model.generate("It is a truth", 5)
    assert answer.to_json()["new_tokens"] == len(answer.stats.ids) == 5
    with pytest.raises(flightllm.FlightError, match="no chat template"):
        model.run("Hi", chat=True)
    (tmp_path / "text.txt").write_text(TEXT)
    seen = []
    both = model.eval(tmp_path / "text.txt", 2, 10, reference="tiny-austen", progress=lambda *at: seen.append(at))
    assert both.package.value == model.perplexity(TEXT, 2, 10).value == model.eval(TEXT, 2, 10).package.value
    assert 0.9 < both.ratio < 1.1
    assert both.reference is not None
    assert both.ratio == both.package.value / both.reference.value
    assert seen == [(name, i, 2) for name in ("package", "reference") for i in (1, 2)]
    assert "ratio" not in model.eval(TEXT, 2, 10).to_json()
