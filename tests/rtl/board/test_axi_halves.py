"""axi_halves between cocotbext-axi's manager and two of its memories: which half of which beat lies where, bursts, IDs, errors, pauses on every channel.

The wrapper in Verilog that block designs use is part of the bench.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import cocotb
import pytest
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, with_timeout
from cocotb_runner import pauses, payload, run_bench
from cocotbext.axi import AxiBus, AxiMaster, AxiRam, AxiResp

from flightllm.project.sources import halves_wrapper

#: bytes of the memory: 2^RANGE
RANGE = 14
BASE = 0x40_0000_0000


@pytest.mark.parametrize(("bits", "flying"), [(512, 32), (64, 2)])
def test_axi_halves(bits, flying):
    """Two bursts at a time are fewer than the memories take, so that the room for IDs counts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "axi_halves_ip.v"
        text, last = halves_wrapper(bits, 1 << RANGE), f".RangeBits({RANGE})"
        assert last in text
        path.write_text(text.replace(last, f"{last}, .Flying({flying})"))
        # the design under test is "axi_halves", inside its wrapper
        run_bench("axi_halves_ip", __file__, ["board", "common"], extra=[path], payload=bits)


class Bench:
    """A manager and the memories behind both halves."""

    def __init__(self, dut, kind: str = "none", seed: int = 1) -> None:
        self.dut, self.half = dut, payload() // 16
        cocotb.start_soon(Clock(dut.aclk, 10, unit="ns").start())
        made = {"reset": dut.aresetn, "reset_active_level": False}
        self.manager = AxiMaster(AxiBus.from_prefix(dut, "s_axi"), dut.aclk, **made)
        self.rams = [AxiRam(AxiBus.from_prefix(dut, f"m{h}_axi"), dut.aclk, size=1 << RANGE, **made) for h in (0, 1)]
        sides = [self.manager, *self.rams]
        for i, side in enumerate(sides):
            for j, interface in enumerate((side.write_if, side.read_if)):
                for k, name in enumerate(("aw_channel", "w_channel", "b_channel", "ar_channel", "r_channel")):
                    channel = getattr(interface, name, None)
                    if channel is not None and kind != "none":
                        channel.set_pause_generator(pauses(kind, seed + 100 * i + 10 * j + k))

    async def reset(self) -> None:
        self.dut.aresetn.value = 0
        for _ in range(4):
            await RisingEdge(self.dut.aclk)
        self.dut.aresetn.value = 1
        await RisingEdge(self.dut.aclk)

    def memory(self, at: int, count: int) -> bytes:
        """Bytes of the kernel's memory, put together from both halves."""
        out = bytearray()
        for address in range(at, at + count):
            beat, byte = divmod(address, 2 * self.half)
            h, byte = divmod(byte, self.half)
            # the rams wrap at their size: the upper half of the range is what port 1 has
            out += self.rams[h].read((h << RANGE - 1) + beat * self.half + byte, 1)
        return bytes(out)


@cocotb.test()
@cocotb.parametrize(kind=["none", "half", "bursts"])
async def what_is_written_lies_in_halves_and_comes_back(dut, kind):
    bench = Bench(dut, kind, 3)
    await bench.reset()
    rng = random.Random(kind)
    content = bytearray(1 << RANGE)
    for h in (0, 1):
        bench.rams[h].write(0, bytes(1 << RANGE))
    width = 2 * bench.half
    for _ in range(25):
        beats = rng.choice([1, 2, 7, 16])
        at = width * rng.randrange((1 << RANGE) // width - beats)
        first, last = rng.randrange(width), rng.randrange(width)  # strobes at both ends
        count = beats * width - first - last if beats > 1 else max(1, width - first)
        data = rng.randbytes(count)
        await with_timeout(bench.manager.write(BASE + at + first, data, awid=rng.randrange(16)), 200, "us")
        content[at + first : at + first + count] = data
    assert bench.memory(0, 1 << RANGE) == bytes(content)
    # many reads at a time, of all IDs
    reads = []
    for i in range(40):
        beats = rng.choice([1, 3, 16])
        at = width * rng.randrange((1 << RANGE) // width - beats)
        reads.append((at, beats * width, bench.manager.init_read(BASE + at, beats * width, arid=i % 16)))
    for at, count, event in reads:
        await with_timeout(event.wait(), 400, "us")
        assert event.data.data == bytes(content[at : at + count])
        assert event.data.resp == AxiResp.OKAY


@cocotb.test()
@cocotb.parametrize(h=[0, 1])
async def an_error_of_either_half_is_an_error(dut, h):
    """cocotbext-axi's memories know no errors, so the answer is forced while it stands on the port."""
    bench = Bench(dut)
    await bench.reset()
    ram = bench.rams[h]
    send_read, send_write = ram.read_if.r_channel.send, ram.write_if.b_channel.send

    async def bad_read(item):
        item.rresp = AxiResp.SLVERR
        await send_read(item)

    async def bad_write(item):
        item.bresp = AxiResp.SLVERR
        await send_write(item)

    ram.read_if.r_channel.send, ram.write_if.b_channel.send = bad_read, bad_write
    width = 2 * bench.half
    read = await with_timeout(bench.manager.read(BASE, width), 100, "us")
    assert read.resp == AxiResp.SLVERR
    written = await with_timeout(bench.manager.write(BASE, bytes(width)), 100, "us")
    assert written.resp == AxiResp.SLVERR


@cocotb.test()
async def a_beat_a_cycle(dut):
    """Long reads take as many cycles as they have beats, and the latency of the first."""
    bench = Bench(dut)
    await bench.reset()
    width, beats = 2 * bench.half, 64
    began = cocotb.utils.get_sim_time("ns")
    await with_timeout(bench.manager.read(BASE, beats * width), 100, "us")
    cycles = (cocotb.utils.get_sim_time("ns") - began) / 10
    assert cycles < beats + 24, cycles
