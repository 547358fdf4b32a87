"""Instructions as the sequencer hands them to a unit's queue."""

from __future__ import annotations

from flightllm.isa.fields import Addr, Count, Instruction
from flightllm.isa.generate import max_operands

#: size of a dispatch_t in 32-bit words
DISPATCH_WORDS = (512 + 40 * max_operands() + 31) // 32


def dispatch(inst: Instruction, regs: list[int]) -> bytes:
    """A `dispatch_t`: the instruction and its resolved operands."""
    word = int.from_bytes(inst.encode(), "little")
    at = 512
    for f in inst.fields.values():
        if isinstance(f, Addr | Count):
            word |= (f.resolve(inst.values, regs) & ((1 << 40) - 1)) << at
            at += 40
    return word.to_bytes(4 * DISPATCH_WORDS, "little")
