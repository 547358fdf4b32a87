"""What is wrong with a model is said in one FlightError that names the place; damaged files never raise anything else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from onnx_models import LAYERS, VOCAB, GenAI

from flightllm.errors import FlightError, ModelError, UnsupportedError
from flightllm.frontends.onnx import check_onnx, load_onnx


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return GenAI(bias=True).save(tmp_path_factory.mktemp("genai") / "model.onnx")


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return GenAI(bits=4, zeros="packed").save(tmp_path_factory.mktemp("genai") / "model.onnx")


def edited(source: Path, folder: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    model = onnx.load(str(source))
    change(model)
    path = folder / "edited.onnx"
    onnx.save(model, str(path))
    return path


def node_of(model: onnx.ModelProto, kind: str, index: int = 0) -> onnx.NodeProto:
    return [n for n in model.graph.node if n.op_type == kind][index]


def tensor_of(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(t for t in model.graph.initializer if t.name == name)


# -- files ------------------------------------------------------------------------------------------------------------------


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such ONNX file"):
        load_onnx(tmp_path / "none.onnx")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_file(share: float, plain: Path, tmp_path: Path) -> None:
    data = plain.read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError) as error:
        load_onnx(path)
    assert str(path) in error.value.render()


def _external(folder: Path) -> Path:
    return GenAI().save(
        folder / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
        convert_attribute=False,
    )


def test_external_data_missing(tmp_path: Path) -> None:
    path = _external(tmp_path)
    assert len(load_onnx(path)) > 0
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"weights\.bin is missing"):
        load_onnx(path)


def test_external_data_too_short(tmp_path: Path) -> None:
    path = _external(tmp_path)
    data = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").write_bytes(data[:-8])
    with pytest.raises(ModelError, match="too short"):
        load_onnx(path)


def test_external_data_outside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    path = _external(tmp_path / "inner")
    shutil.copy(tmp_path / "inner" / "weights.bin", tmp_path / "weights.bin")
    model = onnx.load(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../weights.bin"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="not beside the model"):
        load_onnx(path)


def test_external_data_of_the_wrong_length(tmp_path: Path) -> None:
    path = _external(tmp_path)
    model = onnx.load(str(path), load_external_data=False)
    entry = next(e for e in tensor_of(model, "o1").external_data if e.key == "length")
    entry.value = str(int(entry.value) - 4)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="wrong size") as error:
        load_onnx(path)
    assert "tensor o1" in error.value.where


def test_weight_with_nan_is_named_when_read(plain: Path, tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        tensor = tensor_of(model, "up1")
        data = numpy_helper.to_array(tensor).copy()
        data[3, 5] = np.nan
        tensor.CopyFrom(numpy_helper.from_array(data, "up1"))

    graph = load_onnx(edited(plain, tmp_path, change))
    with pytest.raises(ModelError, match="not a finite number") as error:
        graph["layers.1.mlp.up"].op.weight.read()
    assert "tensor up1, element [3, 5]" in error.value.where


def test_scale_with_infinity_is_named(quantised: Path, tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        tensor = tensor_of(model, "up1_s")
        data = numpy_helper.to_array(tensor).copy()
        data[0, 0] = np.inf
        tensor.CopyFrom(numpy_helper.from_array(data, "up1_s"))

    with pytest.raises(ModelError, match="not a finite number") as error:
        load_onnx(edited(quantised, tmp_path, change))
    assert "up1_s" in error.value.where


# -- shapes -----------------------------------------------------------------------------------------------------------------


def test_weight_shape_that_disagrees(plain: Path, tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        tensor_of(model, "o1").CopyFrom(numpy_helper.from_array(np.ones((48, 64), np.float32), "o1"))

    with pytest.raises(ModelError, match="shapes that disagree") as error:
        load_onnx(edited(plain, tmp_path, change))
    assert "behind the attention of layer 1" in error.value.where
    assert "[64, 48]" in error.value.why


def test_tensor_data_of_the_wrong_size(plain: Path, tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        tensor_of(model, "o1").dims[0] += 1

    with pytest.raises(ModelError, match="wrong size"):
        load_onnx(edited(plain, tmp_path, change))


def test_packed_shapes_that_disagree(quantised: Path, tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        next(a for a in node_of(model, "MatMulNBits", 3).attribute if a.name == "N").i += 1

    with pytest.raises(ModelError, match="MatMulNBits whose shapes disagree"):
        load_onnx(edited(quantised, tmp_path, change))


# -- operators --------------------------------------------------------------------------------------------------------------


def _rows(path: Path) -> list[dict[str, object]]:
    return [r for r in check_onnx(path) if not r["supported"]]


def test_unknown_operators_are_all_listed(plain: Path, tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        for index in (0, 1):
            node = node_of(model, "Sigmoid")
            node.op_type, node.domain = f"Frobnicate{index}", "my.ops"
        model.opset_import.append(helper.make_opsetid("my.ops", 1))

    path = edited(plain, tmp_path, change)
    with pytest.raises(UnsupportedError, match="Frobnicate") as error:
        load_onnx(path)
    assert "my.ops" in error.value.where
    assert error.value.why
    assert error.value.do
    bad = _rows(path)
    assert {r["operator"] for r in bad} == {"my.ops::Frobnicate0", "my.ops::Frobnicate1"}
    assert [str(r["where"]).split(", ")[1] for r in bad] == [
        f"behind the attention of layer {i}" for i in range(LAYERS)
    ]
    assert all(r["why"] and r["do"] for r in bad)


def test_heads_too_long_for_the_matrix_unit_are_a_row_beside_the_roles(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = check_onnx(plain)
    monkeypatch.setattr("flightllm.ir.supported.HEAD_CODES", 1)
    rows = check_onnx(plain)
    assert rows[:-1] == right
    assert not rows[-1]["supported"] and rows[-1]["where"] == "layers.0.attn.core"
    assert "replay buffer" in str(rows[-1]["why"])


def test_check_lists_every_node_with_its_role(plain: Path) -> None:
    rows = check_onnx(plain)
    assert len(rows) == len(onnx.load(str(plain)).graph.node)
    by = [(r["operator"], r["where"]) for r in rows]
    assert ("com.microsoft::GroupQueryAttention", "layers.1.attn.core") in by
    assert ("MatMul", "layers.0.mlp.down") in by
    assert ("MatMul", "lm_head") in by
    assert ("Gather", "embed") in by
    dropped = [r for r in rows if r["operator"] == "ReduceSum"]
    assert dropped
    assert all("dropped" in str(r["why"]) for r in dropped)


@pytest.mark.parametrize(
    ("attribute", "value", "words"), [("softcap", 30.0, "softcap"), ("smooth_softmax", 1, "smooth_softmax")]
)
def test_attention_variants(attribute: str, value: float, words: str, plain: Path, tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        node_of(model, "GroupQueryAttention", 1).attribute.append(helper.make_attribute(attribute, value))

    path = edited(plain, tmp_path, change)
    with pytest.raises(UnsupportedError, match=words) as error:
        load_onnx(path)
    assert "layer 0" in error.value.where
    assert [r["operator"] for r in _rows(path)] == ["com.microsoft::GroupQueryAttention"]


def test_exact_gelu_is_refused(tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            if node.op_type == "FastGelu":
                node.op_type = "Gelu"

    path = GenAI(norm="layer").save(tmp_path / "model.onnx")
    assert len(load_onnx(path))
    with pytest.raises(UnsupportedError, match="gelu_erf"):
        load_onnx(edited(path, tmp_path, change))


def test_parallel_branches_are_refused(plain: Path, tmp_path: Path) -> None:
    """An MLP that reads another norm than the one behind its attention."""

    def change(model: onnx.ModelProto) -> None:
        first = node_of(model, "SimplifiedLayerNormalization").output[0]
        for node in model.graph.node:
            if node.op_type == "MatMul" and node.input[1] in ("gate0", "up0"):
                node.input[0] = first

    with pytest.raises(UnsupportedError, match="not built like a supported decoder") as error:
        load_onnx(edited(plain, tmp_path, change))
    assert "parallel" in error.value.why


def test_heads_mixed_up_on_the_way(tmp_path: Path) -> None:
    """A reshape that does not keep a token's features together is found by its layout, though every shape fits."""

    def change(model: onnx.ModelProto) -> None:
        node = next(n for n in model.graph.node if n.op_type == "MatMul" and n.input[1] == "o0")
        at = list(model.graph.node).index(node)
        for name, data in (("apart", [0, 0, 4, 16]), ("joined", [0, 0, 64])):
            model.graph.initializer.append(numpy_helper.from_array(np.array(data, np.int64), name))
        made = [
            helper.make_node("Reshape", [node.input[0], "apart"], ["r0"]),
            helper.make_node("Transpose", ["r0"], ["r1"], perm=[0, 1, 3, 2]),
            helper.make_node("Reshape", ["r1", "joined"], ["r2"]),
        ]
        node.input[0] = "r2"
        for new in reversed(made):
            model.graph.node.insert(at, new)

    path = GenAI().save(tmp_path / "model.onnx")
    with pytest.raises(UnsupportedError, match="rearranged"):
        load_onnx(edited(path, tmp_path, change))


