"""Small random decoders in every format of weights, cache and attention; what both kernels have to run."""

from __future__ import annotations

from typing import Any

import numpy as np

IDS = np.random.default_rng(7).integers(0, 70, 100).tolist()
#: what the recipe, the graph and the KV cache can be; all on the default config
FORMATS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "2 bits": ({"default": {"weights": 2, "group": 32}}, {}),
    "3 bits g64": ({"default": {"weights": 3, "group": 64}}, {}),
    "4 bits affine": ({"default": {"weights": 4, "group": 32, "affine": True}}, {}),
    "5 bits": ({"default": {"weights": 5, "group": 128}}, {}),
    "6 bits": ({"default": {"weights": 6, "group": 32}}, {}),
    "8 bits": ({"default": {"weights": 8, "group": 32}}, {}),
    "2:16": ({"default": {"weights": 8, "sparsity": 2}}, {}),
    "4:16": ({"default": {"weights": 6, "sparsity": 4}}, {}),
    "8:16": ({"default": {"weights": 4, "sparsity": 8}}, {}),
    "mixed": ({"default": {"weights": 4}, "rule": [{"match": "mlp.*", "weights": 6, "sparsity": 8}]}, {}),
    "two passes": ({"default": {"passes": [{"bits": 2, "affine": True}, {"bits": 8, "n": 2}]}}, {}),
    "kv 4": ({"default": {"weights": 4, "kv": 4}}, {}),
    "dual": ({"default": {"weights": 4, "activations": "dual"}}, {}),
    "mask": (
        {"rule": [{"match": "attn.core", "attention": {"kind": "local+global", "local": 1, "global": 1, "stride": 0}}]},
        {"layers": 1},
    ),
    "window": ({}, {"window": 40, "sink": 4}),
    "layer norm, gelu, biases": (
        {},
        {"norm": "layer", "act": "gelu_tanh", "gated": False, "bias": True, "rope": False, "kv_heads": 4},
    ),
    "halves": ({"default": {"weights": 4}}, {"heads": 8, "kv_heads": 4, "head_dim": 64, "ffn": 600}),
    "odd heads": ({}, {"dim": 40, "heads": 5, "kv_heads": 5, "head_dim": 24}),
}
