"""vector_buffer against an array: which client a bank grants, answers exactly three cycles later, masked writes seen from the next
cycle on, zeros and error_o beyond the end."""

from __future__ import annotations

import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from cocotb_runner import parameter, run_bench, start

ELEMENT = (1 << 32) - 1


@pytest.mark.parametrize(("words", "banks", "readers", "writers"), [(40, 4, 3, 2), (64, 8, 6, 4), (21, 2, 2, 2)])
def test_vector_buffer(words, banks, readers, writers):
    parameters = {"Words": words, "Banks": banks, "ReadClients": readers, "WriteClients": writers}
    run_bench("vector_buffer", __file__, ["buffers"], parameters)


def merge(old: int, new: int, mask: int) -> int:
    for e in range(16):
        if mask >> e & 1:
            old = old & ~(ELEMENT << 32 * e) | new & (ELEMENT << 32 * e)
    return old


def grants(valid: list[bool], addr: list[int], banks: int) -> list[bool]:
    """Lower client first, one a bank."""
    taken: set[int] = set()
    out = []
    for v, a in zip(valid, addr, strict=True):
        out.append(v and a % banks not in taken)
        if v:
            taken.add(a % banks)
    return out


@cocotb.test()
@cocotb.parametrize(busy=[0.3, 0.9], near=[False, True])
async def random_traffic(dut, busy, near):
    """near: all clients want the same few words, so that conflicts and reads behind writes are common."""
    words, banks = parameter("Words"), parameter("Banks")
    readers, writers = parameter("ReadClients"), parameter("WriteClients")
    await start(dut, rd_valid_i=0, wr_valid_i=0, rd_addr_i=0, wr_addr_i=0, wr_data_i=0, wr_mask_i=0)
    model = {}
    for at in range(words):  # no reset for memories: fill
        model[at] = random.getrandbits(512)
        dut.wr_valid_i.value, dut.wr_addr_i.value = 1, at
        dut.wr_data_i.value, dut.wr_mask_i.value = model[at], 0xFFFF
        await RisingEdge(dut.clk_i)
        assert int(dut.wr_ready_o.value) & 1
    due: list[dict[int, int]] = [{}, {}, {}]  # answers of the next cycles: client -> word
    beyond, conflicts = [False, False], 0  # error_o two cycles after the grant
    top = words + 9
    for cycle in range(400):
        bound = 2 * banks + 1 if near else top
        rd = [random.random() < busy for _ in range(readers)]
        wr = [random.random() < busy for _ in range(writers)]
        rd_addr = [random.randrange(bound) if rd[i] else random.randrange(1 << 20) for i in range(readers)]
        wr_addr = [random.randrange(bound) if wr[i] else random.randrange(1 << 20) for i in range(writers)]
        data = [random.getrandbits(512) for _ in range(writers)]
        mask = [random.choice([0xFFFF, 0, random.getrandbits(16)]) for _ in range(writers)]
        dut.rd_valid_i.value = sum(v << i for i, v in enumerate(rd))
        dut.rd_addr_i.value = sum(a << 20 * i for i, a in enumerate(rd_addr))
        dut.wr_valid_i.value = sum(v << i for i, v in enumerate(wr))
        dut.wr_addr_i.value = sum(a << 20 * i for i, a in enumerate(wr_addr))
        dut.wr_data_i.value = sum(d << 512 * i for i, d in enumerate(data))
        dut.wr_mask_i.value = sum(m << 16 * i for i, m in enumerate(mask))
        await RisingEdge(dut.clk_i)
        rd_want, wr_want = grants(rd, rd_addr, banks), grants(wr, wr_addr, banks)
        assert int(dut.rd_ready_o.value) == sum(g << i for i, g in enumerate(rd_want)), f"cycle {cycle}: {rd} {rd_addr}"
        assert int(dut.wr_ready_o.value) == sum(g << i for i, g in enumerate(wr_want)), f"cycle {cycle}: {wr} {wr_addr}"
        conflicts += sum(rd) - sum(rd_want) + sum(wr) - sum(wr_want)
        answers = due.pop(0)
        assert int(dut.rd_rvalid_o.value) == sum(1 << i for i in answers), f"cycle {cycle}"
        if answers:
            lanes = int(dut.rd_rdata_o.value)
            for i, want in answers.items():
                assert lanes >> 512 * i & ((1 << 512) - 1) == want, f"cycle {cycle}, client {i}"
        assert int(dut.error_o.value) == beyond.pop(0), f"cycle {cycle}"
        due.append({i: model.get(rd_addr[i], 0) for i in range(readers) if rd_want[i]})
        beyond.append(any(g and a >= words for g, a in zip(rd_want + wr_want, rd_addr + wr_addr, strict=True)))
        for i in range(writers):
            if wr_want[i] and wr_addr[i] < words:
                model[wr_addr[i]] = merge(model[wr_addr[i]], data[i], mask[i])
    assert conflicts > 20
