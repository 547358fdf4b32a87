"""The typed graph of a decoder: networkx underneath, nodes named by layer and role.

Canonical names (every frontend uses them, so that the same model gives the same graph from any file format):
`embed`, `pos_embed`, `embed_add`, `embed_norm`; per layer i `layers.{i}.` + `attn_norm`, `attn.q`, `attn.k`, `attn.v`,
`attn.q_norm`, `attn.k_norm`, `attn.q_rope`, `attn.k_rope`, `attn.core` (the Attention), `attn.o`, `attn_add`, `mlp_norm`, `mlp.gate`,
`mlp.up`, `mlp.act`, `mlp.mul`, `mlp.down`, `mlp_add`; then `norm`, `lm_head`. An MLP without gate has `mlp.up`, `mlp.act`, `mlp.down`.
`lm_head` is the output node.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import networkx as nx

from flightllm.ir.ops import ARITY, Attention, Embed, Linear, Op


@dataclass
class ModelInfo:
    """Facts about a model that no operator carries.

    arch: "llama", "mistral", "qwen2", "qwen3", "opt", "gpt2", ...; vocab: size of the logits; max_context: positions the model was
    made for; layers: decoder layers; bos/eos: token ids (eos may be several); tokenizer: path of a tokenizer.json-like folder or
    an in-memory tokenizer JSON text; chat_template: Jinja2 text or "". extra: "synthetic": the seed, if the weights are made up.
    """

    arch: str
    vocab: int
    max_context: int
    layers: int
    bos: int | None = None
    eos: tuple[int, ...] = ()
    tokenizer_json: str = ""
    chat_template: str = ""
    source: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class Node:
    """One operator: canonical `name`, `op`, names of its value `inputs` in order, size `dim` of its output vector."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    dim: int

    @property
    def layer(self) -> int | None:
        """Layer index, or None outside the layers."""
        parts = self.name.split(".")
        return int(parts[1]) if parts[0] == "layers" else None

    @property
    def role(self) -> str:
        """Name without the layer, e.g. `attn.q`, `mlp.down`, `lm_head`: the key of recipes."""
        parts = self.name.split(".")
        return ".".join(parts[2:]) if parts[0] == "layers" else self.name


class Graph:
    """A decoder as a directed graph of `Node`s; edges run from producer to consumer."""

    def __init__(self, info: ModelInfo) -> None:
        self.info = info
        self.nx = nx.DiGraph()

    def add(self, name: str, op: Op, inputs: tuple[str, ...] | list[str] = (), *, dim: int) -> str:
        """Add a node; its inputs must exist. Returns the name."""
        inputs = tuple(inputs)
        if name in self.nx:
            raise ValueError(f"node {name!r} is in the graph already")
        if len(inputs) != ARITY[type(op)]:
            raise ValueError(f"node {name!r}: {type(op).__name__} takes {ARITY[type(op)]} inputs, got {len(inputs)}")
        for i in inputs:
            if i not in self.nx:
                raise ValueError(f"node {name!r}: input {i!r} is not in the graph")
        self.nx.add_node(name, node=Node(name, op, inputs, dim))
        for i in inputs:
            self.nx.add_edge(i, name)
        return name

    def __getitem__(self, name: str) -> Node:
        return self.nx.nodes[name]["node"]

    def __contains__(self, name: str) -> bool:
        return name in self.nx

    def __len__(self) -> int:
        return len(self.nx)

    def users(self, name: str) -> list[Node]:
        """Consumers of a node's value."""
        return [self[u] for u in self.nx.successors(name)]

    def __iter__(self) -> Iterator[Node]:
        """Nodes in a topological order that depends on names only (same graph, same order)."""
        for name in nx.lexicographical_topological_sort(self.nx, key=_order_key):
            yield self[name]

    @property
    def output(self) -> Node:
        """The node that makes the logits."""
        return self["lm_head"]

    def attentions(self) -> list[Node]:
        """Attention nodes in layer order."""
        return sorted((n for n in self if isinstance(n.op, Attention)), key=lambda n: n.layer or 0)

    def linears(self) -> list[Node]:
        """Linear nodes in execution order."""
        return [n for n in self if isinstance(n.op, Linear)]

    def embeds(self) -> list[Node]:
        """Token embedding nodes."""
        return [n for n in self if isinstance(n.op, Embed)]


_ROLE_ORDER = [
    "embed",
    "pos_embed",
    "embed_add",
    "embed_norm",
    "attn_norm",
    "attn.q",
    "attn.q_norm",
    "attn.q_rope",
    "attn.k",
    "attn.k_norm",
    "attn.k_rope",
    "attn.v",
    "attn.core",
    "attn.o",
    "attn_add",
    "mlp_norm",
    "mlp.gate",
    "mlp.up",
    "mlp.act",
    "mlp.mul",
    "mlp.down",
    "mlp_add",
    "norm",
    "lm_head",
]


def _order_key(name: str) -> tuple[int, int, int, str]:
    parts = name.split(".")
    in_layer = parts[0] == "layers"
    role = ".".join(parts[2:]) if in_layer else name
    rank = _ROLE_ORDER.index(role) if role in _ROLE_ORDER else len(_ROLE_ORDER)
    before = 0 if role.startswith(("embed", "pos_embed")) and not in_layer else (1 if in_layer else 2)
    return before, int(parts[1]) if in_layer else 0, rank, name
