"""Hugging Face folders: config.json and safetensors. transformers is not needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from flightllm.errors import ModelError
from flightllm.frontends.decoder import DecoderSpec, build_decoder
from flightllm.frontends.gptq_awq import quantised_weights
from flightllm.frontends.hf_config import read_spec
from flightllm.frontends.safetensors_reader import SafeTensors, read_json
from flightllm.frontends.synthetic import synthetic_source
from flightllm.ir.graph import Graph, ModelInfo
from flightllm.ir.weights import Weight

_LLAMA = {
    "attn_norm": "input_layernorm",
    "attn.q": "self_attn.q_proj",
    "attn.k": "self_attn.k_proj",
    "attn.v": "self_attn.v_proj",
    "attn.o": "self_attn.o_proj",
    "attn.q_norm": "self_attn.q_norm",
    "attn.k_norm": "self_attn.k_norm",
    "mlp_norm": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}
_OPT = {
    "attn_norm": "self_attn_layer_norm",
    "attn.q": "self_attn.q_proj",
    "attn.k": "self_attn.k_proj",
    "attn.v": "self_attn.v_proj",
    "attn.o": "self_attn.out_proj",
    "mlp_norm": "final_layer_norm",
    "mlp.up": "fc1",
    "mlp.down": "fc2",
}
_GPT2 = {
    "attn_norm": "ln_1",
    "attn.q": "attn.c_attn",
    "attn.k": "attn.c_attn",
    "attn.v": "attn.c_attn",
    "attn.o": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp.up": "mlp.c_fc",
    "mlp.down": "mlp.c_proj",
}
#: model_type -> (prefix of layers, names in a layer, names outside)
_NAMES: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "opt": (
        "decoder.layers",
        _OPT,
        {"embed": "decoder.embed_tokens", "pos_embed": "decoder.embed_positions", "norm": "decoder.final_layer_norm"},
    ),
    "gpt2": ("h", _GPT2, {"embed": "wte", "pos_embed": "wpe", "norm": "ln_f"}),
}
_DEFAULT_NAMES = ("layers", _LLAMA, {"embed": "embed_tokens", "norm": "norm"})
#: prefixes under which checkpoints keep the decoder
_PREFIXES = ("", "model.", "transformer.")


def load_hf(folder: Path, synthetic: int | None = None, problems: list[ModelError] | None = None) -> Graph:
    """The graph of a model folder; with `synthetic`, made-up weights of that seed in the shapes of config.json.

    problems: as in `build_decoder`.

    Raises:
        ModelError, UnsupportedError: as their texts say.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(
            "the folder has no config.json", where=str(folder), do="give the folder of a Hugging Face model"
        )
    config = read_json(path)
    spec = read_spec(config, str(path))
    info = _info(folder, config, spec)
    if synthetic is not None:
        return build_decoder(spec, synthetic_source(spec, synthetic, tied(config), info.max_context), info)
    files = SafeTensors(folder)
    return build_decoder(spec, _Source(files, config, spec), info, problems)


def tied(config: dict[str, Any]) -> bool:
    """Whether the output matrix is the embedding table (the default differs by architecture)."""
    value = config.get("tie_word_embeddings")
    return value if isinstance(value, bool) else config.get("model_type") in ("opt", "gpt2")


