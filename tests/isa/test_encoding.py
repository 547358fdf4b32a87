"""Encode, decode, assemble and disassemble are inverse to each other on every legal instruction."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flightllm.errors import FlightError, ProgramError
from flightllm.isa import INSTRUCTION_BYTES, Instruction, assemble, decode_program, disassemble, encode_program
from flightllm.isa.fields import Choice


@st.composite
def instructions(draw, cls=None):
    cls = cls or draw(st.sampled_from(list(Instruction.by_opcode.values())))
    inst = cls()
    for part, (_, bits) in cls.layout.items():
        f = cls.fields.get(part)
        top = len(f.names) - 1 if isinstance(f, Choice) else (1 << bits) - 1
        value = draw(st.integers(0, top))
        if part == "opcode":
            continue
        if part in ("wait", "signal"):
            setattr(inst, part, value)
        else:
            inst.values[part] = value
    return inst


@given(st.lists(instructions(), max_size=20))
def test_round_trips(program):
    data = encode_program(program)
    assert len(data) == INSTRUCTION_BYTES * len(program)
    assert decode_program(data) == program
    assert assemble(disassemble(data)) == program


@given(st.binary(min_size=INSTRUCTION_BYTES, max_size=INSTRUCTION_BYTES))
def test_any_bytes_decode_to_themselves_or_are_refused(data):
    try:
        inst = Instruction.decode(data)
    except ProgramError:
        return
    assert inst.encode() == data


@given(st.text(max_size=200))
def test_any_text_assembles_or_is_refused(text):
    with contextlib.suppress(FlightError):
        assemble(text)


@pytest.mark.parametrize("cls", list(Instruction.by_opcode.values()), ids=lambda c: c.__name__)
def test_fields_do_not_overlap(cls):
    used = 0
    for lo, bits in cls.layout.values():
        mask = ((1 << bits) - 1) << lo
        assert not used & mask
        used |= mask
    assert used < 1 << (8 * INSTRUCTION_BYTES)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("FOO", "unknown instruction"),
        ("MM kk=3", "no field"),
        ("MM wait=Q", "unknown unit"),
        ("MM k=0x1000000", "does not fit"),
        ("ALU op=xor", "cannot read"),
        ("LOOP rd=R40", "does not fit"),
    ],
)
def test_assembler_names_the_line(text, word):
    with pytest.raises(ProgramError, match=word) as e:
        assemble("HALT\n" + text)
    assert "line 2" in str(e.value)


def test_reserved_bits_and_unknown_opcodes_are_refused():
    with pytest.raises(ProgramError, match="reserved"):
        Instruction.decode((1 << 511 | 0).to_bytes(64, "little"))
    with pytest.raises(ProgramError, match="opcode"):
        Instruction.decode(bytes([0x3F]) + bytes(63))
    with pytest.raises(ProgramError, match="truncated"):
        decode_program(bytes(65))
