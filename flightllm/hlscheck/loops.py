"""Loops: how often they run, and what that asks of the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flightllm.hlscheck.constants import Constants, evaluate
from flightllm.hlscheck.findings import Report
from flightllm.hlscheck.functions import Function
from flightllm.hlscheck.pragmas import Pragma, Pragmas
from flightllm.hlscheck.source import Source
from flightllm.hlscheck.tree import changes, constant, dimensions, file_of, kids, kind, operator, spans, strip, walk

LOOPS = {"FOR_STMT", "WHILE_STMT", "DO_STMT", "CXX_FOR_RANGE_STMT"}
#: a constant loop of more iterations than this counts as one of unknown length
LONGEST = 1 << 22


@dataclass(frozen=True)
class Loop:
    """A loop of a function. values: of its variable, if the compiler knows them all; break may end it earlier."""

    cursor: Any
    body: Any
    variable: Any | None
    values: tuple[int, ...] | range | None

    @property
    def constant(self) -> bool:
        """Whether the number of iterations is known, or at most known."""
        return self.values is not None


def loop_of(cursor: Any, text: str) -> Loop:
    """The loop that a statement is. text: of its file."""
    children = kids(cursor)
    if kind(cursor) == "DO_STMT":
        return Loop(cursor, children[0], None, None)
    body = children[-1]
    if kind(cursor) == "CXX_FOR_RANGE_STMT":
        sizes = [dimensions(c.type) for c in children if dimensions(c.type)]
        return Loop(cursor, body, None, range(sizes[0][0]) if sizes else None)
    if kind(cursor) != "FOR_STMT":
        return Loop(cursor, body, None, None)
    first, second = _semicolons(text, *spans(cursor))
    starts = [c for c in children[:-1] if c.extent.start.offset < first]
    conditions = [c for c in children[:-1] if first <= c.extent.start.offset < second]
    steps = [c for c in children[:-1] if c.extent.start.offset >= second]
    if not (starts and conditions and steps):
        return Loop(cursor, body, None, None)
    variable, values = _count(starts[0], conditions[0], steps[0], body)
    return Loop(cursor, body, variable, values)


def _semicolons(text: str, start: int, end: int) -> tuple[int, int]:
    """Offsets of both semicolons of a for, in bytes as libclang counts."""
    raw = text.encode()
    depth, found = 0, []
    for at in range(start, end):
        sign = raw[at : at + 1]
        depth += sign in (b"(", b"[", b"{")
        depth -= sign in (b")", b"]", b"}")
        if sign == b";" and depth == 1:
            found.append(at)
            if len(found) == 2:
                return found[0], found[1]
    return end, end


def _count(start: Any, condition: Any, step: Any, body: Any) -> tuple[Any | None, tuple[int, ...] | None]:
    variables = [c for c in kids(start) if kind(c) == "VAR_DECL"]
    if kind(start) != "DECL_STMT" or len(variables) != 1:
        return None, None
    variable = variables[0]
    initial = [c for c in kids(variable) if kind(c).endswith(("_EXPR", "_LITERAL", "_OPERATOR"))]
    value = constant(initial[-1]) if initial else None
    sign = operator(condition)
    if value is None or sign not in ("<", ">", "<=", ">=", "!="):
        return variable, None
    left, right = kids(condition)
    if not _is(left, variable) or (limit := constant(right)) is None:
        return variable, None
    if changes(step) is None or not _is(changes(step), variable):
        return variable, None
    amount = 1 if kind(step) == "UNARY_OPERATOR" else constant(kids(step)[1])
    if amount is None or any((c := changes(x)) is not None and _is(c, variable) for x in walk(body)):
        return variable, None
    return variable, _values(value, sign, limit, operator(step), amount)


def _is(expression: Any, variable: Any) -> bool:
    inner = strip(expression)
    return kind(inner) == "DECL_REF_EXPR" and inner.referenced == variable


def _values(value: int, sign: str, limit: int, step: str, amount: int) -> tuple[int, ...] | None:
    holds = {
        "<": lambda v: v < limit,
        ">": lambda v: v > limit,
        "<=": lambda v: v <= limit,
        ">=": lambda v: v >= limit,
        "!=": lambda v: v != limit,
    }[sign]
    move = {
        "++": lambda v: v + 1,
        "--": lambda v: v - 1,
        "+=": lambda v: v + amount,
        "-=": lambda v: v - amount,
        "*=": lambda v: v * amount,
        "/=": lambda v: int(v / amount),
        "<<=": lambda v: v << amount,
        ">>=": lambda v: v >> amount,
    }.get(step)
    values: list[int] = []
    while move is not None and holds(value):
        values.append(value)
        after = move(value)
        if after == value or len(values) > LONGEST:
            return None
        value = after
    return tuple(values) if move is not None else None


@dataclass(frozen=True)
class Marks:
    """Pragmas at the beginning of a body."""

    tripcount: bool
    pipeline: Pragma | None
    unroll: Pragma | None


def marks(pragmas: Pragmas, file: str, body: Any) -> Marks:
    """Pragmas that a body has before its first statement."""
    found = {p.name: p for p in pragmas.heading(file, body) if not p.off}
    return Marks("loop_tripcount" in found, found.get("pipeline"), found.get("unroll"))


def check_loops(source: Source, functions: list[Function], pragmas: Pragmas, values: Constants, report: Report) -> None:
    """Bounds, trip counts, and loops below a pipeline."""
    lines = set()
    open_loops: dict[int, list[Any]] = {}  # function: loops of it without constant bounds, and of what it calls
    for function in functions:
        for cursor in function.nodes:
            if kind(cursor) in LOOPS:
                lines.add((function.file, cursor.location.line))
                _loop(source, function, cursor, pragmas, report)
    for function in functions:
        if function.body is None:
            continue
        mark = marks(pragmas, function.file, function.body)
        if mark.pipeline is not None:
            _pipeline(source, function, function.body, report, open_loops)
            _partial(source, function, function.body, pragmas, values, report)
        for cursor in function.nodes:
            if kind(cursor) in LOOPS:
                loop = loop_of(cursor, source.texts[function.file])
                if marks(pragmas, function.file, loop.body).pipeline is not None:
                    _pipeline(source, function, loop.body, report, open_loops)
                    _partial(source, function, loop.body, pragmas, values, report)
    report.loops = len(lines)


def _loop(source: Source, function: Function, cursor: Any, pragmas: Pragmas, report: Report) -> None:
    loop = loop_of(cursor, source.texts[function.file])
    mark = marks(pragmas, function.file, loop.body)
    where = source.name(function.file), cursor.location.line
    if loop.constant:
        return
    if not mark.tripcount:
        report.add(
            *where, "tripcount", f"a loop in {function.name} has bounds that are not constant, and says nothing of them"
        )
    if mark.unroll is not None and "factor" not in mark.unroll.options:
        report.add(
            *where, "unroll-bounds", f"a loop in {function.name} cannot be unrolled: its bounds are not constant"
        )


def _pipeline(source: Source, function: Function, body: Any, report: Report, cache: dict[int, list[Any]]) -> None:
    """A pipeline unrolls all loops below it, those of called functions too; it fails on one without constant bounds."""
    inside = [c for c in _open(source, function, body) if c != body]
    calls = [f for call, f in function.calls if _within(call, body)]
    for f in calls:
        inside += _reachable(source, f, cache)
    for cursor in inside:
        line = cursor.location.line
        outer = body.extent.start.line
        report.add(
            source.name(file_of(cursor)),
            line,
            "pipeline-loop",
            f"this loop has no constant bounds and lies below the pipeline of {source.name(function.file)}:{outer}",
        )


def _partial(
    source: Source, function: Function, body: Any, pragmas: Pragmas, values: Constants, report: Report
) -> None:
    """Unrolling by a factor below a pipeline: the pipeline unrolls the whole loop (page "pragma HLS pipeline")."""
    for cursor in walk(body):
        if kind(cursor) not in LOOPS:
            continue
        loop = loop_of(cursor, source.texts[function.file])
        unroll = marks(pragmas, function.file, loop.body).unroll
        if unroll is None or loop.values is None or loop.body == body:
            continue
        known, factor = evaluate(unroll.options.get("factor", "0"), values)
        if known and factor and factor < len(loop.values):
            report.note(
                source.name(function.file),
                cursor.location.line,
                f"`unroll factor = {factor}` below a pipeline, which asks for all {len(loop.values)} iterations side by "
                "side: the factor may have no effect",
            )


def _within(cursor: Any, body: Any) -> bool:
    return file_of(cursor) == file_of(body) and spans(body)[0] <= spans(cursor)[0] < spans(body)[1]


def _open(source: Source, function: Function, body: Any) -> list[Any]:
    text = source.texts[function.file]
    return [c for c in walk(body) if kind(c) in LOOPS and not loop_of(c, text).constant]


def _reachable(source: Source, function: Function, cache: dict[int, list[Any]]) -> list[Any]:
    if id(function) not in cache:
        cache[id(function)] = []  # recursion is reported elsewhere
        found = _open(source, function, function.body) if function.body is not None else []
        for _, callee in function.calls:
            found = found + _reachable(source, callee, cache)
        cache[id(function)] = found
    return cache[id(function)]
