"""ONNX Runtime GenAI operators: logits against ONNX Runtime, stored grids against its MatMulNBits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from onnx_models import VOCAB, GenAI, runtime_logits

from flightllm.frontends.onnx import check_onnx, load_onnx
from flightllm.frontends.onnx.rope import plain
from flightllm.ir.ops import Linear
from flightllm.ir.reference import evaluate

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "packed qkv, biases": {"packed": True, "bias": True},
    "4 bits": {"bits": 4},
    "4 bits, zero points, blocks of 16": {"bits": 4, "zeros": "packed", "block": 16},
    "4 bits, float zero points": {"bits": 4, "zeros": "float"},
    "8 bits, packed qkv": {"bits": 8, "zeros": "packed", "packed": True, "bias": True},
    "rotary node, interleaved": {"rotary": "node", "interleaved": True, "bias": True},
    "rotary node, half of the head": {"rotary": "node", "rotary_dim": 8},
    "interleaved, packed, 4 bits": {"interleaved": True, "packed": True, "bits": 4},
    "window": {"window": 5},
    "layer norms, gelu": {"norm": "layer"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_are_those_of_onnxruntime(name: str, tmp_path: Path) -> None:
    path = GenAI(**VARIANTS[name]).save(tmp_path / "model.onnx")
    graph = load_onnx(path)
    ids = np.random.default_rng(3).integers(0, VOCAB, 29)
    want = runtime_logits(path, ids)
    np.testing.assert_allclose(evaluate(graph, ids), want, atol=1e-4 * max(1, np.abs(want).max()))
    assert all(row["supported"] for row in check_onnx(path))


def test_window_hides_keys(tmp_path: Path) -> None:
    """local_window_size is the number of visible keys, in ONNX Runtime as here; without it the logits differ."""
    wide, narrow = (GenAI(window=w).save(tmp_path / f"{w}.onnx") for w in (-1, 5))
    ids = np.random.default_rng(3).integers(0, VOCAB, 29)
    assert {n.op.window for n in load_onnx(narrow).attentions()} == {5}
    far = evaluate(load_onnx(wide), ids)
    assert np.abs(far - runtime_logits(narrow, ids)).max() > 1e-2
    np.testing.assert_allclose(far[:5], runtime_logits(narrow, ids)[:5], atol=1e-4)


def test_tables_give_exact_frequencies(tmp_path: Path) -> None:
    """inv_freq recovered from fp32 cos and sin tables is theta ** (-2i / d) to the last bit."""
    path = GenAI(context=2048).save(tmp_path / "model.onnx")
    np.testing.assert_array_equal(load_onnx(path)["layers.0.attn.k_rope"].op.inv_freq, plain(10000.0, 16))


@pytest.mark.parametrize(("bits", "zeros"), [(4, None), (4, "packed"), (8, "packed"), (4, "float")])
def test_grid_is_the_weight(bits: int, zeros: str | None, tmp_path: Path) -> None:
    """Codes, scales and offsets of the stored grid are the dense weight; fused rows keep theirs."""
    path = GenAI(bits=bits, zeros=zeros, packed=True).save(tmp_path / "model.onnx")
    for node in load_onnx(path).linears():
        assert isinstance(node.op, Linear)
        weight = node.op.weight
        assert weight.grid is not None
        assert weight.read_grid is not None
        assert (weight.grid.bits, weight.grid.group) == (bits, 32)
        grid = weight.read_grid()
        assert grid.q.shape == weight.shape
        assert (grid.d >= 0).all()
        assert grid.q.min() >= -(1 << bits - 1)
        assert grid.q.max() < 1 << bits - 1
        np.testing.assert_array_equal(grid.dense(), weight.read())


def test_symmetric_grid_without_zero_points(tmp_path: Path) -> None:
    """Positive scales and no zero points: m is zero and the grid says so."""
    model = GenAI(bits=4)
    for i, tensor in enumerate(model.constants):
        if tensor.name.endswith("_s"):
            data = np.abs(np.frombuffer(tensor.raw_data, np.float32)).tobytes()
            model.constants[i].raw_data = data
    graph = load_onnx(model.save(tmp_path / "model.onnx"))
    weight = graph["layers.0.mlp.down"].op.weight
    assert weight.grid is not None
    assert not weight.grid.affine
    assert not weight.read_grid().m.any()


def test_facts_beside_the_model(tmp_path: Path) -> None:
    path = GenAI().save(tmp_path / "model.onnx")
    graph = load_onnx(path)
    assert (graph.info.arch, graph.info.vocab, graph.info.layers, graph.info.eos) == ("llama", VOCAB, 2, ())
    (tmp_path / "genai_config.json").write_text(
        '{"model": {"type": "phi", "context_length": 77, "bos_token_id": 3, "eos_token_id": [4, 5]}}'
    )
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}')
    info = load_onnx(path).info
    assert (info.arch, info.max_context, info.bos, info.eos) == ("phi", 77, 3, (4, 5))
    assert info.tokenizer_json == '{"version": "1.0"}'
