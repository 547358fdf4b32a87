"""Decoded weight matrices, kept within a budget: decoding a stream is slower than multiplying with it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flightllm.errors import PackageError, ProgramError
from flightllm.isa.fields import Instruction, Operands
from flightllm.numerics.fp32 import flush
from flightllm.streams.weights import unpack

if TYPE_CHECKING:
    from flightllm.executors.functional.core import Core


@dataclass(frozen=True)
class DecodedMatrix:
    """effective: float64 [rows, k padded to 16] holding the exact integers W'. rho, bias: float32 [rows] (bias may be None)."""

    effective: np.ndarray
    rho: np.ndarray
    bias: np.ndarray | None


class WeightCache:
    """Least recently used matrices by (core, address, shape and format), up to `budget` bytes."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.used = 0
        self._kept: OrderedDict[tuple[object, ...], DecodedMatrix] = OrderedDict()

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self.used = 0

    def get(self, core: Core, addr: int, nbytes: int, o: Operands, inst: Instruction) -> DecodedMatrix:
        """The matrix whose stream lies at `addr`; raises ProgramError if it does not match the instruction."""
        if addr + nbytes > core.const_bytes:
            raise ProgramError(
                "a weight stream lies outside the constant part of memory",
                where=str(inst),
                why=f"{addr:#x} + {nbytes}, the images end at {core.const_bytes:#x}",
            )
        key = (core.core_id, addr, nbytes, o.slots, o.k, o.group, o.format, o.table, o.bias, o.rows_per_vpu)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        matrix = self._decode(core, addr, nbytes, o, inst)
        size = matrix.effective.nbytes
        if size <= self.budget:
            while self.used + size > self.budget:
                self.used -= self._kept.popitem(last=False)[1].effective.nbytes
            self._kept[key] = matrix
            self.used += size
        return matrix

    @staticmethod
    def _decode(core: Core, addr: int, nbytes: int, o: Operands, inst: Instruction) -> DecodedMatrix:
        arch = core.arch
        try:
            effective, rho, bias = unpack(
                core.mem[:, addr : addr + nbytes],
                o.slots * arch.channels,
                o.k,
                int(o.group),
                None if o.table else o.format,
                bool(o.bias),
                arch.channels,
                arch.vpus,
                int(o.rows_per_vpu),
            )
        except PackageError as e:
            raise ProgramError(e.what, where=f"{inst} at {addr:#x}", why=e.why) from e
        pad = -effective.shape[1] % 16
        if pad:  # activation rows end at a window; their codes past k are zero
            effective = np.pad(effective, ((0, 0), (0, pad)))
        return DecodedMatrix(effective, flush(rho), None if bias is None else flush(bias))
