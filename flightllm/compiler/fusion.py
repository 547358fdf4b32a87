"""Fusion: which linears share one weight stream, which operators an attention or a gated MLP absorbs.

q, k and v of an attention become one matrix, gate and up of a gated MLP another: one load, one matrix instruction, and less padding
of rows to channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from flightllm.errors import UnsupportedError
from flightllm.ir.graph import Graph, Node
from flightllm.ir.ops import Act, Attention, Linear, Mul, Norm, Rope


@dataclass
class AttentionGroup:
    """An attention with its projections: linears q, k, v on one input, optional head norms, optional RoPE."""

    core: Node
    q: Node
    k: Node
    v: Node
    q_norm: Node | None = None
    k_norm: Node | None = None
    rope: Rope | None = None

    @property
    def linears(self) -> tuple[Node, ...]:
        return self.q, self.k, self.v

    @property
    def name(self) -> str:
        return self.core.name.rsplit(".", 1)[0] + ".qkv"


@dataclass
class GatedGroup:
    """act(gate) * up: two linears on one input."""

    mul: Node
    act: Node
    gate: Node
    up: Node

    @property
    def linears(self) -> tuple[Node, ...]:
        return self.gate, self.up

    @property
    def name(self) -> str:
        return self.gate.name + "_up"


@dataclass
class Fusion:
    """Groups of a graph; `group_of` maps each node absorbed by a group to it."""

    attentions: list[AttentionGroup] = field(default_factory=list)
    gated: list[GatedGroup] = field(default_factory=list)
    group_of: dict[str, AttentionGroup | GatedGroup] = field(default_factory=dict)


def fuse(graph: Graph) -> Fusion:
    """Find the groups. Raises UnsupportedError where an attention is not fed by plain projections of one value."""
    fusion = Fusion()
    for node in graph:
        if isinstance(node.op, Attention):
            group = _attention(graph, node)
            fusion.attentions.append(group)
            for name in _absorbed(graph, group):
                fusion.group_of[name] = group
    for node in graph:
        if isinstance(node.op, Mul):
            gated = _gated(graph, node)
            if gated is not None:
                fusion.gated.append(gated)
                for n in (gated.mul, gated.act, gated.gate, gated.up):
                    fusion.group_of[n.name] = gated
    return fusion


def _single(graph: Graph, name: str) -> bool:
    return len(graph.users(name)) == 1


def _attention(graph: Graph, core: Node) -> AttentionGroup:
    def chain(start: str) -> tuple[Node, Node | None, Rope | None]:
        rope, norm = None, None
        node = graph[start]
        if isinstance(node.op, Rope):
            rope, node = node.op, graph[node.inputs[0]]
        if isinstance(node.op, Norm):
            norm, node = node, graph[node.inputs[0]]
        if not isinstance(node.op, Linear):
            raise UnsupportedError(
                f"{core.name} is fed by {type(node.op).__name__} instead of a linear projection",
                where=node.name,
                why="queries, keys and values must be linear, then an optional head norm, then an optional RoPE",
                do="`flightllm check` lists what is supported",
            )
        return node, norm, rope

    q, q_norm, q_rope = chain(core.inputs[0])
    k, k_norm, k_rope = chain(core.inputs[1])
    v, v_norm, v_rope = chain(core.inputs[2])
    if v_norm is not None or v_rope is not None:
        raise UnsupportedError(
            f"{core.name}: a norm or RoPE on the values is not supported",
            where=core.inputs[2],
            do="this architecture is not supported yet; `flightllm check` shows what is in the model",
        )
    if not q.inputs == k.inputs == v.inputs:
        raise UnsupportedError(
            f"{core.name}: queries, keys and values are projections of different values",
            where=core.name,
            why=f"inputs {q.inputs[0]}, {k.inputs[0]}, {v.inputs[0]}",
            do="this architecture is not supported yet; `flightllm check` shows what is in the model",
        )
    if (q_rope is None) != (k_rope is None) or (
        q_rope is not None
        and k_rope is not None
        and not (
            np.array_equal(q_rope.inv_freq, k_rope.inv_freq) and q_rope.attention_factor == k_rope.attention_factor
        )
    ):
        raise UnsupportedError(
            f"{core.name}: RoPE differs between queries and keys",
            where=core.name,
            do="this architecture is not supported yet; `flightllm check` shows what is in the model",
        )
    return AttentionGroup(core, q, k, v, q_norm, k_norm, q_rope)


def _absorbed(graph: Graph, group: AttentionGroup) -> list[str]:
    """Names of the attention's own nodes; each must have no other user."""
    names = [group.core.name]
    for start in group.core.inputs:
        node = graph[start]
        while True:
            if not _single(graph, node.name):
                raise UnsupportedError(
                    f"{node.name} is used by more than {group.core.name}",
                    where=", ".join(u.name for u in graph.users(node.name)),
                    why="the machine keeps queries, keys and values inside the attention",
                    do="this architecture is not supported yet; `flightllm check` shows what is in the model",
                )
            names.append(node.name)
            if isinstance(node.op, Linear):
                break
            node = graph[node.inputs[0]]
    return names


def _gated(graph: Graph, mul: Node) -> GatedGroup | None:
    a, b = (graph[i] for i in mul.inputs)
    act, up = (a, b) if isinstance(a.op, Act) else (b, a)
    if not isinstance(act.op, Act) or not isinstance(up.op, Linear):
        return None
    gate = graph[act.inputs[0]]
    if not isinstance(gate.op, Linear) or gate.inputs != up.inputs:
        return None
    if not all(_single(graph, n.name) for n in (act, gate, up)):
        return None
    return GatedGroup(mul, act, gate, up)
