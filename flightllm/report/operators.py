"""Which operator of the model an instruction works for, in which layer, and how many multiply-adds it is worth."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from flightllm.cycles.memory import Bytes
from flightllm.isa.blocks import BLOCK_POSITIONS, active_blocks
from flightllm.isa.fields import Operands, Unit
from flightllm.isa.load import LDG, LDK, LDM, LDS, LDV, LDW
from flightllm.isa.matrix import MM, MMPV, MMQK
from flightllm.isa.special import ACT, ADD, NORM, ROPE, SOFTMAX
from flightllm.isa.store import STKV, STV, XCHG
from flightllm.isa.trace import Step
from flightllm.package import Manifest

EMBEDDING, NORMS, ROTATION, APPEND = "embedding", "norms", "RoPE", "KV-cache append"
ATTENTION, CODES, ACTIVATION = "attention", "activation codes", "activation function"
QKV, OUTPUT, GATE_UP, DOWN, LOGITS = "q, k, v", "attention output", "gate and up", "down", "logits"
ADDITIONS, EXCHANGE, SEQUENCER = "additions", "exchange between cores", "fetch and dispatch"
#: in the order of the model; SEQUENCER: no unit has an instruction, and the loads of the program itself
OPERATORS = (
    EMBEDDING, NORMS, QKV, ROTATION, APPEND, ATTENTION, CODES, OUTPUT, GATE_UP, ACTIVATION, DOWN, ADDITIONS, EXCHANGE, LOGITS, SEQUENCER,
)  # fmt: skip
#: names of what lies outside the layers; the layers' are their numbers
BEFORE, AFTER = "embedding", "logits"

_MATRICES = {"attn.o": OUTPUT, "mlp.down": DOWN, "lm_head": LOGITS} | dict.fromkeys(("mlp.gate", "mlp.up"), GATE_UP)
_KINDS = dict.fromkeys((MMQK, SOFTMAX, MMPV, LDK, LDS, LDM), ATTENTION) | {
    NORM: NORMS, ROPE: ROTATION, LDG: EMBEDDING, STKV: APPEND, STV: LOGITS, XCHG: EXCHANGE, ADD: ADDITIONS,
}  # fmt: skip
_LAYER = re.compile(r"layers\.(\d+)\.(.+)")


@dataclass(frozen=True, slots=True)
class Work:
    """What one dispatched instruction is for.

    operator: one of OPERATORS. layer: "0", "1", .., BEFORE or AFTER. role: of the graph node that the instruction stands at. macs: multiply-adds as of
    dense weights, padding included.
    """

    unit: Unit
    pc: int
    operator: str
    layer: str
    role: str = ""
    macs: int = 0


class Namer:
    """Names the instructions of runs. manifest: its sections and memory map say what belongs to what."""

    def __init__(self, manifest: Manifest) -> None:
        self._sections = sorted(manifest.sections().items())
        self._regions = sorted((r.addr, r.name) for r in manifest.memory)
        self._arch = manifest.arch

    def works(self, steps: Iterable[Step], memory: Bytes) -> list[Work]:
        """What the instructions of a core's run are for, in order of dispatch, those of the sequencer left out.

        Args:
            memory: of channel 0 of the core, from which attention masks are read.
        """
        found: list[Work] = []
        loads: deque[int] = deque()  # weight loads whose matrix has not come yet
        mask = np.zeros(self._arch.mb_bytes, np.uint8)
        for step in steps:
            inst, o = step.inst, step.operands
            if inst.unit == Unit.Q:
                continue
            if isinstance(inst, LDM):
                mask[o.dst : o.dst + o.nbytes] = memory.read(o.addr, o.nbytes)
            layer, role = self._place(step.pc)
            work = Work(inst.unit, step.pc, self._operator(step, role), layer, role, self._macs(step, mask))
            if isinstance(inst, LDW):
                loads.append(len(found))
            elif isinstance(inst, MM) and loads:  # the ring is a queue: loads run ahead, and pair up with the matrices
                index = loads.popleft()
                found[index] = replace(found[index], operator=work.operator, layer=work.layer)
            found.append(work)
        return found

    def _place(self, pc: int) -> tuple[str, str]:
        """(layer, role) of the graph node that an instruction stands at."""
        index = bisect_right(self._sections, (pc, "\U0010ffff")) - 1
        name = self._sections[index][1] if index >= 0 else ""
        in_layer = _LAYER.fullmatch(name)
        if in_layer:
            return in_layer[1], in_layer[2]
        return (AFTER if name in ("norm", "lm_head") else BEFORE), name

    def _operator(self, step: Step, role: str) -> str:
        inst, o = step.inst, step.operands
        if isinstance(inst, MM | LDW):
            return _MATRICES.get(role, QKV if role.startswith("attn.") else LOGITS)
        if isinstance(inst, LDV):
            return self._vector(o)
        if isinstance(inst, ACT):
            if o.kind != "copy" or o.gated:
                return ACTIVATION
            return APPEND if str(o.quant).startswith("kv") else CODES
        if isinstance(inst, ADD) and role in ("embed", "pos_embed", "embed_add"):
            return EMBEDDING
        return _KINDS[type(inst)]

    def _vector(self, o: Operands) -> str:
        """Rotations, weights of norms, rows of position tables: by the region they lie in."""
        index = bisect_right(self._regions, (o.addr, "\U0010ffff")) - 1
        name = self._regions[index][1] if index >= 0 else ""
        if name.startswith("rope"):
            return ROTATION
        return NORMS if name.endswith((".gamma", ".beta")) else EMBEDDING

    def _macs(self, step: Step, mask: np.ndarray) -> int:
        inst, o, c = step.inst, step.operands, self._arch.channels
        if isinstance(inst, MM):
            return max(0, o.tokens) * int(o.slots) * c * int(o.k)
        if isinstance(inst, MMQK | MMPV):
            blocks = active_blocks(o, mask)
            keys = sum(min(BLOCK_POSITIONS, o.len - BLOCK_POSITIONS * b) for b in blocks)
            width = int(o.k) if isinstance(inst, MMQK) else int(o.slots) * c
            return max(0, o.n0) * int(o.n1) * keys * width
        return 0
