"""Verilator's lint over the whole RTL and the probe of it, for configs that differ in everything: `python -m flightllm.sim.lint`."""

from __future__ import annotations

import subprocess
import sys

from flightllm.config.arch import ArchConfig
from flightllm.config.paths import data_dir
from flightllm.sim.simulator import TOP
from flightllm.sim.sources import rtl_sources
from flightllm.sim.verilate import environment

CONFIGS = (
    ArchConfig(lanes=16),
    ArchConfig(cores=3, channels=1, vpus=4, lanes=4, port_bits=128),
    ArchConfig(cores=1, channels=32, vpus=4, lanes=8),
)
TIMEOUT_S = 600


def main() -> int:
    """Lint every config; prints warnings, returns 1 if there are any."""
    for arch in CONFIGS:
        files = [str(p) for p in [*rtl_sources(arch=arch), data_dir("sim") / "lockstep_probe.sv"]]
        command = ["verilator", "--lint-only", "-Wall", "--top-module", TOP, str(data_dir("rtl") / "lint.vlt"), *files]
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        if done.returncode or done.stderr.strip():
            print(done.stderr)
            print(f"verilator lint: cores {arch.cores}, channels {arch.channels}, port {arch.port_bits}: not clean")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
