"""Which graphs are legal: a table of rules, one function each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from flightllm.errors import ModelError
from flightllm.ir.graph import Graph, Node
from flightllm.ir.ops import ARITY, Act, Add, Attention, Embed, Linear, Mul, Norm, PosEmbed, Rope


@dataclass(frozen=True)
class Rule:
    """`broken(node, graph)` yields what is wrong with a node of type `kind` (None: of any type)."""

    name: str
    kind: type | None
    broken: Callable[[Node, Graph], Iterator[str]]


def _arity(node: Node, graph: Graph) -> Iterator[str]:
    if len(node.inputs) != ARITY[type(node.op)]:
        yield f"{len(node.inputs)} inputs instead of {ARITY[type(node.op)]}"


def _linear(node: Node, graph: Graph) -> Iterator[str]:
    op = node.op
    assert isinstance(op, Linear)
    want = (node.dim, graph[node.inputs[0]].dim)
    if op.weight.shape != want:
        yield f"weight {op.weight.name} is {list(op.weight.shape)}, its place asks for {list(want)}"
    if op.bias is not None and op.bias.shape != (node.dim,):
        yield f"bias {op.bias.name} is {list(op.bias.shape)}, the output has {node.dim} elements"


def _norm(node: Node, graph: Graph) -> Iterator[str]:
    op = node.op
    assert isinstance(op, Norm)
    if node.dim != graph[node.inputs[0]].dim or op.heads < 1 or node.dim % op.heads:
        yield f"{node.dim} elements in {op.heads} parts after {graph[node.inputs[0]].dim}"
        return
    part = node.dim // op.heads
    for w in (op.gamma, op.beta):
        if w is not None and w.shape != (part,):
            yield f"weight {w.name} is {list(w.shape)}, a part has {part} elements"
    if (op.kind == "layer") != (op.beta is not None):
        yield f"{op.kind} norm {'without' if op.beta is None else 'with'} beta"
    if not 0 <= op.eps < np.inf:
        yield f"eps {op.eps}"


def _table(node: Node, graph: Graph) -> Iterator[str]:
    op = node.op
    assert isinstance(op, Embed | PosEmbed)
    if len(op.table.shape) != 2 or op.table.shape[1] != node.dim:
        yield f"table {op.table.name} is {list(op.table.shape)}, its rows should have {node.dim} elements"
    elif isinstance(op, Embed) and op.table.shape[0] < graph.info.vocab:
        yield f"table {op.table.name} has {op.table.shape[0]} rows, the vocabulary {graph.info.vocab}"
    elif isinstance(op, PosEmbed) and not 0 <= op.offset < op.table.shape[0]:
        yield f"table {op.table.name} has {op.table.shape[0]} rows, position 0 is row {op.offset}"


def _rope(node: Node, graph: Graph) -> Iterator[str]:
    op = node.op
    assert isinstance(op, Rope)
    if node.dim != op.heads * op.head_dim or node.dim != graph[node.inputs[0]].dim:
        yield f"{op.heads} heads of {op.head_dim} are not {node.dim} elements"
    if not 0 < 2 * len(op.inv_freq) <= op.head_dim:
        yield f"{2 * len(op.inv_freq)} rotated dimensions in heads of {op.head_dim}"
    if not np.isfinite([*op.inv_freq, op.attention_factor]).all():
        yield f"frequencies {op.inv_freq}, factor {op.attention_factor}"


def _attention(node: Node, graph: Graph) -> Iterator[str]:
    op = node.op
    assert isinstance(op, Attention)
    if op.kv_heads < 1 or op.heads % op.kv_heads:
        yield f"{op.heads} query heads do not divide over {op.kv_heads} kv heads"
    q, k, v = (graph[i].dim for i in node.inputs)
    if (q, k, v) != (op.heads * op.head_dim, op.kv_heads * op.head_dim, op.kv_heads * op.head_dim) or node.dim != q:
        yield f"queries, keys, values of {q}, {k}, {v} elements for {op.heads}/{op.kv_heads} heads of {op.head_dim}"
    if op.window < 0 or op.sink < 0:
        yield f"window {op.window}, sink {op.sink}"
    if not np.isfinite(op.scale):
        yield f"scale {op.scale}"


def _same_dims(node: Node, graph: Graph) -> Iterator[str]:
    dims = [graph[i].dim for i in node.inputs]
    if any(d != node.dim for d in dims):
        yield f"operands of {dims} elements give {node.dim}"


def _used(node: Node, graph: Graph) -> Iterator[str]:
    if node.name != "lm_head" and not graph.users(node.name):
        yield "its value is used by nothing"


def _sizes(node: Node, graph: Graph) -> Iterator[str]:
    if node.dim < 1:
        yield f"it has {node.dim} elements"


RULES = (
    Rule("arity", None, _arity),
    Rule("size", None, _sizes),
    Rule("used", None, _used),
    Rule("linear shapes", Linear, _linear),
    Rule("norm shapes", Norm, _norm),
    Rule("table shapes", Embed, _table),
    Rule("position table shapes", PosEmbed, _table),
    Rule("rope shapes", Rope, _rope),
    Rule("attention shapes", Attention, _attention),
    Rule("sum of equals", Add, _same_dims),
    Rule("product of equals", Mul, _same_dims),
    Rule("activation keeps size", Act, _same_dims),
)


def verify_graph(graph: Graph) -> None:
    """Raise ModelError naming the first node that breaks a rule."""
    where = graph.info.source
    if "lm_head" not in graph or not isinstance(graph["lm_head"].op, Linear):
        raise ModelError(
            "the graph has no output matrix lm_head",
            where=where,
            do="give the whole decoder: an export from token ids to logits",
        )
    if graph.output.dim != graph.info.vocab:
        raise ModelError(
            f"lm_head gives {graph.output.dim} logits, the vocabulary has {graph.info.vocab}",
            where=where,
            do="the model's configuration and its weights belong to different models",
        )
    if len(graph.embeds()) != 1:
        raise ModelError(
            f"the graph has {len(graph.embeds())} token embeddings instead of one",
            where=where,
            do="use a model with one table of token embeddings",
        )
    if not graph.attentions():
        raise ModelError(
            "the graph has no attention",
            where=where,
            do="give the whole decoder: an export from token ids to logits, with its attention",
        )
    if len(graph.attentions()) != graph.info.layers:
        raise ModelError(
            f"the graph has {len(graph.attentions())} attentions, the model {graph.info.layers} layers",
            where=where,
            do="the model's configuration and its graph belong to different models",
        )
    for node in graph:
        for rule in RULES:
            if rule.kind is None or isinstance(node.op, rule.kind):
                for wrong in rule.broken(node, graph):
                    raise ModelError(
                        f"{node.name} breaks the rule {rule.name!r}: {wrong}",
                        where=where,
                        do="the model's configuration and its weights do not fit; get another copy, or report it with the name of the model",
                    )
