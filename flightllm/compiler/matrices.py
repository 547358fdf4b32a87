"""Matrices: what each weight stream is made of, row by row, before anything is read.

A matrix is cut into *segments*, each a weight stream of its own. Columns are cut where the vector they multiply comes in pieces: half of the heads, or
half of a gated MLP, goes into the matrix unit while the other half is still being made. Rows are cut so that results become
available piece by piece, and so that work on another part of a chunk finds its place between two pieces.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from flightllm.compiler.fusion import AttentionGroup, Fusion, GatedGroup
from flightllm.compiler.geometry import Geometry, HeadGeometry, round_up
from flightllm.ir.graph import Graph, Node
from flightllm.ir.ops import Act, Attention, Linear
from flightllm.isa.blocks import BLOCK_POSITIONS
from flightllm.streams.formats import BLOCK, WINDOW

#: columns of a matrix from which on the vector that it multiplies is made in two halves. A number of its own, not one of the config's: halves have
#: scales of their own, and results do not depend on the config
SPLIT_COLUMNS = 512
#: cycles of the array for one token, about so many rows are cut from a matrix at a time: few enough that others find their place in between, and
#: enough that what a stream costs to begin does not count
PIECE_CYCLES = 6000


@dataclass(frozen=True)
class Part:
    """Rows of one linear on each core: `rows[core]` indexes its weight's rows, -1 for padding."""

    node: Node
    rows: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Segment:
    """One weight stream: rows lo .. hi - 1 of a core's part, columns first .. last - 1, as the matrix has them."""

    lo: int
    hi: int
    first: int
    last: int


@dataclass(frozen=True)
class MatrixPlan:
    """One fused matrix: parts stacked by rows.

    k: columns. rows: rows of a core's part. columns: the weights' column at each of its columns (None: as they are). order: row of the stack at
    each of its rows (None: as they are). marks: rows that make a whole for who takes the result. cuts: (first, last + 1) columns of each
    piece of the vector that it takes. longest: rows of a stream at most. segments: its streams, none until `cut_rows`.
    """

    name: str
    parts: tuple[Part, ...]
    k: int
    rows: int
    columns: np.ndarray | None = None
    order: np.ndarray | None = None
    marks: tuple[int, ...] = ()
    cuts: tuple[tuple[int, int], ...] = ()
    longest: int = 0
    segments: tuple[Segment, ...] = ()

    @property
    def places(self) -> np.ndarray:
        """Row of this matrix at which each row of the stack lies: int64 [rows]."""
        place = np.arange(self.rows)
        if self.order is not None:
            place[self.order] = np.arange(self.rows)
        return place

    def row_cuts(self) -> list[tuple[int, int]]:
        """(first, last + 1) rows of the segments of one piece of columns."""
        return [(s.lo, s.hi) for s in self.segments if s.first == 0]


def heads_of(geometry: Geometry, group: AttentionGroup) -> HeadGeometry:
    """Head geometry of an attention group."""
    assert isinstance(group.core.op, Attention)
    rotary = 2 * len(group.rope.inv_freq) if group.rope is not None else 0
    return HeadGeometry(geometry, group.core.op, rotary)


