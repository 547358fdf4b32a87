"""Matching of the standard operators: moves, linears, sums, products, activations, norms; and the table of all handlers."""

from __future__ import annotations

from typing import Any

import onnx

from flightllm.frontends.onnx.attention import match_attention_node, match_softmax_attention
from flightllm.frontends.onnx.flow import MOVES
from flightllm.frontends.onnx.genai import GENAI
from flightllm.frontends.onnx.match import Handler, Match, Matcher
from flightllm.frontends.onnx.reader import attribute, integer, number
from flightllm.frontends.onnx.rope import match_rotary_node, match_rotation


def _move(m: Matcher, node: onnx.NodeProto, tensor: str) -> Match | None:
    data = m.data(node)
    if node.op_type == "Concat":
        return Match("move", node, tuple(data), [node]) if len(data) == len(node.input) else None
    if data == [node.input[0]]:
        return Match("move", node, (node.input[0],), [node], {"output": list(node.output).index(tensor)})
    return None


def _gather(m: Matcher, node: onnx.NodeProto, tensor: str) -> Match | None:
    table, ids = node.input[0], node.input[1]
    if m.flow.is_data(ids) and m.flow.is_constant(table):
        if len(m.constants.shape(table)) != 2 or integer(node, "axis", 0) != 0:
            raise m.unsupported(
                node, "a table that is no token embedding is indexed with token values", "it must be [vocab, dim]"
            )
        return Match("embed", node, (ids,), [node], {"table": table})
    return _move(m, node, tensor)


def _linear(m: Matcher, node: onnx.NodeProto, tensor: str) -> Match | None:
    a, b = node.input[0], node.input[1]
    if m.flow.is_constant(b) and m.flow.is_data(a):
        shape = m.constants.shape(b)
        if len(shape) != 2:
            raise m.unsupported(
                node, f"{node.op_type} with a weight of shape {list(shape)}", "a linear's weight is a matrix"
            )
        turned, bias = True, ""
        if node.op_type == "Gemm":
            turned = not integer(node, "transB", 0)
            bias = node.input[2] if len(node.input) > 2 else ""
            alpha, beta = number(node, "alpha", 1.0), number(node, "beta", 1.0)
            if alpha != 1 or (bias and beta != 1) or integer(node, "transA", 0):
                raise m.unsupported(
                    node, "Gemm with factors or a transposed input", f"alpha {alpha}, beta {beta}; 1 is supported"
                )
        if node.op_type == "FusedMatMul":
            turned = not integer(node, "transB", 0)
            if number(node, "alpha", 1.0) != 1 or integer(node, "transA", 0):
                raise m.unsupported(node, "FusedMatMul with a factor or a transposed input", "alpha 1 is supported")
        info = {"weight": b, "turned": turned, "bias": bias}
        return Match("linear", node, (a,), [node], info)
    if node.op_type == "MatMul" and m.flow.is_data(a) and m.flow.is_data(b):
        return match_softmax_attention(m, node)
    return None


def _add(m: Matcher, node: onnx.NodeProto, tensor: str) -> Match | None:
    data = m.data(node)
    if len(data) == 2:
        rope = match_rotation(m, node)
        if rope is not None:
            return rope
        return m.pointwise(node, tensor) or Match("add", node, tuple(data), [node])
    other = next((i for i in node.input if i not in data), "")
    found = m.pointwise(node, tensor)
    if found is not None:
        return found
    if m.constants.vector(other):
        return Match("bias", node, (data[0],), [node], {"bias": other})
    if not m.flow.is_constant(other):
        position = _table_rows(m, other)
        if position is not None:
            return Match("positions", node, (data[0],), [node, *position[1]], {"table": position[0], "rows": other})
    return None


