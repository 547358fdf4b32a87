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


def rope_key(group: AttentionGroup) -> str:
    """Name of the RoPE table of an attention; layers with equal frequencies share it."""
    assert group.rope is not None
    head = group.core.op
    assert isinstance(head, Attention)
    freq = np.asarray(group.rope.inv_freq, np.float64)
    what = f"{head.head_dim} {group.rope.attention_factor!r} ".encode() + freq.tobytes()
    return f"rope.{hashlib.sha256(what).hexdigest()[:8]}"


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
        self._blocks(q_rows, output)
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
    def _blocks(self, q_rows: Buffer, output: Buffer) -> None:
        owner, options = self.owner, self.owner.options
        shift = options.query_block.bit_length() - 1
        i, start, stop, count = (owner.register() for _ in range(4))
        first, offset, block, base, number, once, unmasked = (owner.register() for _ in range(7))
        owner._register -= 11  # the next attention reuses them: barriers separate the loops
        pos, kvlen = int(HostRegister.POS), int(HostRegister.KVLEN)
        owner.alu("shr", base, pos, 0, shift)
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
            ks, vs = self._load_scales(span)
            length = options.max_context
            shared, units = self._units(None), self._units(self.settings.mask)
            width = max(n for _, _, n in shared)
            scores = [owner.vb.alloc(f"scores {j}", length // 16, queries * width) for j in range(min(2, len(units)))]
            probs_row = row_windows(length, True)
            probs = [owner.ab.alloc(f"softmax {j}", probs_row, queries * width) for j in range(min(2, len(units)))]
            walk = _Walk(span, masks, scores, probs, ks, vs, count, offset, start)
            if units == shared:
                self._heads(units, q_rows, output, walk)
            else:
                # Heads of a group that differ in their masks load the group's keys once each. Where masks do not apply, as in
                # generation, the group is done at once.
                owner.alu("sub", unmasked, 0, int(HostRegister.MASKEN))
                owner.alu("add", unmasked, unmasked, 0, 1)
                with owner.out.loop(once, int(HostRegister.MASKEN)):
                    self._heads(units, q_rows, output, walk)
                with owner.out.loop(once, unmasked):
                    self._heads(shared, q_rows, output, replace(walk, masks=None))
            for buffer in (*scores, ks, vs):
                owner.vb.free(buffer)
            for buffer in probs:
                owner.ab.free(buffer)

    def _heads(self, units: list[tuple[int, int, int]], q_rows: Buffer, output: Buffer, walk: _Walk) -> None:
        """All units of one block of queries, scores of the next before the values of the last."""
        owner, length = self.owner, self.owner.options.max_context
        probs_row, window = row_windows(length, True), self.settings.window
        previous = None
        for u, (kv, q, n) in enumerate(units):
            at = u % 2
            fields = {**walk.span, **self._mask_fields(walk.masks, q)}
            self._scores(kv, q, n, q_rows, walk.scores[at], fields, walk)
            if previous is not None:
                self._values(previous, output, walk)
            head_scale = length // 16
            inst = SOFTMAX(
                src=walk.scores[at].base,
                src_s0=n * (length // 16),
                src_s1=length // 16,
                ks=walk.ks.base + kv * head_scale,
                vs=walk.vs.base + kv * head_scale,
                n0_r=walk.count,
                n1=n,
                qpos_r=walk.start,
                window=window,
                sink_tokens=self.settings.sink if window else 0,
                alpha=float(np.float32(LOG2E * self.op.scale)),
                ab=walk.probs[at].base,
                ab_s0=n * probs_row,
                ab_s1=probs_row,
                **fields,
            )
            owner.out.emit(
                inst,
                [walk.scores[at].range, walk.ks.range, walk.vs.range, *masks_range(walk.masks)],
                [walk.scores[at].range, walk.probs[at].range],
            )
            previous = (u, kv, q, n)
        assert previous is not None
        self._values(previous, output, walk)

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
            )
        rows = -(-h.padded // arch.channels // arch.vpus)
        entries = queries * h.group * 2 * max(1, rows)
        if entries > arch.acc_entries:
            raise FitError(
                "the accumulators are too small for a query block",
                where=self.group.core.name,
                why=f"{queries} queries x {h.group} heads x 2 codes x {rows} rows per VPU = {entries} > {arch.acc_entries}",
                do="use a larger acc_entries",
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
            )
        owner.alu("shr", block, start, 0, 6)
        inst = LDM(addr=mask.addr, addr_r=block, addr_s=nbytes, nbytes=nbytes, dst=0)
        owner.out.emit(inst, [], [("MB", 0, nbytes)])
        return "MB", 0, nbytes, row

    def _mask_fields(self, masks: tuple[str, int, int, int] | None, head: int) -> dict[str, int]:
        if masks is None:
            return {}
        return {"mask": head * masks[3], "masked_r": int(HostRegister.MASKEN)}

    def _load_scales(self, span: dict[str, int]) -> tuple[Buffer, Buffer]:
        owner, heads = self.owner, self.h.kv_per_core
        row = owner.options.max_context // 16
        out = []
        for name, region in (("key scales", self.cache.k_scales), ("value scales", self.cache.v_scales)):
            buffer = owner.vb.alloc(name, row, heads)
            inst = LDS(addr=region.addr, heads=heads, dst=buffer.base, dst_head=row, **span)
            owner.out.emit(inst, [region.range], [buffer.range])
            out.append(buffer)
        return out[0], out[1]

    def _scores(
        self,
        kv: int,
        q: int,
        n: int,
        q_rows: Buffer,
        scores: Buffer,
        fields: dict[str, int],
        walk: _Walk,
    ) -> None:
        owner, cache, masks = self.owner, self.cache, walk.masks
        load = LDK(kind="K", addr=cache.k.addr + kv * cache.k_head, unit_bytes=cache.k_unit, **fields)
        owner.out.emit(load, [cache.k.range, *masks_range(masks)], [])
        length = owner.options.max_context // 16
        inst = MMQK(
            ab=q_rows.base + q * self.row,
            ab_r=walk.offset,
            ab_s=q_rows.row,
            ab_s0=q_rows.row,
            ab_s1=self.row,
            n0_r=walk.count,
            n1=n,
            k=self.h.padded,
            bits=str(self.settings.kv_bits),
            dst=scores.base,
            dst_s0=n * length,
            dst_s1=length,
            **fields,
        )
        owner.out.emit(inst, [q_rows.range, *masks_range(masks)], [scores.range])

    def _values(self, unit: tuple[int, int, int, int], output: Buffer, walk: _Walk) -> None:
        owner, cache, masks = self.owner, self.cache, walk.masks
        u, kv, q, n = unit
        fields = {**walk.span, **self._mask_fields(masks, q)}
        load = LDK(kind="V", addr=cache.v.addr + kv * cache.v_head, unit_bytes=cache.v_unit, **fields)
        owner.out.emit(load, [cache.v.range, *masks_range(masks)], [])
        rows = walk.probs[u % 2]
        length = row_windows(owner.options.max_context, True)
        inst = MMPV(
            ab=rows.base,
            ab_s0=n * length,
            ab_s1=length,
            n0_r=walk.count,
            n1=n,
            slots=self.h.padded // owner.arch.channels,
            row_slots=cache.v_unit // (2 * self.settings.kv_bits),
            bits=str(self.settings.kv_bits),
            dst=output.base + q * self.units,
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
