"""A model with fewer layers, from which the cycles of the whole follow.

A decoder's layers are alike, so a run takes a + b * layers cycles but for what the first and the last overlap with: two short models give a and b. Where layers
differ in a pattern that repeats (every second one with a window), b is that of a period.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from flightllm.compress.recipe import Recipe
from flightllm.ir.graph import Graph, Node
from flightllm.ir.ops import Attention, Linear
from flightllm.ir.weights import Weight

#: longest pattern of layers that is looked for
LONGEST = 8
#: weights in the shorter model and in what the other one has more: until the W ring is full the first layers are faster than later ones, and
#: of small layers refreshes of the memory make one unlike the next
WEIGHTS = 100_000_000


@dataclass(frozen=True)
class Cut:
    """Two short models in the place of a long one.

    Attributes:
        layers: of the long one. few, more: layers of the short ones; `more - few` is whole periods of the pattern.
    """

    layers: int
    few: int
    more: int

    def whole(self, few: float, more: float) -> float:
        """What the long model has of something that grows with each period by the same amount."""
        return few + (more - few) * (self.layers - self.few) / (self.more - self.few)


def plan_cut(graph: Graph, recipe: Recipe, weights: int = WEIGHTS) -> Cut | None:
    """The short models of a long one, or None if its layers follow no pattern or are too few or too small for it to save anything.

    Args:
        weights: in the shorter model at least, and in what the other one has more.
    """
    layers = graph.info.layers
    kinds = _kinds(graph, recipe)
    if kinds is None:
        return None
    sizes = [node.op.weight.shape for node in graph.linears() if node.layer is not None and isinstance(node.op, Linear)]
    mean = sum(rows * columns for rows, columns in sizes) / layers
    for period in range(1, LONGEST + 1):
        step = period * max(1, math.ceil(weights / (mean * period)))
        few = step + layers % period
        # a model that is hardly longer than the two short ones is no dearer, and exact
        if 2 * (few + few + step) <= layers and all(kinds[i] == kinds[i - period] for i in range(period, layers)):
            return Cut(layers, few, few + step)
    return None


def first_layers(graph: Graph, count: int) -> Graph:
    """The graph with its first layers only; what reads the last layer's result reads that of the last one left."""
    last = graph.info.layers - 1
    out = Graph(replace(graph.info, layers=count))
    for node in graph:
        if node.layer is not None and node.layer >= count:
            continue
        inputs = [i.replace(f"layers.{last}.", f"layers.{count - 1}.") if _layer(i) == last else i for i in node.inputs]
        out.add(node.name, node.op, inputs, dim=node.dim)
    return out


def shapes_only(graph: Graph) -> Graph:
    """The graph with zeros for weights: it needs no file, and can be sent to another machine."""
    out = Graph(replace(graph.info, tokenizer_json="", chat_template=""))
    for node in graph:
        held = {f.name: getattr(node.op, f.name) for f in fields(node.op)}
        empty = {
            name: replace(w, read=partial(np.zeros, w.shape, np.float32), read_grid=None)
            for name, w in held.items()
            if isinstance(w, Weight)
        }
        out.add(node.name, replace(node.op, **empty), node.inputs, dim=node.dim)  # type: ignore[arg-type]
    return out


def _layer(name: str) -> int | None:
    parts = name.split(".")
    return int(parts[1]) if parts[0] == "layers" else None


def _kinds(graph: Graph, recipe: Recipe) -> list[tuple[Any, ...]] | None:
    """What each layer is, equal for layers that are alike; None if layers are not in a chain."""
    layers: list[list[Any]] = [[] for _ in range(graph.info.layers)]
    for node in graph:
        where = node.layer
        if where is None:
            if any(_layer(i) not in (None, graph.info.layers - 1) for i in node.inputs):
                return None
            continue
        inputs = []
        for name in node.inputs:
            inside = _layer(name) == where
            if not inside and _layer(name) not in (None, where - 1):
                return None
            inputs.append(name.split(".", 2)[-1] if inside else "before")
        layers[where].append((node.role, node.dim, tuple(inputs), _form(node.op), _compression(node, recipe)))
    return [tuple(sorted(kind, key=lambda k: k[0])) for kind in layers]


def _compression(node: Node, recipe: Recipe) -> Any:
    """What the recipe says of a node. Masks from a file may differ from layer to layer."""
    if isinstance(node.op, Attention):
        asked = recipe.for_attention(node.layer or 0)
        return asked, node.layer if asked.mask is not None and asked.mask.kind == "blocks" else None
    return repr(recipe.for_node(node.name, node.role, node.layer)) if hasattr(node.op, "weight") else None


def _form(value: Any) -> Any:
    """An operator without names and data of its weights: equal for those that take the same time."""
    if isinstance(value, Weight):
        return value.shape, value.grid, value.stored
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if is_dataclass(value):
        return type(value).__name__, tuple(_form(getattr(value, f.name)) for f in fields(value))
    return value
