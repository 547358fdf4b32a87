"""block_runs against flightllm/isa/blocks.py: which blocks, in which runs, the last one marked, with pauses of the reader; and when.

Runs are maximal, except that without a mask the last block comes by itself when the sink ends just before it.
"""

from __future__ import annotations

import random
from types import SimpleNamespace

import cocotb
import numpy as np
import pytest
from cocotb.triggers import RisingEdge
from cocotb_runner import pauses, run_bench, start

from flightllm.cycles.block_runs import DONE, run_steps
from flightllm.isa.blocks import active_blocks, runs


@pytest.mark.parametrize("seed", [1, 2])
def test_block_runs(seed):
    run_bench("block_runs", __file__, ["common"], seed=seed)


class MaskBuffer:
    """Answers two cycles after the address, as mask_buffer does."""

    def __init__(self, dut, content: np.ndarray) -> None:
        self.dut, self.content = dut, content

    async def run(self):
        stage = 0
        while True:
            await RisingEdge(self.dut.clk_i)
            self.dut.mb_data_i.value = stage
            stage = int(self.content[int(self.dut.mb_addr_o.value)])


async def collect(dut, o, pause, limit: int = 20000):
    """Runs as (from, to, last) of one start, and the cycles of each: from the start, or from the run before taken. `done_o` must come once, behind the last run."""
    dut.start_i.value = 1
    dut.len_i.value = o.len & 0xFFFFFFFF
    dut.sink_i.value, dut.first_i.value = o.sink, o.first & 0xFFFFFFFF
    dut.masked_i.value, dut.mask_i.value = o.masked, o.mask
    await RisingEdge(dut.clk_i)
    dut.start_i.value = 0
    got, held, steps, taken = [], None, [], -1
    for cycle in range(limit):
        ready = not next(pause)
        dut.ready_i.value = int(ready)
        await RisingEdge(dut.clk_i)
        if int(dut.valid_o.value):
            run = (int(dut.from_o.value), int(dut.to_o.value), int(dut.last_o.value))
            assert held in (None, run), f"a run changed while it waited: {held} -> {run}"
            if held is None:
                steps.append(cycle - taken)
            held = None if ready else run
            if ready:
                got.append(run)
                taken = cycle
        else:
            assert held is None, "valid fell before ready"
        if int(dut.done_o.value):
            assert cycle - taken == DONE, f"done_o {cycle - taken} cycles behind the last run"
            return got, steps
    raise AssertionError("no done_o")


@cocotb.test()
@cocotb.parametrize(masked=[0, 1], kind=["none", "half"])
async def random_ranges(dut, masked, kind):
    await start(dut, start_i=0, ready_i=0)
    rng = np.random.default_rng(random.getrandbits(30))
    content = rng.integers(0, 256, 1 << 16).astype(np.uint8)
    cocotb.start_soon(MaskBuffer(dut, content).run())
    pause = pauses(kind, 3)
    sparse = rng.random(content.size) < 0.5
    content[sparse] = rng.choice(np.array([0, 0, 255, 1, 128], np.uint8), sparse.sum())
    for trial in range(150):
        blocks = int(rng.choice([1, 2, 3, 8, 9, 40]))
        edge = int(rng.integers(-1, 2)) if trial % 3 == 0 else int(rng.integers(-64, 1))
        length = int(rng.choice([-5, 0])) if trial % 25 == 0 else max(1, 64 * blocks + edge)
        last = (length - 1) // 64
        sink = int(rng.choice([0, 1, 2, last + 1 if last >= 0 else 0, last + 5, rng.integers(0, 45)])) & 0xFFF
        first = int(rng.choice([0, 1, sink, sink + 1, max(last, 0), last + 1, last + 9, -1, rng.integers(0, 45)]))
        o = SimpleNamespace(len=length, sink=sink, first=first, masked=masked, mask=int(rng.integers(0, 60000)))
        got, steps = await collect(dut, o, pause)
        want = active_blocks(o, content)
        assert [b for lo, hi, _ in got for b in range(lo, hi)] == want, f"{o}: {got}, blocks {want}"
        assert [last for *_, last in got] == [0] * (len(got) - 1) + [1] * bool(got), f"{o}: {got}"
        merged = runs(want)
        pieces = [(lo, hi) for lo, hi, _ in got]
        if masked:
            assert pieces == merged, f"{o}: {pieces}, runs {merged}"
            # the reader's pauses let bytes of the mask come ahead, but never make a run later than its steps
            assert steps == run_steps(merged, True), f"{o}: cycles {steps} of the runs {merged}"
        else:
            # the last block comes by itself when the sink ends just before it
            if sink == last and pieces[-2:] == [(0, last), (last, last + 1)]:
                pieces, steps = [(0, last + 1)], steps[:1]
            assert pieces == merged, f"{o}: {pieces}, runs {merged}"
            assert steps == run_steps(merged, False), f"{o}: cycles {steps} of the runs {merged}"


@cocotb.test()
async def long_context(dut):
    """The last block of the longest length that a Count field names."""
    await start(dut, start_i=0, ready_i=0)
    for length, sink, first in (((1 << 24) - 1, 4, 4095), (1 << 24, 0, 1 << 20)):
        o = SimpleNamespace(len=length, sink=sink, first=first, masked=0, mask=0)
        got, _ = await collect(dut, o, pauses("none", 0))
        assert [b for lo, hi, _ in got for b in range(lo, hi)] == active_blocks(o, np.zeros(1, np.uint8))


@cocotb.test()
async def long_masks(dut):
    """Thousands of blocks, a mask as long as the mask buffer may be, hardly any block or hardly any gap."""
    await start(dut, start_i=0, ready_i=0)
    rng = np.random.default_rng(random.getrandbits(30))
    content = np.zeros(1 << 16, np.uint8)
    cocotb.start_soon(MaskBuffer(dut, content).run())
    for density in (0.001, 0.999):
        content[:] = np.packbits(rng.random(1 << 19) < density)
        o = SimpleNamespace(len=64 * 32760 - 5, sink=2, first=9, masked=1, mask=7)
        got, steps = await collect(dut, o, pauses("none", 0))
        want = runs(active_blocks(o, content))
        assert [(lo, hi) for lo, hi, _ in got] == want
        assert steps == run_steps(want, True)
