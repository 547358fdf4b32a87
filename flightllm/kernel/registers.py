"""Access to the kernel's registers, whoever has them: a card, a simulator."""

from __future__ import annotations

from typing import Protocol


class Registers(Protocol):
    """The kernel's registers, 32 bits each; addresses as in docs/registers.md."""

    def read(self, address: int, /) -> int:
        """Value of a register."""

    def write(self, address: int, value: int, /) -> None:
        """Write a register."""


def read64(registers: Registers, address: int) -> int:
    """A 64-bit register that does not change meanwhile."""
    return registers.read(address) | registers.read(address + 4) << 32


def write64(registers: Registers, address: int, value: int) -> None:
    """Write a 64-bit register."""
    registers.write(address, value & 0xFFFFFFFF)
    registers.write(address + 4, value >> 32)
