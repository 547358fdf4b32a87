"""Lowering: the graph, operator by operator, to instructions over buffers.

One `Value` per graph node: a VB buffer of `chunk` rows. A value is *whole* on every core or *sliced* (each core holds its part);
with one core the two are the same. Linears take quantised rows in AB, made by the producer where it can, else by a copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flightllm.compiler.attention import AttentionLowering
from flightllm.compiler.buffers import Buffer, Pool
from flightllm.compiler.emit import Emitter, Item
from flightllm.compiler.fusion import AttentionGroup, Fusion, GatedGroup
from flightllm.compiler.geometry import Geometry
from flightllm.compiler.matrices import MatrixPlan
from flightllm.compiler.options import LoweringOptions
from flightllm.compiler.streams import Images, StreamInfo
from flightllm.config.arch import ArchConfig
from flightllm.errors import FitError, UnsupportedError
from flightllm.ir.graph import Graph, Node
from flightllm.ir.ops import Act, Add, Embed, Linear, Mul, Norm, PosEmbed
from flightllm.isa.control import ALU, HALT
from flightllm.isa.fields import Instruction
from flightllm.isa.load import LDG, LDV, LDW
from flightllm.isa.matrix import MM, row_windows
from flightllm.isa.registers import FIRST_FREE, HostRegister
from flightllm.isa.special import ACT, ADD, NORM
from flightllm.isa.store import STV, XCHG

ACT_KINDS = {"relu": "relu", "silu": "silu", "gelu_tanh": "gelu"}


@dataclass
class Value:
    """A node's result. length: real elements of a row (of the core's part if sliced). sliced: the core's part only."""

    buffer: Buffer
    length: int
    sliced: bool = False


