"""`#pragma HLS` in the text of the kernel: libclang drops pragmas that it does not know."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from flightllm.hlscheck.findings import Report
from flightllm.hlscheck.source import Source
from flightllm.hlscheck.tree import kids, kind, spans

LINE = re.compile(r"^[ \t]*#[ \t]*pragma\b(?P<rest>(?:\\\r?\n|[^\n])*)", re.MULTILINE)
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL)
TOKEN = re.compile(r"[A-Za-z_][\w]*(?:(?:::|\.)[A-Za-z_]\w*)*|\d\w*|<<|>>|[^\s\w]")
#: after one of these, or before, a value goes on
OPERATORS = {"+", "-", "*", "/", "%", "<<", ">>", "(", ")", "<", ">", ",", "[", "]", "?", ":"}
OTHERS = {"once"}


@dataclass(frozen=True)
class Pragma:
    """One pragma. name: in lower case; options: with a value, words: without one; offset: in bytes."""

    file: str
    line: int
    offset: int
    name: str
    options: dict[str, str]
    words: tuple[str, ...]

    @property
    def off(self) -> bool:
        """Whether it takes something away."""
        return "off" in self.words or self.options.get("off") == "true"


@dataclass
class Pragmas:
    """All of a kernel, by file."""

    files: dict[str, list[Pragma]]

    def heading(self, file: str, body: Any) -> list[Pragma]:
        """Pragmas at the beginning of a body, before its first statement."""
        if kind(body) != "COMPOUND_STMT":
            return []
        start, end = spans(body)
        inside = kids(body)
        first = spans(inside[0])[0] if inside else end
        return [p for p in self.files.get(file, []) if start < p.offset < first]


def read_pragmas(source: Source, report: Report) -> Pragmas:
    """Pragmas of all files of the kernel that the preprocessor keeps."""
    files: dict[str, list[Pragma]] = {}
    for file, text in source.texts.items():
        skipped = source.skipped(file)
        plain = COMMENT.sub(_blank, text.encode().decode("latin-1"))  # a character is a byte, as in libclang's offsets
        where = source.name(file)
        for match in LINE.finditer(plain):
            if any(a <= match.start() < b for a, b in skipped):
                continue
            line = plain.count("\n", 0, match.start()) + 1
            tokens = TOKEN.findall(match["rest"].replace("\\\n", " "))
            if tokens[:1] == ["HLS"]:
                pragma = _pragma(file, line, match.start(), tokens[1:])
                if pragma is None:
                    report.add(where, line, "pragma-name", "`#pragma HLS` without a directive, or not to be read")
                else:
                    files.setdefault(file, []).append(pragma)
            elif not tokens or tokens[0] not in OTHERS:
                report.add(where, line, "pragma-name", f"`#pragma {' '.join(tokens[:2])}` is no pragma of Vitis HLS")
        for match in re.finditer(r"\b_Pragma\b", plain):
            line = plain.count("\n", 0, match.start()) + 1
            report.add(where, line, "pragma-name", "a pragma by _Pragma, which this check cannot place: write #pragma")
    report.pragmas = sum(map(len, files.values()))
    return Pragmas(files)


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def _pragma(file: str, line: int, offset: int, tokens: list[str]) -> Pragma | None:
    if not tokens or not re.match(r"[A-Za-z]", tokens[0]):
        return None
    options: dict[str, str] = {}
    words: list[str] = []
    at = 1
    while at < len(tokens):
        name = tokens[at]
        at += 1
        if at < len(tokens) and tokens[at] == "=":
            at += 1
            value: list[str] = []
            while at < len(tokens):
                free = not value or tokens[at] in OPERATORS or value[-1] in OPERATORS - {")", "]"}
                if not free or tokens[at + 1 : at + 2] == ["="]:
                    break
                value.append(tokens[at])
                at += 1
            options[name] = "".join(value)
        else:
            words.append(name)
    return Pragma(file, line, offset, tokens[0].lower(), options, tuple(words))
