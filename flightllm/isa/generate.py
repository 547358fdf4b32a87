"""Files generated from the instruction set: manual page, SystemVerilog package, C++ header.

Run `python -m flightllm.isa.generate` to write them, `--check` to compare (exit code 1 if one is not current).
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

from flightllm.config.templates import environment, write_or_check
from flightllm.isa import Unit
from flightllm.isa.blocks import BLOCK_POSITIONS, KEY_SLOTS, WINDOW_POSITIONS
from flightllm.isa.control import ALU_OPS, LOOP_DEPTH
from flightllm.isa.fields import INSTRUCTION_BYTES, REGISTERS, TOKEN_UNITS, Addr, Choice, Count, Field, Instruction
from flightllm.isa.registers import FIRST_FREE, HostRegister

#: template -> generated file, both relative to the repository
OUTPUTS = {
    "isa.md.j2": "docs/isa.md",
    "flightllm_isa_pkg.sv.j2": "rtl/flightllm_isa_pkg.sv",
    "flightllm_isa.hpp.j2": "hls/include/flightllm_isa.hpp",
}

UNIT_TEXT = {
    Unit.Q: "sequencer",
    Unit.W: "weight load",
    Unit.L: "load",
    Unit.M: "matrix",
    Unit.S: "special function",
    Unit.T: "store",
}


def _meaning(f: Field) -> str:
    if isinstance(f, Addr):
        return f"{f.doc}; {f.space} address, base + R[{f.name}_r] * {f.name}_s"
    if isinstance(f, Count):
        return f"{f.doc}; immediate + R[{f.name}_r]"
    if isinstance(f, Choice):
        return f"{f.doc}: " + ", ".join(f"{i} {n}" for i, n in enumerate(f.names))
    return f.doc


def _instruction(cls: type[Instruction]) -> dict[str, Any]:
    owner = {f.name + suffix: f for f in cls.fields.values() for suffix, _ in f.parts}
    parts: list[dict[str, Any]] = []
    for name, (lo, bits) in cls.layout.items():
        f = owner.get(name)
        parts.append(
            {
                "name": name,
                "lo": lo,
                "hi": lo + bits - 1,
                "bits": bits,
                "text": _meaning(f) if f is not None and name == f.name else "",
                "sv": _SV_NAMES.get(name, name),
            }
        )
    return {
        "name": cls.__name__,
        "opcode": cls.opcode,
        "unit": cls.unit.name,
        "unit_text": UNIT_TEXT[cls.unit],
        "doc": inspect.cleandoc(cls.__doc__ or ""),
        "parts": parts,
        "used": parts[-1]["hi"] + 1,
        "choices": [f for f in cls.fields.values() if isinstance(f, Choice)],
        "bad_choices": [
            {"lo": f.lo, "hi": f.lo + f.bits - 1, "bits": f.bits, "top": len(f.names) - 1}
            for f in cls.fields.values()
            if isinstance(f, Choice) and len(f.names) < 1 << f.bits
        ],
        "operands": [
            {"name": f.name, "sv": _SV_NAMES.get(f.name, f.name), "address": isinstance(f, Addr)}
            for f in cls.fields.values()
            if isinstance(f, Addr | Count)
        ],
        "op_fields": _op_fields(cls),
        "hls_fields": _hls_fields(cls),
        "hls_resolved": [
            {"name": f.name, "address": isinstance(f, Addr)} for f in cls.fields.values() if isinstance(f, Addr | Count)
        ],
    }


def _hls_fields(cls: type[Instruction]) -> list[dict[str, Any]]:
    """Fields of an instruction in C++: type, and the number of the resolved operand (None: as it stands in the word)."""
    resolved = [f.name for f in cls.fields.values() if isinstance(f, Addr | Count)]
    out = []
    for f in cls.fields.values():
        kind = "std::int32_t" if isinstance(f, Count) else f"std::uint{32 if f.bits <= 32 else 64}_t"
        out.append({"name": f.name, "type": kind, "index": resolved.index(f.name) if f.name in resolved else None})
    return out


def _op_fields(cls: type[Instruction]) -> list[dict[str, Any]]:
    """Fields of an instruction as its unit sees them: one each, with the number of the resolved operand."""
    header = [{"sv": _SV_NAMES.get(n, n), "bits": b, "count": False, "index": None} for n, b in Instruction.HEADER]
    number = 0
    out = header
    for f in cls.fields.values():
        index = None
        if isinstance(f, Addr | Count):
            index, number = number, number + 1
        count = isinstance(f, Count)
        out.append(
            {"sv": _SV_NAMES.get(f.name, f.name), "bits": 32 if count else f.bits, "count": count, "index": index}
        )
    return out


#: field names that SystemVerilog reserves
_SV_NAMES = {"wait": "wait_mask", "signal": "signal_mask", "table": "has_table", "first": "first_block"}


def _identifier(text: str) -> str:
    return re.sub(r"\W", "_", text).upper()


def context() -> dict[str, Any]:
    """What the templates see."""
    classes = sorted(Instruction.by_opcode.values(), key=lambda c: c.opcode)
    return {
        "instructions": [_instruction(c) for c in classes],
        "max_operands": max_operands(),
        "operand_places": operand_places(classes),
        "facts": legal_facts(classes),
        "units": [(u.name, UNIT_TEXT[u]) for u in (Unit.Q, Unit.W, *TOKEN_UNITS)],
        "token_units": [u.name for u in TOKEN_UNITS],
        "instruction_bytes": INSTRUCTION_BYTES,
        "instruction_bits": 8 * INSTRUCTION_BYTES,
        "registers": REGISTERS,
        "host_registers": [(r.name, int(r)) for r in HostRegister],
        "first_free": FIRST_FREE,
        "loop_depth": LOOP_DEPTH,
        "alu_ops": list(ALU_OPS),
        "block_positions": BLOCK_POSITIONS,
        "key_slots": KEY_SLOTS,
        "window_positions": WINDOW_POSITIONS,
    }


def operand_places(classes: list[type[Instruction]]) -> list[dict[str, Any]]:
    """Where base, register and stride (None: 1) of dispatched operands lie in an instruction, and which (opcode, number) lie there."""
    places: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for cls in classes:
        if cls.unit is Unit.Q:
            continue
        operands = [f for f in cls.fields.values() if isinstance(f, Addr | Count)]
        for index, f in enumerate(operands):
            names = (f.name, f.name + "_r", f.name + "_s")
            key = tuple((lo, lo + bits - 1) for lo, bits in (cls.layout[n] for n in names if n in cls.layout))
            places.setdefault(key, []).append({"name": cls.__name__, "index": index})
    return [
        {"base": key[0], "register": key[1], "stride": key[2] if len(key) > 2 else None, "of": of}
        for key, of in places.items()
    ]


def legal_facts(classes: list[type[Instruction]]) -> dict[str, Any]:
    """What legality depends on beside the opcode: parts of the instruction that are zero (hi, lo), choices that are names (hi, lo, top).

    `of[name]`: bit by bit, which of these facts (parts first) an instruction needs; its reserved bits are all parts from one number on.
    """
    known = [_instruction(cls) for cls in classes]
    ends = sorted({i["used"] for i in known})
    zeros = list(zip([*(e - 1 for e in ends[1:]), 8 * INSTRUCTION_BYTES - 1], ends, strict=True))
    choices = sorted({(c["hi"], c["lo"], c["top"]) for i in known for c in i["bad_choices"]})
    return {
        "zeros": zeros, "choices": choices,
        "of": {
            i["name"]: sum(1 << k for k in range(ends.index(i["used"]), len(zeros)))
            + sum(1 << len(zeros) + choices.index((c["hi"], c["lo"], c["top"])) for c in i["bad_choices"])
            for i in known
        },
    }  # fmt: skip


def max_operands() -> int:
    """Operands that resolve at dispatch which an instruction has at most."""
    return max(sum(isinstance(f, Addr | Count) for f in cls.fields.values()) for cls in Instruction.by_opcode.values())


def render(templates: Path) -> dict[str, str]:
    """Generated file (relative path) -> text."""
    env = environment(templates)
    env.filters["ident"] = _identifier
    values = context()
    return {output: env.get_template(name).render(values) for name, output in OUTPUTS.items()}


def main(argv: list[str]) -> int:
    """Write or check the files of the checkout this module lies in."""
    root = Path(__file__).resolve().parents[2]
    return write_or_check(root, render(root / "templates"), argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
