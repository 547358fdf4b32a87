"""Matching of attentions: the Attention operator, and MatMul - scale - mask - Softmax - MatMul."""

from __future__ import annotations

import onnx

from flightllm.frontends.onnx.match import Match, Matcher
from flightllm.frontends.onnx.reader import attribute, decimal, integer, number

_PASS = {"Cast", "Identity", "Dropout", "CastLike"}
_HIDDEN = -1e4  # an additive mask of at most this hides a key (fp16 models use -65504 or -1e4)


def match_attention_node(m: Matcher, node: onnx.NodeProto, tensor: str) -> Match:
    """ONNX Attention (opset 23): inputs Q, K, V, attn_mask, past_key, past_value; 3-D or 4-D."""
    inputs = [*node.input, *[""] * 7][:7]
    if tensor != node.output[0]:
        raise m.unsupported(node, "the attention's scores or cache are used as values", "only its first output may be")
    if number(node, "softcap", 0.0) != 0:
        raise m.unsupported(node, "attention with soft-capped scores", f"softcap {number(node, 'softcap', 0.0)}")
    if inputs[6]:
        raise m.unsupported(node, "attention with a padded external cache", "input nonpad_kv_seqlen is used")
    for past in inputs[4:6]:
        if past and past not in m.flow.inputs.cache:
            raise m.unsupported(node, "attention whose cache is no input of the model", f"tensor {past!r}")
    mask = inputs[3]
    if mask and m.flow.is_data(mask):
        raise m.unsupported(node, "attention whose mask depends on token values", f"tensor {mask!r}")
    scale = attribute(node, "scale")
    return Match(
        "attention",
        node,
        tuple(inputs[:3]),
        [node],
        {
            "scale": decimal(float(scale)) if isinstance(scale, (int, float)) else None,
            "masks": [(mask, "any")] if mask else [],
            "causal": bool(integer(node, "is_causal", 0)),
            "heads": integer(node, "q_num_heads", 0),
            "kv_heads": integer(node, "kv_num_heads", 0),
            "internal_past": bool(inputs[4]),
            "turned": False,
        },
    )


def match_softmax_attention(m: Matcher, node: onnx.NodeProto) -> Match:
    """softmax(scale * q k^T + mask) v, ending in `node`, the product with v."""
    nodes = [node]
    softmax = _softmax(m, node.input[0], nodes)
    if softmax is None:
        raise m.unsupported(
            node, "a product of two computed tensors", "it is not softmax(scores) times values of an attention"
        )
    axis, rank = integer(softmax, "axis", -1), len(m.file.shapes.get(softmax.input[0], ())) or 4
    if axis not in (-1, rank - 1, 3):
        raise m.unsupported(softmax, "a softmax over another axis than the keys", f"axis {axis}")
    scale, masks, tensor = 1.0, [], softmax.input[0]
    while True:
        maker = m.file.producer.get(tensor)
        if maker is None:
            raise m.unsupported(softmax, "attention scores that nothing computes", f"tensor {tensor!r}")
        nodes.append(maker)
        data = m.data(maker)
        others = [i for i in maker.input if i and i not in data]
        if maker.op_type == "MatMul" and len(data) == 2:
            break
        value = m.constants.scalar(others[0]) if len(others) == 1 else None
        if maker.op_type in _PASS:
            pass
        elif maker.op_type == "Mul" and value is not None:
            scale *= value
        elif maker.op_type == "Div" and value and data[0] == maker.input[0]:
            scale /= value
        elif maker.op_type == "Add" and len(data) == 1 and len(others) == 1:
            masks.append((others[0], "add"))
        elif maker.op_type == "Where" and len(data) == 1 and data[0] != maker.input[0]:
            kept = data[0] == maker.input[1]
            fill = m.constants.scalar(maker.input[2] if kept else maker.input[1])
            if fill is None or fill > _HIDDEN:
                raise m.unsupported(maker, "attention scores replaced by a value", f"fill value {fill}; -inf is a mask")
            masks.append((maker.input[0], "keep" if kept else "hide"))
        else:
            raise m.unsupported(
                maker,
                f"operator {maker.op_type} between an attention's scores and its softmax",
                "supported are a constant factor, an added mask and Where with -inf",
            )
        tensor = data[0]
    q, k = maker.input
    info = {
        "scale": scale,
        "masks": masks,
        "causal": False,
        "heads": 0,
        "kv_heads": 0,
        "internal_past": False,
        "turned": True,
    }
    return Match("attention", node, (q, k, node.input[1]), nodes, info)


def _softmax(m: Matcher, tensor: str, nodes: list[onnx.NodeProto]) -> onnx.NodeProto | None:
    """The Softmax behind casts and the replacement of NaN rows by zero."""
    while (maker := m.file.producer.get(tensor)) is not None:
        nodes.append(maker)
        if maker.op_type == "Softmax":
            return maker
        if maker.op_type in _PASS:
            tensor = maker.input[0]
            continue
        test = m.file.producer.get(maker.input[0]) if maker.op_type == "Where" and len(maker.input) == 3 else None
        if test is None or test.op_type != "IsNaN" or m.constants.scalar(maker.input[1]) != 0:
            return None
        nodes.append(test)
        tensor = maker.input[2]
        if test.input[0] != tensor:
            return None
    return None
