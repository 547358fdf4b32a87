"""ring against two deques: every first word, count and pop, full and empty, both pushed in one cycle, data three cycles after the pop."""

from __future__ import annotations

import random
from collections import deque

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from cocotb_runner import parameter, run_bench, start

IDLE = {"w_push_i": 0, "k_push_i": 0, "k_first_i": 0, "k_count_i": 1, "w_pop_i": 0, "k_pop_i": 0, "k_place_i": 0}


@pytest.mark.parametrize("sizes", [(128, 64), (192, 384), (4096, 1024)])
def test_ring(sizes):
    run_bench("ring", __file__, ["memory", "common"], dict(zip(("WBytes", "KBytes"), sizes, strict=True)))


class Queue:
    """What one of the two rings holds; level: words that a pop of this cycle may take."""

    def __init__(self, size: int) -> None:
        self.words: deque[int] = deque()
        self.size, self.level, self.moved = size, 0, 0

    def room(self) -> int:
        return self.size - len(self.words)

    def pop(self, count: int) -> list[int]:
        self.level -= count
        self.moved += count
        return [self.words.popleft() for _ in range(count)]


@cocotb.test()
@cocotb.parametrize(fill=[0.3, 0.95], drain=[0.3, 0.95], wide=[False, True])
async def random_traffic(dut, fill, drain, wide):
    """fill, drain: share of cycles with a push, a pop; wide: always as many words as go."""
    await start(dut, **IDLE)
    w, k = Queue(parameter("WBytes") // 8), Queue(parameter("KBytes") // 8)
    w_late: deque[int] = deque()  # beats of W that are not yet written: words of each
    stage = 0  # words of K in its stage register
    stall = False  # K may not be pushed
    due: list[list[tuple[int, int]]] = [[], [], []]  # words with their places
    seen, both, late = set(), 0, 0
    for cycle in range(1200):
        w_push = random.random() < fill and w.room() >= 8
        count = 8 if wide else random.randint(1, 8)
        first = random.randint(0, 8 - count)
        k_push = not stall and random.random() < fill and k.room() >= count
        queue = random.choice([w, k])
        most = min(16, queue.level)
        pop = (most if wide else random.randint(0, most)) if random.random() < drain else 0
        w_data, k_data = ([random.getrandbits(64) for _ in range(8)] for _ in range(2))
        dut.w_push_i.value, dut.k_push_i.value, dut.k_first_i.value, dut.k_count_i.value = w_push, k_push, first, count
        dut.w_data_i.value = sum(d << 64 * i for i, d in enumerate(w_data))
        dut.k_data_i.value = sum(d << 64 * i for i, d in enumerate(k_data))
        dut.w_pop_i.value, dut.k_pop_i.value = (pop, 0) if queue is w else (0, pop)
        place = random.randrange(16)
        dut.k_place_i.value = place
        await RisingEdge(dut.clk_i)
        assert int(dut.k_free_o.value) == k.room(), f"cycle {cycle}"
        for q, level, total in ((w, dut.w_level_o, dut.w_count_o), (k, dut.k_level_o, dut.k_count_o)):
            assert int(total.value) == q.level and int(level.value) == min(63, q.level), f"cycle {cycle}"
        answer = due.pop(0)
        if answer:
            word = int(dut.data_o.value)
            for i, want in answer:
                assert word >> 64 * i & ((1 << 64) - 1) == want, f"cycle {cycle}, word {i} of {len(answer)}"
        turn = place if queue is k else 0
        due.append([((turn + i) % 16, data) for i, data in enumerate(queue.pop(pop))])
        # one write a cycle: a beat of W that waits, then K's stage, then the beat that comes
        waited = len(w_late)
        if w_push:
            w.words.extend(w_data)
            w_late.append(8)
        if stage and not waited:
            k.level += stage
            stage = 0
        elif w_late:
            w.level += w_late.popleft()
        if k_push:
            assert not stage
            stage = count
            k.words.extend(k_data[first : first + count])
            seen.add((first, count))
        both += w_push and k_push
        stall = bool(w_late)
        late += stall
        assert len(w_late) <= 1 and int(dut.k_stall_o.value) == stall, f"cycle {cycle}"
    for q in (w, k):
        assert q.moved > 2 * q.size or q.moved > 300
    assert both and late
    assert wide or fill < 0.5 or drain < 0.5 or parameter("KBytes") < 1024 or len(seen) == 36, (
        "not every first word and count was tried"
    )
