"""matrix_fetch: every pop and every tile of a walk through weight and KV streams, in order, within the room that there is."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from cocotb_runner import parameter, pauses, run_bench, start
from dispatch import dispatch
from structs import Structs

from flightllm.isa.blocks import key_slots
from flightllm.isa.fields import Instruction
from flightllm.isa.matrix import MM, MMPV, MMQK

TYPES = Structs("matrix_pkg")
DEST = TYPES.enum("dest_e")
BITS = (2, 3, 4, 5, 6, 8)
#: beats of the replay buffer, rows of the scale memory, strips of rho
ROOM = {"beats": 16, "rows": 8, "rho": 2}
#: cycles that they are in use at most: long enough that each runs out at times
USE = {"beats": 40, "rows": 300, "rho": 200}
#: cycles until matrix_fetch sees a level; words that the bench's rings hold
LEVEL_AGE, RING_WORDS = 2, 100


@pytest.mark.parametrize(("vpus", "channels"), [(4, 1), (12, 4), (8, 16), (16, 2)])
def test_matrix_fetch(vpus, channels):
    run_bench("matrix_fetch", __file__, ["matrix", "common"], {"Vpus": vpus, "Channels": channels}, only="walk")


@dataclass
class Walk:
    """What docs/streams.md and docs/rtl.md ask for, instruction by instruction."""

    vpus: int
    channels: int
    beat: int = 0
    row: int = 0
    half: int = 0
    words: int = 0
    #: (ring, words, destination, offset, index, done, what the pop takes of the room) and tiles, in order
    pops: list[tuple] = field(default_factory=list)
    tiles: list[dict] = field(default_factory=list)

    def pop(
        self, count: int, dest: str, offset: int = 0, index: int = 0, done: bool = False, ring: str = "w", **takes: int
    ) -> None:
        self.pops.append((ring, count, DEST[dest], offset, index, int(done), takes))
        self.words += count if ring == "w" else 0

    def section(self, words: int, dest: str, index: int, done: bool = False, ring: str = "w", **takes: int) -> None:
        """Up to 16 words a pop."""
        for at in range(0, words, 16):
            self.pop(
                min(16, words - at), dest, at, index, done and at + 16 >= words, ring, **(takes if at == 0 else {})
            )

    def tile(self, strip: dict, **values: int) -> None:
        """A tile that begins with the next pop."""
        base = dict.fromkeys(TYPES.names("tile_t"), 0) | values
        base["strip"] = dict.fromkeys(TYPES.names("strip_t"), 0) | strip
        self.tiles.append(base | {"at": len(self.pops)})

    def mm(self, o, formats: list[list[int]]) -> list[int]:
        """formats: bytes of each block's passes. Returns the table as it stands in the stream, once for each strip."""
        v, table = self.vpus, [byte for block in formats for byte in block]
        full, left, base, words = v * int(o.rows_per_vpu), o.slots, 0, []
        self.words = 0
        while left > 0:
            r = min(full, left)
            if o.table:
                padded = table + [random.getrandbits(8) for _ in range(-len(table) % 8)]
                words += [int.from_bytes(bytes(padded[i : i + 8]), "little") for i in range(0, len(padded), 8)]
                for _ in range(len(padded) // 8):
                    self.pop(1, "DestTable")
            for dest in ("DestRho", "DestBias")[: 1 + o.bias]:
                for at in range(0, r, 4):
                    takes = {"rho": 1} if dest == "DestRho" and at == 0 else {}
                    self.pop(1 if r - at <= 2 else 2, dest, 0, at // 4 + 2 * v * self.half, **takes)
            strip = {
                "stride": int(o.rows_per_vpu),
                "rows": -(-r // v),
                "slots": r,
                "base": base,
                "op_last": int(left <= full),
            }
            for b, passes in enumerate(formats):
                for p, byte in enumerate(passes):
                    last = b == len(formats) - 1 and p == len(passes) - 1
                    self.entry(byte, r, min(128, o.k - 128 * b), int(o.group), strip, b, b == p == 0, last)
            left, base, self.half = left - r, base + r * self.channels, 1 - self.half
        if self.words % 8:
            self.pop(-self.words % 8, "DestDrop")
        return words

    def entry(
        self, byte: int, r: int, columns: int, group: int, strip: dict, block: int, first: bool, last: bool
    ) -> None:
        v, bits, n_index, affine = self.vpus, BITS[byte & 7], byte >> 3 & 3, byte >> 5 & 1
        q, windows, per = 1 << n_index, -(-columns // 16), group // 16
        beats, groups = -(-r // (q * v)), -(-windows // per)
        scales, first_row = beats * groups * q, self.row
        for dest, eighths in (("DestSigma", 8), ("DestMu", 12))[: 1 + affine]:
            self.row = first_row
            for at in range(0, scales, 8):
                bytes_ = min(8, scales - at) * v * eighths // 8
                takes = {"rows": 1} if dest == "DestSigma" else {}
                self.section(-(-bytes_ // 8), dest, self.row, **takes)
                self.row = (self.row + 1) % 8
        at = 0
        for jj in range(beats):
            taking = min(v, r - jj * q * v)
            for g in range(groups):
                nw = min(per, windows - per * g)
                end = jj == beats - 1 and g == groups - 1
                self.tile(
                    strip, nw=nw, n_index=n_index, width=byte & 7, affine=affine, row=jj * q, window=8 * block + per * g,
                    first=int(first and g == 0), last=int(last and end), scale=(8 * first_row + at) % 64,
                    side0_only=int(2 * taking <= v),
                    free_row=int((at + q) % 8 == 0 or at + q == scales),
                )  # fmt: skip
                at += q
                for _ in range(nw):
                    self.section(-(-taking * 2 * bits // 8), "DestCode", self.beat, n_index == 0, beats=1)
                    if n_index:
                        self.section(taking, "DestIndex", self.beat, True)
                    self.beat = (self.beat + 1) % 16

    def runs(self, o, mask: bytes) -> list[tuple[int, int]]:
        """Runs of active blocks; a run that no mask cuts is whole, up to the sink, from `first`, and the last block."""
        last = (o.len - 1) // 64
        if not o.masked:
            ranges = (
                [(0, last + 1)] if o.first <= o.sink else [(0, min(o.sink, last + 1)), (min(o.first, last), last + 1)]
            )
            if o.sink > last:
                ranges = [(0, last + 1)]
            return [(a, b) for a, b in ranges if a < b]
        active = [
            b == last or ((b < o.sink or b >= o.first) and mask[(o.mask + b // 8) % 65536] >> (b % 8) & 1)
            for b in range(last + 1)
        ]
        edges = [b for b in range(last + 2) if (b <= last and active[b]) != (b > 0 and active[b - 1])]
        return list(zip(edges[::2], edges[1::2], strict=True))

    def attention(self, name: str, o, mask: bytes) -> None:
        if o.len <= 0:
            self.tile({"empty": 1, "op_last": 1}, last=1)
            return
        c, v, four = self.channels, self.vpus, o.bits == "4"
        last, first_tile = (o.len - 1) // 64, True
        for begin, end in self.runs(o, mask):
            if name == "MMQK":
                heads = -(-o.k // 16)
                at, stop = 64 * begin // c, min(64 * end // c, -(-o.len // c))
                while at < stop:
                    nv = min(v, stop - at)
                    done = end > last and at + nv == stop
                    strip = {"stride": 1, "rows": 1, "slots": nv, "base": at * c, "op_last": int(done)}
                    self.tile(
                        strip,
                        nw=heads,
                        width=2 if four else 5,
                        unit_scale=1,
                        first=1,
                        last=1,
                        side0_only=int(2 * nv <= v),
                    )
                    group = key_slots(c)
                    for lane in range(0, nv, group):
                        for w in range(heads):
                            index, whole = (self.beat + w) % 16, lane + group >= nv
                            takes = {"beats": heads} if lane == w == 0 else {}
                            dest = "DestKeys4" if four else "DestKeys8"
                            self.pop(group * (1 if four else 2), dest, lane, index, whole, "k", **takes)
                    self.beat, at = (self.beat + heads) % 16, at + nv
                continue
            rows = -(-o.slots // v)
            for unit in range(4 * begin, min(4 * end, -(-o.len // 16))):
                for jj in range(rows):
                    taking = min(v, o.slots - jj * v)
                    ending = end > last and unit == -(-o.len // 16) - 1 and jj == rows - 1
                    strip = {"stride": rows, "rows": rows, "slots": o.slots, "op_last": 1}
                    self.tile(
                        strip,
                        nw=1,
                        width=6 if four else 5,
                        unit_scale=1,
                        row=jj,
                        window=unit,
                        first=int(first_tile),
                        last=int(ending),
                        side0_only=int(2 * taking <= v),
                    )
                    words = taking + taking % 2 if four else 2 * taking
                    self.section(words, "DestCode", self.beat, True, "k", beats=1)
                    self.beat = (self.beat + 1) % 16
                first_tile = False


def random_mm(rng: random.Random, vpus: int) -> tuple[MM, list[list[int]]]:
    k, table = rng.choice([16, 100, 128, 144, 300, 512]), rng.random() < 0.5
    long = table and rng.random() < 0.5  # tables of several words
    if long:
        k = 128 * rng.choice([8, 9, 15, 16, 17, 24, 25, 32]) - rng.choice([0, 100])
    menu = [bits | n << 3 | (32 if n == 0 and rng.random() < 0.5 else 0) for bits in range(6) for n in range(4)]
    blocks = -(-k // 128)
    if table:
        two_passes = rng.choice([0, 0.4])
        formats = [
            [rng.choice(menu) | 64, rng.choice(menu)] if rng.random() < two_passes else [rng.choice(menu)]
            for _ in range(blocks)
        ]
    else:
        formats = [[rng.choice(menu)]] * blocks
    rows = rng.choice([1, 2, 4, 8])
    half = vpus // 2
    slots = (
        1
        if long
        else rng.choice(
            [
                1,
                half,
                half + 1,
                vpus - 1,
                vpus,
                vpus + half,
                (rows - 1) * vpus + half,
                rows * vpus,
                rows * vpus + 3,
                2 * rows * vpus + vpus + 1,
            ]
        )
    )
    inst = MM(
        ab=0, ab_row=64, tokens=rng.randrange(4), k=k, slots=slots, dst=5, dst_row=9, format=0 if table else formats[0][0],
        table=int(table), group=rng.choice(["32", "64", "128"]), rows_per_vpu=str(rows), bias=rng.randrange(2), wait=rng.randrange(16),
        signal=rng.randrange(16),
    )  # fmt: skip
    return inst, formats


def random_attention(rng: random.Random, vpus: int, channels: int) -> Instruction:
    beat = vpus * channels  # keys of a beat; half of it is on side 0 of the chains
    length = rng.choice([0, 1, 63, 64, 65, 200, 400, beat // 2, beat // 2 + 1, beat + beat // 2])
    keys = {
        "len": length, "sink": rng.randrange(3), "first": rng.randrange(0, 9), "mask": rng.randrange(4000), "masked": rng.randrange(2),
    }  # fmt: skip
    more = {
        "ab": 0,
        "ab_s0": 40,
        "ab_s1": 20,
        "n0": 2,
        "n1": 2,
        "bits": rng.choice("84"),
        "dst": 0,
        "dst_s0": 40,
        "dst_s1": 20,
    }
    if rng.random() < 0.5:
        return MMQK(**keys, **more, k=rng.choice([16, 48, 128]))
    return MMPV(
        **keys,
        **more,
        slots=rng.choice([vpus // 2, vpus + vpus // 2, *(max(1, d // channels) for d in (16, 80, 128))]),
        row_slots=2,
    )


@cocotb.test()
@cocotb.parametrize(speed=["none", "half", "bursts"], seed=[1, 2, 3])
async def walk(dut, speed, seed):
    vpus, channels = parameter("Vpus"), parameter("Channels")
    rng = random.Random(seed)
    mask = rng.randbytes(65536)
    model, tables, program, ends = Walk(vpus, channels), deque(), [], []
    for _ in range(14):
        if rng.random() < 0.5:
            inst, formats = random_mm(rng, vpus)
            tables += model.mm(inst.resolve([0] * 32), formats)
        else:
            inst = random_attention(rng, vpus, channels)
            model.attention(type(inst).__name__, inst.resolve([0] * 32), mask)
        program.append(inst)
        ends.append(len(model.pops))
    await start(
        dut, op_valid_i=0, mop_ready_i=0, taken_i=0, tile_ready_i=0, beats_release_i=0, row_release_i=0, rho_release_i=0,
        w_level_i=0, k_level_i=0, table_valid_i=0, mb_data_i=0,
    )  # fmt: skip
    give, take, free, level = (pauses(speed, i + 10 * seed) for i in range(4))
    used = dict.fromkeys(ROOM, 0)
    waiting = {name: deque() for name in ROOM}
    answers, masks = deque([None] * 3), deque([0, 0])
    there = {"w": 0, "k": 0}  # words in each ring
    shown = deque([{"w": 0, "k": 0}] * LEVEL_AGE)
    handed = taken = popped = tiles = 0
    held = None
    mops = deque()
    for cycle in range(60_000):
        offered = handed < len(program) and not next(give)
        dut.op_valid_i.value = int(offered)
        dut.op_i.value = int.from_bytes(dispatch(program[min(handed, len(program) - 1)], [0] * 32), "little") & (
            (1 << 912) - 1
        )
        dut.mop_ready_i.value = mop_ready = int(len(mops) < 2)
        took = bool(mops) and not next(take)
        dut.taken_i.value = int(took)
        dut.tile_ready_i.value = tile_ready = int(not next(take))
        for ring in "wk":
            there[ring] += 0 if next(level) else rng.choice([8, 16, rng.randrange(17)])
            there[ring] = min(there[ring], RING_WORDS)
        shown.append({ring: min(63, there[ring]) for ring in "wk"})
        old = shown.popleft()
        dut.w_level_i.value, dut.k_level_i.value = old["w"], old["k"]
        for name, port in (("beats", "beats"), ("rows", "row"), ("rho", "rho")):
            release = bool(waiting[name]) and waiting[name][0][0] <= cycle and not next(free)
            getattr(dut, f"{port}_release_i").value = int(release)
            if name == "beats":
                dut.beats_count_i.value = waiting[name][0][1] if release else rng.randrange(32)
            if release:
                used[name] -= waiting[name].popleft()[1]
        answer = answers.popleft()
        dut.table_valid_i.value = int(answer is not None)
        dut.table_data_i.value = answer if answer is not None else rng.getrandbits(64)
        dut.mb_data_i.value = masks.popleft()
        await RisingEdge(dut.clk_i)
        # before the tokens of an instruction are taken, its mask is not there
        masks.append(mask[int(dut.mb_addr_o.value)] if taken == handed else rng.randrange(256))
        if took:
            mops.popleft()
            taken += 1
        if offered and int(dut.op_ready_o.value):
            assert mop_ready and int(dut.mop_valid_o.value)
            mop = TYPES.unpack("mop_t", int(dut.mop_o.value))
            o = program[handed].resolve([0] * 32)
            assert (mop["wait_mask"], mop["signal_mask"]) == (
                program[handed].wait,
                program[handed].signal,
            )
            assert (mop["ab"], mop["dst"]) == (o.ab, o.dst)
            mops.append(handed)
            handed += 1
        pops = (int(dut.w_pop_o.value), int(dut.k_pop_o.value))
        pop = TYPES.unpack("pop_t", int(dut.pop_o.value))
        assert pop["valid"] == (pops != (0, 0))
        answers.append(None)
        tile = int(dut.tile_o.value) if int(dut.tile_valid_o.value) else None
        assert held in (None, tile), "a tile changes while it waits"
        held = None if tile_ready else tile
        if tile is not None and tile_ready:
            want = dict(model.tiles[tiles])
            at = want.pop("at")
            assert at < popped + pop["valid"] or want["strip"]["empty"], f"tile {tiles} before its first pop"
            got = TYPES.unpack("tile_t", tile)
            assert got == want, f"tile {tiles}: {[(k, got[k], want[k]) for k in want if got[k] != want[k]]}"
            tiles += 1
        if pop["valid"]:
            ring, count, dest, offset, index, done, takes = model.pops[popped]
            assert pops == ((count, 0) if ring == "w" else (0, count)), f"pop {popped}: {pops}, not {count} of {ring}"
            assert count <= there[ring], "more popped than there is"
            there[ring] -= count
            late = [t["at"] for t in model.tiles[tiles : tiles + 2]]
            assert len(late) < 2 or popped < late[1], "a tile has not been handed over, and the next begins"
            got = (pop["dest"], pop["index"], pop["done"]) + (
                (pop["offset"],) if dest not in (DEST["DestTable"], DEST["DestDrop"]) else ()
            )
            want = (dest, index, done) + ((offset,) if dest not in (DEST["DestTable"], DEST["DestDrop"]) else ())
            if dest in (DEST["DestRho"], DEST["DestBias"], DEST["DestTable"], DEST["DestDrop"]):
                got, want = got[:2], want[:2]
            assert got == want, f"pop {popped}: {got}, not {want}"
            at = next(i for i, end in enumerate(ends) if popped < end)
            if ring == "k":
                assert not program[at].values["masked"] or taken > at, "the mask is read before the tokens are there"
            if dest == DEST["DestTable"]:
                answers[-1] = tables.popleft()
            for name, number in takes.items():
                used[name] += number
                assert used[name] <= ROOM[name], f"no room for {name}"
                waiting[name].append((cycle + rng.randrange(3, USE[name]), number))
            popped += 1
        if handed == len(program) and popped == len(model.pops) and tiles == len(model.tiles) and int(dut.idle_o.value):
            break
    assert (handed, popped, tiles) == (len(program), len(model.pops), len(model.tiles))
    assert not tables
