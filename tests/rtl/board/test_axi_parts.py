"""axi_parts, two or four, between cocotbext-axi's manager and as many of its memories: which part of which beat lies where, bursts, IDs, errors, pauses on every channel.

The wrapper in Verilog that block designs use is part of the bench.
"""

from __future__ import annotations

import mmap
import random
import tempfile
from pathlib import Path

import cocotb
import pytest
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, with_timeout
from cocotb_runner import pauses, payload, run_bench
from cocotbext.axi import AxiBus, AxiMaster, AxiRam, AxiResp

from flightllm.project.sources import parts_wrapper

#: bytes that all parts lie in, whatever their addresses are above
SHARED = 1 << 17
#: a pseudo-channel in halves: address and bytes of the memory, bases of the parts relative to it
HALVES = (0x40_0000_4000, 1 << 14, (0, 1 << 13))
#: two and four anywhere, in any order, of a size that is no power of two; the second lies over a multiple of the port's range
TWO = (0, 3 << 12, (0x8_0000_9000, 0x3000))
FOUR = (0, 3 << 12, (0x8_0001_8000, 0x3800, 0x1_0000_0000, 0x7000))


@pytest.mark.parametrize(
    ("bits", "flying", "place"),
    [(512, 32, HALVES), (64, 2, HALVES), (256, 8, TWO), (512, 32, FOUR), (64, 2, FOUR)],
    ids=["halves-512", "halves-64", "two-256", "four-512", "four-64"],
)
def test_axi_parts(bits, flying, place):
    """Two bursts at a time are fewer than the memories take, so that the room for IDs counts."""
    _, size, bases = place
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench_ip.v"
        text, range_bits = parts_wrapper("bench_ip", bits, 14, bases), ".RangeBits(14)"
        assert range_bits in text and size <= 1 << 14
        path.write_text(text.replace(range_bits, f"{range_bits}, .Flying({flying})"))
        # the design under test is "axi_parts", inside its wrapper
        run_bench("bench_ip", __file__, ["board", "common"], extra=[path], payload=(bits, *place))


