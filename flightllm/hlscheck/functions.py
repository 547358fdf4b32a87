"""Functions that the top function reaches: instances of templates included, each once per set of template arguments."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

from flightllm.hlscheck.findings import Report
from flightllm.hlscheck.source import Source
from flightllm.hlscheck.tree import body_of, file_of, kind, strip, walk

BUILTINS = {"__builtin_clzll"}
#: what the kernel calls of the tool's classes, in the spelling of the tool
METHODS = {
    "stream": {"read", "read_nb", "write", "write_nb", "empty", "full", "size", "stream"},
    "vector": {"operator[]", "vector"},
    "burst_maxi": {"read_request", "read", "write_request", "write", "write_response", "burst_maxi"},
}
FUNCTIONS = {"FUNCTION_DECL", "CXX_METHOD", "CONSTRUCTOR", "DESTRUCTOR", "CONVERSION_FUNCTION"}


@dataclass(eq=False)
class Function:
    """An instance of a function. body: None for what the compiler writes itself."""

    cursor: Any
    file: str
    body: Any | None
    calls: list[tuple[Any, Function]] = field(default_factory=list)  # call, callee

    @functools.cached_property
    def nodes(self) -> list[Any]:
        """The function and all below it; nothing of what the compiler writes itself."""
        return list(walk(self.cursor)) if self.body is not None else []

    @functools.cached_property
    def callees(self) -> dict[int, Function]:
        """What calls call, by the hash of the call."""
        return {call.hash: callee for call, callee in self.calls}

    @property
    def name(self) -> str:
        """Name with its class."""
        parent = self.cursor.semantic_parent
        inside = parent is not None and kind(parent) in ("STRUCT_DECL", "CLASS_DECL", "CLASS_TEMPLATE")
        return f"{parent.spelling}::{self.cursor.spelling}" if inside else str(self.cursor.spelling)


def reach(source: Source, report: Report) -> list[Function]:
    """Functions from the top on, and what is wrong with the calls between them."""
    known: dict[tuple[str, str], Function] = {}
    order: list[Function] = []

    def enter(cursor: Any) -> Function:
        key = (cursor.get_usr(), cursor.mangled_name)
        if key not in known:
            # what the compiler writes itself, such as a copy, lies at its class: nothing of the source
            own = cursor.semantic_parent is None or cursor.location != cursor.semantic_parent.location
            known[key] = Function(cursor, file_of(cursor), body_of(cursor) if own else None)
            order.append(known[key])
        return known[key]

    enter(source.top)
    at = 0
    while at < len(order):
        caller = order[at]
        at += 1
        for call in caller.nodes:
            if kind(call) != "CALL_EXPR":
                continue
            callee = _callee(source, report, caller, call)
            if callee is not None:
                caller.calls.append((call, enter(callee)))
    _recursion(source, report, order)
    return order


def _callee(source: Source, report: Report, caller: Function, call: Any) -> Any | None:
    """Definition in the kernel of what is called; says what may not be called."""
    where = source.name(file_of(call) or caller.file), call.location.line
    callee = call.referenced
    if callee is None:
        report.add(
            *where, "call-unresolved", f"call of `{call.spelling or '?'}` in {caller.name}: what it calls is not known"
        )
        return None
    if kind(callee) not in FUNCTIONS:
        report.add(*where, "function-pointer", f"call through `{callee.spelling}`")
        return None
    file = file_of(callee)
    if kind(callee) == "CXX_METHOD" and callee.is_virtual_method():
        report.add(*where, "virtual", f"call of the virtual function `{callee.spelling}`")
    if not source.is_kernel(file):
        _library(source, report, where, callee, file)
        return None
    definition = callee if callee.is_definition() else callee.get_definition()
    if definition is None:
        if not _implicit(callee):
            report.add(*where, "call-unresolved", f"`{callee.spelling}` has no definition")
        return None
    return definition


def _implicit(callee: Any) -> bool:
    return kind(callee) in ("CONSTRUCTOR", "DESTRUCTOR") or callee.spelling == "operator="


def _library(source: Source, report: Report, where: tuple[str, int], callee: Any, file: str) -> None:
    parent = callee.semantic_parent
    name = f"{parent.spelling}::{callee.spelling}" if parent is not None and parent.spelling else callee.spelling
    if source.is_ap_types(file) or callee.spelling in BUILTINS:
        return
    if source.is_shim(file) and parent is not None:
        native = parent.spelling == "burst_maxi" and len(list(callee.get_arguments())) == 2 and _implicit(callee)
        if callee.spelling.split("<")[0] in METHODS.get(parent.spelling, set()) and not native:
            return
        if _implicit(callee) and parent.spelling in METHODS and not native:
            return
    rule = "allocation" if callee.spelling in ("malloc", "calloc", "realloc", "free", "alloca") else "library"
    report.add(*where, rule, f"call of `{name}`")


def _recursion(source: Source, report: Report, order: list[Function]) -> None:
    """Cycles of the call graph."""
    state: dict[int, int] = {}  # 1: on the path, 2: done

    def visit(f: Function, path: list[Function]) -> None:
        state[id(f)] = 1
        for call, callee in f.calls:
            if state.get(id(callee)) == 1:
                names = [x.name for x in [*path, f][[*path, f].index(callee) :]] + [callee.name]
                report.add(source.name(f.file), call.location.line, "recursion", " calls ".join(names))
            elif id(callee) not in state:
                visit(callee, [*path, f])
        state[id(f)] = 2

    if order:
        visit(order[0], [])


def called(call: Any) -> Any:
    """The expression that names what is called."""
    return strip(next(iter(call.get_children()), call))
