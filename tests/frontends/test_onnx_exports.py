"""Exports of transformers models: every form of one model gives one graph, with the model's weights and logits."""

from __future__ import annotations

import dataclasses
import shutil
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from onnx_models import ARCHS, VOCAB, export, torch_logits, torch_model

from flightllm.frontends.hf import load_hf
from flightllm.frontends.onnx import check_onnx, load_onnx
from flightllm.ir import Graph, Weight
from flightllm.ir.ops import Attention, Norm, PosEmbed, Rope
from flightllm.ir.reference import evaluate

#: (architecture, form, with cache) of a bare test run; the others are slow
FAST = {
    ("llama", "sdpa23", False),
    ("llama", "eager20", True),
    ("mistral", "eager20", False),
    ("mistral", "sdpa23", True),
    ("qwen2", "sdpa23", False),
    ("qwen3", "eager20", False),
    ("opt", "eager20", False),
    ("gpt2", "sdpa23", False),
}
CASES = [
    pytest.param(a, f, c, id=f"{a}-{f}{'-cache' if c else ''}", marks=[] if (a, f, c) in FAST else [pytest.mark.slow])
    for a in ARCHS
    for f in ("sdpa23", "eager20")
    for c in (False, True)
]

_LLAMA = {
    "embed": "model.embed_tokens.weight",
    "attn_norm": "model.layers.{}.input_layernorm.weight",
    "attn.q": "model.layers.{}.self_attn.q_proj.weight",
    "attn.k": "model.layers.{}.self_attn.k_proj.weight",
    "attn.v": "model.layers.{}.self_attn.v_proj.weight",
    "attn.o": "model.layers.{}.self_attn.o_proj.weight",
    "mlp_norm": "model.layers.{}.post_attention_layernorm.weight",
    "mlp.gate": "model.layers.{}.mlp.gate_proj.weight",
    "mlp.up": "model.layers.{}.mlp.up_proj.weight",
    "mlp.down": "model.layers.{}.mlp.down_proj.weight",
    "norm": "model.norm.weight",
    "lm_head": "lm_head.weight",
}
_QWEN3 = _LLAMA | {
    "attn.q_norm": "model.layers.{}.self_attn.q_norm.weight",
    "attn.k_norm": "model.layers.{}.self_attn.k_norm.weight",
}
_OPT = {
    "embed": "model.decoder.embed_tokens.weight",
    "pos_embed": "model.decoder.embed_positions.weight",
    "attn_norm": "model.decoder.layers.{}.self_attn_layer_norm.weight",
    "attn.q": "model.decoder.layers.{}.self_attn.q_proj.weight",
    "attn.k": "model.decoder.layers.{}.self_attn.k_proj.weight",
    "attn.v": "model.decoder.layers.{}.self_attn.v_proj.weight",
    "attn.o": "model.decoder.layers.{}.self_attn.out_proj.weight",
    "mlp_norm": "model.decoder.layers.{}.final_layer_norm.weight",
    "mlp.up": "model.decoder.layers.{}.fc1.weight",
    "mlp.down": "model.decoder.layers.{}.fc2.weight",
    "norm": "model.decoder.final_layer_norm.weight",
    "lm_head": "lm_head.weight",
}
_GPT2 = {
    "embed": "transformer.wte.weight",
    "pos_embed": "transformer.wpe.weight",
    "attn_norm": "transformer.h.{}.ln_1.weight",
    "attn.q": "transformer.h.{}.attn.c_attn.weight#0",
    "attn.k": "transformer.h.{}.attn.c_attn.weight#1",
    "attn.v": "transformer.h.{}.attn.c_attn.weight#2",
    "attn.o": "transformer.h.{}.attn.c_proj.weight#",
    "mlp_norm": "transformer.h.{}.ln_2.weight",
    "mlp.up": "transformer.h.{}.mlp.c_fc.weight#",
    "mlp.down": "transformer.h.{}.mlp.c_proj.weight#",
    "norm": "transformer.ln_f.weight",
    "lm_head": "lm_head.weight",
}
KEYS = {"llama": _LLAMA, "mistral": _LLAMA, "qwen2": _LLAMA, "qwen3": _QWEN3, "opt": _OPT, "gpt2": _GPT2}


