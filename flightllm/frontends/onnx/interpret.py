"""From matches to operators: each reader turns one match into the value it makes, checking layouts on the way."""

from __future__ import annotations

import numpy as np

from flightllm.errors import UnsupportedError
from flightllm.frontends.onnx.attend import ATTENTION_READERS, disagree
from flightllm.frontends.onnx.match import Match
from flightllm.frontends.onnx.reader import decimal
from flightllm.frontends.onnx.run import Reader, Run, Value
from flightllm.frontends.onnx.weights import NBits, transposed
from flightllm.ir.ops import Act, Add, Embed, Linear, Mul, Norm, PosEmbed
from flightllm.ir.weights import Weight

_MAX_OFFSET = 16  # of a position table (OPT: 2)
_ACTS = {"relu", "silu", "gelu_tanh"}


def _ids(run: Run, match: Match, tensor: str) -> Value:
    return Value("", 1, np.arange(run.probe.tokens, dtype=np.int64)[None])


def _past(run: Run, match: Match, tensor: str) -> Value:
    dims = run.file.shapes[tensor]
    shape = (1, int(dims[1]), run.probe.past, int(dims[3]))
    size = int(np.prod(shape))
    return Value("", 0, -1 - np.arange(size, dtype=np.int64).reshape(shape), past=tensor)


def _move(run: Run, match: Match, tensor: str) -> Value:
    node = match.node
    assert node is not None
    values = [run.value(d) for d in match.data]
    if node.op_type in ("Cast", "CastLike", "Identity", "Dropout"):
        return values[0]
    if node.op_type == "Concat":
        live = [v for v in values if v.source] or values[:1]
        past = {v.past for v in values if v.past}
        if len({(v.source, v.width, v.factor) for v in live}) > 1 or len(past) > 1:
            raise run.pieces.error(
                match, "different values are concatenated", f"{len(values)} inputs of several operators"
            )
        index = run.runner.run(node, [v.index for v in values])[0]
        return Value(live[0].source, live[0].width, index, live[0].factor, next(iter(past), ""))
    value = values[0]
    others = [run.control(i) if i else None for i in node.input[1:]]
    index = np.asarray(run.runner.run(node, [value.index, *others])[match.info["output"]])
    return Value(value.source, value.width, index, value.factor, value.past)


def _embed(run: Run, match: Match, tensor: str) -> Value:
    table = run.constants.weight(match.info["table"])
    ids = run.value(match.data[0])
    dim = table.shape[1]
    name = run.pieces.add(Embed(table), (), dim, match)
    return Value(name, dim, ids.index[..., None] * dim + np.arange(dim))


def _linear(run: Run, match: Match, tensor: str) -> Value:
    info = match.info
    if "nbits" in info:
        packed = NBits(run.file, info["nbits"])
        weight = packed.weight()
    else:
        weight = run.constants.weight(info["weight"])
        weight = transposed(weight) if info["turned"] else weight
    value = run.pieces.plain(run.value(match.data[0]), match)
    out, width = weight.shape
    if value.width != width:
        raise disagree(run, match, f"weight {list(weight.shape)} on vectors of {value.width}")
    tokens = run.pieces.features(value, width, match)
    bias = _vector(run, match, info["bias"], out) if info["bias"] else None
    name = run.pieces.add(Linear(weight, bias), (value.source,), out, match)
    return Value(name, out, tokens[..., None] * out + np.arange(out))


def _vector(run: Run, match: Match, name: str, size: int) -> Weight:
    if not run.flow.is_constant(name):
        raise run.pieces.error(match, "a bias or norm weight that is not constant", f"tensor {name!r}")
    if run.constants.vector(name) != size:
        raise disagree(run, match, f"tensor {name} has shape {list(run.constants.shape(name))}, expected [{size}]")
    return run.constants.flat(name)


def _bias(run: Run, match: Match, tensor: str) -> Value:
    value = run.pieces.plain(run.value(match.data[0]), match)
    return add_bias(run, match, value, match.info["bias"])


def add_bias(run: Run, match: Match, value: Value, bias: str) -> Value:
    """A linear's value plus a constant vector over its last axis."""
    old = run.pieces.of(value.source)
    if not isinstance(old.op, Linear) or old.op.bias is not None:
        raise run.pieces.error(
            match, "a constant vector is added to a value", f"it follows a {type(old.op).__name__}, not a linear"
        )
    run.pieces.features(value, value.width, match)
    op = Linear(old.op.weight, _vector(run, match, bias, value.width))
    return Value(run.pieces.add(op, old.inputs, value.width, match, old), value.width, value.index)


