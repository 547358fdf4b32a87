"""Hugging Face folders: config.json and safetensors. transformers is not needed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from flightllm.errors import ModelError, UnsupportedError
from flightllm.frontends.decoder import DecoderSpec, build_decoder
from flightllm.frontends.gptq_awq import quantised_weights
from flightllm.frontends.hf_config import Config, read_spec
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


#: tensors that some checkpoints carry without an effect: tables that follow from the configuration, GPTQ's trivial order
_WITHOUT_EFFECT = re.compile(r"(rotary_emb\.inv_freq|attn\.(masked_)?bias|\.g_idx)$")


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
    config = Config(read_json(path), str(path))
    spec = read_spec(config)
    info = _info(folder, config, spec)
    if synthetic is not None:
        info.extra["synthetic"] = synthetic
        return build_decoder(spec, synthetic_source(spec, synthetic, config.tied, info.max_context), info)
    source = _Source(SafeTensors(folder), config, spec)
    graph = build_decoder(spec, source, info, problems)
    error = None if problems else source.leftovers()
    if error is not None:
        if problems is None:
            raise error
        problems.append(error)
    return graph


class _Source:
    """Weights by role from a checkpoint; `used`: names of the tensors given out."""

    def __init__(self, files: SafeTensors, config: Config, spec: DecoderSpec) -> None:
        self.files, self.spec, self.config = files, spec, config
        self.used: set[str] = set()
        self.kind = config.kind
        self.layers, self.inside, self.outside = _NAMES.get(self.kind, _DEFAULT_NAMES)
        embed = self.outside["embed"] + ".weight"
        self.prefix = next((p for p in _PREFIXES if p + embed in files), None)
        if self.prefix is None:
            raise ModelError(
                f"the model has no tensor {embed}",
                where=str(files.folder),
                why=f"{len(files.entries)} tensors, none of that name under {', '.join(map(repr, _PREFIXES))}",
                do="the checkpoint is incomplete, or keeps its weights under other names; convert it with transformers' save_pretrained",
            )
        self.quantised = quantised_weights(files, config.data)
        if self.quantised is not None and self.kind == "gpt2":
            raise UnsupportedError(
                "GPTQ and AWQ checkpoints of gpt2 are not supported",
                where=f"{config.where}: quantization_config",
                why="their packed q, k and v share one matrix in transposed form",
                do="use the checkpoint in floating point",
            )

    def __call__(self, role: str, layer: int | None) -> Weight | None:
        base, kind = (role[:-5], "bias") if role.endswith(".bias") else (role, "weight")
        if base == "lm_head":
            return self("embed", None) if self.config.tied else self._linear("lm_head", kind)
        name = self.outside.get(base) if layer is None else self.inside.get(base)
        if name is None:
            return None
        if layer is None:
            return self._plain(f"{self.prefix}{name}.{kind}")
        module = f"{self.prefix}{self.layers}.{layer}.{name}"
        if self.kind == "gpt2" and base in ("attn.q", "attn.k", "attn.v"):
            return self._third(f"{module}.{kind}", "qkv".index(base[-1]))
        conv = self.kind == "gpt2" and base in ("attn.o", "mlp.up", "mlp.down") and kind == "weight"
        return self._linear(module, kind, transpose=conv)

    def _linear(self, module: str, kind: str, transpose: bool = False) -> Weight | None:
        if kind == "weight" and self.quantised is not None:
            weight = self.quantised(module)
            if weight is not None:
                self.used |= {f"{module}.{part}" for part in ("qweight", "qzeros", "scales")}
                return weight
        return self._plain(f"{module}.{kind}", transpose=transpose)

    def leftovers(self) -> ModelError | None:
        """What is wrong with tensors that no operator took: they would change the result of a model that knows them."""
        left = sorted(n for n in self.files.entries if n not in self.used and not _WITHOUT_EFFECT.search(n))
        if self.config.tied:
            left = [n for n in left if n != "lm_head.weight"]
        left = [n for n in left if not (n.endswith(".bias") and self.files.entry(n).size < 1 << 20 and self._zero(n))]
        if not left:
            return None
        names = ", ".join(left[:4]) + (f" and {len(left) - 4} more" if len(left) > 4 else "")
        return UnsupportedError(
            f"the model has tensors that its configuration does not account for: {names}",
            where=str(self.files.folder),
            why=f"architecture {self.kind} with {self.spec.layers} layers and these settings has no use for them",
            do="configuration and weights belong to different models, or to an architecture that is not known here",
        )

    def _zero(self, name: str) -> bool:
        """Packers of GPTQ checkpoints write biases of zero for linears that have none."""
        return not self.files.read(name).any()

    def _plain(self, name: str, transpose: bool = False) -> Weight | None:
        if name not in self.files:
            return None
        e = self.files.entry(name)
        self.used.add(name)
        shape = e.shape[::-1] if transpose else e.shape

        def read() -> np.ndarray:
            data = self.files.read(name)
            return np.ascontiguousarray(data.T) if transpose else data

        return Weight(name, shape, read, str(e.path), key=f"{e.path}:{name}")

    def _third(self, name: str, part: int) -> Weight | None:
        """q, k or v of GPT-2's fused Conv1D, whose matrix is [in, 3 * out]."""
        if name not in self.files:
            return None
        e = self.files.entry(name)
        self.used.add(name)
        n = self.spec.dim
        if not e.shape or e.shape[-1] != 3 * n:
            raise ModelError(
                f"tensor {name} has shape {list(e.shape)}",
                where=str(e.path),
                why=f"3 x {n} columns are needed",
                do="configuration and weights belong to different models, or a file is damaged",
            )
        cut = slice(part * n, (part + 1) * n)

        def read() -> np.ndarray:
            return np.ascontiguousarray(self.files.read(name)[..., cut].T)

        return Weight(f"{name}[{'qkv'[part]}]", (n, *e.shape[:-1]), read, str(e.path), key=f"{e.path}:{name}:{part}")


def _info(folder: Path, config: Config, spec: DecoderSpec) -> ModelInfo:
    generation = folder / "generation_config.json"
    extra = read_json(generation) if generation.is_file() else {}
    bos, eos = (config.data.get(k) if extra.get(k) is None else extra[k] for k in ("bos_token_id", "eos_token_id"))
    ends = eos if isinstance(eos, list) else [eos]
    return ModelInfo(
        arch=config.kind,
        vocab=spec.vocab,
        max_context=config.context,
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
        raise ModelError(
            f"{path.name} cannot be read",
            where=str(path),
            why=str(error),
            do="see to its permissions, or get another copy of the file",
        ) from None


def _chat_template(folder: Path) -> str:
    text = _text(folder / "chat_template.jinja")
    config = folder / "tokenizer_config.json"
    if text or not config.is_file():
        return text
    template = read_json(config).get("chat_template")
    if isinstance(template, list):  # several named templates
        template = next((t.get("template") for t in template if isinstance(t, dict) and t.get("name") == "default"), "")
    return template if isinstance(template, str) else ""
