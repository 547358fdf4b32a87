"""load_unit against the functional executor: LDV, LDG, LDM, LDS and LDK in random order, any latency, pauses of every neighbour.

At the moment an instruction gives its tokens, VB, MB and what has been pushed are exactly what the executor has then. Further: tokens
are wanted and given in order, requests are equal on all channels and leave room in the staging, and an id outside a table is error 4.
With a memory that never pauses, LDKs back to back push a beat in every cycle, runs of one block behind a mask too.
"""

from __future__ import annotations

import random
from collections import deque

import cocotb
import numpy as np
import pytest
from cocotb.triggers import RisingEdge
from cocotb_runner import parameter, pauses, payload, run_bench, start
from dispatch import dispatch
from load_cases import VB, random_program

from flightllm.isa.load import LDK

FOLDERS = ["memory", "common"]
ROOM = 40  # words of the K ring


@pytest.mark.parametrize("channels", [1, 4, 32])
def test_load_unit(channels):
    programs = [random_program(channels, seed, 9, error=seed == 2) for seed in range(4 if channels < 32 else 3)]
    run_bench("load_unit", __file__, FOLDERS, {"Channels": channels}, payload=programs)


class Memory:
    """The channels' readers: requests in order, each channel with its own latency and pauses."""

    def __init__(self, dut, mem: np.ndarray, kind: str, latency: int, seed: int) -> None:
        self.dut, self.mem, self.latency = dut, mem, latency
        channels = len(mem)
        self.rng = random.Random(seed)
        self.flying: list[deque] = [deque() for _ in range(channels)]
        self.ask = [pauses(kind, seed + c) for c in range(channels)]
        self.answer = [pauses(kind, seed + 100 + c) for c in range(channels)]
        self.requests: list[list[tuple[int, int]]] = [[] for _ in range(channels)]
        self.ready = 0
        self.cycle = 0

    def drive(self) -> None:
        channels = len(self.mem)
        self.ready = sum((not next(p)) << c for c, p in enumerate(self.ask))
        valid = data = 0
        for c in range(channels):
            queue = self.flying[c]
            if queue and queue[0][0] <= self.cycle and not next(self.answer[c]):
                at = queue.popleft()[1]
                valid |= 1 << c
                data |= int.from_bytes(self.mem[c, at : at + 64].tobytes(), "little") << 512 * c
        self.dut.req_ready_i.value, self.dut.rvalid_i.value = self.ready, valid
        if valid:
            self.dut.rdata_i.value = data

    def sample(self) -> None:
        self.cycle += 1
        taken = int(self.dut.req_valid_o.value) & self.ready
        if taken:
            at, beats = int(self.dut.req_addr_o.value), int(self.dut.req_beats_o.value)
            assert at % 64 == 0 and 1 <= beats <= 32
            for c in range(len(self.mem)):
                if taken >> c & 1:
                    self.requests[c].append((at, beats))
                    later = self.cycle + self.rng.randint(0, self.latency)
                    self.flying[c].extend((later, at + 64 * i) for i in range(beats))


@cocotb.test()
async def programs(dut):
    await start(
        dut,
        op_valid_i=0,
        take_ready_i=0,
        req_ready_i=0,
        rvalid_i=0,
        wr_ready_i=0,
        ring_free_i=0,
        push_stall_i=0,
        mb_data_i=0,
        op_i=0,
    )
    for n, program in enumerate(payload()):
        kind, latency = (("none", 3), ("half", 40), ("bursts", 10), ("often", 0))[n % 4]
        await run(dut, program, kind, latency, n)
        if program.error:
            dut.rst_ni.value = 0
            for _ in range(2):
                await RisingEdge(dut.clk_i)
            dut.rst_ni.value = 1


