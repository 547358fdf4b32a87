"""ring against a deque: every first word, count and pop, full and empty, wrap-around, data three cycles after the pop."""

from __future__ import annotations

import random
from collections import deque

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from cocotb_runner import parameter, run_bench, start


@pytest.mark.parametrize("size", [128, 384, 4096])
def test_ring(size):
    run_bench("ring", __file__, ["memory", "common"], {"Bytes": size})


@cocotb.test()
@cocotb.parametrize(fill=[0.3, 0.9], drain=[0.3, 0.9], wide=[False, True])
async def random_traffic(dut, fill, drain, wide):
    """fill, drain: share of cycles with a push, a pop; wide: always as many words as go."""
    words = parameter("Bytes") // 8
    await start(dut, push_valid_i=0, push_first_i=0, push_count_i=1, pop_i=0)
    ring: deque[int] = deque()
    level = pushed = 0  # level: words that a pop of this cycle may take
    due: list[list[int]] = [[], [], []]
    seen = set()
    moved = 0
    for cycle in range(900):
        count = 8 if wide else random.randint(1, 8)
        first = random.randint(0, 8 - count)
        push = random.random() < fill and count <= words - len(ring)
        most = min(16, level)
        pop = (most if wide else random.randint(0, most)) if random.random() < drain else 0
        data = [random.getrandbits(64) for _ in range(8)]
        dut.push_valid_i.value, dut.push_first_i.value, dut.push_count_i.value = push, first, count
        dut.push_data_i.value = sum(d << 64 * i for i, d in enumerate(data))
        dut.pop_i.value = pop
        await RisingEdge(dut.clk_i)
        assert int(dut.free_o.value) == words - len(ring), f"cycle {cycle}"
        assert int(dut.count_o.value) == level and int(dut.level_o.value) == min(63, level), f"cycle {cycle}"
        answer = due.pop(0)
        if answer:
            word = int(dut.data_o.value)
            for i, want in enumerate(answer):
                assert word >> 64 * i & ((1 << 64) - 1) == want, f"cycle {cycle}, word {i} of {len(answer)}"
        due.append([ring.popleft() for _ in range(pop)])
        moved += pop
        level += pushed - pop
        pushed = count if push else 0
        if push:
            ring.extend(data[first : first + count])
            seen.add((first, count))
    assert moved > 2 * words or moved > 300
    assert wide or fill < 0.5 or drain < 0.5 or len(seen) == 36, "not every first word and count was tried"