class _Source:
    """Weights by role from a checkpoint."""

    def __init__(self, files: SafeTensors, config: dict[str, Any], spec: DecoderSpec) -> None:
        self.files, self.spec = files, spec
        self.kind = config["model_type"]
        self.layers, self.inside, self.outside = _NAMES.get(self.kind, _DEFAULT_NAMES)
        self.tied = tied(config)
        embed = self.outside["embed"] + ".weight"
        self.prefix = next((p for p in _PREFIXES if p + embed in files), None)
        if self.prefix is None:
            raise ModelError(
                f"the model has no tensor {embed}",
                where=str(files.folder),
                why=f"{len(files.entries)} tensors, none of that name under {', '.join(map(repr, _PREFIXES))}",
            )
        self.quantised = quantised_weights(files, config)

    def __call__(self, role: str, layer: int | None) -> Weight | None:
        base, kind = (role[:-5], "bias") if role.endswith(".bias") else (role, "weight")
        if role == "lm_head" and (self.tied or "lm_head.weight" not in self.files):
            if not self.tied:
                return None
            return self("embed", None)
        if base == "lm_head":
            return self._plain(f"lm_head.{kind}")
        name = self.outside.get(base) if layer is None else self.inside.get(base)
        if name is None:
            return None
        module = f"{self.prefix}{name}" if layer is None else f"{self.prefix}{self.layers}.{layer}.{name}"
        if self.kind == "gpt2" and layer is not None and base in ("attn.q", "attn.k", "attn.v"):
            return self._third(f"{module}.{kind}", "qkv".index(base[-1]))
        if kind == "weight" and self.quantised is not None:
            weight = self.quantised(module)
            if weight is not None:
                return weight
        conv = (
            self.kind == "gpt2" and layer is not None and base in ("attn.o", "mlp.up", "mlp.down") and kind == "weight"
        )
        return self._plain(f"{module}.{kind}", transpose=conv)

    def _plain(self, name: str, transpose: bool = False) -> Weight | None:
        if name not in self.files:
            return None
        e = self.files.entries[name]
        shape = e.shape[::-1] if transpose else e.shape

        def read() -> np.ndarray:
            data = self.files.read(name)
            return np.ascontiguousarray(data.T) if transpose else data

        return Weight(name, shape, read, str(e.path), key=f"{e.path}:{name}")

    def _third(self, name: str, part: int) -> Weight | None:
        """q, k or v of GPT-2's fused Conv1D, whose matrix is [in, 3 * out]."""
        if name not in self.files:
            return None
        e = self.files.entries[name]
        n = self.spec.dim
        if e.shape[-1] != 3 * n:
            raise ModelError(
                f"tensor {name} has shape {list(e.shape)}", where=str(e.path), why=f"3 x {n} columns are needed"
            )
        cut = slice(part * n, (part + 1) * n)

        def read() -> np.ndarray:
            return np.ascontiguousarray(self.files.read(name)[..., cut].T)

        return Weight(f"{name}[{'qkv'[part]}]", (n, *e.shape[:-1]), read, str(e.path), key=f"{e.path}:{name}:{part}")


def _info(folder: Path, config: dict[str, Any], spec: DecoderSpec) -> ModelInfo:
    generation = folder / "generation_config.json"
    extra = read_json(generation) if generation.is_file() else {}
    context = config.get("max_position_embeddings") or config.get("n_positions") or config.get("n_ctx") or 2048
    if type(context) is not int or not 0 < context < 1 << 24:
        raise ModelError(f"max_position_embeddings = {context!r}", where=str(folder / "config.json"))
    bos, eos = (extra.get(k, config.get(k)) for k in ("bos_token_id", "eos_token_id"))
    ends = eos if isinstance(eos, list) else [eos]
    return ModelInfo(
        arch=config["model_type"],
        vocab=spec.vocab,
        max_context=context,
        layers=spec.layers,
        bos=bos if type(bos) is int and 0 <= bos < spec.vocab else None,
        eos=tuple(e for e in ends if type(e) is int and 0 <= e < spec.vocab),
        tokenizer_json=_text(folder / "tokenizer.json"),
        chat_template=_chat_template(folder),
        source=str(folder),
    )


def _text(path: Path) -> str:
    if not path.is_file():
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ModelError(f"{path.name} cannot be read", where=str(path), why=str(error)) from None


def _chat_template(folder: Path) -> str:
    text = _text(folder / "chat_template.jinja")
    config = folder / "tokenizer_config.json"
    if text or not config.is_file():
        return text
    template = read_json(config).get("chat_template")
    if isinstance(template, list):  # several named templates
        template = next((t.get("template") for t in template if isinstance(t, dict) and t.get("name") == "default"), "")
    return template if isinstance(template, str) else ""
