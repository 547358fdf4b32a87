"""axi_writer against two memories: cocotbext-axi's AxiRam, and one here that takes address and data apart and answers late.

Checked: bytes by strobes, bursts of the port's parts with WLAST on the last, AW and W stable while they wait, at most MaxFlying
writes unanswered, busy_o until the last answer, BRESP errors.
"""

from __future__ import annotations

import random
from collections import deque
from pathlib import Path

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from cocotb_runner import parameter, pauses, run_bench, start

WRAPPER = Path(__file__).parent / "axi_writer_tb.sv"
BASE, SIZE = 0x7_0000_0000, 1 << 16
IDLE = {"base_i": BASE, "valid_i": 0, "m_axi_awready": 0, "m_axi_wready": 0, "m_axi_bvalid": 0}


@pytest.mark.parametrize(("bits", "flying"), [(512, 32), (256, 32), (128, 4)])
def test_axi_writer(bits, flying):
    run_bench("axi_writer_tb", __file__, ["memory", "common"], {"PortBits": bits, "MaxFlying": flying}, extra=[WRAPPER])


async def write(dut, writes, kind: str, seed: int) -> int:
    """Offer (address, data, strobes); returns the cycles in which error_o was high."""
    pause, errors = pauses(kind, seed), 0
    for addr, data, strb in writes:
        while next(pause):
            dut.valid_i.value = 0
            await RisingEdge(dut.clk_i)
            errors += int(dut.error_o.value)
        dut.valid_i.value, dut.addr_i.value, dut.data_i.value, dut.strb_i.value = 1, addr, data, strb
        for _ in range(3000):
            await RisingEdge(dut.clk_i)
            errors += int(dut.error_o.value)
            if int(dut.ready_o.value):
                break
        else:
            raise AssertionError("never ready")
    dut.valid_i.value = 0
    for _ in range(3000):
        await RisingEdge(dut.clk_i)
        errors += int(dut.error_o.value)
        if not int(dut.busy_o.value):
            break
    else:
        raise AssertionError("busy for ever")
    await RisingEdge(dut.clk_i)
    return errors + int(dut.error_o.value)


