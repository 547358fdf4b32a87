"""All checks over one kernel."""

from __future__ import annotations

from flightllm.config.arch import ArchConfig
from flightllm.hlscheck.bodies import check_bodies, check_globals
from flightllm.hlscheck.constants import collect_constants
from flightllm.hlscheck.dataflow import check_dataflow
from flightllm.hlscheck.findings import Report
from flightllm.hlscheck.functions import reach
from flightllm.hlscheck.loops import check_loops
from flightllm.hlscheck.placement import check_pragmas
from flightllm.hlscheck.pragmas import read_pragmas
from flightllm.hlscheck.source import parse
from flightllm.hlscheck.waivers import waive
from flightllm.kernel import signature
from flightllm.kernel.hls_top import FILE, hls_top


def check_arch(arch: ArchConfig) -> Report:
    """Check the kernel of an architecture config; findings that are waived are set aside.

    Raises:
        ConfigError: more ports than the register map has room for. ToolError: libclang, a compiler or a header is missing.
    """
    report = check_text(hls_top(arch), signature.NAME, FILE)
    waive(report)
    return report


def check_text(text: str, top: str, file: str = "kernel.cpp") -> Report:
    """Check C++ that may include the kernel's headers. top: name of the top function; file: what the text is called.

    Raises:
        ToolError: libclang, a compiler or a header is missing.
    """
    report = Report()
    source = parse(text, top, file)
    for path, line, message in source.errors:
        report.add(source.name(path), line, "parse", message)
    if source.top is None or source.errors:
        return report  # what does not compile has no functions to look at
    pragmas = read_pragmas(source, report)
    functions = reach(source, report)
    report.functions = len({(f.file, f.cursor.location.offset) for f in functions if f.body is not None})
    check_bodies(source, functions, report)
    check_globals(source, report)
    values = collect_constants(source, functions)
    check_loops(source, functions, pragmas, values, report)
    check_pragmas(source, functions, pragmas, values, report)
    check_dataflow(source, functions, pragmas, report)
    report.findings.sort()
    return report
