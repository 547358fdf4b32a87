"""Lowering of an attention: projections, norms and RoPE, cache append, and the block loop over queries.

The loop over query blocks is a hardware loop (its count depends on position and chunk); heads are unrolled and software-pipelined:
scores of unit u + 1 are issued before the values of unit u, so that softmax of one hides behind the matrix work of the other.
A *unit* is a kv head with its group of query heads, or one query head where heads of a group have different masks.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from flightllm.compiler.buffers import Buffer
from flightllm.compiler.fusion import AttentionGroup
from flightllm.compiler.geometry import HeadGeometry
from flightllm.compiler.matrices import heads_of
from flightllm.compiler.options import AttentionOptions
from flightllm.errors import FitError
from flightllm.ir.graph import Node
from flightllm.ir.ops import Attention, Norm
from flightllm.isa.blocks import BLOCK_POSITIONS
from flightllm.isa.load import LDK, LDM, LDS, LDV
from flightllm.isa.matrix import MMPV, MMQK, row_windows
from flightllm.isa.registers import HostRegister
from flightllm.isa.special import ACT, ROPE, SOFTMAX
from flightllm.isa.store import STKV

if TYPE_CHECKING:
    from flightllm.compiler.lower import Lowering

LOG2E = 1.4426950408889634
#: rows that a SOFTMAX of one query works on at most: what the hardware takes through its passes together (docs/rtl.md)
SOFTMAX_ROWS = 32


def rope_key(group: AttentionGroup) -> str:
    """Name of the RoPE table of an attention; layers with equal frequencies share it."""
    assert group.rope is not None
    head = group.core.op
    assert isinstance(head, Attention)
    freq = np.asarray(group.rope.inv_freq, np.float64)
    what = f"{head.head_dim} {group.rope.attention_factor!r} ".encode() + freq.tobytes()
    return f"rope.{hashlib.sha256(what).hexdigest()[:8]}"


@dataclass(frozen=True)
class _Unit:
    """kv head, first query head and query heads of a unit; its first row among the heads of its batch, and the batch's buffer."""

    kv: int
    query: int
    heads: int
    row: int
    buffer: int


@dataclass(frozen=True)
class _Walk:
    """One block of queries: block range, masks in MB, buffers used in turn, and registers (queries, their offset, first position)."""

    span: dict[str, int]
    masks: tuple[str, int, int, int] | None
    scores: list[Buffer]
    probs: list[Buffer]
    ks: Buffer
    vs: Buffer
    count: int
    offset: int
    start: int


