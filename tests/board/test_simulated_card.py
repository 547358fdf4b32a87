"""The simulated card itself: memory, allocation, who may touch what, the clock."""

from __future__ import annotations

import numpy as np
import pytest
from fake_kernel import FakeKernel
from sim.kernels import arch_of

from flightllm.errors import ToolError
from flightllm.kernel import control_map as cm
from flightllm.sim.card import SimulatedCard, make_xclbin, open_kernel
from flightllm.sim.card.container import REGISTERS

BANK = 1 << 16


@pytest.fixture
def card(tmp_path):
    card = SimulatedCard(FakeKernel)
    card.program(make_xclbin(tmp_path / "c.xclbin", arch_of()))
    card.opened = True
    return card


def test_memory_is_where_a_card_has_it(card):
    a, b, c = card.allocate(1, 5000), card.allocate(1, 10), card.allocate(0, 1)
    assert [x.address for x in (a, b, c)] == [BANK, BANK + 8192, 0]
    assert card.kernel.memory[1][0] == BANK
    assert card.kernel.memory[1][1].size == 12288, "what was allocated, and no more"
    a.host[:] = 7
    card.to_card(a, 10, 20)
    assert card.kernel.memory[1][1].nonzero()[0].tolist() == list(range(10, 30))
    card.kernel.memory[1][1][4999] = 9
    assert a.host[4999] == 7, "until it is copied back"
    card.from_card(a, 4999, 1)
    assert a.host[4999] == 9 and a.host[0] == 7


def test_room(card):
    card.allocate(0, BANK - 4096)
    with pytest.raises(MemoryError, match=r"8192 bytes in HBM\[0\], 4096 of 65536"):
        card.allocate(0, 8192)
    card.free(0)
    card.allocate(0, BANK)
    with pytest.raises(MemoryError):
        card.allocate(31, 1)  # not connected to anything


def test_the_clock_goes_on_while_somebody_looks(card):
    card.write(REGISTERS + cm.ADDRESS["AP_CTRL"], cm.START)
    assert card.kernel.left == 7000
    for address in ("ERROR", "CYCLES", "POS"):
        card.read(REGISTERS + cm.ADDRESS[address])
    assert card.kernel.left == 7000
    assert card.read(REGISTERS + cm.ADDRESS["AP_CTRL"]) == cm.START
    assert card.read(REGISTERS + cm.ADDRESS["AP_CTRL"]) & cm.DONE


def test_what_a_card_refuses(card, tmp_path):
    with pytest.raises(ToolError, match="no register"):
        card.read(REGISTERS + 0x10000)
    with pytest.raises(ToolError, match="no register"):
        card.read(0)
    card.opened = False
    with pytest.raises(ToolError, match="context is not open"):
        card.read(REGISTERS)
    fresh = SimulatedCard(FakeKernel)
    with pytest.raises(ToolError, match="does not know"):
        fresh.program(make_xclbin(tmp_path / "d.xclbin", arch_of(), tells=False))
    fresh.opened, fresh._registers = True, REGISTERS
    with pytest.raises(ToolError, match="not programmed"):
        fresh.read(REGISTERS)


def test_programming_again_forgets_everything(card, tmp_path):
    held = card.allocate(0, 100)
    held.host[:] = 1
    card.to_card(held, 0, 100)
    old = card.kernel
    card.program(make_xclbin(tmp_path / "c.xclbin", arch_of()))
    assert old.closed and card.kernel is not old and not card.opened
    assert not np.any(card.kernel.memory.get(0, (0, np.zeros(1)))[1])
    card.opened = True
    assert card.allocate(0, 100).address == 0


def test_kernels_by_name():
    assert isinstance(open_kernel("fake_kernel:FakeKernel", arch_of()), FakeKernel)
    for name in ("hls9", "fake_kernel:None", "no_such_module:f", ""):
        with pytest.raises(ToolError, match=f"no simulated kernel '{name}'"):
            open_kernel(name, arch_of())
