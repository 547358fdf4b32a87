"""The HLS kernel as a shared library: the C++ of hls/, compiled natively, cached by content."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from flightllm.config.arch import ArchConfig
from flightllm.config.paths import data_dir
from flightllm.errors import ToolError
from flightllm.kernel.hls_top import FILE, hls_top
from flightllm.sim.verilate import cache_folder

COMPILE_TIMEOUT_S = 900
FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-shared",
    "-fwrapv",
    "-Wall",
    "-Wextra",
    "-Wno-unknown-pragmas",
    "-Wno-unused-label",
)
#: CSD-chains by the black box
BLACKBOX_FLAG = "-DFLIGHTLLM_BLACKBOX"


def ap_types() -> Path:
    """Folder with ap_int.h: AMD's headers under Apache-2.0, as the package hls4ml carries them. ToolError if they are missing."""
    spec = importlib.util.find_spec("hls4ml")
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location) / "templates" / "vivado" / "ap_types"
        if (folder / "ap_int.h").exists():
            return folder
    raise ToolError(
        "the header ap_int.h is not installed",
        why="the HLS kernel is compiled with it; the package hls4ml brings it",
        do="pip install 'flightllm[hls]'",
    )


def native_sources() -> list[Path]:
    """C++ files compiled beside the generated top."""
    return [data_dir("hls") / "native" / "fiber.cpp", data_dir("hls") / "blackbox" / "csd_chain_blackbox.cpp"]


def include_folders() -> list[Path]:
    """Folders for includes: the kernel's, and the shims for what only Vitis HLS has."""
    return [data_dir("hls") / "include", data_dir("hls") / "native"]


def build_hls(arch: ArchConfig, blackbox: bool = False) -> Path:
    """Library of the kernel for this config, from the cache if it is there.

    blackbox: its CSD-chains are calls of the black box (docs/hls-blackbox.md), natively of its model.

    Raises:
        ConfigError: more ports than the register map has room for. ToolError: the compiler or a header is missing, or it fails.
    """
    flags = (*FLAGS, BLACKBOX_FLAG) if blackbox else FLAGS
    return compile_library("flightllm_hls", hls_top(arch), FILE, flags)


def compile_library(name: str, text: str, file: str, flags: Sequence[str] = FLAGS) -> Path:
    """Compile C++ `text` with the kernel's headers into lib<name>.so in the cache. file: what the text is called in messages."""
    headers = [p for folder in include_folders() for p in sorted(folder.rglob("*.h*"))]
    key = hashlib.sha256(repr((name, tuple(flags), text)).encode())
    for path in [*headers, *native_sources()]:
        key.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    folder = cache_folder().parent / "hls" / f"{name}-{key.hexdigest()[:20]}"
    library = folder / f"lib{name}.so"
    if library.exists():
        return library
    if shutil.which("g++") is None:
        raise ToolError("g++ is not installed", why="the HLS kernel is compiled with it", do="apt-get install g++")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=folder.parent) as work:
        source = Path(work) / file
        source.write_text(text)
        command = ["g++", *flags, "-isystem", str(ap_types())]
        command += [f"-I{p}" for p in include_folders()] + [str(source), *map(str, native_sources())]
        _run([*command, "-o", str(Path(work) / library.name)])
        folder.mkdir(exist_ok=True)
        os.replace(Path(work) / library.name, library)  # whole or absent, whoever else builds at the same time
    return library


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise ToolError(
            f"g++ did not end within {COMPILE_TIMEOUT_S} s",
            do="try again when the machine is less busy, or use a smaller config",
        ) from None
    if done.returncode:
        lines = [x for x in done.stderr.splitlines() if "error" in x][:12] or done.stderr.splitlines()[-12:]
        raise ToolError("the HLS kernel does not compile", why="\n".join(lines), do="report this with the message")
