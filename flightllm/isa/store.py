"""Instructions of the store unit: VB and AB to memory, and the exchange between cores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flightllm.isa.blocks import key_slots, unit_positions
from flightllm.isa.fields import Addr, Choice, Count, Field, Instruction, Operands, Unit
from flightllm.isa.footprint import Access
from flightllm.isa.load import AB_BITS, MEM_BITS, VB_BITS
from flightllm.isa.matrix import KV_BITS, head_rules, row_windows
from flightllm.numerics.quant import f32_to_bf16


class STV(Instruction):
    """Striped fp32 vectors: `rows` rows of `slots` slots from VB to memory."""

    opcode = 0x28
    unit = Unit.T
    src = Addr("VB", VB_BITS, "first row in VB")
    src_row = Field(VB_BITS, "VB units of 16 from row to row")
    rows = Count(16, "rows")
    slots = Field(20, "elements per channel and row")
    addr = Addr("MEM", MEM_BITS, "first row in memory")
    row = Field(32, "bytes per channel from row to row")

    def execute(self, core: Any, o: Operands) -> None:
        for t in range(max(0, o.rows)):
            x = core.vb_rows(o.src + t * o.src_row, (), (), o.slots * core.channels)
            striped = np.ascontiguousarray(x.reshape(o.slots, core.channels).T)
            core.store(o.addr + t * o.row, 4 * o.slots, self)[:] = striped.view(np.uint8)

    def footprint(self, o: Operands, arch: Any) -> Iterator[Access]:
        yield Access("VB", False, 16 * o.src, o.slots * arch.channels, (o.rows,), (16 * o.src_row,))
        yield Access("MEM", True, o.addr, 4 * o.slots, (o.rows,), (o.row,))


class STKV(Instruction):
    """Append to the KV cache: AB rows of n0 tokens x n1 heads, codes and scales, at positions pos, pos + 1, ...

    Layouts: docs/streams.md, "KV cache". Writes whole bytes with strobes; other positions' bytes stay.
    """

    opcode = 0x29
    unit = Unit.T
    kind = Choice(("K", "V"), "which half of the cache")
    bits = Choice(KV_BITS, "code bits")
    ab = Addr("AB", AB_BITS, "row (0, 0)")
    ab_s0 = Field(AB_BITS, "windows from token to token")
    ab_s1 = Field(AB_BITS, "windows from head to head")
    n0 = Count(16, "tokens")
    n1 = Field(10, "heads")
    len = Field(16, "head size, a multiple of 16 and of C, at most 256")
    pos = Count(24, "position of token 0")
    addr = Addr("MEM", MEM_BITS, "head 0")
    head = Field(32, "bytes per channel from head to head")
    unit_bytes = Field(20, "bytes per channel of a unit: a group of slots (K) or a window (V)")
    scales = Addr("MEM", MEM_BITS, "scales of slot 0: 2 * n1 bytes per slot and channel")

    def execute(self, core: Any, o: Operands) -> None:
        n0, c = max(0, o.n0), core.channels
        if not n0:
            return
        codes, scale = core.ab_codes(o.ab, (n0, o.n1), (o.ab_s0, o.ab_s1), o.len, False)
        codes = codes[..., : o.len]
        core.check_memory(o.addr, self._extent(o, core), self, write=True)
        pos = o.pos + np.arange(n0)
        mem = core.mem
        heads = np.arange(o.n1) * o.head
        if o.kind == "K":
            data = (
                codes.astype(np.int8).view(np.uint8)
                if o.bits == "8"
                else pack_nibbles(codes[..., ::2], codes[..., 1::2])
            )
            group, piece = key_slots(c), 2 * int(o.bits)  # slots side by side, bytes of a window of one slot
            slot = pos // c
            at = o.addr + (slot // group * o.unit_bytes + slot % group * piece)[:, None] + heads
            windows = group * piece * np.arange(o.len // 16)[:, None] + np.arange(piece)
            mem[(pos % c)[:, None, None], at[..., None] + windows.reshape(-1)] = data
        else:
            slots = codes.reshape(n0, o.n1, -1, c)  # dimension i: channel i % C, row slot i // C
            if o.bits == "8":
                data = slots.astype(np.int8).view(np.uint8)
            else:
                if slots.shape[2] % 2:
                    slots = np.pad(slots, ((0, 0), (0, 0), (0, 1), (0, 0)))
                data = pack_nibbles(slots[:, :, ::2], slots[:, :, 1::2])
            at = o.addr + (pos // 16 * o.unit_bytes + pos % 16)[:, None] + heads
            mem[np.arange(c), at[..., None, None] + 16 * np.arange(data.shape[2])[:, None]] = data
        words = f32_to_bf16(scale).view(np.uint16)
        at = o.scales + 2 * ((pos // c)[:, None] * o.n1 + np.arange(o.n1))
        core.check_memory(o.scales, 2 * o.n1 * int(pos[-1] // c + 1), self, write=True)
        mem[(pos % c)[:, None], at] = words & 0xFF
        mem[(pos % c)[:, None], at + 1] = words >> 8

    @staticmethod
    def _extent(o: Operands, core: Any) -> int:
        gran = unit_positions(o.kind, core.channels)
        return (o.n1 - 1) * o.head + ((o.pos + o.n0 - 1) // gran + 1) * o.unit_bytes

    def footprint(self, o: Operands, arch: Any) -> Iterator[Access]:
        if o.n0 <= 0:
            return
        yield Access("AB", False, o.ab, row_windows(o.len, False), (o.n0, o.n1), (o.ab_s0, o.ab_s1))
        gran = unit_positions(o.kind, arch.channels)
        lo, hi = o.pos // gran, (o.pos + o.n0 - 1) // gran + 1
        yield Access("MEM", True, o.addr + lo * o.unit_bytes, (hi - lo) * o.unit_bytes, (o.n1,), (o.head,))
        lo, hi = o.pos // arch.channels, (o.pos + o.n0 - 1) // arch.channels + 1
        yield Access("MEM", True, o.scales + 2 * o.n1 * lo, 2 * o.n1 * (hi - lo))

    def broken_rules(self, arch: Any) -> Iterator[str]:
        yield from head_rules("len", self.values["len"], max(16, arch.channels))


class XCHG(Instruction):
    """All-gather between cores: this core's `n0` rows go to every core's VB, its own included, at dst + core * n.

    Every core must reach it; it ends when all parts have arrived here.
    """

    opcode = 0x2A
    unit = Unit.T
    src = Addr("VB", VB_BITS, "this core's part of row 0")
    src_row = Field(VB_BITS, "VB units of 16 from row to row of src")
    dst = Addr("VB", VB_BITS, "row 0 of the gathered vectors (core 0's part)")
    dst_row = Field(VB_BITS, "VB units of 16 from row to row of dst")
    n = Field(VB_BITS, "VB units of 16 in a core's part of a row")
    n0 = Count(16, "rows")

    def execute(self, core: Any, o: Operands) -> None:
        rows = max(0, o.n0)
        part = core.vb_rows(o.src, (rows,), (o.src_row,), 16 * o.n).copy()
        core.exchange = (part, o)

    def footprint(self, o: Operands, arch: Any) -> Iterator[Access]:
        yield Access("VB", False, 16 * o.src, 16 * o.n, (o.n0,), (16 * o.src_row,))
        yield Access("VB", True, 16 * o.dst, 16 * o.n, (o.n0, arch.cores), (16 * o.dst_row, 16 * o.n))


def pack_nibbles(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Two arrays of signed 4-bit codes -> uint8, `low` in the low nibble."""
    return ((low.astype(np.int16) & 15) | ((high.astype(np.int16) & 15) << 4)).astype(np.uint8)
