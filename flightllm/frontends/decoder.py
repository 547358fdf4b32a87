"""The one builder of canonical decoder graphs: every frontend describes its model with a `DecoderSpec` and names its weights.

So the same model gives the same graph from any file format.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from flightllm.errors import ModelError
from flightllm.ir.graph import Graph, ModelInfo
from flightllm.ir.ops import Act, Add, Attention, Embed, Linear, Mul, Norm, PosEmbed, Rope
from flightllm.ir.weights import Weight

#: (role, layer or None) -> weight, or None if the model has no such tensor. Roles: `embed`, `pos_embed`, `norm`, `lm_head`, and in layers
#: `attn_norm`, `attn.q`, `attn.k`, `attn.v`, `attn.o`, `attn.q_norm`, `attn.k_norm`, `mlp_norm`, `mlp.gate`, `mlp.up`, `mlp.down`; each
#: may have `.bias` behind it.
WeightSource = Callable[[str, int | None], Weight | None]


@dataclass(frozen=True, eq=False)
class DecoderSpec:
    """Architecture facts of a decoder.

    windows: sliding window of each layer, 0 for none. inv_freq: RoPE frequencies [rotary / 2] or None. pos_offset: rows before
    position 0 in the table of learned positions, None without one. post_norm: norms follow the residual sums (OPT-350m).
    attention_scale: factor on q.k. biases: roles that must have a bias, all others have none; None: those that the source has.
    """

    dim: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    layers: int
    windows: tuple[int, ...]
    attention_scale: float
    norm: Literal["rms", "layer"] = "rms"
    eps: float = 1e-5
    act: Literal["relu", "silu", "gelu_tanh"] = "silu"
    gated: bool = True
    inv_freq: np.ndarray | None = None
    rope_factor: float = 1.0
    head_norm: bool = False
    pos_offset: int | None = None
    post_norm: bool = False
    biases: frozenset[str] | None = None


def build_decoder(
    spec: DecoderSpec, weight: WeightSource, info: ModelInfo, problems: list[ModelError] | None = None
) -> Graph:
    """The canonical graph. ModelError for a missing tensor or a shape that disagrees with the spec.

    With a list `problems`, such errors are collected in it and the graph gets stand-ins for the weights concerned.
    """
    return _Builder(spec, weight, Graph(info), problems).build()


class _Builder:
    def __init__(
        self, spec: DecoderSpec, weight: WeightSource, graph: Graph, problems: list[ModelError] | None
    ) -> None:
        self.spec, self.source, self.graph, self.problems = spec, weight, graph, problems

    def wrong(self, error: ModelError, role: str, shape: tuple[int, ...]) -> Weight:
        """Raise, or note the error and stand in."""
        if self.problems is None:
            raise error
        self.problems.append(error)
        return Weight.of(role, np.zeros((0,) * len(shape), np.float32))

    def need(self, role: str, layer: int | None, *shape: int) -> Weight:
        """A weight that must be there, in this shape."""
        w = self.optional(role, layer, *shape)
        if w is None:
            where = role if layer is None else f"layer {layer}, {role}"
            error = ModelError(
                f"the model has no weight for {where}",
                where=self.graph.info.source,
                do="the file is incomplete, or the architecture is not what its configuration says",
            )
            return self.wrong(error, role, shape)
        return w

    def optional(self, role: str, layer: int | None, *shape: int) -> Weight | None:
        try:
            w = self.source(role, layer)
        except ModelError as damaged:
            return self.wrong(damaged, role, shape)
        if w is not None and w.shape != shape:
            error = ModelError(
                f"tensor {w.name} has shape {list(w.shape)}, the configuration asks for {list(shape)}",
                where=w.source or self.graph.info.source,
                do="configuration and weights belong to different models, or a file is damaged",
            )
            return self.wrong(error, role, shape)
        return w

    def bias(self, role: str, layer: int | None, *shape: int) -> Weight | None:
        """The bias of a role as the spec asks for it."""
        if self.spec.biases is None:
            return self.optional(role + ".bias", layer, *shape)
        return self.need(role + ".bias", layer, *shape) if role in self.spec.biases else None

    def linear(self, name: str, role: str, layer: int | None, source: str, out: int, inp: int) -> str:
        op = Linear(self.need(role, layer, out, inp), self.bias(role, layer, out))
        return self.graph.add(name, op, [source], dim=out)

    def norm(self, name: str, role: str, layer: int | None, source: str) -> str:
        spec = self.spec
        gamma = self.need(role, layer, spec.dim)
        beta = self.bias(role, layer, spec.dim)
        if spec.norm == "layer" and beta is None:
            beta = Weight.of(f"{gamma.name} (no bias)", np.zeros(spec.dim, np.float32))
        op = Norm(spec.norm, spec.eps, gamma, beta if spec.norm == "layer" else None)
        return self.graph.add(name, op, [source], dim=spec.dim)

    def build(self) -> Graph:
        spec, g = self.spec, self.graph
        x = g.add("embed", Embed(self.need("embed", None, spec.vocab, spec.dim)), dim=spec.dim)
        if spec.pos_offset is not None:
            table = self.need("pos_embed", None, g.info.max_context + spec.pos_offset, spec.dim)
            p = g.add("pos_embed", PosEmbed(table, spec.pos_offset), dim=spec.dim)
            x = g.add("embed_add", Add(), [x, p], dim=spec.dim)
        for layer in range(spec.layers):
            x = self.layer(layer, x)
        if not spec.post_norm:
            x = self.norm("norm", "norm", None, x)
        self.linear("lm_head", "lm_head", None, x, spec.vocab, spec.dim)
        return g

    def layer(self, i: int, x: str) -> str:
        spec, g, n = self.spec, self.graph, f"layers.{i}."
        h = x if spec.post_norm else self.norm(n + "attn_norm", "attn_norm", i, x)
        a = self.attention(i, h)
        o = self.linear(n + "attn.o", "attn.o", i, a, spec.dim, spec.heads * spec.head_dim)
        x = g.add(n + "attn_add", Add(), [x, o], dim=spec.dim)
        if spec.post_norm:
            x = h = self.norm(n + "attn_norm", "attn_norm", i, x)
        else:
            h = self.norm(n + "mlp_norm", "mlp_norm", i, x)
        up = self.linear(n + "mlp.up", "mlp.up", i, h, spec.ffn, spec.dim)
        if spec.gated:
            gate = self.linear(n + "mlp.gate", "mlp.gate", i, h, spec.ffn, spec.dim)
            act = g.add(n + "mlp.act", Act(spec.act), [gate], dim=spec.ffn)
            m = g.add(n + "mlp.mul", Mul(), [act, up], dim=spec.ffn)
        else:
            m = g.add(n + "mlp.act", Act(spec.act), [up], dim=spec.ffn)
        down = self.linear(n + "mlp.down", "mlp.down", i, m, spec.dim, spec.ffn)
        x = g.add(n + "mlp_add", Add(), [x, down], dim=spec.dim)
        return self.norm(n + "mlp_norm", "mlp_norm", i, x) if spec.post_norm else x

    def attention(self, i: int, h: str) -> str:
        spec, g, n = self.spec, self.graph, f"layers.{i}.attn."
        values = {}
        for part, heads in (("q", spec.heads), ("k", spec.kv_heads), ("v", spec.kv_heads)):
            dim = heads * spec.head_dim
            v = self.linear(n + part, f"attn.{part}", i, h, dim, spec.dim)
            if part != "v" and spec.head_norm:
                gamma = self.need(f"attn.{part}_norm", i, spec.head_dim)
                v = g.add(n + f"{part}_norm", Norm("rms", spec.eps, gamma, None, heads), [v], dim=dim)
            if part != "v" and spec.inv_freq is not None:
                rope = Rope(heads, spec.head_dim, spec.inv_freq, spec.rope_factor)
                v = g.add(n + f"{part}_rope", rope, [v], dim=dim)
            values[part] = v
        op = Attention(spec.heads, spec.kv_heads, spec.head_dim, spec.attention_scale, spec.windows[i])
        return g.add(n + "core", op, [values["q"], values["k"], values["v"]], dim=spec.heads * spec.head_dim)
