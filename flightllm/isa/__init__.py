"""The instruction set, declared once: formats, semantics, footprints, assembler, and what is generated from them."""

from flightllm.isa import control, load, matrix, special, store
from flightllm.isa.asm import assemble, decode_program, disassemble, encode_program
from flightllm.isa.fields import INSTRUCTION_BYTES, TOKEN_UNITS, Instruction, Unit
from flightllm.isa.registers import HostRegister

__all__ = [
    "INSTRUCTION_BYTES",
    "TOKEN_UNITS",
    "HostRegister",
    "Instruction",
    "Unit",
    "assemble",
    "control",
    "decode_program",
    "disassemble",
    "encode_program",
    "load",
    "matrix",
    "special",
    "store",
]
