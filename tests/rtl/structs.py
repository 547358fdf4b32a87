"""Packed structs and enums of a SystemVerilog package, read from its source: for ports that carry them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from flightllm.config.paths import data_dir

Value = int | Mapping[str, "Value"]


class Structs:
    """Types of one package of rtl/ whose widths are numbers."""

    def __init__(self, package: str) -> None:
        (path,) = data_dir("rtl").rglob(f"{package}.sv")
        text = re.sub(r"//.*", "", path.read_text())
        self._bits: dict[str, int] = {}
        self._enums: dict[str, dict[str, int]] = {}
        self._fields: dict[str, list[tuple[str, str | int]]] = {}
        for kind, width, body, name in re.findall(
            r"typedef (enum|struct packed)\s*(?:logic\s*\[(\d+):0\])?\s*\{([^}]*)\}\s*(\w+);", text
        ):
            if kind == "enum":
                self._enums[name] = {word.strip(): i for i, word in enumerate(body.split(","))}
                self._bits[name] = int(width) + 1
                continue
            fields = re.findall(r"(logic|\w+_[et])\s*(signed)?\s*(?:\[\s*(\d+):0\])?\s*(\w+)\s*;", body)
            self._fields[name] = [(n, int(high or 0) + 1 if kind == "logic" else kind) for kind, _, high, n in fields]
            self._bits[name] = sum(self._width(kind) for _, kind in self._fields[name])

    def _width(self, kind: str | int) -> int:
        return kind if isinstance(kind, int) else self._bits[kind]

    def bits(self, name: str) -> int:
        """Width of a type."""
        return self._bits[name]

    def enum(self, name: str) -> dict[str, int]:
        """Values of an enum by name."""
        return self._enums[name]

    def names(self, name: str) -> list[str]:
        """Fields of a struct, the highest first."""
        return [field for field, _ in self._fields[name]]

    def pack(self, name: str, **values: Value) -> int:
        """A struct as a number; all fields must be given, a struct inside as a mapping."""
        assert {n for n, _ in self._fields[name]} == set(values), name
        word = 0
        for field, kind in self._fields[name]:
            value = values[field]
            number = self.pack(str(kind), **value) if isinstance(value, Mapping) else int(value)
            width = self._width(kind)
            word = word << width | (number & ((1 << width) - 1))
        return word

    def unpack(self, name: str, word: int) -> dict[str, Value]:
        """Fields of a struct, unsigned; enums as numbers."""
        out: dict[str, Value] = {}
        for field, kind in reversed(self._fields[name]):
            width = self._width(kind)
            value = word & ((1 << width) - 1)
            out[field] = self.unpack(str(kind), value) if kind in self._fields else value
            word >>= width
        return out
