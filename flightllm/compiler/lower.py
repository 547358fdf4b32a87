"""Lowering: the graph to a program of two bodies, one for a token of an answer and one for a chunk of a prompt.

Which body runs is decided once, at the start. A token goes through the graph alone. A chunk is worked on in two *parts*, the first half of its
tokens and the rest: each part loads every weight for itself, which the array, busy for many tokens with each weight, does not notice,
and while one part is in the special-function unit, the other has the matrix unit (`schedule.py`). No loop and no barrier stands inside a body, but for
the logits, which a run may not want.
"""

from __future__ import annotations

from dataclasses import dataclass

from flightllm.compiler.buffers import Pool, symbols
from flightllm.compiler.emit import Emitter, Item
from flightllm.compiler.matrices import part_tokens
from flightllm.compiler.part import PartLowering, Source, Tokens
from flightllm.compiler.schedule import interleave
from flightllm.isa.control import HALT
from flightllm.isa.fields import REGISTERS
from flightllm.isa.registers import FIRST_FREE, HostRegister

POS, NTOK, KVLEN, NLOG, MASKEN = (
    int(r) for r in (HostRegister.POS, HostRegister.NTOK, HostRegister.KVLEN, HostRegister.NLOG, HostRegister.MASKEN)
)


@dataclass
class Lowered:
    """A program before the passes. onchip: memory -> units in use at most. symbols: memory -> first unit -> names."""

    items: list[Item]
    onchip: dict[str, int]
    symbols: dict[str, dict[str, str]]


class Lowering:
    """One lowering run."""

    def __init__(self, source: Source) -> None:
        self.source, self.arch, self.options = source, source.arch, source.options
        self.out = Emitter()
        self._register = FIRST_FREE
        self._bodies: list[list[PartLowering]] = []

    def run(self) -> Lowered:
        """Lower the whole graph."""
        options = self.options
        if options.chunk == 1 and not options.masked:
            self.token()
        else:
            single, many = self._registers(2)
            self.out.alu("sub", many, NTOK, 0, 1)
            self.out.alu("min", many, many, 0, 1)
            if options.masked:
                self.out.alu("max", many, many, MASKEN)
            self.out.alu("sub", single, 0, many)
            self.out.alu("add", single, single, 0, 1)
            with self.out.loop(0, single):
                self.token()
            with self.out.loop(0, many):
                self.chunk()
        self.out.emit(HALT())
        pools = {"VB": lambda p: p.vb, "AB": lambda p: p.ab}
        return Lowered(
            self.out.items,
            {name: max(sum(of(p).peak for p in body) for body in self._bodies) for name, of in pools.items()},
            {name: symbols(of(p) for body in self._bodies for p in body) for name, of in pools.items()},
        )

    def _registers(self, count: int) -> list[int]:
        """Registers for the program's own use."""
        self._register += count
        assert self._register <= REGISTERS
        return list(range(self._register - count, self._register))

    def _part(self, out: Emitter, tokens: Tokens, of: int, number: int) -> PartLowering:
        """Part `number` of `of` parts, with its share of the buffers."""
        vb, ab = self.arch.vb_elements // 16 // of, self.arch.ab_windows // of
        return PartLowering(self.source, out, Pool("VB", vb, number * vb), Pool("AB", ab, number * ab), tokens)

    def token(self) -> None:
        """The body of one token without masks."""
        fresh, first = self._registers(2)
        self.out.alu("shr", fresh, POS, 0, 6)
        tokens = Tokens(1, None, 0, POS, KVLEN, fresh, fresh, first, NLOG, 0, False, 0)
        part = self._part(self.out, tokens, 1, 0)
        self._bodies.append([part])
        part.run()
        with self.out.loop(0, NLOG):
            part.logits()
        self._register -= 2

    def chunk(self) -> None:
        """The body of a chunk, in two parts; in one if a chunk is one token."""
        count = 1 if self.options.chunk == 1 else 2
        most = part_tokens(self.options.chunk)
        parts: list[PartLowering] = []
        before: Tokens | None = None
        left, fresh = self._registers(2)
        self.out.alu("add", left, NLOG, 0)
        self.out.alu("shr", fresh, POS, 0, 6)
        for number in range(count):
            own, start, stop, block, window, nlog, first, *step = self._registers(10)
            if count == 1:
                self.out.alu("add", own, NTOK, 0)
                self.out.alu("add", start, POS, 0)
            elif before is None:
                self.out.alu("add", own, NTOK, 0, 1)
                self.out.alu("shr", own, own, 0, 1)
                self.out.alu("add", start, POS, 0)
            else:
                assert before.count is not None
                self.out.alu("sub", own, NTOK, before.count)
                self.out.alu("add", start, before.stop, 0)
            self.out.alu("add", stop, start, own)
            self.out.alu("shr", block, start, 0, 6)
            offset = before.count if before is not None and before.count is not None else 0
            tokens = before = Tokens(
                most,
                own,
                offset,
                start,
                stop,
                block,
                fresh,
                window,
                nlog,
                first,
                True,
                number,
                (step[0], step[1], step[2]),
            )
            parts.append(self._part(Emitter(), tokens, count, number))
        # logits are wanted of the last tokens: of the last part first, of the others what is left
        for part in reversed(parts):
            t = part.tokens
            assert t.count is not None
            self.out.alu("min", t.nlog, left, t.count)
            self.out.alu("sub", left, left, t.nlog)
            self.out.alu("sub", t.first, t.count, t.nlog)
        self._bodies.append(parts)
        for part in parts:
            part.run()
        self.out.items += interleave([p.out.items for p in parts], most, self.arch, self.options.max_context)
        rows = 0
        for part in parts:
            t = part.tokens
            part.out = self.out
            self.out.alu("min", left, t.nlog, 0, 1)
            with self.out.loop(0, left):
                part.logits(rows)
            rows = t.nlog
        self._register -= 2 + 10 * count
