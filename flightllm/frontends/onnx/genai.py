"""Matching of the operators ONNX Runtime GenAI's model builder uses (domain com.microsoft).

Their inputs and attributes are defined in ONNX Runtime's ContribOperators.md.
"""

from __future__ import annotations

import onnx

from flightllm.frontends.onnx.match import Handler, Match, Matcher
from flightllm.frontends.onnx.reader import decimal, integer, number


def _nbits(m: Matcher, node: onnx.NodeProto, tensor: str) -> Match | None:
    inputs = [*node.input, *[""] * 6][:6]
    if not m.flow.is_data(inputs[0]):
        return None
    return Match("linear", node, (inputs[0],), [node], {"nbits": node, "bias": inputs[5]})


def _group_query(m: Matcher, node: onnx.NodeProto, tensor: str) -> Match:
    """GroupQueryAttention: query, key, value, past_key, past_value, seqlens_k, total_sequence_length, cos, sin, positions, ..."""
    inputs = [*node.input, *[""] * 14][:14]
    if tensor != node.output[0]:
        raise m.unsupported(node, "the attention's cache is used as a value", "only its first output may be")
    if any(inputs[9:]):
        extra = [n for n, i in zip(("position_ids", "attention_bias", "head_sink"), inputs[9:12], strict=True) if i]
        if extra != ["position_ids"] or any(inputs[12:]):
            raise m.unsupported(
                node, "GroupQueryAttention with further inputs", f"{', '.join(extra) or 'cache scales'}"
            )
    for name in ("softcap", "smooth_softmax", "qk_output"):
        if number(node, name, 0):
            raise m.unsupported(node, f"GroupQueryAttention with {name}", f"{name} = {number(node, name, 0)}")
    for name in ("k_quant_type", "v_quant_type"):
        if any(a.name == name and a.s not in (b"", b"NONE") for a in node.attribute):
            raise m.unsupported(node, "GroupQueryAttention with a quantised cache", name)
    for past in inputs[3:5]:
        if past and past not in m.flow.inputs.cache:
            raise m.unsupported(node, "attention whose cache is no input of the model", f"tensor {past!r}")
    rotary = bool(integer(node, "do_rotary", 0))
    if rotary and not all(i and m.flow.is_constant(i) for i in inputs[7:9]):
        raise m.unsupported(
            node, "rotary embedding without constant tables", "cos_cache and sin_cache must be constants"
        )
    heads, kv_heads = integer(node, "num_heads", 0), integer(node, "kv_num_heads", 0)
    if heads < 1 or kv_heads < 1 or heads % kv_heads:
        raise m.unsupported(node, "GroupQueryAttention with impossible head counts", f"{heads} and {kv_heads}")
    data = tuple(i for i in inputs[:3] if i)
    if len(data) not in (1, 3):
        raise m.unsupported(node, "GroupQueryAttention with some of query, key, value", f"{len(data)} inputs")
    local = integer(node, "local_window_size", -1)
    return Match(
        "group_query",
        node,
        data,
        [node],
        {
            "heads": heads,
            "kv_heads": kv_heads,
            "scale": decimal(number(node, "scale", 0.0)),
            "rotary": rotary,
            "interleaved": bool(integer(node, "rotary_interleaved", 0)),
            "cos": inputs[7],
            "sin": inputs[8],
            "window": local if local > 0 else 0,
        },
    )


def _skip_norm(kind: str) -> Handler:
    """SkipLayerNormalization (input, skip, gamma, beta, bias) and its rms form (input, skip, gamma, bias): norm of a sum."""

    def handle(m: Matcher, node: onnx.NodeProto, tensor: str) -> Match:
        inputs = [*node.input, *[""] * 5][:5]
        x, skip, gamma = inputs[:3]
        beta, bias = (inputs[3], inputs[4]) if kind == "layer" else ("", inputs[3])
        if not (m.flow.is_data(x) and m.flow.is_data(skip)):
            raise m.unsupported(node, f"{node.op_type} of a constant", "both of its terms must be computed")
        outputs = [*node.output, *[""] * 4][:4]
        total = outputs[3] or f"{node.output[0]}::sum"
        m.synthetic[total] = Match("add", node, (x, skip), [node], {"bias": bias})
        if tensor == total:
            return m.synthetic[total]
        if tensor != outputs[0]:
            raise m.unsupported(node, f"statistics of {node.op_type} are used as values", f"output {tensor!r}")
        info = {"kind": kind, "eps": number(node, "epsilon", 1e-5), "gamma": gamma, "beta": beta}
        return Match("norm", node, (total,), [node], info)

    return handle


GENAI: dict[tuple[str, str], Handler] = {
    ("com.microsoft", "MatMulNBits"): _nbits,
    ("com.microsoft", "GroupQueryAttention"): _group_query,
    ("com.microsoft", "SkipSimplifiedLayerNormalization"): _skip_norm("rms"),
    ("com.microsoft", "SkipLayerNormalization"): _skip_norm("layer"),
}
