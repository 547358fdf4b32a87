"""Choices of one compile that are neither the model nor the architecture."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class AttentionOptions:
    """How one attention layer is sparse and how its cache is stored.

    kv_bits: 8 or 4. window, sink: as in `ir.ops.Attention`, after the recipe. mask: bool [heads, query blocks, key blocks] or None.
    """

    kv_bits: int = 8
    window: int = 0
    sink: int = 0
    mask: np.ndarray | None = None


@dataclass
class LoweringOptions:
    """Sizes and formats that lowering needs. chunk: tokens per run at most. queries: those of a chunk's part that an attention takes at once. heads,
    token_heads: heads that share a SOFTMAX at most, of several queries and of a single one. max_context: positions of the cache. dual: linears
    whose activations have two codes. attention: by layer name.
    """

    chunk: int
    queries: int
    heads: int
    token_heads: int
    max_context: int
    dual: frozenset[str] = frozenset()
    attention: dict[str, AttentionOptions] = field(default_factory=dict)

    @property
    def masked(self) -> bool:
        """Some layer has block masks."""
        return any(a.mask is not None for a in self.attention.values())
