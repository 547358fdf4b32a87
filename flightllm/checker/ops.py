"""The unit of all analyses: one dispatched instruction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flightllm.isa.fields import Instruction

#: (space, write, first unit, last unit + 1, channel or None for all)
Place = tuple[str, bool, int, int, int | None]


@dataclass(eq=False)
class Op:
    """One dispatched instruction.

    places: memory touched. push, pop: bytes per channel and ring ("W", "K"); -1: the whole next item. ring: what identifies the item
    for both ends. regs: registers of a single run, to resolve the operands exactly.
    """

    pc: int
    inst: Instruction
    places: tuple[Place, ...] = ()
    push: tuple[str, int] | None = None
    pop: tuple[str, int] | None = None
    blocks: tuple[Any, ...] = ()
    core: bool = False
    regs: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"pc {self.pc}, unit {self.inst.unit.name}: {self.inst}"