async def run(dut, program, kind: str, latency: int, seed: int, limit: int = 60000) -> None:
    channels, steps = parameter("Channels"), program.steps
    padded = np.pad(program.mem, ((0, 0), (0, 64)))
    memory = Memory(dut, padded, kind, latency, seed)
    vb, mb = program.vb.copy(), np.zeros(1 << 16, np.uint8)
    mb[: len(program.mb)] = program.mb
    keys: list[list[int]] = [[] for _ in range(channels)]  # words pushed
    level = 0
    pause = {name: pauses(kind, f"{seed}{name}") for name in ("op", "take", "wr", "pop", "stall")}
    sent = taken = given = 0
    mb_stage = 0
    for _ in range(limit):
        offer = sent < len(steps) and not next(pause["op"])
        dut.op_valid_i.value = int(offer)
        if offer:
            dut.op_i.value = steps[sent].word
        take = not next(pause["take"])
        wr = not next(pause["wr"])
        dut.take_ready_i.value, dut.wr_ready_i.value = int(take), int(wr)
        dut.ring_free_i.value = ROOM - level
        stall = next(pause["stall"])
        dut.push_stall_i.value = int(stall)
        memory.drive()
        await RisingEdge(dut.clk_i)
        memory.sample()
        dut.mb_data_i.value = mb_stage
        mb_stage = int(mb[int(dut.mb_addr_o.value)])
        if int(dut.give_valid_o.value):
            step = steps[given]
            where = f"program {seed}, instruction {given}: {step.inst.text()}"
            assert int(dut.give_mask_o.value) == step.inst.signal, where
            bad = np.flatnonzero(vb != step.vb)
            assert not bad.size, f"{where}: VB differs at {bad[:8]}: {vb[bad[:4]]}, want {step.vb[bad[:4]]}"
            bad = np.flatnonzero(mb[: len(step.mb)] != step.mb)
            assert not bad.size, f"{where}: MB differs at {bad[:8]}: {mb[bad[:4]]}, want {step.mb[bad[:4]]}"
            assert 8 * len(keys[0]) == step.keys, f"{where}: {8 * len(keys[0])} bytes pushed, want {step.keys}"
            given += 1
        if offer and int(dut.op_ready_o.value):
            sent += 1
        if int(dut.take_valid_o.value):
            assert int(dut.take_mask_o.value) == steps[taken].inst.wait
            taken += take
        assert taken <= sent
        if memory.requests[0]:
            assert taken, "a request before the tokens"
        if wr and int(dut.wr_valid_o.value):
            at, mask = 16 * int(dut.wr_addr_o.value), int(dut.wr_mask_o.value)
            assert mask == 0 or at < VB
            lanes = np.frombuffer(int(dut.wr_data_o.value).to_bytes(64, "little"), np.uint32)
            for e in range(16):
                if mask >> e & 1:
                    vb[at + e] = lanes[e]
        if int(dut.mb_we_o.value):
            mb[int(dut.mb_waddr_o.value)] = int(dut.mb_wdata_o.value)
        if level and not next(pause["pop"]):
            level -= min(level, random.randint(1, 12))
        if int(dut.push_valid_o.value):
            first, count = int(dut.push_first_o.value), int(dut.push_count_o.value)
            assert 1 <= count <= 8 and first + count <= 8
            level += count
            assert level <= ROOM, "pushed without room"
            assert not stall, "pushed in a cycle in which the rings take nothing"
            data = int(dut.push_data_o.value).to_bytes(64 * channels, "little")
            for c in range(channels):
                words = np.frombuffer(data[64 * c : 64 * c + 64], np.uint64)
                keys[c].extend(words[first : first + count].tolist())
        error = int(dut.error_o.value)
        if error:
            assert error == program.error and given == len(steps) - 1, (
                f"{seed}: error {error}, {steps[given].inst.text()}"
            )
            return
        if given == len(steps):
            break
    else:
        raise AssertionError(f"program {seed} ({kind}): {given} of {len(steps)} ended; {steps[given].inst.text()}")
    assert not program.error, "the bad id was not noticed"
    assert all(r == memory.requests[0] for r in memory.requests), "channels were asked for different bytes"
    got = np.array(keys, np.uint64).reshape(channels, -1).view(np.uint8)
    assert (got == program.keys).all()
    for _ in range(6):
        await RisingEdge(dut.clk_i)
    assert int(dut.idle_o.value) and not any(memory.flying)


@cocotb.test()
async def keys_stream(dut):
    """Runs of 32 beats, masked ones of 16 beats, then an LDK without a mask: no more than two cycles without a push between runs."""
    channels = parameter("Channels")
    await start(
        dut, op_valid_i=0, take_ready_i=1, req_ready_i=0, rvalid_i=0, wr_ready_i=1, ring_free_i=1 << 12, push_stall_i=0,
        mb_data_i=0x55, op_i=0,
    )  # fmt: skip
    common = {"kind": "V", "addr": 0, "mask": 0, "wait": 0, "signal": 0, "sink": 0}
    steps = [
        LDK(**common, len=1024, first=0, unit_bytes=256, masked=1),
        LDK(**common, len=2048, first=0, unit_bytes=128, masked=0),
    ]
    memory = Memory(dut, np.zeros((channels, 1 << 15), np.uint8), "none", 0, 1)
    want = [8 * 4 * 4 + 4 * 4, 128 * 2]  # beats: every second block and the last; all
    pushes: list[int] = []
    sent = 0
    for cycle in range(900):
        dut.op_valid_i.value = int(sent < len(steps))
        if sent < len(steps):
            dut.op_i.value = int.from_bytes(dispatch(steps[sent], [0] * 16), "little")
        memory.drive()
        await RisingEdge(dut.clk_i)
        memory.sample()
        sent += sent < len(steps) and int(dut.op_ready_o.value)
        if int(dut.push_valid_o.value):
            pushes.append(cycle)
    assert len(pushes) == sum(want)
    for lo, hi in ((0, want[0]), (want[0], sum(want))):
        took = pushes[hi - 1] - pushes[lo] + 1
        assert took <= hi - lo + 4, f"{hi - lo} beats in {took} cycles"
