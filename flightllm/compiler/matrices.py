"""Matrices: what each weight stream is made of, row by row, before anything is read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flightllm.compiler.fusion import AttentionGroup, Fusion, GatedGroup
from flightllm.compiler.geometry import Geometry, HeadGeometry, round_up
from flightllm.ir.graph import Graph, Node
from flightllm.ir.ops import Attention, Linear


@dataclass(frozen=True)
class Part:
    """Rows of one linear on each core: `rows[core]` indexes its weight's rows, -1 for padding."""

    node: Node
    rows: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class MatrixPlan:
    """One fused matrix: parts stacked by rows; `columns` maps its columns to the weights' columns (None: as they are).

    k: columns. rows: rows of a core's part. segments: (first, last + 1) rows of each stream; one stream unless the result is
    too long for VB.
    """

    name: str
    parts: tuple[Part, ...]
    k: int
    rows: int
    columns: np.ndarray | None
    segments: tuple[tuple[int, int], ...]


def heads_of(geometry: Geometry, group: AttentionGroup) -> HeadGeometry:
    """Head geometry of an attention group."""
    assert isinstance(group.core.op, Attention)
    rotary = 2 * len(group.rope.inv_freq) if group.rope is not None else 0
    return HeadGeometry(geometry, group.core.op, rotary)


def plan_matrices(graph: Graph, fusion: Fusion, geometry: Geometry) -> list[MatrixPlan]:
    """All matrices in order of execution."""
    plans: list[MatrixPlan] = []
    done: set[str] = set()
    for node in graph:
        if not isinstance(node.op, Linear) or node.name in done:
            continue
        group = fusion.group_of.get(node.name)
        if isinstance(group, AttentionGroup):
            plan = _qkv(group, geometry)
        elif isinstance(group, GatedGroup):
            parts = tuple(_plain(n, geometry) for n in group.linears)
            plan = _stack(group.name, parts, node.op.weight.shape[1], None)
        else:
            plan = _single(graph, fusion, node, geometry)
        done.update(p.node.name for p in plan.parts)
        plans.append(plan)
    return plans


def _plain(node: Node, geometry: Geometry) -> Part:
    return Part(node, tuple(geometry.part_rows(node.dim, c) for c in range(geometry.arch.cores)))


def _stack(name: str, parts: tuple[Part, ...], k: int, columns: np.ndarray | None) -> MatrixPlan:
    rows = sum(len(p.rows[0]) for p in parts)
    return MatrixPlan(name, parts, k, rows, columns, ((0, rows),))


def _qkv(group: AttentionGroup, geometry: Geometry) -> MatrixPlan:
    heads = heads_of(geometry, group)
    cores = range(geometry.arch.cores)
    op, per, qper = heads.op, heads.kv_per_core, heads.q_per_core
    turned, straight = heads.rotary_index(), heads.value_index()
    parts = (
        Part(group.q, tuple(heads.rows(op.heads, c * qper, qper, turned) for c in cores)),
        Part(group.k, tuple(heads.rows(op.kv_heads, c * per, per, turned) for c in cores)),
        Part(group.v, tuple(heads.rows(op.kv_heads, c * per, per, straight) for c in cores)),
    )
    assert isinstance(group.q.op, Linear)
    return _stack(group.name, parts, group.q.op.weight.shape[1], None)


def _single(graph: Graph, fusion: Fusion, node: Node, geometry: Geometry) -> MatrixPlan:
    assert isinstance(node.op, Linear)
    source = fusion.group_of.get(node.inputs[0])
    k, columns = node.op.weight.shape[1], None
    if isinstance(source, AttentionGroup):
        columns = heads_of(geometry, source).output_columns()
        k = len(columns)
        if np.array_equal(columns, np.arange(k)):
            columns = None
    plan = _stack(node.name, (_plain(node, geometry),), k, columns)
    if node.name == graph.output.name:
        plan = MatrixPlan(plan.name, plan.parts, k, plan.rows, columns, _segments(plan.rows, geometry))
    return plan


def _segments(rows: int, geometry: Geometry) -> tuple[tuple[int, int], ...]:
    """Cut the logits so that two segments for a whole chunk take at most half of VB."""
    arch = geometry.arch
    strip = arch.vpus * arch.channels
    limit = arch.vb_elements // (4 * arch.max_chunk)
    step = limit // strip * strip or limit // geometry.align * geometry.align or geometry.align
    step = round_up(step, geometry.align)
    return tuple((lo, min(lo + step, rows)) for lo in range(0, rows, step))
