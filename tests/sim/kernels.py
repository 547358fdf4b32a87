"""Packages and builds for the stand-in kernel (standin/flightllm_top.sv)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flightllm.config.arch import ArchConfig
from flightllm.package import HostInterface, Limits, Manifest, ModelFacts, Package, PackageWriter, Region
from flightllm.sim.simulator import build_kernel
from flightllm.sim.sources import rtl_sources

TOP = Path(__file__).parent / "standin" / "flightllm_top.sv"
IDS, LOGITS, PROGRAM, SIZE = 0x400, 0x800, 0x1000, 0x2000
#: what the stand-in is told to do
COPY, ERROR, NOTHING, WRONG_ADDRESS, FAIL = range(5)
CHUNK = 16


def arch_of(cores: int = 1, channels: int = 2, port_bits: int = 512) -> ArchConfig:
    """A config of the stand-in."""
    return ArchConfig(
        cores=cores, channels=channels, vpus=4, lanes=8, port_bits=port_bits, max_chunk=CHUNK, channel_bytes=1 << 16
    )


def standin(arch: ArchConfig, trace: str = "") -> Path:
    """Library of the stand-in, from the cache or built."""
    files = rtl_sources("control", arch=arch, users=[TOP])
    used = [p for p in files if p.stem in ("axil_control", "core_counters") or p.stem.endswith("_pkg")]
    return build_kernel(arch, trace, [*used, TOP])


def package(path: Path, arch: ArchConfig, do: int = COPY, image: np.ndarray | None = None) -> Package:
    """A package whose program tells the stand-in what to do. image: uint8 [cores * channels, bytes] constant part."""
    ports = arch.cores * arch.channels
    image = np.zeros((ports, 64), np.uint8) if image is None else image
    program = np.zeros(16, "<u4")
    program[:4] = IDS, LOGITS, 64, do
    regions = (
        Region("image", 0, image.shape[1], "weights"),
        Region("ids", IDS, 64, "io"),
        Region("logits", LOGITS, 64 * CHUNK, "io"),
        Region("program", PROGRAM, 64, "program"),
        Region("rest", PROGRAM + 64, SIZE - PROGRAM - 64, "scratch"),
    )
    part = 16 * arch.channels
    manifest = Manifest(
        name="standin",
        board="tiny",
        arch=arch,
        model=ModelFacts("standin", part * arch.cores, 1 << 16, 1, 16),
        limits=Limits(CHUNK, 1 << 16),
        host=HostInterface(IDS, LOGITS, 64, (part,) * arch.cores),
        kv_bits=8,
        memory=regions,
        tensors=(),
    )
    with PackageWriter(path, cores=arch.cores, channels=arch.channels, force=True) as w:
        for core in range(arch.cores):
            for channel in range(arch.channels):
                w.append(core, channel, image[core * arch.channels + channel])
        w.program(program.tobytes())
        w.commit(manifest)
    return Package.open(path, verify=True)


def expected_logits(arch: ArchConfig, ids: list[int], pos: int, nlog: int, masken: bool) -> np.ndarray:
    """What the stand-in writes, as bits: uint32 [nlog, vocab]."""
    out = np.zeros((nlog, arch.cores, 16, arch.channels), np.uint32)
    for t, token in enumerate(ids[len(ids) - nlog :]):
        for k in range(arch.cores):
            for w in range(16):
                for c in range(arch.channels):
                    out[t, k, w, c] = (token + pos) % 65536 << 16 | masken << 12 | (k * arch.channels + c) << 5 | w
    return out.reshape(nlog, arch.cores * 16 * arch.channels)
