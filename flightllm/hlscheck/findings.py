"""What the check says: findings by rule, and what it could not tell."""

from __future__ import annotations

from dataclasses import dataclass, field

#: rule: what to do about it
RULES = {
    "allocation": "use an array of constant size",
    "argument": "give every argument of the top function an interface pragma, and a register or a port that exists",
    "array-shared": "let one process own it, and pass values through a stream",
    "call-unresolved": "call a function whose definition the kernel has",
    "dataflow-call": "let the process return void, and keep it out of line (no `inline`)",
    "dataflow-statement": "move it into a process: a region has declarations, calls, and fully unrolled loops of calls",
    "exception": "return a code",
    "float": "compute on bit patterns (flightllm/fp32.hpp): the kernel is integer-only",
    "function-pointer": "call by name, or pass a template argument",
    "global": "make it const or constexpr, or pass it as an argument",
    "goto": "use a loop with break",
    "library": "write it out: only ap_int, hls::stream, hls::vector, hls::burst_maxi, <cstdint>, <type_traits> and __builtin_clzll",
    "parse": "make it compile",
    "pipeline-loop": "give the inner loop constant bounds, or take the pipeline pragma off the outer one",
    "pointer": "use arrays or references",
    "pragma-name": "use a name or an option of UG1399",
    "pragma-place": "move it to where it takes effect",
    "pragma-value": "give a value that UG1399 allows",
    "pragma-variable": "name a variable or port that is visible there",
    "recursion": "use a loop",
    "rtti": "use templates or an enum",
    "static": "declare it const, or keep it in a variable of the process",
    "stream-copy": "pass streams by reference",
    "stream-use": "let exactly one process write and exactly one read the stream",
    "tripcount": "add `#pragma HLS loop_tripcount min = .. max = ..` as one of the first things in the loop's body",
    "type": "use integers of fixed width, ap_int, structs and arrays of them",
    "unroll-bounds": "give the loop constant bounds, or a factor",
    "virtual": "use templates",
    "vla": "use an array of constant size",
}

#: what no reading of the source can tell
UNKNOWN = (
    "No synthesis was run. This is a reading of the source: a clean report does not say that Vitis HLS accepts the kernel.",
    "Unknown: whether a pipeline reaches its II, the clock, latency, resources, and how memories and multipliers are mapped.",
    "Unknown: whether a dataflow region deadlocks with the depths that its streams have in hardware.",
    "Unknown: whether a `dependence ... dependent = false` is true; a false one gives wrong hardware.",
    "hls::stream, hls::vector, hls::burst_maxi and ap_int are read from headers that stand in for those of the tool.",
)


@dataclass(frozen=True, order=True)
class Finding:
    """Something that the subset forbids. file: relative to the project, or the name of the generated file."""

    file: str
    line: int
    rule: str
    text: str

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}"

    @property
    def advice(self) -> str:
        """What is wrong, and what to do."""
        return f"{self.rule}: {self.text}\n    do: {RULES[self.rule]}"

    def __str__(self) -> str:
        return f"{self.place}: {self.advice}"


@dataclass(frozen=True)
class Note:
    """Something that the check saw and could not decide."""

    place: str
    text: str


@dataclass
class Report:
    """Outcome of a check."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    #: findings that the project has accepted, with its reason
    waived: list[tuple[Finding, str]] = field(default_factory=list)
    functions: int = 0
    loops: int = 0
    pragmas: int = 0
    regions: int = 0

    def note(self, file: str, line: int, text: str) -> None:
        """Add what could not be told, once."""
        note = Note(f"{file}:{line}", text)
        if note not in self.notes:
            self.notes.append(note)

    def add(self, file: str, line: int, rule: str, text: str) -> None:
        """Add a finding, once for all instances of a template."""
        if rule not in RULES:
            raise KeyError(rule)
        finding = Finding(file, line, rule, text)
        if finding not in self.findings:
            self.findings.append(finding)

    @property
    def rules(self) -> set[str]:
        """Rules that were broken."""
        return {f.rule for f in self.findings}
