"""One pass over a graph at concrete sizes: positions, masks and shapes as arrays, values of the data path as index arrays.

At a `Probe` (tokens T, cached positions P, batch 1) every control tensor has a value. A tensor of the data path is represented by a
`Value`: which operator result it holds, and for each of its elements the index into that result's [tokens, width]. Reshapes, transposes,
repeats, slices and concatenations act on the index array, so that whatever layout a file uses is checked exactly where an
operator reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from flightllm.errors import UnsupportedError
from flightllm.frontends.onnx.constants import Constants
from flightllm.frontends.onnx.evaluate import NodeRunner
from flightllm.frontends.onnx.flow import Flow
from flightllm.frontends.onnx.match import Match, Matcher
from flightllm.frontends.onnx.reader import OnnxFile, label


@dataclass(frozen=True)
class Probe:
    """Sizes of a pass: new tokens and cached positions."""

    tokens: int
    past: int


@dataclass
class Value:
    """A tensor of the data path.

    source: piece whose result it holds ("" for token ids and pure cache tensors). width: of that result. index: int64, shaped as the
    tensor: t * width + column for new tokens, -1 - i for element i of the cache input `past`. factor: constant multiplied in.
    """

    source: str
    width: int
    index: np.ndarray
    factor: float = 1.0
    past: str = ""


#: (run, match, tensor) -> value of that match
Reader = Callable[["Run", Match, str], Value]


class Run:
    """A pass at one probe; everything is computed on demand and kept."""

    def __init__(
        self, matcher: Matcher, runner: NodeRunner, readers: dict[str, Reader], pieces: Any, probe: Probe
    ) -> None:
        self.matcher, self.runner, self.readers, self.pieces, self.probe = matcher, runner, readers, pieces, probe
        self.exact = False
        self._kept: dict[str, np.ndarray | Value] = {}

    @property
    def file(self) -> OnnxFile:
        return self.matcher.file

    @property
    def flow(self) -> Flow:
        return self.matcher.flow

    @property
    def constants(self) -> Constants:
        return self.matcher.constants

    def child(self, values: dict[str, np.ndarray]) -> Run:
        """A pass of the same sizes with some control tensors replaced; casts between float types do nothing in it."""
        run = Run(self.matcher, self.runner, self.readers, self.pieces, self.probe)
        run._kept.update(values)
        run.exact = True
        return run

    def at(self, probe: Probe, values: dict[str, np.ndarray] | None = None) -> Run:
        """A pass at other sizes, with some constants replaced."""
        run = Run(self.matcher, self.runner, self.readers, self.pieces, probe)
        run._kept.update(values or {})
        return run

    def control(self, tensor: str) -> np.ndarray:
        """Value of a tensor outside the data path."""
        found = self._get(tensor)
        if isinstance(found, Value):
            raise UnsupportedError(
                f"tensor {tensor!r} depends on token values",
                where=self._where(tensor),
                why="shapes, positions and masks must follow from lengths alone",
                do="export with torch.onnx.export(dynamo=True)",
            )
        return found

    def value(self, tensor: str) -> Value:
        """Value of a tensor of the data path."""
        found = self._get(tensor)
        if not isinstance(found, Value):
            raise UnsupportedError(
                f"tensor {tensor!r} does not depend on the tokens",
                where=self._where(tensor),
                why="the data path needs one that does",
                do="export the model again, from token ids to logits",
            )
        return found

    def _where(self, tensor: str) -> str:
        node = self.file.producer.get(tensor)
        return self.flow.place(node) if node is not None else f"{self.file.path}, tensor {tensor}"

    def _get(self, tensor: str) -> np.ndarray | Value:
        stack = [tensor]
        while stack:
            name = stack[-1]
            if name in self._kept:
                stack.pop()
                continue
            missing = [d for d in self._needs(name) if d not in self._kept]
            if missing:
                stack.extend(missing)
                continue
            self._kept[name] = self._make(name)
            stack.pop()
        return self._kept[tensor]

    def _needs(self, name: str) -> list[str]:
        if self.flow.is_data(name) or name in self.matcher.synthetic:
            return [*self.matcher(name).data]
        node = self.file.producer.get(name)
        return [i for i in node.input if i] if node is not None else []

    def _make(self, name: str) -> np.ndarray | Value:
        if self.flow.is_data(name) or name in self.matcher.synthetic:
            match = self.matcher(name)
            return self.readers[match.kind](self, match, name)
        if name in self.file.constants:
            return self.file.array(name)
        node = self.file.producer.get(name)
        if node is None:
            return self._input(name)
        values = [self._kept[i] if i else None for i in node.input]
        arrays = [v.index if isinstance(v, Value) else v for v in values]
        if any(isinstance(v, Value) for v in values) and node.op_type not in ("Shape", "Size"):
            raise UnsupportedError(
                f"{label(node)} depends on token values",
                where=self.flow.place(node),
                do="use a model whose masks and positions follow from the number of tokens alone",
            )
        if self.exact and node.op_type == "Cast" and arrays[0] is not None and arrays[0].dtype.kind == "f":
            return arrays[0]
        for out, result in zip(node.output, self.runner.run(node, arrays), strict=False):
            if out:
                self._kept[out] = np.asarray(result)
        return self._kept[name]

    def _input(self, name: str) -> np.ndarray:
        value = next(i for i in self.file.inputs if i.name == name)
        rank, (tokens, past) = len(self.file.shapes[name]), (self.probe.tokens, self.probe.past)
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        if name in self.flow.inputs.positions and rank in (1, 2):
            return np.arange(past, past + tokens, dtype=kind).reshape((1,) * (rank - 1) + (tokens,))
        if name in self.flow.inputs.masks and rank == 2:
            return np.ones((1, past + tokens), kind)
        raise UnsupportedError(
            f"the purpose of the input {name!r} is not known",
            where=f"{self.file.path}, input {name}",
            why="known are token ids, position ids of rank 1 or 2, a padding mask of rank 2 and cache tensors of rank 4",
            do="export without this input",
        )


def main_probe(file: OnnxFile, flow: Flow) -> Probe:
    """The sizes at which a file is read: its static ones, else 3 tokens and, with a cache, 2 cached positions."""
    ids = file.shapes[flow.inputs.ids]
    if isinstance(ids[0], int) and ids[0] != 1:
        raise UnsupportedError(
            f"the model is exported for a batch of {ids[0]}",
            where=f"{file.path}, input {flow.inputs.ids}",
            do="export with batch 1",
        )
    tokens = ids[1] if isinstance(ids[1], int) else 3
    past = 0
    for name in flow.inputs.cache:
        dims = file.shapes[name]
        if not isinstance(dims[1], int) or not isinstance(dims[3], int) or (isinstance(dims[0], int) and dims[0] != 1):
            raise UnsupportedError(
                "cache input of unknown layout",
                where=f"{file.path}, input {name}",
                why=f"shape {dims}; expected [batch, kv heads, positions, head_dim] with fixed heads and head_dim",
                do="export with past_key_values of that layout",
            )
        past = dims[2] if isinstance(dims[2], int) else 2
    if not 1 <= tokens <= 4096 or not 0 <= past <= 1 << 16:
        raise UnsupportedError(
            "the model is exported for fixed lengths",
            where=str(file.path),
            why=f"{tokens} tokens, {past} cached",
            do="export it again with dynamic batch and sequence axes (dynamic_shapes of torch.onnx.export)",
        )
    return Probe(tokens, past)