def stored(state: dict[str, Any], key: str) -> np.ndarray:
    """A tensor of the checkpoint, [out, in]; `#i` is third i of GPT-2's [in, 3 * out] (or `#` its [in, out])."""
    name, mark, part = key.partition("#")
    data = state[name].float().numpy()
    if not mark:
        return data
    data = data.T if data.ndim == 2 else data
    return np.split(data, 3)[int(part)] if part else data


def weights_of(graph: Graph) -> dict[str, tuple[Weight, Weight | None]]:
    """(weight, bias or beta) by node name."""
    found = {}
    for node in graph:
        main = next((getattr(node.op, f) for f in ("table", "weight", "gamma") if hasattr(node.op, f)), None)
        if main is not None:
            found[node.name] = (main, getattr(node.op, "bias", None) or getattr(node.op, "beta", None))
    return found


def assert_same(a: Graph, b: Graph) -> None:
    """Both graphs have the same nodes, attributes and facts, and the same bytes in every weight."""
    assert [(n.name, n.inputs, n.dim) for n in a] == [(n.name, n.inputs, n.dim) for n in b]
    for x, y in zip(a, b, strict=True):
        assert type(x.op) is type(y.op), x.name
        for field in dataclasses.fields(x.op):
            u, v = getattr(x.op, field.name), getattr(y.op, field.name)
            if isinstance(u, Weight) and isinstance(v, Weight):
                assert (u.shape, u.grid) == (v.shape, v.grid), x.name
                assert u.read().tobytes() == v.read().tobytes(), x.name
            elif isinstance(u, np.ndarray):
                assert u.dtype == v.dtype and u.tobytes() == v.tobytes(), x.name
            else:
                assert u == v, (x.name, field.name)
    facts = ("arch", "vocab", "max_context", "layers", "bos", "eos", "tokenizer_json", "chat_template")
    assert [getattr(a.info, f) for f in facts] == [getattr(b.info, f) for f in facts]


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {}


@pytest.mark.parametrize(("arch", "form", "cache"), CASES)
def test_export_is_the_model(arch: str, form: str, cache: bool, models: dict[str, Any], tmp_path: Any) -> None:
    model = models.setdefault(arch, torch_model(arch))
    path = tmp_path / "model.onnx"
    export(model, path, form, cache=cache)
    graph = load_onnx(path)

    # the checkpoint's weights, bit for bit, under their canonical names
    state, found = model.state_dict(), weights_of(graph)
    expected = {
        (f"layers.{i}.{role}" if "{}" in key else role): key.format(i)
        for i in range(model.config.num_hidden_layers)
        for role, key in KEYS[arch].items()
    }
    assert set(found) == set(expected)
    for name, key in expected.items():
        main, second = found[name]
        want = stored(state, key)
        assert main.shape == want.shape, name
        np.testing.assert_array_equal(main.read(), want, err_msg=name)
        bias = key.replace(".weight", ".bias")
        if bias.partition("#")[0] in state:
            assert second is not None, name
            np.testing.assert_array_equal(second.read(), stored(state, bias), err_msg=name)
        else:
            assert second is None, name

    # attributes
    config = model.config
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", heads)
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    window = getattr(config, "sliding_window", None) or 0
    for node in graph.attentions():
        assert node.op == Attention(heads, kv_heads, size, size**-0.5, window)
    norms = {n.op.eps for n in graph if isinstance(n.op, Norm)}
    assert norms == {getattr(config, "rms_norm_eps", None) or getattr(config, "layer_norm_epsilon", 1e-5)}
    for node in graph:
        if isinstance(node.op, Rope):
            theta = config.rope_parameters["rope_theta"]
            np.testing.assert_array_equal(node.op.inv_freq, theta ** (-np.arange(0, size, 2) / size))
            assert (node.op.heads, node.op.head_dim) == (heads if node.role == "attn.q_rope" else kv_heads, size)
        if isinstance(node.op, PosEmbed):
            assert node.op.offset == (2 if arch == "opt" else 0)
    assert graph.info.arch == arch

    ids = np.random.default_rng(5).integers(0, VOCAB, 23)
    np.testing.assert_allclose(evaluate(graph, ids), torch_logits(model, ids), atol=1e-4)
    assert all(row["supported"] for row in check_onnx(path))

    # the same graph as from the Hugging Face folder of the same model
    folder = tmp_path / "hf"
    model.save_pretrained(folder)
    for name in ("config.json", "generation_config.json"):
        shutil.copy(folder / name, tmp_path / name)
    assert_same(load_onnx(path), load_hf(folder))


