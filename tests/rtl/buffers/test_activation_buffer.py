"""activation_buffer against an array: pairs of windows written at even and odd places, both ports two cycles after the address,
port T in the cycles that the matrix unit leaves."""

from __future__ import annotations

import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from cocotb_runner import parameter, run_bench, start

WINDOW = (1 << 128) - 1


@pytest.mark.parametrize("windows", [16, 31])
def test_activation_buffer(windows):
    run_bench("activation_buffer", __file__, ["buffers"], {"Windows": windows})


@cocotb.test()
@cocotb.parametrize(busy=[0.2, 0.7])
async def random_traffic(dut, busy):
    windows = parameter("Windows")
    await start(dut, wr_valid_i=0, wr_mask_i=0, m_valid_i=0, t_valid_i=0, wr_addr_i=0)
    model = [0] * windows
    for at in range(windows):
        model[at] = random.getrandbits(128)
        dut.wr_valid_i.value, dut.wr_addr_i.value, dut.wr_mask_i.value, dut.wr_data_i.value = 1, at, 1, model[at]
        await RisingEdge(dut.clk_i)
    due: list[dict[str, int]] = [{}, {}]
    served = refused = 0
    for cycle in range(1500):
        at, mask, data = random.randrange(windows - 1), random.getrandbits(2), random.getrandbits(256)
        write = random.random() < 0.6
        m, t = random.random() < busy, random.random() < 0.5
        a, b, w = (random.randrange(windows) for _ in range(3))
        dut.wr_valid_i.value, dut.wr_addr_i.value, dut.wr_mask_i.value, dut.wr_data_i.value = write, at, mask, data
        dut.m_valid_i.value, dut.a_addr_i.value, dut.b_addr_i.value = m, a, b
        dut.t_valid_i.value, dut.t_addr_i.value = t, w
        await RisingEdge(dut.clk_i)
        assert int(dut.t_ready_o.value) == (not m)
        answers = due.pop(0)
        assert int(dut.t_rvalid_o.value) == ("t" in answers), f"cycle {cycle}"
        for port, want in answers.items():
            assert int(getattr(dut, f"{port}_data_o").value) == want, f"cycle {cycle}, port {port}"
        now = {"a": model[a], "b": model[b]} if m else {"t": model[w]} if t else {}
        served += "t" in now
        refused += m and t
        due.append(now)
        if write:
            for i in range(2):
                if mask >> i & 1:
                    model[at + i] = data >> 128 * i & WINDOW
    assert served > 50 and refused > 50
