"""core_counters against sums: every event of every unit, beats and strobes of every channel, clear, and only while running."""

from __future__ import annotations

import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from cocotb_runner import parameter, run_bench, start

from flightllm.kernel.control_map import EVENTS, UNITS

COUNTERS = len(UNITS) * len(EVENTS)


@pytest.mark.parametrize(("channels", "bits"), [(1, 128), (3, 512)])
def test_core_counters(channels, bits):
    run_bench("core_counters", __file__, ["control"], {"Channels": channels, "PortBits": bits})


def split(word: int, parts: int) -> list[int]:
    return [word >> 64 * i & ((1 << 64) - 1) for i in range(parts)]


@cocotb.test()
async def sums(dut):
    channels, size = parameter("Channels"), parameter("PortBits") // 8
    await start(dut, clear_i=1, run_i=0, events_i=0, read_i=0, write_i=0, strb_i=0)
    await RisingEdge(dut.clk_i)
    dut.clear_i.value = 0
    for trial in range(4):
        counts, reads, writes = [0] * COUNTERS, [0] * channels, [0] * channels
        for _ in range(200):
            run = int(random.random() < 0.9)
            events, read, write = (
                random.getrandbits(COUNTERS),
                random.getrandbits(channels),
                random.getrandbits(channels),
            )
            strobes = [random.choice([0, (1 << size) - 1, random.getrandbits(size)]) for _ in range(channels)]
            dut.run_i.value, dut.events_i.value, dut.read_i.value, dut.write_i.value = run, events, read, write
            dut.strb_i.value = sum(s << size * c for c, s in enumerate(strobes))
            await RisingEdge(dut.clk_i)
            if run:
                counts = [n + (events >> i & 1) for i, n in enumerate(counts)]
                reads = [n + size * (read >> c & 1) for c, n in enumerate(reads)]
                writes = [n + strobes[c].bit_count() * (write >> c & 1) for c, n in enumerate(writes)]
        dut.run_i.value = 0
        for _ in range(3):  # an event appears two cycles later; nothing is counted any more
            await RisingEdge(dut.clk_i)
        for _ in range(2):
            assert split(int(dut.counters_o.value), COUNTERS) == counts
            assert split(int(dut.read_bytes_o.value), channels) == reads
            assert split(int(dut.written_bytes_o.value), channels) == writes
            for _ in range(5):
                await RisingEdge(dut.clk_i)
        dut.clear_i.value = 1
        await RisingEdge(dut.clk_i)
        dut.clear_i.value = 0
        for _ in range(3):
            await RisingEdge(dut.clk_i)
        assert int(dut.counters_o.value) == int(dut.read_bytes_o.value) == int(dut.written_bytes_o.value) == 0, trial
