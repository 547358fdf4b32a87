"""mask_buffer against an array: three ports, two cycles after the address; writes beyond the end have no effect."""

from __future__ import annotations

import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from cocotb_runner import parameter, run_bench, start

PORTS = 3


@pytest.mark.parametrize("size", [32, 100])
def test_mask_buffer(size):
    run_bench("mask_buffer", __file__, ["buffers"], {"Bytes": size})


@cocotb.test()
async def random_traffic(dut):
    size = parameter("Bytes")
    await start(dut, we_i=0, addr_i=0)
    model = [random.getrandbits(8) for _ in range(size)]
    for at, value in enumerate(model):
        dut.we_i.value, dut.waddr_i.value, dut.wdata_i.value = 1, at, value
        await RisingEdge(dut.clk_i)
    due: list[list[int]] = [[], []]
    for cycle in range(1500):
        write, at, value = (
            random.random() < 0.5,
            random.choice([random.randrange(size), random.randrange(1 << 16)]),
            random.getrandbits(8),
        )
        # every second read is where a write is
        addr = [at if at < size and random.random() < 0.5 else random.randrange(size) for _ in range(PORTS)]
        dut.we_i.value, dut.waddr_i.value, dut.wdata_i.value = write, at, value
        dut.addr_i.value = sum(a << 16 * p for p, a in enumerate(addr))
        await RisingEdge(dut.clk_i)
        word = int(dut.data_o.value)
        for p, want in enumerate(due.pop(0)):
            assert word >> 8 * p & 0xFF == want, f"cycle {cycle}, port {p}"
        due.append([model[a] for a in addr])
        if write and at < size:
            model[at] = value
