"""Registers that the host sets before a run (docs/machine.md)."""

from __future__ import annotations

from enum import IntEnum


class HostRegister(IntEnum):
    """Number and meaning of the run-time registers; R8 and up belong to the program."""

    ZERO = 0  #: always 0
    POS = 1  #: position of the chunk's first token
    NTOK = 2  #: tokens in the chunk
    KVLEN = 3  #: POS + NTOK
    CORE = 4  #: core id
    NLOG = 5  #: logits wanted for the last NLOG tokens
    MASKEN = 6  #: 1: block masks apply


#: first register that programs use for themselves
FIRST_FREE = 8


def host_registers(pos: int, ntok: int, core: int, nlog: int, masken: bool) -> list[int]:
    """The 32 registers at the start of a run."""
    regs = [0] * 32
    regs[HostRegister.POS] = pos
    regs[HostRegister.NTOK] = ntok
    regs[HostRegister.KVLEN] = pos + ntok
    regs[HostRegister.CORE] = core
    regs[HostRegister.NLOG] = nlog
    regs[HostRegister.MASKEN] = int(masken)
    return regs
