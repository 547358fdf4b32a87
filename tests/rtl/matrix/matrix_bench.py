"""Runs instructions of the matrix unit in RTL and in the functional executor, on the same random contents."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from dispatch import DISPATCH_WORDS, dispatch

from flightllm.config.arch import ArchConfig
from flightllm.executors.functional.core import Core
from flightllm.executors.functional.weights import WeightCache
from flightllm.isa.fields import Instruction
from flightllm.isa.load import LDK, LDW
from flightllm.sim.sources import rtl_sources
from flightllm.sim.verilate import build

HERE = Path(__file__).parent


@cache
def library(channels: int, vpus: int, chain_vpus: int, entries: int) -> ctypes.CDLL:
    sources = rtl_sources("common", "fp", "matrix")
    parameters = {"Channels": channels, "Vpus": vpus, "ChainVpus": chain_vpus, "Entries": entries}
    lib = ctypes.CDLL(str(build("matrix_unit", sources, [HERE / "matrix_tb.cpp"], parameters)))
    lib.matrix_run.restype = ctypes.c_int64
    return lib


@dataclass
class Bench:
    """A core with random contents; `run` executes instructions on it in both ways."""

    channels: int = 4
    vpus: int = 8
    chain_vpus: int = 1
    entries: int = 512
    seed: int = 0
    vb_elements: int = 1 << 14
    ab_windows: int = 1 << 12
    streams: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.arch = ArchConfig(
            channels=self.channels, vpus=self.vpus, chain_vpus=self.chain_vpus, acc_entries=self.entries, vb_elements=self.vb_elements,
            ab_windows=self.ab_windows, mb_bytes=4096, channel_bytes=1 << 20,
        )  # fmt: skip
        mem = self.rng.integers(0, 256, (self.channels, 1 << 20), np.uint8)
        self.core = Core(self.arch, mem, 1 << 20, 0, WeightCache(1 << 28))
        self.core.vb[:] = self.rng.standard_normal(self.vb_elements).astype(np.float32)
        self.core.ab[:] = self.rng.integers(-127, 128, self.core.ab.shape)
        self.core.mb[:] = self.rng.integers(0, 256, self.core.mb.size)
        self.at = 0
        self.pushed = {"W": [], "K": []}

    def rows(self, base: int, count: int, length: int, row: int, dual: bool) -> None:
        """Make AB rows of `length` codes out of what is there: a header with a random scale, zeros behind the codes."""
        per = 2 if dual else 1
        last, windows = length % 16, -(-length // 16) * per
        assert windows < row, "rows overlap"
        for t in range(count):
            scale = np.zeros(16, np.int8)
            scale[:4] = np.array([self.rng.standard_normal() * 0.01], np.float32).view(np.int8)
            at = base + t * row
            self.core.ab[at] = scale
            if last:
                self.core.ab[at + 1 + windows - per : at + 1 + windows, last:] = 0

    def weights(self, stream: np.ndarray) -> None:
        """Put a weight stream into memory and its LDW into the ring."""
        n = stream.shape[1]
        self.core.mem[:, self.at : self.at + n] = stream
        inst = LDW(addr=self.at, nbytes=n)
        inst.execute(self.core, inst.resolve(self.core.regs))
        self.pushed["W"].append(stream)
        self.at += n

    def keys(self, inst: LDK) -> None:
        """Execute an LDK: its bytes go into the K ring."""
        inst.execute(self.core, inst.resolve(self.core.regs))
        self.pushed["K"].append(self.core.k_ring[-1][2])

    def run(self, program: list[Instruction], slow: bool = False, limit: int = 400_000) -> tuple[int, list[int]]:
        """Execute in both ways and compare all of VB; returns (cycles, counters)."""
        vb = self.core.vb.copy()
        ops = b"".join(dispatch(inst, self.core.regs) for inst in program)
        rings = []
        for name in ("W", "K"):
            parts = self.pushed[name]
            data = np.concatenate(parts, axis=1) if parts else np.zeros((self.channels, 0), np.uint8)
            assert data.shape[1] % 8 == 0
            rings.append(np.ascontiguousarray(data))
            parts.clear()
        with np.errstate(all="ignore"):
            for inst in program:
                inst.execute(self.core, inst.resolve(self.core.regs))
        stats = (ctypes.c_int64 * 4)()
        ab = np.ascontiguousarray(self.core.ab)
        mb = np.zeros(1 << 16, np.uint8)
        mb[: self.core.mb.size] = self.core.mb
        cycles = library(self.channels, self.vpus, self.chain_vpus, self.entries).matrix_run(
            self.channels, ops, DISPATCH_WORDS, len(program), *self._ring(rings[0]), *self._ring(rings[1]),
            ctypes.c_void_p(ab.ctypes.data), ctypes.c_uint64(len(ab)), ctypes.c_void_p(mb.ctypes.data),
            ctypes.c_void_p(vb.ctypes.data), ctypes.c_uint64(vb.size // 16), int(slow), self.seed + 1,
            ctypes.c_int64(limit), stats,
        )  # fmt: skip
        assert cycles > 0, f"the testbench stopped with {cycles}"
        got, want = vb.view(np.uint32), self.core.vb.view(np.uint32)
        bad = np.flatnonzero(got != want)
        assert not bad.size, f"{bad.size} elements differ, first {bad[:8]}: {vb[bad[:8]]} != {self.core.vb[bad[:8]]}"
        return cycles, list(stats)

    @staticmethod
    def _ring(data: np.ndarray) -> tuple[ctypes.c_void_p, ctypes.c_uint64]:
        return ctypes.c_void_p(data.ctypes.data), ctypes.c_uint64(data.shape[1] // 8)
