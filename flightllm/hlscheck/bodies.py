"""What a function of the kernel may not contain."""

from __future__ import annotations

import re
from typing import Any

from flightllm.hlscheck.findings import Report
from flightllm.hlscheck.functions import Function
from flightllm.hlscheck.source import SHIMS, Source
from flightllm.hlscheck.tree import file_of, has_stream, is_const, is_stream, is_virtual_base, kids, kind, pointee

#: kind of a statement or expression: rule and what it is
FORBIDDEN = {
    "CXX_NEW_EXPR": ("allocation", "new"),
    "CXX_DELETE_EXPR": ("allocation", "delete"),
    "CXX_TRY_STMT": ("exception", "try"),
    "CXX_THROW_EXPR": ("exception", "throw"),
    "CXX_DYNAMIC_CAST_EXPR": ("rtti", "dynamic_cast"),
    "CXX_TYPEID_EXPR": ("rtti", "typeid"),
    "CXX_REINTERPRET_CAST_EXPR": ("pointer", "reinterpret_cast"),
    "GOTO_STMT": ("goto", "goto"),
    "INDIRECT_GOTO_STMT": ("goto", "goto"),
    "ASM_STMT": ("type", "asm"),
}
FLOATS = {"FLOAT", "DOUBLE", "HALF", "FLOAT128", "LONGDOUBLE", "FLOAT16", "IBM128", "BFLOAT16"}
UNSUPPORTED = {"LONGDOUBLE", "FLOAT128", "INT128", "UINT128", "COMPLEX"}
HEADERS = set(SHIMS)
DECLARATIONS = {"VAR_DECL", "PARM_DECL"}


def check_bodies(source: Source, functions: list[Function], report: Report) -> None:
    """Statements, expressions and types of all functions."""
    seen: set[str] = set()
    for function in functions:
        if function.body is None:
            continue
        if kind(function.cursor) == "CXX_METHOD" and function.cursor.is_virtual_method():
            report.add(
                source.name(function.file), function.cursor.location.line, "virtual", f"`{function.name}` is virtual"
            )
        _type(source, report, function.cursor, function.cursor.result_type, seen, "result of " + function.name)
        for cursor in function.nodes:
            _cursor(source, report, cursor, seen)


def _cursor(source: Source, report: Report, cursor: Any, seen: set[str]) -> None:
    name = kind(cursor)
    where = source.name(file_of(cursor)), cursor.location.line
    if name in FORBIDDEN:
        rule, what = FORBIDDEN[name]
        report.add(*where, rule, what)
    if cursor.type.get_canonical().kind.name in FLOATS and name.endswith(("_EXPR", "_LITERAL", "_OPERATOR")):
        report.add(*where, "float", f"arithmetic of type {cursor.type.spelling}")
    if name not in DECLARATIONS:
        return
    _type(source, report, cursor, cursor.type, seen, f"`{cursor.spelling}`")
    static = cursor.storage_class.name == "STATIC" if name == "VAR_DECL" else False
    if static and not is_const(cursor.type):
        report.add(*where, "static", f"`{cursor.spelling}` keeps its value between calls")
    reference = cursor.type.get_canonical().kind.name in ("LVALUEREFERENCE", "RVALUEREFERENCE")
    if name == "PARM_DECL" and not reference and has_stream(cursor.type):
        # an array in a parameter list is a pointer, a reference to an array is none
        report.add(*where, "stream-copy", f"`{cursor.spelling}` is a stream by value")


def _type(source: Source, report: Report, cursor: Any, type_: Any, seen: set[str], what: str) -> None:
    """Types of a declaration and of what is inside."""
    where = source.name(file_of(cursor)), cursor.location.line
    inner = pointee(type_)
    name = inner.kind.name
    if type_.get_canonical().kind.name == "VARIABLEARRAY":
        report.add(*where, "vla", f"{what} has a size that is not constant")
    if name in UNSUPPORTED:
        report.add(*where, "type", f"{what} has type {inner.spelling}")
    elif name in FLOATS:
        report.add(*where, "float", f"{what} has type {inner.spelling}")
    elif name == "MEMBERPOINTER":
        report.add(*where, "function-pointer", f"{what} has type {inner.spelling}")
    elif name == "POINTER":
        target = inner.get_pointee().get_canonical()
        if target.kind.name in ("FUNCTIONPROTO", "FUNCTIONNOPROTO"):
            report.add(*where, "function-pointer", f"{what} has type {inner.spelling}")
        elif pointee(target).kind.name == "POINTER":
            report.add(*where, "pointer", f"{what} is a pointer to a pointer")
        elif has_stream(target):
            report.add(*where, "stream-copy", f"{what} is a pointer to a stream")
    elif name == "RECORD":
        _record(source, report, where, inner, seen, what)


def _record(source: Source, report: Report, where: tuple[str, int], type_: Any, seen: set[str], what: str) -> None:
    declaration = type_.get_declaration()
    file = file_of(declaration)
    if not source.is_kernel(file):
        if not (source.is_ap_types(file) or source.is_shim(file) or is_stream(type_)):
            rule = (
                "allocation"
                if declaration.spelling in ("vector", "deque", "list", "map", "set", "unique_ptr")
                else "type"
            )
            report.add(*where, rule, f"{what} has type {type_.spelling}")
        return
    if type_.spelling in seen:
        return
    seen.add(type_.spelling)
    for child in kids(declaration):
        line = source.name(file), child.location.line
        if kind(child) == "FIELD_DECL":
            _type(source, report, child, child.type, seen, f"`{declaration.spelling}::{child.spelling}`")
            if child.is_bitfield() and kind(declaration) == "UNION_DECL":
                report.add(*line, "type", f"bit-field `{child.spelling}` in a union")
        elif kind(child) == "CXX_BASE_SPECIFIER":
            _type(source, report, child, child.type, seen, f"a base of `{declaration.spelling}`")
            if is_virtual_base(child):
                report.add(*line, "virtual", f"virtual base of `{declaration.spelling}`")
        elif kind(child) in ("CXX_METHOD", "DESTRUCTOR") and child.is_virtual_method():
            report.add(*line, "virtual", f"`{declaration.spelling}::{child.spelling}` is virtual")


def check_globals(source: Source, report: Report) -> None:
    """Headers, variables outside functions, and static members."""
    for file, text in source.texts.items():
        for at in re.finditer(r"^[ \t]*#[ \t]*include[ \t]*<([^>]+)>", text, re.MULTILINE):
            skipped = any(a <= len(text[: at.start()].encode()) < b for a, b in source.skipped(file))
            if at[1] not in HEADERS and not skipped:
                report.add(source.name(file), text.count("\n", 0, at.start(1)) + 1, "library", f"#include <{at[1]}>")

    def visit(declarations: list[Any]) -> None:
        for child in declarations:
            if not source.is_kernel(file_of(child)):
                continue
            if kind(child) in (
                "NAMESPACE",
                "LINKAGE_SPEC",
                "STRUCT_DECL",
                "CLASS_DECL",
                "CLASS_TEMPLATE",
                "UNEXPOSED_DECL",
            ):
                visit(kids(child))
            elif kind(child) == "VAR_DECL" and not is_const(child.type) and not _constexpr(child):
                report.add(source.name(file_of(child)), child.location.line, "global", f"`{child.spelling}` can change")

    visit(source.declarations)


def _constexpr(variable: Any) -> bool:
    """Whether it is declared so: the type of an `auto` or of a template's variable is not known before use."""
    return any(t.spelling in ("constexpr", "const") for t in variable.get_tokens())
