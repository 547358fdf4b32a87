"""Small random decoders as graphs, in memory: every operator and shape the compiler must handle, without files."""

from __future__ import annotations

import numpy as np

from flightllm.ir import Graph, ModelInfo, Weight
from flightllm.ir.ops import Act, Add, Attention, Embed, Linear, Mul, Norm, PosEmbed, Rope


def decoder(
    *,
    layers: int = 2,
    dim: int = 48,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 16,
    ffn: int = 80,
    vocab: int = 70,
    context: int = 256,
    norm: str = "rms",
    act: str = "silu",
    gated: bool = True,
    bias: bool = False,
    rope: bool = True,
    rotary: int | None = None,
    head_norm: bool = False,
    post_norm: bool = False,
    window: int = 0,
    sink: int = 0,
    tied: bool = False,
    seed: int = 0,
) -> Graph:
    """A random decoder; weights are scaled so that activations stay of order one."""
    rng = np.random.default_rng(seed)

    def weight(name: str, *shape: int, scale: float | None = None, mean: float = 0.0) -> Weight:
        spread = shape[-1] ** -0.5 if scale is None else scale
        return Weight.of(name, (mean + spread * rng.standard_normal(shape)).astype(np.float32))

    def linear(name: str, out: int, inp: int) -> Linear:
        return Linear(weight(name, out, inp), weight(name + ".bias", out, scale=0.1) if bias else None)

    def make_norm(name: str, n: int, parts: int = 1) -> Norm:
        beta = weight(name + ".beta", n, scale=0.1) if norm == "layer" else None
        return Norm(norm, 1e-5, weight(name, n, scale=0.1, mean=1.0), beta, parts)  # type: ignore[arg-type]

    g = Graph(ModelInfo("test", vocab, context, layers, 1, (2,)))
    table = weight("embed", vocab, dim, scale=1.0)
    x = g.add("embed", Embed(table), dim=dim)
    if not rope:
        p = g.add("pos_embed", PosEmbed(weight("pos", context + 2, dim, scale=0.5), 2), dim=dim)
        x = g.add("embed_add", Add(), [x, p], dim=dim)
    freq = 100.0 ** (-np.arange((rotary or head_dim) // 2) / ((rotary or head_dim) // 2))
    for i in range(layers):
        n = f"layers.{i}."
        h = x if post_norm else g.add(n + "attn_norm", make_norm(n + "attn_norm", dim), [x], dim=dim)
        q = g.add(n + "attn.q", linear(n + "q", heads * head_dim, dim), [h], dim=heads * head_dim)
        k = g.add(n + "attn.k", linear(n + "k", kv_heads * head_dim, dim), [h], dim=kv_heads * head_dim)
        v = g.add(n + "attn.v", linear(n + "v", kv_heads * head_dim, dim), [h], dim=kv_heads * head_dim)
        if head_norm:
            qn, kn = (
                Norm("rms", 1e-6, weight(n + s, head_dim, scale=0.1, mean=1.0), None, c)
                for s, c in (("qn", heads), ("kn", kv_heads))
            )
            q = g.add(n + "attn.q_norm", qn, [q], dim=heads * head_dim)
            k = g.add(n + "attn.k_norm", kn, [k], dim=kv_heads * head_dim)
        if rope:
            q = g.add(n + "attn.q_rope", Rope(heads, head_dim, freq), [q], dim=heads * head_dim)
            k = g.add(n + "attn.k_rope", Rope(kv_heads, head_dim, freq), [k], dim=kv_heads * head_dim)
        op = Attention(heads, kv_heads, head_dim, head_dim**-0.5, window, sink)
        a = g.add(n + "attn.core", op, [q, k, v], dim=heads * head_dim)
        o = g.add(n + "attn.o", linear(n + "o", dim, heads * head_dim), [a], dim=dim)
        x = g.add(n + "attn_add", Add(), [x, o], dim=dim)
        if post_norm:
            x = h = g.add(n + "attn_norm", make_norm(n + "attn_norm", dim), [x], dim=dim)
        else:
            h = g.add(n + "mlp_norm", make_norm(n + "mlp_norm", dim), [x], dim=dim)
        up = g.add(n + "mlp.up", linear(n + "up", ffn, dim), [h], dim=ffn)
        if gated:
            gate = g.add(n + "mlp.gate", linear(n + "gate", ffn, dim), [h], dim=ffn)
            m = g.add(n + "mlp.act", Act(act), [gate], dim=ffn)  # type: ignore[arg-type]
            m = g.add(n + "mlp.mul", Mul(), [m, up], dim=ffn)
        else:
            m = g.add(n + "mlp.act", Act(act), [up], dim=ffn)  # type: ignore[arg-type]
        down = g.add(n + "mlp.down", linear(n + "down", dim, ffn), [m], dim=dim)
        x = g.add(n + "mlp_add", Add(), [x, down], dim=dim)
        if post_norm:
            x = g.add(n + "mlp_norm", make_norm(n + "mlp_norm", dim), [x], dim=dim)
    if not post_norm:
        x = g.add("norm", make_norm("norm", dim), [x], dim=dim)
    g.add("lm_head", Linear(table if tied else weight("head", vocab, dim)), [x], dim=vocab)
    return g


#: variants that together use every operator and every padding rule
VARIANTS: dict[str, dict] = {
    "llama": {},
    "qwen2": {"bias": True, "heads": 6, "kv_heads": 3, "tied": True},
    "qwen3": {"head_norm": True, "head_dim": 24},
    "opt": {"norm": "layer", "act": "relu", "gated": False, "bias": True, "rope": False, "kv_heads": 4},
    "opt-post-norm": {"norm": "layer", "act": "relu", "gated": False, "bias": True, "rope": False, "post_norm": True},
    "gpt2": {
        "norm": "layer",
        "act": "gelu_tanh",
        "gated": False,
        "bias": True,
        "rope": False,
        "kv_heads": 4,
        "dim": 72,
    },
    "small-heads": {"head_dim": 8, "heads": 4, "kv_heads": 1},
    "partial-rope": {"head_dim": 32, "rotary": 8},
    "window": {"window": 40, "sink": 3},
    # long enough that vectors are made in two halves
    "wide": {"heads": 8, "kv_heads": 4, "head_dim": 64, "ffn": 600},
    "wide-opt": {
        "norm": "layer",
        "act": "relu",
        "gated": False,
        "bias": True,
        "rope": False,
        "heads": 20,
        "kv_heads": 20,
        "head_dim": 32,
        "ffn": 1000,
    },
}