def some_writes(rng: random.Random, count: int):
    """(writes, memory afterwards): all strobes, none, single bytes, any."""
    content, writes = bytearray(SIZE), []
    for _ in range(count):
        addr = 64 * rng.randrange(SIZE // 64) if rng.random() < 0.7 else 64 * rng.randrange(4)
        data = rng.getrandbits(512)
        strb = rng.choice([(1 << 64) - 1, 0, 1 << rng.randrange(64), rng.getrandbits(64), 0xFFFF << rng.randrange(48)])
        writes.append((addr, data, strb))
        for i in range(64):
            if strb >> i & 1:
                content[addr + i] = data >> 8 * i & 0xFF
    return writes, bytes(content)


class Memory:
    """AXI4 write subordinate: address and data channels with pauses of their own, answers after a random latency."""

    def __init__(self, dut, kind: str, seed: int, latency: int, response=lambda at: 0) -> None:
        self.dut, self.latency, self.response = dut, latency, response
        self.rng = random.Random(seed)
        self.pauses = [pauses(kind, seed + i) for i in range(3)]
        self.content = bytearray(SIZE)
        self.bytes = parameter("PortBits") // 8
        self.addresses: deque[int] = deque()
        self.data: deque = deque()  # (parts, strobes) of complete bursts
        self.answers: deque = deque()  # (cycle, response)
        self.most = self.answered = self.taken = 0
        cocotb.start_soon(self.run())

    async def run(self) -> None:
        dut, cycle, parts = self.dut, 0, []
        held: dict[str, object] = {"aw": None, "w": None}
        while True:
            ready = {"aw": int(not next(self.pauses[0])), "w": int(not next(self.pauses[1]))}
            dut.m_axi_awready.value, dut.m_axi_wready.value = ready["aw"], ready["w"]
            answer = bool(self.answers) and self.answers[0][0] <= cycle and not next(self.pauses[2])
            dut.m_axi_bvalid.value, dut.m_axi_bid.value = int(answer), 0
            dut.m_axi_bresp.value = self.answers[0][1] if answer else self.rng.getrandbits(2)
            await RisingEdge(dut.clk_i)
            cycle += 1
            if answer:
                assert int(dut.m_axi_bready.value) == 1
                self.answers.popleft()
                self.answered += 1
            offers = {
                "aw": (int(dut.m_axi_awaddr.value), int(dut.m_axi_awlen.value)) if int(dut.m_axi_awvalid.value) else None,
                "w": (int(dut.m_axi_wdata.value), int(dut.m_axi_wstrb.value), int(dut.m_axi_wlast.value))
                if int(dut.m_axi_wvalid.value) else None,
            }  # fmt: skip
            for channel, offer in offers.items():
                assert held[channel] in (None, offer), f"{channel} changed while it waited"
                held[channel] = offer if offer is not None and not ready[channel] else None
            if offers["aw"] and ready["aw"]:
                at, length = offers["aw"]
                assert 0 <= at - BASE < SIZE and at % 64 == 0 and (length + 1) * self.bytes == 64
                self.addresses.append(at - BASE)
                self.taken += 1
            if offers["w"] and ready["w"]:
                data, strb, last = offers["w"]
                parts.append((data, strb))
                assert last == (len(parts) == 64 // self.bytes), "WLAST"
                if last:
                    self.data.append(parts)
                    parts = []
            while self.addresses and self.data:
                at = self.addresses.popleft()
                for i, (data, strb) in enumerate(self.data.popleft()):
                    for b in range(self.bytes):
                        if strb >> b & 1:
                            self.content[at + self.bytes * i + b] = data >> 8 * b & 0xFF
                later = max(cycle + self.rng.randint(0, self.latency), self.answers[-1][0] if self.answers else 0)
                self.answers.append((later, self.response(at)))
            flying = self.taken - self.answered
            self.most = max(self.most, flying)
            assert int(dut.busy_o.value) or not (self.addresses or self.data or self.answers), "idle with open writes"


@cocotb.test()
@cocotb.parametrize(kind=["none", "half", "bursts"])
async def strobes_and_order(dut, kind):
    await start(dut, **IDLE)
    memory = Memory(dut, kind, 3, latency=12)
    writes, want = some_writes(random.Random(4), 120)
    assert await write(dut, writes, kind, 5) == 0
    assert bytes(memory.content) == want
    assert memory.answered == len(writes)


@cocotb.test()
async def as_many_in_flight_as_allowed(dut):
    await start(dut, **IDLE)
    memory = Memory(dut, "none", 3, latency=0)
    memory.pauses[2] = (i < 400 for i in range(1 << 30))  # no answer for long
    writes, want = some_writes(random.Random(5), 60)
    assert await write(dut, writes, "none", 5) == 0
    assert bytes(memory.content) == want
    # the address of one more may wait in the module
    assert parameter("MaxFlying") == memory.most


@cocotb.test()
async def a_write_a_cycle(dut):
    """A memory that is always ready takes a word in as many cycles as it has parts, and no more."""
    await start(dut, **IDLE)
    Memory(dut, "none", 3, latency=0)
    began = cocotb.utils.get_sim_time("ns")
    await write(dut, some_writes(random.Random(6), 100)[0], "none", 5)
    cycles = (cocotb.utils.get_sim_time("ns") - began) / 10
    assert cycles < 100 * 512 // parameter("PortBits") + 12, cycles


@cocotb.test()
@cocotb.parametrize(code=[1, 2, 3])
async def errors(dut, code):
    await start(dut, **IDLE)
    bad = []

    def response(at: int) -> int:
        bad.append(at % 512 == 0)
        return code if bad[-1] else 0

    Memory(dut, "half", 9, latency=3, response=response)
    assert await write(dut, some_writes(random.Random(code), 80)[0], "none", 5) == sum(bad) > 0


@cocotb.test()
@cocotb.parametrize(kind=["none", "half"])
async def cocotbext_axi_ram(dut, kind):
    """An independent AXI4 memory."""
    from cocotbext.axi import AxiRamWrite, AxiWriteBus

    ram = AxiRamWrite(AxiWriteBus.from_prefix(dut, "m_axi"), dut.clk_i, dut.rst_ni, reset_active_level=False, size=SIZE)
    await start(dut, base_i=0, valid_i=0)
    for i, channel in enumerate((ram.aw_channel, ram.w_channel, ram.b_channel)):
        channel.set_pause_generator(pauses(kind, i))
    writes, want = some_writes(random.Random(8), 100)
    assert await write(dut, writes, kind, 6) == 0
    assert ram.read(0, SIZE) == want
