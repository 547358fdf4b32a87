"""word_stream: aligned and shifted words in order, reads only with room and never behind the row's end."""

from __future__ import annotations

import random
from collections import deque

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from cocotb_runner import PAUSES, parameter, pauses, run_bench, start

LATENCY = 3  # of the vector buffer, from the grant


@pytest.mark.parametrize("depth", [1, 4, 8])
def test_word_stream(depth):
    run_bench("word_stream", __file__, ["common", "special"], {"Depth": depth}, only="words")


@cocotb.test()
@cocotb.parametrize(kinds=PAUSES, shift=[0, 1, 9, 15])
async def words(dut, kinds, shift):
    depth = parameter("Depth")
    base, row = random.randrange(1 << 18), 40
    memory = [random.getrandbits(512) for _ in range(row)]
    indices = sorted(random.sample(range(row), 30))
    if shift:  # the last pair begins in the row's last word: what lies behind it does not count
        indices = [*indices[:-1], row - 1]
    await start(
        dut, base_i=base, end_i=base + row - 1, shift_i=shift, index_valid_i=0, ready_i=0, rd_ready_i=0, rd_rvalid_i=0
    )
    give, take, grant = pauses(kinds[0], 1), pauses(kinds[1], 2), pauses(kinds[0], 3)
    left, answers = deque(indices), deque([None] * LATENCY)
    want = deque(indices)
    reads = waiting = taken = 0
    per, held = 2 if shift else 1, None  # reads of an index; address of one that waits
    for _ in range(4000):
        offered = bool(left) and not next(give)
        dut.index_valid_i.value = int(offered)
        dut.index_i.value = left[0] if offered else random.getrandbits(20)
        dut.ready_i.value = ready = int(not next(take))
        dut.rd_ready_i.value = granted = int(not next(grant))
        answer = answers.popleft()
        dut.rd_rvalid_i.value = int(answer is not None)
        dut.rd_rdata_i.value = answer if answer is not None else random.getrandbits(512)
        await RisingEdge(dut.clk_i)
        asked = int(dut.rd_valid_o.value) and granted
        if int(dut.rd_valid_o.value):
            address = int(dut.rd_addr_o.value)
            assert base <= address < base + row, "a read outside the row"
            assert reads < per * taken + per - 1, "a read for no index"
            assert held in (None, address), "the address changes while it waits"
        held = int(dut.rd_addr_o.value) if int(dut.rd_valid_o.value) and not granted else None
        answers.append(memory[address - base] if asked else None)
        reads += bool(asked)
        waiting += bool(asked)
        assert waiting <= 2 * depth + 1, "more reads asked for than there is room"
        if int(dut.index_ready_o.value):
            assert offered
            left.popleft()
            taken += 1
        if int(dut.valid_o.value):
            both = memory[want[0]] | (memory[min(want[0] + 1, row - 1)] << 512)
            exists = 512 if want[0] + 1 < row else 512 - 32 * shift  # elements behind the row may be anything
            mask = (1 << exists) - 1
            assert (int(dut.data_o.value) & mask) == (both >> (32 * shift) & mask), f"index {want[0]}"
            if ready:
                want.popleft()
                waiting -= per
                if not want:
                    break
    assert not want and not left
    assert reads == len(indices) * per
