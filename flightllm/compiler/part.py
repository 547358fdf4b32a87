"""Lowering of one part of a run's tokens: the graph, operator by operator, to instructions over buffers.

One `Value` per graph node: a VB buffer of a row for each token. A value is *whole* on every core or *sliced* (each core holds its part);
with one core the two are the same. Linears take quantised rows in AB, made by the producer where it can, else by a copy; where a value comes in two
halves (`matrices.halves`), each half is a row with a scale of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from flightllm.compiler.attention import AttentionLowering
from flightllm.compiler.buffers import Buffer, Pool
from flightllm.compiler.emit import Emitter, Range
from flightllm.compiler.fusion import AttentionGroup, Fusion, GatedGroup
from flightllm.compiler.geometry import Geometry
from flightllm.compiler.matrices import MatrixPlan, Segment, halves
from flightllm.compiler.options import LoweringOptions
from flightllm.compiler.streams import Images, StreamInfo
from flightllm.config.arch import ArchConfig
from flightllm.errors import FitError, UnsupportedError
from flightllm.ir.graph import Graph, Node
from flightllm.ir.ops import Act, Add, Embed, Linear, Mul, Norm, PosEmbed
from flightllm.isa.fields import Instruction
from flightllm.isa.load import LDG, LDV, LDW
from flightllm.isa.matrix import MM, row_windows
from flightllm.isa.registers import HostRegister
from flightllm.isa.special import ACT, ADD, NORM
from flightllm.isa.store import STV, XCHG

ACT_KINDS = {"relu": "relu", "silu": "silu", "gelu_tanh": "gelu"}


@dataclass
class Value:
    """A node's result. length: real elements of a row (of the core's part if sliced). sliced: the core's part only. stacked: each piece is
    followed by as much that does not belong to it.
    """

    buffer: Buffer
    length: int
    sliced: bool = False
    stacked: bool = False


@dataclass(frozen=True)
class Source:
    """What is lowered: a graph with its groups and matrices, the config, where everything lies in memory, and sizes."""

    graph: Graph
    fusion: Fusion
    plans: list[MatrixPlan]
    arch: ArchConfig
    images: Images
    options: LoweringOptions


@dataclass(frozen=True)
class Tokens:
    """The tokens that a part works on.

    most: at most. count: register with their number, None: exactly one. Other registers: offset (place of the first one in the run), start and
    stop (its position, and that behind the last one), block (of the first one), fresh (block of the first one of the run), window (for the
    lowering's own use), nlog (logits wanted of the last ones), first (place in the part of the first of these). masked: block masks apply where MASKEN says so. number: of
    the part. step: registers of some of the tokens, if an attention takes not all at once: number, position of the first and behind the last.
    """

    most: int
    count: int | None
    offset: int
    start: int
    stop: int
    block: int
    fresh: int
    window: int
    nlog: int
    first: int
    masked: bool
    number: int
    step: tuple[int, int, int] | None = None

    def times(self, name: str) -> dict[str, int]:
        """A count operand: one for each token."""
        return {name: 1} if self.count is None else {f"{name}_r": self.count}


class PartLowering:
    """Emits the graph for one part."""

    def __init__(self, source: Source, out: Emitter, vb: Pool, ab: Pool, tokens: Tokens) -> None:
        graph, arch = source.graph, source.arch
        self.graph, self.fusion, self.arch = graph, source.fusion, arch
        self.images, self.options = source.images, source.options
        self.out, self.vb, self.ab, self.tokens = out, vb, ab, tokens
        self.geometry = Geometry(arch)
        self.plans = {part.node.name: p for p in source.plans for part in p.parts}
        self.values: dict[str, Value] = {}
        self.rows: dict[tuple[str, bool], list[Buffer]] = {}
        self.users = {n.name: len(graph.users(n.name)) for n in graph}
        self.done: set[str] = set()
        self.late: Node | None = None
        self.tables: dict[str, Buffer] = {}

    # --- services -----------------------------------------------------------------------------------------------
    def emit(
        self, inst: Instruction, reads: tuple[Buffer | None, ...] = (), writes: tuple[Buffer | None, ...] = ()
    ) -> None:
        """Emit with whole buffers as the places touched."""
        self.out.emit(inst, [b.range for b in reads if b is not None], [b.range for b in writes if b is not None])

    def within(self, buffer: Buffer, first: int, size: int) -> Range:
        """Units first .. first + size - 1 of each row of a buffer; with several rows, whose units lie between each other, the whole buffer."""
        if self.tokens.most > 1:
            return buffer.range
        return buffer.space, buffer.base + first, buffer.base + first + size

    def release(self, name: str) -> None:
        """One user of a node's value is done; the last one frees its buffers."""
        self.users[name] -= 1
        if self.users[name]:
            return
        value = self.values.pop(name, None)
        if value is not None and value.buffer.base in self.vb.live and not self._aliased(value.buffer):
            self.vb.free(value.buffer)
        for key in [k for k in self.rows if k[0] == name]:
            for rows in self.rows.pop(key):
                self.ab.free(rows)

    def _keep(self, name: str, value: Value) -> None:
        """Remember a node's value, or give its buffer back if linears alone take it and its rows are there."""
        if (name, self.wants_dual(name)) in self.rows and all(isinstance(u.op, Linear) for u in self.graph.users(name)):
            self.vb.free(value.buffer)
        else:
            self.values[name] = value

    def _aliased(self, buffer: Buffer) -> bool:
        return any(v.buffer is buffer for v in self.values.values())

    def constant(self, name: str) -> Buffer:
        """Load a constant vector into VB; the caller frees it."""
        table = self.images.vectors[name]
        units = table.slots * self.arch.channels // 16
        buffer = self.vb.alloc(name, units)
        self.emit(
            LDV(dtype=table.dtype, addr=table.region.addr, row=table.row, slots=table.slots, rows=1, dst=buffer.base),
            (),
            (buffer,),
        )
        return buffer

    def gathered(self, name: str) -> Value:
        """The value of a node, whole on every core."""
        value = self.values[name]
        if not value.sliced:
            return value
        part = self.geometry.part(self.graph[name].dim) // 16 if value.stacked else value.buffer.row
        whole = self.vb.alloc(f"{name} gathered", part * self.arch.cores, self.tokens.most)
        inst = XCHG(
            src=value.buffer.base,
            src_row=value.buffer.row,
            dst=whole.base,
            dst_row=whole.row,
            n=part,
            **self.tokens.times("n0"),
        )
        self.emit(inst, (value.buffer,), (whole,))
        self.vb.free(value.buffer)
        self.values[name] = Value(whole, self.graph[name].dim)
        return self.values[name]

    def wants_dual(self, name: str) -> bool:
        """Some linear that takes this value asks for two codes per element."""
        return any(u.name in self.options.dual for u in self.graph.users(name))

    def halves(self, name: str) -> tuple[tuple[int, int], ...]:
        """Pieces of a node's value that linears take: (first, last + 1) elements of the gathered vector."""
        return halves(self.graph, self.fusion, self.geometry, name)

    def quantised(self, name: str) -> tuple[list[Buffer], bool]:
        """(AB rows of each piece, dual) of a node's value, quantised now if its producer did not."""
        dual = self.wants_dual(name)
        key = (name, dual)
        if key not in self.rows:
            buffer, dim = self.gathered(name).buffer, self.graph[name].dim
            if isinstance(self.fusion.group_of.get(name), AttentionGroup):
                dim = 16 * buffer.row  # heads stay padded
            self.rows[key] = []
            for lo, hi in self.halves(name):
                length = min(hi, dim) - lo
                rows = self.alloc_rows(name, length, dual)
                place = self.within(buffer, lo // 16, -(-length // 16))
                inst = ACT(
                    kind="copy",
                    src=buffer.base + lo // 16,
                    src_s0=buffer.row,
                    dst=buffer.base + lo // 16,
                    dst_s0=buffer.row,
                    n1=1,
                    len=length,
                    quant="dual" if dual else "a8",
                    ab=rows.base,
                    ab_s0=rows.row,
                    **self.tokens.times("n0"),
                )
                self.out.emit(inst, [place], [place, rows.range])
                self.rows[key].append(rows)
        return self.rows[key], dual

    def alloc_rows(self, name: str, length: int, dual: bool, per_token: int = 1) -> Buffer:
        """AB rows for the vectors of all tokens."""
        return self.ab.alloc(f"{name} rows", per_token * row_windows(length, dual), self.tokens.most)

    def matrix(self, plan: MatrixPlan, rows: list[Buffer], dual: bool, dst: Buffer, **fields: int) -> None:
        """All segments of a matrix, an LDW and an MM each; `rows`: of each piece of its columns. `fields` override or add MM fields."""
        infos = self.images.streams[plan.name]
        for segment, info in zip(plan.segments, infos, strict=True):
            self.segment(info, segment, rows[plan.cuts.index((segment.first, segment.last))], dual, dst, **fields)

    def segment(self, info: StreamInfo, segment: Segment, rows: Buffer, dual: bool, dst: Buffer, **fields: int) -> None:
        """One LDW and its MM. Of a matrix cut by columns, all pieces but the first add to what is there."""
        self.check_matrix(info, dual)
        self.out.emit(LDW(addr=info.addr, nbytes=info.nbytes))
        add = bool(fields.pop("accumulate", 0)) or segment.first > 0
        at, size = segment.lo // 16, (segment.hi - segment.lo) // 16
        operands: dict[str, Any] = {
            "ab": rows.base,
            "ab_row": rows.row,
            "k": info.k,
            "slots": info.slots,
            "dst": dst.base + at,
            "dst_row": dst.row,
            "format": info.format or 0,
            "table": int(info.format is None),
            "group": str(info.group),
            "rows_per_vpu": str(info.rows_per_vpu),
            "bias": int(info.bias),
            "dual": int(dual),
            "accumulate": int(add),
        }
        if "tokens_r" not in fields:
            operands |= self.tokens.times("tokens")
        place = dst.range if "dst_r" in fields else self.within(dst, at, size)
        reads = [rows.range, *([place] if add else [])]
        self.out.emit(MM(**{**operands, **fields}), reads, [place], info.array_share)

    def check_matrix(self, info: StreamInfo, dual: bool) -> None:
        """Raise FitError if the accumulators or the W ring are too small."""
        entries = self.tokens.most * info.rows_per_vpu * (2 if dual else 1)
        if entries > self.arch.acc_entries:
            raise FitError(
                "the accumulators are too small for the chunk",
                why=f"{self.tokens.most} tokens x {info.rows_per_vpu} rows per VPU x {2 if dual else 1} = {entries} > {self.arch.acc_entries}",
                do="use a smaller max_chunk or a larger acc_entries",
                parameter="acc_entries",
            )
        if 2 * info.entry_bytes > self.arch.w_ring_bytes:
            raise FitError(
                "the W ring is too small for one entry of a weight stream twice",
                why=f"entry {info.entry_bytes} bytes, ring {self.arch.w_ring_bytes}",
                do="use a larger w_ring_bytes",
                parameter="w_ring_bytes",
            )

    # --- operators ----------------------------------------------------------------------------------------------
    def run(self) -> None:
        """Everything up to the last layer's result."""
        AttentionLowering.load_tables(self)
        for node in self.graph:
            if node.name in self.done or node.name == self.graph.output.name:
                continue
            self.out.note = node.name
            group = self.fusion.group_of.get(node.name)
            if isinstance(group, AttentionGroup):
                AttentionLowering(self, group).run()
            elif isinstance(group, GatedGroup):
                self._gated(group)
            else:
                self._node(node)

    def _node(self, node: Node) -> None:
        op = node.op
        if isinstance(op, Embed):
            self._embed(node)
        elif isinstance(op, PosEmbed):
            self._pos_embed(node, op)
        elif isinstance(op, Norm):
            self._norm(node, op)
        elif isinstance(op, Linear):
            self._linear(node)
        elif isinstance(op, Add):
            self._add(node)
        elif isinstance(op, Act):
            self._act(node, op)
        elif isinstance(op, Mul):
            self._mul(node)
        else:
            raise UnsupportedError(
                f"{type(op).__name__} outside an attention is not supported",
                where=node.name,
                do="this architecture is not supported yet; `flightllm check` shows what is in the model",
            )
        for name in node.inputs:
            if node.name not in self.done:
                self.release(name)
        self.done.add(node.name)

    def _vector(self, node: Node) -> Buffer:
        return self.vb.alloc(node.name, self.geometry.whole(node.dim) // 16, self.tokens.most)

    def _embed(self, node: Node) -> None:
        table, dst = self.images.vectors[node.name], self._vector(node)
        inst = LDG(
            dtype=table.dtype,
            ids=self.images.ids,
            ids_r=self.tokens.offset,
            ids_s=4,
            table=table.region.addr,
            row=table.row,
            limit=table.rows,
            slots=table.slots,
            dst=dst.base,
            dst_row=dst.row,
            **self.tokens.times("rows"),
        )
        self.emit(inst, (), (dst,))
        self.values[node.name] = Value(dst, node.dim)

    def _pos_embed(self, node: Node, op: PosEmbed) -> None:
        dst = self._vector(node)
        self.position_rows(node.name, dst, op.offset)
        self.values[node.name] = Value(dst, node.dim)

    def position_rows(self, name: str, dst: Buffer, offset: int = 0) -> None:
        """Load the rows of a table that belong to the positions of the tokens, `offset` rows on."""
        table = self.images.vectors[name]
        inst = LDV(
            dtype=table.dtype,
            addr=table.region.addr + offset * table.row,
            addr_r=self.tokens.start,
            addr_s=table.row,
            row=table.row,
            slots=table.slots,
            dst=dst.base,
            dst_row=dst.row,
            **self.tokens.times("rows"),
        )
        self.emit(inst, (), (dst,))

    def _norm(self, node: Node, op: Norm) -> None:
        if op.heads != 1:
            raise UnsupportedError(
                "a norm over heads outside an attention is not supported",
                where=node.name,
                do="this architecture is not supported yet; `flightllm check` shows what is in the model",
            )
        users = self.graph.users(node.name)
        if [u.name for u in users] == [self.graph.output.name]:
            self.late = node  # done on the wanted tokens only, with the logits
            self.users[node.inputs[0]] += 1
            return
        source = self.gathered(node.inputs[0])
        dst = self._vector(node)
        fields = {
            "src": source.buffer.base,
            "src_s0": source.buffer.row,
            "dst": dst.base,
            "dst_s0": dst.row,
            **self.tokens.times("n0"),
        }
        linears = [u for u in users if isinstance(u.op, Linear)]
        rows, dual = None, False
        if linears:
            dual = self.wants_dual(node.name)
            rows = self.alloc_rows(node.name, node.dim, dual)
            self.rows[node.name, dual] = [rows]
            fields |= {"ab": rows.base, "ab_s0": rows.row}
        writes = [dst.range] if rows is None else [dst.range, rows.range]
        quant = "none" if rows is None else ("dual" if dual else "a8")
        self.norm(node.name, op, node.dim, fields | {"quant": quant}, [source.buffer.range], writes)
        self._keep(node.name, Value(dst, node.dim))

    def norm(
        self,
        name: str,
        op: Norm,
        length: int,
        fields: dict[str, Any],
        reads: list[Range],
        writes: list[Range],
        real: int | None = None,
    ) -> None:
        """A NORM with its constants; `real`: elements that count, if the vectors are padded."""
        gamma = self.constant(f"{name}.gamma")
        beta = self.constant(f"{name}.beta") if op.kind == "layer" else None
        inst = NORM(
            kind=op.kind,
            gamma=gamma.base,
            beta=beta.base if beta else 0,
            len=length,
            inv_n=1.0 / (real or length),
            eps=float(op.eps),
            **{"n1": 1, **fields},
        )
        constants = [b.range for b in (gamma, beta) if b is not None]
        self.out.emit(inst, [*reads, *constants], writes)
        self.vb.free(gamma)
        if beta is not None:
            self.vb.free(beta)

    def _linear(self, node: Node) -> None:
        plan = self.plans[node.name]
        rows, dual = self.quantised(node.inputs[0])
        add = self._residual(node)
        if add is None:
            dst = self.vb.alloc(node.name, plan.rows // 16, self.tokens.most)
            self.matrix(plan, rows, dual, dst)
            self.values[node.name] = Value(dst, node.dim, self.arch.cores > 1)
            return
        other = next(i for i in add.inputs if i != node.name)
        target = self.gathered(other).buffer
        part = plan.rows // 16
        if self.arch.cores == 1:
            self.matrix(plan, rows, dual, target, accumulate=1)
        else:
            self.matrix(plan, rows, dual, target, accumulate=1, dst_r=int(HostRegister.CORE), dst_s=part)
            # In place: this core's part is the source, every core's part a destination.
            gather = XCHG(
                src=target.base,
                src_r=int(HostRegister.CORE),
                src_s=part,
                src_row=target.row,
                dst=target.base,
                dst_row=target.row,
                n=part,
                **self.tokens.times("n0"),
            )
            self.emit(gather, (target,), (target,))
        self.values[add.name] = Value(target, add.dim)
        self.users[node.name] = 0
        self.done.add(add.name)
        self.release(other)

    def _residual(self, node: Node) -> Node | None:
        """The Add that this linear can be accumulated into: its only user, whose other operand is needed by nobody else any more."""
        users = self.graph.users(node.name)
        if len(users) != 1 or not isinstance(users[0].op, Add):
            return None
        other = [i for i in users[0].inputs if i != node.name]
        if len(other) != 1 or other[0] not in self.values or self.users[other[0]] != 1:
            return None
        return users[0]

    def _add(self, node: Node) -> None:
        a, b = (self.gathered(i) for i in node.inputs)
        dst = self._vector(node)
        inst = ADD(
            src=a.buffer.base,
            src_s0=a.buffer.row,
            other=b.buffer.base,
            other_s0=b.buffer.row,
            dst=dst.base,
            dst_s0=dst.row,
            n1=1,
            len=self.geometry.whole(node.dim),
            **self.tokens.times("n0"),
        )
        self.emit(inst, (a.buffer, b.buffer), (dst,))
        self.values[node.name] = Value(dst, node.dim)

    def _act(self, node: Node, op: Act) -> None:
        source = self.values[node.inputs[0]]
        dst = self._like(node.name, source)
        self._activate(node.name, ACT_KINDS[op.kind], source.buffer, None, dst, source.sliced)

    def _mul(self, node: Node) -> None:
        a, b = (self.values[i] for i in node.inputs)
        if a.sliced != b.sliced:
            a, b = (self.gathered(i) for i in node.inputs)
        self._activate(node.name, "copy", a.buffer, b.buffer, self._like(node.name, a), a.sliced)

    def _like(self, name: str, source: Value) -> Buffer:
        """A buffer for a value of a node, sliced or whole as its source."""
        dim, geometry = self.graph[name].dim, self.geometry
        width = geometry.part(dim) if source.sliced else geometry.whole(dim)
        return self.vb.alloc(name, width // 16, self.tokens.most)

    def _gated(self, group: GatedGroup) -> None:
        """act(gate) * up, in place of the gate."""
        plan = self.plans[group.gate.name]
        rows, dual = self.quantised(group.gate.inputs[0])
        both = self.vb.alloc(plan.name, plan.rows // 16, self.tokens.most)
        self.matrix(plan, rows, dual, both)
        self.release(group.gate.inputs[0])
        self.release(group.up.inputs[0])
        assert isinstance(group.act.op, Act)
        kind = ACT_KINDS[group.act.op.kind]
        self._activate(group.mul.name, kind, both, both, both, self.arch.cores > 1)
        self.done.update(n.name for n in (group.gate, group.up, group.act, group.mul))

    def _activate(self, name: str, kind: str, source: Buffer, gate: Buffer | None, dst: Buffer, sliced: bool) -> None:
        """ACT of each piece; quantises on the way if every core has the whole vector and linears take it.

        If source and gate are one buffer, each piece of it is followed by as much of its gate partner.
        """
        dim = self.graph[name].dim
        pieces = ((0, self.geometry.part(dim)),) if sliced else self.halves(name)
        stacked = gate is source
        quant, rows, dual = "none", None, self.wants_dual(name)
        if not sliced and any(isinstance(u.op, Linear) for u in self.graph.users(name)):
            self.rows[name, dual] = []
            quant = "dual" if dual else "a8"
        for lo, hi in pieces:
            length = hi - lo if sliced else min(hi, dim) - lo
            size = (hi - lo) // 16
            at = (2 if stacked else 1) * lo // 16
            fields = {
                "src": source.base + at,
                "src_s0": source.row,
                "dst": dst.base + at,
                "dst_s0": dst.row,
                "n1": 1,
                "len": length,
                **self.tokens.times("n0"),
            }
            reads = [self.within(source, at, size)]
            if gate is not None:
                partner = at + size if stacked else at
                fields |= {"gated": 1, "gate": gate.base + partner, "gate_s0": gate.row}
                reads.append(self.within(gate, partner, size))
            writes = [self.within(dst, at, size)]
            if quant != "none":
                rows = self.alloc_rows(name, length, dual)
                self.rows[name, dual].append(rows)
                fields |= {"ab": rows.base, "ab_s0": rows.row}
                writes.append(rows.range)
            self.out.emit(ACT(kind=kind, quant=quant, **fields), reads, writes)
        self._keep(name, Value(dst, dim, sliced, stacked))

    # --- logits -------------------------------------------------------------------------------------------------
    def logits(self, before: int = 0) -> None:
        """Final norm and output matrix for the last `nlog` tokens; `before`: register with the logits of the parts before this one."""
        head, t = self.graph.output, self.tokens
        self.out.note = head.name
        source = self.graph[head.inputs[0]]
        value = self.gathered(source.name if self.late is None else source.inputs[0])
        plan = self.plans[head.name]
        dual = head.name in self.options.dual
        logits = self.images.logits
        assert logits is not None
        rows = self.alloc_rows(head.name, plan.k, dual)
        scratch = self.vb.alloc("final", value.buffer.row, t.most)
        fields: dict[str, Any] = {
            "src": value.buffer.base,
            "src_s0": value.buffer.row,
            "dst": scratch.base,
            "dst_s0": scratch.row,
            "ab": rows.base,
            "ab_s0": rows.row,
            "quant": "dual" if dual else "a8",
        }
        times: dict[str, int] = {"n0": 1}
        if t.count is not None:
            times = {"n0_r": t.nlog}
            fields |= {"src_r": t.first, "src_s": value.buffer.row}
        if self.late is not None:
            assert isinstance(source.op, Norm)
            places = [value.buffer.range], [scratch.range, rows.range]
            self.norm(source.name, source.op, source.dim, fields | times, *places)
        else:
            inst = ACT(kind="copy", n1=1, len=plan.k, **fields, **times)
            self.emit(inst, (value.buffer,), (scratch, rows))
        self.vb.free(scratch)
        several = {} if t.count is None else {"tokens_r": t.nlog}
        for segment, info in zip(plan.segments, self.images.streams[plan.name], strict=True):
            lo, hi = segment.lo, segment.hi
            dst = self.vb.alloc(f"logits {lo}..{hi - 1}", (hi - lo) // 16, t.most)
            self.segment(info, replace(segment, lo=0, hi=hi - lo), rows, dual, dst, **several)
            store = STV(
                src=dst.base,
                src_row=dst.row,
                slots=info.slots,
                addr=logits.addr + 4 * self.geometry.slots(lo),
                addr_r=before,
                addr_s=self.images.logits_row if before else 0,
                row=self.images.logits_row,
                **({"rows": 1} if t.count is None else {"rows_r": t.nlog}),
            )
            self.out.emit(store, [dst.range], [logits.range])
            self.vb.free(dst)
        self.ab.free(rows)
