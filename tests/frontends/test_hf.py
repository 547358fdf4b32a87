"""Hugging Face folders: right values, and a clear error for everything that is wrong."""

import json
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from hf_models import CONFIGS, SMALL, logits, save
from hypothesis import given, settings
from hypothesis import strategies as st
from packages import build, feed
from safetensors.numpy import load_file, save_file
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from flightllm.errors import FlightError, ModelError, UnsupportedError
from flightllm.executors.functional import FunctionalDevice
from flightllm.frontends import load_model, model_kind
from flightllm.frontends.report import check_model
from flightllm.ir.reference import Cache, evaluate
from flightllm.ir.verify import verify_graph

IDS = np.random.default_rng(5).integers(3, 96, 60).tolist()


@pytest.mark.parametrize("name", CONFIGS)
def test_graph_agrees_with_torch(name, tmp_path):
    """The graph in fp32 gives torch's logits to 1e-4, in one go and token by token."""
    model = save(name, tmp_path)
    graph = load_model(tmp_path)
    verify_graph(graph)
    want = logits(model, IDS).numpy()
    got = evaluate(graph, IDS)
    assert np.abs(want).max() > 1  # logits of a size that makes the bound mean something
    assert np.abs(got - want).max() < 1e-4
    cache = Cache()
    steps = np.concatenate([evaluate(graph, IDS[a:b], cache=cache) for a, b in ((0, 7), (7, 8), (8, 60))])
    assert np.abs(steps - want).max() < 1e-4


@pytest.mark.parametrize("name", CONFIGS)
def test_compiled_model_agrees_with_torch(name, tmp_path):
    """The whole way: package, functional executor with 8-bit weights, activations and cache, against torch."""
    model = save(name, tmp_path / "m")
    device = FunctionalDevice()
    device.load(build(load_model(tmp_path / "m"), tmp_path / "p.flpkg", max_context=100))
    got = feed(device, IDS, [32, 28])
    want = logits(model, IDS).numpy()
    assert np.corrcoef(got.ravel(), want.ravel())[0, 1] > 0.998
    assert np.abs(got - want).max() < 0.08 * np.abs(want).max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_sharded_files_and_other_types(dtype, tmp_path):
    model = save("llama", tmp_path, shard="30KB", dtype=dtype)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert np.abs(evaluate(load_model(tmp_path), IDS) - logits(model, IDS).numpy()).max() < 1e-4


def test_rope_in_the_old_style_of_config(tmp_path):
    model = save("llama-linear", tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config.pop("rope_parameters")
    config |= {"rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 4.0}}
    path.write_text(json.dumps(config))
    assert np.abs(evaluate(load_model(tmp_path), IDS) - logits(model, IDS).numpy()).max() < 1e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("hf")
    save("qwen2", path)
    return path


def copy(folder, tmp_path):
    target = tmp_path / "m"
    target.mkdir()
    for f in folder.iterdir():
        (target / f.name).write_bytes(f.read_bytes())
    return target


def edit(path, **changes):
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, **changes}))


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"model_type": "bloom"}, UnsupportedError, "architecture 'bloom'"),
        ({"hidden_act": "gelu"}, UnsupportedError, "activation 'gelu'"),
        ({"hidden_size": "x"}, ModelError, "hidden_size"),
        ({"hidden_size": 64}, ModelError, "shape"),
        ({"num_hidden_layers": 3, "layer_types": None}, ModelError, "layer 2"),
        ({"num_hidden_layers": 3}, ModelError, "layer_types"),
        ({"num_key_value_heads": 3}, ModelError, "divide"),
        ({"vocab_size": 97}, ModelError, "shape"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, UnsupportedError, "rope type 'dynamic'"),
        ({"rope_parameters": {"rope_type": "llama3"}}, ModelError, "RoPE"),
        ({"rope_parameters": {"rope_type": "longrope"}}, UnsupportedError, "rope type 'longrope'"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1.0}}}, UnsupportedError, "differs between layer types"),
        ({"rope_parameters": None, "rope_theta": 0}, ModelError, "rope_theta = 0"),
        ({"partial_rotary_factor": 0.5}, UnsupportedError, "partial_rotary_factor"),
        ({"auto_map": {"AutoModelForCausalLM": "m.Mine"}}, UnsupportedError, "code of its own: m.Mine"),
        ({"tie_word_embeddings": 1}, ModelError, "tie_word_embeddings"),
        ({"num_hidden_layers": 10**9}, ModelError, "num_hidden_layers"),
        ({"quantization_config": "gptq"}, ModelError, "an object is needed"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, UnsupportedError, "bitsandbytes"),
        ({"layer_types": ["full_attention", "chunked_attention"]}, UnsupportedError, "chunked_attention"),
    ],
)
def test_wrong_configurations_are_explained(changes, kind, text, folder, tmp_path):
    target = copy(folder, tmp_path)
    edit(target / "config.json", **changes)
    with pytest.raises(kind, match=text):
        verify_graph(load_model(target))


