"""GGUF files: architectures llama (and mistral, which comes as llama) and qwen2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from flightllm.errors import ModelError, UnsupportedError
from flightllm.frontends.decoder import DecoderSpec, build_decoder
from flightllm.frontends.gguf_grids import FLOATS, SPECS, dequantise, read_grid, readable
from flightllm.frontends.gguf_tokenizer import tokenizer_json
from flightllm.frontends.rope import inverse_frequencies
from flightllm.ir.graph import Graph, ModelInfo
from flightllm.ir.weights import Weight

ARCHITECTURES = ("llama", "qwen2")

_OUTSIDE = {"embed": "token_embd", "norm": "output_norm", "lm_head": "output"}
_INSIDE = {
    "attn_norm": "attn_norm",
    "attn.q": "attn_q",
    "attn.k": "attn_k",
    "attn.v": "attn_v",
    "attn.o": "attn_output",
    "mlp_norm": "ffn_norm",
    "mlp.gate": "ffn_gate",
    "mlp.up": "ffn_up",
    "mlp.down": "ffn_down",
}


class GgufFile:
    """Metadata and tensors of a file, memory-mapped. ModelError if it is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                head = file.read(4)
        except OSError as error:
            raise ModelError(
                "the file cannot be read", where=str(path), why=str(error), do="see to the path and its permissions"
            ) from None
        if head != b"GGUF":
            raise ModelError(
                "the file is not GGUF",
                where=str(path),
                why=f"it begins with {head!r}, not with b'GGUF'",
                do="get another copy of the file",
            )
        try:
            reader = gguf.GGUFReader(path)
            self.tensors = {t.name: t for t in reader.tensors}
            self.fields = {name: field.contents() for name, field in reader.fields.items()}
        # The reader indexes into the file with whatever numbers it finds there: a damaged file fails in any way at all.
        except Exception as error:
            raise ModelError(
                "the file is truncated or damaged",
                where=str(path),
                why=f"reading its {path.stat().st_size:,} bytes ended in {type(error).__name__}: {error}"[:200],
                do="get another copy of the file",
            ) from None

    def number(self, key: str, default: int | None = None) -> int:
        """A positive whole number of the metadata."""
        value = self.fields.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 31:
            raise ModelError(
                f"metadata {key} = {value!r}",
                where=str(self.path),
                why="a positive whole number is needed",
                do="the file is damaged or was converted with another tool's keys; get another copy, or convert it again",
            )
        return value

    def real(self, key: str, default: float | None = None) -> float:
        """A finite number of the metadata."""
        value = self.fields.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise ModelError(
                f"metadata {key} = {value!r}",
                where=str(self.path),
                why="a number is needed",
                do="the file is damaged or was converted with another tool's keys; get another copy, or convert it again",
            )
        return float(value)

    def text(self, key: str) -> str:
        """A text of the metadata, "" if there is none."""
        value = self.fields.get(key)
        return value if isinstance(value, str) else ""

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, rows first."""
        return tuple(int(n) for n in reversed(self.tensors[name].shape))

    def weight(self, name: str, index: np.ndarray | None = None) -> Weight | None:
        """A tensor as a weight, with its rows in the order of `index`; None if the file has none of that name.

        UnsupportedError if it is of a type that cannot be read.
        """
        t = self.tensors.get(name)
        if t is None:
            return None
        shape, kind = self.shape(name), t.tensor_type
        if index is not None and len(index) != shape[0]:
            raise ModelError(
                f"tensor {name} has shape {list(shape)}",
                where=str(self.path),
                why=f"{len(index)} rows are needed",
                do="get another copy of the file",
            )

        if not readable(kind):
            raise UnsupportedError(
                f"tensor {name} has type {kind.name}",
                where=str(self.path),
                why="the gguf package cannot dequantise it",
                do="convert the model to another type",
            )

        def read() -> np.ndarray:
            return np.ascontiguousarray(dequantise(t.data, kind, index)).reshape(shape)

        key = f"{self.path}:{name}"
        if kind.name in SPECS and len(shape) == 2:
            return Weight(
                name,
                shape,
                read,
                str(self.path),
                SPECS[kind.name],
                lambda: read_grid(kind.name, t.data, index),
                key,
            )
        stored = "" if kind.name in FLOATS else kind.name
        return Weight(name, shape, read, str(self.path), key=key, stored=stored)


def load_gguf(path: Path, problems: list[ModelError] | None = None) -> Graph:
    """The graph of a GGUF file; `problems` as in `build_decoder`.

    Raises:
        ModelError: damaged, incomplete or inconsistent. UnsupportedError: architecture or feature the machine lacks.
    """
    file = GgufFile(path)
    arch = file.text("general.architecture")
    if arch not in ARCHITECTURES:
        raise UnsupportedError(
            f"GGUF architecture {arch!r} is not supported",
            where=str(path),
            why=f"supported are {', '.join(ARCHITECTURES)}",
            do="use the model's Hugging Face folder or an ONNX export, if its architecture is supported there",
        )
    if file.fields.get("split.count", 1) not in (0, 1):
        raise UnsupportedError(
            "the model is split into several files", where=str(path), do="merge them with gguf-split --merge"
        )
    spec = _spec(file, arch)
    return build_decoder(spec, _source(file, arch, spec), _info(file, arch, spec), problems)


def _spec(file: GgufFile, arch: str) -> DecoderSpec:
    def key(name: str) -> str:
        return f"{arch}.{name}"

    if file.fields.get(key("expert_count"), 0):
        raise UnsupportedError(
            "mixtures of experts are not supported", where=f"{file.path}: {key('expert_count')}", do="use a dense model"
        )
    dim, heads = file.number(key("embedding_length")), file.number(key("attention.head_count"))
    head_dim = file.number(key("attention.key_length"), max(1, dim // heads))
    rotary = file.number(key("rope.dimension_count"), head_dim)
    layers = file.number(key("block_count"))
    if "token_embd.weight" not in file.tensors:
        raise ModelError("the model has no tensor token_embd.weight", where=str(file.path), do="the file is incomplete")
    vocab = file.shape("token_embd.weight")[0]
    kv_heads = file.number(key("attention.head_count_kv"), heads)
    if heads % kv_heads or head_dim % 2 or rotary % 2 or rotary > head_dim:
        raise ModelError(
            "the heads are inconsistent",
            where=str(file.path),
            why=f"{heads} heads, {kv_heads} kv heads of {head_dim}, {rotary} rotated",
            do="get another copy of the file",
        )
    freq, factor = _frequencies(file, arch, rotary)
    window = file.fields.get(key("attention.sliding_window"), 0)
    return DecoderSpec(
        dim=dim,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn=file.number(key("feed_forward_length")),
        vocab=vocab,
        layers=layers,
        windows=(window if isinstance(window, int) and window > 0 else 0,) * layers,
        attention_scale=head_dim**-0.5,
        # The file holds the epsilon as fp32; the shortest decimal that rounds to it is what the model was made with.
        eps=float(str(np.float32(file.real(key("attention.layer_norm_rms_epsilon"))))),
        inv_freq=freq,
        rope_factor=factor,
    )


def _frequencies(file: GgufFile, arch: str, rotary: int) -> tuple[np.ndarray, float]:
    kind = file.text(f"{arch}.rope.scaling.type") or "none"
    theta = float(str(np.float32(file.real(f"{arch}.rope.freq_base", 10000.0))))
    params: dict[str, Any] = {"rope_theta": theta, "rope_type": "default"}
    if kind == "linear":
        params |= {"rope_type": "linear", "factor": file.real(f"{arch}.rope.scaling.factor")}
    elif kind == "yarn":
        params |= {"rope_type": "yarn", "factor": file.real(f"{arch}.rope.scaling.factor")}
        original = file.fields.get(f"{arch}.rope.scaling.original_context_length")
        params |= {"original_max_position_embeddings": original} if original else {}
    elif kind != "none":
        params["rope_type"] = kind
    freq, factor = inverse_frequencies(params, rotary, file.number(f"{arch}.context_length", 2048), str(file.path))
    factors = file.weight("rope_freqs.weight")
    if factors is not None:  # llama3's scaling, as divisors of each frequency
        if factors.shape != freq.shape:
            raise ModelError(
                f"rope_freqs.weight has shape {list(factors.shape)}",
                where=str(file.path),
                do="get another copy of the file",
            )
        freq = freq / factors.read().astype(np.float64)
    return freq, factor


def _source(file: GgufFile, arch: str, spec: DecoderSpec) -> Any:
    def interleaved(heads: int) -> np.ndarray:
        """File row of each row: the llama converter stores the two halves of a head interleaved."""
        rows = np.arange(heads * spec.head_dim).reshape(heads, spec.head_dim // 2, 2)
        return rows.transpose(0, 2, 1).reshape(-1)

    def source(role: str, layer: int | None) -> Weight | None:
        base, kind = (role[:-5], "bias") if role.endswith(".bias") else (role, "weight")
        name = _OUTSIDE.get(base) if layer is None else _INSIDE.get(base)
        if name is None:
            return None
        full = f"{name}.{kind}" if layer is None else f"blk.{layer}.{name}.{kind}"
        if full == "output.weight" and full not in file.tensors:
            full = "token_embd.weight"  # tied
        index = None
        if arch == "llama" and base in ("attn.q", "attn.k"):
            index = interleaved(spec.heads if base == "attn.q" else spec.kv_heads)
        return file.weight(full, index)

    return source


def _info(file: GgufFile, arch: str, spec: DecoderSpec) -> ModelInfo:
    def token(name: str) -> int | None:
        value = file.fields.get(f"tokenizer.ggml.{name}")
        return value if type(value) is int and 0 <= value < spec.vocab else None

    ends = [token(n) for n in ("eos_token_id", "eot_token_id")]
    return ModelInfo(
        arch=arch,
        vocab=spec.vocab,
        max_context=file.number(f"{arch}.context_length", 2048),
        layers=spec.layers,
        bos=token("bos_token_id"),
        eos=tuple(dict.fromkeys(e for e in ends if e is not None)),
        tokenizer_json=tokenizer_json(file.fields, str(file.path)),
        chat_template=file.text("tokenizer.chat_template"),
        source=str(file.path),
    )
