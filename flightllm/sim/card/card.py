"""The card around a simulated kernel: what a driver of XRT offers, and no more. Knows nothing of pynq.

Device addresses of bank b begin at b times the size of a bank, as on a card. A port reaches what was allocated in the bank that the
container connects it to; all else is an AXI decode error. The kernel's clock goes on while somebody looks at its registers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flightllm.config.arch import ArchConfig
from flightllm.errors import ToolError
from flightllm.kernel import control_map as cm
from flightllm.kernel import signature
from flightllm.kernel.xclbin import Bank, Xclbin
from flightllm.sim.card.kernel import SimulatedKernel

#: clock cycles between two looks at AP_CTRL
STEP = 5000
PAGE = 4096


@dataclass
class Allocation:
    """Memory on the card. host: the host's copy, uint8 [size]. offset: in its bank."""

    bank: Bank
    offset: int
    host: np.ndarray

    @property
    def address(self) -> int:
        """As the kernel sees it."""
        return self.bank.base + self.offset


class SimulatedCard:
    """A card.

    Args:
        make_kernel: kernel for a config.
        arch: of containers that do not say what they were built for.
        wires: port -> number of the bank that it is really connected to, where the container lies.
        step: clock cycles between two looks at AP_CTRL.

    Attributes:
        kernel: after `program`. programmed: how often it was. opened: somebody may reach the registers.
    """

    def __init__(
        self,
        make_kernel: Callable[[ArchConfig], SimulatedKernel],
        arch: ArchConfig | None = None,
        wires: Mapping[int, int] | None = None,
        step: int = STEP,
    ) -> None:
        self._make, self._arch, self._wires, self._step = make_kernel, arch, dict(wires or {}), step
        self.kernel: SimulatedKernel | None = None
        self.programmed = 0
        self.opened = False
        self._memory: dict[int, np.ndarray] = {}
        self._used: dict[int, int] = {}
        self._banks: dict[int, Bank] = {}
        self._ports: dict[int, int] = {}
        self._registers = 0

    def program(self, path: Path) -> None:
        """Load a container: a new kernel, memory as it was before a card is used."""
        container = Xclbin.read(path)
        instance = container.kernel(signature.NAME)
        arch = self._arch if container.facts is None else container.facts.arch
        if arch is None:
            raise ToolError("the simulated card does not know its kernel", where=str(path), do="give it a config")
        self.close()
        self.kernel = self._make(arch)
        self._banks = {b.index: b for b in container.banks}
        self._registers = instance.base
        memories = [a.index for a in instance.arguments if a.port]
        self._ports = {
            port: instance.banks[index][-1] for port, index in enumerate(memories) if index in instance.banks
        }
        self._ports |= self._wires
        self._memory, self._used = {}, {}
        self.programmed += 1
        self.opened = False

    def close(self) -> None:
        """Free the kernel."""
        if self.kernel is not None:
            self.kernel.close()
        self.kernel = None

    def allocate(self, index: int, size: int) -> Allocation:
        """Memory in a bank; MemoryError if there is no room."""
        bank = self._banks[index]
        offset = self._used.get(index, 0)
        if not bank.used or offset + size > bank.size:
            raise MemoryError(f"{size} bytes in {bank.tag}, {bank.size - offset} of {bank.size} are free")
        if index not in self._memory:
            self._memory[index] = np.zeros(bank.size, np.uint8)
        self._used[index] = -(-(offset + size) // PAGE) * PAGE
        for port, behind in self._ports.items():
            if behind == index:
                self.cut(port, None)
        return Allocation(bank, offset, np.zeros(size, np.uint8))

    def free(self, index: int) -> None:
        """Give back all that was allocated in a bank."""
        self._used.pop(index, None)

    def to_card(self, allocation: Allocation, first: int, count: int) -> None:
        """Copy from the host's copy."""
        self._mirror(allocation)[first : first + count] = allocation.host[first : first + count]

    def from_card(self, allocation: Allocation, first: int, count: int) -> None:
        """Copy to the host's copy."""
        allocation.host[first : first + count] = self._mirror(allocation)[first : first + count]

    def _mirror(self, allocation: Allocation) -> np.ndarray:
        return self._memory[allocation.bank.index][allocation.offset : allocation.offset + allocation.host.size]

    def read(self, address: int) -> int:
        """A register, by its address on the card. Looking at AP_CTRL lets the kernel go on."""
        offset = self._offset(address)
        if offset == cm.ADDRESS["AP_CTRL"]:
            self._kernel().advance(self._step)
        return self._kernel().read(offset)

    def write(self, address: int, value: int) -> None:
        """Write a register, by its address on the card."""
        self._kernel().write(self._offset(address), value)

    def cut(self, port: int, size: int | None) -> None:
        """Let the port reach the first `size` bytes of its bank only; None: all that was allocated, as it should be."""
        index = self._ports[port]
        whole = self._used.get(index, 0)
        reached = self._memory[index][: whole if size is None else min(size, whole)]
        self._kernel().attach(port, self._banks[index].base, reached)

    def _offset(self, address: int) -> int:
        offset = address - self._registers
        if not 0 <= offset < signature.CONTROL_BYTES or offset % 4:
            raise ToolError(f"there is no register at {address:#x}", do="report this")
        if not self.opened:
            raise ToolError("the kernel's context is not open", do="open it first, as XRT demands")
        return offset

    def _kernel(self) -> SimulatedKernel:
        if self.kernel is None:
            raise ToolError("the simulated card is not programmed", do="load an xclbin first")
        return self.kernel
