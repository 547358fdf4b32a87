"""Norms and activations that a file spells out in elementary operators, recognised by what they compute.

The expression between one input tensor and one output is cut out of the graph, evaluated on test inputs and compared with the formulas
the machine has. The way it is written (x * x or Pow, Sqrt and Div or Reciprocal, ...) does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx

from flightllm.errors import UnsupportedError
from flightllm.frontends.onnx.constants import Constants
from flightllm.frontends.onnx.reader import decimal

_ELEMENTWISE = {
    "Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Reciprocal", "Neg", "Exp", "Log", "Tanh", "Sigmoid", "Erf", "Relu", "Abs", "Cast", "Max",
    "Min", "Clip", "Identity", "Softplus", "HardSigmoid", "CastLike", "Square",
}  # fmt: skip
_MEANS = {"ReduceMean", "ReduceSum"}
_CURVES = {"Tanh", "Sigmoid", "Erf", "Relu", "Exp", "Max", "Clip", "Softplus", "HardSigmoid"}
_DEPTH = 24


@dataclass
class Cone:
    """The nodes between tensor `source` and the output: `nodes` in order, constant operands `leaves`."""

    source: str
    output: str
    nodes: list[onnx.NodeProto]
    leaves: list[str]


@dataclass
class Found:
    """A recognised expression. kind: rms, layer (with gamma, beta, eps) or the name of an activation."""

    kind: str
    cone: Cone
    gamma: str = ""
    beta: str = ""
    eps: float = 0.0
    width: int = 0
    extra: dict[str, float] = field(default_factory=dict)


def cones(constants: Constants, output: str) -> Iterator[Cone]:
    """Expressions that end in `output` and have exactly one data input, from small to large."""
    file, flow = constants.file, constants.flow
    nodes: dict[int, onnx.NodeProto] = {}
    leaves: dict[str, None] = {}
    frontier = {output}
    for _ in range(_DEPTH):
        tensor = max(frontier, key=lambda t: file.order.get(t, -1))
        node = file.producer.get(tensor)
        if node is None or node.op_type not in _ELEMENTWISE | _MEANS or node.domain not in ("", "ai.onnx"):
            return
        frontier.discard(tensor)
        nodes[file.order[tensor]] = node
        for name in node.input:
            if name and flow.is_data(name):
                frontier.add(name)
            elif name and flow.is_constant(name):
                leaves[name] = None
            elif name:
                return
        if len(frontier) == 1:
            yield Cone(next(iter(frontier)), output, [nodes[k] for k in sorted(nodes)], list(leaves))


def _run(constants: Constants, cone: Cone, values: dict[str, np.ndarray]) -> np.ndarray | None:
    env = dict(values)
    for leaf in cone.leaves:
        if leaf not in env:
            env[leaf] = constants.value(leaf)
    try:
        for node in cone.nodes:
            results = constants.runner.run(node, [env[i] if i else None for i in node.input])
            env.update(zip((o for o in node.output if o), results, strict=False))
    except UnsupportedError:
        return None
    return np.asarray(env[cone.output], np.float32)


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _gelu_erf(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def _quick(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-1.702 * x))


_FORMULAS = {
    "relu": lambda x: np.maximum(x, 0),
    "silu": _silu,
    "gelu_tanh": _gelu,
    "gelu_erf": _gelu_erf,
    "quick_gelu": _quick,
}


def find_activation(constants: Constants, output: str) -> Found | None:
    """The activation whose value `output` is, or None."""
    for cone in cones(constants, output):
        kinds = {n.op_type for n in cone.nodes}
        if kinds & _MEANS or not kinds & _CURVES or any(constants.scalar(leaf) is None for leaf in cone.leaves):
            continue
        x = np.linspace(-6, 6, 241, dtype=np.float32)[None]
        y = _run(constants, cone, {cone.source: x})
        if y is None or y.shape != x.shape:
            continue
        for kind, formula in _FORMULAS.items():
            if np.abs(y - formula(x.astype(np.float64))).max() < 3e-5:
                return Found(kind, cone)
    return None


def find_norm(constants: Constants, output: str) -> Found | None:
    """The RMSNorm or LayerNorm whose value `output` is, or None.

    A LayerNorm also is the RMSNorm of x - mean(x), so the search goes on past an RMSNorm.
    """
    best: Found | None = None
    for cone in cones(constants, output):
        if not any(n.op_type in _MEANS for n in cone.nodes):
            continue
        vectors = [v for v in cone.leaves if constants.vector(v) > 1 and v not in _axes(cone)]
        widths = {constants.vector(v) for v in vectors}
        if len(widths) != 1 or len(vectors) > 2:
            continue
        small = [s for leaf in cone.leaves if (s := constants.scalar(leaf)) is not None and 0 < s <= 0.01]
        width = widths.pop()
        for eps in sorted({decimal(s) for s in small}):
            found = _match_norm(constants, cone, vectors, width, eps)
            if found is not None and (best is None or found.kind == "layer"):
                best = found
    return best


def _axes(cone: Cone) -> set[str]:
    return {n.input[1] for n in cone.nodes if n.op_type in _MEANS and len(n.input) > 1}


def _match_norm(constants: Constants, cone: Cone, vectors: list[str], width: int, eps: float) -> Found | None:
    rng = np.random.default_rng(0)
    rank = len(constants.file.shapes.get(cone.source, ())) or 3
    x = (rng.standard_normal((1,) * (rank - 2) + (3, width)) + 0.5).astype(np.float32) * np.float32(math.sqrt(eps))
    values = {v: (1 + 0.5 * rng.standard_normal(constants.shape(v))).astype(constants.value(v).dtype) for v in vectors}
    y = _run(constants, cone, {cone.source: x, **values})
    if y is None or y.shape != x.shape:
        return None
    wide = x.astype(np.float64)
    for kind in ("rms", "layer"):
        c = wide - wide.mean(-1, keepdims=True) if kind == "layer" else wide
        core = c / np.sqrt((c * c).mean(-1, keepdims=True) + eps)
        for gamma, beta in _roles(vectors):
            want = core * values[gamma].astype(np.float64).reshape(-1)
            if beta:
                want = want + values[beta].astype(np.float64).reshape(-1)
            if np.allclose(y, want, rtol=2e-3, atol=2e-3):
                return Found(kind, cone, gamma, beta, eps, width)
    return None


def _roles(vectors: list[str]) -> list[tuple[str, str]]:
    if len(vectors) == 1:
        return [(vectors[0], "")]
    return [(vectors[0], vectors[1]), (vectors[1], vectors[0])]
