"""Values of tensors that depend on no input: small ones as arrays, large ones as lazily read weights."""

from __future__ import annotations

import math

import numpy as np

from flightllm.errors import UnsupportedError
from flightllm.frontends.onnx.evaluate import NodeRunner
from flightllm.frontends.onnx.flow import Flow
from flightllm.frontends.onnx.reader import OnnxFile, attribute, finite, label
from flightllm.frontends.onnx.weights import transposed
from flightllm.ir.weights import Weight


class Constants:
    """Constant tensors of a file, computed ones included."""

    def __init__(self, file: OnnxFile, flow: Flow, runner: NodeRunner) -> None:
        self.file, self.flow, self.runner = file, flow, runner

    def value(self, name: str) -> np.ndarray:
        """The array; nodes on the way are evaluated. Not kept: large ones would fill memory."""
        memo: dict[str, np.ndarray] = {}
        stack = [name]
        while stack:
            tensor = stack[-1]
            if tensor in memo:
                stack.pop()
            elif tensor in self.file.constants:
                memo[tensor] = self.file.array(tensor)
            else:
                node = self.file.producer[tensor]
                missing = [i for i in node.input if i and i not in memo]
                if missing:
                    stack.extend(missing)
                    continue
                results = self.runner.run(node, [memo[i] if i else None for i in node.input])
                memo.update(zip((o for o in node.output if o), (np.asarray(r) for r in results), strict=False))
        return memo[name]

    def scalar(self, name: str) -> float | None:
        """The value of a constant of one element; None for anything else."""
        if not name or not self.flow.is_constant(name):
            return None
        if name in self.file.constants and math.prod(self.file.shape(name)) != 1:
            return None
        value = self.value(name)
        return float(value.reshape(-1)[0]) if value.size == 1 and value.dtype.kind in "fiub" else None

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a constant."""
        if name in self.file.constants:
            return self.file.shape(name)
        node = self.file.producer[name]
        if node.op_type in ("Cast", "Identity") and node.input:
            return self.shape(node.input[0])
        if node.op_type == "Transpose" and len(self.shape(node.input[0])) == 2:
            return self.shape(node.input[0])[::-1]
        return self.value(name).shape

    def vector(self, name: str) -> int:
        """Length of a constant that is a vector, perhaps with leading axes of 1; 0 for anything else."""
        if not name or not self.flow.is_constant(name):
            return 0
        shape = self.shape(name)
        return shape[-1] if shape and all(d == 1 for d in shape[:-1]) else 0

    def weight(self, name: str) -> Weight:
        """A constant as a lazily read weight in its own orientation."""
        if name in self.file.constants:
            return self.file.weight(name)
        node = self.file.producer[name]
        if node.op_type in ("Cast", "Identity"):
            return self.weight(node.input[0])
        if node.op_type == "Transpose" and len(self.shape(name)) == 2:
            perm = attribute(node, "perm", [1, 0])
            inner = self.weight(node.input[0])
            return transposed(inner) if perm == [1, 0] else inner
        where = f"{self.file.path}, tensor {name}"
        first = self.value(name)
        if first.dtype.kind != "f" and first.dtype.name != "bfloat16":
            raise UnsupportedError(
                f"weight of type {first.dtype}",
                where=f"{where}, {label(node)}",
                why="weights are numbers",
                do="export the model in float32, float16 or bfloat16",
            )
        return Weight(
            name,
            first.shape,
            lambda: finite(np.ascontiguousarray(self.value(name), dtype=np.float32), where),
            str(self.file.path),
            key=f"{self.file.path}:{name}",
        )

    def flat(self, name: str) -> Weight:
        """A constant vector [1, .., n] as a weight [n]."""
        inner = self.weight(name)
        if len(inner.shape) == 1:
            return inner
        read = inner.read
        return Weight(inner.name, (inner.shape[-1],), lambda: read().reshape(-1), inner.source, key=inner.key + "|flat")
