"""Hugging Face folders: right values, and a clear error for everything that is wrong."""

import json
import struct

import numpy as np
import pytest
import torch
from hf_models import CONFIGS, logits, save
from hypothesis import given, settings
from hypothesis import strategies as st
from packages import build, feed

from flightllm.errors import FlightError, ModelError, UnsupportedError
from flightllm.executors.functional import FunctionalDevice
from flightllm.frontends import load_model
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
    device.load(build(load_model(tmp_path / "m"), tmp_path / "p.flpkg", max_context=128))
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
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, UnsupportedError, "bitsandbytes"),
        ({"layer_types": ["full_attention", "chunked_attention"]}, UnsupportedError, "chunked_attention"),
    ],
)
def test_wrong_configurations_are_explained(changes, kind, text, folder, tmp_path):
    target = copy(folder, tmp_path)
    edit(target / "config.json", **changes)
    with pytest.raises(kind, match=text):
        verify_graph(load_model(target))


def test_missing_and_damaged_files_are_explained(folder, tmp_path):
    target = copy(folder, tmp_path)
    weights = target / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="truncated"):
        load_model(target)
    weights.write_bytes(data[:5])
    with pytest.raises(ModelError, match="truncated"):
        load_model(target)
    weights.unlink()
    with pytest.raises(ModelError, match="no weights"):
        load_model(target)
    (target / "config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
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
