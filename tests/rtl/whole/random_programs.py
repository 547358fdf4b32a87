"""Random programs over all units, legal by construction: every operand lies inside its memory, activation rows are what their
readers take them for, no instruction writes what it still reads. Order between units is made by the compiler's token pass; the
program checker has the last word.

A program is a list of steps, each a kind and 32 bytes; every byte is one small choice, and zeros are the simplest. So lists of
steps shrink well.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from stream_cases import random_matrix

from flightllm.compiler.emit import Item
from flightllm.compiler.passes import assign_tokens
from flightllm.config.arch import ArchConfig
from flightllm.isa.control import ALU, ALU_OPS, BARRIER, HALT, LOOP, LOOP_DEPTH
from flightllm.isa.fields import REGISTERS, TOKEN_UNITS, Instruction
from flightllm.isa.load import LDG, LDK, LDM, LDS, LDV, LDW
from flightllm.isa.matrix import MM, MMPV, MMQK, row_windows
from flightllm.isa.registers import host_registers
from flightllm.isa.special import ACT, ADD, NORM, QUANT, ROPE, SOFTMAX
from flightllm.isa.store import STKV, STV, XCHG
from flightllm.isa.trace import trace
from flightllm.streams import EntryFormat
from flightllm.streams.formats import ABSENT
from flightllm.streams.weights import pack, stream_format

#: sizes of what programs work on: VB words (the last ones), AB windows, MB bytes
VB_WORDS, AB_WINDOWS, MB_BYTES = 512, 1312, 64
#: windows of a slot of AB: a set of rows that one instruction writes; the first four for straight code, the others inside loops
SLOT, SLOTS = 160, 8
#: bytes per channel: places for constants by name, then what programs write
PROGRAM_BYTES = 0x8000
CONSTANTS = {"f32": 0x8000, "f16": 0x4000, "ids": 0x400, "mask": 0x400, "scales": 0x2000, "kv": 0x8000, "weights": 0x30000}
VARIABLES = {"kv cache": 0x8000, "stored": 0x8000}
#: columns of the matrices, so lengths of the activation rows
LENGTHS = (16, 32, 48, 64, 100, 128, 144, 256)
HEADS = (16, 32, 48, 64)
#: rows of the gather table and elements per channel of one
TABLE_ROWS, TABLE_SLOTS = 16, 40
KINDS = (
    "special", "mm", "attention", "load", "gather", "store", "append", "exchange", "mask", "alu", "barrier", "loop",
    "special", "special", "mm", "attention",
)  # fmt: skip
#: registers: set by random arithmetic, a negative number, loop counters, registers that loops step
COMPUTED, NEGATIVE, COUNTERS, WALKERS = range(8, 14), 14, 20, 24
CORNERS = (0, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x42FC0000, 0x0D800000, 0x0D7FFFFF)


def word(x: float) -> int:
    """Bits of an fp32 number."""
    return int(struct.unpack("<I", struct.pack("<f", x))[0])


@dataclass(frozen=True)
class Matrix:
    """A weight stream in memory: bytes per channel, and the operands of its MM."""

    addr: int
    nbytes: int
    k: int
    fields: dict[str, Any]


class Image:
    """Memory that all programs of a config begin with.

    Attributes:
        memory: uint8 [cores * channels, bytes]. places: name -> (first byte, bytes). constant: programs write from here on. dump:
        where the contents of VB, then of AB are stored at the end.
    """

    def __init__(self, arch: ArchConfig, corners: bool) -> None:
        self.arch, self.rng = arch, np.random.default_rng(5 + corners)
        self.places: dict[str, tuple[int, int]] = {}
        at = PROGRAM_BYTES
        for name, size in (CONSTANTS | VARIABLES).items():
            self.places[name] = (at, size)
            at += size
        self.constant = self.places[next(iter(VARIABLES))][0]
        self.dump = at
        c = arch.channels
        size = at + 64 * VB_WORDS // c + 16 * AB_WINDOWS // c + 2 * AB_WINDOWS
        self.memory = self.rng.integers(0, 256, (arch.cores * c, -(-size // 64) * 64), np.uint8)
        self._fill(corners)
        self.matrices = self._weights()

    def view(self, name: str) -> np.ndarray:
        """uint8 [cores * channels, bytes] of a place."""
        at, size = self.places[name]
        return self.memory[:, at : at + size]

    def _fill(self, corners: bool) -> None:
        r = self.rng
        floats = self.view("f32").view("<f4")
        floats[:] = r.standard_normal(floats.shape) * 2.0 ** r.integers(-8, 6, floats.shape)
        if corners:
            words = floats.view(np.uint32)
            chosen = r.random(words.shape) < 0.01
            words[chosen] = r.choice(np.array([w | s for w in CORNERS for s in (0, 1 << 31)], np.uint32), chosen.sum())
        else:
            halves = self.view("f16").view("<f2")
            halves[:] = r.standard_normal(halves.shape)
        ids = self.view("ids").view("<i4")
        ids[:] = r.integers(0, TABLE_ROWS, ids.shape)
        scales = self.view("scales").view("<u2")
        scales[:] = np.float32(2.0 ** r.uniform(-9, -3, scales.shape)).astype("<f4").view(np.uint32) >> 16

    def _weights(self) -> list[Matrix]:
        out = []
        at, end = self.places["weights"][0], sum(self.places["weights"])
        for i in range(5 * len(LENGTHS)):
            k, m = LENGTHS[i % len(LENGTHS)], (1, 2, 4, 8)[int(self.rng.integers(4))]
            group, bias, rows = (32, 64, 128)[i % 3], bool(i % 2), int(self.rng.integers(1, 90))
            streams = []
            formats, seed = self._formats(rows, k, m), int(self.rng.integers(1 << 30))
            for core in range(self.arch.cores):  # the same formats, other weights
                matrix = random_matrix(np.random.default_rng(seed + core), rows, k, group, formats, bias)
                streams.append(pack(matrix, self.arch.channels, self.arch.vpus, m))
            fmt = stream_format(matrix, self.arch.channels, self.arch.vpus, m)
            data = np.concatenate(streams)
            assert at + data.shape[1] <= end, "the weights need more room"
            self.memory[:, at : at + data.shape[1]] = data
            fields = {
                "k": k, "slots": -(-rows // self.arch.channels), "format": fmt or 0, "table": int(fmt is None),
                "group": str(group), "rows_per_vpu": str(m), "bias": int(bias),
            }  # fmt: skip
            out.append(Matrix(at, data.shape[1], k, fields))
            at += data.shape[1]
        return out

    def _formats(self, rows: int, k: int, m: int) -> np.ndarray:
        r, blocks = self.rng, -(-k // 128)
        menu = [EntryFormat(b, n, n == 16 and bool(r.integers(2))) for b in (2, 3, 4, 5, 6, 8) for n in (16, 8, 4, 2) if n * m >= 16]
        some = np.array([f.byte for f in menu], np.uint8)[r.permutation(len(menu))[:4]]
        if r.integers(2):
            return np.broadcast_to(some[0], (rows, blocks, 1))
        granule = self.arch.channels * self.arch.vpus * m
        formats = r.choice(some, (-(-rows // granule), blocks, 2))
        formats[..., 1][r.random(formats.shape[:2]) < 0.4] = ABSENT
        return np.repeat(formats, granule, axis=0)[:rows]


@cache
def image(arch: ArchConfig, corners: bool) -> Image:
    """The image of a config; corners: with words that are no ordinary numbers."""
    return Image(arch, corners)


class Choices:
    """Small choices out of bytes; zeros when they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def __call__(self, n: int) -> int:
        """0 .. n - 1."""
        value = self._data[self._at] if self._at < len(self._data) else 0
        self._at += 1
        return value % n if n > 0 else 0

    def wide(self, n: int) -> int:
        """0 .. n - 1, of more than a byte."""
        return (self(256) << 8 | self(256)) % n if n > 0 else 0

    def of(self, values: Sequence[Any]) -> Any:
        return values[self(len(values))]


