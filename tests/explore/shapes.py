"""Models and spaces that are quick to search."""

from __future__ import annotations

import json

#: a decoder with the shapes of nothing in particular
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 9,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 500,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
}
#: values of every parameter that a search varies unasked: four configs, one of which is too large for the board "tiny"
FOUR = {
    "cores": [1], "channels": [1, 2], "vpus": [4, 40], "chain_vpus": [1], "lanes": [8], "max_chunk": [16], "vb_elements": [262144],
    "ab_windows": [8192], "acc_entries": [512], "w_ring_bytes": [49152],
}  # fmt: skip


def write(folder, **changes):
    """A folder with nothing but a config.json."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    return folder
