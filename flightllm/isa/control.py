"""Instructions of the sequencer: registers, loops, order, end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flightllm.isa.fields import Choice, Count, Field, Instruction, Int, Operands, Reg, Unit, as_signed

ALU_OPS: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "and": lambda a, b: a & b,
    "shl": lambda a, b: a << (b & 31),
    "shr": lambda a, b: a >> (b & 31),
    "min": min,
    "max": max,
}


class HALT(Instruction):
    """End of the program. Legal when all token counters are zero, both rings are empty and no loop is open."""

    opcode = 0x00
    unit = Unit.Q


class BARRIER(Instruction):
    """Hold dispatch until units L, M, S and T are idle with empty queues. W is not held."""

    opcode = 0x01
    unit = Unit.Q


class ALU(Instruction):
    """R[rd] = op(R[ra], R[rb] + imm), 32-bit two's complement; shr is arithmetic, shift counts are modulo 32. R0 stays 0."""

    opcode = 0x02
    unit = Unit.Q
    op = Choice(tuple(ALU_OPS), "operation")
    rd = Reg("destination")
    ra = Reg("first operand")
    rb = Reg("second operand, added to imm")
    imm = Int("immediate")

    def execute(self, core: Any, o: Operands) -> None:
        a = as_signed(core.regs[o.ra])
        b = as_signed(core.regs[o.rb] + o.imm)
        if o.rd:
            core.regs[o.rd] = as_signed(ALU_OPS[o.op](a, b))


class LOOP(Instruction):
    """Run the next `body` instructions `count` times with R[rd] = 0, 1, ...; a count of zero or less skips them.

    Loops nest up to four deep and end inside the enclosing body. After the loop R[rd] keeps its last value.
    """

    opcode = 0x03
    unit = Unit.Q
    rd = Reg("loop counter")
    count = Count(24, "iterations")
    body = Field(24, "instructions in the body, at least 1")


#: deepest nesting of LOOP
LOOP_DEPTH = 4
