"""Verilator's lint over the whole RTL and the probe of it, for configs that differ in everything, and over the black box for HLS:
`python -m flightllm.sim.lint`."""

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
    ArchConfig(cores=1, channels=2, vpus=8, chain_vpus=2),
)
#: tops that are no part of TOP
OTHERS = ("csd_chain_blackbox",)
TIMEOUT_S = 600


def clean(top: str, arch: ArchConfig) -> bool:
    """Whether the lint of a top finds nothing; prints its warnings."""
    files = [str(p) for p in [*rtl_sources(arch=arch), data_dir("sim") / "lockstep_probe.sv"]]
    command = ["verilator", "--lint-only", "-Wall", "--top-module", top, str(data_dir("rtl") / "lint.vlt"), *files]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode or done.stderr.strip():
        print(done.stderr)
        return False
    return True


def main() -> int:
    """Lint every config, and the other tops; prints warnings, returns 1 if there are any."""
    for arch in CONFIGS:
        if not clean(TOP, arch):
            print(f"verilator lint: cores {arch.cores}, channels {arch.channels}, port {arch.port_bits}: not clean")
            return 1
    for top in OTHERS:
        if not clean(top, CONFIGS[0]):
            print(f"verilator lint: {top}: not clean")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
