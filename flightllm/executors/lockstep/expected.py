"""What an instruction of the functional executor writes: places and values that another executor has to produce."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from flightllm.executors.functional.core import Core
from flightllm.isa.blocks import BlockRange, active_blocks
from flightllm.isa.fields import Instruction, Operands, Unit
from flightllm.isa.footprint import Access
from flightllm.isa.load import LDK, LDW
from flightllm.isa.matrix import MM

#: spaces of a core that are compared place by place
BUFFERS = ("VB", "AB", "MB")


@dataclass
class Places:
    """Places of one space. index: int64 [n], ascending. value: [n, ...] after the instruction. seen: bool [n, ...], written by the other side."""

    index: np.ndarray
    value: np.ndarray
    seen: np.ndarray

    def find(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row of each index, whether it is there)."""
        row = np.searchsorted(self.index, index)
        row[row == len(self.index)] = 0
        there = self.index[row] == index if len(self.index) else np.zeros(len(index), bool)
        return row, there


@dataclass
class Expected:
    """An instruction that the functional executor has carried out and the other side has still to end.

    places: by space. A unit of VB is an element (uint32 bits), of AB a window (int8 [16]), of MB a byte, of MEM a byte
    offset with a column per channel. stream: bytes uint8 [C, n] that the instruction pushes into its ring. taken: int64
    [C], how many of them have come. matrix: (address, bytes) of the stream that an MM multiplies with. number: how many MM or LDW
    the core had before in this run of the program.
    """

    pc: int
    inst: Instruction
    operands: Operands
    places: dict[str, Places] = field(default_factory=dict)
    stream: np.ndarray | None = None
    taken: np.ndarray | None = None
    matrix: tuple[int, int] | None = None
    number: int = 0

    @property
    def unit(self) -> Unit:
        """The unit that carries it out."""
        return self.inst.unit


class Recorder:
    """Hooks of a functional executor: puts what each instruction writes at the end of its core's queue.

    Attributes:
        done: per core, instructions in program order that nobody has asked for yet.
    """

    def __init__(self, cores: int) -> None:
        self.done: list[deque[Expected]] = [deque() for _ in range(cores)]
        self._memory: list[tuple[np.ndarray, np.ndarray] | None] = [None] * cores
        self._matrix: list[tuple[int, int] | None] = [None] * cores
        self._numbers: list[dict[type, int]] = [{} for _ in range(cores)]

    def start(self) -> None:
        """A run of the program begins."""
        self._numbers = [{} for _ in self._numbers]

    def before(self, core: Core, pc: int, inst: Instruction, o: Operands) -> None:
        """Keep what an instruction is going to overwrite in memory, and which stream it takes."""
        k = core.core_id
        self._matrix[k] = core.w_ring[0] if isinstance(inst, MM) and core.w_ring else None
        self._memory[k] = None
        if inst.unit is Unit.T:
            index = _indices(a for a in inst.footprint(o, core.arch) if a.write and a.space == "MEM")
            if len(index):
                self._memory[k] = index, core.mem[:, index].T.copy()

    def after(self, core: Core, pc: int, inst: Instruction, o: Operands) -> None:
        """Record an instruction of a unit."""
        if inst.unit is Unit.Q:
            return
        k, o = core.core_id, exact(core, inst, o)
        e = Expected(pc, inst, o, matrix=self._matrix[k], number=self._numbers[k].get(type(inst), 0))
        self._numbers[k][type(inst)] = e.number + 1
        if isinstance(inst, LDW):
            e.stream = core.mem[:, o.addr : o.addr + o.nbytes]  # constant part of memory: no copy
        elif isinstance(inst, LDK):
            e.stream = core.k_ring[-1][2]
        if e.stream is not None:
            e.taken = np.zeros(len(e.stream), np.int64)
        writes = [a for a in inst.footprint(o, core.arch) if a.write]
        arrays: dict[str, np.ndarray] = {"VB": core.vb.view(np.uint32), "AB": core.ab, "MB": core.mb}
        for space in BUFFERS:
            index = _indices(a for a in writes if a.space == space)
            if len(index):
                value = arrays[space][index]
                e.places[space] = Places(index, value, np.zeros(len(index), bool))
        kept = self._memory[k]
        if kept is not None:
            index, old = kept
            value = core.mem[:, index].T.copy()
            e.places["MEM"] = Places(index, value, value == old)  # a byte that stays as it was need not be written
        self.done[k].append(e)


def exact(core: Core, inst: Instruction, o: Operands) -> Operands:
    """Operands whose footprint has the blocks that are active (`operands.active`), and no others."""
    if not isinstance(inst, BlockRange):
        return o
    return Operands(vars(o) | {"active": active_blocks(o, core.mb)})


def _indices(accesses: Iterable[Access]) -> np.ndarray:
    """Every unit of the accesses once, ascending."""
    parts = []
    for a in accesses:
        if not a.empty:
            parts.append((starts(a).reshape(-1, 1) + np.arange(a.length)).reshape(-1))
    if not parts:
        return np.zeros(0, np.int64)
    index = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return index if len(index) < 2 or (np.diff(index) > 0).all() else np.unique(index)


def starts(a: Access) -> np.ndarray:
    """First unit of each range of an access, int64 [*counts]."""
    first = np.full(a.counts or (1,), a.base, np.int64)
    for axis, (count, stride) in enumerate(zip(a.counts, a.strides, strict=True)):
        shape = [1] * len(a.counts)
        shape[axis] = count
        first += (np.arange(count, dtype=np.int64) * stride).reshape(shape)
    return first
