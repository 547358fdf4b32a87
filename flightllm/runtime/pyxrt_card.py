"""A card through pyxrt, the Python module of XRT.

pyxrt loads xclbins and moves memory. It no longer reaches registers (since XRT 2.15); what does is XRT's C interface, in the library that pyxrt itself
stands on, opened here by ctypes. Written from XRT's headers; no card was at hand to try it on.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from flightllm.errors import ToolError
from flightllm.kernel.xclbin import Bank, Instance, Xclbin

_LIBRARY = "libxrt_coreutil.so"


def _pyxrt() -> ModuleType:
    try:
        import pyxrt
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise ToolError("pyxrt cannot be imported", why=why, do="source XRT's setup.sh, use its Python") from error
    module: ModuleType = pyxrt
    return module


def _library() -> Any:
    """XRT's C interface; ToolError if it is not there or has not the calls."""
    root = os.environ.get("XILINX_XRT", "")
    path = str(Path(root) / "lib" / _LIBRARY) if root else f"{_LIBRARY}.2"
    handle, u32 = ctypes.c_void_p, ctypes.c_uint32
    calls = {
        "xrtDeviceOpen": (handle, [ctypes.c_uint]),
        "xrtDeviceClose": (ctypes.c_int, [handle]),
        "xrtDeviceGetXclbinUUID": (ctypes.c_int, [handle, ctypes.c_void_p]),
        "xrtPLKernelOpenExclusive": (handle, [handle, ctypes.c_void_p, ctypes.c_char_p]),
        "xrtKernelClose": (ctypes.c_int, [handle]),
        "xrtKernelReadRegister": (ctypes.c_int, [handle, u32, ctypes.POINTER(u32)]),
        "xrtKernelWriteRegister": (ctypes.c_int, [handle, u32, u32]),
    }
    try:
        library = ctypes.CDLL(path)
        for name, (result, arguments) in calls.items():
            call = getattr(library, name)
            call.restype, call.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        do = "use pynq 3.0.1 instead (docs/deploy.md), or an XRT that has it"
        raise ToolError("XRT's registers cannot be reached", where=path, why=str(error), do=do) from error
    return library


def platforms() -> list[str]:
    """Names of the cards' platforms. An older pyxrt cannot count cards: they are opened until one fails."""
    pyxrt = _pyxrt()
    count = pyxrt.enumerate_devices() if hasattr(pyxrt, "enumerate_devices") else 16
    names: list[str] = []
    for index in range(count):
        try:
            names.append(str(pyxrt.device(index).get_info(pyxrt.xrt_info_device.name)))
        except RuntimeError:
            break
    return names


class PyxrtBuffer:
    """A buffer object of XRT."""

    def __init__(self, bo: Any, directions: Any) -> None:
        self._bo, self._directions = bo, directions
        self.address = int(bo.address())

    def write(self, offset: int, data: np.ndarray) -> None:
        """Copy to the card."""
        self._bo.write(np.ascontiguousarray(data), offset)
        self._bo.sync(self._directions.XCL_BO_SYNC_BO_TO_DEVICE, data.size, offset)

    def read(self, offset: int, count: int) -> np.ndarray:
        """Copy from the card."""
        self._bo.sync(self._directions.XCL_BO_SYNC_BO_FROM_DEVICE, count, offset)
        return np.asarray(self._bo.read(count, offset)).view(np.uint8)


class PyxrtCard:
    """A card of XRT's. index: its number."""

    def __init__(self, index: int) -> None:
        self._pyxrt, self._library = _pyxrt(), _library()
        self._index = index
        self._device = self._pyxrt.device(index)
        self._opened = self._kernel = None

    def program(self, xclbin: Xclbin, kernel: Instance) -> None:
        """Load the container; see `flightllm.runtime.card.Card`."""
        self.close()
        name = f"{kernel.kernel}:{{{kernel.name}}}"
        try:
            self._device.load_xclbin(str(xclbin.path))
        except RuntimeError as error:
            raise ToolError(
                "the card does not take the xclbin",
                where=str(xclbin.path),
                why=f"{error}; it was built for platform {xclbin.platform}",
                do="compare the platform with `flightllm board`; see that no other program uses the card",
            ) from error
        self._opened = self._library.xrtDeviceOpen(self._index)
        uuid = ctypes.create_string_buffer(16)
        if self._opened and not self._library.xrtDeviceGetXclbinUUID(self._opened, uuid):
            self._kernel = self._library.xrtPLKernelOpenExclusive(self._opened, uuid, name.encode())
        if not self._kernel:
            do = "see that no other program uses the card"
            raise ToolError("the kernel cannot be opened", where=name, why="XRT refuses its registers", do=do)

    def read(self, address: int, /) -> int:
        """A register."""
        value = ctypes.c_uint32()
        self._answered(self._library.xrtKernelReadRegister(self._kernel, address, ctypes.byref(value)), address)
        return value.value

    def write(self, address: int, value: int, /) -> None:
        """Write a register."""
        self._answered(self._library.xrtKernelWriteRegister(self._kernel, address, value), address)

    @staticmethod
    def _answered(result: int, address: int) -> None:
        if result:
            raise ToolError(
                f"register {address:#x} of the kernel cannot be reached",
                why=f"XRT says {result}",
                do="see that the xclbin was built with an address range of 64 KB for the kernel",
            )

    def allocate(self, bank: Bank, size: int) -> PyxrtBuffer:
        """Memory in a bank."""
        x = self._pyxrt
        try:
            bo = x.bo(self._device, size, x.bo.flags.normal, bank.index)
        except RuntimeError as error:
            raise MemoryError(str(error)) from error
        return PyxrtBuffer(bo, x.xclBOSyncDirection)

    def close(self) -> None:
        """Give the kernel back."""
        if self._kernel:
            self._library.xrtKernelClose(self._kernel)
        if self._opened:
            self._library.xrtDeviceClose(self._opened)
        self._opened = self._kernel = None
