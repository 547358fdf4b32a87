"""Strict JSON <-> dataclass conversion: every field present, none unknown, each of its declared type.

Supported field types: bool, int, float, str, Any-valued dicts, nested dataclasses, `tuple[T, ...]`, `list[T]`, `dict[str, T]` and
`T | None`. A wrong document is a `PackageError` that names the field by its path, e.g. `tensors[3].rows`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from functools import cache
from typing import Any

from flightllm.errors import FlightError, PackageError

#: what to do about a damaged package
AGAIN = "compile the model again"


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def encode(value: Any) -> Any:
    """A dataclass (nested, with tuples and dicts) as plain JSON values, fields in declaration order."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): encode(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [encode(v) for v in value]
    return value


def _fail(field: str, where: str, why: str) -> typing.NoReturn:
    raise PackageError(f"field {field!r} is wrong", where=where, why=why, do=AGAIN)


def _describe(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def decode(kind: Any, value: Any, where: str, field: str = "") -> Any:
    """JSON value -> value of type `kind`.

    Args:
        kind: the declared type.
        value: what `json.loads` gave.
        where: file, for messages.
        field: path of the field inside the document, "" for the whole.

    Raises:
        PackageError: naming the field that is missing, unknown or of another type.
    """
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(typing.cast(type, kind), value, where, field)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in args:
            return None
        (inner,) = [a for a in args if a is not type(None)]
        return decode(inner, value, where, field)
    if origin in (tuple, list):
        if not isinstance(value, list):
            _fail(field, where, f"expected a list, found {_describe(value)}")
        return origin(decode(args[0], v, where, f"{field}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            _fail(field, where, f"expected an object, found {_describe(value)}")
        return {k: decode(args[1], v, where, f"{field}.{k}") for k, v in value.items()}
    return _decode_scalar(kind, value, where, field)


def _decode_scalar(kind: Any, value: Any, where: str, field: str) -> Any:
    # bool is an int to isinstance; an int is a legal float and is kept as it is, so that digests of a config do not change
    if kind in (int, float) and isinstance(value, bool):
        _fail(field, where, f"expected {kind.__name__}, found {value!r}")
    if not isinstance(value, (int, float) if kind is float else kind):
        _fail(field, where, f"expected {kind.__name__}, found {_describe(value)}")
    if kind is int and not -(1 << 63) <= value < 1 << 63:
        _fail(field, where, "the number does not fit 64 bits")
    if kind is float and not abs(value) < 1e300:
        _fail(field, where, f"expected a finite number, found {value!r}")
    return value


def _decode_dataclass(cls: type, value: Any, where: str, field: str) -> Any:
    if not isinstance(value, dict):
        _fail(field or "manifest", where, f"expected an object, found {_describe(value)}")
    hints, prefix = _hints(cls), f"{field}." if field else ""
    fields = [f.name for f in dataclasses.fields(cls) if f.init]
    for name in fields:
        if name not in value:
            _fail(prefix + name, where, "the field is missing")
    for name in value:
        if name not in fields:
            _fail(prefix + name, where, "the field is unknown to this version")
    made = {name: decode(hints[name], value[name], where, prefix + name) for name in fields}
    try:
        return cls(**made)
    except PackageError:
        raise
    except FlightError as error:
        _fail(field or "manifest", where, " ".join(p for p in (error.what, error.why) if p))
