"""The pyxrt back end against a pyxrt in Python: what it calls. No card of XRT's was ever asked."""

from __future__ import annotations

import ctypes
import types
from functools import partial

import numpy as np
import pytest
from fake_kernel import FakeKernel
from sim.kernels import COPY, arch_of, expected_logits, package

from flightllm.errors import ToolError
from flightllm.kernel.xclbin import Xclbin
from flightllm.runtime import card as cards
from flightllm.runtime import pyxrt_card
from flightllm.runtime.board import BoardDevice
from flightllm.sim.card import SimulatedCard, make_xclbin


class Bo:
    """pyxrt.bo"""

    flags = types.SimpleNamespace(normal=0)

    def __init__(self, device, size, flags, group):
        try:
            self.card, self.held = device.card, device.card.allocate(group, size)
        except MemoryError as error:
            raise RuntimeError("bad_alloc") from error

    def address(self):
        return self.held.address

    def write(self, data, seek):
        raw = np.frombuffer(memoryview(data), np.uint8)
        self.held.host[seek : seek + raw.size] = raw

    def read(self, size, skip):
        return self.held.host[skip : skip + size].copy().view(np.int8)

    def sync(self, direction, size, offset):
        (self.card.to_card if direction == "to" else self.card.from_card)(self.held, offset, size)


class Device:
    """pyxrt.device"""

    def __init__(self, card, index):
        if index:
            raise RuntimeError("no such device")
        self.card = card

    def get_info(self, key):
        return f"platform of {key}"

    def load_xclbin(self, path):
        if "refused" in path:
            raise RuntimeError("xclbin does not match the shell")
        self.card.program(Xclbin.read(__import__("pathlib").Path(path)).path)


class Library:
    """The calls of libxrt_coreutil."""

    def __init__(self, card):
        self.card, self.calls = card, []

    def xrtDeviceOpen(self, index):  # noqa: N802
        return 11 + index

    def xrtDeviceClose(self, device):  # noqa: N802
        self.calls.append(("close", device))

    def xrtDeviceGetXclbinUUID(self, device, uuid):  # noqa: N802
        uuid.raw = bytes(range(16))
        return 0

    def xrtPLKernelOpenExclusive(self, device, uuid, name):  # noqa: N802
        assert (device, uuid.raw) == (11, bytes(range(16)))
        self.calls.append(("open", name))
        self.card.opened = b"{flightllm_1}" in name
        return 22

    def xrtKernelClose(self, kernel):  # noqa: N802
        assert kernel == 22
        self.card.opened = False

    def xrtKernelReadRegister(self, kernel, offset, value):  # noqa: N802
        ctypes.cast(value, ctypes.POINTER(ctypes.c_uint32))[0] = self.card.read(0x1800000 + offset)
        return 0

    def xrtKernelWriteRegister(self, kernel, offset, value):  # noqa: N802
        if offset == 0xBAD0:
            return -1
        self.card.write(0x1800000 + offset, value)
        return 0


@pytest.fixture
def xrt(monkeypatch):
    card = SimulatedCard(FakeKernel)
    module = types.SimpleNamespace(
        device=partial(Device, card),
        bo=Bo,
        xrt_info_device=types.SimpleNamespace(name="name"),
        xclBOSyncDirection=types.SimpleNamespace(XCL_BO_SYNC_BO_TO_DEVICE="to", XCL_BO_SYNC_BO_FROM_DEVICE="from"),
    )
    library = Library(card)
    monkeypatch.setattr(pyxrt_card, "_pyxrt", lambda: module)
    monkeypatch.setattr(pyxrt_card, "_library", lambda: library)
    monkeypatch.setattr(cards, "find_spec", lambda name: True if name == "pyxrt" else None)
    return card, library, module


def test_a_package_runs(tmp_path, xrt):
    arch = arch_of(cores=2)
    device = BoardDevice(make_xclbin(tmp_path / "c.xclbin", arch))
    device.load(package(tmp_path / "p.flpkg", arch, COPY))
    logits = device.run_chunk([5, 9, 19], 3, 2, True)
    assert np.array_equal(logits.view(np.uint32), expected_logits(arch, [5, 9, 19], 3, 2, True))
    assert xrt[1].calls == [("open", b"flightllm:{flightllm_1}")]
    device.close()
    assert xrt[1].calls[-1] == ("close", 11) and not xrt[0].opened


def test_cards_are_found(xrt):
    assert [c.to_json() for c in cards.find_cards()] == [
        {"index": 0, "platform": "platform of name", "driver": "pyxrt"}
    ]
    xrt[2].enumerate_devices = lambda: 0
    with pytest.raises(ToolError, match=r"no card was found(.|\n)*pyxrt finds none"):
        cards.open_card()
    del xrt[2].enumerate_devices
    with pytest.raises(ToolError, match="no card number 1"):
        cards.open_card(1)


def test_refusals(tmp_path, xrt):
    arch = arch_of()
    with pytest.raises(ToolError, match=r"does not take the xclbin(.|\n)*does not match the shell"):
        device = BoardDevice(make_xclbin(tmp_path / "refused.xclbin", arch))
        device.load(package(tmp_path / "p.flpkg", arch))
    card = cards.open_card()
    with pytest.raises(ToolError, match="register 0xbad0"):
        card.write(0xBAD0, 0)


def test_without_xrt(monkeypatch):
    monkeypatch.delenv("XILINX_XRT", raising=False)
    with pytest.raises(ToolError, match="pyxrt cannot be imported"):
        pyxrt_card.platforms()
    with pytest.raises(ToolError, match=r"registers cannot be reached(.|\n)*libxrt_coreutil"):
        pyxrt_card._library()
    monkeypatch.setattr(cards, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match=r"neither pynq nor pyxrt(.|\n)*docs/deploy.md"):
        cards.find_cards()
