"""axi_reader against two memories: cocotbext-axi's AxiRam, and one here that answers clients out of order and interleaved.

Checked: every beat of every request, in order, to its client; bursts that stay within 4 KB and have the right length, size and
id; AR stable while it waits; at most MaxBursts in flight, of them WeightBursts of the weights, and that many when memory is slow;
round robin; RRESP errors.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from pathlib import Path

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from cocotb_runner import parameter, pauses, run_bench, start

WRAPPER = Path(__file__).parent / "axi_reader_tb.sv"
CLIENTS, BASE, SIZE = 3, 0x5_0000_0000, 1 << 20
WEIGHTS = 1
IDLE = {"hold_i": 0, "base_i": 0, "req_valid_i": 0, "m_axi_rvalid": 0, "m_axi_arready": 0}


@pytest.mark.parametrize(("bits", "bursts", "weights"), [(512, 16, 4), (256, 16, 8), (128, 3, 2), (512, 4, 1)])
def test_axi_reader(bits, bursts, weights):
    parameters = {"PortBits": bits, "MaxBursts": bursts, "WeightBursts": weights}
    run_bench("axi_reader_tb", __file__, ["memory", "common"], parameters, extra=[WRAPPER])


class Clients:
    """Three clients that ask for random pieces and note what comes."""

    def __init__(self, dut, kind: str, seed: int, requests: int, longest: int) -> None:
        self.dut = dut
        rng = random.Random(seed)
        self.todo = []
        for _ in range(CLIENTS):
            pieces = deque()
            for _ in range(requests):
                beats = rng.choice([1, 2, rng.randint(1, 8), rng.randint(1, longest)])
                # every second piece ends or begins at a 4 KB boundary, or just beyond
                at = (
                    rng.randrange(0, SIZE // 64 - beats)
                    if rng.random() < 0.5
                    else 64 * rng.randrange(1, 200) - rng.choice([0, 1, beats])
                )
                pieces.append((64 * max(0, at), beats))
            self.todo.append(pieces)
        self.asked: list[list[int]] = [[] for _ in range(CLIENTS)]  # addresses of the beats to come
        self.pauses = [pauses(kind, seed + c) for c in range(CLIENTS)]
        self.got: list[list[int]] = [[] for _ in range(CLIENTS)]
        self.errors = 0
        cocotb.start_soon(self.run())
        self.want = sum(beats for pieces in self.todo for _, beats in pieces)

    async def run(self) -> None:
        dut, current = self.dut, [None] * CLIENTS
        while True:
            valid = addr = beats = 0
            for c in range(CLIENTS):
                if current[c] is None and self.todo[c] and not next(self.pauses[c]):
                    current[c] = self.todo[c].popleft()
                if current[c]:
                    valid |= 1 << c
                    addr |= current[c][0] << 40 * c
                    beats |= current[c][1] << 16 * c
            dut.req_valid_i.value, dut.req_addr_i.value, dut.req_beats_i.value = valid, addr, beats
            await RisingEdge(dut.clk_i)
            taken = valid & int(dut.req_ready_o.value)
            arrived = int(dut.rvalid_o.value)
            for c in range(CLIENTS):
                if taken >> c & 1:
                    self.asked[c] += [current[c][0] + 64 * i for i in range(current[c][1])]
                    current[c] = None
                if arrived >> c & 1:
                    self.got[c].append(int(dut.rdata_o.value))
            self.errors += int(dut.error_o.value)

    async def finish(self, limit: int) -> None:
        for _ in range(limit):
            await RisingEdge(self.dut.clk_i)
            if sum(map(len, self.got)) >= self.want:
                break
        for _ in range(8):
            await RisingEdge(self.dut.clk_i)
        assert [len(g) for g in self.got] == [len(a) for a in self.asked]
        assert int(self.dut.busy_o.value) == 0

    def compare(self, memory: bytes) -> None:
        for c in range(CLIENTS):
            for i, (at, got) in enumerate(zip(self.asked[c], self.got[c], strict=True)):
                want = int.from_bytes(memory[at : at + 64], "little")
                assert got == want, f"client {c}, beat {i} at {at:#x}"


class Memory:
    """AXI4 read subordinate: per id in order, ids in any order and interleaved beat by beat, random latency."""

    def __init__(self, dut, content: bytes, kind: str, seed: int, latency: int, response=lambda at: 0) -> None:
        self.dut, self.content, self.latency, self.response = dut, content, latency, response
        self.rng = random.Random(seed)
        self.pause_ar, self.pause_r, self.hold = (pauses(kind, seed + i) for i in range(3))
        self.bytes = parameter("PortBits") // 8
        self.most = self.most_weights = self.bursts = 0
        self.order: list[int] = []  # ids of bursts as they were issued
        cocotb.start_soon(self.run())

    async def run(self) -> None:
        dut = self.dut
        queues: list[deque] = [deque() for _ in range(CLIENTS)]  # [address, beats left, cycle from which on]
        cycle, held, sent = 0, None, None
        while True:
            dut.m_axi_arready.value = ar_ready = int(not next(self.pause_ar))
            hold = next(self.hold)
            dut.hold_i.value = int(hold)
            ready = [q for q in queues if q and q[0][2] <= cycle]
            if sent is not None:
                pass  # it was not taken: valid and the data stay
            elif ready and not next(self.pause_r):
                sent = self.rng.choice(ready)
                at, left, _ = sent[0]
                dut.m_axi_rdata.value = int.from_bytes(self.content[at : at + self.bytes], "little")
                dut.m_axi_rid.value, dut.m_axi_rlast.value = queues.index(sent), int(left == 1)
                dut.m_axi_rresp.value = self.response(at)
            else:
                dut.m_axi_rlast.value, dut.m_axi_rdata.value = self.rng.getrandbits(1), 0
            dut.m_axi_rvalid.value = int(sent is not None)
            await RisingEdge(dut.clk_i)
            cycle += 1
            assert int(dut.m_axi_rready.value) == (not hold)
            if sent is not None and not hold:
                sent[0][0] += self.bytes
                sent[0][1] -= 1
                if not sent[0][1]:
                    sent.popleft()
                sent = None
            if int(dut.m_axi_arvalid.value):
                beats, ident = int(dut.m_axi_arlen.value) + 1, int(dut.m_axi_arid.value)
                address = (int(dut.m_axi_araddr.value), beats, ident)
                assert held in (None, address), f"AR changed while it waited: {held} -> {address}"
                held = None if ar_ready else address
                if ar_ready:
                    at = address[0] - BASE
                    assert 0 <= at < SIZE and at % 64 == 0 and ident < CLIENTS, f"address {address[0]:#x}, id {ident}"
                    assert at // 4096 == (at + beats * self.bytes - 1) // 4096, f"{beats} beats at {at:#x} cross 4 KB"
                    assert beats * self.bytes % 64 == 0 and int(dut.m_axi_arsize.value) == self.bytes.bit_length() - 1
                    queues[ident].append([at, beats, cycle + self.rng.randint(0, self.latency)])
                    self.order.append(ident)
                    self.bursts += 1
            else:
                assert held is None, "arvalid fell before arready"
            self.most = max(self.most, sum(map(len, queues)))
            self.most_weights = max(self.most_weights, len(queues[WEIGHTS]))


@cocotb.test()
@cocotb.parametrize(kind=["none", "half", "bursts"])
async def any_order_of_answers(dut, kind):
    await start(dut, **IDLE | {"base_i": BASE})
    content = random.randbytes(SIZE)
    clients = Clients(dut, kind, 5, requests=12, longest=100)
    memory = Memory(dut, content, kind, 6, latency=60)
    await clients.finish(30000)
    clients.compare(content)
    assert clients.errors == 0
    assert memory.most <= parameter("MaxBursts") and memory.most_weights <= parameter("WeightBursts")


@cocotb.test()
async def as_many_bursts_as_allowed(dut):
    """A slow memory sees exactly MaxBursts bursts, of 4 KB, no more than WeightBursts of the weights, and the clients in turn."""
    await start(dut, **IDLE | {"base_i": BASE})
    content = random.randbytes(SIZE)
    clients = Clients(dut, "none", 1, requests=0, longest=1)
    for c in range(CLIENTS):
        clients.todo[c].append((0x10000 * (c + 1), 64 * 8))
    clients.want = CLIENTS * 64 * 8
    memory = Memory(dut, content, "none", 2, latency=0)
    memory.pause_r = (i < 150 for i in range(1 << 30))
    for _ in range(150):
        await RisingEdge(dut.clk_i)
    limit = parameter("MaxBursts")
    assert memory.bursts == memory.most == limit
    await clients.finish(30000)
    clients.compare(content)
    assert memory.bursts == CLIENTS * 8 and memory.most == limit
    assert min(parameter("WeightBursts"), -(-limit // CLIENTS)) <= memory.most_weights <= parameter("WeightBursts")
    others = [c for c in memory.order if c != WEIGHTS]
    assert all(a != b for a, b in itertools.pairwise(others)), memory.order


@cocotb.test()
async def weights_alone(dut):
    """Without others the weights have WeightBursts in flight, and go on one by one."""
    await start(dut, **IDLE | {"base_i": BASE})
    content = random.randbytes(SIZE)
    clients = Clients(dut, "none", 1, requests=0, longest=1)
    clients.todo[WEIGHTS].append((0, 64 * 12))
    clients.want = 64 * 12
    memory = Memory(dut, content, "none", 2, latency=0)
    memory.pause_r = (i < 150 for i in range(1 << 30))
    for _ in range(150):
        await RisingEdge(dut.clk_i)
    limit = min(parameter("MaxBursts"), parameter("WeightBursts"))
    assert memory.bursts == memory.most_weights == limit
    await clients.finish(30000)
    clients.compare(content)
    assert memory.bursts == 12 and memory.most == limit


@cocotb.test()
@cocotb.parametrize(code=[1, 2, 3])
async def errors(dut, code):
    """Each answer that is not OKAY raises error_o for one cycle; the beat is delivered all the same."""
    await start(dut, **IDLE | {"base_i": BASE})
    content = random.randbytes(SIZE)
    bad = []

    def response(at: int) -> int:
        bad.append(at % 4096 < 128)
        return code if bad[-1] else 0

    clients = Clients(dut, "none", 8, requests=4, longest=80)
    Memory(dut, content, "half", 9, latency=4, response=response)
    await clients.finish(30000)
    clients.compare(content)
    assert clients.errors == sum(bad) > 0


@cocotb.test()
@cocotb.parametrize(kind=["none", "half"])
async def cocotbext_axi_ram(dut, kind):
    """An independent AXI4 memory."""
    from cocotbext.axi import AxiRamRead, AxiReadBus

    bus = AxiReadBus.from_prefix(dut, "m_axi")
    ram = AxiRamRead(bus, dut.clk_i, dut.rst_ni, reset_active_level=False, size=SIZE)
    await start(dut, base_i=0, req_valid_i=0, hold_i=0)
    content = random.randbytes(SIZE)
    ram.write(0, content)
    ram.ar_channel.set_pause_generator(pauses(kind, 1))
    ram.r_channel.set_pause_generator(pauses(kind, 2))
    clients = Clients(dut, kind, 7, requests=10, longest=100)
    await clients.finish(30000)
    clients.compare(content)
