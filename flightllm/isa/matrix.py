"""Instructions of the matrix unit (MPE): weights, and the two halves of attention.

Numbers: docs/numerics.md, "Matrices". All three write fp32 rows to VB; row r of a matrix is element r of the output vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flightllm.isa.blocks import BlockRange, active_blocks, footprint_blocks, key_slots, unit_positions, units_of
from flightllm.isa.fields import Addr, Choice, Count, Field, Flag, Instruction, Operands, Unit
from flightllm.isa.footprint import Access
from flightllm.isa.load import AB_BITS, VB_BITS
from flightllm.numerics import fp32

GROUPS = ("32", "64", "128")
ROWS_PER_VPU = ("1", "2", "4", "8")
KV_BITS = ("8", "4")
#: codes of a head at most: the windows of a K row fill the replay buffer of the matrix unit
HEAD_CODES = 256


def row_windows(length: int, dual: bool) -> int:
    """AB windows of a quantised row of `length` codes, header included."""
    return 1 + -(-max(0, length) // 16) * (2 if dual else 1)


class MM(Instruction):
    """Matrix x tokens: pop one weight stream from the W ring, multiply with AB rows, write or add to VB.

    y[t, r] for r < slots * C; see docs/streams.md for the stream. Every byte pushed by the matching LDW is consumed.
    """

    opcode = 0x18
    unit = Unit.M
    ab = Addr("AB", AB_BITS, "first activation row")
    ab_row = Field(AB_BITS, "windows from token to token")
    tokens = Count(16, "tokens")
    k = Field(24, "columns")
    slots = Field(20, "rows per channel")
    dst = Addr("VB", VB_BITS, "row 0 of token 0")
    dst_row = Field(VB_BITS, "VB units of 16 from token to token")
    format = Field(8, "format byte of all entries, if table is 0")
    table = Flag("the stream has a format table per strip")
    group = Choice(GROUPS, "columns of a group")
    rows_per_vpu = Choice(ROWS_PER_VPU, "m: slots of a strip = m * V")
    bias = Flag("the stream has a bias per row")
    accumulate = Flag("add to VB instead of overwriting")
    dual = Flag("activations have two codes per element")

    def execute(self, core: Any, o: Operands) -> None:
        w = core.pop_weights(o, self)
        n = max(0, o.tokens)
        codes, scale = core.ab_codes(o.ab, (n,), (o.ab_row,), o.k, o.dual)
        total = codes.astype(np.float64) @ w.effective.T  # exact: below 2^53
        y = fp32.mul_flushed(fp32.mul_flushed(fp32.from_int48(total), w.rho), scale[:, None])
        if o.bias:
            y = fp32.add_flushed(y, w.bias)
        out = core.vb_rows(o.dst, (n,), (o.dst_row,), o.slots * core.channels)
        out[:] = fp32.add(out, y) if o.accumulate else y

    def footprint(self, o: Operands, arch: Any) -> Iterator[Access]:
        yield Access("W", False, 0, -1)  # length known only from the stream; the matching LDW states it
        yield Access("AB", False, o.ab, row_windows(o.k, o.dual), (o.tokens,), (o.ab_row,))
        rows = (16 * o.dst, o.slots * arch.channels, (o.tokens,), (16 * o.dst_row,))
        if o.accumulate:
            yield Access("VB", False, *rows)
        yield Access("VB", True, *rows)


class AttentionMatrix(BlockRange, register=False):
    """Operands that MMQK and MMPV share: n0 queries x n1 heads of AB rows in, as many VB rows out."""

    ab = Addr("AB", AB_BITS, "activation row (0, 0)")
    ab_s0 = Field(AB_BITS, "windows from query to query")
    ab_s1 = Field(AB_BITS, "windows from head to head")
    n0 = Count(16, "queries")
    n1 = Field(10, "heads of the group")
    bits = Choice(KV_BITS, "KV code bits")
    dst = Addr("VB", VB_BITS, "first element of row (0, 0)")
    dst_s0 = Field(VB_BITS, "VB units of 16 from query to query")
    dst_s1 = Field(VB_BITS, "VB units of 16 from head to head")
    dual = Flag("activations have two codes per element")


class MMQK(AttentionMatrix):
    """Scores: K stream of one head x query rows (n0 queries x n1 heads of the group); only active blocks are written.

    score[i0, i1, p] = mul(float(sum_k K[p, k] * q[i0, i1, k]), s_q) at VB element p of row (i0, i1).
    """

    opcode = 0x19
    unit = Unit.M
    k = Field(16, "head size, a multiple of 16, at most 256")

    def execute(self, core: Any, o: Operands) -> None:
        c = core.channels
        blocks = active_blocks(o, core.mb)
        data = core.pop_kv("K", blocks, self)
        keys = unpack_k(data, o.k, int(o.bits))
        unit = unit_positions("K", c)
        n0 = max(0, o.n0)
        codes, scale = core.ab_codes(o.ab, (n0, o.n1), (o.ab_s0, o.ab_s1), o.k, o.dual)
        total = codes.astype(np.float64) @ keys.astype(np.float64).T
        y = fp32.mul(fp32.from_int48(total), scale[..., None])
        at = 0
        for b in blocks:
            lo, hi = units_of(b, o.len, c)
            n = (hi - lo) * c
            core.vb_elements(16 * o.dst + lo * c, (n0, o.n1), (16 * o.dst_s0, 16 * o.dst_s1), n)[:] = y[
                ..., at : at + n
            ]
            first, last = units_of(b, o.len, unit)
            at += (last - first) * unit

    def footprint(self, o: Operands, arch: Any) -> Iterator[Access]:
        c = arch.channels
        total = 0
        yield Access("AB", False, o.ab, row_windows(o.k, o.dual), (o.n0, o.n1), (o.ab_s0, o.ab_s1))
        for b in footprint_blocks(o):
            lo, hi = units_of(b, o.len, unit_positions("K", c))
            total += (hi - lo) * key_slots(c) * o.k * int(o.bits) // 8
            lo, hi = units_of(b, o.len, c)
            strides = (16 * o.dst_s0, 16 * o.dst_s1)
            yield Access("VB", True, 16 * o.dst + lo * c, (hi - lo) * c, (o.n0, o.n1), strides)
        if o.masked:
            yield Access("MB", False, o.mask, -(-max(0, o.len) // 512))
        yield Access("K", False, 0, total)

    def broken_rules(self, arch: Any) -> Iterator[str]:
        yield from head_rules("k", self.values["k"])


class MMPV(AttentionMatrix):
    """Weighted values: V stream of one head x softmax rows; out[i0, i1, i] for the head's dimensions i < slots * C.

    out = mul(float(sum over the keys of active blocks of p * v), s_p). Without any key nothing is written.
    """

    opcode = 0x1A
    unit = Unit.M
    slots = Field(12, "dimensions per channel that are written")
    row_slots = Field(12, "row slots stored per window (slots, even for 4 bits)")

    def execute(self, core: Any, o: Operands) -> None:
        c = core.channels
        blocks = active_blocks(o, core.mb)
        data = core.pop_kv("V", blocks, self)
        if not blocks:
            return
        values = unpack_v(data, o.row_slots, int(o.bits))[: o.slots * c]
        n0 = max(0, o.n0)
        codes, scale = core.ab_codes(o.ab, (n0, o.n1), (o.ab_s0, o.ab_s1), o.len, o.dual)
        windows = [range(*units_of(b, o.len, 16)) for b in blocks]
        if sum(map(len, windows)) != codes.shape[-1] // 16:
            cols = np.concatenate([np.arange(16 * r.start, 16 * r.stop) for r in windows])
            codes = codes[..., cols]
        total = codes.astype(np.float64) @ values.astype(np.float64).T
        y = fp32.mul(fp32.from_int48(total), scale[..., None])
        core.vb_rows(o.dst, (n0, o.n1), (o.dst_s0, o.dst_s1), o.slots * c)[:] = y

    def footprint(self, o: Operands, arch: Any) -> Iterator[Access]:
        total = 0
        per = 2 if o.dual else 1
        strides = (o.ab_s0, o.ab_s1)
        yield Access("AB", False, o.ab, 1, (o.n0, o.n1), strides)
        for b in footprint_blocks(o):
            lo, hi = units_of(b, o.len, 16)
            total += (hi - lo) * o.row_slots * 2 * int(o.bits)
            yield Access("AB", False, o.ab + 1 + per * lo, per * (hi - lo), (o.n0, o.n1), strides)
        if o.masked:
            yield Access("MB", False, o.mask, -(-max(0, o.len) // 512))
        yield Access("K", False, 0, total)
        yield Access("VB", True, 16 * o.dst, o.slots * arch.channels, (o.n0, o.n1), (16 * o.dst_s0, 16 * o.dst_s1))

    def broken_rules(self, arch: Any) -> Iterator[str]:
        slots, stored = self.values["slots"], self.values["row_slots"]
        yield from head_rules("slots * C", slots * arch.channels, 1)
        bits = KV_BITS[self.values["bits"]]
        if stored != stored_slots(slots, int(bits)):
            yield f"row_slots is {stored} for {slots} slots of {bits} bits"


def stored_slots(slots: int, bits: int) -> int:
    """Row slots that a V window stores for `slots` slots of a head: 4-bit codes of two share a byte."""
    return slots + slots % 2 if bits == 4 else slots


def head_rules(name: str, length: int, multiple: int = 16) -> Iterator[str]:
    """Rules for the size of a head; name: of the operand."""
    if not 0 < length <= HEAD_CODES:
        yield f"{name} is {length}; heads have 1 to {HEAD_CODES} codes"
    if length % multiple:
        yield f"{name} is {length}, not a multiple of {multiple}"


def nibbles(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) signed 4-bit halves of uint8 data, as int8."""
    low = ((data & 15) ^ 8).astype(np.int8) - np.int8(8)
    high = ((data >> 4) ^ 8).astype(np.int8) - np.int8(8)
    return low, high


def unpack_k(data: np.ndarray, k: int, bits: int) -> np.ndarray:
    """K ring bytes uint8 [C, units * key_slots * k * bits / 8] -> int8 codes [units * key_slots * C, k].

    Row: position within the units of the active blocks.
    """
    c, slots = data.shape[0], key_slots(data.shape[0])
    codes = data.view(np.int8) if bits == 8 else np.stack(nibbles(data), axis=-1)
    windows = codes.reshape(c, -1, k // 16, slots, 16)
    return windows.transpose(1, 3, 0, 2, 4).reshape(-1, k)


def unpack_v(data: np.ndarray, row_slots: int, bits: int) -> np.ndarray:
    """K ring bytes uint8 [C, windows * row_slots * 2 * bits] -> int8 codes [row_slots * C, windows * 16]."""
    c = data.shape[0]
    if bits == 8:
        codes = data.view(np.int8).reshape(c, -1, row_slots, 16)
    else:
        pairs = data.reshape(c, -1, row_slots // 2, 16)
        codes = np.stack(nibbles(pairs), axis=3).reshape(c, -1, row_slots, 16)
    return codes.transpose(2, 0, 1, 3).reshape(row_slots * c, -1)
