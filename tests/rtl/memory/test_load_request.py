"""load_request, the first half of load_unit, by itself: segments and requests of random programs.

The bytes that segments name are those that the instructions' definitions read; requests cover each segment with the fewest
beats; what has been asked for and not been used never exceeds the staging; an LDG waits for its ids, and an LDK with a mask until
the second half is idle.
"""

from __future__ import annotations

from collections import deque

import cocotb
import numpy as np
import pytest
from cocotb.triggers import RisingEdge
from cocotb_runner import parameter, pauses, payload, run_bench, start
from load_cases import Program, random_program

from flightllm.isa.blocks import active_blocks, candidate_blocks, runs, unit_positions, units_of
from flightllm.isa.load import DTYPES, LDG, LDM, LDS, LDV

VECTOR, IDS, MASK, SCALES, KEYS, END = range(6)  # load_pkg::load_e
#: segment_t from its lowest bit up
FIELDS = {"signal_mask": 4, "dst_head": 20, "heads": 10, "slot": 24, "dst": 20, "stop": 7, "beats": 26, "single": 1, "offset": 6, "half": 1, "kind": 3}  # fmt: skip


@pytest.mark.parametrize(("channels", "staging"), [(2, 64), (16, 32)])
def test_load_request(channels, staging):
    programs = [random_program(channels, seed + 20, 12, error=seed == 1) for seed in range(3)]
    cases = [(p, [regions(p, s.inst, s.mb_before) for s in p.steps]) for p in programs]
    run_bench("load_request", __file__, ["memory", "common"], {"Channels": channels, "Staging": staging}, payload=cases)


def regions(program: Program, inst, mb: np.ndarray) -> list[tuple[int, int, int]]:
    """(kind, address, bytes) in the order in which an instruction reads memory; runs of blocks may be split."""
    o, c = inst.resolve([0] * 8 + program.regs + [0] * 16), program.channels
    if isinstance(inst, LDM):
        return [(MASK, o.addr, o.nbytes)] if o.nbytes else []
    if isinstance(inst, LDV | LDG):
        n, rows = o.slots * DTYPES[o.dtype], max(0, o.rows)
        if isinstance(inst, LDV):
            return [(VECTOR, o.addr + t * o.row, n) for t in range(rows)] if n else []
        ids = program.mem[0, o.ids : o.ids + 4 * rows].view("<i4").tolist()
        good = [i for i in ids if 0 <= i < o.limit]
        return [(IDS, o.ids, 4 * rows)] * bool(rows) + [
            (VECTOR, o.table + i * o.row, n) for i in good[: len(ids)]
        ] * bool(n)
    scales = isinstance(inst, LDS)
    gran = c if scales else unit_positions(o.kind, c)
    size = 2 * o.heads if scales else o.unit_bytes
    blocks = candidate_blocks(o.len, o.sink, o.first) if scales else active_blocks(o, mb)
    out = []
    for lo, hi in runs(blocks):
        first, last = units_of(lo, o.len, gran)[0], units_of(hi - 1, o.len, gran)[1]
        if size:
            out.append((SCALES if scales else KEYS, o.addr + first * size, (last - first) * size))
    return out


