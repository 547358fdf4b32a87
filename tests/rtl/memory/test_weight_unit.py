"""weight_unit: LDWs become requests for just their bytes, equal on all channels, never more than the rings have room for."""

from __future__ import annotations

import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from cocotb_runner import parameter, pauses, run_bench, start
from dispatch import dispatch

from flightllm.isa.load import LDW


@pytest.mark.parametrize(("channels", "ring"), [(1, 256), (4, 4096), (3, 65536)])
def test_weight_unit(channels, ring):
    run_bench("weight_unit", __file__, ["memory"], {"Channels": channels, "RingBytes": ring})


@cocotb.test()
@cocotb.parametrize(kind=["none", "half", "bursts"], drain=[2, 16])
async def streams(dut, kind, drain):
    """drain: most words that are popped a cycle. Words are popped only when their beats could have arrived."""
    channels, room = parameter("Channels"), parameter("RingBytes") // 8
    await start(dut, op_valid_i=0, op_i=0, req_ready_i=0, pop_i=0)
    rng = random.Random(kind)
    streams, want = [], []
    for _ in range(12):
        addr, beats = 64 * rng.randrange(1 << 33), rng.choice([0, 1, 2, 31, 32, 33, 64, 65, rng.randint(1, 200)])
        streams.append(int.from_bytes(dispatch(LDW(addr=addr, nbytes=64 * beats), [0] * 32), "little"))
        want += [addr + 64 * i for i in range(beats)]
    asked: list[list[int]] = [[] for _ in range(channels)]
    pause = [pauses(kind, c) for c in range(channels)]
    offer_pause, pop_pause = pauses(kind, 50), pauses(kind, 51)
    sent = popped = stalls = most = 0
    offer = False
    for _ in range(20000):
        offer = offer or (sent < len(streams) and not next(offer_pause))
        dut.op_valid_i.value, dut.op_i.value = int(offer), streams[sent] if offer else 0
        ready = sum((not next(p)) << c for c, p in enumerate(pause))
        arrived = 8 * min(map(len, asked))
        pop = 0 if next(pop_pause) else rng.randint(0, min(drain, arrived - popped))
        dut.req_ready_i.value, dut.pop_i.value = ready, pop
        await RisingEdge(dut.clk_i)
        popped += pop
        taken = ready & int(dut.req_valid_o.value)
        at, beats = int(dut.req_addr_o.value), int(dut.req_beats_o.value)
        for c in range(channels):
            if taken >> c & 1:
                assert 1 <= beats <= 32
                if room >= 8 * 64:  # else a request is half a ring
                    assert at % 2048 + 64 * beats <= 2048, "cut at a boundary of 4 KB"
                asked[c] += [at + 64 * i for i in range(beats)]
                most = max(most, 8 * len(asked[c]) - popped)
                assert most <= room, f"{most} words asked for, room {room}"
        stalls += int(dut.stalled_o.value)
        if offer and int(dut.op_ready_o.value):
            sent, offer = sent + 1, False
        if sent == len(streams) and int(dut.idle_o.value) and popped == 8 * len(want):
            break
    else:
        raise AssertionError(f"stuck: {sent} streams, {[len(a) for a in asked]} beats, {popped} words popped")
    assert all(a == want for a in asked)
    assert stalls or room > 8 * 200, "never out of room"
    assert most > room // 2 or room > 8 * 200, "half the ring is never used"


@cocotb.test()
async def fills_the_ring_and_waits(dut):
    """Without a reader it asks for no more than the ring holds, and nearly that."""
    room = parameter("RingBytes") // 8
    await start(dut, op_valid_i=1, op_i=int.from_bytes(dispatch(LDW(addr=64, nbytes=1 << 20), [0] * 32), "little"),
                req_ready_i=(1 << parameter("Channels")) - 1, pop_i=0)  # fmt: skip
    words = 0
    for _ in range(1200):
        await RisingEdge(dut.clk_i)
        if int(dut.req_valid_o.value):
            words += 8 * int(dut.req_beats_o.value)
    assert room - 8 * 32 <= words <= room and words > room // 2
    assert int(dut.stalled_o.value) and not int(dut.idle_o.value)