def halves(graph: Graph, fusion: Fusion, geometry: Geometry, name: str) -> tuple[tuple[int, int], ...]:
    """(first, last + 1) elements of the pieces in which linears take a node's value, gathered and padded; one piece as a rule.

    Two halves, if it is the result of an attention or of an activation, is taken by linears only, and is long enough. They are cut where neither a
    block of columns nor, of an attention, a key-value head is torn, on any config.
    """
    node = graph[name]
    group = fusion.group_of.get(name)
    heads = heads_of(geometry, group) if isinstance(group, AttentionGroup) else None
    whole = heads.total * heads.padded if heads is not None else geometry.whole(node.dim)
    one = ((0, whole),)
    made_here = isinstance(group, AttentionGroup | GatedGroup) or isinstance(node.op, Act)
    if not made_here or not all(isinstance(u.op, Linear) and u.name != graph.output.name for u in graph.users(name)):
        return one
    if node.dim < SPLIT_COLUMNS:
        return one
    if heads is None:
        at = round_up(node.dim // 2, BLOCK)
        return ((0, at), (at, whole)) if at < node.dim else one
    # padded to any number of channels, so many heads are whole blocks
    step = int(np.lcm.reduce([heads.group, *(BLOCK // np.gcd(BLOCK, round_up(heads.size, a)) for a in (1, 16, 32))]))
    count = round_up(heads.op.heads // 2, step)
    if count >= heads.op.heads:
        return one
    return (0, count * heads.padded), (count * heads.padded, whole)


def plan_matrices(graph: Graph, fusion: Fusion, geometry: Geometry) -> list[MatrixPlan]:
    """All matrices in order of execution, not yet cut by rows."""
    plans: list[MatrixPlan] = []
    done: set[str] = set()
    for node in graph:
        if not isinstance(node.op, Linear) or node.name in done:
            continue
        group = fusion.group_of.get(node.name)
        if isinstance(group, AttentionGroup):
            plan = _qkv(graph, fusion, group, geometry)
        elif isinstance(group, GatedGroup):
            plan = _gate_up(graph, fusion, group, geometry)
        else:
            plan = _single(graph, fusion, node, geometry)
        done.update(p.node.name for p in plan.parts)
        plans.append(plan)
    return plans


def cut_rows(plan: MatrixPlan, rows_per_vpu: int, geometry: Geometry) -> MatrixPlan:
    """The plan with its segments: rows cut at whole strips, behind each mark and about every PIECE_CYCLES."""
    arch = geometry.arch
    strip = int(np.lcm(arch.vpus * arch.channels * rows_per_vpu, geometry.align))
    beats = -(-plan.cuts[0][1] // WINDOW)  # of the array for one token, for V * C rows
    piece = max(1, PIECE_CYCLES // beats) * arch.vpus * arch.channels
    if plan.longest:
        piece = min(piece, plan.longest)
    step = piece // strip * strip or strip
    if plan.longest and step > plan.longest:  # not even a strip
        step = plan.longest // geometry.align * geometry.align or geometry.align
    rows, lo = [], 0
    for mark in (*plan.marks, plan.rows):
        end = min(round_up(mark, strip), plan.rows)
        # equal pieces, as far as strips allow
        while lo < end:
            left = -(-(end - lo) // step)
            hi = min(lo + min(step, round_up(-(-(end - lo) // left), min(strip, step))), end)
            rows.append((lo, hi))
            lo = hi
    segments = tuple(Segment(lo, hi, first, last) for first, last in plan.cuts for lo, hi in rows)
    return replace(plan, segments=segments)


def _plain(node: Node, geometry: Geometry) -> Part:
    return Part(node, tuple(geometry.part_rows(node.dim, c) for c in range(geometry.arch.cores)))


def _cuts(
    graph: Graph, fusion: Fusion, geometry: Geometry, value: str, k: int
) -> tuple[np.ndarray | None, tuple[tuple[int, int], ...]]:
    """Columns of a matrix that takes this value, `k` columns wide, and the cuts between them."""
    pieces = halves(graph, fusion, geometry, value)
    group = fusion.group_of.get(value)
    columns = heads_of(geometry, group).output_columns() if isinstance(group, AttentionGroup) else np.arange(k)
    cuts = tuple((lo, min(hi, len(columns))) for lo, hi in pieces)
    return (None if np.array_equal(columns, np.arange(k)) else columns), cuts


def _stack(
    graph: Graph, fusion: Fusion, geometry: Geometry, name: str, parts: tuple[Part, ...], source: str
) -> MatrixPlan:
    rows = sum(len(p.rows[0]) for p in parts)
    op = parts[0].node.op
    assert isinstance(op, Linear)
    columns, cuts = _cuts(graph, fusion, geometry, source, op.weight.shape[1])
    return MatrixPlan(name, parts, cuts[-1][1], rows, columns, cuts=cuts)


def _qkv(graph: Graph, fusion: Fusion, group: AttentionGroup, geometry: Geometry) -> MatrixPlan:
    """Keys and values first: they are on their way to memory while the queries are made."""
    heads = heads_of(geometry, group)
    cores = range(geometry.arch.cores)
    op, per, qper = heads.op, heads.kv_per_core, heads.q_per_core
    turned, straight = heads.rotary_index(), heads.value_index()
    parts = (
        Part(group.k, tuple(heads.rows(op.kv_heads, c * per, per, turned) for c in cores)),
        Part(group.v, tuple(heads.rows(op.kv_heads, c * per, per, straight) for c in cores)),
        Part(group.q, tuple(heads.rows(op.heads, c * qper, qper, turned) for c in cores)),
    )
    plan = _stack(graph, fusion, geometry, group.name, parts, group.q.inputs[0])
    return replace(plan, marks=(per * heads.padded, 2 * per * heads.padded))


def _gate_up(graph: Graph, fusion: Fusion, group: GatedGroup, geometry: Geometry) -> MatrixPlan:
    """Gate and up, half by half if their product is made so."""
    parts = tuple(_plain(n, geometry) for n in group.linears)
    plan = _stack(graph, fusion, geometry, group.name, parts, group.gate.inputs[0])
    pieces = halves(graph, fusion, geometry, group.mul.name)
    if len(pieces) == 1 or geometry.arch.cores > 1:  # of several cores each has a part of its own
        return plan
    part = pieces[-1][1]
    order = np.concatenate([at + np.arange(lo, hi) for lo, hi in pieces for at in (0, part)])
    return replace(plan, order=order, marks=(2 * pieces[0][1],))


def _single(graph: Graph, fusion: Fusion, node: Node, geometry: Geometry) -> MatrixPlan:
    plan = _stack(graph, fusion, geometry, node.name, (_plain(node, geometry),), node.inputs[0])
    if node.name == graph.output.name:
        return replace(plan, longest=_longest(geometry))
    users = graph.users(node.name)
    if len(users) == 1 and isinstance(users[0].op, Act) and geometry.arch.cores == 1:
        pieces = halves(graph, fusion, geometry, users[0].name)
        return replace(plan, marks=tuple(hi for _, hi in pieces[:-1]))
    return plan


def _longest(geometry: Geometry) -> int:
    """Rows of the logits at a time, so that two segments for all tokens of a program's part take at most half of VB."""
    arch = geometry.arch
    strip = arch.vpus * arch.channels
    limit = arch.vb_elements // (4 * part_tokens(arch.max_chunk))
    step = limit // strip * strip or limit // geometry.align * geometry.align or geometry.align
    return round_up(step, geometry.align)


def part_tokens(chunk: int) -> int:
    """Tokens of each of the two parts in which a chunk of a prompt is worked on, at most."""
    return -(-min(chunk, BLOCK_POSITIONS) // 2)
