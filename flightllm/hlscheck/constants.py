"""Constants of the program by name, and expressions of them in pragmas."""

from __future__ import annotations

import ast
import operator as op
import re
from collections.abc import Callable
from typing import Any

from flightllm.hlscheck.functions import Function
from flightllm.hlscheck.source import Source
from flightllm.hlscheck.tree import constant, file_of, kids, kind, walk

#: name without its scope: values that it has in the kernel; None: one that depends on template arguments
Constants = dict[str, set[int | None]]
CONTAINERS = {"NAMESPACE", "LINKAGE_SPEC", "STRUCT_DECL", "CLASS_DECL", "CLASS_TEMPLATE", "UNEXPOSED_DECL", "ENUM_DECL"}
TEMPLATES = {"CLASS_TEMPLATE", "FUNCTION_TEMPLATE"}
NAME = re.compile(r"[A-Za-z_]\w*(?:::\w+)*")
ARITHMETIC: dict[type, Callable[[int, int], int]] = {
    ast.Add: op.add,
    ast.Sub: op.sub,
    ast.Mult: op.mul,
    ast.Div: op.floordiv,
    ast.Mod: op.mod,
    ast.LShift: op.lshift,
    ast.RShift: op.rshift,
}


def collect_constants(source: Source, functions: list[Function]) -> Constants:
    """Constants of namespaces, classes, templates and functions."""
    values: Constants = {}
    _collect(source, source.declarations, values, False)
    for function in functions:
        for c in function.nodes:
            if kind(c) == "VAR_DECL" and c.type.is_const_qualified() and (value := constant(c)) is not None:
                values.setdefault(c.spelling, set()).add(value)
    return values


def _collect(source: Source, declarations: list[Any], values: Constants, pattern: bool) -> None:
    for child in declarations:
        if not source.is_kernel(file_of(child)):
            continue
        if kind(child) in CONTAINERS:
            _collect(source, kids(child), values, pattern or kind(child) == "CLASS_TEMPLATE")
        if kind(child) == "ENUM_CONSTANT_DECL":
            values.setdefault(child.spelling, set()).add(child.enum_value)
        elif kind(child) == "VAR_DECL":
            # of the pattern of a template libclang must not be asked for a value
            known = not pattern and all(c.type.kind.name not in ("DEPENDENT", "UNEXPOSED") for c in walk(child))
            values.setdefault(child.spelling, set()).add(constant(child) if known else None)
        for c in kids(child) if kind(child) in TEMPLATES else ():
            if kind(c) == "TEMPLATE_NON_TYPE_PARAMETER":
                values.setdefault(c.spelling, set()).add(None)


def evaluate(text: str, values: Constants) -> tuple[bool, int | None]:
    """Whether a value is a constant expression, and its number if that does not depend on a template's arguments."""
    numbers: dict[str, int | None] = {}
    for name in NAME.findall(text):
        found = values.get(name.split("::")[-1])
        if found is None:
            return False, None
        numbers[name] = next(iter(found)) if len(found) == 1 else None
    plain = NAME.sub(lambda m: str(numbers[m[0]]), text)
    try:
        return True, _arithmetic(ast.parse(plain, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError):
        return False, None


def _arithmetic(node: ast.expr) -> int | None:
    if isinstance(node, ast.Constant) and (node.value is None or type(node.value) is int):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _arithmetic(node.operand)
        return None if value is None else -value
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        left, right = _arithmetic(node.left), _arithmetic(node.right)
        return None if left is None or right is None else ARITHMETIC[type(node.op)](left, right)
    raise ValueError(ast.dump(node))
