"""A simulated card as a device of pynq 3.0.1, which itself stays as it is. Imported only where pynq is.

The class registers itself with pynq when it is made, so `plug_in` has to be called before somebody asks for the devices.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pynq.buffer import PynqBuffer
from pynq.pl_server.device import Device
from pynq.pl_server.xclbin_parser import XclBin

from flightllm.sim.card.card import Allocation, SimulatedCard
from flightllm.sim.card.container import PLATFORM
from flightllm.sim.card.kernel import open_kernel

_cards: list[SimulatedCard] = []


def plug_in(card: str | SimulatedCard) -> None:
    """Let pynq find a simulated card; a name is one of `open_kernel`. Before pynq was asked for its devices; names count once."""
    if isinstance(card, str):
        if _cards:
            return
        card = SimulatedCard(partial(open_kernel, card))
    _cards.append(card)


class _Memory:
    """A bank, as pynq allocates in it."""

    def __init__(self, device: SimulatedDevice, desc: dict[str, Any]) -> None:
        self.device, self.index = device, desc["idx"]

    def allocate(self, shape: Any, dtype: Any, **_: Any) -> PynqBuffer:
        kind = np.dtype(dtype)
        try:
            held = self.device.card.allocate(self.index, int(np.prod(shape)) * kind.itemsize)
        except MemoryError as error:  # as XRT's number for no memory comes out of pynq
            raise RuntimeError(f"Allocate failed: {error}") from error
        number = self.device.hold(held)
        # without .memory: pynq would free it by XRT's library
        return PynqBuffer(
            shape, kind, bo=number, device=self.device, buffer=held.host, device_address=held.address, coherent=False
        )


class SimulatedDevice(Device):
    """The card as pynq sees it."""

    #: before the cards of XRT (200)
    _probe_priority_ = 150

    @classmethod
    def _probe_(cls) -> list[SimulatedDevice]:
        return [cls(i, card) for i, card in enumerate(_cards)]

    def __init__(self, index: int, card: SimulatedCard) -> None:
        super().__init__(f"simulated{index}")
        self.card = card
        self.name = PLATFORM
        self.capabilities = {"REGISTER_RW": True, "CALLABLE": True}
        self._held: dict[int, Allocation] = {}

    def hold(self, held: Allocation) -> int:
        """Number of an allocation."""
        self._held[len(self._held)] = held
        return len(self._held) - 1

    def get_bitfile_metadata(self, bitfile_name: str, partial: bool = False) -> XclBin:
        """What pynq reads of the container."""
        return XclBin(bitfile_name)

    def download(self, bitstream: Any, parser: Any = None) -> None:
        """Program the card."""
        self._held.clear()
        self.card.program(Path(bitstream.bitfile_name))
        super().post_download(bitstream, parser)

    def open_context(self, description: dict[str, Any], shared: bool = True) -> int:
        """Registers can be reached from now on."""
        self.card.opened = True
        return int(description["cu_index"])

    def free_bitstream(self) -> None:
        """The context is closed; memory is given back."""
        self.card.opened = False
        for held in self._held.values():
            self.card.free(held.bank.index)
        self._held.clear()

    def read_registers(self, address: int, length: int) -> bytes:
        """Whole registers."""
        return b"".join(self.card.read(address + i).to_bytes(4, "little") for i in range(0, length, 4))

    def write_registers(self, address: int, data: bytes) -> None:
        """Whole registers."""
        raw = bytes(data)
        for i in range(0, len(raw), 4):
            self.card.write(address + i, int.from_bytes(raw[i : i + 4], "little"))

    def get_memory(self, desc: dict[str, Any]) -> _Memory:
        """A bank to allocate in."""
        return _Memory(self, desc)

    def flush(self, bo: int, offset: int, ptr: int, size: int) -> None:
        """Host to card."""
        self.card.to_card(self._held[bo], offset, size)

    def invalidate(self, bo: int, offset: int, ptr: int, size: int) -> None:
        """Card to host."""
        self.card.from_card(self._held[bo], offset, size)
