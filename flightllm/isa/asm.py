"""Assembler and disassembler: one instruction a line, `NAME field=value ... wait=M+S signal=T`, `#` starts a comment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from flightllm.errors import ProgramError
from flightllm.isa.control import LOOP
from flightllm.isa.fields import INSTRUCTION_BYTES, TOKEN_UNITS, Addr, Choice, Count, Field, Instruction, Reg


def encode_program(program: Iterable[Instruction]) -> bytes:
    """Instructions -> bytes, 64 each."""
    return b"".join(inst.encode() for inst in program)


def decode_program(data: bytes) -> list[Instruction]:
    """Bytes -> instructions. Raises ProgramError naming the pc."""
    if len(data) % INSTRUCTION_BYTES:
        raise ProgramError("truncated program", why=f"{len(data)} bytes are not a multiple of {INSTRUCTION_BYTES}")
    return [
        Instruction.decode(data[i : i + INSTRUCTION_BYTES], f"pc {i // INSTRUCTION_BYTES}")
        for i in range(0, len(data), INSTRUCTION_BYTES)
    ]


def disassemble(
    data: bytes | list[Instruction],
    symbols: Mapping[str, Mapping[int, str]] | None = None,
    sections: Mapping[int, str] | None = None,
) -> str:
    """Listing: pc, indentation by loop, instruction, and after `#` the names of addresses.

    symbols: memory space ("MEM", "VB", "AB") -> base address -> name. sections: pc -> heading printed before it.
    """
    program = decode_program(data) if isinstance(data, bytes) else data
    ends: list[int] = []
    lines = []
    for pc, inst in enumerate(program):
        while ends and ends[-1] <= pc:
            ends.pop()
        if sections and pc in sections:
            lines.append(f"# {sections[pc]}")
        names = []
        for f in inst.fields.values():
            space = getattr(f, "space", "VB" if f.name in ("gamma", "beta") else "MEM" if f.name == "table" else "")
            name = (symbols or {}).get(space, {}).get(inst.values[f.name])
            if name and inst._differs(f):
                names.append(f"{f.name}:{name}")
        comment = f"  # {', '.join(names)}" if names else ""
        lines.append(f"{pc:6d}  {'  ' * len(ends)}{inst.text()}{comment}")
        if isinstance(inst, LOOP):
            ends.append(pc + 1 + inst.values["body"])
    return "\n".join(lines) + "\n"


def assemble(text: str) -> list[Instruction]:
    """Read a listing back. Raises ProgramError naming the line."""
    program = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        if words and words[0].isdigit():
            words = words[1:]
        if words:
            program.append(_line(words, f"line {number}: {line.strip()}"))
    return program


def _line(words: list[str], where: str) -> Instruction:
    cls = Instruction.by_name.get(words[0])
    if cls is None:
        raise ProgramError(
            f"unknown instruction {words[0]!r}", where=where, do=f"known: {', '.join(Instruction.by_name)}"
        )
    values: dict[str, Any] = {}
    masks = {"wait": 0, "signal": 0}
    for word in words[1:]:
        key, sep, text = word.partition("=")
        if key in masks and sep:
            masks[key] = _mask(text, where)
        elif sep and key in cls.fields:
            values.update(_operand(cls.fields[key], text, where))
        else:
            raise ProgramError(
                f"{cls.__name__} has no field {key!r}", where=where, do=f"fields: {', '.join(cls.fields)}"
            )
    try:
        return cls(**masks, **values)
    except ProgramError as e:
        raise ProgramError(e.what, where=where, why=e.why) from e


def _mask(text: str, where: str) -> int:
    units = {u.name: u for u in TOKEN_UNITS}
    mask = 0
    for name in text.split("+"):
        if name not in units:
            raise ProgramError(f"unknown unit {name!r}", where=where, do="units: L, M, S, T")
        mask |= 1 << units[name]
    return mask


def _operand(f: Field, text: str, where: str) -> dict[str, Any]:
    if isinstance(f, Choice) and text in f.names:
        return {f.name: text}
    number = r"(-?(?:0x[0-9a-fA-F]+|\d+))"
    reg = r"R(\d+)"
    if isinstance(f, Reg):
        match = re.fullmatch(reg, text)
        if match:
            return {f.name: int(match[1])}
    elif isinstance(f, Addr):
        match = re.fullmatch(rf"{number}(?:\+{reg}\*{number})?", text)
        if match:
            return {f.name: int(match[1], 0), f.name + "_r": int(match[2] or 0), f.name + "_s": int(match[3] or "0", 0)}
    elif isinstance(f, Count):
        match = re.fullmatch(rf"(?:{number}\+)?{reg}|{number}", text)
        if match:
            return {f.name: int(match[3] or match[1] or "0", 0), f.name + "_r": int(match[2] or 0)}
    else:
        match = re.fullmatch(number, text)
        if match:
            return {f.name: int(match[1], 0)}
    raise ProgramError(f"cannot read {f.name}={text}", where=where)
