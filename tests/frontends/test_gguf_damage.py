"""GGUF files that are damaged, incomplete or unsupported: one clear error each, never a traceback."""

import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flightllm.errors import FlightError, ModelError, UnsupportedError
from flightllm.frontends import load_model
from flightllm.frontends.report import check_model
from flightllm.ir.verify import verify_graph

sys.path.insert(0, str(Path(__file__).parent))


def write(path, arch="llama", drop=(), shapes=None, meta=None):
    """A one-layer model; `drop` tensors, change `shapes` or metadata."""
    w = gguf.GGUFWriter(path, arch)
    values = {"block_count": 1, "context_length": 64, "embedding_length": 32, "feed_forward_length": 64}
    values |= {"attention.head_count": 4, "attention.head_count_kv": 2}
    values |= {k: v for k, v in (meta or {}).items() if v is not None}
    for key, value in values.items():
        if (meta or {}).get(key, value) is None:
            continue
        (w.add_string if isinstance(value, str) else w.add_uint32)(f"{arch}.{key}", value)
    w.add_float32(f"{arch}.attention.layer_norm_rms_epsilon", 1e-5)
    tensors = {
        "token_embd.weight": (96, 32),
        "output_norm.weight": (32,),
        "blk.0.attn_norm.weight": (32,),
        "blk.0.ffn_norm.weight": (32,),
        "blk.0.attn_q.weight": (32, 32),
        "blk.0.attn_k.weight": (16, 32),
        "blk.0.attn_v.weight": (16, 32),
        "blk.0.attn_output.weight": (32, 32),
        "blk.0.ffn_gate.weight": (64, 32),
        "blk.0.ffn_up.weight": (64, 32),
        "blk.0.ffn_down.weight": (32, 64),
    } | (shapes or {})
    rng = np.random.default_rng(0)
    for name, shape in tensors.items():
        if name in drop:
            continue
        data = rng.standard_normal(shape).astype(np.float32)
        if len(shape) == 2:
            w.add_tensor(
                name, gguf.quantize(data, gguf.GGMLQuantizationType.Q8_0), raw_dtype=gguf.GGMLQuantizationType.Q8_0
            )
        else:
            w.add_tensor(name, data)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path


def test_a_whole_file_loads(tmp_path):
    graph = load_model(write(tmp_path / "m.gguf"))
    verify_graph(graph)
    assert graph["lm_head"].op.weight.key == graph["embed"].op.table.key  # tied
    assert graph["layers.0.attn.q"].op.weight.grid.bits == 8


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"drop": ("blk.0.ffn_up.weight",)}, ModelError, "no weight for layer 0, mlp.up"),
        ({"drop": ("token_embd.weight",)}, ModelError, "token_embd"),
        ({"shapes": {"blk.0.attn_v.weight": (32, 32)}}, ModelError, r"attn_v.*\[32, 32\].*\[16, 32\]"),
        ({"arch": "mamba"}, UnsupportedError, "architecture 'mamba'"),
        ({"meta": {"attention.head_count_kv": 3}}, ModelError, "heads are inconsistent"),
        ({"meta": {"block_count": "one"}}, ModelError, "block_count"),
        ({"meta": {"embedding_length": None}}, ModelError, "embedding_length"),
        ({"meta": {"rope.scaling.type": "longrope"}}, UnsupportedError, "longrope"),
        ({"meta": {"expert_count": 8}}, UnsupportedError, "mixtures of experts"),
    ],
)
def test_what_is_wrong_is_said(change, kind, text, tmp_path):
    with pytest.raises(kind, match=text):
        verify_graph(load_model(write(tmp_path / "m.gguf", **change)))


def test_check_lists_all_problems(tmp_path):
    path = write(
        tmp_path / "m.gguf",
        drop=("blk.0.ffn_up.weight", "output_norm.weight"),
        shapes={"blk.0.attn_v.weight": (32, 32)},
    )
    report = check_model(path)
    bad = [r for r in report.rows if not r.supported]
    assert len(bad) == 3
    assert not report.supported
    assert "ffn_up" in report.render() or "mlp.up" in report.render()
    assert report.to_json()["supported"] is False
    whole = check_model(write(tmp_path / "w.gguf"))
    assert whole.supported
    assert any("8-bit grid" in r.operator for r in whole.rows)


def test_truncated_and_foreign_files(tmp_path):
    path = write(tmp_path / "m.gguf")
    data = path.read_bytes()
    for cut in (20, 200, len(data) // 2, len(data) - 100):
        path.write_bytes(data[:cut])
        with pytest.raises(ModelError, match=f"truncated or damaged(.|\n)*why: reading its {cut:,} bytes ended in"):
            load_model(path)
    for foreign in (b"", data[:3], b"PK\3\4" + data):
        path.write_bytes(foreign)
        with pytest.raises(ModelError, match="not GGUF(.|\n)*it begins with"):
            load_model(path)
    path.write_bytes(b"GGUF" + b"\xff" * 100)
    with pytest.raises(ModelError):
        load_model(path)


@settings(max_examples=60)
@given(st.data())
def test_flipped_bytes_never_end_in_a_traceback(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("g") / "m.gguf"
    raw = bytearray(write(path).read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, min(len(raw), 1600) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        graph = load_model(path)
        verify_graph(graph)
        for node in graph.linears():
            node.op.weight.read()
    except FlightError:
        pass
