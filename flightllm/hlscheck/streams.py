"""Which streams a function reads and writes, through all that it calls.

A place is a variable and a path into it: names of members, and indices. An index is a set of values, an argument of the function,
or not known.
"""

from __future__ import annotations

import operator as op
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from flightllm.hlscheck.findings import Report
from flightllm.hlscheck.functions import Function
from flightllm.hlscheck.loops import LOOPS, loop_of
from flightllm.hlscheck.source import Source
from flightllm.hlscheck.tree import (
    arguments,
    changes,
    constant,
    dimensions,
    has_stream,
    is_stream,
    kids,
    kind,
    operator,
    pointee,
    strip,
)


@dataclass(frozen=True)
class Index:
    """An index: one of some values; or argument number `argument`; or neither: unknown."""

    values: tuple[int, ...] = ()
    argument: int | None = None


UNKNOWN = Index()
Path = tuple[str | Index, ...]
MODES = {"read": "r", "read_nb": "r", "empty": "r", "write": "w", "write_nb": "w", "full": "w"}
THIS = -1


@dataclass(frozen=True)
class Access:
    """Use of a stream that an argument leads to. argument: THIS for the object of a method; mode: r or w."""

    argument: int
    path: Path
    mode: str


@dataclass
class Scope:
    """What a function's names stand for."""

    loops: dict[int, tuple[int, ...]] = field(default_factory=dict)  # variable: values
    parameters: dict[int, int] = field(default_factory=dict)
    references: dict[int, Any] = field(default_factory=dict)  # local reference: what it refers to

    def bound(self, values: dict[int, tuple[int, ...]]) -> Scope:
        """With loop variables that have certain values."""
        return Scope(self.loops | values, self.parameters, self.references)


def scope_of(source: Source, function: Function) -> Scope:
    """The scope of a function."""
    scope = Scope()
    changed = {c.referenced.hash for x in function.nodes if (c := changes(x)) is not None and c.referenced}
    parameters = [c for c in kids(function.cursor) if kind(c) == "PARM_DECL"]
    scope.parameters = {c.hash: i for i, c in enumerate(parameters)}
    for c in function.nodes:
        if kind(c) in LOOPS and function.file in source.texts:
            loop = loop_of(c, source.texts[function.file])
            if loop.variable is not None and loop.values is not None:
                scope.loops[loop.variable.hash] = tuple(loop.values)
        elif kind(c) == "VAR_DECL" and c.type.get_canonical().kind.name == "LVALUEREFERENCE":
            inside = kids(c)
            if inside and kind(inside[-1]).endswith(("_EXPR", "_OPERATOR")):
                scope.references[c.hash] = inside[-1]
    scope.parameters = {h: i for h, i in scope.parameters.items() if h not in changed}
    return scope


ARITHMETIC = {"+": op.add, "-": op.sub, "*": op.mul}
#: an index with more values than this counts as unknown
MOST = 1 << 16


def index_of(expression: Any, scope: Scope) -> Index:
    """What is known of an index."""
    values = _values(expression, scope)
    if values is not None:
        return Index(values)
    inner = strip(expression)
    if kind(inner) == "DECL_REF_EXPR" and inner.referenced is not None:
        return Index(argument=scope.parameters.get(inner.referenced.hash))
    return UNKNOWN


def _values(expression: Any, scope: Scope) -> tuple[int, ...] | None:
    """Values of an expression of constants and loop variables; of two variables, all that the two can give together."""
    value = constant(expression)
    if value is not None:
        return (value,)
    inner = strip(expression)
    if kind(inner) == "DECL_REF_EXPR" and inner.referenced is not None:
        return scope.loops.get(inner.referenced.hash)
    if operator(inner) in ARITHMETIC and kind(inner) == "BINARY_OPERATOR":
        left, right = (_values(c, scope) for c in kids(inner))
        if left is not None and right is not None and len(left) * len(right) <= MOST:
            return tuple(sorted({ARITHMETIC[operator(inner)](x, y) for x in left for y in right}))
    return None


def place_of(expression: Any, scope: Scope) -> tuple[Any, Path] | None:
    """The variable that an expression is a part of, and the path to it. The variable is None for the object of a method."""
    inner = strip(expression)
    name = kind(inner)
    if name == "CALL_EXPR" and len(arguments(inner)) == 1 and kind(inner.referenced or inner) == "CONSTRUCTOR":
        return place_of(arguments(inner)[0], scope)  # a copy
    if name == "DECL_REF_EXPR" and inner.referenced is not None:
        if inner.referenced.hash in scope.references:
            return place_of(scope.references[inner.referenced.hash], scope)
        return inner.referenced, ()
    if name == "CXX_THIS_EXPR":
        return None, ()
    below = [c for c in kids(inner) if not kind(c).endswith("_REF")]
    if name == "MEMBER_REF_EXPR":
        base = place_of(below[0], scope) if below else (None, ())
        return None if base is None else (base[0], (*base[1], inner.spelling))
    if name == "ARRAY_SUBSCRIPT_EXPR":
        base = place_of(below[0], scope)
        return None if base is None else (base[0], (*base[1], index_of(below[1], scope)))
    if operator(inner) in ("*", "&") and name == "UNARY_OPERATOR":
        return place_of(below[0], scope)
    return None


