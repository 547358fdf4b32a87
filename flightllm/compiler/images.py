"""Memory images: constants and weights, coded one tensor at a time, striped, packed and written as they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from flightllm.compiler.attention import rope_key
from flightllm.compiler.buffers import MemoryMap, MemoryRegion
from flightllm.compiler.fusion import AttentionGroup, Fusion
from flightllm.compiler.geometry import Geometry
from flightllm.compiler.matrices import MatrixPlan, Segment, heads_of
from flightllm.compiler.options import AttentionOptions, LoweringOptions
from flightllm.compiler.streams import CacheRegions, Images, StreamInfo, VectorTable
from flightllm.compress.plan import TensorReport, code_tensor
from flightllm.compress.producer import Calibration
from flightllm.compress.tensor import Mix, TensorRecipe
from flightllm.errors import FitError, ModelError
from flightllm.ir.graph import Graph, Node
from flightllm.ir.ops import Embed, Linear, Norm, PosEmbed
from flightllm.ir.values import FP32_MAX, read_values
from flightllm.ir.weights import Weight
from flightllm.isa.blocks import key_slots, unit_positions
from flightllm.isa.matrix import stored_slots
from flightllm.numerics.constants import QMAX
from flightllm.package import TensorRecord
from flightllm.streams.arrange import stack_rows, take_columns, take_rows, widen_together
from flightllm.streams.coded import CodedMatrix, array_share, granule_formats
from flightllm.streams.formats import EntryFormat
from flightllm.streams.layout import strip_entries
from flightllm.streams.weights import geometry as stream_geometry
from flightllm.streams.weights import pack, rows_per_vpu_needed, stream_format

#: (what is being done, steps done, steps in all)
Progress = Callable[[str, int, int], None]

#: rows of a table converted at a time
TABLE_ROWS = 4096
FP16_MAX = 65504.0
FP16_TINY = 2.0**-14


class ImageWriter(Protocol):
    """Takes the images as they come."""

    def write_at(self, core: int, channel: int, offset: int, data: np.ndarray) -> None:
        """data: uint8, at byte `offset` of a channel's image."""


@dataclass
class ImageReport:
    """What was written. tensors: one record per matrix or table; coded: the compression report of each weight."""

    tensors: list[TensorRecord] = field(default_factory=list)
    coded: list[TensorReport] = field(default_factory=list)


