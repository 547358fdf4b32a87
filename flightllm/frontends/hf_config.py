"""config.json of Hugging Face models to a `DecoderSpec`: one function per architecture, every field that matters checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flightllm.errors import ModelError, UnsupportedError
from flightllm.frontends.decoder import DecoderSpec
from flightllm.frontends.rope import inverse_frequencies

ACTS = {
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
}


class Config:
    """Typed access to the fields of a config.json."""

    def __init__(self, data: dict[str, Any], where: str) -> None:
        self.data, self.where = data, where

    def number(self, name: str, default: int | None = None) -> int:
        """A positive whole number; a missing or null field gives the default."""
        value = self.data.get(name)
        value = default if value is None else value
        if type(value) is not int or not 0 < value < 1 << 31:
            raise ModelError(
                f"{name} = {value!r} in the configuration", where=self.where, why="a positive whole number is needed"
            )
        return value

    def real(self, name: str, default: float | None = None) -> float:
        """A number."""
        value = self.data.get(name)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ModelError(f"{name} = {value!r} in the configuration", where=self.where, why="a number is needed")
        return float(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """A truth value."""
        value = self.data.get(name)
        return default if value is None else bool(value)

    def refuse(self, name: str, why: str, allowed: tuple[Any, ...] = (None, False, 0)) -> None:
        """UnsupportedError if a field has a value with an effect that the machine does not have."""
        value = self.data.get(name)
        if value not in allowed:
            raise UnsupportedError(
                f"{name} = {value!r} is not supported", where=self.where, why=why, do="use another model"
            )

    def act(self, name: str) -> Any:
        """An activation function."""
        value = self.data.get(name)
        if not isinstance(value, str) or value not in ACTS:
            raise UnsupportedError(
                f"activation {value!r} is not supported",
                where=f"{self.where}: {name}",
                why=f"the machine has {', '.join(sorted(ACTS))}",
                do="exact (erf) GELU could be approximated by its tanh form: set the field to gelu_new to accept that",
            )
        return ACTS[value]


def _windows(c: Config, layers: int) -> tuple[int, ...]:
    """Sliding window of each layer: `layer_types` if given, else sliding_window (with Qwen's use_sliding_window)."""
    window = c.data.get("sliding_window")
    kinds = c.data.get("layer_types")
    if isinstance(kinds, list) and len(kinds) == layers:
        bad = sorted({str(k) for k in kinds} - {"full_attention", "sliding_attention"})
        if bad:
            raise UnsupportedError(f"layer types {', '.join(bad)} are not supported", where=f"{c.where}: layer_types")
        return tuple(int(window) if k == "sliding_attention" and window else 0 for k in kinds)
    if not window or not c.flag("use_sliding_window", True):
        return (0,) * layers
    first = c.data.get("max_window_layers")
    if "use_sliding_window" in c.data and isinstance(first, int):
        return tuple(int(window) if i >= first else 0 for i in range(layers))
    return (int(window),) * layers


def _llama_like(c: Config) -> DecoderSpec:
    dim, heads, layers = c.number("hidden_size"), c.number("num_attention_heads"), c.number("num_hidden_layers")
    if c.data.get("head_dim") is None and dim % heads:
        raise ModelError(f"hidden_size {dim} does not divide by {heads} heads", where=c.where)
    head_dim = c.number("head_dim", max(1, dim // heads))
    kind = c.data["model_type"]
    params = c.data.get("rope_parameters")
    if not isinstance(params, dict):
        params = dict(c.data.get("rope_scaling") or {})
        params["rope_theta"] = c.real("rope_theta", 10000.0)
    elif any(isinstance(v, dict) for v in params.values()):
        raise UnsupportedError(
            "RoPE that differs between layer types is not supported", where=f"{c.where}: rope_parameters"
        )
    rotary = int(head_dim * float(params.get("partial_rotary_factor") or c.data.get("partial_rotary_factor") or 1))
    context = c.number("max_position_embeddings", 2048)
    try:
        freq, factor = inverse_frequencies(params, rotary - rotary % 2, context, c.where)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError("the RoPE parameters are incomplete or wrong", where=c.where, why=repr(error)) from None
    if kind == "llama":
        c.refuse("pretraining_tp", "tensor-parallel slices change the sums", (None, 1, 0))
    return DecoderSpec(
        dim=dim,
        heads=heads,
        kv_heads=c.number("num_key_value_heads", heads),
        head_dim=head_dim,
        ffn=c.number("intermediate_size"),
        vocab=c.number("vocab_size"),
        layers=layers,
        windows=_windows(c, layers) if kind != "llama" else (0,) * layers,
        attention_scale=head_dim**-0.5,
        eps=c.real("rms_norm_eps", 1e-6),
        act=c.act("hidden_act"),
        inv_freq=freq,
        rope_factor=factor,
        head_norm=kind == "qwen3",
    )


def _opt(c: Config) -> DecoderSpec:
    dim, heads, layers = c.number("hidden_size"), c.number("num_attention_heads"), c.number("num_hidden_layers")
    c.refuse("word_embed_proj_dim", "embeddings of another size than the layers need extra projections", (None, dim))
    c.refuse("_remove_final_layer_norm", "it changes where norms stand")
    before = c.flag("do_layer_norm_before", True)
    return DecoderSpec(
        dim=dim,
        heads=heads,
        kv_heads=heads,
        head_dim=dim // heads,
        ffn=c.number("ffn_dim"),
        vocab=c.number("vocab_size"),
        layers=layers,
        windows=(0,) * layers,
        attention_scale=(dim // heads) ** -0.5,
        norm="layer",
        act=c.act("activation_function"),
        gated=False,
        pos_offset=2,
        post_norm=not before,
    )


def _gpt2(c: Config) -> DecoderSpec:
    dim, heads, layers = c.number("n_embd"), c.number("n_head"), c.number("n_layer")
    c.refuse("scale_attn_by_inverse_layer_idx", "attention scores would be scaled by layer")
    c.refuse("add_cross_attention", "cross-attention needs an encoder")
    scale = (dim // heads) ** -0.5 if c.flag("scale_attn_weights", True) else 1.0
    return DecoderSpec(
        dim=dim,
        heads=heads,
        kv_heads=heads,
        head_dim=dim // heads,
        ffn=c.number("n_inner", 4 * dim),
        vocab=c.number("vocab_size"),
        layers=layers,
        windows=(0,) * layers,
        attention_scale=scale,
        norm="layer",
        eps=c.real("layer_norm_epsilon", 1e-5),
        act=c.act("activation_function"),
        gated=False,
        pos_offset=0,
    )


#: model_type -> reader of its config
ARCHITECTURES: dict[str, Callable[[Config], DecoderSpec]] = {
    "llama": _llama_like,
    "mistral": _llama_like,
    "qwen2": _llama_like,
    "qwen3": _llama_like,
    "opt": _opt,
    "gpt2": _gpt2,
}


def read_spec(data: dict[str, Any], where: str) -> DecoderSpec:
    """The spec of a model; UnsupportedError for architectures and fields the machine does not have."""
    kind = data.get("model_type")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise UnsupportedError(
            f"architecture {kind!r} is not supported",
            where=f"{where}: model_type",
            why=f"supported are {', '.join(ARCHITECTURES)}",
            do="`flightllm check` on an ONNX export says which operators are the obstacle",
        )
    spec = ARCHITECTURES[kind](Config(data, where))
    if spec.heads % spec.kv_heads:
        raise ModelError(f"{spec.heads} heads do not divide over {spec.kv_heads} kv heads", where=where)
    if spec.dim % spec.heads and kind in ("opt", "gpt2"):
        raise ModelError(f"dimension {spec.dim} does not divide by {spec.heads} heads", where=where)
    return spec
