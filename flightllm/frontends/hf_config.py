"""config.json of Hugging Face models to a `DecoderSpec`: one function per architecture, every field that matters checked."""

from __future__ import annotations

from collections.abc import Callable
from reprlib import repr as short
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

#: largest size of anything, layers and head; beyond them a config.json is damaged
_LIMIT, _LAYERS, _HEAD = 1 << 24, 4096, 1 << 14

#: what an absent field means, where architectures differ or the meaning is not "off" (transformers' configuration classes)
_QWEN = {"num_key_value_heads": 32, "max_position_embeddings": 32768, "sliding_window": 4096, "max_window_layers": 28}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {"max_position_embeddings": 2048},
    "mistral": {"num_key_value_heads": 8, "max_position_embeddings": 131072, "sliding_window": 4096},
    "qwen2": _QWEN,
    "qwen3": {**_QWEN, "head_dim": 128},
    "opt": {
        "max_position_embeddings": 2048,
        "activation_function": "relu",
        "tie_word_embeddings": True,
        "do_layer_norm_before": True,
        "enable_bias": True,
        "layer_norm_elementwise_affine": True,
    },
    "gpt2": {
        "n_positions": 1024,
        "activation_function": "gelu_new",
        "tie_word_embeddings": True,
        "scale_attn_weights": True,
    },
}

_QKV = ("attn.q", "attn.k", "attn.v")
_LAYER_NORMS = ("attn_norm", "mlp_norm", "norm")


class Config:
    """Typed access to the fields of a config.json; `_DEFAULTS` stand for absent ones."""

    def __init__(self, data: dict[str, Any], where: str) -> None:
        kind = data.get("model_type")
        if kind is None:
            raise ModelError(
                "the configuration names no model_type",
                where=where,
                why=f"it says which decoder this is: {', '.join(ARCHITECTURES)}",
                do="see to the model's configuration, or get another copy of it",
            )
        if not isinstance(kind, str) or kind not in ARCHITECTURES:
            raise UnsupportedError(
                f"architecture {short(kind)} is not supported",
                where=f"{where}: model_type",
                why=f"supported are {', '.join(ARCHITECTURES)}",
                do="`flightllm check` on an ONNX export says which operators are the obstacle",
            )
        self.kind, self.where = kind, where
        self.data = {**_DEFAULTS[kind], **data}

    def wrong(self, name: str, why: str) -> ModelError:
        """The error about a field."""
        value = self.data.get(name)
        return ModelError(
            f"the configuration has no {name}" if value is None else f"{name} = {short(value)} in the configuration",
            where=self.where,
            why=why,
            do="see to the model's configuration, or get another copy of it",
        )

    def number(self, name: str, default: int | None = None, limit: int = _LIMIT) -> int:
        """A whole number in 1..limit; a missing or null field gives the default."""
        value = self.data.get(name)
        value = default if value is None else value
        if type(value) is not int or not 0 < value <= limit:
            raise self.wrong(name, f"a whole number from 1 to {limit} is needed")
        return value

    def real(self, name: str, default: float) -> float:
        """A finite number that is not negative."""
        value = self.data.get(name)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e300:
            raise self.wrong(name, "a number that is not negative is needed")
        return float(value)

    def flag(self, name: str) -> bool:
        """A truth value; missing or null is false."""
        value = self.data.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "true or false is needed")
        return bool(value)

    def refuse(self, name: str, why: str, allowed: tuple[Any, ...] = (None, False)) -> None:
        """UnsupportedError if a field has a value with an effect that the machine does not have."""
        value = self.data.get(name)
        if value not in allowed:
            raise UnsupportedError(
                f"{name} = {short(value)} is not supported", where=self.where, why=why, do="use another model"
            )

    def act(self, name: str) -> Any:
        """An activation function."""
        value = self.data.get(name)
        if not isinstance(value, str) or value not in ACTS:
            raise UnsupportedError(
                f"activation {short(value)} is not supported",
                where=f"{self.where}: {name}",
                why=f"the machine has {', '.join(sorted(ACTS))}",
                do="exact (erf) GELU could be approximated by its tanh form: set the field to gelu_new to accept that",
            )
        return ACTS[value]

    @property
    def context(self) -> int:
        """Positions the model was made for."""
        return self.number("n_positions" if self.kind == "gpt2" else "max_position_embeddings")

    @property
    def tied(self) -> bool:
        """Whether the output matrix is the embedding table."""
        return self.flag("tie_word_embeddings")