@dataclass(frozen=True)
class Rows:
    """Activation rows in AB: operand of row (0, 0), strides, counts, codes of a row, and how they were quantised."""

    operand: tuple[int, int, int]
    s0: int
    s1: int
    n0: int
    n1: int
    length: int
    quant: str

    def fields(self, name: str = "ab") -> dict[str, int]:
        return {name: self.operand[0], name + "_r": self.operand[1], name + "_s": self.operand[2]}


@dataclass
class Loop:
    """An open loop: registers that move with it, and iterations."""

    registers: list[tuple[int, int, int]]  # register, value in the first iteration, step
    count: int


@dataclass
class Program:
    """A finished program and the registers that its host sets."""

    instructions: list[Instruction]
    pos: int
    ntok: int
    nlog: int
    masken: int


@dataclass
class Builder:
    """Turns steps into instructions without tokens."""

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
        self._prologue()

    # --- operands ---------------------------------------------------------------------------------------------------
    def known(self) -> list[tuple[int, int]]:
        """(register, value) of those that are the same on all cores and do not move."""
        first, moving = self.regs[0], range(COUNTERS, REGISTERS)
        return [(r, first[r]) for r in range(1, REGISTERS) if r not in moving and all(g[r] == first[r] for g in self.regs)]

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
        rows = Rows(self.operand(c, 1 + SLOT * slot, 20, step), s0, s1, n0, n1, length, quant)
        self.rows[slot] = rows
        return rows

    def quantised(self, c: Choices, lengths: Sequence[int], quants: Sequence[str]) -> Rows:
        """Rows of such a length and kind: some that are there, or new ones."""
        there = [r for _, r in sorted(self.rows.items()) if r.length in lengths and r.quant in quants and r.n0 > 0]
        if there and c(4):
            return there[c(len(there))]
        self.special(c, kind="copy", length=c.of(lengths), quant=c.of(quants), n0=1 + c(3))
        assert self.last_rows is not None
        return self.last_rows

    def emit(self, inst: Instruction) -> None:
        self.out.append(inst)

    # --- beginning and end ------------------------------------------------------------------------------------------
    def _prologue(self) -> None:
        """Contents for VB, AB and MB; registers."""
        self.emit(LDM(addr=self.image.places["mask"][0], nbytes=MB_BYTES, dst=0))
        slots = 16 * VB_WORDS // self.arch.channels // 8
        f32 = self.image.places["f32"][0]
        self.emit(LDV(addr=f32, row=4 * slots, slots=slots, rows=8, dst=self.vb0, dst_row=VB_WORDS // 8))
        self.emit(BARRIER())
        copy = {"n0": AB_WINDOWS // 32, "n1": 1, "len": 496, "quant": "a8", "ab": 0, "ab_s0": 32}
        self.emit(ACT(src=self.vb0, src_s0=10, dst=0, dst_s0=31, **copy))
        self.emit(BARRIER())
        self._alu("add", NEGATIVE, 0, 0, -20)

    def finish(self) -> list[Instruction]:
        """Store all of VB and AB, and halt."""
        c = self.arch.channels
        self.emit(BARRIER())
        slots = 16 * VB_WORDS // c // 8
        at = self.image.dump
        self.emit(STV(src=self.vb0, src_row=VB_WORDS // 8, rows=8, slots=slots, addr=at, row=4 * slots))
        at += 32 * slots
        tokens = AB_WINDOWS // 16 - 1
        # a row's header, which is stored as bf16 only, is the last window of the row before
        append = {"kind": "K", "n0": tokens, "n1": 1, "len": 256, "ab": 0, "ab_s0": 16, "unit_bytes": 256}
        self.emit(STKV(**append, addr=at, scales=at + 16 * AB_WINDOWS // c))
        self.emit(HALT())
        return self.out

    # --- steps ------------------------------------------------------------------------------------------------------
    def build(self, steps: Sequence[tuple[str, bytes]]) -> None:
        todo = list(reversed(steps))
        while todo:
            self._step(todo)

    def _step(self, todo: list[tuple[str, bytes]]) -> None:
        kind, data = todo.pop()
        c = Choices(data)
        if kind == "loop":
            self._loop(c, todo)
        else:
            getattr(self, kind)(c)

    def _loop(self, c: Choices, todo: list[tuple[str, bytes]]) -> None:
        count, inside, depth = (2, 3, 1, 0, -4)[c(5)], 1 + c(3), len(self.loops)
        if depth == LOOP_DEPTH or self.runs * max(count, 1) > 9 or not todo:
            return
        counter = COUNTERS + depth if c(3) else 0
        registers = [(counter, 0, 1)] if counter else []
        walker, first, by = WALKERS + depth, c(256) - 128, (1, 2, -1, -2)[c(4)]
        if c(2):
            self.emit(ALU(op="add", rd=walker, imm=first - by))
            registers.append((walker, first, by))
        loop = LOOP(rd=counter, **self.count(c, "count", count, 24))
        self.emit(loop)
        start = len(self.out)
        self.emit(BARRIER())
        if len(registers) > bool(counter):
            self.emit(ALU(op="add", rd=walker, ra=walker, imm=by))
        self.loops.append(Loop(registers, max(count, 1)))
        self.runs *= max(count, 1)
        self._forget()
        for _ in range(inside):
            if todo:
                self._step(todo)
        self._forget()
        self.runs //= max(count, 1)
        self.loops.pop()
        loop.values["body"] = len(self.out) - start
        self.emit(BARRIER())

    def _forget(self) -> None:
        """Rows written inside loops: an iteration may be the first, and there may be none."""
        self.rows = {slot: r for slot, r in self.rows.items() if slot < SLOTS // 2}

    def barrier(self, c: Choices) -> None:
        self.emit(BARRIER())

    def alu(self, c: Choices) -> None:
        if not self.loops:  # known registers stay the same inside loops
            immediate = c(256) - 128 if c(2) else int.from_bytes(bytes(c(256) for _ in range(4)), "little", signed=True)
            self._alu(c.of(list(ALU_OPS)), c.of([*COMPUTED, 0]), c(16), c(16), immediate)

    def _alu(self, op: str, rd: int, ra: int, rb: int, imm: int) -> None:
        inst = ALU(op=op, rd=rd, ra=ra, rb=rb, imm=imm)
        for regs in self.regs:
            inst.execute(_Registers(regs), inst.resolve(regs))
        self.emit(inst)

    def mask(self, c: Choices) -> None:
        nbytes = c(MB_BYTES // 2)
        at, _ = self.image.places["mask"]
        self.emit(
            LDM(**self.address(c, "addr", at + c(256), 40), nbytes=nbytes, **self.address(c, "dst", c(MB_BYTES - nbytes), 16))
        )

    def load(self, c: Choices) -> None:
        dtype = c.of(["f32", "f16"])
        size = 4 if dtype == "f32" else 2
        slots, rows = 1 + c(60), c.of([1, 2, 3, 0, -3])
        row = -(-slots * size // 64) * 64 + 64 * c(2)
        names = ["f32", "stored", "kv cache"] if size == 4 else ["f16"]
        addr, move = self.memory(c, names, row * max(rows, 1), 64)
        words = -(-slots * self.arch.channels // 16)
        dst_row = words + c(2)
        dst, step, _ = self.vb(c, dst_row * max(rows, 1))
        self.emit(
            LDV(
                dtype=dtype, **self.address(c, "addr", addr, 40, move), row=row, slots=slots, **self.count(c, "rows", rows),
                **self.address(c, "dst", dst, 20, step), dst_row=dst_row,
            )
        )  # fmt: skip

    def gather(self, c: Choices) -> None:
        dtype, slots, rows = c.of(["f32", "f16"]), 1 + c(TABLE_SLOTS), c.of([1, 2, 20, 5, 0, -1])
        size = 4 if dtype == "f32" else 2
        row = -(-TABLE_SLOTS * size // 64) * 64
        ids, move = self.memory(c, ["ids"], 4 * 32, 64)
        dst_row = -(-slots * self.arch.channels // 16)
        dst, step, _ = self.vb(c, dst_row * max(rows, 1))
        self.emit(
            LDG(
                dtype=dtype, **self.address(c, "ids", ids, 40, move), table=self.image.places[dtype][0] + 64 * c(8), row=row,
                limit=TABLE_ROWS, slots=slots, **self.count(c, "rows", rows), **self.address(c, "dst", dst, 20, step),
                dst_row=dst_row,
            )
        )  # fmt: skip

    def store(self, c: Choices) -> None:
        slots, rows = 1 + c(60), c.of([1, 2, 3, 0, -3])
        row = -(-slots * 4 // 64) * 64 + 64 * c(2)
        addr, move = self.memory(c, ["stored"], row * max(rows, 1), 64)
        src_row = c(12)
        src, step, _ = self.vb(c, src_row * max(rows - 1, 0) + -(-slots * self.arch.channels // 16))
        self.emit(
            STV(
                **self.address(c, "src", src, 20, step), src_row=src_row, **self.count(c, "rows", rows), slots=slots,
                **self.address(c, "addr", addr, 40, move), row=row,
            )
        )  # fmt: skip

    def append(self, c: Choices) -> None:
        kind, bits, channels = c.of("KV"), c.of((8, 4)), self.arch.channels
        rows = self.quantised(c, [n for n in LENGTHS if n % max(16, channels) == 0], ("kv8", "kv4", "a8"))
        n0, n1, pos = min(rows.n0, (4, 3, 2, 1, 0, -2)[c(6)]), rows.n1, c(40)
        if kind == "K":
            unit, granule = rows.length * bits // 8, channels
        else:
            slots = rows.length // channels
            unit, granule = (slots + (slots % 2 if bits == 4 else 0)) * 2 * bits, 16
        head = -(-((pos + 4) // granule + 1) * unit // 16) * 16 + 16 * c(3)
        if head * n1 > 0x6000:
            pos = 0
            head = -(-(4 // granule + 1) * unit // 16) * 16
        cache = self.image.places["kv cache"][0]
        addr = cache + 16 * c(64)
        scales = cache + 0x7000 + 2 * c(32)
        assert addr + head * n1 <= cache + 0x7000
        self.emit(
            STKV(
                kind=kind, bits=str(bits), **rows.fields(), ab_s0=rows.s0, ab_s1=rows.s1, **self.count(c, "n0", n0), n1=n1,
                len=rows.length, **self.count(c, "pos", pos, 24), **self.address(c, "addr", addr, 40), head=head,
                unit_bytes=unit, **self.address(c, "scales", scales, 40),
            )
        )  # fmt: skip

    def exchange(self, c: Choices) -> None:
        n, rows, cores = 1 + c(4), c.of([1, 2, 3, 0, -1]), self.arch.cores
        src_row, dst_row = c(6), n * cores + c(2)
        src, move, hull = self.vb(c, src_row * max(rows - 1, 0) + n)
        dst, step, _ = self.vb(c, dst_row * max(rows, 1), [hull])
        self.emit(
            XCHG(
                **self.address(c, "src", src, 20, move), src_row=src_row, **self.address(c, "dst", dst, 20, step),
                dst_row=dst_row, n=n, **self.count(c, "n0", rows),
            )
        )  # fmt: skip

    def special(
        self, c: Choices, kind: str | None = None, length: int = 0, quant: str | None = None, n0: int | None = None
    ) -> None:
        kind = kind or c.of(["copy", "relu", "silu", "gelu", "add", "rms", "layer", "rope"])
        length = length or (c.of(LENGTHS) if c(2) else 2 * (1 + c(150)))
        quant = c.of(QUANT) if quant is None else quant
        n0, n1 = c.of([1, 2, 3, 0, -2]) if n0 is None else n0, 1 + c(2)
        windows = row_windows(length, quant == "dual")
        while max(n0, 1) * n1 * windows > SLOT - 2:
            n0, n1 = (n0, 1) if n1 > 1 else (n0 - 1, 1)
        words = -(-length // 16)

        def rows(pad: int) -> tuple[int, int, int]:
            """(stride of i0, of i1, words) of vectors that do not touch each other."""
            row = words + pad
            return (row * n1, row, row * max(n0, 1) * n1) if c(2) == 0 else (row, row * max(n0, 1), row * max(n0, 1) * n1)

        s0, s1, size = rows(c(2))
        src, move, hull = self.vb(c, size)
        from_ = {**self.address(c, "src", src, 20, move), "src_s0": s0, "src_s1": s1}
        avoid, more = [hull], {}
        if kind in ("rms", "layer"):
            for name in ("gamma", "beta"):
                at = self.vb0 + c.wide(VB_WORDS - words)
                more[name] = at
                avoid.append((at, at + words))
            more |= {"kind": kind, "inv_n": word(1 / max(1, length - c(3))), "eps": word(1e-5)}
        elif kind == "rope":
            stride = words + c(2)
            at, _, table = self.vb(c, stride * max(n0, 1), still=True)
            more |= {"table": at, "table_s0": stride}
            avoid.append(table)
        elif kind == "add" or c(2):
            name = "other" if kind == "add" else "gate"
            stride0, stride1 = c(words + 2), c(words + 2)
            at, moves, other = self.vb(c, stride0 * max(n0 - 1, 0) + stride1 * (n1 - 1) + words)
            more |= {**self.address(c, name, at, 20, moves), name + "_s0": stride0, name + "_s1": stride1}
            more |= {"gated": 1} if name == "gate" else {}
            avoid.append(other)
        if kind not in ("rms", "layer", "rope", "add"):
            more["kind"] = kind
        if c(3) == 0 and all(hull[1] <= lo or hi <= hull[0] for lo, hi in avoid[1:]):  # in place
            to = {k.replace("src", "dst"): v for k, v in from_.items()}
        else:
            d0, d1, _ = rows(c(2))
            dst, step, _ = self.vb(c, d0 * max(n0 - 1, 0) + d1 * (n1 - 1) + words, avoid)
            to = {**self.address(c, "dst", dst, 20, step), "dst_s0": d0, "dst_s1": d1}
        cls = {"rms": NORM, "layer": NORM, "rope": ROPE, "add": ADD}.get(kind, ACT)
        place: dict[str, Any] = {}
        if quant != "none":
            target = self.ab(c, n0, n1, length, quant)
            self.last_rows = target
            place = {**target.fields(), "ab_s0": target.s0, "ab_s1": target.s1}
        self.emit(cls(**from_, **to, **self.count(c, "n0", n0), n1=n1, len=length, quant=quant, **place, **more))

    def mm(self, c: Choices) -> None:
        rows = self.quantised(c, LENGTHS, ("a8", "dual", "kv8"))
        matrix = c.of([m for m in self.image.matrices if m.k == rows.length])
        stride, most = (rows.s0, rows.n0) if c(2) == 0 else (rows.s1, rows.n1)
        tokens = min(most, (4, 3, 2, 1, 0, -1)[c(6)])
        dst_row = -(-matrix.fields["slots"] * self.arch.channels // 16) + c(2)
        dst, step, _ = self.vb(c, dst_row * max(tokens, 1))
        self.emit(LDW(**self.address(c, "addr", matrix.addr, 40), nbytes=matrix.nbytes))
        self.emit(
            MM(
                **rows.fields(), ab_row=stride, **self.count(c, "tokens", tokens), **self.address(c, "dst", dst, 20, step),
                dst_row=dst_row, accumulate=c(2), dual=int(rows.quant == "dual"), **matrix.fields,
            )
        )  # fmt: skip

    def attention(self, c: Choices) -> None:
        """Scores, softmax, values of one head, or only the scores."""
        channels = self.arch.channels
        queries = self.quantised(c, HEADS, ("a8", "dual"))
        d, n0, n1 = queries.length, min(queries.n0, (2, 1, 3, 0)[c(4)]), queries.n1
        length = (20, 64, 130, 1, 65, 128, 190, 0)[c(8)] + c(3)
        while max(n0, 1) * n1 * row_windows(length, True) > SLOT - 2:
            length //= 2
        sink, first, masked, mask, bits = c(3), c(4), c(2), c(MB_BYTES - 1), c.of((8, 4))

        def keys(with_mask: bool = True) -> dict[str, int]:
            f = {**self.count(c, "len", length, 24), "sink": sink, **self.count(c, "first", first, 12)}
            return f | ({**self.address(c, "mask", mask, 16), "masked": masked} if with_mask else {})

        slots = -(-d // channels)
        row_slots = slots + (slots % 2 if bits == 4 else 0)
        units = {"K": (d * bits // 8, -(-length // channels)), "V": (row_slots * 2 * bits, -(-length // 16))}
        heads = 1 + c(2)
        words = -(-(length + channels) // 16) + 1
        scale_hulls, scales = [], []
        for _ in range(2):
            addr, _ = self.memory(c, ["scales", "kv cache"], 2 * heads * (length // channels + 1), 2, still=True)
            at, _, hull = self.vb(c, words * heads, still=True)
            self.emit(
                LDS(
                    **keys(False), **self.address(c, "addr", addr, 40), heads=heads, **self.address(c, "dst", at), dst_head=words
                )
            )
            scales.append(at + words * c(heads))
            scale_hulls.append(hull)
        rows = max(n0, 1) * n1
        score, _, _ = self.vb(c, words * rows, scale_hulls, still=True)
        group = {**queries.fields(), "ab_s0": queries.s0, "ab_s1": queries.s1, "n1": n1, "bits": str(bits)}
        self._stream(c, "K", keys(), *units["K"])
        self.emit(
            MMQK(
                **keys(), **group, **self.count(c, "n0", n0), **self.address(c, "dst", score), dst_s0=words * n1,
                dst_s1=words, dual=int(queries.quant == "dual"), k=d,
            )
        )  # fmt: skip
        if c(5) == 4:
            return
        soft = self.ab(c, n0, n1, length, "dual")
        self.rows = {slot: r for slot, r in self.rows.items() if r is not soft}  # has rows only where blocks are active
        place = {**soft.fields(), "ab_s0": soft.s0, "ab_s1": soft.s1}
        self.emit(
            SOFTMAX(
                **keys(), **self.address(c, "src", score), src_s0=words * n1, src_s1=words, **self.address(c, "ks", scales[0]),
                **self.address(c, "vs", scales[1]), **self.count(c, "n0", n0), n1=n1,
                **self.count(c, "qpos", (length - n0, length, 3, -2)[c(4)], 24), window=(0, 1, 20, 100)[c(4)],
                sink_tokens=(0, 4)[c(2)], alpha=word(0.18), **place,
            )
        )  # fmt: skip
        out_row = -(-slots * channels // 16)
        dst, _, _ = self.vb(c, out_row * rows, still=True)
        self._stream(c, "V", keys(), *units["V"])
        self.emit(
            MMPV(
                **keys(), **place, **self.count(c, "n0", n0), n1=n1, bits=str(bits), **self.address(c, "dst", dst),
                dst_s0=out_row * n1, dst_s1=out_row, dual=1, slots=slots - c(2) * (slots > 1), row_slots=row_slots,
            )
        )  # fmt: skip

    def _stream(self, c: Choices, kind: str, keys: dict[str, int], unit: int, units: int) -> None:
        addr, _ = self.memory(c, ["kv", "kv cache"], unit * units, 8, still=True)
        self.emit(LDK(**keys, kind=kind, **self.address(c, "addr", addr, 40), unit_bytes=unit))


class _Registers:
    """The part of a core that ALU needs."""

    def __init__(self, regs: list[int]) -> None:
        self.regs = regs


def hoist(program: list[Instruction], moves: Sequence[tuple[int, int]]) -> list[Instruction]:
    """Move loads up: (number of the load, how far). Not past a barrier, a loop, a change of registers, or another load of its ring."""
    out = list(program)
    loads = [inst for inst in program if isinstance(inst, LDW | LDK | LDS | LDV)]
    for number, far in moves:
        inst = loads[number % len(loads)]
        at = next(i for i, other in enumerate(out) if other is inst)
        for _ in range(far):
            before = out[at - 1]
            if isinstance(before, BARRIER | LOOP | ALU | LDM) or type(before) is type(inst):
                break
            out[at - 1], out[at] = inst, before
            at -= 1
    return out


def put_tokens(program: list[Instruction], arch: ArchConfig, host: tuple[int, int, int, int], more: Sequence[tuple[int, int]]) -> None:
    """Set wait and signal masks: those that are needed, and some more from one instruction to a later one."""
    for inst in program:
        inst.wait = inst.signal = 0
    items = [Item(inst) for inst in program]
    pos, ntok, nlog, masken = host
    for core in range(arch.cores):
        for pc, inst, o in trace(program, host_registers(pos, ntok, core, nlog, bool(masken))):
            for a in inst.footprint(o, arch):
                if not a.empty and a.space not in ("W", "K"):
                    at = (a.space, *a.span)
                    if a.write:
                        items[pc].writes += (at,)
                    else:
                        items[pc].reads += (at,)
    assign_tokens(items)
    for giver, taker in more:
        low, high = sorted((giver % len(program), taker % len(program)))
        a, b = program[low], program[high]
        straight = not any(isinstance(i, BARRIER | LOOP) for i in program[low : high + 1])
        if straight and a.unit in TOKEN_UNITS and b.unit in TOKEN_UNITS and a.unit != b.unit:
            if not a.signal >> b.unit & 1 and not b.wait >> a.unit & 1:
                a.signal |= 1 << b.unit
                b.wait |= 1 << a.unit


def build_program(
    arch: ArchConfig,
    base: Image,
    host: tuple[int, int, int, int],
    steps: Sequence[tuple[str, bytes]],
    moves: Sequence[tuple[int, int]],
    more: Sequence[tuple[int, int]],
    accepted: Callable[[list[Instruction]], bool],
) -> Program:
    """The program of these steps, as rearranged as the checker allows."""
    builder = Builder(arch, base, host)
    builder.build(steps)
    plain = builder.finish()
    for order, extra in ((hoist(plain, moves), more), (hoist(plain, moves), ()), (plain, more), (plain, ())):
        put_tokens(order, arch, host, extra)
        if accepted(order):
            return Program(order, *host)
    raise AssertionError("the checker refuses a program that ought to be legal")
