"""Rotary position embedding: matching it, and recovering its frequencies from whatever the file computes cos and sin with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import onnx

from flightllm.frontends.onnx.flow import MOVES
from flightllm.frontends.onnx.match import Match, Matcher
from flightllm.frontends.onnx.reader import integer, number
from flightllm.frontends.rope import inverse_frequencies

if TYPE_CHECKING:
    from flightllm.frontends.onnx.run import Run

_TURN = {"Neg", "Mul", "Sub", *MOVES}


def match_rotary_node(m: Matcher, node: onnx.NodeProto, tensor: str) -> Match:
    """RotaryEmbedding: ONNX (X, cos, sin, [positions]) or com.microsoft (X, positions, cos, sin)."""
    inputs = [*node.input, *[""] * 4]
    if node.domain == "com.microsoft":
        x, positions, cos, sin = inputs[:4]
        if number(node, "scale", 1.0) != 1 or integer(node, "is_packed_batching", 0):
            raise m.unsupported(
                node, "RotaryEmbedding with a scale or packed batches", "scale 1 without packing is supported"
            )
    else:
        x, cos, sin, positions = inputs[:4]
    return Match(
        "rope",
        node,
        (x,),
        [node],
        {
            "cos": cos,
            "sin": sin,
            "positions": positions,
            "interleaved": bool(integer(node, "interleaved", 0)),
            "heads": integer(node, "num_heads", 0),
            "rotary": integer(node, "rotary_embedding_dim", 0),
        },
    )


def match_rotation(m: Matcher, node: onnx.NodeProto) -> Match | None:
    """x * cos + rotate_half(x) * sin, ending in the Add `node`; None if it is not that."""
    products = [m.file.producer.get(i) for i in node.input]
    terms = []
    for product in products:
        if product is None or product.op_type != "Mul":
            return None
        data = m.data(product)
        if len(data) != 1:
            return None
        terms.append((data[0], next(i for i in product.input if i not in data)))
    for (x, cos), (half, sin) in (terms, terms[::-1]):
        turn = _turn(m, half, x)
        if turn and not (m.constants.scalar(cos) or m.constants.scalar(sin)):
            nodes = [n for n in (*turn, *products, node) if n is not None]
            info = {
                "cos": cos,
                "sin": sin,
                "positions": "",
                "interleaved": False,
                "heads": 0,
                "rotary": 0,
                "turn": (half, turn),
            }
            return Match("rope", node, (x,), nodes, info)
    return None


def _turn(m: Matcher, half: str, x: str) -> list[onnx.NodeProto]:
    """The nodes that make `half` of x by moves and negation; [] if there is more to it."""
    nodes: dict[int, onnx.NodeProto] = {}
    frontier = {half}
    while frontier != {x}:
        tensor = max(frontier, key=lambda t: m.file.order.get(t, -1))
        node = m.file.producer.get(tensor)
        if node is None or node.op_type not in _TURN or len(nodes) > 12:
            return []
        frontier.discard(tensor)
        nodes[m.file.order[tensor]] = node
        frontier.update(m.data(node))
    return [nodes[k] for k in sorted(nodes)]


@dataclass(frozen=True)
class Angles:
    """inv_freq float64 [rotary / 2] (snapped, see `snap`), its absolute error, and the factor on cos and sin."""

    inv_freq: np.ndarray
    factor: float
    error: float = 0.0


def frequencies(run: Run, cos: str, sin: str, positions: np.ndarray) -> Angles | None:
    """Frequencies behind the tensors cos and sin [.., tokens, n] of `positions` (or tables by position); None if not rotary.

    Where the file computes cos(position * inv_freq), the angle itself is evaluated, which gives inv_freq in the file's own fp32. Where
    it holds a table, inv_freq is the angle of row 1, refined by rows further down.
    """
    node = _trig(run, cos)
    if node is not None:
        angle = run.control(node.input[0])
        factor = run.child({node.output[0]: np.ones(angle.shape, angle.dtype)}).control(cos)
        spread = np.asarray(run.child({node.output[0]: angle}).control(cos), np.float64) / np.asarray(
            factor, np.float64
        )
        rows = spread.reshape(len(positions), -1) if spread.size % len(positions) == 0 else None
        if rows is None:
            return None
        powers = [i for i, p in enumerate(positions) if p > 0 and p & (p - 1) == 0]
        usable = powers or [i for i, p in enumerate(positions) if p > 0]
        if not usable:
            return None
        return Angles(rows[usable[0]] / positions[usable[0]], float(np.asarray(factor).reshape(-1)[0]))
    table = _table(run, cos), _table(run, sin)
    if table[0] is None or table[1] is None or table[0].shape != table[1].shape or len(table[0]) < 2:
        return None
    return from_table(table[0], table[1])


def _trig(run: Run, tensor: str) -> onnx.NodeProto | None:
    """The Cos or Sin node behind moves and constant factors."""
    m = run.matcher
    while (node := m.file.producer.get(tensor)) is not None:
        if node.op_type in ("Cos", "Sin"):
            return node
        if node.op_type not in MOVES and node.op_type != "Mul":
            return None
        inputs = [i for i in node.input[: 2 if node.op_type == "Mul" else 1] if i and not m.flow.is_constant(i)]
        if len(inputs) != 1:
            return None
        tensor = inputs[0]
    return None


def _table(run: Run, tensor: str) -> np.ndarray | None:
    """The constant table [positions, n] that a tensor's rows come from."""
    m = run.matcher
    while not m.flow.is_constant(tensor):
        node = m.file.producer.get(tensor)
        if node is None or node.op_type not in MOVES:
            return None
        tensor = node.input[0]
    if m.constants.vector(tensor) or len(m.constants.shape(tensor)) < 2:
        return None
    value = m.constants.value(tensor)
    return value.reshape(-1, value.shape[-1])