class AttentionLowering:
    """Emits one attention group."""

    def __init__(self, owner: Lowering, group: AttentionGroup) -> None:
        assert isinstance(group.core.op, Attention)
        self.owner, self.group, self.op = owner, group, group.core.op
        self.h = self.heads(owner, group)
        self.settings = owner.options.attention.get(
            group.core.name, AttentionOptions(window=self.op.window, sink=self.op.sink)
        )
        self.cache = owner.images.caches[group.core.name]
        self.units = self.h.padded // 16
        self.row = row_windows(self.h.padded, False)

    @staticmethod
    def heads(owner: Lowering, group: AttentionGroup) -> HeadGeometry:
        """Head geometry of a group."""
        return heads_of(owner.geometry, group)

    @staticmethod
    def load_tables(owner: Lowering) -> None:
        """RoPE rows of this chunk's positions, once for all layers that share a table."""
        for group in owner.fusion.attentions:
            if group.rope is None or rope_key(group) in owner.tables:
                continue
            table = owner.images.vectors[rope_key(group)]
            buffer = owner.vb.alloc("rope", table.slots * owner.arch.channels // 16, owner.options.chunk)
            inst = LDV(
                dtype=table.dtype,
                addr=table.region.addr,
                addr_r=HostRegister.POS,
                addr_s=table.row,
                row=table.row,
                slots=table.slots,
                rows_r=HostRegister.NTOK,
                dst=buffer.base,
                dst_row=buffer.row,
            )
            owner.emit(inst, (), (buffer,))
            owner.tables[rope_key(group)] = buffer

    def run(self) -> None:
        """Everything from the input of q, k and v to the attention's output."""
        from flightllm.compiler.lower import Value

        owner, group, h = self.owner, self.group, self.h
        source = group.q.inputs[0]
        rows, dual, _ = owner.quantised(source)
        plan = owner.plans[group.q.name]
        (info,) = owner.images.streams[plan.name]
        scales = self._old_scales()
        qkv = owner.vb.alloc(plan.name, plan.rows // 16, owner.options.chunk)
        owner.matrix(info, rows, dual, qkv)
        for node in group.linears:
            owner.release(node.inputs[0])
        owner.done.update(owner.fusion.group_of.keys() & self._names())

        k_at = h.q_per_core * self.units
        v_at = k_at + h.kv_per_core * self.units
        kv = f"kv{self.settings.kv_bits}"
        # The cache's part first, so that it is on its way to memory while the queries are rotated.
        k_rows = self._prepare(qkv, k_at, h.kv_per_core, group.k_norm, group.rope is not None, kv, "k")
        self._append("K", k_rows, owner)
        v_rows = self._prepare(qkv, v_at, h.kv_per_core, None, False, kv, "v")
        self._append("V", v_rows, owner)
        q_rows = self._prepare(qkv, 0, h.q_per_core, group.q_norm, group.rope is not None, "a8", "q")
        owner.vb.free(qkv)
        owner.ab.free(k_rows)
        owner.ab.free(v_rows)
        output = owner.vb.alloc(f"{group.core.name}", h.q_per_core * self.units, owner.options.chunk)
        self._blocks(q_rows, output, *scales)
        for buffer in scales:
            owner.vb.free(buffer)
        owner.ab.free(q_rows)
        owner.values[group.core.name] = Value(output, group.core.dim, owner.arch.cores > 1)

    def _names(self) -> set[str]:
        return {name for name, g in self.owner.fusion.group_of.items() if g is self.group}

    def _prepare(
        self, qkv: Buffer, offset: int, heads: int, norm: Node | None, rotate: bool, quant: str, what: str
    ) -> Buffer:
        """Norm, rotate and quantise heads in place; returns their AB rows [token][head]."""
        owner, n = self.owner, self.h.padded
        rows = owner.ab.alloc(f"{what} rows", heads * self.row, owner.options.chunk)
        place: dict[str, Any] = {
            "src": qkv.base + offset,
            "src_s0": qkv.row,
            "src_s1": self.units,
            "dst": qkv.base + offset,
            "dst_s0": qkv.row,
            "dst_s1": self.units,
            "n0_r": int(HostRegister.NTOK),
            "n1": heads,
        }
        if norm is not None:
            assert isinstance(norm.op, Norm)
            owner.norm(norm.name, norm.op, n, place, (qkv,), qkv, None, real=self.h.size)
        fields = {**place, "len": n, "quant": quant, "ab": rows.base, "ab_s0": rows.row, "ab_s1": self.row}
        if rotate:
            table = owner.tables[rope_key(self.group)]
            owner.emit(ROPE(table=table.base, table_s0=table.row, **fields), (qkv, table), (qkv, rows))
        else:
            owner.emit(ACT(kind="copy", **fields), (qkv,), (qkv, rows))
        return rows

    def _append(self, kind: str, rows: Buffer, owner: Lowering) -> None:
        codes, scales = (self.cache.k, self.cache.k_scales) if kind == "K" else (self.cache.v, self.cache.v_scales)
        inst = STKV(
            kind=kind,
            bits=str(self.settings.kv_bits),
            ab=rows.base,
            ab_s0=rows.row,
            ab_s1=self.row,
            n0_r=HostRegister.NTOK,
            n1=self.h.kv_per_core,
            len=self.h.padded,
            pos_r=HostRegister.POS,
            addr=codes.addr,
            head=self.cache.k_head if kind == "K" else self.cache.v_head,
            unit_bytes=self.cache.k_unit if kind == "K" else self.cache.v_unit,
            scales=scales.addr,
        )
        owner.out.emit(inst, [rows.range], [codes.range, scales.range])

    # --- the block loop -----------------------------------------------------------------------------------------
    def _blocks(self, q_rows: Buffer, output: Buffer, ks: Buffer, vs: Buffer) -> None:
        owner, options = self.owner, self.owner.options
        shift = options.query_block.bit_length() - 1
        i, start, stop, count, fresh = (owner.register() for _ in range(5))
        first, offset, block, base, number, once, single, many = (owner.register() for _ in range(8))
        owner._register -= 13  # the next attention reuses them: barriers separate the loops
        pos, kvlen = int(HostRegister.POS), int(HostRegister.KVLEN)
        owner.alu("shr", base, pos, 0, shift)
        owner.alu("shr", fresh, pos, 0, 6)
        owner.alu("sub", number, kvlen, 0, 1)
        owner.alu("shr", number, number, 0, shift)
        owner.alu("sub", number, number, base)
        owner.alu("add", number, number, 0, 1)
        queries = min(options.query_block, options.chunk)
        self._check(queries)
        with owner.out.loop(i, number):
            owner.alu("add", block, base, i)
            owner.alu("shl", start, block, 0, shift)
            owner.alu("add", stop, start, 0, options.query_block)
            owner.alu("max", start, start, pos)
            owner.alu("min", stop, stop, kvlen)
            owner.alu("sub", count, stop, start)
            owner.alu("sub", offset, start, pos)
            window = self.settings.window
            if window:
                owner.alu("sub", first, start, 0, window - 1)
                owner.alu("max", first, first, 0, 0)
                owner.alu("shr", first, first, 0, 6)
            span = {"len_r": stop, "sink": -(-self.settings.sink // BLOCK_POSITIONS)}
            if window:
                span["first_r"] = first
            else:
                span["sink"] = 0
            masks = self._load_masks(block, start)
            self._load_scales((ks, vs), {"len_r": stop, "sink": 0, "first_r": fresh})
            length = options.max_context
            shared, units = self._units(None), self._units(self.settings.mask)
            together = self._together(shared)
            rows = max(queries, together) * max(n for _, _, n in shared)
            scores = [owner.vb.alloc(f"scores {j}", length // 16, rows) for j in range(min(2, len(units)))]
            probs_row = row_windows(length, True)
            probs = [owner.ab.alloc(f"softmax {j}", probs_row, rows) for j in range(min(2, len(units)))]
            walk = _Walk(span, masks, scores, probs, ks, vs, count, offset, start)
            # One token of an answer: one query, no mask. Several heads then share a SOFTMAX, which a single short row would not fill.
            owner.alu("sub", many, int(HostRegister.NTOK), 0, 1)
            owner.alu("min", many, many, 0, 1)
            if masks is not None:
                owner.alu("max", many, many, int(HostRegister.MASKEN))
            owner.alu("sub", single, 0, many)
            owner.alu("add", single, single, 0, 1)
            with owner.out.loop(once, single):
                self._heads(shared, together, q_rows, output, replace(walk, masks=None))
            if units == shared:
                with owner.out.loop(once, many):
                    self._heads(units, 1, q_rows, output, walk)
            else:
                # Heads of a group that differ in their masks load the group's keys once each, but only where masks apply.
                owner.alu("sub", many, many, int(HostRegister.MASKEN))
                with owner.out.loop(once, int(HostRegister.MASKEN)):
                    self._heads(units, 1, q_rows, output, walk)
                with owner.out.loop(once, many):
                    self._heads(shared, 1, q_rows, output, replace(walk, masks=None))
            for buffer in scores:
                owner.vb.free(buffer)
            for buffer in probs:
                owner.ab.free(buffer)

    def _heads(
        self, units: list[tuple[int, int, int]], together: int, q_rows: Buffer, output: Buffer, walk: _Walk
    ) -> None:
        """All units of one block of queries, `together` to a SOFTMAX, scores of the next before the values of the last."""
        owner, length, window = self.owner, self.owner.options.max_context, self.settings.window
        probs_row, score_row = row_windows(length, True), length // 16
        previous: list[_Unit] = []
        for number, at in enumerate(range(0, len(units), together)):
            batch = [_Unit(kv, q, n, j * n, number % 2) for j, (kv, q, n) in enumerate(units[at : at + together])]
            heads, first = sum(u.heads for u in batch), batch[0]
            scores, probs = walk.scores[first.buffer], walk.probs[first.buffer]
            for unit in batch:
                self._scores(unit, heads, q_rows, walk)
            for unit in previous:
                self._values(unit, output, walk)
            inst = SOFTMAX(
                src=scores.base,
                src_s0=heads * score_row,
                src_s1=score_row,
                ks=walk.ks.base + first.kv * score_row,
                vs=walk.vs.base + first.kv * score_row,
                kv_s=score_row,
                group=first.heads,
                n0_r=walk.count,
                n1=heads,
                qpos_r=walk.start,
                window=window,
                sink_tokens=self.settings.sink if window else 0,
                alpha=float(np.float32(LOG2E * self.op.scale)),
                ab=probs.base,
                ab_s0=heads * probs_row,
                ab_s1=probs_row,
                **self._key_fields(walk, first),
            )
            owner.out.emit(
                inst,
                [scores.range, walk.ks.range, walk.vs.range, *masks_range(walk.masks)],
                [scores.range, probs.range],
            )
            previous = batch
        for unit in previous:
            self._values(unit, output, walk)

    def _together(self, units: list[tuple[int, int, int]]) -> int:
        """Units that share a SOFTMAX when there is one query: half of them, so that matrix and special-function unit overlap."""
        return min(-(-len(units) // 2), max(1, SOFTMAX_ROWS // units[0][2]))

    def _units(self, mask: np.ndarray | None) -> list[tuple[int, int, int]]:
        """(kv head, first query head, query heads) of each unit under these block masks, heads of this core."""
        h = self.h
        shared = mask is None or all(
            (mask[g * h.group : (g + 1) * h.group] == mask[g * h.group]).all() for g in range(self.op.kv_heads)
        )
        if shared:
            return [(kv, kv * h.group, h.group) for kv in range(h.kv_per_core)]
        return [(q // h.group, q, 1) for q in range(h.q_per_core)]

    def _check(self, queries: int) -> None:
        arch, h = self.owner.arch, self.h
        bits = self.settings.kv_bits
        strip = arch.vpus * h.padded * bits // 8
        windows = 4 * self.cache.v_unit
        if 2 * max(strip, windows) > arch.k_ring_bytes:
            raise FitError(
                "the K ring is too small for this model's heads",
                where=self.group.core.name,
                why=f"twice {max(strip, windows)} bytes per channel, ring {arch.k_ring_bytes}",
                do="use a larger k_ring_bytes",
                parameter="k_ring_bytes",
            )
        rows = -(-h.padded // arch.channels // arch.vpus)
        entries = queries * h.group * 2 * max(1, rows)
        if entries > arch.acc_entries:
            raise FitError(
                "the accumulators are too small for a query block",
                where=self.group.core.name,
                why=f"{queries} queries x {h.group} heads x 2 codes x {rows} rows per VPU = {entries} > {arch.acc_entries}",
                do="use a larger acc_entries",
                parameter="acc_entries",
            )

    def _load_masks(self, block: int, start: int) -> tuple[str, int, int, int] | None:
        """Mask rows of all heads for the 64-block of these queries -> MB; returns (space, lo, hi, row bytes)."""
        mask = self.cache.mask
        if mask is None:
            return None
        owner, row = self.owner, self.cache.mask_row
        nbytes = row * self.h.q_per_core
        if nbytes > owner.arch.mb_bytes:
            raise FitError(
                "MB is too small for the attention masks of a layer",
                where=self.group.core.name,
                why=f"{self.h.q_per_core} heads x {row} bytes = {nbytes} > {owner.arch.mb_bytes}",
                do="use a larger mb_bytes or a shorter max context",
                parameter="mb_bytes",
            )
        owner.alu("shr", block, start, 0, 6)
        inst = LDM(addr=mask.addr, addr_r=block, addr_s=nbytes, nbytes=nbytes, dst=0)
        owner.out.emit(inst, [], [("MB", 0, nbytes)])
        return "MB", 0, nbytes, row

    def _key_fields(self, walk: _Walk, unit: _Unit) -> dict[str, int]:
        """Operands that say which keys the heads of a unit see: the block range, and their mask if there is one."""
        if walk.masks is None:
            return walk.span
        return walk.span | {"mask": unit.query * walk.masks[3], "masked_r": int(HostRegister.MASKEN)}

    def _old_scales(self) -> tuple[Buffer, Buffer]:
        """Buffers of the keys' and values' scales, those of earlier chunks on their way: they wait for nothing that this layer computes."""
        owner, heads = self.owner, self.h.kv_per_core
        row = owner.options.max_context // 16
        buffers = (owner.vb.alloc("key scales", row, heads), owner.vb.alloc("value scales", row, heads))
        pos, window = int(HostRegister.POS), self.settings.window
        span = {"len_r": pos, "sink": 0}
        if window:
            first = owner.register()
            owner.alu("sub", first, pos, 0, window - 1)
            owner.alu("max", first, first, 0, 0)
            owner.alu("shr", first, first, 0, 6)
            owner._register -= 1  # read when the loads are dispatched
            span = {"len_r": pos, "sink": -(-self.settings.sink // BLOCK_POSITIONS), "first_r": first}
        self._load_scales(buffers, span)
        return buffers

    def _load_scales(self, buffers: tuple[Buffer, Buffer], span: dict[str, int]) -> None:
        """Scales of the keys and the values in a range of blocks."""
        owner = self.owner
        for buffer, region in zip(buffers, (self.cache.k_scales, self.cache.v_scales), strict=True):
            row = owner.options.max_context // 16
            inst = LDS(addr=region.addr, heads=self.h.kv_per_core, dst=buffer.base, dst_head=row, **span)
            owner.out.emit(inst, [region.range], [buffer.range])

    def _scores(self, unit: _Unit, heads: int, q_rows: Buffer, walk: _Walk) -> None:
        """Keys of a unit, and its scores: rows [query][head of the batch]."""
        owner, cache, masks = self.owner, self.cache, walk.masks
        fields = self._key_fields(walk, unit)
        load = LDK(kind="K", addr=cache.k.addr + unit.kv * cache.k_head, unit_bytes=cache.k_unit, **fields)
        owner.out.emit(load, [cache.k.range, *masks_range(masks)], [])
        length = owner.options.max_context // 16
        scores = walk.scores[unit.buffer]
        inst = MMQK(
            ab=q_rows.base + unit.query * self.row,
            ab_r=walk.offset,
            ab_s=q_rows.row,
            ab_s0=q_rows.row,
            ab_s1=self.row,
            n0_r=walk.count,
            n1=unit.heads,
            k=self.h.padded,
            bits=str(self.settings.kv_bits),
            dst=scores.base + unit.row * length,
            dst_s0=heads * length,
            dst_s1=length,
            **fields,
        )
        owner.out.emit(inst, [q_rows.range, *masks_range(masks)], [scores.range])

    def _values(self, unit: _Unit, output: Buffer, walk: _Walk) -> None:
        """Values of a unit, weighted by its rows of probabilities."""
        owner, cache, masks = self.owner, self.cache, walk.masks
        fields = self._key_fields(walk, unit)
        load = LDK(kind="V", addr=cache.v.addr + unit.kv * cache.v_head, unit_bytes=cache.v_unit, **fields)
        owner.out.emit(load, [cache.v.range, *masks_range(masks)], [])
        rows = walk.probs[unit.buffer]
        length = row_windows(owner.options.max_context, True)
        inst = MMPV(
            ab=rows.base + unit.row * length,
            ab_s0=unit.heads * length,
            ab_s1=length,
            n0_r=walk.count,
            n1=unit.heads,
            slots=self.h.padded // owner.arch.channels,
            row_slots=cache.v_unit // (2 * self.settings.kv_bits),
            bits=str(self.settings.kv_bits),
            dst=output.base + unit.query * self.units,
            dst_r=walk.offset,
            dst_s=output.row,
            dst_s0=output.row,
            dst_s1=self.units,
            dual=1,
            **fields,
        )
        owner.out.emit(inst, [rows.range, *masks_range(masks)], [output.range])


def masks_range(masks: tuple[str, int, int, int] | None) -> list[tuple[str, int, int]]:
    """The MB range of loaded masks."""
    return [] if masks is None else [masks[:3]]
