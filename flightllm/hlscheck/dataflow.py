"""Dataflow regions: their form, and who uses what (UG1399, pages "Canonical Body" and "pragma HLS dataflow")."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from flightllm.hlscheck.findings import Report
from flightllm.hlscheck.functions import Function
from flightllm.hlscheck.loops import LOOPS, loop_of, marks
from flightllm.hlscheck.pragmas import Pragmas
from flightllm.hlscheck.source import Source
from flightllm.hlscheck.streams import Accesses, Index, Path, Scope, leaves, matches, place_of, shown
from flightllm.hlscheck.tree import arguments, has_stream, is_const, is_stream, kids, kind, pointee, spans, strip, walk


@dataclass(frozen=True)
class Process:
    """A call in a region, with the values of the loops around it."""

    call: Any
    callee: Function
    bound: tuple[tuple[int, int], ...]  # loop variable, its value

    def scope(self, scope: Scope) -> Scope:
        """Names as this process sees them."""
        return scope.bound({k: (v,) for k, v in self.bound})

    @property
    def name(self) -> str:
        """Name for messages."""
        at = ", ".join(str(v) for _, v in self.bound)
        return f"{self.callee.name} (line {self.call.location.line}{f', at {at}' if at else ''})"


def check_dataflow(source: Source, functions: list[Function], pragmas: Pragmas, report: Report) -> None:
    """All regions of all functions."""
    accesses = Accesses(source, report)
    seen = set()
    for function in functions:
        if function.body is None:
            continue
        for body in function.nodes:
            if any(p.name == "dataflow" for p in pragmas.heading(function.file, body)):
                seen.add((function.file, spans(body)))
                _region(source, function, body, pragmas, accesses, report)
    report.regions = len(seen)


def _region(
    source: Source, function: Function, body: Any, pragmas: Pragmas, accesses: Accesses, report: Report
) -> None:
    processes = _processes(source, function, body, pragmas, report, ())
    for process in {p.callee.cursor.hash: p for p in processes}.values():
        where = source.name(function.file), process.call.location.line
        if process.callee.cursor.result_type.get_canonical().kind.name != "VOID":
            report.add(*where, "dataflow-call", f"the process {process.callee.name} returns a value")
        if process.callee.body is not None:
            inline = [p for p in pragmas.heading(process.callee.file, process.callee.body) if p.name == "inline"]
            if inline and not inline[0].off:
                report.add(*where, "dataflow-call", f"the process {process.callee.name} is inlined, so it is none")
    variables = [c for c in function.nodes if kind(c) in ("VAR_DECL", "PARM_DECL")]
    _streams(source, function, body, variables, processes, accesses, report)
    _shared(source, function, processes, accesses, report)


def _processes(
    source: Source, function: Function, body: Any, pragmas: Pragmas, report: Report, bound: tuple[tuple[int, int], ...]
) -> list[Process]:
    found: list[Process] = []
    for statement in kids(body):
        where = source.name(function.file), statement.location.line
        inner = strip(statement)
        callee = function.callees.get(inner.hash)
        if kind(inner) == "CALL_EXPR" and callee is not None:
            found.append(Process(inner, callee, bound))
            if any(
                kind(c) == "CALL_EXPR" and kind(c.referenced or c) != "CONSTRUCTOR"
                for a in arguments(inner)
                for c in walk(a)
            ):
                report.note(*where, "an argument of a process is computed in the region: not in canonical form")
        elif kind(inner) in LOOPS:
            loop = loop_of(inner, source.texts[function.file])
            mark = marks(pragmas, function.file, loop.body)
            if loop.values is None or loop.variable is None or mark.unroll is None or "factor" in mark.unroll.options:
                report.add(
                    *where, "dataflow-statement", f"a loop in the region of {function.name} is not fully unrolled"
                )
                continue
            for value in loop.values:
                found += _processes(source, function, loop.body, pragmas, report, (*bound, (loop.variable.hash, value)))
        elif kind(inner) == "DECL_STMT":
            _declarations(report, where, inner)
        elif kind(inner) != "NULL_STMT":
            report.add(*where, "dataflow-statement", f"a statement in the region of {function.name} is no call")
    return found


def _declarations(report: Report, where: tuple[str, int], statement: Any) -> None:
    for variable in kids(statement):
        if kind(variable) != "VAR_DECL" or has_stream(variable.type):
            continue
        values = [c for c in kids(variable) if kind(c).endswith(("_EXPR", "_OPERATOR")) and kind(c) != "DECL_REF_EXPR"]
        if any(kids(v) for v in values):
            report.note(*where, f"`{variable.spelling}` is computed in the region: not in canonical form")


def _streams(
    source: Source,
    function: Function,
    body: Any,
    variables: list[Any],
    processes: list[Process],
    accesses: Accesses,
    report: Report,
) -> None:
    uses: dict[int, list[tuple[int, Path, str]]] = defaultdict(list)  # variable: process, path, mode
    base = accesses.scope(function)
    for i, process in enumerate(processes):
        for variable, path, mode in accesses.at(function, process.call, process.scope(base)):
            if variable is not None:
                uses[variable.hash].append((i, path, mode))
    where = source.name(function.file)
    for variable in variables:
        if kind(variable) != "VAR_DECL" or not has_stream(variable.type):
            continue
        if not uses[variable.hash] and not spans(body)[0] <= spans(variable)[0] < spans(body)[1]:
            continue  # belongs to another region
        line = variable.location.line
        every = leaves(variable.type)
        wrong: dict[tuple[str, str], list[str]] = defaultdict(list)  # what is wrong with which streams, indices aside
        for leaf in every:
            name = shown(variable.spelling, leaf)
            for text in _stream(leaf, uses[variable.hash], processes):
                wrong[text, re.sub(r"\d+", "", name)].append(name)
        for (text, _), listed in wrong.items():
            some = f"`{listed[0] if len(listed) == 1 else re.sub(r'[0-9]+(?=])', '..', listed[0])}`"
            if text.startswith("?"):
                report.note(where, line, f"{some}: {text[1:]}")
            else:
                report.add(where, line, "stream-use", f"{some}: {text}")


def _stream(leaf: tuple[str | int, ...], uses: list[tuple[int, Path, str]], processes: list[Process]) -> list[str]:
    """What is wrong with one stream; with ? in front what could not be told."""
    users: dict[str, dict[int, bool]] = {"r": {}, "w": {}}  # process: whether it does for sure
    for i, path, mode in uses:
        match = matches(path, leaf)
        if match is not False:
            users[mode][i] = users[mode].get(i, False) or match is True
    if not users["r"] and not users["w"]:
        return ["?no process uses it"]
    found = []
    for mode, verb in (("w", "write"), ("r", "read")):
        who = users[mode]
        names = ", ".join(dict.fromkeys(processes[i].callee.name for i in who))
        if sum(who.values()) > 1:
            found.append(f"{len(who)} processes {verb} it ({names})")
        elif len(who) > 1:
            found.append(f"?which of {len(who)} processes {verb}s it depends on an index that is not known ({names})")
        elif not who:
            other = ", ".join(dict.fromkeys(processes[i].callee.name for i in users["wr"[mode == "w"]]))
            found.append(f"{other} {'reads' if mode == 'w' else 'writes'} it and no process {verb}s it")
    if len(users["r"]) == 1 and set(users["r"]) == set(users["w"]):
        found.append(f"?{processes[next(iter(users['r']))].callee.name} alone writes and reads it")
    return found


def _shared(source: Source, function: Function, processes: list[Process], accesses: Accesses, report: Report) -> None:
    """Memories and ports that two processes use, of which one can change them."""
    base = accesses.scope(function)
    users: dict[int, list[tuple[int, Path, bool, Any]]] = defaultdict(list)
    for i, process in enumerate(processes):
        parameters = [c for c in kids(process.callee.cursor) if kind(c) == "PARM_DECL"]
        for parameter, value in zip(parameters, arguments(process.call), strict=False):
            place = place_of(value, process.scope(base))
            if place is None or place[0] is None or _streams_only(parameter.type):
                continue
            type_ = parameter.type.get_canonical()
            port = pointee(type_).get_declaration().spelling == "burst_maxi"
            if type_.kind.name in ("LVALUEREFERENCE", "POINTER") or port:
                users[place[0].hash].append((i, place[1], port or not is_const(_target(type_)), place[0]))
    for listed in users.values():
        for a, (i, path, changes, variable) in enumerate(listed):
            for j, other, changes_too, _ in listed[a + 1 :]:
                if i == j or not (changes or changes_too) or _apart(path, other):
                    continue
                where = source.name(function.file), processes[j].call.location.line
                text = f"`{variable.spelling}` is used by {processes[i].name} and {processes[j].name}, and one can change it"
                report.add(*where, "array-shared", text)


def _target(type_: Any) -> Any:
    return type_.get_pointee() if type_.kind.name == "POINTER" else type_


def _streams_only(type_: Any) -> bool:
    inner = pointee(type_)
    if is_stream(inner):
        return True
    if inner.kind.name != "RECORD" or inner.get_declaration().semantic_parent.spelling == "hls":
        return False
    return all(_streams_only(f.type) for f in inner.get_fields())


def _apart(a: Path, b: Path) -> bool:
    """Whether two paths lead to different things for sure."""
    for x, y in zip(a, b, strict=False):
        if isinstance(x, Index) and isinstance(y, Index):
            if x.values and y.values and not set(x.values) & set(y.values):
                return True
        elif x != y:
            return True
    return False
