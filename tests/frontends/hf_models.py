"""Small random Hugging Face models, saved to folders."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from transformers import (
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

SMALL = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def rope(**params: object) -> dict:
    return {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default", **params}}


CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SMALL, tie_word_embeddings=False),
    "llama-tied-bias": LlamaConfig(**SMALL, tie_word_embeddings=True, attention_bias=True, mlp_bias=True, head_dim=8),
    "llama-linear": LlamaConfig(**SMALL, **rope(rope_type="linear", factor=4.0)),
    "llama3": LlamaConfig(
        **SMALL,
        **rope(
            rope_type="llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=64,
        ),
    ),
    "llama-yarn": LlamaConfig(**SMALL, **rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=64)),
    "llama-yarn-mscale": LlamaConfig(
        **SMALL,
        **rope(
            rope_type="yarn",
            factor=4.0,
            original_max_position_embeddings=64,
            mscale=1.2,
            mscale_all_dim=0.4,
            beta_fast=20.0,
            beta_slow=2.0,
            truncate=False,
        ),
    ),
    "llama-small-heads": LlamaConfig(
        **{**SMALL, "num_attention_heads": 3, "num_key_value_heads": 1, "intermediate_size": 52}, head_dim=8
    ),
    "mistral-full": MistralConfig(**SMALL, sliding_window=None),
    "mistral": MistralConfig(**SMALL, sliding_window=16, head_dim=24),
    "qwen2": Qwen2Config(**SMALL),
    "qwen2-window": Qwen2Config(**SMALL, use_sliding_window=True, sliding_window=16, max_window_layers=1),
    "qwen2-layer-types": Qwen2Config(
        **SMALL,
        tie_word_embeddings=True,
        use_sliding_window=True,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "qwen3-bias-tied": Qwen3Config(**SMALL, head_dim=16, attention_bias=True, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**SMALL, head_dim=24),
    "opt": OPTConfig(
        vocab_size=96, hidden_size=48, ffn_dim=80, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=48
    ),
    "opt-post-norm": OPTConfig(
        vocab_size=96,
        hidden_size=48,
        ffn_dim=80,
        num_hidden_layers=2,
        num_attention_heads=4,
        word_embed_proj_dim=48,
        do_layer_norm_before=False,
    ),
    "opt-no-bias-untied": OPTConfig(
        vocab_size=96,
        hidden_size=48,
        ffn_dim=80,
        num_hidden_layers=2,
        num_attention_heads=6,
        word_embed_proj_dim=48,
        max_position_embeddings=100,
        enable_bias=False,
        tie_word_embeddings=False,
    ),
    "gpt2-unscaled-untied": GPT2Config(
        vocab_size=96,
        n_embd=48,
        n_layer=2,
        n_head=6,
        n_inner=72,
        n_positions=100,
        activation_function="relu",
        scale_attn_weights=False,
        tie_word_embeddings=False,
    ),
    "gpt2": GPT2Config(vocab_size=96, n_embd=48, n_layer=2, n_head=4, n_positions=256),
}


def make(name: str) -> transformers.PreTrainedModel:
    """A model with random weights large enough that every part matters."""
    torch.manual_seed(sum(map(ord, name)))
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS[name], attn_implementation="eager").float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
            else:
                parameter.copy_(torch.randn_like(parameter) * parameter.shape[-1] ** -0.5)
    return model


def save(
    name: str, folder: Path, shard: str | None = None, dtype: torch.dtype | None = None
) -> transformers.PreTrainedModel:
    """Make, save and return a model; `shard` is the largest size of a file; with `dtype` the weights are rounded to it."""
    model = make(name)
    if dtype is not None:
        model = model.to(dtype)
    model.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    if dtype is None:
        return model
    # Rounding a whole model rounds its RoPE frequencies as well; a reloaded one has them exact.
    again = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return again.eval()


def logits(model: transformers.PreTrainedModel, ids: list[int]) -> torch.Tensor:
    """float32 [tokens, vocab]."""
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0]