@pytest.mark.parametrize(
    ("name", "changes", "text"),
    [
        ("opt", {"word_embed_proj_dim": 32}, "word_embed_proj_dim = 32"),
        ("opt", {"layer_norm_elementwise_affine": False}, "layer_norm_elementwise_affine"),
        ("opt", {"_remove_final_layer_norm": True}, "_remove_final_layer_norm"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("gpt2", {"n_head": 5}, "48 does not divide by 5"),
        ("gpt2", {"n_head": 100}, "48 does not divide by 100"),
        ("gpt2", {"n_positions": 128}, r"wpe.*\[256, 48\].*\[128, 48\]"),
        ("llama", {"attention_bias": True}, "no weight for layer 0, attn.q.bias"),
        ("qwen3", {"head_dim": 25}, "25"),
        ("gpt2", {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32}}, "gpt2"),
    ],
)
def test_settings_of_other_architectures_are_explained(name, changes, text, tmp_path):
    save(name, tmp_path)
    edit(tmp_path / "config.json", **changes)
    with pytest.raises(ModelError, match=text):
        load_model(tmp_path)


def test_missing_and_damaged_files_are_explained(folder, tmp_path):
    target = copy(folder, tmp_path)
    weights = target / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="truncated(.|\\n)*do: get another copy"):
        load_model(target)
    weights.write_bytes(data[:5])
    with pytest.raises(ModelError, match="truncated"):
        load_model(target)
    weights.unlink()
    with pytest.raises(ModelError, match="no weights"):
        load_model(target)
    (target / "config.json").write_text("{")
    with pytest.raises(ModelError, match="config.json is not JSON"):
        load_model(target)
    with pytest.raises(ModelError, match="no such model"):
        load_model(tmp_path / "nothing")


def test_not_a_number_is_found_when_weights_are_read(folder, tmp_path):
    target = copy(folder, tmp_path)
    path = target / "model.safetensors"
    data = bytearray(path.read_bytes())
    length = struct.unpack("<Q", data[:8])[0]
    entry = json.loads(data[8 : 8 + length])["model.layers.1.mlp.up_proj.weight"]
    data[8 + length + entry["data_offsets"][0] :][:4] = b""
    at = 8 + length + entry["data_offsets"][0]
    data[at : at + 4] = struct.pack("<f", float("nan"))
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"up_proj.*NaN"):
        build(load_model(target), tmp_path / "p.flpkg")
    assert not (tmp_path / "p.flpkg").exists()
    assert not list(tmp_path.glob(".p*"))