class Lowering:
    """State of one lowering run."""

    def __init__(
        self,
        graph: Graph,
        fusion: Fusion,
        plans: list[MatrixPlan],
        arch: ArchConfig,
        images: Images,
        options: LoweringOptions,
    ) -> None:
        self.graph, self.fusion, self.arch, self.images, self.options = graph, fusion, arch, images, options
        self.geometry = Geometry(arch)
        self.plans = {p.parts[0].node.name: p for p in plans}
        self.out = Emitter()
        self.vb = Pool("VB", arch.vb_elements // 16)
        self.ab = Pool("AB", arch.ab_windows)
        self.values: dict[str, Value] = {}
        self.rows: dict[tuple[str, bool], Buffer] = {}
        self.users = {n.name: len(graph.users(n.name)) for n in graph}
        self.done: set[str] = set()
        self.late: Node | None = None
        self.tables: dict[str, Buffer] = {}
        self._register = FIRST_FREE

    # --- services -----------------------------------------------------------------------------------------------
    def register(self) -> int:
        """A register for the program's own use."""
        self._register += 1
        return self._register - 1

    def alu(self, op: str, rd: int, ra: int, rb: int = 0, imm: int = 0) -> None:
        self.out.emit(ALU(op=op, rd=rd, ra=ra, rb=rb, imm=imm))

    def emit(
        self, inst: Instruction, reads: tuple[Buffer | None, ...] = (), writes: tuple[Buffer | None, ...] = ()
    ) -> None:
        """Emit with whole buffers as the places touched."""
        self.out.emit(inst, [b.range for b in reads if b is not None], [b.range for b in writes if b is not None])

    def release(self, name: str) -> None:
        """One user of a node's value is done; the last one frees its buffers."""
        self.users[name] -= 1
        if self.users[name]:
            return
        value = self.values.pop(name, None)
        if value is not None and value.buffer.base in self.vb.live and not self._aliased(value.buffer):
            self.vb.free(value.buffer)
        for key in [k for k in self.rows if k[0] == name]:
            self.ab.free(self.rows.pop(key))

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
        part = value.buffer.row
        whole = self.vb.alloc(f"{name} gathered", part * self.arch.cores, self.options.chunk)
        self.emit(
            XCHG(
                src=value.buffer.base,
                src_row=part,
                dst=whole.base,
                dst_row=whole.row,
                n=part,
                n0_r=HostRegister.NTOK,
            ),
            (value.buffer,),
            (whole,),
        )
        self.vb.free(value.buffer)
        self.values[name] = Value(whole, self.graph[name].dim)
        return self.values[name]

    def wants_dual(self, name: str) -> bool:
        """Some linear that takes this value asks for two codes per element."""
        return any(u.name in self.options.dual for u in self.graph.users(name))

    def quantised(self, name: str) -> tuple[Buffer, bool, int]:
        """(AB rows, dual, elements per row) of a node's value, quantised now if its producer did not."""
        dual = self.wants_dual(name)
        key = (name, dual)
        value = self.gathered(name)
        length = self.row_length(name)
        if key not in self.rows:
            rows = self.alloc_rows(name, length, dual)
            self.emit(
                ACT(
                    kind="copy",
                    src=value.buffer.base,
                    src_s0=value.buffer.row,
                    dst=value.buffer.base,
                    dst_s0=value.buffer.row,
                    n0_r=HostRegister.NTOK,
                    n1=1,
                    len=length,
                    quant="dual" if dual else "a8",
                    ab=rows.base,
                    ab_s0=rows.row,
                ),
                (value.buffer,),
                (value.buffer, rows),
            )
            self.rows[key] = rows
        return self.rows[key], dual, length

    def row_length(self, name: str) -> int:
        """Columns that a linear on this value has: attention outputs keep their padded heads."""
        group = self.fusion.group_of.get(name)
        if isinstance(group, AttentionGroup):
            heads = AttentionLowering.heads(self, group)
            return heads.q_per_core * self.arch.cores * heads.padded
        return self.graph[name].dim

    def alloc_rows(self, name: str, length: int, dual: bool, per_token: int = 1) -> Buffer:
        """AB rows for a chunk of vectors."""
        return self.ab.alloc(f"{name} rows", per_token * row_windows(length, dual), self.options.chunk)

    def matrix(self, info: StreamInfo, rows: Buffer, dual: bool, dst: Buffer, **fields: int) -> None:
        """One LDW and its MM. `fields` override or add MM fields (destination, tokens, accumulate)."""
        self.check_matrix(info, dual)
        self.out.emit(LDW(addr=info.addr, nbytes=info.nbytes))
        operands: dict[str, Any] = {
            "ab": rows.base,
            "ab_row": rows.row,
            "tokens_r": HostRegister.NTOK,
            "k": info.k,
            "slots": info.slots,
            "dst": dst.base,
            "dst_row": dst.row,
            "format": info.format or 0,
            "table": int(info.format is None),
            "group": str(info.group),
            "rows_per_vpu": str(info.rows_per_vpu),
            "bias": int(info.bias),
            "dual": int(dual),
        }
        reads = (rows, dst if fields.get("accumulate") else None)
        self.emit(MM(**{**operands, **fields}), reads, (dst,))

    def check_matrix(self, info: StreamInfo, dual: bool) -> None:
        """Raise FitError if the accumulators or the W ring are too small."""
        entries = self.options.chunk * info.rows_per_vpu * (2 if dual else 1)
        if entries > self.arch.acc_entries:
            raise FitError(
                "the accumulators are too small for the chunk",
                why=f"{self.options.chunk} tokens x {info.rows_per_vpu} rows per VPU x {2 if dual else 1} = {entries} > {self.arch.acc_entries}",
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
    def run(self) -> list[Item]:
        """Lower the whole graph."""
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
        self._logits()
        self.out.emit(HALT())
        return self.out.items

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
        return self.vb.alloc(node.name, self.geometry.whole(node.dim) // 16, self.options.chunk)

    def _embed(self, node: Node) -> None:
        table, dst = self.images.vectors[node.name], self._vector(node)
        inst = LDG(
            dtype=table.dtype,
            ids=self.images.ids,
            table=table.region.addr,
            row=table.row,
            limit=table.rows,
            slots=table.slots,
            rows_r=HostRegister.NTOK,
            dst=dst.base,
            dst_row=dst.row,
        )
        self.emit(inst, (), (dst,))
        self.values[node.name] = Value(dst, node.dim)

    def _pos_embed(self, node: Node, op: PosEmbed) -> None:
        table, dst = self.images.vectors[node.name], self._vector(node)
        inst = LDV(
            dtype=table.dtype,
            addr=table.region.addr + op.offset * table.row,
            addr_r=HostRegister.POS,
            addr_s=table.row,
            row=table.row,
            slots=table.slots,
            rows_r=HostRegister.NTOK,
            dst=dst.base,
            dst_row=dst.row,
        )
        self.emit(inst, (), (dst,))
        self.values[node.name] = Value(dst, node.dim)

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
            "n0_r": int(HostRegister.NTOK),
        }
        linears = [u for u in users if isinstance(u.op, Linear)]
        rows = None
        if linears:
            dual = self.wants_dual(node.name)
            rows = self.rows[node.name, dual] = self.alloc_rows(node.name, node.dim, dual)
            fields |= {"ab": rows.base, "ab_s0": rows.row}
        self.norm(node.name, op, node.dim, fields, (source.buffer,), dst, rows, dual=bool(linears) and dual)
        self.values[node.name] = Value(dst, node.dim)

    def norm(
        self,
        name: str,
        op: Norm,
        length: int,
        fields: dict[str, int],
        reads: tuple[Buffer, ...],
        dst: Buffer,
        rows: Buffer | None,
        dual: bool = False,
        real: int | None = None,
    ) -> None:
        """A NORM with its constants; `real`: elements that count, if the vectors are padded."""
        gamma = self.constant(f"{name}.gamma")
        beta = self.constant(f"{name}.beta") if op.kind == "layer" else None
        quant = "none" if rows is None else ("dual" if dual else "a8")
        inst = NORM(
            kind=op.kind,
            gamma=gamma.base,
            beta=beta.base if beta else 0,
            len=length,
            inv_n=1.0 / (real or length),
            eps=float(op.eps),
            quant=quant,
            **{"n1": 1, **fields},
        )
        self.emit(inst, (*reads, gamma, beta), (dst, rows))
        self.vb.free(gamma)
        if beta is not None:
            self.vb.free(beta)

    def _linear(self, node: Node) -> None:
        plan = self.plans[node.name]
        rows, dual, _ = self.quantised(node.inputs[0])
        (info,) = self.images.streams[plan.name]
        add = self._residual(node)
        if add is None:
            dst = self.vb.alloc(node.name, plan.rows // 16, self.options.chunk)
            self.matrix(info, rows, dual, dst)
            self.values[node.name] = Value(dst, node.dim, self.arch.cores > 1)
            return
        other = next(i for i in add.inputs if i != node.name)
        target = self.gathered(other).buffer
        part = plan.rows // 16
        self.matrix(info, rows, dual, target, accumulate=1, dst_r=int(HostRegister.CORE), dst_s=part)
        if self.arch.cores > 1:
            # In place: this core's part is the source, every core's part a destination.
            gather = XCHG(
                src=target.base,
                src_r=int(HostRegister.CORE),
                src_s=part,
                src_row=target.row,
                dst=target.base,
                dst_row=target.row,
                n=part,
                n0_r=int(HostRegister.NTOK),
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
            n0_r=HostRegister.NTOK,
            n1=1,
            len=self.geometry.whole(node.dim),
        )
        self.emit(inst, (a.buffer, b.buffer), (dst,))
        self.values[node.name] = Value(dst, node.dim)

    def _act(self, node: Node, op: Act) -> None:
        source = self.values[node.inputs[0]]
        buffer = source.buffer
        self._activate(node.name, ACT_KINDS[op.kind], source, None, buffer.base, buffer.row, source.sliced)

    def _mul(self, node: Node) -> None:
        a, b = (self.values[i] for i in node.inputs)
        if a.sliced != b.sliced:
            a, b = (self.gathered(i) for i in node.inputs)
        self._activate(node.name, "copy", a, b.buffer, b.buffer.base, b.buffer.row, a.sliced)

    def _gated(self, group: GatedGroup) -> None:
        plan = self.plans[group.gate.name]
        rows, dual, _ = self.quantised(group.gate.inputs[0])
        (info,) = self.images.streams[plan.name]
        both = self.vb.alloc(plan.name, plan.rows // 16, self.options.chunk)
        self.matrix(info, rows, dual, both)
        self.release(group.gate.inputs[0])
        self.release(group.up.inputs[0])
        assert isinstance(group.act.op, Act)
        value = Value(both, group.mul.dim, self.arch.cores > 1)
        kind = ACT_KINDS[group.act.op.kind]
        self._activate(group.mul.name, kind, value, both, both.base + both.row // 2, both.row, value.sliced)
        self.vb.free(both)
        self.done.update(n.name for n in (group.gate, group.up, group.act, group.mul))

    def _activate(
        self, name: str, kind: str, source: Value, gate: Buffer | None, gate_base: int, gate_row: int, sliced: bool
    ) -> None:
        """ACT into a new buffer; quantises on the way if every core has the whole vector and linears take it."""
        dim = self.graph[name].dim
        width = self.geometry.part(dim) if sliced else self.geometry.whole(dim)
        length = width if sliced else dim
        dst = self.vb.alloc(name, width // 16, self.options.chunk)
        fields = {
            "src": source.buffer.base,
            "src_s0": source.buffer.row,
            "dst": dst.base,
            "dst_s0": dst.row,
            "n0_r": int(HostRegister.NTOK),
            "n1": 1,
            "len": length,
        }
        if gate is not None:
            fields |= {"gated": 1, "gate": gate_base, "gate_s0": gate_row}
        rows, quant = None, "none"
        if not sliced and any(isinstance(u.op, Linear) for u in self.graph.users(name)):
            dual = self.wants_dual(name)
            rows = self.rows[name, dual] = self.alloc_rows(name, dim, dual)
            fields |= {"ab": rows.base, "ab_s0": rows.row}
            quant = "dual" if dual else "a8"
        self.emit(ACT(kind=kind, quant=quant, **fields), (source.buffer, gate), (dst, rows))
        self.values[name] = Value(dst, dim, sliced)

    # --- logits -------------------------------------------------------------------------------------------------
    def _logits(self) -> None:
        """Final norm and output matrix for the last NLOG tokens; skipped if there are none."""
        head = self.graph.output
        self.out.note = head.name
        source = self.graph[head.inputs[0]]
        value = self.gathered(source.name if self.late is None else source.inputs[0])
        first, once = self.register(), self.register()
        nlog = int(HostRegister.NLOG)
        self.alu("sub", first, int(HostRegister.NTOK), nlog)
        self.alu("min", once, nlog, 0, 1)
        plan = self.plans[head.name]
        dual = head.name in self.options.dual
        logits = self.images.logits
        assert logits is not None
        with self.out.loop(0, once):
            rows = self.alloc_rows(head.name, plan.k, dual)
            scratch = self.vb.alloc("final", value.buffer.row, self.options.chunk)
            fields = {
                "src": value.buffer.base,
                "src_r": first,
                "src_s": value.buffer.row,
                "src_s0": value.buffer.row,
                "dst": scratch.base,
                "dst_s0": scratch.row,
                "n0_r": nlog,
                "ab": rows.base,
                "ab_s0": rows.row,
            }
            if self.late is not None:
                assert isinstance(source.op, Norm)
                self.norm(source.name, source.op, source.dim, fields, (value.buffer,), scratch, rows, dual)
            else:
                inst = ACT(kind="copy", n1=1, len=plan.k, quant="dual" if dual else "a8", **fields)
                self.emit(inst, (value.buffer,), (scratch, rows))
            self.vb.free(scratch)
            for (lo, hi), info in zip(plan.segments, self.images.streams[plan.name], strict=True):
                dst = self.vb.alloc(f"logits {lo}..{hi - 1}", (hi - lo) // 16, self.options.chunk)
                self.matrix(info, rows, dual, dst, tokens_r=nlog)
                store = STV(
                    src=dst.base,
                    src_row=dst.row,
                    rows_r=nlog,
                    slots=info.slots,
                    addr=logits.addr + 4 * self.geometry.slots(lo),
                    row=self.images.logits_row,
                )
                self.out.emit(store, [dst.range], [logits.range])
                self.vb.free(dst)
            self.ab.free(rows)
