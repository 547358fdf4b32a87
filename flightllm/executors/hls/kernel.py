"""The natively compiled HLS kernel behind its registers, as a host sees it: memories of all ports, start, outputs."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path

import numpy as np

from flightllm.config.arch import ArchConfig
from flightllm.executors.hls.build import build_hls
from flightllm.kernel import signature


class Outcome(IntEnum):
    """How a run ended; as flight::native::Outcome in hls/native/fiber.hpp."""

    DONE = 0
    DEADLOCK = 1
    TIMEOUT = 2


@dataclass(frozen=True)
class Result:
    """A run. outputs: the signature's outputs by name; meaningless unless it is done."""

    outcome: Outcome
    outputs: dict[str, int]


@cache
def _library(path: Path) -> ctypes.CDLL:
    lib = ctypes.CDLL(str(path))
    u64, array = ctypes.c_uint64, ctypes.c_void_p
    lib.flightllm_native_run.restype = ctypes.c_int
    lib.flightllm_native_run.argtypes = [
        ctypes.POINTER(u64), array, array, ctypes.POINTER(u64), ctypes.c_double, ctypes.c_int,
    ]  # fmt: skip
    return lib


class HlsKernel:
    """One kernel.

    Args:
        arch: config of the build.
        library: from `build_hls`; built if None.
        exact_depths: streams hold what the source says. Slower; shows that the depths are enough.
    """

    def __init__(self, arch: ArchConfig, library: Path | None = None, exact_depths: bool = False) -> None:
        self.arch, self.exact_depths = arch, exact_depths
        self._lib = _library(library or build_hls(arch))
        arguments = signature.arguments(arch)
        self._inputs = [a.name for a in arguments if not a.output and not a.port]
        self._outputs = [a.name for a in arguments if a.output]
        self._ports = signature.ports(arch)

    def run(self, inputs: dict[str, int], memory: list[np.ndarray], seconds: float) -> Result:
        """Run once.

        Args:
            inputs: the signature's scalars by name.
            memory: uint8 [bytes] of each port, contiguous; read and written in place.
            seconds: limit of wall time.
        """
        assert len(memory) == self._ports and all(m.dtype == np.uint8 and m.flags.c_contiguous for m in memory)
        scalars = (ctypes.c_uint64 * len(self._inputs))(*(inputs[name] for name in self._inputs))
        outputs = (ctypes.c_uint64 * len(self._outputs))()
        pointers = np.array([m.ctypes.data for m in memory], np.uint64)
        sizes = np.array([m.size for m in memory], np.uint64)
        outcome = self._lib.flightllm_native_run(
            scalars, pointers.ctypes.data, sizes.ctypes.data, outputs, seconds, int(self.exact_depths)
        )
        return Result(Outcome(outcome), dict(zip(self._outputs, outputs, strict=True)))
