"""Operands of random programs: where they point to, and how registers and loops take part in that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from program_image import VB_WORDS, Image

from flightllm.config.arch import ArchConfig
from flightllm.isa.fields import REGISTERS, Instruction
from flightllm.isa.matrix import row_windows
from flightllm.isa.registers import host_registers

#: windows of a slot of AB: a set of rows that one instruction writes; the first four for straight code, the others inside loops
SLOT, SLOTS = 160, 8
COMPUTED, NEGATIVE, COUNTERS, WALKERS = range(8, 14), 14, 20, 24


class Choices:
    """Small choices out of bytes. Bytes are used again, as other numbers; zeros stay zeros."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def __call__(self, n: int) -> int:
        """0 .. n - 1."""
        again, at = divmod(self._at, len(self._data))
        self._at += 1
        value = self._data[at] * (1 + 90 * again) & 255
        return (value ^ value >> 4) % n if again and n > 0 else value % n if n > 0 else 0

    def wide(self, n: int) -> int:
        """0 .. n - 1, of more than a byte."""
        return (self(256) << 8 | self(256)) % n if n > 0 else 0

    def of(self, values: Sequence[Any]) -> Any:
        return values[self(len(values))]


@dataclass(frozen=True)
class Rows:
    """Activation rows in AB: row (0, 0) is at window `at`, or where `moving` points to (rows that move with a loop); strides, counts, codes of
    a row, and how they were quantised.
    """

    at: int
    moving: tuple[int, int, int] | None
    s0: int
    s1: int
    n0: int
    n1: int
    length: int
    quant: str


@dataclass
class Loop:
    """An open loop: registers that move with it, and iterations."""

    registers: list[tuple[int, int, int]]  # register, value in the first iteration, step
    count: int


@dataclass
class Operands:
    """What has been built so far, and where new operands can point to.

    host: POS, NTOK, NLOG, MASKEN.
    """

    arch: ArchConfig
    image: Image
    host: tuple[int, int, int, int]
    out: list[Instruction] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)
    rows: dict[int, Rows] = field(default_factory=dict)
    last_rows: Rows | None = None
    runs: int = 1  # how often the code is run that is being built

    def __post_init__(self) -> None:
        self.vb0 = self.arch.vb_elements // 16 - VB_WORDS
        pos, ntok, nlog, masken = self.host
        self.regs = [host_registers(pos, ntok, core, nlog, bool(masken)) for core in range(self.arch.cores)]

    def known(self) -> list[tuple[int, int]]:
        """(register, value) of those that are the same on all cores and do not move."""
        first, moving = self.regs[0], range(COUNTERS, REGISTERS)
        return [
            (r, first[r]) for r in range(1, REGISTERS) if r not in moving and all(g[r] == first[r] for g in self.regs)
        ]

    def address(self, c: Choices, name: str, at: int, bits: int = 20, step: int = 0) -> dict[str, int]:
        """Operand with value `at`, in the innermost loop `at + iteration * step`."""
        return dict(zip((name, name + "_r", name + "_s"), self.operand(c, at, bits, step), strict=True))

    def operand(self, c: Choices, at: int, bits: int, step: int) -> tuple[int, int, int]:
        if step and self.loops and self.loops[-1].registers:
            r, first, by = c.of(self.loops[-1].registers)
            stride = step // by
            return (at - first * stride) % (1 << bits), r, stride % (1 << bits)
        if c(3) == 0:
            return at, 0, 0
        r, value = c.of(self.known())
        stride = c.wide(1 << 16)
        return (at - value * stride) % (1 << bits), r, stride

    def count(self, c: Choices, name: str, n: int, bits: int = 16) -> dict[str, int]:
        """Operand with the count n, which may be negative."""
        if n >= 0 and c(2) == 0:
            return {name: n}
        fit = [(r, v) for r, v in self.known() if 0 <= n - v < 1 << bits] or [(NEGATIVE, -20)]
        r, value = c.of(fit)
        return {name: n - value, name + "_r": r}

    def walk(self, c: Choices, extent: int, limit: int, unit: int = 1) -> int:
        """A step from iteration to iteration that keeps `extent` units within `limit`; a multiple of unit and of all loop steps."""
        if not self.loops or not self.loops[-1].registers or self.loops[-1].count < 2:
            return 0
        step = 2 * unit * c(8)
        return step if extent + step * (self.loops[-1].count - 1) <= limit else 0

    def hull(self, extent: int, step: int) -> int:
        """Units touched in all iterations."""
        return extent + step * (self.loops[-1].count - 1) if self.loops and step else extent

    def vb(
        self, c: Choices, words: int, avoid: Sequence[tuple[int, int]] = (), still: bool = False
    ) -> tuple[int, int, tuple[int, int]]:
        """(first word, step, hull) of a place for `words` words that touches none of the hulls; still: step 0."""
        step = 0 if still else self.walk(c, words, VB_WORDS // 4)
        size = self.hull(words, step)
        start, last = c.wide(VB_WORDS), VB_WORDS - size
        for i in range(VB_WORDS):
            at = self.vb0 + (start + i) % (last + 1)
            if all(at + size <= lo or hi <= at for lo, hi in avoid):
                return at, step, (at, at + size)
        raise AssertionError("no room in VB")

    def memory(self, c: Choices, names: Sequence[str], nbytes: int, align: int, still: bool = False) -> tuple[int, int]:
        """(address, step) of a place for nbytes bytes within one of the named places; still: step 0."""
        at, size = self.image.places[c.of(names)]
        step = 0 if still else self.walk(c, nbytes, size, max(align, 64))
        room = size - self.hull(nbytes, step)
        assert room >= 0
        return at + c.wide(room // align + 1) * align, step

    def ab(self, c: Choices, n0: int, n1: int, length: int, quant: str) -> Rows:
        """A slot for rows that are about to be written."""
        slot = (SLOTS // 2 if self.loops else 0) + c(SLOTS // 2)
        windows = row_windows(length, quant == "dual")
        row = windows + c(2)
        if max(n0, 1) * n1 * row > SLOT - 2:
            row = windows
        assert max(n0, 1) * n1 * row <= SLOT - 2
        s0, s1 = (row * n1, row) if c(2) == 0 else (row, row * max(n0, 1))
        step = self.walk(c, max(n0, 1) * n1 * row, SLOT - 2)
        at = 1 + SLOT * slot
        rows = Rows(at, self.operand(c, at, 20, step) if step else None, s0, s1, n0, n1, length, quant)
        self.rows[slot] = rows
        return rows

    def ab_fields(self, c: Choices, rows: Rows) -> dict[str, int]:
        """The operand that points to rows."""
        return dict(zip(("ab", "ab_r", "ab_s"), rows.moving or self.operand(c, rows.at, 20, 0), strict=True))

    def emit(self, inst: Instruction) -> None:
        self.out.append(inst)
