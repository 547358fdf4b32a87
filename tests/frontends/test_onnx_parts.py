"""Parts of the ONNX frontend on graphs of a few nodes: spelled-out norms and activations, masks, frequencies."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from flightllm.errors import UnsupportedError
from flightllm.frontends.onnx.constants import Constants
from flightllm.frontends.onnx.evaluate import NodeRunner
from flightllm.frontends.onnx.flow import Flow
from flightllm.frontends.onnx.interpret import READERS
from flightllm.frontends.onnx.masks import window_of
from flightllm.frontends.onnx.match import Matcher
from flightllm.frontends.onnx.pointwise import find_activation, find_norm
from flightllm.frontends.onnx.reader import OnnxFile
from flightllm.frontends.onnx.rope import Angles, from_table, plain, snap
from flightllm.frontends.onnx.run import Run, main_probe
from flightllm.frontends.onnx.weights import unpack


class Sketch:
    """A graph under construction: embedding table [11, 8] looked up with input_ids gives `x`."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        rng = np.random.default_rng(0)
        self.c("table", rng.standard_normal((11, 8)).astype(np.float32))
        self.n("Gather", "table", "input_ids", out="x")

    def c(self, name: str, data: object) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(data), name))
        return name

    def f(self, value: float) -> str:
        return self.c(f"f{len(self.constants)}", np.float32(value))

    def i(self, *values: int) -> str:
        return self.c(f"i{len(self.constants)}", np.array(values, np.int64))

    def n(self, kind: str, *inputs: str, out: str = "", **attributes: object) -> str:
        name = out or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def open(self, folder: Path, output: str) -> SimpleNamespace:
        self.n("Identity", output, out="logits")
        inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "seq"])]
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "g", inputs, outputs, self.constants)
        path = folder / "g.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), str(path))
        file = OnnxFile(path)
        flow = Flow(file)
        constants = Constants(file, flow, NodeRunner(file))
        matcher = Matcher(file, flow, constants, {})
        return SimpleNamespace(
            constants=constants, run=Run(matcher, constants.runner, READERS, None, main_probe(file, flow)), file=file
        )


def _tokens(s: Sketch) -> str:
    return s.n("Gather", s.n("Shape", "input_ids"), s.c("one", np.int64(1)))


def _grid(s: Sketch) -> tuple[str, str]:
    """(query, key) positions as [T, 1] and [1, T]."""
    positions = s.n("Range", s.c("zero", np.int64(0)), _tokens(s), s.c("step", np.int64(1)))
    return s.n("Unsqueeze", positions, s.i(1)), s.n("Unsqueeze", positions, s.i(0))


# -- spelled-out expressions ------------------------------------------------------------------------------------------------


def _rms_pow(s: Sketch) -> str:
    mean = s.n("ReduceMean", s.n("Pow", "x", s.f(2)), s.i(-1))
    root = s.n("Reciprocal", s.n("Sqrt", s.n("Add", mean, s.f(1e-6))))
    return s.n("Mul", s.c("g", np.linspace(1, 2, 8, dtype=np.float32)), s.n("Mul", "x", root))


def _rms_div(s: Sketch) -> str:
    mean = s.n("ReduceMean", s.n("Mul", "x", "x"), s.i(-1))
    root = s.n("Sqrt", s.n("Add", s.f(1e-6), mean))
    return s.n("Mul", s.n("Div", "x", root), s.c("g", np.zeros(8, np.float32)))


def _rms_sum(s: Sketch) -> str:
    total = s.n("ReduceSum", s.n("Mul", "x", "x"), s.i(-1))
    root = s.n("Pow", s.n("Add", s.n("Div", total, s.f(8)), s.f(1e-6)), s.f(-0.5))
    return s.n("Mul", s.n("Mul", "x", root), s.c("g", np.ones(8, np.float32)))


@pytest.mark.parametrize("spelling", [_rms_pow, _rms_div, _rms_sum])
def test_rms_norm_in_any_spelling(spelling: object, tmp_path: Path) -> None:
    s = Sketch()
    found = find_norm(s.open(tmp_path, out := spelling(s)).constants, out)  # type: ignore[operator]
    assert found is not None
    assert (found.kind, found.gamma, found.beta, found.eps, found.cone.source) == ("rms", "g", "", 1e-6, "x")


