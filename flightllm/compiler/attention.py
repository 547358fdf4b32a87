"""Lowering of an attention: projections, norms and RoPE, cache append, scores, softmax and values.

Heads are unrolled and software-pipelined: scores of unit u + 1 are issued before the values of unit u, so that softmax of one hides behind the matrix
work of the other. A *unit* is a kv head with its group of query heads, or one query head where heads of a group have different masks. With one query,
several units share a SOFTMAX (a *batch*), which a single short row would not fill.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flightllm.compiler.buffers import Buffer
from flightllm.compiler.emit import Range
from flightllm.compiler.fusion import AttentionGroup
from flightllm.compiler.matrices import heads_of
from flightllm.compiler.options import AttentionOptions
from flightllm.errors import FitError
from flightllm.ir.graph import Node
from flightllm.ir.ops import Attention, Norm
from flightllm.isa.blocks import BLOCK_POSITIONS
from flightllm.isa.fields import Instruction
from flightllm.isa.load import LDK, LDM, LDS
from flightllm.isa.matrix import MMPV, MMQK, row_windows
from flightllm.isa.registers import HostRegister
from flightllm.isa.special import ACT, ROPE, SOFTMAX
from flightllm.isa.store import STKV

if TYPE_CHECKING:
    from flightllm.compiler.part import PartLowering

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
    """kv head, first query head and query heads of a unit; its first row among the heads of its batch, their number, and the batch's buffer."""

    kv: int
    query: int
    heads: int
    row: int
    rows: int
    buffer: int


@dataclass(frozen=True)
class _Walk:
    """Some queries of a part. queries: their number, as the operand n0. start: register with the position of the first. place: of the first in the part.
    span: the block range that they see. masks: in MB (range, bytes of a head's row). Scores and probabilities are used in turn.
    """

    queries: dict[str, int]
    start: int
    place: int
    span: dict[str, int]
    masks: tuple[Range, int] | None
    scores: list[Buffer]
    probs: list[Buffer]
    ks: Buffer
    vs: Buffer

    @property
    def mask_ranges(self) -> list[Range]:
        """What of MB is read."""
        return [] if self.masks is None else [self.masks[0]]


