"""Instructions of the load units: W (weight ring) and L (vectors, masks, KV ring)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flightllm.errors import ProgramError
from flightllm.isa.blocks import (
    BlockRange,
    KeyRange,
    active_blocks,
    candidate_blocks,
    footprint_blocks,
    unit_positions,
    units_of,
)
from flightllm.isa.fields import Addr, Choice, Count, Field, Instruction, Operands, Unit
from flightllm.isa.footprint import Access
from flightllm.numerics.quant import bf16_to_f32

MEM_BITS, VB_BITS, AB_BITS, MB_BITS = 40, 20, 20, 16
#: element sizes of LDV and LDG, bytes
DTYPES = {"f32": 4, "f16": 2}


def widen(raw: np.ndarray, dtype: str) -> np.ndarray:
    """uint8 [..., bytes] -> float32 [..., elements]; fp16 widens exactly."""
    data = np.ascontiguousarray(raw)
    return data.view("<f4") if dtype == "f32" else data.view("<f2").astype(np.float32)


class LDW(Instruction):
    """Weight stream: on every channel push `nbytes` bytes from `addr` into the W ring."""

    opcode = 0x08
    unit = Unit.W
    addr = Addr("MEM", MEM_BITS, "byte offset on every channel")
    nbytes = Field(32, "bytes per channel, a multiple of 64")

    def execute(self, core: Any, o: Operands) -> None:
        core.check_memory(o.addr, o.nbytes, self)
        core.push(core.w_ring, (o.addr, o.nbytes), self)

    def footprint(self, o: Operands, arch: Any) -> Iterator[Access]:
        yield Access("MEM", False, o.addr, o.nbytes)
        yield Access("W", True, 0, o.nbytes)


class LDV(Instruction):
    """Striped vectors: `rows` rows of `slots` slots from memory to VB, widened to fp32."""

    opcode = 0x10
    unit = Unit.L
    dtype = Choice(tuple(DTYPES), "element type in memory")
    addr = Addr("MEM", MEM_BITS, "first row")
    row = Field(32, "bytes per channel from row to row")
    slots = Field(20, "elements per channel and row")
    rows = Count(16, "rows")
    dst = Addr("VB", VB_BITS, "first row in VB")
    dst_row = Field(VB_BITS, "VB units of 16 from row to row")

    def execute(self, core: Any, o: Operands) -> None:
        size = DTYPES[o.dtype]
        for t in range(max(0, o.rows)):
            a = o.addr + t * o.row
            raw = core.memory(a, o.slots * size, self)
            core.vb_rows(o.dst + t * o.dst_row, (), (), o.slots * core.channels)[:] = widen(raw, o.dtype).T.reshape(-1)

    def footprint(self, o: Operands, arch: Any) -> Iterator[Access]:
        size = DTYPES[o.dtype]
        yield Access("MEM", False, o.addr, o.slots * size, (o.rows,), (o.row,))
        yield Access("VB", True, 16 * o.dst, o.slots * arch.channels, (o.rows,), (16 * o.dst_row,))


class LDG(Instruction):
    """Gather: row t of VB = row id[t] of a striped table; the ids are int32 in channel 0 at `ids`."""

    opcode = 0x11
    unit = Unit.L
    dtype = Choice(tuple(DTYPES), "element type in memory")
    ids = Addr("MEM", MEM_BITS, "token ids, channel 0")
    table = Field(MEM_BITS, "first row of the table")
    row = Field(32, "bytes per channel from row to row of the table")
    limit = Field(24, "rows of the table; an id outside 0..limit-1 is an error")
    slots = Field(20, "elements per channel and row")
    rows = Count(16, "rows to gather")
    dst = Addr("VB", VB_BITS, "first row in VB")
    dst_row = Field(VB_BITS, "VB units of 16 from row to row")

    def execute(self, core: Any, o: Operands) -> None:
        n = max(0, o.rows)
        ids = np.ascontiguousarray(core.memory(o.ids, 4 * n, self)[0]).view("<i4")
        size = DTYPES[o.dtype]
        for t, i in enumerate(ids.tolist()):
            if not 0 <= i < o.limit:
                raise ProgramError(
                    f"token id {i} is outside the table",
                    where=str(self),
                    why=f"it has {o.limit} rows",
                    do="check the ids",
                )
            raw = core.memory(o.table + i * o.row, o.slots * size, self)
            core.vb_rows(o.dst + t * o.dst_row, (), (), o.slots * core.channels)[:] = widen(raw, o.dtype).T.reshape(-1)

    def footprint(self, o: Operands, arch: Any) -> Iterator[Access]:
        yield Access("MEM", False, o.ids, 4 * o.rows, channel=0)
        yield Access("MEM", False, o.table, o.limit * o.row)
        yield Access("VB", True, 16 * o.dst, o.slots * arch.channels, (o.rows,), (16 * o.dst_row,))


class LDM(Instruction):
    """Block mask: `nbytes` bytes from channel 0 to MB; bit b % 8 of byte b // 8 is key block b."""

    opcode = 0x12
    unit = Unit.L
    addr = Addr("MEM", MEM_BITS, "first byte, channel 0")
    nbytes = Field(16, "bytes")
    dst = Addr("MB", MB_BITS, "first byte in MB")

    def execute(self, core: Any, o: Operands) -> None:
        core.mb_bytes(o.dst, o.nbytes, self)[:] = core.memory(o.addr, o.nbytes, self)[0]

    def footprint(self, o: Operands, arch: Any) -> Iterator[Access]:
        yield Access("MEM", False, o.addr, o.nbytes, channel=0)
        yield Access("MB", True, o.dst, o.nbytes)