def rewrite(path, change):
    """Apply `change` to {name: tensor} of a safetensors file."""
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "opt", "gpt2"])
def test_every_tensor_is_needed(name, tmp_path):
    """Without any one tensor of a layer or of the rest, the error names its place."""
    save(name, tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    for missing in [n for n in tensors if ".1." not in n]:  # one of the two layers will do
        save_file({n: t for n, t in tensors.items() if n != missing}, path)
        with pytest.raises(ModelError, match="has no (weight|tensor)"):
            load_model(tmp_path)


def test_shapes_that_disagree_are_both_named(folder, tmp_path):
    target = copy(folder, tmp_path)
    name = "model.layers.1.mlp.up_proj.weight"
    rewrite(target / "model.safetensors", lambda t: t.update({name: np.zeros((80, 47), np.float32)}))
    with pytest.raises(ModelError, match=rf"{name} has shape \[80, 47\].*\[80, 48\]"):
        load_model(target)


def test_types_that_are_no_weights_are_named(folder, tmp_path):
    target = copy(folder, tmp_path)
    name = "model.layers.0.mlp.up_proj.weight"
    rewrite(target / "model.safetensors", lambda t: t.update({name: np.zeros((80, 48), np.int8)}))
    with pytest.raises(UnsupportedError, match=f"{name} has type I8"):
        load_model(target)
    weights = target / "model.safetensors"
    weights.write_bytes(weights.read_bytes().replace(b'"I8"', b'"F9"'))
    with pytest.raises(UnsupportedError, match="has type F9"):
        load_model(target)


def test_tensors_that_no_operator_takes_are_refused(folder, tmp_path):
    target = copy(folder, tmp_path)
    path = target / "model.safetensors"
    harmless = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(6, np.float32),
        "model.layers.0.mlp.up_proj.bias": np.zeros(80, np.float32),
    }
    rewrite(path, lambda t: t.update(harmless))
    graph = load_model(target)
    assert graph["layers.0.mlp.up"].op.bias is None
    rewrite(path, lambda t: t.update({"model.layers.0.mlp.up_proj.bias": np.full(80, 0.1, np.float32)}))
    with pytest.raises(UnsupportedError, match=r"does not account for: model\.layers\.0\.mlp\.up_proj\.bias"):
        load_model(target)


def test_missing_and_strange_shards_are_explained(tmp_path):
    save("llama", tmp_path, shard="30KB")
    index = tmp_path / "model.safetensors.index.json"
    text = index.read_text()
    shard = sorted(tmp_path.glob("*.safetensors"))[1]
    shard.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=f"shard {shard.name} is missing"):
        load_model(tmp_path)
    for name in ("../elsewhere", "x" * 3000, "a\0b", ""):
        index.write_text(text.replace(json.dumps(shard.name), json.dumps(name)))
        with pytest.raises(ModelError, match="is missing"):
            load_model(tmp_path)
    index.write_text('{"weight_map": ["a"]}')
    with pytest.raises(ModelError, match="no weight_map"):
        load_model(tmp_path)


BASE = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
}


@pytest.mark.parametrize(
    ("config", "windows"),
    [
        ({"model_type": "llama", "sliding_window": 16}, (0, 0, 0)),
        ({"model_type": "mistral", "sliding_window": 16}, (16, 16, 16)),
        ({"model_type": "mistral", "sliding_window": None}, (0, 0, 0)),
        ({"model_type": "mistral"}, (4096, 4096, 4096)),
        ({"model_type": "qwen2", "sliding_window": 16, "max_window_layers": 1}, (0, 0, 0)),
        (
            {"model_type": "qwen2", "sliding_window": 16, "max_window_layers": 1, "use_sliding_window": True},
            (0, 16, 16),
        ),
        ({"model_type": "qwen2", "sliding_window": 16, "use_sliding_window": True}, (0, 0, 0)),
        (
            {"model_type": "qwen2", "sliding_window": None, "max_window_layers": 0, "use_sliding_window": True},
            (0, 0, 0),
        ),
        (
            {
                "model_type": "qwen3",
                "sliding_window": 16,
                "use_sliding_window": True,
                "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            },
            (16, 0, 16),
        ),
        ({"model_type": "qwen3", "sliding_window": 16, "layer_types": ["sliding_attention"] * 3}, (0, 0, 0)),
    ],
)
def test_windows_are_those_of_transformers(config, windows, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**BASE, **config}))
    graph = load_model(tmp_path, synthetic=0)
    assert tuple(n.op.window for n in graph.attentions()) == windows
    theirs = transformers.AutoConfig.from_pretrained(tmp_path)
    if config["model_type"] == "mistral":
        assert (theirs.sliding_window or 0,) * 3 == windows
    elif config["model_type"] != "llama":
        kinds = zip(theirs.layer_types, windows, strict=True)
        assert all((theirs.sliding_window or 0 if k == "sliding_attention" else 0) == w for k, w in kinds)


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_theta": 5e5},
        {"rope_scaling": {"type": "yarn", "factor": 4.0}, "rope_theta": 5e5},
        {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.5}, "max_position_embeddings": 512},
        {"rope_parameters": {"rope_type": "linear", "factor": 3.0}, "rope_theta": 777.0},
        {"rope_parameters": {"rope_theta": 777.0, "rope_type": "default"}},
        {
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
            "rope_theta": 5e5,
            "max_position_embeddings": 131072,
        },
        {},
    ],
)
def test_frequencies_are_those_of_transformers(rope, tmp_path):
    config = {"model_type": "llama", **BASE, "head_dim": 128, **rope}
    (tmp_path / "config.json").write_text(json.dumps(config))
    mine = load_model(tmp_path, synthetic=0)["layers.0.attn.q_rope"].op
    theirs = LlamaRotaryEmbedding(transformers.AutoConfig.from_pretrained(tmp_path))
    assert np.allclose(mine.inv_freq, theirs.inv_freq.numpy(), rtol=3e-6, atol=0)
    assert mine.attention_factor == pytest.approx(theirs.attention_scaling)