def from_table(cos: np.ndarray, sin: np.ndarray) -> Angles:
    """Frequencies of tables [positions, n] of any float type: the angle of row 1, its error halved by each doubling of the row."""
    eps = float(ml_dtypes.finfo(cos.dtype).eps)
    cos, sin = cos.astype(np.float64), sin.astype(np.float64)
    factor = float(np.float32(np.hypot(cos[0, 0], sin[0, 0])))
    inv, row, last = np.arctan2(sin[1], cos[1]), 2, 1
    while row < len(cos):
        turn = np.arctan2(sin[row], cos[row]) - inv * row
        inv = inv + (turn - 2 * np.pi * np.rint(turn / (2 * np.pi))) / row
        row, last = row * 2, row
    return Angles(np.asarray(inv, np.float64), factor, 2 * eps / last)


def snap(angles: Angles, given: Angles | None = None, tolerance: float = 1e-6) -> Angles:
    """The frequencies in float64 that the file rounds: `given` (from a configuration), or theta ** (-2i / d) for the decimal theta of
    fewest digits, if they agree within their error and a relative `tolerance`; else the file's own.
    """
    inv, n = angles.inv_freq, len(angles.inv_freq)

    def agree(ideal: np.ndarray) -> bool:
        return ideal.shape == inv.shape and bool(
            np.all(np.abs(inv - ideal) <= tolerance * np.abs(ideal) + angles.error)
        )

    if (
        given is not None
        and agree(given.inv_freq)
        and abs(angles.factor / given.factor - 1) <= tolerance + 2e-3 * (angles.error > 0)
    ):
        return given
    if n < 2 or not (inv > 0).all() or not agree(np.append(1.0, inv[1:])):
        return angles
    # ln theta = -ln(inv[i]) * n / i, best where its relative error is least
    index = 1 + int(np.argmin((tolerance + angles.error / inv[1:]) / np.arange(1, n)))
    estimate = float(inv[index]) ** (-n / index)
    for digits in range(1, 9):
        ideal = plain(float(f"{estimate:.{digits - 1}e}"), 2 * n)
        if agree(ideal):
            return Angles(ideal, angles.factor)
    return angles


def plain(theta: float, rotary: int) -> np.ndarray:
    """Unscaled frequencies theta ** (-2i / rotary), float64 [rotary / 2]."""
    return inverse_frequencies({"rope_theta": theta}, rotary, 0, "")[0]
