"""Numeric evaluation of small parts of an ONNX graph, operator by operator, with onnx's reference implementations.

Used on shape, position and mask arithmetic, and on index arrays that are sent through reshapes and transposes. Every result
is bounded in size before it is made, so that a damaged file cannot ask for all memory.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from flightllm.errors import FlightError, UnsupportedError
from flightllm.frontends.onnx.reader import OnnxFile, label

#: elements of a result at most
LIMIT = 1 << 26
_CONTROL_FLOW = {"If", "Loop", "Scan", "SequenceMap"}


class EvaluationError(UnsupportedError):
    """An operator that does not take its inputs."""


class NodeRunner:
    """Runs single nodes; keeps the prepared ones."""

    def __init__(self, file: OnnxFile) -> None:
        self.opsets = {"": 23, **file.opsets}
        if "ai.onnx" in self.opsets:
            self.opsets[""] = self.opsets["ai.onnx"]
        self._ready: dict[str, Any] = {}

    def run(self, node: onnx.NodeProto, inputs: list[np.ndarray | None]) -> list[Any]:
        """Outputs of a node for the given inputs (None: an omitted one).

        Raises:
            UnsupportedError: the operator is not in the ONNX standard set, fails, or its result is too large.
        """
        if node.domain not in ("", "ai.onnx") or node.op_type in _CONTROL_FLOW:
            raise UnsupportedError(
                f"{label(node)} stands where only shapes, positions or masks are computed",
                where=label(node),
                why=f"operator {node.op_type} of domain {node.domain or 'ai.onnx'} is not evaluated there",
                do="export without it, e.g. with torch.onnx.export(dynamo=True)",
            )
        if _result_size(node, inputs) > LIMIT:
            raise UnsupportedError(
                f"{label(node)} makes a tensor of impossible size", where=label(node), do="export again"
            )
        key = node.output[0]
        try:
            if key not in self._ready:
                model = _single(node, inputs, self.opsets[""])
                self._ready[key] = ReferenceEvaluator(model)
            feeds = {
                name: value for name, value in zip(_names(node), inputs, strict=True) if value is not None and name
            }
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                return list(self._ready[key].run(None, feeds))
        except FlightError:
            raise
        except Exception as error:
            raise EvaluationError(
                f"{label(node)} cannot be evaluated",
                where=label(node),
                why=f"{type(error).__name__}: {str(error)[:200]}",
                do="the graph may be damaged; export it again",
            ) from None


def _names(node: onnx.NodeProto) -> list[str]:
    return [f"i{k}" if name else "" for k, name in enumerate(node.input)]


def _single(node: onnx.NodeProto, inputs: list[np.ndarray | None], opset: int) -> onnx.ModelProto:
    """A model of one node; types are left open except for the element type."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    del copy.input[:]
    copy.input.extend(_names(node))
    outputs = [o for o in node.output if o]
    values = [
        onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(v.dtype), None)
        for n, v in zip(_names(node), inputs, strict=True)
        if n and v is not None
    ]
    outs = [onnx.helper.make_tensor_value_info(o, onnx.TensorProto.UNDEFINED, None) for o in outputs]
    graph = onnx.helper.make_graph([copy], "node", values, outs)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])


def _result_size(node: onnx.NodeProto, inputs: list[np.ndarray | None]) -> int:
    """An upper bound, or a fair guess, of the elements a node makes."""
    have = [np.asarray(i) for i in inputs if i is not None]

    def product(values: Any) -> int:
        result = 1
        for v in np.asarray(values).reshape(-1).tolist():
            result *= max(int(v), 1)
        return result

    kind = node.op_type
    if kind == "ConstantOfShape" and have:
        return product(have[0])
    if kind == "Expand" and len(have) > 1:
        shape = [int(v) for v in have[1].reshape(-1).tolist()]
        dims = [1] * max(0, len(shape) - have[0].ndim) + list(have[0].shape)
        shape = [1] * max(0, len(dims) - len(shape)) + shape
        return product([max(a, b) for a, b in zip(dims, shape, strict=True)])
    if kind == "Tile" and len(have) > 1:
        return have[0].size * product(have[1])
    if kind == "Range" and len(have) == 3 and all(h.size == 1 for h in have):
        start, limit, delta = (float(h.reshape(-1)[0]) for h in have)
        return int(abs((limit - start) / delta)) if delta and np.isfinite([start, limit, delta]).all() else LIMIT + 1
    if kind == "Pad" and len(have) > 1:
        return product(np.asarray(have[0].shape) + np.abs(have[1]).sum()) if have[0].ndim < 8 else LIMIT + 1
    if kind in ("Resize", "OneHot", "EyeLike", "Upsample", "RandomNormal", "RandomUniform", "Multinomial", "Col2Im"):
        return LIMIT + 1
    if kind == "MatMul" and len(have) == 2 and min(h.ndim for h in have) >= 1:
        return have[0].size * have[1].shape[-1]
    if kind == "Gather" and len(have) == 2:
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        length = have[0].shape[axis] if -have[0].ndim <= axis < have[0].ndim else 1
        return have[1].size * have[0].size // max(length, 1)
    if kind in ("GatherND", "GatherElements") and len(have) == 2:
        return have[1].size * product(have[0].shape[1:])
    try:
        return int(np.prod(np.broadcast_shapes(*(h.shape for h in have)), dtype=np.float64))
    except ValueError:
        return max((h.size for h in have), default=0)