def _windows(c: Config, layers: int) -> tuple[int, ...]:
    """Sliding window of each layer; Llama has none, Mistral one for all, Qwen by `layer_types` or from a layer on."""
    if c.kind == "llama":
        return (0,) * layers
    window = 0 if c.data.get("sliding_window") is None else c.number("sliding_window", limit=1 << 31)
    if c.kind == "mistral":
        return (window,) * layers
    kinds = c.data.get("layer_types")
    if kinds is None:
        first = c.data["max_window_layers"]
        if type(first) is not int:
            raise c.wrong("max_window_layers", "a whole number is needed")
        kinds = ["sliding_attention" if i >= first else "full_attention" for i in range(layers)]
    elif not isinstance(kinds, list) or len(kinds) != layers:
        raise c.wrong("layer_types", f"a list with one name for each of {layers} layers is needed")
    bad = sorted({str(k) for k in kinds} - {"full_attention", "sliding_attention"})
    if bad:
        raise UnsupportedError(
            f"layer types {', '.join(bad[:4])} are not supported",
            where=f"{c.where}: layer_types",
            why="the machine has full_attention and sliding_attention",
            do="use another model",
        )
    if not c.flag("use_sliding_window"):
        return (0,) * layers
    return tuple(window if k == "sliding_attention" else 0 for k in kinds)


def _rope(c: Config, head_dim: int) -> tuple[Any, float]:
    """Frequencies from `rope_scaling` and `rope_theta` (transformers 4) or `rope_parameters` (5)."""
    name = "rope_scaling" if c.data.get("rope_scaling") else "rope_parameters"
    params = c.data.get(name) or {}
    if not isinstance(params, dict):
        raise c.wrong(name, "an object is needed")
    if any(isinstance(v, dict) for v in params.values()):
        raise UnsupportedError(
            "RoPE that differs between layer types is not supported",
            where=f"{c.where}: {name}",
            why="one table of angles serves all layers",
            do="use another model",
        )
    params = {"rope_theta": c.data.get("rope_theta"), **params}
    if c.data.get("original_max_position_embeddings") is not None:
        params["original_max_position_embeddings"] = c.data["original_max_position_embeddings"]
    for part in (c.data, params):
        if part.get("partial_rotary_factor") not in (None, 1):
            raise UnsupportedError(
                f"partial_rotary_factor = {short(part['partial_rotary_factor'])} is not supported",
                where=c.where,
                why=f"architecture {c.kind} rotates whole heads",
                do="export the model to ONNX, where the rotation is spelled out",
            )
    if head_dim % 2:
        raise ModelError(
            f"heads of {head_dim} dimensions cannot be rotated in pairs",
            where=c.where,
            do="see to the model's configuration, or get another copy of it",
        )
    return inverse_frequencies(params, head_dim, c.context, c.where)


