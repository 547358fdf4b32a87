"""Every error a user can cause says what to do."""

import ast
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import flightllm
from flightllm import errors

SOURCES = Path(flightllm.__file__).parent
#: a ProgramError is about a program, which users do not write
KINDS = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.FlightError) and kind is not errors.ProgramError
}


@pytest.mark.parametrize("path", sorted(SOURCES.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCES)))
def test_errors_are_made_with_what_to_do(path):
    calls = [
        n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    ]
    for call in calls:
        if call.func.id in KINDS:
            given = {k.arg: k.value for k in call.keywords}
            assert "do" in given, f"{path}:{call.lineno}"
            assert not isinstance(given["do"], ast.Constant) or given["do"].value, f"{path}:{call.lineno}"


def refused(*args, **options):
    with pytest.raises(flightllm.FlightError) as error:
        flightllm.compile(*args, **({"board": "tiny"} | options))
    return error.value.to_json()


def test_outputs(tmp_path, monkeypatch):
    error = refused("tiny-austen", tmp_path / "none" / "p.flpkg")
    assert error["do"] == "make it, or choose another output"

    def no(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", no)
    error = refused("tiny-austen", tmp_path / "p.flpkg")
    assert (error["where"], error["why"]) == (str(tmp_path / "p.flpkg"), "Permission denied")
    assert error["do"] == "see to the folder's permissions and free space, or choose another output"


def test_files_of_options(tmp_path):
    bad = tmp_path / "bad.toml"
    bad.write_text("= 3")
    for option, do in (
        ("board", "correct the line named"),
        ("recipe", "correct the place named"),
        ("arch", "give a TOML file of NAME = VALUE lines"),
    ):
        error = refused("tiny-austen", tmp_path / "p", **{option: bad})
        assert (error["where"], error["do"][: len(do)]) == (str(bad), do)
        assert "line 1" in error["why"]
        error = refused("tiny-austen", tmp_path / "p", **{option: tmp_path / "none.toml"})
        assert error["where"] == str(tmp_path / "none.toml")
        assert error["do"]


@pytest.mark.parametrize("text", [b"\xff\xfe", b"{", b"[1]"])
def test_configuration_that_cannot_be_read(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text)
    error = refused(tmp_path, tmp_path / "p")
    assert "config.json" in error["what"]
    assert error["do"].endswith("get another copy of the file")


def test_onnx_without_attention(tmp_path):
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n)
        for n, s in (("E", (32, 64)), ("H", (64, 32)))
    ]
    nodes = [helper.make_node("Gather", ["E", "input_ids"], ["x"]), helper.make_node("MatMul", ["x", "H"], ["logits"])]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["b", "s"])
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", "s", 32])
    graph = helper.make_graph(nodes, "g", [ids], [out], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), tmp_path / "m.onnx")
    error = refused(tmp_path / "m.onnx", tmp_path / "p")
    assert error["what"] == "the graph has no attention"
    assert error["where"] == str(tmp_path / "m.onnx")
    assert error["do"].startswith("give the whole decoder")
