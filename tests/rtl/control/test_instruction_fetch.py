"""instruction_fetch against a program in memory: every instruction once and in order, jumps at any moment, no request past the
end or beyond the buffer, restarts with answers still on their way."""

from __future__ import annotations

import random
from collections import deque

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from cocotb_runner import pauses, run_bench, start

ADDRESS = 0x12_3456_7000
DEPTH = 16


@pytest.mark.parametrize("seed", [1, 2])
def test_instruction_fetch(seed):
    run_bench("instruction_fetch", __file__, ["control", "common"], seed=seed)


class Memory:
    """Answers requests in order, a beat at a time, after a latency; the data of a beat are its number in the program."""

    def __init__(self, dut, kind: str, latency: int) -> None:
        self.dut, self.latency = dut, latency
        self.pauses = [pauses(kind, 1), pauses(kind, 2)]
        self.length = 0
        self.requests = 0
        self.flying: deque[tuple[int, int]] = deque()  # (cycle, beat)
        cocotb.start_soon(self.run())

    async def run(self) -> None:
        dut, cycle = self.dut, 0
        while True:
            ready = int(not next(self.pauses[0]))
            answer = bool(self.flying) and self.flying[0][0] <= cycle and not next(self.pauses[1])
            dut.req_ready_i.value, dut.rvalid_i.value = ready, int(answer)
            dut.rdata_i.value = self.flying[0][1] * 0x1_0000_0001 if answer else (1 << 512) - 1
            await RisingEdge(dut.clk_i)
            cycle += 1
            if answer:
                self.flying.popleft()
            if ready and int(dut.req_valid_o.value):
                offset, beats = int(dut.req_addr_o.value) - ADDRESS, int(dut.req_beats_o.value)
                assert offset % 64 == 0 and 1 <= beats <= 8
                first = offset // 64
                assert first + beats <= self.length, f"{beats} instructions from {first} of {self.length}"
                later = cycle + random.randint(0, self.latency)
                self.flying.extend((later, first + i) for i in range(beats))
                self.requests += 1
                assert len(self.flying) <= DEPTH


async def begin(dut, memory: Memory, length: int) -> None:
    memory.length = length
    dut.start_i.value, dut.program_len_i.value = 1, length
    await RisingEdge(dut.clk_i)
    dut.start_i.value = 0


async def take(dut, memory, want: list[int], kind: str, seed: int) -> None:
    """Take instructions and compare."""
    pause, got = pauses(kind, seed), []
    for _ in range(60 * len(want) + 400):
        if len(got) == len(want):
            break
        ready = not next(pause)
        dut.ready_i.value = int(ready)
        await RisingEdge(dut.clk_i)
        if int(dut.valid_o.value):
            now = int(dut.inst_o.value)
            assert now == want[len(got)] * 0x1_0000_0001, f"instruction {len(got)}: {now:#x}, want {want[len(got)]}"
            if ready:
                got.append(now)
    dut.ready_i.value = 0
    assert len(got) == len(want), f"{len(got)} of {len(want)} instructions came"


IDLE = {"start_i": 0, "program_addr_i": ADDRESS, "program_len_i": 0, "stop_i": 0, "jump_i": 0, "ready_i": 0}
IDLE |= {"req_ready_i": 0, "rvalid_i": 0}


@cocotb.test()
@cocotb.parametrize(kind=["none", "half", "bursts"], latency=[0, 30])
async def straight(dut, kind, latency):
    await start(dut, **IDLE)
    memory = Memory(dut, kind, latency)
    for length in (1, 7, 8, 9, 16, 17, 61):
        await begin(dut, memory, length)
        await take(dut, memory, list(range(length)), kind, length)
        for _ in range(40):  # nothing follows the last one
            await RisingEdge(dut.clk_i)
            assert not int(dut.valid_o.value)


@cocotb.test()
@cocotb.parametrize(kind=["none", "half"], latency=[0, 5, 30])
async def jumps(dut, kind, latency):
    """Back, forward, to the next one; with full and empty buffers and with answers in flight."""
    await start(dut, **IDLE)
    memory = Memory(dut, kind, latency)
    await begin(dut, memory, 50)
    pc = 0
    for i in range(60):
        count = random.choice([0, 1, 2, random.randint(0, 20)])
        want = list(range(pc, min(50, pc + count)))
        await take(dut, memory, want, kind, i)
        for _ in range(random.choice([0, 0, 1, 7, 40])):
            await RisingEdge(dut.clk_i)
        pc = random.choice([0, 49, random.randrange(50), min(49, pc + len(want))])
        dut.jump_i.value, dut.jump_pc_i.value = 1, pc
        await RisingEdge(dut.clk_i)
        dut.jump_i.value = 0
    await take(dut, memory, list(range(pc, 50)), kind, 99)


@cocotb.test()
@cocotb.parametrize(latency=[0, 25])
async def stop_and_start_again(dut, latency):
    """After stop_i no request is made; what is on its way is not taken for the next run's."""
    await start(dut, **IDLE)
    memory = Memory(dut, "half", latency)
    for i in range(12):
        await begin(dut, memory, 40)
        await take(dut, memory, list(range(random.randint(0, 20))), "none", i)
        dut.stop_i.value = 1
        await RisingEdge(dut.clk_i)
        dut.stop_i.value = 0
        await RisingEdge(dut.clk_i)
        before = memory.requests
        for _ in range(random.choice([1, 10, 30])):
            await RisingEdge(dut.clk_i)
            assert memory.requests == before, "a request after stop_i"
