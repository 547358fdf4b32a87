"""Reading of .onnx files: the graph in memory, weights left on disk where the file keeps them outside.

External tensors are memory-mapped (location, offset, length of the tensor), so loading a model costs memory for its graph only. Tensors
inside the .onnx file itself (protobuf limits such a file to 2 GiB) stay in the parsed message.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from flightllm.errors import ModelError, UnsupportedError
from flightllm.ir.weights import Weight

#: constants up to this many elements may be looked at while a model is loaded
SMALL = 1 << 16

_FLOATS = {
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
    onnx.TensorProto.DOUBLE,
}
_SUB_BYTE = {onnx.TensorProto.INT4, onnx.TensorProto.UINT4, onnx.TensorProto.FLOAT4E2M1}
_REEXPORT = "export the model again, or copy all of its files"


@dataclass(frozen=True)
class External:
    """Place of a tensor outside the .onnx file: file, byte offset and byte length."""

    path: Path
    offset: int
    length: int


class OnnxFile:
    """A parsed .onnx file: nodes, constants, who makes and who reads each tensor.

    nodes: in file order, with Constant nodes turned into constants. producer: tensor -> node. consumers: tensor -> nodes.
    constants: tensor -> TensorProto.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        model = _parse(path)
        self.opsets = {o.domain or "": o.version for o in model.opset_import}
        graph = model.graph
        self.inputs = [i for i in graph.input if i.name not in {t.name for t in graph.initializer}]
        self.outputs = list(graph.output)
        self.constants: dict[str, onnx.TensorProto] = {t.name: t for t in graph.initializer}
        self.nodes: list[onnx.NodeProto] = []
        self.shapes = {v.name: _dims(v) for v in (*graph.input, *graph.value_info, *graph.output)}
        for node in graph.node:
            if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and len(node.output) == 1:
                self.constants[node.output[0]] = _constant(node)
            else:
                self.nodes.append(node)
        self._external: dict[str, External] = {}
        for name, tensor in self.constants.items():
            self._check(name, tensor)
        self.producer: dict[str, onnx.NodeProto] = {}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        self.order: dict[str, int] = {}
        self._wire()

    def _wire(self) -> None:
        known = set(self.constants) | {i.name for i in self.inputs}
        for position, node in enumerate(self.nodes):
            for name in node.input:
                if name and name not in known:
                    raise ModelError(
                        f"{label(node)} reads the tensor {name!r}, which nothing before it makes",
                        where=str(self.path),
                        do=_REEXPORT,
                    )
                self.consumers.setdefault(name, []).append(node)
            for name in node.output:
                if name in known:
                    raise ModelError(
                        f"the tensor {name!r} is made twice", where=f"{self.path}, {label(node)}", do=_REEXPORT
                    )
                if name:
                    known.add(name)
                    self.producer[name] = node
                    self.order[name] = position
        for output in self.outputs:
            if output.name not in known:
                raise ModelError(f"nothing makes the output {output.name!r}", where=str(self.path), do=_REEXPORT)

    # -- constants ---------------------------------------------------------------------------------------------------------

    def _check(self, name: str, tensor: onnx.TensorProto) -> None:
        """Type, sizes and place of a constant; ModelError if they do not agree."""
        where = f"{self.path}, tensor {name}"
        try:
            item = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        except (KeyError, ValueError, TypeError):
            raise ModelError(f"tensor of unknown type {tensor.data_type}", where=where, do=_REEXPORT) from None
        if any(d < 0 for d in tensor.dims):
            raise ModelError(f"tensor of impossible shape {list(tensor.dims)}", where=where, do=_REEXPORT)
        count = 1
        for d in tensor.dims:
            count *= d
        size = (count + 1) // 2 if tensor.data_type in _SUB_BYTE else count * item
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            place = self._locate(name, tensor, size)
            self._external[name] = place
            if place.length != size:
                raise ModelError(
                    "external data of the wrong size",
                    where=where,
                    why=f"{place.length} bytes recorded, shape {list(tensor.dims)} needs {size}",
                    do=_REEXPORT,
                )
            have = place.path.stat().st_size
            if have < place.offset + place.length:
                raise ModelError(
                    f"external data file {place.path.name} is too short",
                    where=where,
                    why=f"the tensor ends at byte {place.offset + place.length}, the file at byte {have}",
                    do="copy the file again; the download may be incomplete",
                )
        elif tensor.HasField("raw_data"):
            if len(tensor.raw_data) != size:
                raise ModelError(
                    "tensor data of the wrong size",
                    where=where,
                    why=f"{len(tensor.raw_data)} bytes present, shape {list(tensor.dims)} needs {size}",
                    do=_REEXPORT,
                )
        elif count > SMALL and count * item > tensor.ByteSize() * 8:
            raise ModelError("tensor without its data", where=where, why=f"shape {list(tensor.dims)}", do=_REEXPORT)

    def _locate(self, name: str, tensor: onnx.TensorProto, size: int) -> External:
        where = f"{self.path}, tensor {name}"
        entries = {e.key: e.value for e in tensor.external_data}
        location = entries.get("location", "")
        parts = Path(location).parts
        if not parts or Path(location).is_absolute() or ".." in parts:
            raise ModelError(
                f"external data at {location!r} is not beside the model",
                where=where,
                why="a model may only read files of its own folder",
                do="put the data file beside the .onnx file and correct its location",
            )
        path = self.path.parent / location
        if not path.is_file():
            raise ModelError(
                f"external data file {location} is missing", where=where, why=f"{path} is not there", do=_REEXPORT
            )
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
        except ValueError:
            raise ModelError(
                "external data without a readable place", where=where, why=str(entries), do=_REEXPORT
            ) from None
        if offset < 0 or length < 0:
            raise ModelError("external data at a negative place", where=where, why=str(entries), do=_REEXPORT)
        return External(path, offset, length)

    def array(self, name: str) -> np.ndarray:
        """A constant in its own type; memory-mapped if it lies outside the .onnx file."""
        tensor = self.constants[name]
        where = f"{self.path}, tensor {name}"
        try:
            if name not in self._external:
                return np.asarray(numpy_helper.to_array(tensor)).reshape(tuple(tensor.dims))
            place = self._external[name]
            if place.length == 0:
                return np.zeros(tuple(tensor.dims), onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
            data = np.memmap(place.path, np.uint8, "r", place.offset, (place.length,))
            if tensor.data_type in _SUB_BYTE:
                copy = onnx.TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=data.tobytes())
                return np.asarray(numpy_helper.to_array(copy))
            kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).newbyteorder("<")
            return data.view(kind).reshape(tuple(tensor.dims))
        except (OSError, ValueError, TypeError) as error:
            raise ModelError("tensor that cannot be read", where=where, why=str(error), do=_REEXPORT) from None

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a constant."""
        return tuple(self.constants[name].dims)

    def is_float(self, name: str) -> bool:
        """True if the constant has floating-point elements."""
        return self.constants[name].data_type in _FLOATS

    def weight(self, name: str) -> Weight:
        """A floating-point constant as a weight in the file's own orientation, read on demand."""
        where = f"{self.path}, tensor {name}"
        if not self.is_float(name):
            raise UnsupportedError(
                f"weight of type {onnx.TensorProto.DataType.Name(self.constants[name].data_type)}",
                where=where,
                why="a plain weight is float32, float16, bfloat16 or float64",
                do="quantised weights are read from MatMulNBits and DequantizeLinear",
            )

        def read() -> np.ndarray:
            return finite(np.ascontiguousarray(self.array(name), dtype=np.float32), where)

        return Weight(name, self.shape(name), read, str(self.path), key=f"{self.path}:{name}")