class Bench:
    """A manager and one memory behind all parts, seen by each through a port of its own."""

    def __init__(self, dut, kind: str = "none", seed: int = 1) -> None:
        bits, self.base, self.size, bases = payload()
        self.dut, self.width, self.parts = dut, bits // 8, len(bases)
        self.bases = [self.base + base for base in bases]
        self.wrong: list[str] = []
        cocotb.start_soon(Clock(dut.aclk, 10, unit="ns").start())
        made = {"reset": dut.aresetn, "reset_active_level": False}
        self.manager = AxiMaster(AxiBus.from_prefix(dut, "s_axi"), dut.aclk, **made)
        self.shared = mmap.mmap(-1, SHARED)
        self.rams = []
        for h in range(self.parts):
            bus = AxiBus.from_prefix(dut, f"m{h}_axi")
            self.rams.append(AxiRam(bus, dut.aclk, size=SHARED, mem=self.shared, **made))
            for channel in ("ar", "aw"):
                cocotb.start_soon(self.watch(h, channel))
        sides = [self.manager, *self.rams]
        for i, side in enumerate(sides):
            for j, interface in enumerate((side.write_if, side.read_if)):
                for k, name in enumerate(("aw_channel", "w_channel", "b_channel", "ar_channel", "r_channel")):
                    channel = getattr(interface, name, None)
                    if channel is not None and kind != "none":
                        channel.set_pause_generator(pauses(kind, seed + 100 * i + 10 * j + k))

    async def watch(self, h: int, channel: str) -> None:
        """Whole addresses: the memory sees their lower bits only."""
        name, piece = f"m{h}_axi_{channel}", self.width // self.parts
        valid, address, length = (getattr(self.dut, name + signal) for signal in ("valid", "addr", "len"))
        while True:
            await RisingEdge(self.dut.aclk)
            if self.dut.aresetn.value == 1 and valid.value == 1:
                # cocotbext-axi's manager begins in the middle of a beat where the first strobes are 0, the kernel does not
                first = (int(address.value) - self.bases[h]) // piece * piece
                count = (int(length.value) + 1) * piece
                if not 0 <= first <= first + count <= self.size // self.parts:
                    self.wrong.append(f"{name}: {count} bytes from {int(address.value):#x}")

    async def reset(self) -> None:
        self.dut.aresetn.value = 0
        for _ in range(4):
            await RisingEdge(self.dut.aclk)
        self.dut.aresetn.value = 1
        await RisingEdge(self.dut.aclk)

    def memory(self) -> bytes:
        """The port's memory, put together from its parts."""
        piece, out = self.width // self.parts, bytearray()
        for address in range(0, self.size, piece):
            beat, h = divmod(address // piece, self.parts)
            at = (self.bases[h] + beat * piece) % SHARED
            out += self.shared[at : at + piece]
        return bytes(out)


@cocotb.test()
@cocotb.parametrize(kind=["none", "half", "bursts"])
async def what_is_written_lies_in_parts_and_comes_back(dut, kind):
    bench = Bench(dut, kind, 3)
    await bench.reset()
    rng = random.Random(kind)
    width, beats_all = bench.width, bench.size // bench.width
    content = bytearray(bench.size)
    # both ends of the memory, and what is between
    for i in range(25):
        beats = rng.choice([1, 2, 7, 16])
        at = width * [0, beats_all - beats, rng.randrange(beats_all - beats)][min(i, 2)]
        first, last = rng.randrange(width), rng.randrange(width)  # strobes at both ends
        count = beats * width - first - last if beats > 1 else max(1, width - first)
        data = rng.randbytes(count)
        await with_timeout(bench.manager.write(bench.base + at + first, data, awid=rng.randrange(16)), 200, "us")
        content[at + first : at + first + count] = data
    assert bench.memory() == bytes(content)
    # nothing lies anywhere else
    assert sum(map(bool, bench.shared[:])) == sum(map(bool, content))
    # many reads at a time, of all IDs
    reads = []
    for i in range(40):
        beats = rng.choice([1, 3, 16])
        at = width * rng.randrange(beats_all - beats)
        reads.append((at, beats * width, bench.manager.init_read(bench.base + at, beats * width, arid=i % 16)))
    for at, count, event in reads:
        await with_timeout(event.wait(), 400, "us")
        assert event.data.data == bytes(content[at : at + count])
        assert event.data.resp == AxiResp.OKAY
    assert bench.wrong == []


@cocotb.test()
async def an_error_of_any_part_is_an_error(dut):
    """cocotbext-axi's memories know no errors, so the answer is forced while it stands on the port."""
    bench = Bench(dut)
    await bench.reset()
    for ram in bench.rams:
        send_read, send_write = ram.read_if.r_channel.send, ram.write_if.b_channel.send

        async def bad_read(item, send=send_read):
            item.rresp = AxiResp.SLVERR
            await send(item)

        async def bad_write(item, send=send_write):
            item.bresp = AxiResp.SLVERR
            await send(item)

        for bad in (True, False):
            ram.read_if.r_channel.send = bad_read if bad else send_read
            ram.write_if.b_channel.send = bad_write if bad else send_write
            answer = AxiResp.SLVERR if bad else AxiResp.OKAY
            read = await with_timeout(bench.manager.read(bench.base, bench.width), 100, "us")
            assert read.resp == answer
            written = await with_timeout(bench.manager.write(bench.base, bytes(bench.width)), 100, "us")
            assert written.resp == answer


@cocotb.test()
async def a_beat_a_cycle(dut):
    """Long reads take as many cycles as they have beats, and the latency of the first."""
    bench = Bench(dut)
    await bench.reset()
    beats = 64
    began = cocotb.utils.get_sim_time("ns")
    await with_timeout(bench.manager.read(bench.base, beats * bench.width), 100, "us")
    cycles = (cocotb.utils.get_sim_time("ns") - began) / 10
    assert cycles < beats + 24, cycles
