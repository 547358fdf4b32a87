"""Unit S (rtl/special/special_unit.sv): batches of vectors, pass by pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flightllm.config.arch import ArchConfig
from flightllm.cycles.control import Tokens, Unit
from flightllm.cycles.kernel import Kernel, Process
from flightllm.isa.blocks import active_blocks
from flightllm.isa.fields import Instruction, Operands
from flightllm.isa.fields import Unit as UnitName
from flightllm.isa.special import ACT, NORM, ROPE, SOFTMAX

BATCH = 32
#: from the instruction to StTake; from the tokens to the first issue: StPrepare, StStart, slot, index, word (five of the vector buffer)
DECODE, FIRST = 2, 9
#: from the last issue of a pass to the first of the next, through the lanes; more where all stages are used (gelu)
CHANGE, GELU = 52, 13
#: from the last issue of a vector to its scalars where it adds up, and to the ordered sum being free again
SUM, SUM_FREE = 92, 88
#: from the last issue of an instruction to its end: lanes, codes, `wait_q`
LAST = 33
#: cycles of a masked block in block_runs
MASKED_BLOCK = 4


@dataclass(frozen=True, slots=True)
class _Pass:
    """words: of a vector. header: one more slot. adds: into an ordered sum. deep: through all stages."""

    words: int
    header: bool = False
    adds: bool = False
    deep: bool = False


class SpecialUnit(Unit):
    """Carries out NORM, ACT, ADD, ROPE and SOFTMAX.

    Args:
        mask: bytes of the mask buffer.
    """

    name = UnitName.S

    def __init__(self, kernel: Kernel, tokens: Tokens, arch: ArchConfig, mask: np.ndarray) -> None:
        super().__init__(kernel, tokens, arch.queue_depth)
        self._parts, self._mask = 16 // arch.lanes, mask
        kernel.start(self._run())

    def _run(self) -> Process:
        kernel = self.kernel
        while True:
            yield from self.next_op()
            inst, o = self.take()
            yield kernel.now + DECODE
            yield from self.wait_tokens(inst.wait)
            vectors = max(0, o.n0) * o.n1
            if vectors:
                passes = list(self._passes(inst, o))
                walk = self._walk_cycles(inst, o)
                time = kernel.now + FIRST - CHANGE - 1
                for begin in range(0, vectors, BATCH):
                    time = self._batch(passes, min(BATCH, vectors - begin), time, walk)
                yield time + LAST
            else:
                yield kernel.now + 1
            self.give(inst.signal)
            yield kernel.now + 1
            self.finish()

    def _passes(self, inst: Instruction, o: Operands) -> Iterator[_Pass]:
        """The passes of an instruction, in order; words are issues."""
        parts = self._parts
        if isinstance(inst, SOFTMAX):
            blocks = active_blocks(o, self._mask)
            words = sum(-(-min(64, o.len - 64 * b) // 16) for b in blocks) * parts
            yield _Pass(words)
            yield _Pass(words, adds=True, deep=True)
            yield _Pass(words, header=True)
            return
        words = -(-o.len // 16) * parts
        if isinstance(inst, NORM):
            yield _Pass(words, adds=True)
            if o.kind == "layer":
                yield _Pass(words, adds=True)
        if isinstance(inst, ROPE):
            yield _Pass(2 * (-(-(o.len // 2) // 16)) * parts)
        else:
            yield _Pass(words, deep=isinstance(inst, ACT) and o.kind == "gelu")
        if o.quant != "none":
            yield _Pass(words, header=True)

    def _walk_cycles(self, inst: Instruction, o: Operands) -> int:
        """Cycles in which the runs of blocks of a vector are found, for the first one of a pass (those of the others hide)."""
        if not isinstance(inst, SOFTMAX):
            return 0
        return 3 + (MASKED_BLOCK * -(-o.len // 64) if o.masked and o.len > 0 else 0)

    @staticmethod
    def _batch(passes: list[_Pass], vectors: int, last: float, walk: int) -> float:
        """Cycle of the last issue of a batch; `last`: of the one before."""
        ready = [0.0] * vectors  # cycle from which on a vector may be read
        for p in passes:
            time = last + CHANGE + walk + 1
            count = max(1, p.words) + p.header if p.words or not p.header else 1
            free = [0.0, 0.0]  # of the two ordered sums
            for v in range(vectors):
                begin = max(time, ready[v])
                if p.adds:
                    begin = max(begin, free[v % 2])
                last = begin + count - 1
                time = last + 1
                if p.adds:
                    free[v % 2] = last + SUM_FREE
                ready[v] = last + (SUM if p.adds else CHANGE) + (GELU if p.deep else 0)
            if p.deep:
                last += GELU
        return last
