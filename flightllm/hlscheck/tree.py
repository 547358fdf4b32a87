"""Small questions to a libclang cursor. A cursor is of type Any: clang.cindex has no type stubs."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

INT = 1  # CXEval_Int
WRAPPERS = {"UNEXPOSED_EXPR", "PAREN_EXPR", "CXX_STATIC_CAST_EXPR", "CSTYLE_CAST_EXPR", "CXX_FUNCTIONAL_CAST_EXPR"}
BINARY = {  # CXBinaryOperatorKind
    3: "*",
    4: "/",
    5: "%",
    6: "+",
    7: "-",
    8: "<<",
    9: ">>",
    11: "<",
    12: ">",
    13: "<=",
    14: ">=",
    15: "==",
    16: "!=",
    20: "&&",
    21: "||",
    22: "=",
    23: "*=",
    24: "/=",
    25: "%=",
    26: "+=",
    27: "-=",
    28: "<<=",
    29: ">>=",
    30: "&=",
    31: "^=",
    32: "|=",
}
ASSIGNMENTS = {"=", "*=", "/=", "%=", "+=", "-=", "<<=", ">>=", "&=", "^=", "|="}
UNARY = {1: "++", 2: "--", 3: "++", 4: "--", 5: "&", 6: "*"}  # CXUnaryOperatorKind


def _lib() -> Any:
    """The library behind clang.cindex, with the functions that its Python side leaves out."""
    from clang.cindex import Cursor, conf

    lib = conf.lib
    if not getattr(lib, "flightllm_ready", False):
        for name, result in (
            ("clang_Cursor_Evaluate", ctypes.c_void_p),
            ("clang_getCursorBinaryOperatorKind", ctypes.c_int),
            ("clang_getCursorUnaryOperatorKind", ctypes.c_int),
            ("clang_isVirtualBase", ctypes.c_uint),
        ):
            function = getattr(lib, name)
            function.argtypes, function.restype = [Cursor], result
        lib.clang_EvalResult_getKind.argtypes = [ctypes.c_void_p]
        lib.clang_EvalResult_getAsLongLong.argtypes = [ctypes.c_void_p]
        lib.clang_EvalResult_getAsLongLong.restype = ctypes.c_longlong
        lib.clang_EvalResult_dispose.argtypes = [ctypes.c_void_p]
        lib.flightllm_ready = True
    return lib


def kids(cursor: Any) -> list[Any]:
    """Children."""
    return list(cursor.get_children())


def walk(cursor: Any) -> Iterator[Any]:
    """The cursor and all below it, in the order of the source."""
    left = [cursor]
    while left:
        yield (at := left.pop())
        left += reversed(kids(at))


def kind(cursor: Any) -> str:
    """Name of the cursor's kind; of kinds that the binding does not know: UNKNOWN."""
    try:
        return str(cursor.kind.name)
    except ValueError:
        return "UNKNOWN"


def strip(cursor: Any) -> Any:
    """The expression inside casts and parentheses."""
    while kind(cursor) in WRAPPERS:
        inside = [c for c in kids(cursor) if not kind(c).endswith("_REF") and kind(c) != "NAMESPACE_REF"]
        if len(inside) != 1:
            return cursor
        cursor = inside[0]
    return cursor


def constant(cursor: Any) -> int | None:
    """Value of an expression that the compiler knows. Not for the pattern of a template."""
    lib = _lib()
    result = lib.clang_Cursor_Evaluate(cursor)
    if not result:
        return None
    value = int(lib.clang_EvalResult_getAsLongLong(result)) if lib.clang_EvalResult_getKind(result) == INT else None
    lib.clang_EvalResult_dispose(result)
    return value


def operator(cursor: Any) -> str:
    """The operator of a unary, binary or assigning expression; empty for what is none."""
    name = kind(cursor)
    if name in ("BINARY_OPERATOR", "COMPOUND_ASSIGNMENT_OPERATOR"):
        return BINARY.get(_lib().clang_getCursorBinaryOperatorKind(cursor), "other")
    if name == "UNARY_OPERATOR":
        return UNARY.get(_lib().clang_getCursorUnaryOperatorKind(cursor), "other")
    return ""


def changes(cursor: Any) -> Any | None:
    """The expression that an assignment, ++ or -- changes."""
    sign = operator(cursor)
    if sign in ASSIGNMENTS or (sign in ("++", "--") and kind(cursor) == "UNARY_OPERATOR"):
        return strip(kids(cursor)[0])
    return None


def is_virtual_base(base: Any) -> bool:
    """Whether a base of a class is virtual."""
    return bool(_lib().clang_isVirtualBase(base))


def file_of(cursor: Any) -> str:
    """File of the cursor, empty for what is built in."""
    return cursor.location.file.name if cursor.location.file else ""


def body_of(function: Any) -> Any | None:
    """Compound statement of a function with a definition."""
    for child in kids(function):
        if kind(child) == "COMPOUND_STMT":
            return child
    return None


def arguments(call: Any) -> list[Any]:
    """Arguments of a call."""
    return list(call.get_arguments())


def spans(cursor: Any) -> tuple[int, int]:
    """Offsets in its file."""
    return cursor.extent.start.offset, cursor.extent.end.offset


def pointee(type_: Any) -> Any:
    """Canonical type without references and array dimensions."""
    type_ = type_.get_canonical()
    while True:
        name = type_.kind.name
        if name in ("LVALUEREFERENCE", "RVALUEREFERENCE"):
            type_ = type_.get_pointee().get_canonical()
        elif name in ("CONSTANTARRAY", "INCOMPLETEARRAY", "VARIABLEARRAY", "DEPENDENTSIZEDARRAY"):
            type_ = type_.get_array_element_type().get_canonical()
        else:
            return type_


def dimensions(type_: Any) -> list[int]:
    """Sizes of an array's dimensions; of what is none: empty."""
    type_ = type_.get_canonical()
    if type_.kind.name in ("LVALUEREFERENCE", "RVALUEREFERENCE"):
        type_ = type_.get_pointee().get_canonical()
    sizes = []
    while type_.kind.name == "CONSTANTARRAY":
        sizes.append(type_.get_array_size())
        type_ = type_.get_array_element_type().get_canonical()
    return sizes


def is_const(type_: Any) -> bool:
    """Whether nothing can be changed through a variable of this type."""
    type_ = type_.get_canonical()
    if type_.kind.name in ("LVALUEREFERENCE", "RVALUEREFERENCE"):
        type_ = type_.get_pointee().get_canonical()
    while type_.kind.name in ("CONSTANTARRAY", "INCOMPLETEARRAY"):
        if type_.is_const_qualified():
            return True
        type_ = type_.get_array_element_type().get_canonical()
    return bool(type_.is_const_qualified())


def is_stream(type_: Any) -> bool:
    """Whether it is hls::stream."""
    declaration = type_.get_canonical().get_declaration()
    parent = declaration.semantic_parent
    return declaration.spelling == "stream" and parent is not None and parent.spelling == "hls"


def has_stream(type_: Any) -> bool:
    """Whether it is hls::stream, or an array or a struct with one inside."""
    inner = pointee(type_)
    if is_stream(inner):
        return True
    if inner.kind.name == "RECORD" and inner.get_declaration().semantic_parent.spelling not in ("std", "hls"):
        return any(has_stream(f.type) for f in inner.get_fields())
    return False
