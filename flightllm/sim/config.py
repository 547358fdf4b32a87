"""Architecture config -> the SystemVerilog package `flightllm_config_pkg`, from which `flightllm_core` and above take their sizes.

It belongs to a build and is written into the cache, never into the checkout.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from flightllm.config.arch import ArchConfig
from flightllm.config.paths import data_dir
from flightllm.config.templates import environment
from flightllm.kernel.parameters import build_digest, parameters
from flightllm.sim.verilate import cache_folder

NAME = "flightllm_config_pkg.sv"


def config_package(arch: ArchConfig) -> str:
    """Text of the package; depends on the config's values only."""
    env = environment(data_dir("templates"))
    return env.get_template(f"{NAME}.j2").render(parameters=parameters(arch), digest=build_digest(arch))


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
