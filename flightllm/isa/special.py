"""Instructions of the special-function unit (SFU): fp32 vectors in VB, optionally quantised into AB afterwards.

Every instruction works on n0 x n1 vectors (tokens x heads). Numbers and their order: docs/numerics.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flightllm.isa.blocks import BLOCK_POSITIONS, BlockRange, active_blocks, footprint_blocks, units_of
from flightllm.isa.fields import Addr, Choice, Count, Field, Flag, Float, Instruction, Operands, Unit
from flightllm.isa.footprint import Access
from flightllm.isa.load import AB_BITS, VB_BITS
from flightllm.isa.matrix import row_windows
from flightllm.numerics import fp32, sfu

QUANT = ("none", "a8", "dual", "kv8", "kv4")


class Special(Instruction, register=False):
    """Common parts of SFU instructions: n0 x n1 vectors of `len` elements in and out, and the quantise phase."""

    src = Addr("VB", VB_BITS, "source vector (0, 0)")
    src_s0 = Field(VB_BITS, "VB units of 16 from token to token")
    src_s1 = Field(VB_BITS, "VB units of 16 from head to head")
    dst = Addr("VB", VB_BITS, "result (0, 0)")
    dst_s0 = Field(VB_BITS, "VB units of 16 from token to token")
    dst_s1 = Field(VB_BITS, "VB units of 16 from head to head")
    n0 = Count(16, "tokens")
    n1 = Field(10, "vectors per token")
    len = Field(24, "elements of a vector")
    quant = Choice(QUANT, "quantise the result into AB")
    ab = Addr("AB", AB_BITS, "AB row (0, 0)")
    ab_s0 = Field(AB_BITS, "windows from token to token")
    ab_s1 = Field(AB_BITS, "windows from head to head")

    @staticmethod
    def source(core: Any, o: Operands) -> np.ndarray:
        return core.vb_rows(o.src, (max(0, o.n0), o.n1), (o.src_s0, o.src_s1), o.len)

    @staticmethod
    def finish(core: Any, o: Operands, y: np.ndarray) -> None:
        """Write the result [n0, n1, len] to VB and, if asked, quantise it into AB."""
        core.vb_rows(o.dst, y.shape[:2], (o.dst_s0, o.dst_s1), o.len)[:] = y
        if o.quant != "none":
            core.quantise(y, o.quant, o.ab, (o.ab_s0, o.ab_s1))

    @staticmethod
    def vectors(o: Operands) -> Iterator[Access]:
        """Accesses to src, dst and AB."""
        n = (o.n0, o.n1)
        yield Access("VB", False, 16 * o.src, o.len, n, (16 * o.src_s0, 16 * o.src_s1))
        yield Access("VB", True, 16 * o.dst, o.len, n, (16 * o.dst_s0, 16 * o.dst_s1))
        if o.quant != "none":
            # The quantise phase reads back what the first phase wrote: the same place, no further access to order.
            yield Access("AB", True, o.ab, row_windows(o.len, o.quant == "dual"), n, (o.ab_s0, o.ab_s1))


class NORM(Special):
    """RMSNorm or LayerNorm of n0 x n1 vectors of `len` elements."""

    opcode = 0x20
    unit = Unit.S
    kind = Choice(("rms", "layer"), "which norm")
    gamma = Field(VB_BITS, "weights, `len` elements")
    beta = Field(VB_BITS, "offsets (layer only)")
    inv_n = Float("1 / number of real elements")
    eps = Float("added to the variance")

    def execute(self, core: Any, o: Operands) -> None:
        x = self.source(core, o)
        gamma = core.vb_rows(o.gamma, (), (), o.len)
        if o.kind == "rms":
            y = sfu.norm_rms(x, gamma, o.inv_n, o.eps)
        else:
            # Padding must not count: real elements come first, their number is the rounded 1 / inv_n.
            y = sfu.norm_layer(x, gamma, core.vb_rows(o.beta, (), (), o.len), o.inv_n, o.eps)
        self.finish(core, o, y)

    def footprint(self, o: Operands, arch: Any) -> Iterator[Access]:
        yield Access("VB", False, 16 * o.gamma, o.len)
        if o.kind == "layer":
            yield Access("VB", False, 16 * o.beta, o.len)
        yield from self.vectors(o)


class ACT(Special):
    """Activation function, then the product with a gate partner if `gated`; kind `copy` passes the source through."""

    opcode = 0x21
    unit = Unit.S
    kind = Choice(("copy", "relu", "silu", "gelu"), "function")
    gated = Flag("multiply with the gate partner")
    gate = Addr("VB", VB_BITS, "gate partner (0, 0)")
    gate_s0 = Field(VB_BITS, "VB units of 16 from token to token")
    gate_s1 = Field(VB_BITS, "VB units of 16 from head to head")

    def execute(self, core: Any, o: Operands) -> None:
        x = self.source(core, o)
        gate = None
        if o.gated:
            gate = core.vb_rows(o.gate, (max(0, o.n0), o.n1), (o.gate_s0, o.gate_s1), o.len)
        if o.kind == "copy":
            y = x.copy() if gate is None else fp32.mul(x, gate)
        else:
            y = sfu.act(o.kind, x, gate)
        self.finish(core, o, y)

    def footprint(self, o: Operands, arch: Any) -> Iterator[Access]:
        if o.gated:
            yield Access("VB", False, 16 * o.gate, o.len, (o.n0, o.n1), (16 * o.gate_s0, 16 * o.gate_s1))
        yield from self.vectors(o)


class ADD(Special):
    """Sum of two sets of vectors."""

    opcode = 0x22
    unit = Unit.S
    other = Addr("VB", VB_BITS, "second operand (0, 0)")
    other_s0 = Field(VB_BITS, "VB units of 16 from token to token")
    other_s1 = Field(VB_BITS, "VB units of 16 from head to head")

    def execute(self, core: Any, o: Operands) -> None:
        other = core.vb_rows(o.other, (max(0, o.n0), o.n1), (o.other_s0, o.other_s1), o.len)
        self.finish(core, o, fp32.add(self.source(core, o), other))

    def footprint(self, o: Operands, arch: Any) -> Iterator[Access]:
        yield Access("VB", False, 16 * o.other, o.len, (o.n0, o.n1), (16 * o.other_s0, 16 * o.other_s1))
        yield from self.vectors(o)


class ROPE(Special):
    """Rotary embedding of heads of `len` elements, half-split; row t of the table is cos[len/2] then sin[len/2]."""

    opcode = 0x23
    unit = Unit.S
    table = Field(VB_BITS, "row of token 0")
    table_s0 = Field(VB_BITS, "VB units of 16 from token to token")

    def execute(self, core: Any, o: Operands) -> None:
        table = core.vb_rows(o.table, (max(0, o.n0), 1), (o.table_s0, 0), o.len)
        half = o.len // 2
        self.finish(core, o, sfu.rope(self.source(core, o), table[..., :half], table[..., half:]))

    def footprint(self, o: Operands, arch: Any) -> Iterator[Access]:
        yield Access("VB", False, 16 * o.table, o.len, (o.n0,), (16 * o.table_s0,))
        yield from self.vectors(o)


class SOFTMAX(BlockRange):
    """Softmax over the visible keys of n0 queries x n1 heads, scaled by the value scales, as dual rows in AB.

    Row (i0, i1) belongs to the query at position qpos + i0. Scores are overwritten with the unnormalised products u. Codes of
    the active blocks' windows are written; the rest of the AB row is left alone.
    """

    opcode = 0x24
    unit = Unit.S
    src = Addr("VB", VB_BITS, "scores, key 0 of row (0, 0)")
    src_s0 = Field(VB_BITS, "VB units of 16 from query to query")
    src_s1 = Field(VB_BITS, "VB units of 16 from head to head")
    ks = Field(VB_BITS, "VB address of the key scale of position 0, KV head 0")
    vs = Field(VB_BITS, "VB address of the value scale of position 0, KV head 0")
    kv_s = Field(VB_BITS, "VB units of 16 from KV head to KV head, of both scales")
    group = Field(10, "heads of a KV head; 0: all belong to one")
    n0 = Count(16, "queries")
    n1 = Field(10, "heads")
    qpos = Count(24, "position of query 0")
    window = Field(24, "keys q - window + 1 .. q are visible; 0: no limit")
    sink_tokens = Field(16, "keys below this are visible in spite of the window")
    alpha = Float("log2(e) * attention scale")
    ab = Addr("AB", AB_BITS, "AB row (0, 0)")
    ab_s0 = Field(AB_BITS, "windows from query to query")
    ab_s1 = Field(AB_BITS, "windows from head to head")

    def execute(self, core: Any, o: Operands) -> None:
        n0, length = max(0, o.n0), o.len
        if not n0:
            return
        blocks = active_blocks(o, core.mb)
        scores = core.vb_rows(o.src, (n0, o.n1), (o.src_s0, o.src_s1), length)
        keys = np.arange(length)
        queries = (o.qpos + np.arange(n0))[:, None]
        visible = keys <= queries
        if o.window:
            visible &= (keys < o.sink_tokens) | (keys > queries - o.window)
        active = np.zeros(-(-length // BLOCK_POSITIONS), bool)
        active[blocks] = True
        visible &= np.repeat(active, BLOCK_POSITIONS)[:length]
        heads = np.arange(o.n1) // o.group if o.group else np.zeros(o.n1, np.int64)
        ks, vs = (core.vb_rows(base, (self._kv_heads(o),), (o.kv_s,), length)[heads] for base in (o.ks, o.vs))
        codes, scale, u = sfu.softmax(scores, ks, vs, o.alpha, visible[:, None, :])
        for b in blocks:
            lo, hi = b * BLOCK_POSITIONS, min(length, (b + 1) * BLOCK_POSITIONS)
            scores[..., lo:hi] = u[..., lo:hi]
        core.put_dual(codes, scale, o.ab, (o.ab_s0, o.ab_s1), blocks)

    @staticmethod
    def _kv_heads(o: Operands) -> int:
        return -(-o.n1 // o.group) if o.group else min(o.n1, 1)

    def footprint(self, o: Operands, arch: Any) -> Iterator[Access]:
        n, s = (o.n0, o.n1), (16 * o.src_s0, 16 * o.src_s1)
        yield Access("AB", True, o.ab, 1, n, (o.ab_s0, o.ab_s1))
        for b in footprint_blocks(o):
            lo, hi = b * BLOCK_POSITIONS, min(o.len, (b + 1) * BLOCK_POSITIONS)
            yield Access("VB", False, 16 * o.src + lo, hi - lo, n, s)
            yield Access("VB", True, 16 * o.src + lo, hi - lo, n, s)
            for base in (o.ks, o.vs):
                yield Access("VB", False, 16 * base + lo, hi - lo, (self._kv_heads(o),), (16 * o.kv_s,))
            first, last = units_of(b, o.len, 16)
            yield Access("AB", True, o.ab + 1 + 2 * first, 2 * (last - first), n, (o.ab_s0, o.ab_s1))
        if o.masked:
            yield Access("MB", False, o.mask, -(-max(0, o.len) // 512))