class Accesses:
    """Streams by function; every function is looked at once."""

    def __init__(self, source: Source, report: Report) -> None:
        self.source = source
        self.report = report
        self.scopes: dict[int, Scope] = {}
        self.done: dict[int, tuple[Access, ...]] = {}

    def scope(self, function: Function) -> Scope:
        """Scope of a function."""
        if id(function) not in self.scopes:
            self.scopes[id(function)] = scope_of(self.source, function)
        return self.scopes[id(function)]

    def of(self, function: Function) -> tuple[Access, ...]:
        """Streams that its arguments lead to."""
        if id(function) not in self.done:
            self.done[id(function)] = ()  # recursion is reported elsewhere
            self.done[id(function)] = tuple(dict.fromkeys(self._find(function)))
        return self.done[id(function)]

    def _find(self, function: Function) -> list[Access]:
        scope = self.scope(function)
        found = []
        numbers = {c.hash: i for i, c in enumerate(c for c in kids(function.cursor) if kind(c) == "PARM_DECL")}
        for call in function.nodes:
            if kind(call) != "CALL_EXPR":
                continue
            for variable, path, mode in self.at(function, call, scope):
                if variable is None:
                    found.append(Access(THIS, path, mode))
                elif variable.hash in numbers:
                    found.append(Access(numbers[variable.hash], path, mode))
        return found

    def at(self, function: Function, call: Any, scope: Scope) -> list[tuple[Any, Path, str]]:
        """Streams that one call uses, by the variables of the function it stands in."""
        target = call.referenced
        if target is None:
            return []
        head = kids(call)[0] if kids(call) else None
        member = strip(head) if head is not None else None
        base = [c for c in kids(member) if not kind(c).endswith("_REF")] if member is not None else []
        if kind(target) == "CXX_METHOD" and target.semantic_parent.spelling == "stream" and target.spelling in MODES:
            owner = place_of(base[0], scope) if base else (None, ())
            if owner is None:
                return []
            if UNKNOWN in owner[1]:
                where = self.source.name(function.file), call.location.line
                self.report.note(
                    *where, "a stream is selected by a value of run time: whether the tool takes it is not known"
                )
            return [(owner[0], owner[1], MODES[target.spelling])]
        callee = function.callees.get(call.hash)
        if callee is None:
            return []
        values = arguments(call)
        places: dict[int, tuple[Any, Path] | None] = {i: place_of(v, scope) for i, v in enumerate(values)}
        if kind(target) == "CXX_METHOD":
            places[THIS] = place_of(base[0], scope) if base else (None, ())
        found = []
        for access in self.of(callee):
            owner = places.get(access.argument)
            if owner is not None:
                path = tuple(_bind(x, values, scope) for x in access.path)
                found.append((owner[0], (*owner[1], *path), access.mode))
        return found


def _bind(part: str | Index, values: list[Any], scope: Scope) -> str | Index:
    """An index by an argument, with what the caller passes."""
    if isinstance(part, Index) and part.argument is not None:
        return index_of(values[part.argument], scope) if part.argument < len(values) else UNKNOWN
    return part


def leaves(type_: Any) -> list[tuple[str | int, ...]]:
    """Paths of all streams in a variable."""
    sizes = dimensions(type_)
    inner = pointee(type_)
    if is_stream(inner):
        below: list[tuple[str | int, ...]] = [()]
    elif inner.kind.name == "RECORD" and has_stream(inner):
        below = [(f.spelling, *path) for f in inner.get_fields() for path in leaves(f.type)]
    else:
        below = []
    return [(*at, *path) for at in product(*map(range, sizes)) for path in below]


def matches(path: Path, leaf: tuple[str | int, ...]) -> bool | None:
    """Whether a path leads to a stream; None if it may."""
    if len(path) != len(leaf):
        return False
    sure: bool | None = True
    for part, at in zip(path, leaf, strict=True):
        if isinstance(part, str):
            if part != at:
                return False
        elif not part.values:
            sure = None
        elif at not in part.values:
            return False
    return sure


def shown(variable: str, leaf: tuple[str | int, ...]) -> str:
    """A path as the source has it."""
    return variable + "".join(f".{x}" if isinstance(x, str) else f"[{x}]" for x in leaf)
