"""Declaration of instruction formats: a class whose attributes are fields; encode, decode and all generated files follow.

An instruction is 512 bits, little endian. Fields are packed from bit 0 upwards in the order of declaration, header first,
so a declaration states every position exactly once; the manual prints the result.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar

from flightllm.errors import ProgramError

#: bytes of one instruction
INSTRUCTION_BYTES = 64
#: number of sequencer registers and bits of a register number
REGISTERS = 32
REG_BITS = 5


class Unit(IntEnum):
    """Units of a core; the values of L, M, S, T are bit numbers of the wait and signal masks."""

    L = 0
    M = 1
    S = 2
    T = 3
    W = 4
    Q = 5  #: the sequencer itself


TOKEN_UNITS = (Unit.L, Unit.M, Unit.S, Unit.T)


@dataclass
class Field:
    """An unsigned immediate of `bits` bits."""

    bits: int
    doc: str = ""
    name: str = ""
    lo: int = 0

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """(suffix, width) of the raw bit fields this operand occupies."""
        return (("", self.bits),)

    def resolve(self, values: dict[str, Any], regs: list[int]) -> Any:
        """Run-time value, given the raw field values and the registers."""
        return values[self.name]

    def text(self, values: dict[str, Any]) -> str:
        return str(values[self.name])


class Flag(Field):
    """One bit."""

    def __init__(self, doc: str = "") -> None:
        super().__init__(1, doc)


class Reg(Field):
    """A register number (destination, or a register read whole)."""

    def __init__(self, doc: str = "") -> None:
        super().__init__(REG_BITS, doc)

    def text(self, values: dict[str, Any]) -> str:
        return f"R{values[self.name]}"


class Int(Field):
    """A signed 32-bit immediate."""

    def __init__(self, doc: str = "") -> None:
        super().__init__(32, doc)

    def resolve(self, values: dict[str, Any], regs: list[int]) -> int:
        return as_signed(values[self.name])

    def text(self, values: dict[str, Any]) -> str:
        return str(as_signed(values[self.name]))


class Float(Field):
    """An fp32 constant, held as its bit pattern."""

    def __init__(self, doc: str = "") -> None:
        super().__init__(32, doc)

    def resolve(self, values: dict[str, Any], regs: list[int]) -> float:
        return float(struct.unpack("<f", struct.pack("<I", values[self.name]))[0])

    def text(self, values: dict[str, Any]) -> str:
        return f"{values[self.name]:#010x}"


class Choice(Field):
    """One of a list of names; the value is the index."""

    def __init__(self, names: tuple[str, ...], doc: str = "") -> None:
        super().__init__(max(1, (len(names) - 1).bit_length()), doc)
        self.names = names

    def resolve(self, values: dict[str, Any], regs: list[int]) -> str:
        return self.names[values[self.name]]

    def text(self, values: dict[str, Any]) -> str:
        return self.names[values[self.name]]


class Count(Field):
    """A run-time count: immediate + R[r]; the sum is 32 bits, signed."""

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        return (("", self.bits), ("_r", REG_BITS))

    def resolve(self, values: dict[str, Any], regs: list[int]) -> int:
        return as_signed(values[self.name] + regs[values[self.name + "_r"]])

    def text(self, values: dict[str, Any]) -> str:
        imm, reg = values[self.name], values[self.name + "_r"]
        return str(imm) if not reg else (f"R{reg}" if not imm else f"{imm}+R{reg}")


class Addr(Field):
    """A run-time address: base + R[r] * stride, modulo 2^bits. `space` names the memory, `unit` what one step is."""

    def __init__(self, space: str, bits: int, doc: str = "") -> None:
        super().__init__(bits, doc)
        self.space = space

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        return (("", self.bits), ("_r", REG_BITS), ("_s", self.bits))

    def resolve(self, values: dict[str, Any], regs: list[int]) -> int:
        reg = values[self.name + "_r"]
        base = values[self.name]
        return (base + regs[reg] * values[self.name + "_s"]) & ((1 << self.bits) - 1) if reg else base

    def text(self, values: dict[str, Any]) -> str:
        base, reg, stride = (values[self.name + s] for s in ("", "_r", "_s"))
        return f"{base:#x}" if not reg and not stride else f"{base:#x}+R{reg}*{stride:#x}"


def as_signed(value: int) -> int:
    """32-bit two's complement reading of an integer."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value & 0x80000000 else value


class Operands:
    """Run-time values of an instruction's operands, as attributes; what semantics and footprints work on."""

    __slots__ = ("__dict__",)

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)

    if TYPE_CHECKING:  # operands differ from instruction to instruction

        def __getattr__(self, name: str) -> Any: ...