def test_unknown_input(plain: Path, tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        del model.graph.input[0]
        model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 3), np.int64), "input_ids"))

    with pytest.raises(UnsupportedError, match="no input of token ids"):
        load_onnx(edited(plain, tmp_path, change))


# -- damage -----------------------------------------------------------------------------------------------------------------

_SMALL: list[bytes] = []


def _small() -> bytes:
    """A model of a few kilobytes, so that most bytes are graph and not weights."""
    if not _SMALL:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            path = GenAI(bits=4, rotary="node", context=8).save(Path(folder) / "m.onnx")
            model = onnx.load(str(path))
            for tensor in model.graph.initializer:
                if tensor.ByteSize() > 3000:
                    tensor.ClearField("raw_data")
                    tensor.data_location = onnx.TensorProto.EXTERNAL
                    tensor.external_data.add(key="location", value="zero.bin")
            _SMALL.append(model.SerializeToString())
    return _SMALL[0]


@settings(max_examples=150)
@given(
    changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 3),
)
def test_damaged_bytes_raise_flight_errors_only(
    changes: list[tuple[int, int]], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    folder.mkdir(exist_ok=True)
    (folder / "zero.bin").write_bytes(bytes(1 << 16))
    data = bytearray(_small())
    for at, value in changes:
        data[at % len(data)] = value
    path = folder / "m.onnx"
    path.write_bytes(data[: len(data) - cut])
    for action in (load_onnx, check_onnx):
        try:
            result = action(path)
            if action is load_onnx:
                for node in result.linears():  # type: ignore[union-attr]
                    node.op.weight.read()  # type: ignore[union-attr]
        except FlightError:
            pass


@pytest.mark.parametrize("damage", ["no inputs", "one input", "no attributes", "another operator"])
def test_damaged_nodes_raise_flight_errors_only(damage: str, tmp_path: Path) -> None:
    """Each node in turn loses its inputs or attributes, or becomes another operator."""
    (tmp_path / "zero.bin").write_bytes(bytes(1 << 16))
    path = tmp_path / "m.onnx"
    count = len(onnx.ModelProto.FromString(_small()).graph.node)
    refused = 0
    for i in range(count):
        model = onnx.ModelProto.FromString(_small())
        node = model.graph.node[i]
        if damage == "no attributes":
            del node.attribute[:]
        elif damage == "another operator":
            node.op_type, node.domain = ("Range", "Softmax", "Concat", "Slice")[i % 4], ""
        else:
            del node.input[(damage == "one input") :]
        path.write_bytes(model.SerializeToString())
        check_or_error = 0
        for action in (load_onnx, check_onnx):
            try:
                action(path)
            except FlightError:
                check_or_error += 1
        refused += check_or_error > 0
    assert refused >= count // 4


def test_fuzz_base_is_a_model(tmp_path: Path) -> None:
    """The file that the fuzz test damages loads undamaged, so damage is what its errors are about."""
    (tmp_path / "zero.bin").write_bytes(bytes(1 << 16))
    (tmp_path / "m.onnx").write_bytes(_small())
    assert load_onnx(tmp_path / "m.onnx").info.vocab == VOCAB
