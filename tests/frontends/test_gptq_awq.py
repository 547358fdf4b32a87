"""GPTQ and AWQ checkpoints keep their grid: packed here by the formats' own rules, read back exactly."""

import json

import numpy as np
import pytest
from hf_models import save
from safetensors.numpy import load_file, save_file

from flightllm.errors import ModelError, UnsupportedError
from flightllm.frontends import load_model
from flightllm.frontends.gptq_awq import AWQ_ORDER

K, GROUP = 64, 32


def pack(values, bits):
    """[n, rows] -> int32 [n * bits / 32, rows]: value i occupies bits i * b .. of its column, across words."""
    n, rows = values.shape
    stream = ((values[:, None, :] >> np.arange(bits)[:, None]) & 1).reshape(n * bits, rows)
    words = stream.reshape(-1, 32, rows).astype(np.uint64) << np.arange(32, dtype=np.uint64)[:, None]
    return words.sum(axis=1).astype(np.uint32).view(np.int32)


def pack_awq(values):
    """[n, rows] -> int32 [n, rows / 8]."""
    parts = values.reshape(len(values), -1, 8)[..., list(AWQ_ORDER)].astype(np.uint32)
    return (parts << (4 * np.arange(8, dtype=np.uint32))).sum(axis=-1, dtype=np.uint32).view(np.int32)


def checkpoint(folder, method, bits, version="gptq", group=GROUP, order=None):
    """Replace the linears of a small model by packed random ones; returns {tensor: dense weight}."""
    save("llama", folder)
    config = json.loads((folder / "config.json").read_text())
    settings = {"quant_method": method, "bits": bits, "group_size": group, "checkpoint_format": version}
    config |= {"hidden_size": K, "intermediate_size": 128, "head_dim": 16, "quantization_config": settings}
    (folder / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(bits)
    shapes = {
        "q": (64, 64),
        "k": (32, 64),
        "v": (32, 64),
        "o": (64, 64),
        "gate": (128, 64),
        "up": (128, 64),
        "down": (64, 128),
    }
    tensors, dense = {}, {}
    for name in load_file(folder / "model.safetensors"):
        if name.endswith("embed_tokens.weight") or name.startswith("lm_head"):
            tensors[name] = rng.standard_normal((96, K)).astype(np.float32)
        elif "norm" in name:
            tensors[name] = np.ones(K, np.float32)
        else:
            module = name[: -len(".weight")]
            rows, k = shapes[module.rsplit(".", 1)[1].split("_")[0]]
            size = k if group == -1 else group
            q = rng.integers(0, 1 << bits, (k, rows))
            zero = rng.integers(1, 1 << bits, (k // size, rows))
            scale = rng.uniform(0.01, 0.03, (k // size, rows)).astype(np.float16)
            dense[name] = ((q - np.repeat(zero, size, 0)) * np.repeat(scale.astype(np.float32), size, 0)).T
            if method == "gptq":
                tensors[f"{module}.qweight"] = pack(q, bits)
                tensors[f"{module}.qzeros"] = pack((zero - (version == "gptq")).T, bits).T
                tensors[f"{module}.g_idx"] = (
                    (np.arange(k) // size).astype(np.int32) if order is None else order(k, size)
                )
            else:
                tensors[f"{module}.qweight"], tensors[f"{module}.qzeros"] = pack_awq(q), pack_awq(zero)
            tensors[f"{module}.scales"] = scale
    save_file({n: np.ascontiguousarray(t) for n, t in tensors.items()}, folder / "model.safetensors")
    return dense


@pytest.mark.parametrize(
    ("method", "bits", "version", "group"),
    [
        ("gptq", 4, "gptq", 32),
        ("gptq", 4, "gptq_v2", 32),
        ("gptq", 2, "gptq", 32),
        ("gptq", 3, "gptq", 32),
        ("gptq", 8, "gptq", 32),
        ("gptq", 4, "gptq", 64),
        ("gptq", 4, "gptq", -1),
        ("awq", 4, "", 32),
    ],
)
def test_grids_are_read_exactly(method, bits, version, group, tmp_path):
    dense = checkpoint(tmp_path, method, bits, version, group)
    graph = load_model(tmp_path)
    seen = 0
    for node in graph.linears():
        weight = node.op.weight
        if weight.grid is None:
            continue
        grid = weight.read_grid()
        assert (grid.d >= 0).all()
        assert grid.q.min() >= -(1 << (bits - 1))
        assert grid.q.max() < 1 << (bits - 1)
        want = dense[weight.name.replace("qweight", "weight")]
        assert np.allclose(grid.dense(), want, rtol=0, atol=1e-6)
        assert np.array_equal(weight.read(), grid.dense())
        seen += 1
    assert seen == 14


def test_activation_order_is_refused(tmp_path):
    checkpoint(
        tmp_path, "gptq", 4, order=lambda k, size: np.random.default_rng(0).integers(0, k // size, k).astype(np.int32)
    )
    with pytest.raises(UnsupportedError, match="activation order"):
        load_model(tmp_path)


def test_inconsistent_and_missing_parts_are_explained(tmp_path):
    checkpoint(tmp_path, "gptq", 4)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"]["group_size"] = 64
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match="packed shapes disagree"):
        load_model(tmp_path)
    config["quantization_config"]["group_size"] = 48
    path.write_text(json.dumps(config))
    with pytest.raises(UnsupportedError, match="groups of 48"):
        load_model(tmp_path)
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 32}
    path.write_text(json.dumps(config))
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.layers.0.self_attn.q_proj.scales"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"no tensor .*scales"):
        load_model(tmp_path)
