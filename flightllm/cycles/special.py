"""Unit S (rtl/special): batches of vectors, pass by pass.

An *issue* is a cycle in which `Lanes` elements enter the lanes; all cycles follow from the registers between it and what comes of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flightllm.config.arch import ArchConfig
from flightllm.cycles.block_runs import DONE, run_steps
from flightllm.cycles.control import Tokens, Unit
from flightllm.cycles.kernel import Kernel, Process
from flightllm.isa.blocks import BLOCK_POSITIONS, active_blocks, runs
from flightllm.isa.fields import Instruction, Operands
from flightllm.isa.fields import Unit as UnitName
from flightllm.isa.special import ACT, ADD, NORM, ROPE, SOFTMAX

BATCH = 32
#: from the instruction to StTake; StTake to StStart, from batch to batch and pass to pass StPrepare to StStart
DECODE, START = 2, 2
#: from StStart to the first slot; from a slot to the issue of its word: index, address, three of the vector buffer, FIFO
SLOT, ISSUE = 1, 6
#: stages (rtl/special/sfu_lanes.sv): those of arithmetic, exp2 with its register
ADD_STAGE, MUL_STAGE, TABLE_STAGE, EXP_STAGE = 4, 3, 5, 6
#: registers from the issue to the tap of the sums; on to the output
TAP, OUT = 4, 1
#: from the last output of a pass to the state that ends it: `fly_q`, StSwitch and `wait_q`; from there to StGive
SWITCH, GIVE = 7, 1
#: ordered_sum: cycles of its tree besides those of additions, additions of rows and lanes (times parts)
TREE, TREE_PARTS = 47, 19
#: scalar_unit: cycles of a turn; turns besides those of operations; operations of the programs
SLOT_TURN, EXTRA_TURNS = 6, 1
MEAN, RSQRT, QUANT, SOFT = 1, 3, 3, 5
#: lane_max: registers besides a level each; from scalars or a maximum to the slot that may follow: a count, `allowed_q`
MAX, ALLOWED = 2, 2
#: a job waits in its FIFO
JOB = 1
#: from block_runs' start to the first slot, and from its `done_o` to the next start, beside what it takes; slots between runs
RUNS, NEXT_VECTOR, RUN_GAP = 1, 1, 1


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over a vector.

    slots: words and header. issues: cycles of the lanes. tap: stages before the sums. tail: stages behind. adds, tops: into an ordered sum, a
    maximum that the next pass needs. scalars: operations of the scalar program between this pass and the next. runs: blocks of a vector,
    0 where words are counted.
    """

    slots: int
    issues: int
    tap: int = 0
    tail: int = 0
    adds: bool = False
    tops: bool = False
    scalars: int = 0


@dataclass(frozen=True, slots=True)
class _Runs:
    """Cycles until the first run of a pass's first vector; from a vector to the next at least; slots that a vector's runs leave empty."""

    first: int
    pitch: int
    gaps: int