def test_layer_norm_spelled_out(tmp_path: Path) -> None:
    s = Sketch()
    c = s.n("Sub", "x", s.n("ReduceMean", "x", s.i(-1)))
    root = s.n("Sqrt", s.n("Add", s.n("ReduceMean", s.n("Pow", c, s.f(2)), s.i(-1)), s.f(1e-5)))
    scaled = s.n("Mul", s.n("Div", c, root), s.c("g", np.linspace(1, 2, 8, dtype=np.float32)))
    out = s.n("Add", s.c("b", np.linspace(0, 1, 8, dtype=np.float32)), scaled)
    found = find_norm(s.open(tmp_path, out).constants, out)
    assert found is not None
    assert (found.kind, found.gamma, found.beta, found.eps, found.cone.source) == ("layer", "g", "b", 1e-5, "x")


def test_norm_over_another_axis_is_none(tmp_path: Path) -> None:
    s = Sketch()
    mean = s.n("ReduceMean", s.n("Pow", "x", s.f(2)), s.i(1))
    root = s.n("Reciprocal", s.n("Sqrt", s.n("Add", mean, s.f(1e-6))))
    out = s.n("Mul", s.c("g", np.ones(8, np.float32)), s.n("Mul", "x", root))
    assert find_norm(s.open(tmp_path, out).constants, out) is None


def _gelu(s: Sketch, inner: float = 0.044715) -> str:
    cube = s.n("Mul", "x", s.n("Mul", "x", "x"))
    t = s.n("Tanh", s.n("Mul", s.f((2 / np.pi) ** 0.5), s.n("Add", "x", s.n("Mul", s.f(inner), cube))))
    return s.n("Mul", s.n("Mul", s.f(0.5), "x"), s.n("Add", s.f(1), t))


def _erf(s: Sketch) -> str:
    e = s.n("Erf", s.n("Div", "x", s.f(2**0.5)))
    return s.n("Mul", s.n("Mul", "x", s.n("Add", e, s.f(1))), s.f(0.5))


def _silu(s: Sketch) -> str:
    return s.n("Div", "x", s.n("Add", s.f(1), s.n("Exp", s.n("Neg", "x"))))


@pytest.mark.parametrize(
    ("spelling", "kind"),
    [(_gelu, "gelu_tanh"), (_erf, "gelu_erf"), (_silu, "silu"), (lambda s: s.n("Max", "x", s.f(0)), "relu")],
)
def test_activation_in_any_spelling(spelling: object, kind: str, tmp_path: Path) -> None:
    s = Sketch()
    found = find_activation(s.open(tmp_path, out := spelling(s)).constants, out)  # type: ignore[operator]
    assert found is not None
    assert (found.kind, found.cone.source) == (kind, "x")


def test_almost_a_gelu_is_none(tmp_path: Path) -> None:
    s = Sketch()
    out = _gelu(s, 0.05)
    assert find_activation(s.open(tmp_path, out).constants, out) is None


# -- masks ------------------------------------------------------------------------------------------------------------------


def _window(s: Sketch, rule: str, size: int) -> str:
    q, k = _grid(s)
    near = {
        "key > query - w": lambda: s.n("Greater", k, s.n("Sub", q, s.i(size))),
        "query - key < w": lambda: s.n("Less", s.n("Sub", q, k), s.i(size)),
        "query - key <= w": lambda: s.n("LessOrEqual", s.n("Sub", q, k), s.i(size)),
        "query + -w < key": lambda: s.n("Less", s.n("Add", q, s.i(-size)), k),
    }[rule]()
    return s.n("And", near, s.n("LessOrEqual", k, q))


@pytest.mark.parametrize("size", [1, 5, 20, 24, 26, 100, 4096])
@pytest.mark.parametrize("rule", ["key > query - w", "query - key < w", "query - key <= w", "query + -w < key"])
def test_window_is_measured(rule: str, size: int, tmp_path: Path) -> None:
    s = Sketch()
    mask = _window(s, rule, size)
    run = s.open(tmp_path, "x").run
    assert window_of(run, [(mask, "keep")], False, "") == size + (rule == "query - key <= w")


def test_added_causal_mask(tmp_path: Path) -> None:
    s = Sketch()
    q, k = _grid(s)
    mask = s.n("Where", s.n("LessOrEqual", k, q), s.f(0), s.f(float(np.finfo(np.float32).min)))
    run = s.open(tmp_path, "x").run
    assert window_of(run, [(mask, "add")], False, "") == 0


def test_mask_that_hides_instead_of_keeping(tmp_path: Path) -> None:
    s = Sketch()
    q, k = _grid(s)
    late, early = s.n("Greater", k, q), s.n("LessOrEqual", k, q)
    run = s.open(tmp_path, "x").run
    assert window_of(run, [(late, "hide")], False, "") == 0
    with pytest.raises(UnsupportedError, match="neither causal"):
        window_of(run, [(early, "hide")], False, "")


