"""matrix_drain: accumulators of strips to fp32 words of the vector buffer, every write, with two instructions open; one VPU a chain and
two, and reads that find the accumulators always busy."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

import cocotb
import numpy as np
import pytest
from cocotb.triggers import RisingEdge
from cocotb_runner import PAUSES, parameter, pauses, run_bench, start
from structs import Structs

from flightllm.numerics import fp32

TYPES = Structs("matrix_pkg")
ENTRIES = 32
LATENCY = 3  # of a read of the vector buffer
PAUSED = 16  # cycles from a pause of execute to the one without an operation's read


@pytest.mark.parametrize("chain_vpus", [1, 2])
@pytest.mark.parametrize(("vpus", "channels"), [(4, 1), (12, 2), (8, 4), (4, 8), (4, 32)])
def test_matrix_drain(vpus, channels, chain_vpus):
    parameters = {"Vpus": vpus, "Channels": channels, "Entries": ENTRIES, "ChainVpus": chain_vpus}
    run_bench("matrix_drain", __file__, ["common", "fp", "matrix"], parameters, only="strips")


def words_of(x: np.ndarray) -> list[int]:
    return [int(w) for w in np.ascontiguousarray(x, np.float32).view(np.uint32).reshape(-1)]


def packed(values: list[int], bits: int) -> int:
    """Element 0 lowest."""
    return sum((v & ((1 << bits) - 1)) << (bits * i) for i, v in enumerate(values))


@dataclass
class Strip:
    """One strip and what its drain must write."""

    half: int
    fields: dict
    #: accumulators [upper part of a bank][entry within the half][bank][channel][chain], row scales and biases [channel][slot]
    entries: np.ndarray
    rho: np.ndarray
    bias: np.ndarray

    def sums(self, entry: int, token: int, dual: bool) -> np.ndarray:
        """Of a token in an entry, [channel][vpu]."""
        if len(self.entries) == 1:
            a, b = self.entries[0, entry]
            return 128 * a + b if dual else (a, b)[token % 2]
        lane, sides = token % 2, (0, 1)
        if dual:
            parts = [128 * a + b for a, b in (self.entries[side, entry] for side in sides)]
        else:
            parts = [self.entries[lane, entry, lane ^ side] for side in sides]
        return np.concatenate(parts, axis=1)


def random_op(
    rng: np.random.Generator, vpus: int, chain_vpus: int, channels: int, half: int
) -> tuple[dict, int, list[Strip], np.ndarray]:
    """(mop fields, tokens, strips, scales of the rows)."""
    kind = str(rng.choice(list(TYPES.enum("kind_e"))))
    mm = kind == "KindMm"
    n0, n1 = int(rng.integers(0, 4)), 1 if mm else int(rng.integers(1, 3))
    mop = dict.fromkeys(TYPES.names("mop_t"), 0)
    mop |= {"kind": TYPES.enum("kind_e")[kind], "dual": int(rng.integers(2)), "accumulate": int(mm and rng.integers(2)),
            "bias": int(mm and rng.integers(2)), "signal_mask": int(rng.integers(16)), "n0": n0, "n1": n1,
            "dst": int(rng.integers(0, 50)), "dst_s0": int(rng.integers(200, 400)), "dst_s1": int(rng.integers(90, 130))}  # fmt: skip
    tokens = n0 * n1
    count, base, strips = int(rng.integers(1, 4)), 0, []
    for i in range(count):
        rows = int(rng.integers(1, 3))
        stride = rows if not mm else int(rng.choice([r for r in (1, 2) if r >= rows]))
        last = i == count - 1
        slots = rows * vpus - (int(rng.integers(0, vpus)) if last else 0)
        empty = int(not mm and i == 0 and count == 1 and rng.random() < 0.3)
        fields = {"stride": stride, "rows": rows, "slots": slots, "base": base, "empty": empty, "op_last": int(last)}
        base += slots * channels
        shape = (chain_vpus, ENTRIES // 2, 2, channels, vpus // chain_vpus)
        entries = rng.integers(-(1 << 38), 1 << 38, shape) >> rng.integers(0, 38, shape)
        rho = rng.standard_normal((channels, 8 * vpus)).astype(np.float32)
        bias = rng.standard_normal((channels, 8 * vpus)).astype(np.float32)
        strips.append(Strip(half, fields, entries, rho, bias))
        if tokens and not empty:
            half = 1 - half
    return mop, tokens, strips, rng.standard_normal(max(tokens, 1)).astype(np.float32)


def expected(
    mop: dict, tokens: int, strip: Strip, scales: np.ndarray, vb: dict, vpus: int, channels: int
) -> list[tuple]:
    """(word address, mask, elements) in order; vb, words of 16 fp32 numbers, takes them as well."""
    out = []
    lanes, f = min(16, 4 * channels), strip.fields
    if f["empty"]:
        return out
    for row in range(f["rows"]):
        slots = min(vpus, f["slots"] - row * vpus)
        for t in range(tokens):
            pair = t if mop["dual"] else t // 2
            total = strip.sums(row + pair * f["stride"], t, bool(mop["dual"]))
            y = fp32.from_int48(total[:, :slots])
            if mop["kind"] == TYPES.enum("kind_e")["KindMm"]:
                y = fp32.mul(y, strip.rho[:, row * vpus : row * vpus + slots])
            y = fp32.mul(y, scales[t])
            if mop["bias"]:
                y = fp32.add(y, strip.bias[:, row * vpus : row * vpus + slots])
            flat = y.T.reshape(-1)
            dst = mop["dst"] + t // mop["n1"] * mop["dst_s0"] + t % mop["n1"] * mop["dst_s1"]
            first = f["base"] + row * vpus * channels
            for at in range(0, flat.size, lanes):
                word, place = dst + (first + at) // 16, (first + at) % 16
                part = flat[at : at + lanes]
                old = vb.setdefault(word, np.random.default_rng(word).standard_normal(16).astype(np.float32))
                new = fp32.add(old[place : place + part.size], part) if mop["accumulate"] else part
                old[place : place + part.size] = new
                out.append((word, ((1 << part.size) - 1) << place, words_of(new)))
    return out


@cocotb.test()
@cocotb.parametrize(kinds=[*PAUSES, ("starved", "none")])
async def strips(dut, kinds):
    vpus, channels, chain_vpus = parameter("Vpus"), parameter("Channels"), parameter("ChainVpus")
    starved = kinds[0] == "starved"
    rng = np.random.default_rng(random.getrandbits(32))
    half, todo, want, gives = 0, deque(), deque(), deque()
    final, memory = {}, {}
    reads = 0  # that must be captured
    for _ in range(9):
        mop, tokens, parts, scales = random_op(rng, vpus, chain_vpus, channels, half)
        writes = [w for s in parts for w in expected(mop, tokens, s, scales, final, vpus, channels)]
        half ^= sum(1 for s in parts if tokens and not s.fields["empty"]) & 1
        todo.append((mop, tokens, parts, scales))
        want += writes
        gives.append((mop["signal_mask"], len(writes)))
        read_rows = sum(s.fields["rows"] for s in parts if not s.fields["empty"])
        reads += tokens * read_rows * (2 if chain_vpus == 2 and mop["dual"] else 1)
    await start(
        dut, start_i=0, scale_we_i=0, strip_valid_i=0, op2_valid_i=0, rd_ready_i=0, rd_rvalid_i=0, wr_ready_i=0, captured_i=0,
        rho_i=0, bias_i=0,
    )  # fmt: skip
    busy, grant, take, later = (pauses("none" if starved else kinds[i % 2], i) for i in range(4))
    # starved: no cycle is free but those for which execute has paused; reads come a turn apart, if the strip has asked for them
    paused, turn = deque([0] * PAUSED), -(-vpus * channels // min(16, 4 * channels)) + 4 | 1
    since, asked, released, own_reads = None, None, 0, 0
    held = np.zeros((channels, vpus), np.int64)
    answers, feed = deque([None] * LATENCY), deque()
    open_strips: deque[Strip] = deque()
    read_from, written, given, rho_half = None, 0, 0, 0
    done_writes = deque(count for _, count in gives)
    in_op = 0
    for cycle in range(60_000):
        # execute's side: an instruction, its scales two cycles later, its strips behind each other, two at most
        begins = int(not feed and bool(todo) and int(dut.start_ready_o.value) and not next(later))
        dut.start_i.value = begins
        dut.scale_we_i.value = dut.strip_valid_i.value = 0
        if begins:
            mop, tokens, parts, scales = todo.popleft()
            dut.mop_i.value = TYPES.pack("mop_t", **mop)
            dut.tokens_i.value = tokens
            feed += [
                ("wait", None),
                *(("scale", (i, w)) for i, w in enumerate(words_of(scales)[:tokens])),
                *(("strip", s) for s in parts),
            ]
        elif feed:
            what, value = feed[0]
            if what == "scale":
                dut.scale_we_i.value = 1
                dut.scale_index_i.value, dut.scale_data_i.value = value
                feed.popleft()
            elif what == "wait":
                feed.popleft()
            elif len(open_strips) < 2 and not next(later):
                dut.strip_valid_i.value = 1
                dut.strip_i.value = TYPES.pack("strip_t", **value.fields)
                dut.strip_half_i.value = value.half
                open_strips.append(value)
                feed.popleft()
        dut.op2_valid_i.value = op3 = int(not paused.popleft()) if starved else int(next(busy))
        dut.rd_ready_i.value = granted = int(not next(grant))
        dut.wr_ready_i.value = ready = int(not next(take))
        answer = answers.popleft()
        dut.rd_rvalid_i.value = int(answer is not None)
        dut.rd_rdata_i.value = packed(words_of(answer), 32) if answer is not None else random.getrandbits(512)
        await RisingEdge(dut.clk_i)
        # accumulators: the entry of the cycle before is captured; rho and bias of the row asked for come now
        capture = int(dut.capture_o.value) & (1 << chain_vpus) - 1
        if capture:
            assert read_from is not None, "captures what another read"
            reads -= 1
            if starved and asked is not None and cycle > asked + PAUSED:
                assert since is None or cycle - since == turn, f"a read after {cycle - since} cycles"
                since, own_reads = cycle, own_reads + 1
            upper, (half_now, entry) = read_from // ENTRIES, divmod(read_from % ENTRIES, ENTRIES // 2)
            assert half_now == open_strips[0].half
            a, b = open_strips[0].entries[upper, entry]
            dual, lane, chains = int(dut.capture_dual_o.value), int(dut.capture_lane_o.value), vpus // chain_vpus
            for side in range(chain_vpus):  # side 1 has the lanes the other way round
                if capture >> side & 1:
                    held[:, side * chains : (side + 1) * chains] = 128 * a + b if dual else (a, b)[lane ^ side]
        read_from = None if op3 else int(dut.addr_o.value)
        paused.append(int(dut.waits_o.value))
        if asked is None and paused[-1] and cycle > released + 3:
            asked = cycle
        rho_row = int(dut.rho_row_o.value) - 2 * vpus * rho_half
        s_now = open_strips[0] if open_strips else None
        answers.append(None)
        if int(dut.rd_valid_o.value) and granted:
            word = int(dut.rd_addr_o.value)
            answers[-1] = memory.setdefault(
                word, np.random.default_rng(word).standard_normal(16).astype(np.float32)
            ).copy()
        if int(dut.give_valid_o.value):
            assert in_op == done_writes.popleft(), "tokens are given before the last write"
            assert int(dut.give_mask_o.value) == gives[given][0]
            in_op, given = 0, given + 1
        if int(dut.wr_valid_o.value) and ready:
            address, mask, data = want[written]
            got = (int(dut.wr_addr_o.value), int(dut.wr_mask_o.value))
            assert got == (address, mask), f"write {written}: {got}, not {(address, mask)}"
            line = int(dut.wr_data_o.value)
            place = (mask & -mask).bit_length() - 1
            elements = [line >> (32 * (place + i)) & 0xFFFFFFFF for i in range(len(data))]
            assert elements == data, f"write {written} to {address}"
            row = memory.setdefault(address, np.random.default_rng(address).standard_normal(16).astype(np.float32))
            row[place : place + len(data)] = np.array(data, np.uint32).view(np.float32)
            written, in_op = written + 1, in_op + 1
        if int(dut.rho_release_o.value):
            rho_half ^= 1
        if int(dut.strip_release_o.value):
            open_strips.popleft()
            since, asked, released = None, None, cycle
        if capture:
            dut.captured_i.value = packed([int(x) for x in held.reshape(-1)], 48)
        if s_now is not None and 0 <= rho_row < 2 * vpus:
            dut.rho_i.value = packed(
                [w for c in range(channels) for w in words_of(s_now.rho[c, 4 * rho_row : 4 * rho_row + 4])], 32
            )
            dut.bias_i.value = packed(
                [w for c in range(channels) for w in words_of(s_now.bias[c, 4 * rho_row : 4 * rho_row + 4])], 32
            )
        if given == 9:
            break
    assert (written, given, reads) == (len(want), 9, 0) and not open_strips
    assert not starved or own_reads > 10
    for _ in range(2):
        await RisingEdge(dut.clk_i)
    assert int(dut.idle_o.value)
    assert all(np.array_equal(memory[w].view(np.uint32), final[w].view(np.uint32)) for w in final)