class ImageBuilder:
    """Writes the images of one package in address order and notes every address in `images`."""

    def __init__(
        self,
        graph: Graph,
        fusion: Fusion,
        plans: list[MatrixPlan],
        strips: Mapping[str, int],
        geometry: Geometry,
        options: LoweringOptions,
        recipes: dict[str, TensorRecipe],
        mixes: Mapping[str, Mix],
        calibration: Mapping[str, Calibration],
        writer: ImageWriter,
        progress: Progress,
    ) -> None:
        self.graph, self.fusion, self.plans, self.strips, self.geometry = graph, fusion, plans, strips, geometry
        self.options, self.recipes, self.mixes, self.calibration = options, recipes, mixes, calibration
        self.writer, self.progress = writer, progress
        self.arch = geometry.arch
        self.map = MemoryMap(self.arch.channel_bytes)
        self.images = Images()
        self.report = ImageReport()

    def build(self) -> None:
        """Constants, tables, weights, masks; then the regions that are not stored (cache, ids, logits)."""
        for node in self.graph:
            if isinstance(node.op, Norm):
                self._norm(node, node.op)
        for group in self.fusion.attentions:
            if group.rope is not None and rope_key(group) not in self.images.vectors:
                self._rope(group)
        for node in self.graph:
            if isinstance(node.op, Embed | PosEmbed):
                self._table(node)
        total = len(self.plans)
        for i, plan in enumerate(self.plans):
            self.progress(f"weights {plan.name}", i, total)
            self._matrix(plan)
        self.progress("weights", total, total)
        masks = {g.core.name: self._mask(g) for g in self.fusion.attentions}
        for group in self.fusion.attentions:
            self.images.caches[group.core.name] = self._cache(group, masks[group.core.name])
        head = self.geometry.part(self.graph.output.dim)
        self.images.ids = self.map.add("token ids", 4 * self.options.chunk, "io").addr
        self.images.logits_row = -(-4 * self.geometry.slots(head) // 64) * 64
        self.images.logits = self.map.add("logits", self.images.logits_row * self.options.chunk, "io")

    # --- vectors ------------------------------------------------------------------------------------------------
    def _striped(self, data: np.ndarray, dtype: str) -> np.ndarray:
        """[rows, n] -> uint8 [C, rows, row bytes]; n is a multiple of C, rows are padded to 64 bytes."""
        rows, n = data.shape
        c = self.arch.channels
        cells = np.ascontiguousarray(data.astype(dtype).reshape(rows, n // c, c).transpose(2, 0, 1))
        raw = cells.view(np.uint8).reshape(c, rows, -1)
        return np.pad(raw, ((0, 0), (0, 0), (0, -raw.shape[2] % 64)))

    def _write(self, region: MemoryRegion, core: int, data: np.ndarray, offset: int = 0) -> None:
        """data uint8 [C, bytes] at the region's address plus offset on one core."""
        for c in range(self.arch.channels):
            self.writer.write_at(core, c, region.addr + offset, data[c])

    def _vectors(self, name: str, data: np.ndarray, kind: str = "vectors") -> None:
        """Rows [rows, n] fp32, the same on every core."""
        width = -(-data.shape[1] // self.geometry.align) * self.geometry.align
        data = np.pad(np.asarray(data, np.float32), ((0, 0), (0, width - data.shape[1])))
        raw = self._striped(data, "<f4")
        region = self.map.add(name, raw.shape[1] * raw.shape[2], kind)
        for core in range(self.arch.cores):
            self._write(region, core, raw.reshape(raw.shape[0], -1))
        slots = self.geometry.slots(width)
        self.images.vectors[name] = VectorTable(region, "f32", raw.shape[2], slots, data.shape[0])

    def _norm(self, node: Node, op: Norm) -> None:
        # a normalised element is at most sqrt(n)
        n = node.dim // op.heads
        gamma = read_values(op.gamma, FP32_MAX / (2 * n**0.5), "products with normalised vectors overflow fp32")
        if op.heads > 1:
            group = self.fusion.group_of.get(node.name)
            if isinstance(group, AttentionGroup):
                index = heads_of(self.geometry, group).rotary_index()
                gamma = np.where(index >= 0, gamma[index], 0)
        self._vectors(f"{node.name}.gamma", gamma[None])
        if op.beta is not None:
            beta = read_values(op.beta, FP32_MAX / 2, "a sum with it overflows fp32")
            self._vectors(f"{node.name}.beta", beta[None])

    def _rope(self, group: AttentionGroup) -> None:
        """cos and sin of every position, computed in float64 and rounded once."""
        assert group.rope is not None
        heads = heads_of(self.geometry, group)
        angle = np.arange(self.options.max_context)[:, None] * np.asarray(group.rope.inv_freq, np.float64)
        half, r = heads.padded // 2, angle.shape[1]
        table = np.zeros((len(angle), 2 * half))
        table[:, :half] = 1
        table[:, :r] = np.cos(angle) * group.rope.attention_factor
        table[:, half : half + r] = np.sin(angle) * group.rope.attention_factor
        if not np.abs(table).max(initial=0) <= FP32_MAX:
            raise ModelError(
                "the table of rotary position embedding holds NaN or infinity",
                where=f"{self.graph.info.source}: {group.core.name}",
                why=f"positions up to {len(angle) - 1}, attention factor {group.rope.attention_factor:g}, "
                f"frequencies up to {np.abs(group.rope.inv_freq).max():g}",
                do="see to the RoPE settings in the model's configuration",
            )
        self._vectors(rope_key(group), table)

    def _table(self, node: Node) -> None:
        """Embedding rows, fp16 (fp32 if a value is too large for it)."""
        assert isinstance(node.op, Embed | PosEmbed)
        scale = node.op.scale if isinstance(node.op, Embed) else 1.0
        limit = (FP32_MAX / node.dim) ** 0.5 / 2 / max(abs(scale), 1.0)
        table = read_values(node.op.table, limit, "the norms' sums of squares overflow fp32")
        rows = self._table_rows(node.op)
        largest = max((float(np.abs(table[i : i + TABLE_ROWS]).max()) for i in range(0, rows, TABLE_ROWS)), default=0.0)
        dtype = "f16" if largest * abs(scale) <= FP16_MAX else "f32"
        info = self._place_table(node, rows, dtype)
        width = self.geometry.whole(node.dim)
        for lo in range(0, rows, TABLE_ROWS):
            part = table[lo : min(lo + TABLE_ROWS, rows)].astype(np.float32) * np.float32(scale)
            if dtype == "f16":  # fp16 subnormals are flushed, see docs/numerics.md
                part[np.abs(part) < FP16_TINY] = 0
            part = np.pad(part, ((0, 0), (0, width - node.dim)))
            raw = self._striped(part, "<f2" if dtype == "f16" else "<f4")
            for core in range(self.arch.cores):
                self._write(info.region, core, raw.reshape(raw.shape[0], -1), lo * info.row)

    def _table_rows(self, op: Embed | PosEmbed) -> int:
        """Rows of a table that are stored: of positions those within the context."""
        rows = op.table.shape[0]
        return min(rows, self.options.max_context + op.offset) if isinstance(op, PosEmbed) else rows

    def _place_table(self, node: Node, rows: int, dtype: str) -> VectorTable:
        """The region of a table of embeddings."""
        slots = self.geometry.slots(self.geometry.whole(node.dim))
        row = -(-slots * {"f16": 2, "f32": 4}[dtype] // 64) * 64
        region = self.map.add(node.name, rows * row, "embed")
        info = self.images.vectors[node.name] = VectorTable(region, dtype, row, slots, rows)
        self._record(node.name, rows, node.dim, {dtype: 1.0}, region.addr, rows * row)
        return info

    def _record(self, name: str, rows: int, k: int, formats: dict[str, float], addr: int, nbytes: int) -> None:
        bits = 8 * nbytes * self.arch.channels * self.arch.cores / (rows * k)
        self.report.tensors.append(TensorRecord(name, rows, k, formats, bits, addr, nbytes))

    # --- matrices -----------------------------------------------------------------------------------------------
    def _matrix(self, plan: MatrixPlan) -> None:
        coded = []
        formats: dict[str, float] = {}
        total = sum(p.node.dim for p in plan.parts)
        for part in plan.parts:
            op = part.node.op
            assert isinstance(op, Linear)
            matrix, report = code_tensor(
                op.weight,
                self.recipes[part.node.name],
                self.arch,
                bias=op.bias,
                mix=self.mixes.get(part.node.name),
                calibration=self.calibration.get(part.node.name),
                rows_per_vpu=self.strips[plan.name],
            )
            report.name = part.node.name
            if plan.columns is not None:
                matrix = self._columns(matrix, plan.columns, report)
            coded.append(matrix)
            self.report.coded.append(report)
            for text, share in report.formats.items():
                formats[text] = formats.get(text, 0) + share * report.rows / total
        if any(m.bias is not None for m in coded):
            coded = [m if m.bias is not None else m.with_bias(np.zeros(m.rows, np.float32)) for m in coded]
        cores = range(self.arch.cores)
        whole = [stack_rows([take_rows(m, p.rows[c]) for m, p in zip(coded, plan.parts, strict=True)]) for c in cores]
        del coded
        if plan.order is not None:
            whole = [take_rows(m, plan.order) for m in whole]
        start = self.map.top
        infos = [self._stream(plan, whole, segment) for segment in plan.segments]
        self.images.streams[plan.name] = infos
        k = plan.parts[0].node.op.weight.shape[1]  # type: ignore[union-attr]
        self._record(plan.name, total, k, formats, start, self.map.top - start)
        self.map.check(f"at {plan.name}; later weights and the KV cache come on top")

    def _columns(self, matrix: CodedMatrix, columns: np.ndarray, report: TensorReport) -> CodedMatrix:
        """Columns moved to padded head places; coded again in 8 bits where that would tear groups apart."""
        moved = take_columns(matrix, columns)
        if moved is not None:
            return moved
        report.notes.append(
            "coded again in 8 bits: the padding of heads on this config does not keep its groups together"
        )
        spread = np.where(columns >= 0, matrix.dense()[:, columns], np.float32(0))
        again = TensorRecipe(passes=(EntryFormat(8),), group=32, as_stored=False)
        return code_tensor(Weight.of(report.name, spread), again, self.arch)[0].with_bias(matrix.bias)

    def _stream(self, plan: MatrixPlan, whole: list[CodedMatrix], segment: Segment) -> StreamInfo:
        """Pack and write one segment on every core."""
        arch = self.arch
        parts = [m.slice_rows(segment.lo, segment.hi).slice_columns(segment.first, segment.last) for m in whole]
        if segment.first:  # added to what the segments before it have left, which has the bias
            parts = [part.with_bias(None) for part in parts]
        for part in parts:
            kind = "dual" if plan.parts[0].node.name in self.options.dual else "a8"
            bound = part.integer_bound(QMAX[kind])
            if bound >= 1 << 47:
                raise FitError(
                    "a matrix could overflow the 48-bit accumulators",
                    where=plan.name,
                    why=f"the bound of its sums is 2^{bound.bit_length()}",
                    do="use fewer bits or 8-bit activations for it",
                )
        m = max(self.strips[plan.name], *(rows_per_vpu_needed(p) for p in parts))
        # Cores run one program, so their streams must have one layout.
        parts = widen_together(parts, m * arch.vpus * arch.channels)
        fmt = stream_format(parts[0], arch.channels, arch.vpus, m)
        name = segment_name(plan, segment)
        packed = [pack(p, arch.channels, arch.vpus, m) for p in parts]
        nbytes = packed[0].shape[1]
        assert all(p.shape[1] == nbytes for p in packed)
        region = self.map.add(name, nbytes, "weights")
        for core, data in enumerate(packed):
            self._write(region, core, data)
        geo = stream_geometry(parts[0], arch.channels, arch.vpus, m)
        tables = granule_formats(parts[0], geo.granule)
        rows = np.unique(tables.reshape(tables.shape[0], -1), axis=0).reshape(-1, *tables.shape[1:])
        entry = max(e.size for t in rows for block in strip_entries(geo, t, 0) for e in block)
        return StreamInfo(
            region.addr,
            nbytes,
            self.geometry.slots(segment.hi - segment.lo),
            segment.last - segment.first,
            parts[0].group,
            fmt,
            m,
            parts[0].bias is not None,
            entry,
            array_share(tables),
        )

    # --- attention ----------------------------------------------------------------------------------------------
    def _mask(self, group: AttentionGroup) -> tuple[MemoryRegion, int] | None:
        """Block masks [query block][head][row bytes] on channel 0: bit b % 8 of byte b // 8 is key block b."""
        settings = self.options.attention.get(group.core.name, AttentionOptions())
        if settings.mask is None:
            return None
        heads = heads_of(self.geometry, group)
        blocks = -(-self.options.max_context // 64)
        row = -(-blocks // 8)
        per = heads.q_per_core
        padded = np.zeros((per * self.arch.cores, blocks, blocks), bool)
        padded[: len(settings.mask)] = settings.mask[:, :blocks, :blocks]
        bits = np.packbits(padded, axis=2, bitorder="little")
        region = self.map.add(f"{group.core.name}.mask", blocks * per * row, "vectors")
        for core in range(self.arch.cores):
            data = np.ascontiguousarray(bits[core * per : (core + 1) * per].transpose(1, 0, 2)).reshape(-1)
            self.writer.write_at(core, 0, region.addr, data)
        return region, row

    def _cache(self, group: AttentionGroup, mask: tuple[MemoryRegion, int] | None) -> CacheRegions:
        return plan_cache(self.map, self.geometry, self.options, group, mask)


def segment_name(plan: MatrixPlan, segment: Segment) -> str:
    """Name of the region of a segment: the matrix, with rows and columns where it has several."""
    rows = "" if segment.lo == 0 and segment.hi == plan.rows else f"{segment.lo}:{segment.hi}"
    columns = "" if len(plan.cuts) == 1 else f", {segment.first}:{segment.last}"
    return f"{plan.name}[{rows or ':'}{columns}]" if rows or columns else plan.name


def plan_cache(
    memory: MemoryMap,
    geometry: Geometry,
    options: LoweringOptions,
    group: AttentionGroup,
    mask: tuple[MemoryRegion, int] | None,
) -> CacheRegions:
    """Regions of one layer's KV cache (docs/streams.md)."""
    heads = heads_of(geometry, group)
    bits = options.attention.get(group.core.name, AttentionOptions()).kv_bits
    channels, length, n = geometry.arch.channels, options.max_context, heads.kv_per_core
    k_unit = key_slots(channels) * heads.padded * bits // 8
    v_unit = stored_slots(heads.padded // channels, bits) * 2 * bits
    k_head, v_head = (
        -(-length // unit_positions(kind, channels)) * unit for kind, unit in (("K", k_unit), ("V", v_unit))
    )
    name = group.core.name
    return CacheRegions(
        memory.add(f"{name}.K", n * k_head, "kv"),
        memory.add(f"{name}.V", n * v_head, "kv"),
        memory.add(f"{name}.K scales", 2 * n * (length // channels), "kv"),
        memory.add(f"{name}.V scales", 2 * n * (length // channels), "kv"),
        k_unit,
        v_unit,
        k_head,
        v_head,
        mask[0] if mask else None,
        mask[1] if mask else 0,
    )
