"""Whether pragmas are those of UG1399, stand where they take effect, and name what is there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from flightllm.hlscheck.constants import CONTAINERS, Constants, evaluate
from flightllm.hlscheck.directives import DIRECTIVES, MODES, Directive, Option
from flightllm.hlscheck.findings import Report
from flightllm.hlscheck.functions import Function
from flightllm.hlscheck.loops import LOOPS
from flightllm.hlscheck.pragmas import Pragma, Pragmas
from flightllm.hlscheck.source import Source
from flightllm.hlscheck.tree import body_of, dimensions, file_of, kids, kind, pointee, spans

DEFINITIONS = {"FUNCTION_DECL", "CXX_METHOD", "CONSTRUCTOR", "DESTRUCTOR", "FUNCTION_TEMPLATE", "CONVERSION_FUNCTION"}
Span = tuple[int, int]


@dataclass
class Definition:
    """A function as it is written: of a template, the pattern."""

    cursor: Any
    body: Any
    bodies: dict[Span, str] = field(default_factory=dict)  # of compound statements: function, loop or block
    first: dict[Span, int] = field(default_factory=dict)  # offset of the first statement in it
    variables: list[tuple[str, int, Span]] = field(default_factory=list)  # name, offset, where it is visible

    def innermost(self, offset: int) -> Span:
        """The compound statement around an offset."""
        return max(s for s in self.bodies if s[0] < offset < s[1])

    def visible(self, name: str, offset: int) -> int | None:
        """Offset of the declaration of a variable that is visible somewhere."""
        found = [at for n, at, (a, b) in self.variables if n == name and at < offset and a <= offset < b]
        return max(found, default=None)


def check_pragmas(
    source: Source, functions: list[Function], pragmas: Pragmas, values: Constants, report: Report
) -> None:
    """All pragmas of all files."""
    definitions: dict[str, list[Definition]] = {}
    _collect(source, source.declarations, definitions)
    for file, listed in pragmas.files.items():
        for pragma in listed:
            _check(source, definitions.get(file, []), values, functions, pragma, pragmas, report)
    _arguments(source, pragmas, report)


def _collect(source: Source, declarations: list[Any], definitions: dict[str, list[Definition]]) -> None:
    for child in declarations:
        if not source.is_kernel(file_of(child)):
            continue
        if kind(child) in CONTAINERS:
            _collect(source, kids(child), definitions)
        elif kind(child) in DEFINITIONS and (body := body_of(child)) is not None:
            definitions.setdefault(file_of(child), []).append(_definition(child, body))


def _definition(cursor: Any, body: Any) -> Definition:
    d = Definition(cursor, body)

    def visit(c: Any, owner: str, scope: Span) -> None:
        if kind(c) == "COMPOUND_STMT":
            scope = spans(c)
            inside = kids(c)
            d.bodies[scope] = owner
            d.first[scope] = spans(inside[0])[0] if inside else scope[1]
        elif kind(c) in LOOPS:
            scope = spans(c)
        elif kind(c) in ("VAR_DECL", "PARM_DECL"):
            d.variables.append((c.spelling, spans(c)[0], scope))
        below = kids(c)
        for child in below:
            is_body = kind(c) in LOOPS and child == (below[0] if kind(c) == "DO_STMT" else below[-1])
            visit(child, "loop" if is_body else "block", scope)

    for parameter in kids(cursor):
        if kind(parameter) == "PARM_DECL":
            d.variables.append((parameter.spelling, spans(parameter)[0], (spans(parameter)[0], spans(body)[1])))
    visit(body, "function", spans(body))
    return d


def _check(
    source: Source,
    definitions: list[Definition],
    names: Constants,
    functions: list[Function],
    pragma: Pragma,
    pragmas: Pragmas,
    report: Report,
) -> None:
    where = source.name(pragma.file), pragma.line
    directive = DIRECTIVES.get(pragma.name)
    if directive is None:
        report.add(*where, "pragma-name", f"`{pragma.name}` is no directive")
        return
    _options(directive, pragma, names, report, where)
    inside = [d for d in definitions if spans(d.body)[0] < pragma.offset < spans(d.body)[1]]
    if not inside:
        report.add(*where, "pragma-place", f"`{pragma.name}` outside a function")
        return
    definition = inside[-1]
    body = definition.innermost(pragma.offset)
    if definition.bodies[body] not in directive.places:
        places = " or ".join(directive.places)
        report.add(*where, "pragma-place", f"`{pragma.name}` stands in the body of no {places}")
    elif directive.first and pragma.offset > definition.first[body]:
        report.add(
            *where, "pragma-place", f"`{pragma.name}` stands after the first statement of its {definition.bodies[body]}"
        )
    headed = [p.name for p in pragmas.heading(pragma.file, definition.body)]
    if pragma.name == "inline" and not pragma.words and {"pipeline", "dataflow"} & set(headed):
        report.add(*where, "pragma-place", "`inline` dissolves the function and with it its `pipeline` or `dataflow`")
    if pragma.name == "interface" and definition.cursor != source.top:
        report.add(*where, "pragma-place", "`interface` takes effect in the top function only")
    if "variable" in pragma.options:
        _variable(names, functions, definition, pragma, report, where)
    if directive.options.get("port") and (port := pragma.options.get("port")) is not None:
        known = [c.spelling for c in kids(definition.cursor) if kind(c) == "PARM_DECL"]
        if port not in [*known, "return"]:
            report.add(*where, "pragma-variable", f"{definition.cursor.spelling} has no argument `{port}`")


def _options(directive: Directive, pragma: Pragma, names: Constants, report: Report, where: tuple[str, int]) -> None:
    for word in pragma.words:
        if word in directive.flags:
            continue
        keyed = [k for k, o in directive.options.items() if o.kind == "enum" and word in o.values]
        if keyed:
            report.add(*where, "pragma-name", f"`{pragma.name} .. {word}`: UG1399 has `{keyed[0]} = {word}`")
        else:
            report.add(*where, "pragma-name", f"`{pragma.name}` has no option `{word}`")
    for name, value in pragma.options.items():
        option = directive.options.get(name)
        if option is None:
            report.add(*where, "pragma-name", f"`{pragma.name}` has no option `{name}`")
        else:
            _value(option, pragma, name, value, names, report, where)
    words = {k for k, o in directive.options.items() if set(o.values) & set(pragma.words)}
    for name, option in directive.options.items():
        if option.required and name not in pragma.options and name not in words:
            report.add(*where, "pragma-value", f"`{pragma.name}` needs `{name}`")
    _together(pragma, names, report, where)


def _value(
    option: Option, pragma: Pragma, name: str, value: str, names: Constants, report: Report, where: tuple[str, int]
) -> None:
    shown = f"`{pragma.name} {name} = {value}`"
    if option.kind == "enum" and value not in option.values:
        report.add(*where, "pragma-value", f"{shown}: one of {', '.join(option.values)}")
    elif option.kind == "int":
        known, number = evaluate(value, names)
        if not known:
            report.add(*where, "pragma-value", f"{shown} is no integer and no constant of the program")
        elif number is not None and number < option.low:
            report.add(*where, "pragma-value", f"{shown}: at least {option.low}")
    elif option.kind in ("name", "port") and not re.fullmatch(r"[A-Za-z_]\w*", value):
        report.add(*where, "pragma-value", f"{shown} is no name")
    elif option.kind == "name" and name == "bundle" and value != value.lower():
        report.add(*where, "pragma-value", f"{shown}: names of bundles are in lower case")


def _together(pragma: Pragma, names: Constants, report: Report, where: tuple[str, int]) -> None:
    """Options that need or exclude each other."""
    options = pragma.options
    if pragma.name in ("loop_tripcount", "latency"):
        if not options:
            report.add(*where, "pragma-value", f"`{pragma.name}` without a number")
        numbers = [evaluate(options[k], names)[1] for k in ("min", "avg", "max") if k in options]
        known = [n for n in numbers if n is not None]
        if known != sorted(known):
            report.add(*where, "pragma-value", f"`{pragma.name}`: min, avg, max are not in order")
    if pragma.name in ("array_partition", "array_reshape"):
        complete = options.get("type", "complete") == "complete" and not set(pragma.words) & {"cyclic", "block"}
        if complete and "factor" in options:
            report.add(*where, "pragma-value", f"`{pragma.name}`: a complete partition has no factor")
        if not complete and "factor" not in options:
            report.add(*where, "pragma-value", f"`{pragma.name}`: a cyclic or block partition needs a factor")
    if pragma.name == "dependence":
        if ("variable" in options) == ("class" in options):
            report.add(*where, "pragma-value", "`dependence` needs either a variable or a class")
        if "dependent" not in options and not {"true", "false"} & set(pragma.words):
            report.add(*where, "pragma-value", "`dependence` without `dependent`: the tool takes it for false")
    if pragma.name == "bind_storage" and options.get("type", "").startswith("rom") and "ecc" in options.get("impl", ""):
        report.add(*where, "pragma-value", "`bind_storage`: a ROM has no error correction")
    if pragma.name == "unroll" and "skip_exit_check" in pragma.words and "factor" not in options:
        report.add(*where, "pragma-value", "`unroll skip_exit_check` needs a factor")
    if pragma.name == "interface" and options.get("mode", "").startswith("ap_ctrl") and options.get("port") != "return":
        report.add(*where, "pragma-variable", f"`interface mode = {options['mode']}` is for port = return")


def _variable(
    names: Constants,
    functions: list[Function],
    definition: Definition,
    pragma: Pragma,
    report: Report,
    where: tuple[str, int],
) -> None:
    name, *fields = pragma.options["variable"].split(".")
    at = definition.visible(name, pragma.offset)
    parent = definition.cursor.semantic_parent
    members = [c for c in kids(parent) if kind(c) == "FIELD_DECL" and c.spelling == name] if parent is not None else []
    if at is None and not members:
        report.add(*where, "pragma-variable", f"`{pragma.name}`: no variable `{name}` is visible here")
        return
    instances = [
        f for f in functions if f.body is not None and f.file == pragma.file and spans(f.body) == spans(definition.body)
    ]
    if not instances:
        return
    if at is None:
        found = [c for c in kids(instances[0].cursor.semantic_parent) if kind(c) == "FIELD_DECL" and c.spelling == name]
    else:
        found = [c for c in instances[0].nodes if kind(c) in ("VAR_DECL", "PARM_DECL") and spans(c)[0] == at]
    if not found:
        report.note(*where, f"the type of `{name}` is not known, so its members and dimensions are not checked")
        return
    type_, depth = found[0].type, len(dimensions(found[0].type))
    for f in fields:
        inside = [x for x in pointee(type_).get_fields() if x.spelling == f]
        if not inside:
            report.add(*where, "pragma-variable", f"`{pragma.name}`: `{name}` has no member `{f}`")
            return
        type_ = inside[0].type
        depth += len(dimensions(type_))
    if pragma.name not in ("array_partition", "array_reshape"):
        return
    if depth == 0:
        report.add(*where, "pragma-variable", f"`{pragma.name}`: `{pragma.options['variable']}` is no array")
    dim = evaluate(pragma.options.get("dim", "1"), names)[1]
    if depth and dim is not None and dim > depth:
        report.add(*where, "pragma-value", f"`{pragma.name} dim = {dim}`: the array has {depth} dimensions")


def _arguments(source: Source, pragmas: Pragmas, report: Report) -> None:
    """Every argument of the top function has its interface, and the function a protocol."""
    file = file_of(source.top)
    ports: dict[str, list[str]] = {}
    for p in pragmas.files.get(file, []):
        if p.name == "interface" and spans(source.top)[0] < p.offset < spans(source.top)[1]:
            mode = p.options.get("mode") or next((w for w in p.words if w in MODES), "")
            ports.setdefault(p.options.get("port", ""), []).append(mode)
    for parameter in kids(source.top):
        if kind(parameter) == "PARM_DECL" and not ports.get(parameter.spelling):
            where = source.name(file), parameter.location.line
            report.add(*where, "argument", f"`{parameter.spelling}` has no interface pragma")
    if not any(m.startswith("ap_ctrl") for m in ports.get("return", [])):
        report.add(
            source.name(file),
            source.top.location.line,
            "argument",
            "no block-level protocol (ap_ctrl_*) at port = return",
        )
