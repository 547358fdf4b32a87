"""Steps of random programs: each becomes one instruction, or the few that belong together."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from program_image import AB_WINDOWS, LENGTHS, MB_BYTES, TABLE_ROWS, TABLE_SLOTS, VB_WORDS, ab_dump
from program_operands import COMPUTED, COUNTERS, NEGATIVE, SLOT, SLOTS, WALKERS, Choices, Loop, Operands, Rows

from flightllm.isa.blocks import key_slots, unit_positions
from flightllm.isa.control import ALU, ALU_OPS, BARRIER, HALT, LOOP, LOOP_DEPTH
from flightllm.isa.fields import Instruction
from flightllm.isa.load import LDG, LDK, LDM, LDS, LDV, LDW
from flightllm.isa.matrix import MM, MMPV, MMQK, row_windows
from flightllm.isa.special import ACT, ADD, NORM, QUANT, ROPE, SOFTMAX
from flightllm.isa.store import STKV, STV, XCHG

HEADS = (16, 32, 48, 64)
KINDS = (
    "special", "mm", "attention", "load", "gather", "store", "append", "exchange", "mask", "alu", "barrier", "loop",
    "special", "special", "mm", "attention",
)  # fmt: skip
#: registers: set by random arithmetic, a negative number, loop counters, registers that loops step


def word(x: float) -> int:
    """Bits of an fp32 number."""
    return int(struct.unpack("<I", struct.pack("<f", x))[0])


@dataclass
class Builder(Operands):
    """Turns steps into instructions without tokens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._prologue()

    def quantised(self, c: Choices, lengths: Sequence[int], quants: Sequence[str]) -> Rows:
        """Rows of such a length and kind: some that are there, or new ones."""
        there = [r for _, r in sorted(self.rows.items()) if r.length in lengths and r.quant in quants and r.n0 > 0]
        if there and c(4):
            return there[c(len(there))]
        self.special(c, length=c.of(lengths), quant=c.of(quants), n0=1 + c(3))
        assert self.last_rows is not None
        return self.last_rows

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
        append = {"kind": "K", "n0": tokens, "n1": 1, "len": 256, "ab": 0, "ab_s0": 16}
        append["unit_bytes"] = 256 * key_slots(c)
        self.emit(STKV(**append, addr=at, scales=at + ab_dump(c)))
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
            LDM(
                **self.address(c, "addr", at + c(256), 40),
                nbytes=nbytes,
                **self.address(c, "dst", c(MB_BYTES - nbytes), 16),
            )
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
            unit, granule = key_slots(channels) * rows.length * bits // 8, unit_positions("K", channels)
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
                kind=kind, bits=str(bits), **self.ab_fields(c, rows), ab_s0=rows.s0, ab_s1=rows.s1, **self.count(c, "n0", n0), n1=n1,
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

    def special(self, c: Choices, length: int = 0, quant: str | None = None, n0: int | None = None) -> None:
        kind = c.of(["copy", "relu", "silu", "gelu", "add", "rms", "layer", "rope"])
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
            return (
                (row * n1, row, row * max(n0, 1) * n1) if c(2) == 0 else (row, row * max(n0, 1), row * max(n0, 1) * n1)
            )

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
            place = {**self.ab_fields(c, target), "ab_s0": target.s0, "ab_s1": target.s1}
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
                **self.ab_fields(c, rows), ab_row=stride, **self.count(c, "tokens", tokens), **self.address(c, "dst", dst, 20, step),
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
        units = {
            "K": (key_slots(channels) * d * bits // 8, -(-length // unit_positions("K", channels))),
            "V": (row_slots * 2 * bits, -(-length // 16)),
        }
        heads = 1 + c(2)
        words = -(-(length + channels) // 16) + 1
        # scales of one KV head for all, or of two
        kv_group = -(-n1 // 2) if heads == 2 and n1 > 1 and c(2) else 0
        scale_hulls, scales = [], []
        for _ in range(2):
            addr, _ = self.memory(c, ["scales", "kv cache"], 2 * heads * (length // channels + 1), 2, still=True)
            at, _, hull = self.vb(c, words * heads, still=True)
            self.emit(
                LDS(
                    **keys(False),
                    **self.address(c, "addr", addr, 40),
                    heads=heads,
                    **self.address(c, "dst", at),
                    dst_head=words,
                )
            )
            scales.append(at if kv_group else at + words * c(heads))
            scale_hulls.append(hull)
        rows = max(n0, 1) * n1
        score, _, _ = self.vb(c, words * rows, scale_hulls, still=True)
        group = {**self.ab_fields(c, queries), "ab_s0": queries.s0, "ab_s1": queries.s1, "n1": n1, "bits": str(bits)}
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
        place = {"ab_s0": soft.s0, "ab_s1": soft.s1}
        self.emit(
            SOFTMAX(
                **keys(), **self.address(c, "src", score), src_s0=words * n1, src_s1=words, ks=scales[0], vs=scales[1],
                kv_s=words, group=kv_group, **self.count(c, "n0", n0), n1=n1,
                **self.count(c, "qpos", (length - n0, length, 3, -2)[c(4)], 24), window=(0, 1, 20, 100)[c(4)],
                sink_tokens=(0, 4)[c(2)], alpha=word(0.18), **self.ab_fields(c, soft),
                **place,
            )
        )  # fmt: skip
        out_row = -(-slots * channels // 16)
        dst, _, _ = self.vb(c, out_row * rows, still=True)
        self._stream(c, "V", keys(), *units["V"])
        self.emit(
            MMPV(
                **keys(), **self.ab_fields(c, soft), **place, **self.count(c, "n0", n0), n1=n1, bits=str(bits),
                **self.address(c, "dst", dst),
                dst_s0=out_row * n1, dst_s1=out_row, dual=1, slots=slots, row_slots=row_slots,
            )
        )  # fmt: skip

    def _stream(self, c: Choices, kind: str, keys: dict[str, int], unit: int, units: int) -> None:
        addr, _ = self.memory(c, ["kv", "kv cache"], unit * units, 8, still=True)
        self.emit(LDK(**keys, kind=kind, **self.address(c, "addr", addr, 40), unit_bytes=unit))


class _Registers:
    """The part of a core that ALU needs."""

    def __init__(self, regs: list[int]) -> None:
        self.regs = regs