class AttentionLowering:
    """Emits one attention group."""

    def __init__(self, owner: PartLowering, group: AttentionGroup) -> None:
        assert isinstance(group.core.op, Attention)
        self.owner, self.group, self.op = owner, group, group.core.op
        self.h = heads_of(owner.geometry, group)
        self.settings = owner.options.attention.get(
            group.core.name, AttentionOptions(window=self.op.window, sink=self.op.sink)
        )
        self.cache = owner.images.caches[group.core.name]
        self.units = self.h.padded // 16
        self.row = row_windows(self.h.padded, False)

    @staticmethod
    def load_tables(owner: PartLowering) -> None:
        """RoPE rows of this chunk's positions, once for all layers that share a table."""
        for group in owner.fusion.attentions:
            if group.rope is None or rope_key(group) in owner.tables:
                continue
            table = owner.images.vectors[rope_key(group)]
            buffer = owner.vb.alloc("rope", table.slots * owner.arch.channels // 16, owner.tokens.most)
            owner.position_rows(rope_key(group), buffer)
            owner.tables[rope_key(group)] = buffer

    def run(self) -> None:
        """Everything from the input of q, k and v to the attention's output."""
        from flightllm.compiler.part import Value

        owner, group, h = self.owner, self.group, self.h
        source = group.q.inputs[0]
        rows, dual = owner.quantised(source)
        plan = owner.plans[group.q.name]
        scales = self._old_scales()
        qkv = owner.vb.alloc(plan.name, plan.rows // 16, owner.tokens.most)
        owner.matrix(plan, rows, dual, qkv)
        for node in group.linears:
            owner.release(node.inputs[0])
        owner.done.update(owner.fusion.group_of.keys() & self._names())

        v_at = h.kv_per_core * self.units
        q_at = 2 * v_at
        kv = f"kv{self.settings.kv_bits}"
        # The cache's part first, so that it is on its way to memory while the queries are rotated.
        k_rows = self._prepare(qkv, 0, h.kv_per_core, group.k_norm, group.rope is not None, kv, "k")
        self._append("K", k_rows)
        owner.ab.free(k_rows)
        v_rows = self._prepare(qkv, v_at, h.kv_per_core, None, False, kv, "v")
        self._append("V", v_rows)
        owner.ab.free(v_rows)
        q_rows = self._prepare(qkv, q_at, h.q_per_core, group.q_norm, group.rope is not None, "a8", "q")
        owner.vb.free(qkv)
        output = owner.vb.alloc(f"{group.core.name}", h.q_per_core * self.units, owner.tokens.most)
        self._attend(q_rows, output, *scales)
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
        rows = owner.ab.alloc(f"{what} rows", heads * self.row, owner.tokens.most)
        place: dict[str, Any] = {
            "src": qkv.base + offset,
            "src_s0": qkv.row,
            "src_s1": self.units,
            "dst": qkv.base + offset,
            "dst_s0": qkv.row,
            "dst_s1": self.units,
            "n1": heads,
            **owner.tokens.times("n0"),
        }
        own = owner.within(qkv, offset, heads * self.units)
        if norm is not None:
            assert isinstance(norm.op, Norm)
            owner.norm(norm.name, norm.op, n, place, [own], [own], real=self.h.size)
        fields = {**place, "len": n, "quant": quant, "ab": rows.base, "ab_s0": rows.row, "ab_s1": self.row}
        if rotate:
            table = owner.tables[rope_key(self.group)]
            inst: Instruction = ROPE(table=table.base, table_s0=table.row, **fields)
            owner.out.emit(inst, [own, table.range], [own, rows.range])
        else:
            owner.out.emit(ACT(kind="copy", **fields), [own], [own, rows.range])
        return rows

    def _append(self, kind: str, rows: Buffer) -> None:
        owner = self.owner
        codes, scales = (self.cache.k, self.cache.k_scales) if kind == "K" else (self.cache.v, self.cache.v_scales)
        inst = STKV(
            kind=kind,
            bits=str(self.settings.kv_bits),
            ab=rows.base,
            ab_s0=rows.row,
            ab_s1=self.row,
            n1=self.h.kv_per_core,
            len=self.h.padded,
            pos_r=owner.tokens.start,
            addr=codes.addr,
            head=self.cache.k_head if kind == "K" else self.cache.v_head,
            unit_bytes=self.cache.k_unit if kind == "K" else self.cache.v_unit,
            scales=scales.addr,
            **owner.tokens.times("n0"),
        )
        owner.out.emit(inst, [rows.range], [codes.range, scales.range])

    # --- scores, softmax, values --------------------------------------------------------------------------------
    def _attend(self, q_rows: Buffer, output: Buffer, ks: Buffer, vs: Buffer) -> None:
        owner, tokens, length = self.owner, self.owner.tokens, self.owner.options.max_context
        self._check()
        masks = self._load_masks() if tokens.masked else None
        self._load_scales((ks, vs), {"len_r": tokens.stop, "sink": 0, "first_r": tokens.fresh})
        batches = self._batches(self._units(self.settings.mask if tokens.masked else None))
        queries = min(owner.options.queries, tokens.most)
        rows = queries * max(batch[0].rows for batch in batches)
        turns = range(min(2, len(batches)))
        scores = [owner.vb.alloc(f"scores {j}", length // 16, rows) for j in turns]
        probs = [owner.ab.alloc(f"softmax {j}", row_windows(length, True), rows) for j in turns]
        for place in range(0, tokens.most, queries):
            times, start, stop = tokens.times("n0"), tokens.start, tokens.stop
            if tokens.step is not None and queries < tokens.most:
                count, start, stop = tokens.step
                times = {"n0_r": count}
                owner.out.alu("add", start, tokens.start, 0, place)
                owner.out.alu("add", stop, start, 0, queries)
                owner.out.alu("min", stop, stop, tokens.stop)
                owner.out.alu("sub", count, stop, start)
                owner.out.alu("max", count, count, 0)
            span = {"len_r": stop, "sink": 0}
            if self.settings.window:
                self._window_begin(start)
                span = {"len_r": stop, "sink": -(-self.settings.sink // BLOCK_POSITIONS), "first_r": tokens.window}
            self._heads(batches, q_rows, output, _Walk(times, start, place, span, masks, scores, probs, ks, vs))
        for buffer in scores:
            owner.vb.free(buffer)
        for buffer in probs:
            owner.ab.free(buffer)

    def _heads(self, batches: list[list[_Unit]], q_rows: Buffer, output: Buffer, walk: _Walk) -> None:
        """All heads of some queries, scores of a batch before the values of the last."""
        previous: list[_Unit] = []
        for batch in batches:
            for unit in batch:
                self._scores(unit, q_rows, walk)
            for unit in previous:
                self._values(unit, output, walk)
            self._softmax(batch, walk)
            previous = batch
        for unit in previous:
            self._values(unit, output, walk)

    def _window_begin(self, position: int) -> None:
        """The window's register: block of the first key that the query at `position` (a register) sees."""
        owner, first = self.owner, self.owner.tokens.window
        owner.out.alu("sub", first, position, 0, self.settings.window - 1)
        owner.out.alu("max", first, first, 0, 0)
        owner.out.alu("shr", first, first, 0, 6)

    def _softmax(self, batch: list[_Unit], walk: _Walk) -> None:
        owner, length, window = self.owner, self.owner.options.max_context, self.settings.window
        probs_row, score_row = row_windows(length, True), length // 16
        first = batch[0]
        heads = first.rows
        scores, probs = walk.scores[first.buffer], walk.probs[first.buffer]
        inst = SOFTMAX(
            src=scores.base,
            src_s0=heads * score_row,
            src_s1=score_row,
            ks=walk.ks.base + first.kv * score_row,
            vs=walk.vs.base + first.kv * score_row,
            kv_s=score_row,
            group=first.heads,
            n1=heads,
            qpos_r=walk.start,
            window=window,
            sink_tokens=self.settings.sink if window else 0,
            alpha=float(np.float32(LOG2E * self.op.scale)),
            ab=probs.base,
            ab_s0=heads * probs_row,
            ab_s1=probs_row,
            **walk.queries,
            **self._key_fields(walk, first),
        )
        reads = [scores.range, walk.ks.range, walk.vs.range, *walk.mask_ranges]
        owner.out.emit(inst, reads, [scores.range, probs.range])

    def _batches(self, units: list[tuple[int, int, int]]) -> list[list[_Unit]]:
        """Units that share a SOFTMAX: as many heads as options say, of each half of the output; two batches at least, of which one is in the
        matrix unit while the other is in SOFTMAX. Units whose masks differ share none.
        """
        owner, heads = self.owner, units[0][2]
        pieces = owner.halves(self.group.core.name)
        size = heads * self.h.padded
        middle = pieces[0][1] // size if len(pieces) > 1 and owner.arch.cores == 1 else -(-len(units) // 2)
        most = owner.options.token_heads if owner.tokens.count is None else owner.options.heads
        most = max(1, most // heads)
        groups, lo = [], 0
        for end in (middle, len(units)):
            count = max(1, -(-(end - lo) // most))  # of about the same size
            step = max(1, -(-(end - lo) // count))
            for at in range(lo, end, step):
                groups += self._alike(units[at : min(at + step, end)])
            lo = end
        return [
            [_Unit(kv, q, n, j * n, len(group) * n, number % 2) for j, (kv, q, n) in enumerate(group)]
            for number, group in enumerate(groups)
        ]

    def _alike(self, units: list[tuple[int, int, int]]) -> list[list[tuple[int, int, int]]]:
        """Neighbours under equal masks, on every core, stay together."""
        mask = self.settings.mask if self.owner.tokens.masked else None
        if mask is None:
            return [units]
        per, groups = self.h.q_per_core, [[units[0]]]
        for unit in units[1:]:
            firsts = ((core * per + groups[-1][0][1], core * per + unit[1]) for core in range(self.owner.arch.cores))
            if all((mask[a : a + 1] == mask[b : b + 1]).all() for a, b in firsts if b < len(mask)):
                groups[-1].append(unit)
            else:
                groups.append([unit])
        return groups

    def _units(self, mask: np.ndarray | None) -> list[tuple[int, int, int]]:
        """(kv head, first query head, query heads) of each unit under these block masks, heads of this core."""
        h = self.h
        shared = mask is None or all(
            (mask[g * h.group : (g + 1) * h.group] == mask[g * h.group]).all() for g in range(self.op.kv_heads)
        )
        if shared:
            return [(kv, kv * h.group, h.group) for kv in range(h.kv_per_core)]
        return [(q // h.group, q, 1) for q in range(h.q_per_core)]

    def _check(self) -> None:
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
        queries = min(self.owner.options.queries, self.owner.tokens.most)
        entries = queries * h.group * 2 * max(1, rows)
        if entries > arch.acc_entries:
            raise FitError(
                "the accumulators are too small for the queries of a part",
                where=self.group.core.name,
                why=f"{queries} queries x {h.group} heads x 2 codes x {rows} rows per VPU = {entries} > {arch.acc_entries}",
                do="use a larger acc_entries",
                parameter="acc_entries",
            )

    def _load_masks(self) -> tuple[Range, int] | None:
        """Mask rows of all heads for the block of these queries -> MB, where each part has its own place."""
        mask = self.cache.mask
        if mask is None:
            return None
        owner, row, tokens = self.owner, self.cache.mask_row, self.owner.tokens
        nbytes = row * self.h.q_per_core
        lo = tokens.number * nbytes
        if lo + nbytes > owner.arch.mb_bytes:
            raise FitError(
                "MB is too small for the attention masks of a layer",
                where=self.group.core.name,
                why=f"{self.h.q_per_core} heads x {row} bytes for each of {tokens.number + 1} parts of a chunk: {lo + nbytes} > {owner.arch.mb_bytes}",
                do="use a larger mb_bytes or a shorter max context",
                parameter="mb_bytes",
            )
        inst = LDM(addr=mask.addr, addr_r=tokens.block, addr_s=nbytes, nbytes=nbytes, dst=lo)
        place = ("MB", lo, lo + nbytes)
        owner.out.emit(inst, [], [place])
        return place, row

    def _key_fields(self, walk: _Walk, unit: _Unit) -> dict[str, int]:
        """Operands that say which keys the heads of a unit see: the block range, and their mask if there is one."""
        if walk.masks is None:
            return walk.span
        (_, begin, _), row = walk.masks
        return walk.span | {"mask": begin + unit.query * row, "masked_r": int(HostRegister.MASKEN)}

    def _old_scales(self) -> tuple[Buffer, Buffer]:
        """Buffers of the keys' and values' scales, those of earlier chunks on their way: they wait for nothing that this layer computes."""
        owner, heads = self.owner, self.h.kv_per_core
        row = owner.options.max_context // 16
        buffers = (owner.vb.alloc("key scales", row, heads), owner.vb.alloc("value scales", row, heads))
        pos = int(HostRegister.POS)
        span = {"len_r": pos, "sink": 0}
        if self.settings.window:
            self._window_begin(owner.tokens.start)
            sink = -(-self.settings.sink // BLOCK_POSITIONS)
            span = {"len_r": pos, "sink": sink, "first_r": owner.tokens.window}
        self._load_scales(buffers, span)
        return buffers

    def _load_scales(self, buffers: tuple[Buffer, Buffer], span: dict[str, int]) -> None:
        """Scales of the keys and the values in a range of blocks."""
        owner = self.owner
        for buffer, region in zip(buffers, (self.cache.k_scales, self.cache.v_scales), strict=True):
            row = owner.options.max_context // 16
            inst = LDS(addr=region.addr, heads=self.h.kv_per_core, dst=buffer.base, dst_head=row, **span)
            owner.out.emit(inst, [region.range], [buffer.range])

    def _scores(self, unit: _Unit, q_rows: Buffer, walk: _Walk) -> None:
        """Keys of a unit, and its scores: rows [query][head of the batch]."""
        owner, cache = self.owner, self.cache
        fields = self._key_fields(walk, unit)
        load = LDK(kind="K", addr=cache.k.addr + unit.kv * cache.k_head, unit_bytes=cache.k_unit, **fields)
        owner.out.emit(load, [cache.k.range, *walk.mask_ranges], [])
        length = owner.options.max_context // 16
        scores = walk.scores[unit.buffer]
        inst = MMQK(
            ab=q_rows.base + walk.place * q_rows.row + unit.query * self.row,
            ab_s0=q_rows.row,
            ab_s1=self.row,
            n1=unit.heads,
            k=self.h.padded,
            bits=str(self.settings.kv_bits),
            dst=scores.base + unit.row * length,
            dst_s0=unit.rows * length,
            dst_s1=length,
            **walk.queries,
            **fields,
        )
        owner.out.emit(inst, [q_rows.range, *walk.mask_ranges], [scores.range])

    def _values(self, unit: _Unit, output: Buffer, walk: _Walk) -> None:
        """Values of a unit, weighted by its rows of probabilities."""
        owner, cache = self.owner, self.cache
        fields = self._key_fields(walk, unit)
        load = LDK(kind="V", addr=cache.v.addr + unit.kv * cache.v_head, unit_bytes=cache.v_unit, **fields)
        owner.out.emit(load, [cache.v.range, *walk.mask_ranges], [])
        rows = walk.probs[unit.buffer]
        length = row_windows(owner.options.max_context, True)
        inst = MMPV(
            ab=rows.base + unit.row * length,
            ab_s0=unit.rows * length,
            ab_s1=length,
            n1=unit.heads,
            slots=self.h.padded // owner.arch.channels,
            row_slots=cache.v_unit // (2 * self.settings.kv_bits),
            bits=str(self.settings.kv_bits),
            dst=output.base + walk.place * output.row + unit.query * self.units,
            dst_s0=output.row,
            dst_s1=self.units,
            dual=1,
            **walk.queries,
            **fields,
        )
        place = owner.within(output, unit.query * self.units, unit.heads * self.units)
        owner.out.emit(inst, [rows.range, *walk.mask_ranges], [place])