class Instruction:
    """Base of all instructions. Subclasses declare `opcode`, `unit`, fields and semantics.

    Raw values live in `self.values` by field part name (`dst`, `dst_r`, `dst_s`, ...); `wait` and `signal` are masks over
    `TOKEN_UNITS`.
    """

    opcode: ClassVar[int]
    unit: ClassVar[Unit]
    fields: ClassVar[dict[str, Field]] = {}
    layout: ClassVar[dict[str, tuple[int, int]]] = {}  # part name -> (lowest bit, width)
    by_opcode: ClassVar[dict[int, type[Instruction]]] = {}
    by_name: ClassVar[dict[str, type[Instruction]]] = {}

    HEADER: ClassVar[tuple[tuple[str, int], ...]] = (("opcode", 6), ("wait", 4), ("signal", 4))

    def __init_subclass__(cls, register: bool = True) -> None:
        if not register:  # a base that shares code between instructions
            return
        cls.fields = {}
        cls.layout = {}
        lo = 0
        for name, bits in Instruction.HEADER:
            cls.layout[name] = (lo, bits)
            lo += bits
        # Fields of shared bases come first; each instruction has its own copies, since positions differ.
        declared = {n: f for base in reversed(cls.__mro__) for n, f in vars(base).items() if isinstance(f, Field)}
        for name, declaration in declared.items():
            f = copy(declaration)
            f.name, f.lo = name, lo
            cls.fields[name] = f
            for suffix, bits in f.parts:
                cls.layout[name + suffix] = (lo, bits)
                lo += bits
        if lo > 8 * INSTRUCTION_BYTES:
            raise TypeError(f"{cls.__name__}: {lo} bits do not fit {8 * INSTRUCTION_BYTES}")
        if cls.opcode in Instruction.by_opcode:
            raise TypeError(f"{cls.__name__}: opcode {cls.opcode} is taken by {Instruction.by_opcode[cls.opcode]}")
        Instruction.by_opcode[cls.opcode] = cls
        Instruction.by_name[cls.__name__] = cls

    def __init__(self, *, wait: int = 0, signal: int = 0, **values: Any) -> None:
        self.wait, self.signal = wait, signal
        self.values: dict[str, int] = dict.fromkeys(self.layout, 0)
        del self.values["opcode"], self.values["wait"], self.values["signal"]
        for key, value in values.items():
            if key not in self.values:
                raise TypeError(f"{type(self).__name__} has no field {key!r}; fields: {', '.join(self.values)}")
            self.values[key] = self._raw(key, value)

    def _raw(self, part: str, value: Any) -> int:
        f = self.fields.get(part)
        if isinstance(f, Choice) and isinstance(value, str):
            value = f.names.index(value)
        elif isinstance(f, Float) and isinstance(value, float):
            value = struct.unpack("<I", struct.pack("<f", value))[0]
        elif isinstance(f, Int):
            value = int(value) & 0xFFFFFFFF
        value = int(value)
        bits = self.layout[part][1]
        if not 0 <= value < 1 << bits:
            raise ProgramError(
                f"{type(self).__name__}: {part} = {value} does not fit its field",
                why=f"the field has {bits} bits (0 to {(1 << bits) - 1})",
                do="use a smaller model, context or buffer, or report this as a compiler limit",
            )
        return value

    def __eq__(self, other: object) -> bool:
        return (
            type(self) is type(other)
            and isinstance(other, Instruction)
            and (self.wait, self.signal, self.values) == (other.wait, other.signal, other.values)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return self.text()

    # --- encoding -----------------------------------------------------------------------------------------------
    def encode(self) -> bytes:
        """The 64 bytes of this instruction."""
        word = 0
        raw = {"opcode": self.opcode, "wait": self.wait, "signal": self.signal, **self.values}
        for part, (lo, bits) in self.layout.items():
            value = raw[part]
            if not 0 <= value < 1 << bits:
                raise ProgramError(f"{type(self).__name__}: {part} = {value} does not fit {bits} bits")
            word |= value << lo
        return word.to_bytes(INSTRUCTION_BYTES, "little")

    @staticmethod
    def decode(data: bytes, where: str = "program") -> Instruction:
        """Instruction from 64 bytes. Raises ProgramError for unknown opcodes, illegal choices and non-zero padding."""
        if len(data) != INSTRUCTION_BYTES:
            raise ProgramError("truncated instruction", where=where, why=f"{len(data)} of {INSTRUCTION_BYTES} bytes")
        word = int.from_bytes(data, "little")
        cls = Instruction.by_opcode.get(word & 0x3F)
        if cls is None:
            raise ProgramError(f"illegal opcode {word & 0x3F:#x}", where=where)
        used = 0
        raw: dict[str, int] = {}
        for part, (lo, bits) in cls.layout.items():
            raw[part] = (word >> lo) & ((1 << bits) - 1)
            used = max(used, lo + bits)
        if word >> used:
            raise ProgramError(f"{cls.__name__}: reserved bits are not zero", where=where)
        for name, f in cls.fields.items():
            if isinstance(f, Choice) and raw[name] >= len(f.names):
                raise ProgramError(f"{cls.__name__}: illegal value {raw[name]} of {name}", where=where)
        inst = cls.__new__(cls)
        del raw["opcode"]
        inst.wait, inst.signal = raw.pop("wait"), raw.pop("signal")
        inst.values = raw
        return inst

    # --- run time -----------------------------------------------------------------------------------------------
    def resolve(self, regs: list[int]) -> Operands:
        """Operand values for the given registers."""
        return Operands({name: f.resolve(self.values, regs) for name, f in self.fields.items()})

    def execute(self, core: Any, o: Operands) -> None:
        """Effect on a core of the functional machine (`flightllm.executors.functional.core.Core`)."""
        raise NotImplementedError

    def footprint(self, o: Operands, arch: Any) -> Iterator[Any]:
        """Every access to shared state, as `flightllm.isa.footprint.Access`."""
        return iter(())

    def broken_rules(self, arch: Any) -> Iterator[str]:
        """What the fields alone break of the rules in the class's description, for an architecture config."""
        return iter(())

    # --- text ---------------------------------------------------------------------------------------------------
    def text(self) -> str:
        """One line of assembly; `flightllm.isa.asm.assemble` reads it back."""
        words = [f"{name}={f.text(self.values)}" for name, f in self.fields.items() if self._differs(f)]
        for key, mask in (("wait", self.wait), ("signal", self.signal)):
            if mask:
                words.append(f"{key}={'+'.join(u.name for u in TOKEN_UNITS if mask >> u & 1)}")
        return " ".join([type(self).__name__, *words])

    def _differs(self, f: Field) -> bool:
        return any(self.values[f.name + suffix] for suffix, _ in f.parts) or isinstance(f, Choice)
