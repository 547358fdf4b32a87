"""Emission: instructions with the places they touch, loops and barriers; the input of the token and prefetch passes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flightllm.isa.control import ALU, BARRIER, LOOP
from flightllm.isa.fields import Instruction

#: (space, first unit, last unit + 1): VB in units of 16 elements, AB in windows, MB and MEM in bytes
Range = tuple[str, int, int]


@dataclass
class Item:
    """One instruction and everything it may read or write for any values of the registers."""

    inst: Instruction
    reads: tuple[Range, ...] = ()
    writes: tuple[Range, ...] = ()
    note: str = ""
    #: for LOOP: items of the body
    body: int = field(default=0)
    #: of MM: beats of the array, of those of one dense pass
    array_share: float = 1.0


class Emitter:
    """Collects items in program order."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.note = ""

    def emit(
        self, inst: Instruction, reads: Iterable[Range] = (), writes: Iterable[Range] = (), array_share: float = 1.0
    ) -> None:
        """Append an instruction with the ranges it may touch; `array_share`: see `Item`."""
        self.items.append(Item(inst, tuple(reads), tuple(writes), self.note, array_share=array_share))

    def alu(self, op: str, rd: int, ra: int, rb: int = 0, imm: int = 0) -> None:
        """Append an operation on registers."""
        self.emit(ALU(op=op, rd=rd, ra=ra, rb=rb, imm=imm))

    @contextmanager
    def loop(self, rd: int, count_reg: int, count: int = 0) -> Iterator[None]:
        """A hardware loop. Iterations are separated from each other, and the loop from its surroundings, by barriers.

        Barriers hold L, M, S and T only, so weights keep streaming across them.
        """
        head = Item(LOOP(rd=rd, count=count, count_r=count_reg), note=self.note)
        self.items.append(head)
        start = len(self.items)
        self.emit(BARRIER())
        yield
        head.body = len(self.items) - start
        self.emit(BARRIER())