def finite(data: np.ndarray, where: str) -> np.ndarray:
    """The same array; ModelError if it has a NaN or an infinity."""
    good = np.isfinite(data)
    if not good.all():
        bad = np.argwhere(~good)[0].tolist()
        raise ModelError(
            "weight that is not a finite number",
            where=f"{where}, element {bad}",
            why=f"{int((~good).sum())} of {data.size} elements are NaN or infinite",
            do="the checkpoint is damaged or its training diverged; get it again",
        )
    return data


def label(node: onnx.NodeProto) -> str:
    """How messages name a node: its name, operator and domain."""
    kind = f"{node.domain}::{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
    return f"node {node.name or (node.output[0] if node.output else '?')} ({kind})"


def attribute(node: onnx.NodeProto, name: str, default: object = None) -> object:
    """An attribute's Python value, or `default`."""
    for a in node.attribute:
        if a.name == name:
            value = onnx.helper.get_attribute_value(a)
            return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return default


def integer(node: onnx.NodeProto, name: str, default: int) -> int:
    """An integer attribute; ModelError if it is of another type."""
    value = attribute(node, name, default)
    if not isinstance(value, int):
        raise ModelError(f"attribute {name} is not an integer", where=label(node), why=repr(value), do=_REEXPORT)
    return value


def number(node: onnx.NodeProto, name: str, default: float) -> float:
    """A float attribute as the shortest decimal that gives its fp32 value (1e-06, not 9.99999997e-07)."""
    value = attribute(node, name, default)
    if not isinstance(value, (int, float)):
        raise ModelError(f"attribute {name} is not a number", where=label(node), why=repr(value), do=_REEXPORT)
    return decimal(value)


def decimal(value: float) -> float:
    """The float64 nearest to the shortest decimal that rounds to the same fp32."""
    return float(str(np.float32(value)))


def _parse(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(str(path), load_external_data=False, format="protobuf")
    except (DecodeError, OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            "the ONNX file cannot be read",
            where=str(path),
            why=str(error) or type(error).__name__,
            do="it is truncated, damaged or of another format; export or download it again",
        ) from None
    if not model.graph.node:
        raise ModelError("the ONNX file has no nodes", where=str(path), do="it may be truncated; export it again")
    if model.functions:
        try:
            model = onnx.inliner.inline_local_functions(model)
        except Exception as error:
            raise ModelError(
                "functions of the model cannot be inlined",
                where=str(path),
                why=str(error),
                do="export it again with torch.onnx.export(dynamo=True), without local functions",
            ) from None
    return model


def _constant(node: onnx.NodeProto) -> onnx.TensorProto:
    a = node.attribute[0] if len(node.attribute) == 1 else None
    name = node.output[0]
    if a is not None and a.type == onnx.AttributeProto.TENSOR:
        tensor = onnx.TensorProto()
        tensor.CopyFrom(a.t)
        tensor.name = name
        return tensor
    if a is None or a.name not in ("value_float", "value_floats", "value_int", "value_ints"):
        raise UnsupportedError(f"{label(node)}: a constant that is not a number", where=label(node), do=_REEXPORT)
    value = onnx.helper.get_attribute_value(a)
    return numpy_helper.from_array(np.asarray(value, np.float32 if "float" in a.name else np.int64), name)


def _dims(value: onnx.ValueInfoProto) -> list[int | str]:
    """Dimensions of a value; names (or "") where dynamic."""
    return [d.dim_value if d.HasField("dim_value") else d.dim_param for d in value.type.tensor_type.shape.dim]
