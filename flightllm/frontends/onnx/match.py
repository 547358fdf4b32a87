"""Structural matching: which operator of the decoder each tensor of the data path is, going back from the logits.

A match names the ONNX nodes it stands for and the data tensors it needs next. Nothing is evaluated here but constants; layouts,
masks and rotary angles are checked later, in `interpret`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import onnx

from flightllm.errors import UnsupportedError
from flightllm.frontends.onnx.constants import Constants
from flightllm.frontends.onnx.flow import Flow
from flightllm.frontends.onnx.pointwise import find_activation, find_norm
from flightllm.frontends.onnx.reader import OnnxFile


@dataclass
class Match:
    """One recognised piece. data: tensors of the data path it reads, in order. nodes: the ONNX nodes it stands for."""

    kind: str
    node: onnx.NodeProto | None
    data: tuple[str, ...]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    info: dict[str, Any] = field(default_factory=dict)


#: (matcher, node, wanted output) -> match, or None if the operator is not used in a known way
Handler = Callable[["Matcher", onnx.NodeProto, str], Match | None]


class Matcher:
    """Matches of a file, made on demand and kept. `synthetic`: values that an ONNX node makes without naming them."""

    def __init__(
        self, file: OnnxFile, flow: Flow, constants: Constants, handlers: dict[tuple[str, str], Handler]
    ) -> None:
        self.file, self.flow, self.constants, self.handlers = file, flow, constants, handlers
        self.synthetic: dict[str, Match] = {}
        self._kept: dict[str, Match] = {}

    def __call__(self, tensor: str) -> Match:
        """The match of a data tensor; UnsupportedError if it is none the machine has."""
        if tensor not in self._kept:
            self._kept[tensor] = self._find(tensor)
        return self._kept[tensor]

    def _find(self, tensor: str) -> Match:
        if tensor in self.synthetic:
            return self.synthetic[tensor]
        if tensor == self.flow.inputs.ids:
            return Match("ids", None, ())
        if tensor in self.flow.inputs.cache:
            return Match("past", None, ())
        node = self.file.producer.get(tensor)
        if node is None or not self.flow.is_data(tensor):
            raise self.unsupported(
                node, f"tensor {tensor!r} does not depend on the tokens", "the data path needs one that does"
            )
        handler = self.handlers.get((node.domain if node.domain != "ai.onnx" else "", node.op_type))
        if handler is not None:
            found = handler(self, node, tensor)
            if found is not None:
                return found
        found = self.pointwise(node, tensor)
        if found is not None:
            return found
        raise self.unsupported(
            node,
            f"operator {node.op_type} is not supported here",
            f"{node.op_type} (domain {node.domain or 'ai.onnx'}) is no part of a decoder's layers that the machine has",
        )

    def pointwise(self, node: onnx.NodeProto, tensor: str) -> Match | None:
        """A norm or activation spelled out in elementary operators that ends in `tensor`, or None."""
        norm = find_norm(self.constants, tensor)
        if norm is not None:
            return Match(
                "norm",
                node,
                (norm.cone.source,),
                norm.cone.nodes,
                {"kind": norm.kind, "eps": norm.eps, "gamma": norm.gamma, "beta": norm.beta},
            )
        act = find_activation(self.constants, tensor)
        if act is not None:
            return Match("act", node, (act.cone.source,), act.cone.nodes, {"kind": act.kind})
        return None

    def unsupported(self, node: onnx.NodeProto | None, what: str, why: str, do: str = "") -> UnsupportedError:
        """The error for a node of the data path."""
        where = self.flow.place(node) if node is not None else str(self.file.path)
        return UnsupportedError(
            what,
            where=where,
            why=why,
            do=do or "export with torch.onnx.export(dynamo=True), or see `flightllm check` for what is supported",
        )

    def data(self, node: onnx.NodeProto) -> list[str]:
        """The node's inputs that are on the data path."""
        return [i for i in node.input if i and self.flow.is_data(i)]