def _llama_like(c: Config) -> DecoderSpec:
    dim, heads = c.number("hidden_size"), c.number("num_attention_heads")
    layers = c.number("num_hidden_layers", limit=_LAYERS)
    if c.data.get("head_dim") is None and dim % heads:
        raise ModelError(
            f"hidden_size {dim} does not divide by {heads} heads",
            where=c.where,
            do="see to the model's configuration, or get another copy of it",
        )
    head_dim = c.number("head_dim", dim // heads, _HEAD)
    freq, factor = _rope(c, head_dim)
    biases: set[str] = set()
    if c.kind == "qwen2":
        biases |= set(_QKV)
    elif c.kind in ("llama", "qwen3") and c.flag("attention_bias"):
        biases |= {*_QKV, "attn.o"}
    if c.kind == "llama" and c.flag("mlp_bias"):
        biases |= {"mlp.gate", "mlp.up", "mlp.down"}
    return DecoderSpec(
        dim=dim,
        heads=heads,
        kv_heads=c.number("num_key_value_heads", heads),
        head_dim=head_dim,
        ffn=c.number("intermediate_size"),
        vocab=c.number("vocab_size"),
        layers=layers,
        windows=_windows(c, layers),
        attention_scale=head_dim**-0.5,
        eps=c.real("rms_norm_eps", 1e-6),
        act=c.act("hidden_act"),
        inv_freq=freq,
        rope_factor=factor,
        head_norm=c.kind == "qwen3",
        biases=frozenset(biases),
    )


def _heads(c: Config, dim: int, heads: int) -> int:
    if dim % heads:
        raise ModelError(
            f"dimension {dim} does not divide by {heads} heads",
            where=c.where,
            do="see to the model's configuration, or get another copy of it",
        )
    return dim // heads


def _opt(c: Config) -> DecoderSpec:
    dim, heads = c.number("hidden_size"), c.number("num_attention_heads")
    layers = c.number("num_hidden_layers", limit=_LAYERS)
    c.refuse("word_embed_proj_dim", "embeddings of another size than the layers need extra projections", (None, dim))
    c.refuse("_remove_final_layer_norm", "it changes where norms stand")
    c.refuse("layer_norm_elementwise_affine", "norms without weights are not known here", (True,))
    linears = {*_QKV, "attn.o", "mlp.up", "mlp.down"} if c.flag("enable_bias") else set()
    head_dim = _heads(c, dim, heads)
    return DecoderSpec(
        dim=dim,
        heads=heads,
        kv_heads=heads,
        head_dim=head_dim,
        ffn=c.number("ffn_dim"),
        vocab=c.number("vocab_size"),
        layers=layers,
        windows=(0,) * layers,
        attention_scale=head_dim**-0.5,
        norm="layer",
        act=c.act("activation_function"),
        gated=False,
        pos_offset=2,
        post_norm=not c.flag("do_layer_norm_before"),
        biases=frozenset({*linears, *_LAYER_NORMS}),
    )


def _gpt2(c: Config) -> DecoderSpec:
    dim, heads, layers = c.number("n_embd"), c.number("n_head"), c.number("n_layer", limit=_LAYERS)
    c.refuse("scale_attn_by_inverse_layer_idx", "attention scores would be scaled by layer")
    c.refuse("add_cross_attention", "cross-attention needs an encoder")
    head_dim = _heads(c, dim, heads)
    return DecoderSpec(
        dim=dim,
        heads=heads,
        kv_heads=heads,
        head_dim=head_dim,
        ffn=c.number("n_inner", 4 * dim),
        vocab=c.number("vocab_size"),
        layers=layers,
        windows=(0,) * layers,
        attention_scale=head_dim**-0.5 if c.flag("scale_attn_weights") else 1.0,
        norm="layer",
        eps=c.real("layer_norm_epsilon", 1e-5),
        act=c.act("activation_function"),
        gated=False,
        pos_offset=0,
        biases=frozenset({*_QKV, "attn.o", "mlp.up", "mlp.down", *_LAYER_NORMS}),
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


def read_spec(c: Config) -> DecoderSpec:
    """The spec of a model.

    Raises:
        UnsupportedError: a field asks for something the machine does not have. ModelError: fields are wrong or contradict.
    """
    code = c.data.get("auto_map")
    if isinstance(code, dict) and "AutoModelForCausalLM" in code:
        raise UnsupportedError(
            f"the model is defined by code of its own: {code['AutoModelForCausalLM']}",
            where=f"{c.where}: auto_map",
            why="what that code does differently is not known here",
            do=f"if the code only repeats {c.kind}, remove auto_map from the configuration; else export the model to ONNX",
        )
    spec = ARCHITECTURES[c.kind](c)
    if spec.heads % spec.kv_heads:
        raise ModelError(
            f"{spec.heads} heads do not divide over {spec.kv_heads} kv heads",
            where=c.where,
            do="see to the model's configuration, or get another copy of it",
        )
    return spec