class SpecialUnit(Unit):
    """Carries out NORM, ACT, ADD, ROPE and SOFTMAX.

    Args:
        mask: bytes of the mask buffer.
    """

    name = UnitName.S

    def __init__(self, kernel: Kernel, tokens: Tokens, arch: ArchConfig, mask: np.ndarray) -> None:
        super().__init__(kernel, tokens, arch.queue_depth)
        self._parts, self._levels, self._mask = 16 // arch.lanes, arch.lanes.bit_length() - 1, mask
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
                found = self._run_cycles(inst, o)
                time = kernel.now
                for begin in range(0, vectors, BATCH):
                    time = self._batch(passes, min(BATCH, vectors - begin), time, found)
                yield time + GIVE
            else:
                yield kernel.now + 1
            self.give(inst.signal)
            yield kernel.now + 1
            self.finish()

    def _passes(self, inst: Instruction, o: Operands) -> Iterator[Pass]:
        """The passes of an instruction, in order."""
        parts = self._parts
        length = max(0, o.len)
        if isinstance(inst, SOFTMAX):
            words = sum(
                -(-min(BLOCK_POSITIONS, length - BLOCK_POSITIONS * b) // 16) for b in active_blocks(o, self._mask)
            )
            count = max(1, words * parts)
            yield Pass(max(1, words), count, 2 * MUL_STAGE, tops=True)
            stages = 2 * MUL_STAGE + ADD_STAGE + EXP_STAGE
            yield Pass(max(1, words), count, stages, MUL_STAGE, adds=True, scalars=SOFT)
            yield Pass(words + 1, words * parts + 1, MUL_STAGE)
            return
        words = -(-length // 16)
        count = max(1, words * parts)
        quant = QUANT if o.quant != "none" else 0
        if isinstance(inst, NORM):
            layer = o.kind == "layer"
            if layer:
                yield Pass(words, count, adds=True, scalars=MEAN)
            square = MUL_STAGE + (ADD_STAGE if layer else 0)
            yield Pass(words, count, square, adds=True, scalars=RSQRT)
            yield Pass(words, count, 2 * MUL_STAGE + (2 * ADD_STAGE if layer else 0), scalars=quant)
        elif isinstance(inst, ROPE):
            half = -(-(length // 2) // 16)
            yield Pass(half, max(1, 2 * half * parts), MUL_STAGE + ADD_STAGE, scalars=quant)
        elif isinstance(inst, ADD):
            yield Pass(words, count, ADD_STAGE, scalars=quant)
        else:
            assert isinstance(inst, ACT)
            tap = tail = 0
            if o.kind in ("silu", "gelu"):
                tap = MUL_STAGE + EXP_STAGE + ADD_STAGE + TABLE_STAGE
                tail = MUL_STAGE
            if o.kind == "gelu":
                tap += 3 * MUL_STAGE + ADD_STAGE
            yield Pass(words, count, tap, tail + (MUL_STAGE if o.gated else 0), scalars=quant)
        if quant:
            yield Pass(words + 1, words * parts + 1, MUL_STAGE)

    def _run_cycles(self, inst: Instruction, o: Operands) -> _Runs | None:
        """What finding the runs of blocks adds to a pass; None where words are counted."""
        if not isinstance(inst, SOFTMAX) or o.len <= 0:
            return None
        spans = runs(active_blocks(o, self._mask))
        steps = run_steps(spans, bool(o.masked))
        return _Runs(steps[0] + RUNS, sum(steps) + DONE + NEXT_VECTOR, RUN_GAP * len(spans))

    def _batch(self, passes: list[Pass], vectors: int, time: float, found: _Runs | None) -> float:
        """Cycle in which a batch ends; `time`: in which the one before has, or the tokens came."""
        parts = self._parts
        ready = [0.0] * vectors  # cycle from which on a vector may be issued
        for p in passes:
            tap, out = TAP + p.tap, TAP + p.tap + p.tail + OUT
            at = time + START + SLOT + ISSUE + (found.first if found else 0)
            free = [0.0, 0.0]  # of the two ordered sums
            last = at
            tree = tap + TREE + TREE_PARTS * parts
            step = max(p.issues, p.slots + found.gaps, found.pitch) if found else p.issues
            if p.adds:
                behind = tree + JOB
            else:
                behind = out + self._levels + MAX + (JOB if not p.tops else 0)
            behind += (SLOT_TURN * (p.scalars + EXTRA_TURNS) if p.scalars else 0) + ALLOWED + ISSUE
            for v in range(vectors):
                begin = max(at, ready[v])
                if p.adds:
                    begin = max(begin, free[v % 2])
                last = begin + p.issues - 1
                at = begin + step
                if p.adds:
                    free[v % 2] = last + tree + 1
                ready[v] = last + behind
            time = last + out + SWITCH
        return time
