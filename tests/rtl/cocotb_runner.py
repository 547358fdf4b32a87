"""Builds one module with Verilator and runs its cocotb tests; what was built is kept by content, so a rerun only simulates.

A test file holds both sides: pytest functions (`test_*`) that call `run_bench(...)` with the parameters of the module, and
`@cocotb.test()` coroutines (any other name), which run in the simulator with the module as `dut`. `parameter(name)` tells
them what the module was built with.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from flightllm.errors import ToolError
from flightllm.sim.sources import rtl_sources
from flightllm.sim.verilate import cache_folder, environment, verilator_root

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
_PARAMETERS = "FLIGHTLLM_BENCH_PARAMETERS"
BUILD_TIMEOUT_S = 600
#: Data registers have no reset, so they start with random contents: nothing may depend on them.
_RANDOM_START = ("--x-initial", "unique", "--x-assign", "unique")
_VERILATOR = ("--cc", "--vpi", "--public-depth", "1", "--prefix", "Vtop", "--assert", "--timescale", "1ns/1ps")
_VERILATOR += ("-Wall", "-Wno-fatal", *_RANDOM_START)
_CXX = ("-std=gnu++20", "-O1", "-DVERILATOR=1", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TRACE=0", "-DVM_TRACE_FST=0")
_CXX += ("-DVM_TRACE_VCD=0", "-DVM_TRACE_SAIF=0", "-w", "-faligned-new", "-fcf-protection=none")
_RUNTIME = ("verilated", "verilated_vpi", "verilated_threads")
#: headers that every module includes, compiled once: parsing them takes longer than a module
_HEADERS = ("verilated.h", "verilated_vpi.h", "memory", "string")


def run_bench(
    module: str,
    bench: str,
    folders: Sequence[str],
    parameters: Mapping[str, int] | None = None,
    extra: Sequence[Path] = (),
    seed: int = 1,
    only: str = "",
    timeout_s: float = 120,
) -> None:
    """Run the cocotb tests of a file on a module; AssertionError with what failed.

    Args:
        module: top module.
        bench: the test file (`__file__`).
        folders: folders of rtl/ with the module and what it instantiates.
        parameters: of the module.
        extra: further SystemVerilog files (a wrapper that is the top module).
        seed: of the random contents at the start and of `random` in the coroutines.
        only: regular expression; the cocotb tests to run (all if empty).
        timeout_s: wall clock; a simulation that hangs is ended and reported.
    """
    import cocotb_tools.config

    parameters = dict(parameters or {})
    program = build_bench(module, folders, parameters, extra)
    with tempfile.TemporaryDirectory(prefix=f"{module}-") as work:
        results = Path(work) / "results.xml"
        env = os.environ | {
            "COCOTB_TEST_MODULES": Path(bench).stem,
            "COCOTB_TOPLEVEL": module,
            "TOPLEVEL_LANG": "verilog",
            "COCOTB_RESULTS_FILE": str(results),
            "COCOTB_RANDOM_SEED": str(seed),
            "COCOTB_TEST_FILTER": only,
            "COCOTB_LOG_LEVEL": os.environ.get("COCOTB_LOG_LEVEL", "WARNING"),
            "COCOTB_TRUST_INERTIAL_WRITES": "1",
            "PYGPI_PYTHON_BIN": sys.executable,
            "PYTHONPATH": os.pathsep.join([str(Path(bench).resolve().parent), str(HERE), str(ROOT), *sys.path]),
            "GPI_USERS": f"{_libpython()};{cocotb_tools.config.pygpi_entry_point()}",
            _PARAMETERS: json.dumps(parameters),
        }
        if not only:
            del env["COCOTB_TEST_FILTER"]
        command = [str(program), "+verilator+rand+reset+2", f"+verilator+seed+{seed}"]
        simulation = subprocess.Popen(
            command, cwd=work, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            log, _ = simulation.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(simulation.pid, signal.SIGKILL)
            log, _ = simulation.communicate()
            raise AssertionError(f"{module} {parameters}: no end within {timeout_s} s\n{_tail(log)}") from None
        where = f"{module} {parameters} seed {seed}"
        assert results.exists(), f"{where}: the simulator ended with {simulation.returncode}\n{_tail(log)}"
        cases = ElementTree.parse(results).getroot().findall(".//testcase")
        failed = [c.get("name") for c in cases if c.find("failure") is not None or c.find("error") is not None]
        assert cases, f"{where}: no cocotb test ran"
        assert not failed, f"{where}: {', '.join(map(str, failed))} failed\n{_tail(log)}"
        assert simulation.returncode == 0, f"{where}: an assertion of the RTL failed\n{_tail(log)}"


def build_bench(
    module: str, folders: Sequence[str], parameters: Mapping[str, int] | None = None, extra: Sequence[Path] = ()
) -> Path:
    """The simulator of a module as a program, from the cache if one of the same content is there. ToolError if it fails."""
    import cocotb_tools.config

    sources = [p.resolve() for p in [*rtl_sources(*folders, users=extra), *extra]]
    main = Path(cocotb_tools.config.share_dir) / "lib" / "verilator" / "verilator.cpp"
    libraries = Path(cocotb_tools.config.libs_dir)
    options = [*_VERILATOR, "--top-module", module]
    options += [f"-G{name}={value}" for name, value in sorted((parameters or {}).items())]
    key = hashlib.sha256(repr((options, _CXX, str(libraries), str(verilator_root()))).encode())
    for path in [*sources, main]:
        key.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    program = cache_folder() / f"cocotb-{module}-{key.hexdigest()[:20]}" / module
    if program.exists():
        return program
    runtime = _runtime()
    work = Path(tempfile.mkdtemp(prefix=f"{module}-", dir=cache_folder()))
    try:
        _run(["verilator", *options, "--Mdir", str(work), *map(str, sources)], work)
        # one translation unit
        parts = [*sorted(work.glob("Vtop*.cpp")), main]
        whole = work / "whole.cpp"
        whole.write_text("".join(f'#include "{p}"\n' for p in parts))
        _run(
            ["g++", *_CXX, "-include", str(runtime[0].parent / "all.h"), *_includes(), f"-I{work}", "-o", str(work / module), str(whole), *map(str, runtime),
             f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-lcocotbvpi_verilator", "-lpthread"], work,
        )  # fmt: skip
        for path in work.iterdir():
            if path.name != module:
                path.unlink() if path.is_file() else shutil.rmtree(path)
        try:
            work.rename(program.parent)
        except OSError:  # another process was faster
            shutil.rmtree(work)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return program


def _runtime() -> list[Path]:
    """Verilator's library as object files, and its headers, compiled once for all modules (its VPI part takes longer than most modules)."""
    root = verilator_root() / "include"
    key = hashlib.sha256(repr((_CXX, _HEADERS)).encode())
    for name in _RUNTIME:
        key.update((root / f"{name}.cpp").read_bytes())
    folder = cache_folder() / f"cocotb-runtime-{key.hexdigest()[:20]}"
    objects = [folder / f"{name}.o" for name in _RUNTIME]
    if folder.exists():
        return objects
    cache_folder().mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="runtime-", dir=cache_folder()))
    for name in _RUNTIME:
        _run(["g++", *_CXX, *_includes(), "-c", str(root / f"{name}.cpp"), "-o", str(work / f"{name}.o")], work)
    (work / "all.h").write_text("".join(f"#include <{name}>\n" for name in _HEADERS))
    _run(["g++", *_CXX, *_includes(), "-x", "c++-header", "all.h", "-o", "all.h.gch"], work)
    try:
        work.rename(folder)
    except OSError:
        shutil.rmtree(work)
    return objects


