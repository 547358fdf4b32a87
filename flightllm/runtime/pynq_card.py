"""A card through pynq 3.0.1. Later versions find no Alveo card; the module itself is imported when a card is wanted."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import numpy as np

from flightllm.errors import ToolError
from flightllm.kernel.signature import CONTROL_BYTES
from flightllm.kernel.xclbin import Bank, Instance, Xclbin
from flightllm.runtime.card import simulated

WANTED = "3.0.1"
_INSTALL = "pip install 'pynq==3.0.1' 'numpy<2' 'pycparser<3' in an environment of its own (docs/deploy.md)"


def _pynq() -> ModuleType:
    """The module; ToolError if it is missing, does not work, or is another version."""
    try:
        import pynq
    except Exception as error:  # it fails in many ways: numpy 2, pycparser 3, no libc, no cffi
        why = f"{type(error).__name__}: {error}"
        raise ToolError("pynq cannot be imported", why=why, do=_INSTALL) from error
    version = str(getattr(pynq, "__version__", "unknown"))
    if version != WANTED:
        raise ToolError(
            f"pynq {version} is not usable here", why=f"only {WANTED} is known to find Alveo cards", do=_INSTALL
        )
    if simulated():
        from flightllm.sim.card.plugin import plug_in

        plug_in(simulated())
    return pynq


def _devices() -> list[Any]:
    pynq = _pynq()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is none is said in our own words
        return [d for d in pynq.Device.devices if d.has_capability("REGISTER_RW")]


def platforms() -> list[str]:
    """Names of the cards' platforms."""
    return [str(getattr(d, "name", d.tag)) for d in _devices()]


class PynqBuffer:
    """A pynq buffer: host memory with a mirror on the card."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.address = int(inner.device_address)

    def write(self, offset: int, data: np.ndarray) -> None:
        """Copy to the card."""
        part = self._inner[offset : offset + data.size]
        part[:] = data
        part.sync_to_device()

    def read(self, offset: int, count: int) -> np.ndarray:
        """Copy from the card."""
        part = self._inner[offset : offset + count]
        part.sync_from_device()
        return np.array(part, np.uint8, subok=False)


class PynqCard:
    """A card of pynq's. index: as `platforms` lists them."""

    def __init__(self, index: int) -> None:
        self._device = _devices()[index]
        self._overlay: Any = None
        self._registers: Any = None

    def program(self, xclbin: Xclbin, kernel: Instance) -> None:
        """Load the container; see `flightllm.runtime.card.Card`."""
        pynq = _pynq()
        self._registers = None
        try:
            self._overlay = pynq.Overlay(str(xclbin.path.resolve()), device=self._device)
            # pynq's own driver of the kernel is not wanted: it knows arguments only, and not every type that they may have
            ip = self._overlay.ip_dict[kernel.name]
            self._device.open_context(ip)
        except Exception as error:
            raise ToolError(
                "the card does not take the xclbin",
                where=str(xclbin.path),
                why=f"{type(error).__name__}: {error}; it was built for platform {xclbin.platform}",
                do="compare the platform with `flightllm board`; see that no other program uses the card",
            ) from error
        # the kernel has registers beyond its arguments, so the whole address space is taken and not what the arguments need
        self._registers = pynq.MMIO(ip["phys_addr"], CONTROL_BYTES, device=self._device)

    def read(self, address: int, /) -> int:
        """A register."""
        return int(self._registers.read(address))

    def write(self, address: int, value: int, /) -> None:
        """Write a register."""
        self._registers.write(address, int(value))

    def allocate(self, bank: Bank, size: int) -> PynqBuffer:
        """Memory in a bank."""
        pynq = _pynq()
        try:
            inner = pynq.allocate((size,), "u1", target=self._device.get_memory(self._overlay.mem_dict[bank.tag]))
        except RuntimeError as error:
            raise MemoryError(str(error)) from error
        return PynqBuffer(inner)

    def close(self) -> None:
        """Give the kernel back."""
        if self._overlay is not None and hasattr(self._device, "free_bitstream"):
            self._device.free_bitstream()
        self._overlay = self._registers = None
