"""Facts beside an .onnx file: config.json, generation_config.json, genai_config.json, tokenizer.json, chat template."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flightllm.errors import ModelError, UnsupportedError
from flightllm.frontends.onnx.rope import Angles
from flightllm.frontends.rope import inverse_frequencies
from flightllm.ir.graph import Graph, ModelInfo
from flightllm.ir.ops import Linear, Norm, PosEmbed

#: positions of a model whose files do not say how many it was made for
DEFAULT_CONTEXT = 2048


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            "file beside the model cannot be read", where=str(path), why=str(error), do="get the file again"
        ) from None
    return data if isinstance(data, dict) else {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except (OSError, ValueError) as error:
        raise ModelError(
            "file beside the model cannot be read", where=str(path), why=str(error), do="get the file again"
        ) from None


def _ids(value: Any) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(v for v in values if isinstance(v, int) and not isinstance(v, bool))


def _finder(path: Path) -> Callable[[str], Path]:
    """name -> path beside the model; in an `onnx/` folder also in the folder above."""
    folders = [path.parent, path.parent.parent] if path.parent.name == "onnx" else [path.parent]
    return lambda name: next((f / name for f in folders if (f / name).is_file()), folders[0] / name)


def read_angles(path: Path) -> Angles | None:
    """Rotary frequencies by the config.json beside `path`; None if there is none or it says nothing of them."""
    config = _json(_finder(path)("config.json"))
    params = config.get("rope_parameters") or {
        "rope_theta": config.get("rope_theta"),
        **(config.get("rope_scaling") or {}),
    }
    heads, dim = config.get("num_attention_heads"), config.get("hidden_size")
    if not isinstance(params, dict) or not params.get("rope_theta") or not heads or not dim:
        return None
    size = int((config.get("head_dim") or dim // heads) * config.get("partial_rotary_factor", 1.0))
    try:
        return Angles(*inverse_frequencies(params, size, config.get("max_position_embeddings") or 0, str(path)))
    except (UnsupportedError, KeyError, TypeError, ValueError):
        return None  # the frequencies in the graph itself are used


def read_info(path: Path) -> ModelInfo:
    """What the files beside `path` say; layers and vocab 0, arch "" and max_context 0 where they say nothing.

    generation_config.json goes before config.json for token ids, genai_config.json before both. In an `onnx/` folder the files
    of the folder above count too.
    """
    find = _finder(path)
    config = _json(find("config.json"))
    genai = _json(find("genai_config.json")).get("model", {})
    generation = _json(find("generation_config.json"))
    tokens = {**config, **generation, **(genai if isinstance(genai, dict) else {})}
    genai = genai if isinstance(genai, dict) else {}
    context = genai.get("context_length") or config.get("max_position_embeddings") or config.get("n_positions") or 0
    template = _json(find("tokenizer_config.json")).get("chat_template", "")
    if isinstance(template, list):  # several named templates
        named = {t.get("name"): t.get("template", "") for t in template if isinstance(t, dict)}
        template = named.get("default", "")
    bos = _ids(tokens.get("bos_token_id"))
    return ModelInfo(
        arch=str(config.get("model_type") or genai.get("type") or ""),
        vocab=0,
        max_context=context if isinstance(context, int) else 0,
        layers=0,
        bos=bos[0] if bos else None,
        eos=_ids(tokens.get("eos_token_id")),
        tokenizer_json=_text(find("tokenizer.json")),
        chat_template=_text(find("chat_template.jinja")) or (template if isinstance(template, str) else ""),
        source=str(path),
    )


def complete(info: ModelInfo, graph: Graph) -> None:
    """Fill what no file said: the architecture by its operators, the context by the position table, else `DEFAULT_CONTEXT`.

    Token ids outside the vocabulary are dropped.
    """
    info.bos = info.bos if info.bos is not None and 0 <= info.bos < info.vocab else None
    info.eos = tuple(e for e in info.eos if 0 <= e < info.vocab)
    place = graph["pos_embed"].op if "pos_embed" in graph else None
    if isinstance(place, PosEmbed):
        rows = place.table.shape[0] - place.offset
        info.max_context = min(info.max_context or rows, rows)
    info.max_context = info.max_context or DEFAULT_CONTEXT
    if not info.arch:
        info.arch = _guess(graph)


def _guess(graph: Graph) -> str:
    if "pos_embed" in graph:
        place = graph["pos_embed"].op
        return "opt" if isinstance(place, PosEmbed) and place.offset == 2 else "gpt2"
    attentions = graph.attentions()
    if any(isinstance(n.op, Norm) and n.role == "attn.q_norm" for n in graph):
        return "qwen3"
    first = graph["layers.0.attn.q"].op if "layers.0.attn.q" in graph else None
    if isinstance(first, Linear) and first.bias is not None:
        return "qwen2"
    return "mistral" if any(getattr(a.op, "window", 0) for a in attentions) else "llama"