class LDS(KeyRange):
    """KV scales: bf16 [slot][head] of the candidate blocks (masks do not apply) -> fp32 VB [head][position].

    Of no heads it reads and writes nothing.
    """

    opcode = 0x13
    unit = Unit.L
    addr = Addr("MEM", MEM_BITS, "slot 0")
    heads = Field(10, "heads H; a slot has 2 H bytes per channel")
    dst = Addr("VB", VB_BITS, "position 0 of head 0")
    dst_head = Field(VB_BITS, "VB units of 16 from head to head")

    def execute(self, core: Any, o: Operands) -> None:
        c = core.channels
        for b in candidate_blocks(o.len, o.sink, o.first) if o.heads else ():
            lo, hi = units_of(b, o.len, c)
            raw = core.memory(o.addr + 2 * o.heads * lo, 2 * o.heads * (hi - lo), self)
            words = np.ascontiguousarray(raw).view("<u2").reshape(c, hi - lo, o.heads)
            view = core.vb_elements(16 * o.dst + lo * c, (o.heads,), (16 * o.dst_head,), (hi - lo) * c)
            view[:] = bf16_to_f32(words).transpose(2, 1, 0).reshape(o.heads, -1)

    def footprint(self, o: Operands, arch: Any) -> Iterator[Access]:
        for b in footprint_blocks(o):
            lo, hi = units_of(b, o.len, arch.channels)
            yield Access("MEM", False, o.addr + 2 * o.heads * lo, 2 * o.heads * (hi - lo))
            yield Access(
                "VB", True, 16 * o.dst + lo * arch.channels, (hi - lo) * arch.channels, (o.heads,), (16 * o.dst_head,)
            )


class LDK(BlockRange):
    """KV stream of one head: push the active blocks' units into the K ring.

    A unit is a group of min(4, 64/C) slots (kind K) or one window of 16 positions (kind V), `unit_bytes` bytes per channel.
    """

    opcode = 0x14
    unit = Unit.L
    kind = Choice(("K", "V"), "which half of the cache")
    addr = Addr("MEM", MEM_BITS, "unit 0 of the head")
    unit_bytes = Field(20, "bytes per channel and unit")

    def execute(self, core: Any, o: Operands) -> None:
        gran = unit_positions(o.kind, core.channels)
        blocks = active_blocks(o, core.mb)
        parts = []
        for b in blocks:
            lo, hi = units_of(b, o.len, gran)
            parts.append(core.memory(o.addr + lo * o.unit_bytes, (hi - lo) * o.unit_bytes, self))
        data = np.concatenate(parts, axis=1) if parts else np.zeros((core.channels, 0), np.uint8)
        core.push(core.k_ring, (o.kind, blocks, data), self)

    def footprint(self, o: Operands, arch: Any) -> Iterator[Access]:
        gran = unit_positions(o.kind, arch.channels)
        total = 0
        for b in footprint_blocks(o):
            lo, hi = units_of(b, o.len, gran)
            total += (hi - lo) * o.unit_bytes
            yield Access("MEM", False, o.addr + lo * o.unit_bytes, (hi - lo) * o.unit_bytes)
        if o.masked:
            yield Access("MB", False, o.mask, -(-max(0, o.len) // 512))
        yield Access("K", True, 0, total)
