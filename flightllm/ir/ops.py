"""The typed operators of a decoder LLM: the whole vocabulary between frontends and compiler.

Every value is one fp32 vector per token, shape [tokens, dim]; `dim` stands on the node (`ir.graph.Node.dim`). An operator
carries attributes and weights, never data that depends on the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from flightllm.ir.weights import Weight


@dataclass(frozen=True)
class Embed:
    """ids -> rows of `table` [vocab, dim], times `scale` (1.0 in all but Gemma-like models). No value inputs."""

    table: Weight
    scale: float = 1.0


@dataclass(frozen=True)
class PosEmbed:
    """position -> row `position + offset` of `table` [positions, dim] (GPT-2: offset 0; OPT: offset 2). No value inputs."""

    table: Weight
    offset: int = 0


@dataclass(frozen=True)
class Norm:
    """RMSNorm or LayerNorm over the last axis, or over each of `heads` equal parts of it (Qwen3's q and k norm).

    `gamma` and `beta` are [dim / heads]; `beta` is None for rms.
    """

    kind: Literal["rms", "layer"]
    eps: float
    gamma: Weight
    beta: Weight | None = None
    heads: int = 1


@dataclass(frozen=True)
class Linear:
    """y = x @ weight.T + bias; `weight` is [out, in] whatever the file's own orientation, `bias` [out] or None."""

    weight: Weight
    bias: Weight | None = None


@dataclass(frozen=True, eq=False)
class Rope:
    """Rotary position embedding in the half-split ("neox") convention on each of `heads` parts of size `head_dim`.

    `inv_freq` float64 [rotary_dim / 2] already holds any scaling (linear, llama3); `attention_factor` multiplies cos and sin
    (yarn). Frontends whose file uses the interleaved convention permute the rows of q and k instead.
    rotary_dim = 2 * len(inv_freq) may be smaller than head_dim; the rest of the head passes through.
    """

    heads: int
    head_dim: int
    inv_freq: np.ndarray
    attention_factor: float = 1.0


@dataclass(frozen=True)
class Attention:
    """Causal self-attention with KV cache; inputs q [heads*head_dim], k and v [kv_heads*head_dim]; output [heads*head_dim].

    `scale` multiplies q.k (usually head_dim ** -0.5). `window`: a key is visible iff query - key < window (0: no limit) or
    key < sink. Query heads h of a group share kv head h // (heads / kv_heads).
    """

    heads: int
    kv_heads: int
    head_dim: int
    scale: float
    window: int = 0
    sink: int = 0


@dataclass(frozen=True)
class Act:
    """Element-wise activation: relu, silu, gelu (tanh form). Exact-erf GELU is not in the machine; see `frontends`."""

    kind: Literal["relu", "silu", "gelu_tanh"]


@dataclass(frozen=True)
class Mul:
    """Element-wise product of two inputs of equal dim (the gate of a gated MLP)."""


@dataclass(frozen=True)
class Add:
    """Element-wise sum of two inputs of equal dim (residual, position embedding)."""


Op = Embed | PosEmbed | Norm | Linear | Rope | Attention | Act | Mul | Add

#: operator class -> number of value inputs
ARITY: dict[type, int] = {Embed: 0, PosEmbed: 0, Norm: 1, Linear: 1, Rope: 1, Attention: 3, Act: 1, Mul: 2, Add: 2}
