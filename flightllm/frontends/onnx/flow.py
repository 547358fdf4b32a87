"""What each tensor depends on: constants, token values, cache contents, or only positions, masks and shapes."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from flightllm.errors import UnsupportedError
from flightllm.frontends.onnx.reader import OnnxFile, label

#: operators that move elements and compute nothing; the moved tensor is their first input (Concat: all)
MOVES = {
    "Identity", "Cast", "Reshape", "Transpose", "Unsqueeze", "Squeeze", "Flatten", "Expand", "Slice", "Split", "Gather", "Concat",
    "Dropout", "Tile", "CastLike",
}  # fmt: skip
_SHAPES = {"Shape", "Size"}
#: operators that are, or contain, the softmax of an attention
_ATTENTIONS = {"Attention", "GroupQueryAttention", "MultiHeadAttention", "Softmax"}
_INTEGERS = {onnx.TensorProto.INT64, onnx.TensorProto.INT32}


@dataclass(frozen=True)
class Inputs:
    """The model's inputs by purpose: token ids; positions; padding mask; cache tensors (float, rank 4)."""

    ids: str
    positions: tuple[str, ...]
    masks: tuple[str, ...]
    cache: tuple[str, ...]


class Flow:
    """Dependence of every tensor of a file.

    tokens: tensors that depend on token values or cache contents (the data path and its by-products). constant: tensors that depend
    on no input. depth: attentions passed on the way to a tensor.
    """

    def __init__(self, file: OnnxFile) -> None:
        self.file = file
        self.inputs = _purposes(file)
        self.constant: set[str] = set(file.constants)
        self.tokens: set[str] = {self.inputs.ids, *self.inputs.cache}
        self.depth: dict[str, int] = {}
        for node in file.nodes:
            names = [i for i in node.input if i]
            if names and all(i in self.constant for i in names) and not _subgraphs(node):
                self.constant.update(o for o in node.output if o)
            if node.op_type not in _SHAPES and any(i in self.tokens for i in names):
                self.tokens.update(o for o in node.output if o)
            depth = max((self.depth.get(i, 0) for i in names), default=0) + (node.op_type in _ATTENTIONS)
            self.depth.update(dict.fromkeys(node.output, depth))

    def place(self, node: onnx.NodeProto) -> str:
        """Where in the model a node stands, in words."""
        depth = max((self.depth.get(i, 0) for i in node.input if i), default=0)
        behind = f"behind the attention of layer {depth - 1}" if depth else "before the attention of layer 0"
        return f"{label(node)}, {behind}"

    def is_data(self, name: str) -> bool:
        """True for values of the data path."""
        return name in self.tokens

    def is_constant(self, name: str) -> bool:
        """True if the tensor depends on no input."""
        return name in self.constant


def _subgraphs(node: onnx.NodeProto) -> bool:
    return any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute)


def _purposes(file: OnnxFile) -> Inputs:
    ids: list[str] = []
    positions: list[str] = []
    masks: list[str] = []
    cache: list[str] = []
    for value in file.inputs:
        kind, rank = value.type.tensor_type.elem_type, len(file.shapes[value.name])
        name = value.name.lower()
        if kind in _INTEGERS and "position" in name:
            positions.append(value.name)
        elif "mask" in name:
            masks.append(value.name)
        elif kind in _INTEGERS and rank == 2 and _feeds_table(file, value.name):
            ids.append(value.name)
        elif kind not in _INTEGERS and rank == 4:
            cache.append(value.name)
    if len(ids) != 1:
        names = ", ".join(i.name for i in file.inputs) or "none"
        raise UnsupportedError(
            "the model has no input of token ids"
            if not ids
            else f"the model has several inputs of token ids: {', '.join(ids)}",
            where=str(file.path),
            why=f"expected one integer input [batch, tokens] that selects rows of an embedding table; inputs: {names}",
            do="export the causal language model with input_ids (not inputs_embeds)",
        )
    return Inputs(ids[0], tuple(positions), tuple(masks), tuple(cache))


def _feeds_table(file: OnnxFile, name: str) -> bool:
    """True if the tensor, perhaps reshaped, indexes a constant table of floats."""
    seen, todo = {name}, [name]
    while todo:
        tensor = todo.pop()
        for node in file.consumers.get(tensor, ()):
            if node.op_type == "Gather" and len(node.input) > 1 and node.input[1] == tensor:
                table = node.input[0]
                if table in file.constants and file.is_float(table) and len(file.shape(table)) == 2:
                    return True
            elif node.op_type in MOVES and node.input[0] == tensor:
                new = [o for o in node.output if o and o not in seen]
                seen.update(new)
                todo.extend(new)
    return False
