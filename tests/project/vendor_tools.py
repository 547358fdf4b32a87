"""Runs generated Tcl in a real interpreter, with the vendor's commands stubbed by vendor.tcl: `tclsh`, or the Tcl inside tkinter."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

VENDOR = Path(__file__).with_name("vendor.tcl")
#: a tclsh in Python
_TKINTER = """
import sys, tkinter
tcl = tkinter.Tcl()
tcl.setvar("argv", tcl.call("list", *sys.argv[2:]))
tcl.eval("proc exit {{code 0}} {error [list EXIT $code]}")
try:
    tcl.call("source", sys.argv[1])
except tkinter.TclError as error:
    print(error, file=sys.stderr)
    sys.exit(1)
"""


@dataclass(frozen=True)
class Run:
    """What a script did. calls: of vendor commands, each a list of words. error: "" if it ran to its end."""

    calls: list[list[str]]
    error: str

    def of(self, command: str) -> list[list[str]]:
        """Words of every call of a command."""
        return [call[1:] for call in self.calls if call[0] == command]


def interpreter() -> list[str]:
    """Command that runs a Tcl file; the test fails if there is none: tools/setup.sh installs one."""
    tclsh = shutil.which("tclsh")
    if tclsh:
        return [tclsh]
    try:
        import _tkinter  # noqa: F401
    except ImportError:
        pytest.fail("no Tcl interpreter: install tclsh (Debian: apt-get install tcl)")
    return [sys.executable, "-c", _TKINTER]


def run_tcl(script: Path, work: Path, *arguments: str, **environment: str) -> Run:
    """Run a script. work: for the records. environment: FAKE_KERNEL (Verilog of the kernel's top), FAKE_CELLS, FAKE_PBLOCKS, .."""
    records = work / "records"
    done = subprocess.run(
        [*interpreter(), str(VENDOR), str(records), str(script), *arguments],
        capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
        env=os.environ | {"FAKE_CELLS": "", "FAKE_PBLOCKS": ""} | environment,
    )  # fmt: skip
    calls = [line.split("\x1f") for line in records.read_text().splitlines()]
    return Run(calls, (done.stderr.strip() or "failed") if done.returncode else "")


def prop(run: Run, name: str, of: str = "") -> list[str]:
    """Values that a property was set to, of objects whose name begins so."""
    values = []
    for words in run.of("set_property"):
        if words[0] == name and words[2].startswith(of):
            values.append(words[1])
    return values