def test_large_window_and_half_precision(tmp_path: Any) -> None:
    """A window of 4096 is found without trying 4096 tokens; float16 weights and factors give the same attributes."""
    model = torch_model("mistral", sliding_window=4096, max_position_embeddings=8192).half()
    path = tmp_path / "model.onnx"
    export(model, path, "eager20", cache=True)
    graph = load_onnx(path)
    assert {n.op.window for n in graph.attentions()} == {4096}
    assert {n.op.scale for n in graph.attentions()} == {8**-0.5}
    want = model.state_dict()["model.layers.1.mlp.up_proj.weight"].float().numpy()
    np.testing.assert_array_equal(graph["layers.1.mlp.up"].op.weight.read(), want)


def test_scaled_rotary_keeps_the_files_frequencies(tmp_path: Any) -> None:
    """llama3 scaling is no power of one theta: inv_freq is the file's own fp32."""
    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "original_max_position_embeddings": 16}
    model = torch_model("llama", rope_parameters=rope | {"low_freq_factor": 1.0, "high_freq_factor": 4.0})
    path = tmp_path / "model.onnx"
    export(model, path, "sdpa23")
    found = load_onnx(path)["layers.0.attn.q_rope"].op.inv_freq
    single = model.model.rotary_emb.inv_freq.double().numpy()
    np.testing.assert_array_equal(found, single)

    # with its config.json the exact values come from there
    model.config.save_pretrained(tmp_path)
    exact = load_onnx(path)["layers.0.attn.q_rope"].op.inv_freq
    assert (exact != single).any()
    np.testing.assert_allclose(exact, single, rtol=1e-6)


def test_post_norm_model(tmp_path: Any) -> None:
    """OPT with norms behind the residual sums and no final norm (as OPT-350m)."""
    model = torch_model("opt", do_layer_norm_before=False)
    path = tmp_path / "model.onnx"
    export(model, path, "sdpa23")
    graph = load_onnx(path)
    assert graph["layers.0.attn_norm"].inputs == ("layers.0.attn_add",)
    assert graph["lm_head"].inputs == ("layers.1.mlp_norm",)
    ids = np.random.default_rng(6).integers(0, VOCAB, 17)
    np.testing.assert_allclose(evaluate(graph, ids), torch_logits(model, ids), atol=1e-4)


def test_external_data_is_mapped_not_read(tmp_path: Any) -> None:
    """A model with its weights in a second file: the same graph, weights read from that file on demand."""
    model = torch_model("llama")
    path = tmp_path / "model.onnx"
    export(model, path, "sdpa23", external=True)
    data = tmp_path / "model.onnx.data"
    assert data.is_file()
    graph = load_onnx(path)
    weight = graph["layers.1.mlp.down"].op.weight
    want = model.state_dict()["model.layers.1.mlp.down_proj.weight"].numpy()
    np.testing.assert_array_equal(weight.read(), want)
    content = bytearray(data.read_bytes())
    at = bytes(content).find(np.ascontiguousarray(want.T).tobytes())
    assert at >= 0
    content[at : at + 4] = np.float32(123).tobytes()
    data.write_bytes(content)
    assert weight.read()[0, 0] == 123
