"""Every weight type that GGUF knows: what `check` says is what `compile` does."""

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from packages import build

from flightllm.errors import UnsupportedError
from flightllm.frontends import load_model
from flightllm.frontends.gguf_grids import SPECS
from flightllm.frontends.report import check_model

DIM, FFN, VOCAB = 256, 512, 64
FLOATS = ("F32", "F16", "BF16")
#: without a reader in the gguf package 0.19; one more or less with another version is no error of ours
UNREADABLE = ("Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64", "Q1_0")
SHAPES = {
    "attn_q": (DIM, DIM),
    "attn_k": (DIM // 2, DIM),
    "attn_v": (DIM // 2, DIM),
    "attn_output": (DIM, DIM),
    "ffn_gate": (FFN, DIM),
    "ffn_up": (FFN, DIM),
    "ffn_down": (DIM, FFN),
}
NUMBERS = {"F32": np.float32, "F16": np.float16, "F64": np.float64} | {
    f"I{n}": np.dtype(f"i{n // 8}").type for n in (8, 16, 32, 64)
}


def stored(kind, shape, rng):
    """Tensor data of a type: quantised if the gguf package can, otherwise bytes whose scales are small numbers in any layout."""
    if kind.name in NUMBERS:
        return (rng.standard_normal(shape) * 0.05).astype(NUMBERS[kind.name])
    try:
        return gguf.quantize(rng.standard_normal(shape).astype(np.float32) * 0.05, kind)
    except NotImplementedError:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        return rng.integers(0, 0x40, (shape[0], shape[1] // block * size), dtype=np.uint8)


def write(path, kind):
    """A one-layer Llama whose matrices are all of one type."""
    rng = np.random.default_rng(0)
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(1)
    w.add_context_length(128)
    w.add_embedding_length(DIM)
    w.add_feed_forward_length(FFN)
    w.add_head_count(4)
    w.add_head_count_kv(2)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_tensor("token_embd.weight", (rng.standard_normal((VOCAB, DIM)) * 0.05).astype(np.float32))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        w.add_tensor(f"{name}.weight", np.ones(DIM, np.float32))
    for name, shape in SHAPES.items():
        w.add_tensor(f"blk.0.{name}.weight", stored(kind, shape, rng), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path


@pytest.mark.parametrize("kind", Type, ids=lambda kind: kind.name)
def test_check_says_what_compile_does(kind, tmp_path):
    path = write(tmp_path / "m.gguf", kind)
    report = check_model(path)
    if not report.supported:
        assert f"tensor blk.0.ffn_down.weight has type {kind.name}" in report.render()
        with pytest.raises(UnsupportedError, match=f"has type {kind.name}"):
            load_model(path)
        assert kind.name in UNREADABLE
        return
    build(load_model(path), tmp_path / "p.flpkg")
    (down,) = [r.operator for r in report.rows if "mlp.down" in r.where]
    if kind.name in FLOATS:
        assert down == f"Linear [{DIM}, {FFN}]"
    elif kind.name in SPECS:
        assert down.endswith("-bit grid in groups of 32, kept as it is")
    else:
        assert down.endswith(f"stored as {kind.name}, coded again at 8 bits, group 128")


def test_compile_notes_what_check_said(tmp_path):
    from flightllm.compiler import compile_model

    path = write(tmp_path / "m.gguf", Type.Q6_K)
    report = compile_model(path, board="tiny", output=tmp_path / "p.flpkg")
    (note,) = [n for n in report.notes if n.startswith("layers.0.mlp.down")]
    assert note.endswith("stored as Q6_K, which the machine does not have: coded again at 8 bits, group 128")
    (coded,) = [c for c in report.coded if c.name == "layers.0.mlp.down"]
    assert (coded.formats, coded.group, coded.stored) == ({"8b": 1.0}, 128, False)


def test_check_says_that_it_reads_no_values(tmp_path):
    report = check_model(write(tmp_path / "m.gguf", Type.F32))
    assert "NaN and infinity are found by compile" in report.render()
    assert "NaN" in report.to_json()["note"]
