"""Operators found so far, not yet named, and the checks of layout between them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx

from flightllm.errors import UnsupportedError
from flightllm.frontends.onnx.match import Match, Matcher
from flightllm.frontends.onnx.rope import Angles
from flightllm.frontends.onnx.run import Value
from flightllm.frontends.onnx.weights import take
from flightllm.ir.ops import Linear, Norm, Op


@dataclass
class Piece:
    """An operator with its inputs (ids of pieces), its width, and the ONNX nodes it stands for."""

    id: str
    op: Op
    inputs: tuple[str, ...]
    width: int
    node: onnx.NodeProto | None
    nodes: list[onnx.NodeProto] = field(default_factory=list)


class Pieces:
    """All pieces of a model; `of` finds one by id. angles: rotary frequencies by the configuration beside the model, or None."""

    def __init__(self, matcher: Matcher, angles: Angles | None = None) -> None:
        self.matcher, self.angles = matcher, angles
        self._of: dict[str, Piece] = {}
        self._derived: dict[tuple[str, bytes], str] = {}

    def of(self, name: str) -> Piece:
        """The piece of that id."""
        return self._of[name]

    def add(self, op: Op, inputs: tuple[str, ...], width: int, match: Match, *more: Piece) -> str:
        """A new piece; `more`: pieces it replaces, whose nodes it takes over."""
        name = f"p{len(self._of)}"
        nodes = [*(n for p in more for n in p.nodes), *match.nodes]
        self._of[name] = Piece(name, op, inputs, width, match.node, nodes)
        return name

    def error(self, match: Match, what: str, why: str) -> UnsupportedError:
        """UnsupportedError about a match."""
        return self.matcher.unsupported(match.node, what, why)

    def _derive(self, old: Piece, op: Op, width: int, mark: bytes) -> str:
        key = (old.id, mark)
        if key not in self._derived:
            name = f"p{len(self._of)}"
            self._of[name] = Piece(name, op, old.inputs, width, old.node, old.nodes)
            self._derived[key] = name
        return self._derived[key]

    def select(self, value: Value, match: Match) -> Value:
        """The same value with a source of just the columns it uses (q, k and v of a fused projection)."""
        if not value.source or not value.width:
            raise self.error(
                match, "token ids or cache contents are used as values", "an operator of the decoder is expected"
            )
        live = value.index[value.index >= 0]
        columns = np.unique(live % value.width)
        if len(columns) == value.width or not len(columns):
            return value
        old = self.of(value.source)
        if not isinstance(old.op, Linear):
            raise self.error(
                match,
                "only some of the features are used",
                f"{len(columns)} of {value.width} elements of a {type(old.op).__name__}",
            )
        op = Linear(take(old.op.weight, columns), None if old.op.bias is None else take(old.op.bias, columns))
        name = self._derive(old, op, len(columns), b"rows" + columns.tobytes())
        token, column = np.divmod(value.index, value.width)
        index = np.where(value.index >= 0, token * len(columns) + np.searchsorted(columns, column), value.index)
        return Value(name, len(columns), index, value.factor, value.past)

    def plain(self, value: Value, match: Match) -> Value:
        """The selected value, without cache parts and without a constant factor."""
        value = self.select(value, match)
        if value.past or (value.index < 0).any():
            raise self.error(match, "cache contents are used outside an attention", f"cache input {value.past!r}")
        if value.factor != 1:
            raise self.error(
                match,
                "a constant factor on a value",
                f"factor {value.factor:g} outside an attention's queries and keys",
            )
        return value

    def features(self, value: Value, width: int, match: Match) -> np.ndarray:
        """Tokens [..] of a value whose last axis is the source's whole feature vector of that width, in order."""
        index = value.index
        if value.width != width or index.ndim == 0 or index.shape[-1] != width:
            raise self.error(
                match,
                "shapes that disagree",
                f"the operator reads vectors of {width}, its input is {list(index.shape)} of a value of width {value.width}",
            )
        tokens = index[..., :1] // width
        if not np.array_equal(index, tokens * width + np.arange(width)):
            raise self.error(
                match, "features are rearranged before this operator", "its input is not a token's vector as computed"
            )
        return tokens[..., 0]

    def heads(self, value: Value, size: int, match: Match) -> int:
        """Heads of a value whose last axis is one head of that size (or all of them side by side)."""
        index = value.index
        if index.ndim == 0 or index.shape[-1] % size or value.width % size:
            raise self.error(
                match, "shapes that disagree", f"last axis {list(index.shape)} is no multiple of the head size {size}"
            )
        parts = index.reshape(-1, size)
        if not np.array_equal(parts, parts[:, :1] + np.arange(size)) or (parts[:, 0] % size).any():
            raise self.error(
                match, "heads are rearranged before this operator", f"its last axis is not a head of {size} in order"
            )
        return value.width // size

    def interleave(self, name: str, heads: int, size: int, rotary: int, match: Match) -> str:
        """The piece with each head's first `rotary` elements reordered from interleaved pairs to two halves."""
        old = self.of(name)
        order = np.arange(size)
        order[:rotary] = np.concatenate([np.arange(0, rotary, 2), np.arange(1, rotary, 2)])
        mark = b"halves" + order.tobytes()
        if isinstance(old.op, Norm) and old.op.heads == heads and old.op.beta is None:
            inner = self.interleave(old.inputs[0], heads, size, rotary, match)
            op: Op = Norm(old.op.kind, old.op.eps, take(old.op.gamma, order), None, heads)
            name = self._derive(old, op, old.width, mark)
            self._of[name].inputs = (inner,)
            return name
        if not isinstance(old.op, Linear):
            raise self.error(match, "interleaved rotary embedding of a computed value", f"of a {type(old.op).__name__}")
        rows = (np.arange(heads)[:, None] * size + order).reshape(-1)
        bias = None if old.op.bias is None else take(old.op.bias, rows)
        return self._derive(old, Linear(take(old.op.weight, rows), bias), old.width, mark)