def _positions(run: Run, match: Match, tensor: str) -> Value:
    value = run.pieces.plain(run.value(match.data[0]), match)
    table = run.constants.weight(match.info["table"])
    rows = run.control(match.info["rows"])
    count, dim = run.probe.tokens, table.shape[1]
    data = np.asarray(run.constants.value(match.info["table"]))
    if value.width != dim or rows.size != count * dim:
        raise run.pieces.error(
            match, "positions of another shape than the tokens", f"{list(rows.shape)} for {count} tokens"
        )
    rows = rows.reshape(count, dim)
    first = run.probe.past
    offsets = range(min(_MAX_OFFSET, len(data) - first - count) + 1)
    offset = next((o for o in offsets if np.array_equal(data[first + o : first + o + count], rows)), None)
    if offset is None:
        raise run.pieces.error(
            match,
            "position embeddings that do not follow the positions",
            f"the rows of positions {first} to {first + count - 1} are not consecutive rows of {match.info['table']}",
        )
    tokens = run.pieces.features(value, dim, match)
    if tokens.size != count:
        raise run.pieces.error(
            match, "positions of another shape than the tokens", f"{tokens.size} vectors, {count} tokens"
        )
    place = run.pieces.add(PosEmbed(table, offset), (), dim, match)
    return Value(run.pieces.add(Add(), (value.source, place), dim, match), dim, value.index)


def _norm(run: Run, match: Match, tensor: str) -> Value:
    value = run.pieces.plain(run.value(match.data[0]), match)
    info = match.info
    if not run.flow.is_constant(info["gamma"]):
        raise run.pieces.error(match, "a norm whose weight is not constant", f"tensor {info['gamma']!r}")
    size = run.constants.vector(info["gamma"]) or int(np.prod(run.constants.shape(info["gamma"])))
    if value.index.ndim == 0 or value.index.shape[-1] != size:
        raise disagree(run, match, f"norm weight of {size} on a value of shape {list(value.index.shape)}")
    heads = run.pieces.heads(value, size, match)
    gamma = _vector(run, match, info["gamma"], size)
    beta = _vector(run, match, info["beta"], size) if info["beta"] else None
    if info["kind"] == "layer" and beta is None:
        beta = Weight.of(gamma.name + ".zero_beta", np.zeros(size, np.float32))
    op = Norm(info["kind"], info["eps"], gamma, beta, heads)
    return Value(run.pieces.add(op, (value.source,), value.width, match), value.width, value.index)


def _act(run: Run, match: Match, tensor: str) -> Value:
    kind = match.info["kind"]
    value = run.pieces.plain(run.value(match.data[0]), match)
    if match.info.get("bias"):
        value = add_bias(run, match, value, match.info["bias"])
    if kind not in _ACTS:
        raise UnsupportedError(
            f"activation {kind} is not supported",
            where=run.flow.place(match.node) if match.node is not None else "",
            why="the machine computes relu, silu and gelu in its tanh form",
            do="use a model with one of these (in transformers: hidden_act gelu_pytorch_tanh or gelu_new)",
        )
    return Value(run.pieces.add(Act(kind), (value.source,), value.width, match), value.width, value.index)


def binary(run: Run, match: Match, a: Value, b: Value, op: Add | Mul) -> Value:
    """Element-wise operator on two values that must have the same elements at the same places."""
    a, b = run.pieces.plain(a, match), run.pieces.plain(b, match)
    try:
        left, right = np.broadcast_arrays(a.index, b.index)
    except ValueError:
        raise disagree(run, match, f"{list(a.index.shape)} and {list(b.index.shape)}") from None
    if a.width != b.width or not np.array_equal(left, right):
        raise run.pieces.error(match, "values in different layouts meet", f"widths {a.width} and {b.width}")
    return Value(run.pieces.add(op, (a.source, b.source), a.width, match), a.width, left)


def _add(run: Run, match: Match, tensor: str) -> Value:
    a, b = (run.value(d) for d in match.data)
    if match.info.get("bias"):
        return _sum_bias(run, match, a, b)
    return binary(run, match, a, b, Add())


def _sum_bias(run: Run, match: Match, a: Value, b: Value) -> Value:
    """a + b + bias, the bias given to the linear among a and b."""
    for first, second in ((b, a), (a, b)):
        old = run.pieces.of(first.source) if first.source else None
        if old is not None and isinstance(old.op, Linear) and old.op.bias is None:
            return binary(run, match, second, add_bias(run, match, first, match.info["bias"]), Add())
    raise run.pieces.error(match, "a bias on a sum", "neither of its terms is a linear without bias")


def _mul(run: Run, match: Match, tensor: str) -> Value:
    return binary(run, match, run.value(match.data[0]), run.value(match.data[1]), Mul())


def _scale(run: Run, match: Match, tensor: str) -> Value:
    value, factor = run.value(match.data[0]), match.info["factor"]
    if value.source and isinstance(run.pieces.of(value.source).op, Embed):
        old = run.pieces.of(value.source)
        assert isinstance(old.op, Embed)
        name = run.pieces.add(Embed(old.op.table, old.op.scale * decimal(factor)), (), old.width, match, old)
        return Value(name, value.width, value.index)
    return Value(value.source, value.width, value.index, value.factor * factor, value.past)


READERS: dict[str, Reader] = {
    "ids": _ids,
    "past": _past,
    "move": _move,
    "embed": _embed,
    "linear": _linear,
    "bias": _bias,
    "positions": _positions,
    "norm": _norm,
    "act": _act,
    "add": _add,
    "mul": _mul,
    "scale": _scale,
    **ATTENTION_READERS,
}