def test_facts_beside_the_weights(folder, tmp_path):
    target = copy(folder, tmp_path)
    (target / "generation_config.json").write_text('{"eos_token_id": [2, 7], "bos_token_id": null}')
    (target / "tokenizer.json").write_text('{"model": "é"}', encoding="utf-8")
    templates = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]
    (target / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}))
    info = load_model(target).info
    assert (info.arch, info.vocab, info.max_context, info.layers) == ("qwen2", 96, 256, 2)
    assert (info.bos, info.eos) == (1, (2, 7))
    assert info.tokenizer_json == '{"model": "é"}'
    assert info.chat_template == "yes"
    (target / "chat_template.jinja").write_text("{{ messages }}")
    assert load_model(target).info.chat_template == "{{ messages }}"
    (target / "tokenizer.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match=r"tokenizer\.json cannot be read"):
        load_model(target)


def test_tied_embeddings_share_their_key(tmp_path):
    save("llama-tied-bias", tmp_path / "tied")
    save("llama", tmp_path / "untied")
    tied, untied = (load_model(tmp_path / n) for n in ("tied", "untied"))
    assert tied["embed"].op.table.key == tied["lm_head"].op.weight.key
    assert untied["embed"].op.table.key != untied["lm_head"].op.weight.key
    keys = [n.op.weight.key for n in untied.linears()]
    assert len(set(keys)) == len(keys)


def test_loading_reads_no_weights_and_needs_no_torch(folder):
    """In a process of its own: nothing of torch or transformers is imported, and no tensor is mapped."""
    code = """
import sys, numpy as np
np.memmap = None
from flightllm.frontends import load_model, model_kind
assert len(load_model(sys.argv[1])) > 20
assert not {"torch", "transformers", "onnx", "gguf"} & set(sys.modules), sorted(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_kind_of_a_model_is_found(folder, tmp_path):
    assert model_kind(folder) == ("hf", folder)
    assert model_kind(folder / "config.json") == ("hf", folder)
    (tmp_path / "blob").write_bytes(b"GGUF....")
    assert model_kind(tmp_path / "blob") == ("gguf", tmp_path / "blob")
    (tmp_path / "a.onnx").write_bytes(b"")
    assert model_kind(tmp_path) == ("onnx", tmp_path / "a.onnx")
    (tmp_path / "b.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match="several models"):
        model_kind(tmp_path)
    (tmp_path / "c.txt").write_text("hello")
    with pytest.raises(ModelError, match="not a model"):
        load_model(tmp_path / "c.txt")


ODD = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([0, -1, 1, 2**31, 2**63, 10**30, 1e300, -0.5, float("inf"), float("nan")]),
        st.text(max_size=5),
        st.sampled_from(["default", "yarn", "linear", "llama3", "sliding_attention", "gptq", "awq", "silu"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "rope_type",
                    "type",
                    "factor",
                    "rope_theta",
                    "quant_method",
                    "bits",
                    "group_size",
                    "beta_fast",
                    "mscale",
                ]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=6,
)
FIELDS = sorted(
    {
        *(f for name in ("llama", "qwen2-window", "opt", "gpt2") for f in CONFIGS[name].to_dict()),
        *("rope_scaling", "rope_theta", "partial_rotary_factor", "quantization_config", "auto_map", "model_type"),
        "original_max_position_embeddings",
    }
)


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(["llama", "mistral", "qwen2", "qwen3", "opt", "gpt2"]),
    changes=st.dictionaries(st.sampled_from(FIELDS), ODD, min_size=1, max_size=3),
    synthetic=st.booleans(),
)
def test_odd_fields_never_end_in_a_traceback(folder, kind, changes, synthetic):
    """Any JSON value in any field, with made-up weights and with real ones that may not fit."""
    path = folder / "config.json"
    old = path.read_text()
    base = {**BASE, "ffn_dim": 80, "n_embd": 48, "n_head": 4, "n_layer": 2, "model_type": kind}
    try:
        path.write_text(json.dumps({**base, **changes}))
        graph = load_model(folder, synthetic=3 if synthetic else None)
        verify_graph(graph)
        assert all(np.isfinite(n.op.scale) for n in graph.attentions())
    except FlightError as error:
        assert len(error.render()) < 2000
    finally:
        path.write_text(old)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_odd_headers_never_end_in_a_traceback(folder, data):
    """Any JSON value in any part of a safetensors header, or in place of it."""
    path = folder / "model.safetensors"
    old = path.read_bytes()
    length = int.from_bytes(old[:8], "little")
    header = json.loads(old[8 : 8 + length])
    odd = data.draw(
        st.one_of(ODD, st.sampled_from([[0, 2**70], [-4, 0], [2**62, 2**62], [0, 4], "F32", "BF16", "I32"]))
    )
    name = data.draw(st.sampled_from([*list(header)[:6], "__metadata__"]))
    part = data.draw(st.sampled_from(["dtype", "shape", "data_offsets", None]))
    if part and isinstance(header.get(name), dict):
        header[name][part] = odd
    else:
        header[name] = odd
    raw = json.dumps(odd if data.draw(st.integers(0, 9)) == 0 else header).encode()
    try:
        path.write_bytes(len(raw).to_bytes(8, "little") + raw + old[8 + length :])
        graph = load_model(folder)
        verify_graph(graph)
        for node in graph.linears():
            node.op.weight.read()
    except FlightError as error:
        assert len(error.render()) < 2000
    finally:
        path.write_bytes(old)


@settings(max_examples=40)
@given(st.data())
def test_damaged_bytes_never_end_in_a_traceback(folder, data):
    """Flip or cut bytes of the configuration or the header."""
    name = data.draw(st.sampled_from(["config.json", "model.safetensors"]))
    path = folder / name
    old = path.read_bytes()
    raw = bytearray(old)
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw)))]
    for _ in range(data.draw(st.integers(0, 4))):
        if raw:
            raw[data.draw(st.integers(0, min(len(raw), 3000) - 1))] = data.draw(st.integers(0, 255))
    try:
        path.write_bytes(raw)
        graph = load_model(folder)
        verify_graph(graph)
        for node in graph.linears():
            node.op.weight.read()
    except FlightError:
        pass
    finally:
        path.write_bytes(old)


def test_heads_too_long_for_the_matrix_unit_are_a_row_of_the_check(tmp_path, monkeypatch):
    monkeypatch.setitem(CONFIGS, "long heads", transformers.LlamaConfig(**SMALL, head_dim=272))
    save("long heads", tmp_path)
    (row,) = [r for r in check_model(tmp_path).rows if not r.supported]
    assert "heads of 272" in row.operator and row.where == "layers.0.attn.core" and "256" in row.why
