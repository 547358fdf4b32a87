"""The graph evaluated in fp32 with numpy: what the uncompressed model says. Not bit-exact to anything."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from flightllm.errors import ModelError
from flightllm.ir.graph import Graph, Node
from flightllm.ir.ops import Act, Add, Attention, Embed, Linear, Mul, Norm, PosEmbed, Rope
from flightllm.ir.weights import Weight

#: attention scores held at a time, elements
SCORES = 1 << 24


class WeightReader:
    """Reads weights, keeping the least recently dropped ones up to `budget` bytes."""

    def __init__(self, budget: int = 4 << 30) -> None:
        self.budget, self.used = budget, 0
        self._kept: OrderedDict[object, np.ndarray] = OrderedDict()

    def __call__(self, weight: Weight) -> np.ndarray:
        key: object = weight.key or id(weight)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        data = weight.read()
        if data.nbytes <= self.budget:
            while self.used + data.nbytes > self.budget:
                self.used -= self._kept.popitem(last=False)[1].nbytes
            self._kept[key] = data
            self.used += data.nbytes
        return data


@dataclass
class Cache:
    """Keys and values of each attention so far, [tokens, kv_heads, head_dim], and the weights read."""

    keys: dict[str, np.ndarray] = field(default_factory=dict)
    values: dict[str, np.ndarray] = field(default_factory=dict)
    tokens: int = 0
    reader: WeightReader = field(default_factory=WeightReader)


def evaluate(graph: Graph, ids: Sequence[int], *, cache: Cache | None = None) -> np.ndarray:
    """Logits float32 [tokens, vocab] of each position of `ids`; with a cache, `ids` follow what was evaluated with it before.

    Raises:
        ModelError: a token or position that the model has no row for.
    """
    cache = cache or Cache()
    if not len(ids):
        return np.zeros((0, graph.output.dim), np.float32)
    index = np.asarray(ids, np.int64)
    positions = cache.tokens + np.arange(len(index))
    _check_ids(graph, index, positions)
    values: dict[str, np.ndarray] = {}
    left = {n.name: len(graph.users(n.name)) for n in graph}
    for node in graph:
        x = [values[i] for i in node.inputs]
        values[node.name] = _apply(node.name, node.op, x, index, positions, cache)
        for i in node.inputs:
            left[i] -= 1
            if not left[i]:
                del values[i]
    cache.tokens += len(index)
    return values[graph.output.name]


def observe_linears(
    graph: Graph, sequences: Sequence[Sequence[int]], observe: Callable[[Node, np.ndarray], None]
) -> None:
    """Show the inputs of every Linear, in order of execution, once per sequence of token ids: observe(node, float32 [tokens, k]).

    Goes through the graph node by node with all sequences, so that each weight is read once and one is held at a time. Of the output
    node the input is shown and no logits are made.

    Raises:
        ModelError: a token or position that the model has no row for.
    """
    ids = [np.asarray(s, np.int64) for s in sequences if len(s)]
    positions = [np.arange(len(s)) for s in ids]
    for index, at in zip(ids, positions, strict=True):
        _check_ids(graph, index, at)
    values: list[dict[str, np.ndarray]] = [{} for _ in ids]
    left = {n.name: len(graph.users(n.name)) for n in graph}
    for node in graph:
        reader = WeightReader()  # of this node only
        for index, at, known in zip(ids, positions, values, strict=True):
            x = [known[i] for i in node.inputs]
            if isinstance(node.op, Linear):
                observe(node, x[0])
            if node.name != graph.output.name:
                known[node.name] = _apply(node.name, node.op, x, index, at, Cache(reader=reader))
        for i in node.inputs:
            left[i] -= 1
            if not left[i]:
                for known in values:
                    del known[i]


def _check_ids(graph: Graph, index: np.ndarray, positions: np.ndarray) -> None:
    for node in graph:
        if isinstance(node.op, Embed):
            _in_table(node.name, "token", index, node.op.table, 0)
        elif isinstance(node.op, PosEmbed):
            _in_table(node.name, "position", positions, node.op.table, node.op.offset)


def _in_table(name: str, what: str, index: np.ndarray, table: Weight, offset: int) -> None:
    rows = table.shape[0] - offset
    if not 0 <= index.min() <= index.max() < rows:
        raise ModelError(
            f"{what}s {index.min()} to {index.max()}",
            where=f"{name}, {table.name}",
            why=f"the model has {rows} of them",
            do="feed fewer tokens, or ids of the model's vocabulary",
        )


def _apply(
    name: str, op: object, x: list[np.ndarray], ids: np.ndarray, positions: np.ndarray, cache: Cache
) -> np.ndarray:
    read = cache.reader
    if isinstance(op, Embed):
        return read(op.table)[ids] * np.float32(op.scale)
    if isinstance(op, PosEmbed):
        return read(op.table)[positions + op.offset]
    if isinstance(op, Linear):
        y = x[0] @ read(op.weight).T
        return y if op.bias is None else y + read(op.bias)
    if isinstance(op, Norm):
        return _norm(op, x[0], read)
    if isinstance(op, Rope):
        return _rope(op, x[0], positions)
    if isinstance(op, Attention):
        return _attention(name, op, x, positions, cache)
    if isinstance(op, Act):
        return _act(op, x[0])
    if isinstance(op, Mul):
        return x[0] * x[1]
    assert isinstance(op, Add)
    return x[0] + x[1]


def _norm(op: Norm, x: np.ndarray, read: WeightReader) -> np.ndarray:
    v = x.reshape(len(x), op.heads, -1)
    if op.kind == "layer":
        v = v - v.mean(-1, keepdims=True)
    v = v / np.sqrt((v * v).mean(-1, keepdims=True) + np.float32(op.eps)) * read(op.gamma)
    if op.beta is not None:
        v = v + read(op.beta)
    return v.reshape(x.shape)


def _rope(op: Rope, x: np.ndarray, positions: np.ndarray) -> np.ndarray:
    v = x.reshape(len(x), op.heads, op.head_dim).copy()
    angle = positions[:, None, None] * np.asarray(op.inv_freq)
    cos, sin = ((f(angle) * op.attention_factor).astype(np.float32) for f in (np.cos, np.sin))
    half = angle.shape[-1]
    a, b = v[..., :half].copy(), v[..., half : 2 * half].copy()
    v[..., :half], v[..., half : 2 * half] = a * cos - b * sin, b * cos + a * sin
    return v.reshape(x.shape)


def _attention(name: str, op: Attention, x: list[np.ndarray], positions: np.ndarray, cache: Cache) -> np.ndarray:
    n, d, group = len(positions), op.head_dim, op.heads // op.kv_heads
    # [kv_heads, tokens, heads of the group, d], [kv_heads, positions, d]
    q = x[0].reshape(n, op.kv_heads, group, d).transpose(1, 0, 2, 3)
    new = [v.reshape(n, op.kv_heads, d) for v in x[1:]]
    for store, v in zip((cache.keys, cache.values), new, strict=True):
        store[name] = np.concatenate([store[name], v]) if name in store else v
    k, v = (np.ascontiguousarray(s[name].transpose(1, 0, 2)) for s in (cache.keys, cache.values))
    at = np.arange(k.shape[1])
    out = np.empty((op.kv_heads, n, group, d), np.float32)
    step = max(1, SCORES // (op.heads * len(at)))
    for first in range(0, n, step):
        rows = slice(first, first + step)
        query = positions[rows, None]
        visible = at <= query
        if op.window:
            visible &= (at > query - op.window) | (at < op.sink)
        part = q[:, rows]
        score = (part.reshape(op.kv_heads, -1, d) @ k.transpose(0, 2, 1)).reshape(*part.shape[:3], len(at))
        score *= np.float32(op.scale)
        np.copyto(score, np.float32(-np.inf), where=~visible[None, :, None, :])
        score -= score.max(-1, keepdims=True)
        np.exp(score, out=score)
        score /= score.sum(-1, keepdims=True)
        out[:, rows] = (score.reshape(op.kv_heads, -1, len(at)) @ v).reshape(part.shape)
    return out.transpose(1, 0, 2, 3).reshape(n, -1)


def _act(op: Act, x: np.ndarray) -> np.ndarray:
    if op.kind == "relu":
        return np.maximum(x, 0)
    with np.errstate(over="ignore"):
        if op.kind == "silu":
            return x / (1 + np.exp(-x))
        inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x)
    return np.float32(0.5) * x * (1 + np.tanh(inner))
