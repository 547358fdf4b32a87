"""Made-up weights in a model's shapes: enough to compile, place and time a model whose weights are not at hand.

Each tensor depends on (seed, role, layer) only. Values are an integer noise with a bell shape (sum of two uniform bytes), scaled to
a standard deviation of about 0.02: cheap to make and roughly as hard to quantise as real weights.
"""

from __future__ import annotations

import zlib

import numpy as np

from flightllm.frontends.decoder import DecoderSpec, WeightSource
from flightllm.ir.weights import Weight

#: standard deviation of synthetic matrices
SPREAD = 0.02
#: standard deviation of the sum of two independent uniform bytes
_BYTE_SUM_DEVIATION = (2 * (256**2 - 1) / 12) ** 0.5


def synthetic_source(spec: DecoderSpec, seed: int, tied: bool, context: int) -> WeightSource:
    """Weights of every role that the architecture has."""
    q, kv = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "embed": (spec.vocab, spec.dim),
        "lm_head": (spec.vocab, spec.dim),
        "attn.q": (q, spec.dim),
        "attn.k": (kv, spec.dim),
        "attn.v": (kv, spec.dim),
        "attn.o": (spec.dim, q),
        "mlp.up": (spec.ffn, spec.dim),
        "mlp.down": (spec.dim, spec.ffn),
    }
    if spec.gated:
        shapes["mlp.gate"] = (spec.ffn, spec.dim)
    for role in spec.biases or ():
        shapes[f"{role}.bias"] = (shapes[role][0] if role in shapes else spec.dim,)
    norms = {"attn_norm": spec.dim, "mlp_norm": spec.dim, "norm": spec.dim}
    if spec.head_norm:
        norms |= {"attn.q_norm": spec.head_dim, "attn.k_norm": spec.head_dim}

    def source(role: str, layer: int | None) -> Weight | None:
        if role == "lm_head" and tied:
            role = "embed"
        name = role if layer is None else f"layers.{layer}.{role}"
        if role in norms:
            return Weight.of(name, np.ones(norms[role], np.float32), "synthetic")
        if role in shapes:
            return _weight(name, shapes[role], seed)
        if role == "pos_embed" and spec.pos_offset is not None:
            return _weight(name, (context + spec.pos_offset, spec.dim), seed)
        return None

    return source


def _weight(name: str, shape: tuple[int, ...], seed: int) -> Weight:
    def read() -> np.ndarray:
        rng = np.random.Generator(np.random.SFC64([seed, zlib.crc32(name.encode())]))
        out = np.empty(shape, np.float32)
        step = max(1, (1 << 20) // (shape[1] if len(shape) > 1 else 1))
        for row in range(0, shape[0], step):
            part = out[row : row + step]
            noise = np.frombuffer(rng.bytes(2 * part.size), np.uint8).reshape(2, *part.shape)
            np.add(noise[0], noise[1], out=part, dtype=np.float32, casting="unsafe")
            part -= np.float32(255)
            part *= np.float32(SPREAD / _BYTE_SUM_DEVIATION)
        return out

    return Weight(name, shape, read, "synthetic", key=f"synthetic:{seed}:{name}")