def _includes() -> list[str]:
    root = verilator_root() / "include"
    return [f"-I{root}", f"-I{root / 'vltstd'}"]


def _libpython() -> str:
    from find_libpython import find_libpython

    path = find_libpython()
    if path is None:
        raise ToolError(
            "no libpython for cocotb", why="this Python was built without a shared library",
            do="use a Python built with --enable-shared (Debian: apt-get install libpython3-dev)",
        )  # fmt: skip
    return str(path)


def _run(command: list[str], cwd: Path) -> None:
    done = subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
    )
    if done.returncode:
        raise ToolError(
            f"{command[0]} failed", where=str(cwd), why=_tail(done.stderr + done.stdout), do="see the message"
        )


def _tail(log: str, lines: int = 60) -> str:
    return "\n".join(log.splitlines()[-lines:])


# --- inside the simulator ------------------------------------------------------------------------------------------
def parameter(name: str, default: int | None = None) -> int:
    """Value of a parameter that the module was built with."""
    values = json.loads(os.environ[_PARAMETERS])
    return int(values[name]) if default is None else int(values.get(name, default))


async def start(dut, **inputs: int) -> None:
    """Clock on, inputs set, three cycles of reset; the next rising edge is the first one out of reset."""
    import cocotb
    from cocotb.clock import Clock
    from cocotb.triggers import RisingEdge

    for name, value in inputs.items():
        getattr(dut, name).value = value
    if hasattr(dut, "rst_ni"):
        dut.rst_ni.value = 0
    cocotb.start_soon(Clock(dut.clk_i, 10, unit="ns").start())
    for _ in range(3):
        await RisingEdge(dut.clk_i)
    if hasattr(dut, "rst_ni"):
        dut.rst_ni.value = 1


def pauses(kind: str, seed: int) -> Iterator[bool]:
    """Cycles in which a side holds still. `none`: never; `half`: at random; `rare`, `often`; `bursts`: runs of both."""
    rng = random.Random(f"{kind}{seed}")
    while True:
        if kind == "none":
            yield False
        elif kind == "bursts":
            still, length = rng.random() < 0.5, rng.randint(1, 12)
            for _ in range(length):
                yield still
        else:
            yield rng.random() < {"half": 0.5, "rare": 0.1, "often": 0.85}[kind]


#: pauses worth a run each: (of the side that offers, of the side that takes)
PAUSES = (("none", "none"), ("half", "none"), ("none", "half"), ("bursts", "bursts"), ("often", "rare"))