def merged(pieces: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Neighbouring pieces of runs as one: where the sink meets the window the unit may split."""
    out: list[tuple[int, int, int]] = []
    for kind, at, n in pieces:
        if out and kind in (SCALES, KEYS) and out[-1][0] == kind and out[-1][1] + out[-1][2] == at:
            out[-1] = (kind, out[-1][1], out[-1][2] + n)
        else:
            out.append((kind, at, n))
    return out


def fields(word: int) -> dict[str, int]:
    out, at = {}, 0
    for name, bits in FIELDS.items():
        out[name] = word >> at & ((1 << bits) - 1)
        at += bits
    return out


@cocotb.test()
async def programs(dut):
    await start(dut, op_valid_i=0, op_i=0, take_ready_i=0, mb_data_i=0, req_ready_i=0, segment_ready_i=0, beat_used_i=0,
                rest_idle_i=1, id_valid_i=0)  # fmt: skip
    for n, (program, want) in enumerate(payload()):
        await run(dut, program, want, ("none", "half", "bursts")[n % 3], n)
        dut.rst_ni.value = 0
        for _ in range(2):
            await RisingEdge(dut.clk_i)
        dut.rst_ni.value = 1


async def run(dut, program: Program, want, kind: str, seed: int, limit: int = 40000) -> None:
    channels, staging = parameter("Channels"), parameter("Staging")
    pause = {name: pauses(kind, f"{seed}{name}") for name in ("op", "take", "seg", "use")}
    ask = [pauses(kind, f"{seed}c{c}") for c in range(channels)]
    sent = taken = ended = flying = 0
    beats: list[list[int]] = [[] for _ in range(channels)]  # addresses asked for
    segments: list[dict[str, int]] = []  # of the instruction at hand
    finished: list[tuple] = []  # the last requests of an instruction may come behind its end
    covered = 0  # beats of segments so far
    queue: deque = deque()  # what the second half has not done: segments with their beats
    masks = program.mb
    stage = 0
    for _ in range(limit):
        offer = sent < len(program.steps) and not next(pause["op"])
        dut.op_valid_i.value = int(offer)
        if offer:
            dut.op_i.value = program.steps[sent].word
        take, room = not next(pause["take"]), len(queue) < 8 and not next(pause["seg"])
        ready = sum((not next(p)) << c for c, p in enumerate(ask))
        # the second half: beats that all channels have been asked for are used one by one, in order
        used, ids = False, None
        if queue and not next(pause["use"]):
            segment, left = queue[0]
            if segment["kind"] == END:
                queue.popleft()
            elif min(map(len, beats)) > flying:
                used = True
                if segment["kind"] == IDS:
                    ids = program.mem[0, beats[0][flying] : beats[0][flying] + 64].tobytes()
                flying += 1
                queue[0][1] = left - 1
                if left == 1:
                    queue.popleft()
        dut.take_ready_i.value, dut.segment_ready_i.value, dut.req_ready_i.value = int(take), int(room), ready
        dut.beat_used_i.value, dut.id_valid_i.value, dut.rest_idle_i.value = (
            int(used),
            int(ids is not None),
            int(not queue and not used),
        )
        if ids is not None:
            dut.id_data_i.value = int.from_bytes(ids, "little")
        await RisingEdge(dut.clk_i)
        dut.mb_data_i.value, stage = stage, int(masks[min(int(dut.mb_addr_o.value), len(masks) - 1)])
        sent += offer and int(dut.op_ready_o.value)
        if int(dut.take_valid_o.value):
            taken += take
        wanted = int(dut.req_valid_o.value)
        if wanted & ready:
            at, count = int(dut.req_addr_o.value), int(dut.req_beats_o.value)
            assert at % 64 == 0 and 1 <= count <= 32
            for c in range(channels):
                if wanted & ready & 1 << c:
                    beats[c] += [at + 64 * i for i in range(count)]
                    assert len(beats[c]) - flying <= staging, "more beats than the staging holds"
        if room and int(dut.segment_valid_o.value):
            segment = fields(int(dut.segment_o.value))
            count = segment["beats"]
            if segment["kind"] == END:
                step = program.steps[ended]
                assert segment["signal_mask"] == step.inst.signal
                finished.append((step.inst, segments, want[ended]))
                ended, segments, masks = ended + 1, [], step.mb
            else:
                assert taken > ended, "a segment before the tokens"
                if segment["kind"] == KEYS and program.steps[ended].inst.values["masked"] and not segments:
                    assert not queue, "an LDK whose mask may still be on its way"
                assert count and 1 <= segment["stop"] <= 64 and segment["single"] == (count == 1)
                segment["nbytes"] = 64 * (count - 1) + segment["stop"] - segment["offset"]
                segments.append(segment | {"beats": (covered, covered + count)})
                covered += count
            queue.append([segment, count])
        error = int(dut.error_o.value)
        if error:
            assert error == program.error and ended == len(program.steps) - 1
            return
        if ended == len(program.steps) and int(dut.req_valid_o.value) & ~ready == 0:
            break
    else:
        raise AssertionError(f"stuck at {program.steps[ended].inst.text()}")
    assert not program.error
    for inst, pieces, regions_ in finished:
        compare(inst, pieces, beats[0], regions_)
    assert all(b == beats[0] for b in beats) and len(beats[0]) == covered
    await RisingEdge(dut.clk_i)
    assert int(dut.idle_o.value)


def compare(inst, segments, asked: list[int], want) -> None:
    """Segments against regions: place by the first beat asked for, bytes, and beats without a gap."""
    got = []
    for s in segments:
        lo, hi = s["beats"]
        mine = asked[lo:hi]
        assert len(mine) == hi - lo, f"{inst.text()}: {len(mine)} of {hi - lo} beats asked for"
        assert mine == list(range(mine[0], mine[0] + 64 * len(mine), 64)), inst.text()
        got.append((s["kind"], mine[0] + s["offset"], s["nbytes"]))
    assert merged(got) == merged(want), f"{inst.text()}: {got}, want {want}"
