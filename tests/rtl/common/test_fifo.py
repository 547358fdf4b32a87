"""fifo against a deque: order, count, full and empty, any depth, pauses on both sides."""

from __future__ import annotations

import random
from collections import deque

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from cocotb_runner import PAUSES, parameter, pauses, run_bench, start


@pytest.mark.parametrize(("depth", "width"), [(1, 8), (2, 1), (3, 16), (8, 70)])
def test_fifo(depth, width):
    run_bench("fifo", __file__, ["common"], {"Depth": depth, "Width": width})


@cocotb.test()
@cocotb.parametrize(kinds=PAUSES)
async def order(dut, kinds):
    """Every cycle: in_ready iff not full, out_valid iff not empty, the oldest entry at the output, count."""
    depth, width = parameter("Depth"), parameter("Width")
    await start(dut, in_valid_i=0, out_ready_i=0)
    give, take = pauses(kinds[0], 1), pauses(kinds[1], 2)
    model: deque[int] = deque()
    full = passed = 0
    for _ in range(400):
        dut.in_valid_i.value = valid = int(not next(give))
        dut.in_data_i.value = data = random.getrandbits(width)
        dut.out_ready_i.value = ready = int(not next(take))
        await RisingEdge(dut.clk_i)
        assert int(dut.count_o.value) == len(model)
        assert int(dut.in_ready_o.value) == (len(model) < depth)
        assert int(dut.out_valid_o.value) == (len(model) > 0)
        room = len(model) < depth
        full += not room
        if model:
            assert int(dut.out_data_o.value) == model[0]
            if ready:
                model.popleft()
                passed += 1
        if valid and room:
            model.append(data)
    assert passed > 20 and (full > 0 or kinds in (("half", "none"), ("often", "rare"), ("none", "none"))), (
        passed,
        full,
    )


@cocotb.test()
async def reset_empties(dut):
    """A reset in mid-flight leaves nothing behind."""
    await start(dut, in_valid_i=1, in_data_i=1, out_ready_i=0)
    for _ in range(parameter("Depth") + 2):
        await RisingEdge(dut.clk_i)
    assert int(dut.in_ready_o.value) == 0
    dut.rst_ni.value = 0
    dut.in_valid_i.value = 0
    await RisingEdge(dut.clk_i)
    await RisingEdge(dut.clk_i)
    assert int(dut.count_o.value) == 0 and int(dut.out_valid_o.value) == 0