def _table_rows(m: Matcher, tensor: str) -> tuple[str, list[onnx.NodeProto]] | None:
    """(table, nodes) if the tensor is rows of a constant table selected by position."""
    nodes = []
    while (node := m.file.producer.get(tensor)) is not None and node.op_type in MOVES:
        nodes.append(node)
        if (
            node.op_type == "Gather"
            and m.flow.is_constant(node.input[0])
            and len(m.constants.shape(node.input[0])) == 2
        ):
            return node.input[0], nodes
        tensor = node.input[0]
    return None


def _mul(m: Matcher, node: onnx.NodeProto, tensor: str) -> Match | None:
    found = m.pointwise(node, tensor)
    if found is not None:
        return found
    data = m.data(node)
    if node.op_type == "Mul" and len(data) == 2:
        return Match("mul", node, tuple(data), [node])
    if (len(data) == 1 and data[0] == node.input[0]) or (node.op_type == "Mul" and len(data) == 1):
        other = next((i for i in node.input if i not in data), "")
        value = m.constants.scalar(other)
        if value:
            return Match("scale", node, (data[0],), [node], {"factor": value if node.op_type == "Mul" else 1.0 / value})
    return None


def _act(kind: str) -> Handler:
    def handle(m: Matcher, node: onnx.NodeProto, tensor: str) -> Match | None:
        name = kind
        if node.op_type == "Gelu" and node.domain in ("", "ai.onnx"):
            name = "gelu_tanh" if attribute(node, "approximate", "none") == "tanh" else "gelu_erf"
        if node.op_type in ("Swish", "QuickGelu"):
            alpha = number(node, "alpha", 1.0 if node.op_type == "Swish" else 1.702)
            name = "silu" if alpha == 1 else "quick_gelu"
        info: dict[str, Any] = {"kind": name}
        if len(node.input) > 1 and node.input[1]:
            info["bias"] = node.input[1]
        return Match("act", node, (node.input[0],), [node], info)

    return handle


def _norm(kind: str) -> Handler:
    def handle(m: Matcher, node: onnx.NodeProto, tensor: str) -> Match | None:
        axis = integer(node, "axis", -1)
        rank = len(m.file.shapes.get(node.input[0], ()))
        if tensor != node.output[0] or (axis != -1 and axis != rank - 1 and axis < 0) or len(node.input) < 2:
            raise m.unsupported(node, f"{node.op_type} over other axes than the last", f"axis {axis}")
        beta = node.input[2] if kind == "layer" and len(node.input) > 2 else ""
        info = {"kind": kind, "eps": number(node, "epsilon", 1e-5), "gamma": node.input[1], "beta": beta}
        return Match("norm", node, (node.input[0],), [node], info)

    return handle


def handlers() -> dict[tuple[str, str], Handler]:
    """Handlers by (domain, operator)."""
    table: dict[tuple[str, str], Handler] = {("", op): _move for op in MOVES}
    table |= {
        ("", "Gather"): _gather,
        ("", "MatMul"): _linear,
        ("", "Gemm"): _linear,
        ("com.microsoft", "FusedMatMul"): _linear,
        ("", "Add"): _add,
        ("", "Mul"): _mul,
        ("", "Div"): _mul,
        ("", "Relu"): _act("relu"),
        ("", "Gelu"): _act("gelu_erf"),
        ("", "Swish"): _act("silu"),
        ("com.microsoft", "Gelu"): _act("gelu_erf"),
        ("com.microsoft", "FastGelu"): _act("gelu_tanh"),
        ("com.microsoft", "QuickGelu"): _act("quick_gelu"),
        ("", "RMSNormalization"): _norm("rms"),
        ("", "LayerNormalization"): _norm("layer"),
        ("", "SimplifiedLayerNormalization"): _norm("rms"),
        ("com.microsoft", "SimplifiedLayerNormalization"): _norm("rms"),
        ("", "Attention"): match_attention_node,
        ("", "RotaryEmbedding"): match_rotary_node,
        ("com.microsoft", "RotaryEmbedding"): match_rotary_node,
    }
    return table | GENAI
