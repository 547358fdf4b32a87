"""Architecture config -> the SystemVerilog package `flightllm_config_pkg`, from which `flightllm_core` and above take their sizes.

It belongs to a build and is written into the cache, never into the checkout.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import jinja2

from flightllm.config.arch import ArchConfig
from flightllm.config.paths import data_dir
from flightllm.sim.verilate import cache_folder

NAME = "flightllm_config_pkg.sv"


def parameters(arch: ArchConfig) -> list[tuple[str, int, str]]:
    """(name, value, meaning) of every parameter that the RTL sees."""
    return [
        ("Cores", arch.cores, "computing cores"),
        ("Channels", arch.channels, "memory channels of a core, an MPU each"),
        ("Vpus", arch.vpus, "VPUs of an MPU"),
        ("Lanes", arch.lanes, "fp32 lanes of the special-function unit"),
        ("PortBits", arch.port_bits, "AXI data width of a channel"),
        ("VbWords", arch.vb_elements // 16, "vector buffer, words of 16 fp32 elements"),
        ("VbBanks", 4, "banks of the vector buffer"),
        ("AbWindows", arch.ab_windows, "activation buffer, windows of 16 codes"),
        ("MbBytes", arch.mb_bytes, "mask buffer"),
        ("WRingBytes", arch.w_ring_bytes, "weight ring, bytes of a channel"),
        ("KRingBytes", arch.k_ring_bytes, "KV ring, bytes of a channel"),
        ("AccEntries", arch.acc_entries, "accumulators of a VPU"),
        ("MaxChunk", arch.max_chunk, "tokens of a chunk at most"),
        ("QueueDepth", arch.queue_depth, "instructions in the queue of a unit"),
    ]


def config_package(arch: ArchConfig) -> str:
    """Text of the package; depends on the config's values only."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(data_dir("templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return env.get_template(f"{NAME}.j2").render(parameters=parameters(arch))


def write_config_package(arch: ArchConfig, folder: Path | None = None) -> Path:
    """Write the package and return its path. folder: where; default: a folder of this config in the cache."""
    text = config_package(arch)
    folder = folder or cache_folder() / f"config-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    if not path.exists() or path.read_text() != text:
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)  # whole or absent, whoever else builds at the same time
    return path
