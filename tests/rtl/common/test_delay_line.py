"""delay_line: out is what went in Depth cycles ago, for no, one and several stages."""

from __future__ import annotations

import random

import cocotb
import pytest
from cocotb.triggers import ReadOnly, RisingEdge
from cocotb_runner import parameter, run_bench, start


@pytest.mark.parametrize(("depth", "width"), [(0, 5), (1, 1), (7, 40)])
def test_delay_line(depth, width):
    run_bench("delay_line", __file__, ["common"], {"Depth": depth, "Width": width})


@cocotb.test()
async def delay(dut):
    depth, width = parameter("Depth"), parameter("Width")
    await start(dut, in_i=0)
    sent = []
    for cycle in range(200):
        sent.append(random.getrandbits(width))
        dut.in_i.value = sent[-1]
        await ReadOnly()
        if cycle >= depth:
            assert int(dut.out_o.value) == sent[cycle - depth], f"cycle {cycle}"
        await RisingEdge(dut.clk_i)
