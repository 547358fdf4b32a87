"""Builds of the real RTL with the probe, as small as they come, and a broken one."""

from __future__ import annotations

from pathlib import Path

from packages import small_arch

from flightllm.config.arch import ArchConfig
from flightllm.sim.simulator import build_kernel
from flightllm.sim.sources import rtl_sources

SMALL = small_arch(1, 2, 4, lanes=4)
CORES = small_arch(2, 1, 4, lanes=4)
#: drain_lane: the product with the row factor loses its last bit before the next multiplication
ROUNDING = ("drain_lane.sv", "      .a_i(fr),\n", "      .a_i({fr[31:1], 1'b0}),\n")


def mutated(folder: Path, arch: ArchConfig, name: str, old: str, new: str) -> Path:
    """Library of the RTL with the probe in which one place of one file is changed; sources go to `folder`."""
    sources = rtl_sources(arch=arch)
    place = next(i for i, p in enumerate(sources) if p.name == name)
    text = sources[place].read_text()
    assert text.count(old) == 1, f"{name} no longer has this place"
    folder.mkdir(exist_ok=True)
    sources[place] = folder / name
    sources[place].write_text(text.replace(old, new))
    return build_kernel(arch, sources=sources, probe=True)