def test_attention_in_chunks_is_refused(tmp_path: Path) -> None:
    """Attention inside chunks of 8192 looks causal at small lengths; the constant gives it away."""
    s = Sketch()
    q, k = _grid(s)
    size = s.i(8192)
    same = s.n("Equal", s.n("Div", q, size), s.n("Div", k, size))
    mask = s.n("And", same, s.n("LessOrEqual", k, q))
    run = s.open(tmp_path, "x").run
    with pytest.raises(UnsupportedError, match=r"neither causal nor a sliding window|unknown way"):
        window_of(run, [(mask, "keep")], False, "")


def test_full_attention_is_refused(tmp_path: Path) -> None:
    s = Sketch()
    run = s.open(tmp_path, "x").run
    with pytest.raises(UnsupportedError, match="neither causal"):
        window_of(run, [], False, "")
    assert window_of(run, [], True, "") == 0


def test_alibi_is_refused(tmp_path: Path) -> None:
    s = Sketch()
    q, k = _grid(s)
    bias = s.n("Mul", s.n("Cast", s.n("Sub", k, q), to=TensorProto.FLOAT), s.f(0.5))
    run = s.open(tmp_path, "x").run
    with pytest.raises(UnsupportedError, match="added bias"):
        window_of(run, [(bias, "add")], True, "")


def test_static_bound_is_no_window(tmp_path: Path) -> None:
    """A stored causal mask of 64 positions, cut to the tokens, with a limit of 1024 on the cut."""
    s = Sketch()
    q, k = _grid(s)
    mask = s.n("LessOrEqual", k, q)
    mask = s.n("Slice", mask, s.i(0), s.i(1024), s.i(1))
    run = s.open(tmp_path, "x").run
    assert window_of(run, [(mask, "keep")], False, "") == 0


# -- frequencies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theta", [10000.0, 100000.0, 500000.0, 1000000.0, 5e6, 10000000.0, 8000000.0])
@pytest.mark.parametrize("rotary", [8, 64, 128])
def test_frequencies_snap_to_their_theta(theta: float, rotary: int) -> None:
    """From fp32 inv_freq as transformers computes it, and from tables of it in fp32, fp16 and bf16."""
    exponent = np.arange(0, rotary, 2, dtype=np.float32) / np.float32(rotary)
    single = (np.float32(1) / np.float32(theta) ** exponent).astype(np.float32)
    np.testing.assert_array_equal(snap(Angles(single.astype(np.float64), 1.0)).inv_freq, plain(theta, rotary))
    angle = np.outer(np.arange(4096, dtype=np.float32), single)
    for kind in (np.float32, np.float16, ml_dtypes.bfloat16):
        found = from_table(np.cos(angle).astype(kind), np.sin(angle).astype(kind))
        assert found.factor == 1
        assert np.abs(found.inv_freq - plain(theta, rotary)).max() <= found.error + 1e-7
        np.testing.assert_array_equal(snap(found).inv_freq, plain(theta, rotary), err_msg=str(kind))


def test_scaled_frequencies_do_not_snap() -> None:
    inv = plain(10000.0, 64)
    inv[20:] /= 8
    np.testing.assert_array_equal(snap(Angles(inv, 1.0)).inv_freq, inv)
    # a configuration that agrees gives its exact values, one that does not is no help
    single = Angles(inv.astype(np.float32).astype(np.float64), 1.0)
    assert snap(single, Angles(inv, 1.0)).inv_freq is inv
    assert snap(single, Angles(inv * 1.01, 1.0)) is single
    assert snap(single, Angles(inv, 1.1)) is single


def test_factor_of_tables() -> None:
    angle = np.outer(np.arange(64), plain(10000.0, 16))
    found = from_table(1.25 * np.cos(angle), 1.25 * np.sin(angle))
    assert found.factor == 1.25
    np.testing.assert_allclose(found.inv_freq, plain(10000.0, 16), rtol=1e-12)


def test_unpack_is_low_bits_first() -> None:
    packed = np.array([[0x21, 0x43]], np.uint8)
    assert unpack(packed, 4).tolist() == [[1, 2, 3, 4]]
    assert unpack(np.array([[0b11100100]], np.uint8), 2).tolist() == [[0, 1, 2, 3]]
    assert unpack(packed, 8).tolist() == [[0x21, 0x43]]
