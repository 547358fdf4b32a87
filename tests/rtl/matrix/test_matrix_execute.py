"""matrix_execute: every beat, and every control at the cycle that docs/rtl.md gives it, for pairs, dual tokens and no tokens; one VPU a
chain and two, packed and in turn."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from dataclasses import dataclass
from itertools import product

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from cocotb_runner import parameter, pauses, run_bench, start
from structs import Structs

TYPES = Structs("matrix_pkg")
#: cycles from a beat: codes at the VPUs, adder stage of position 0, taps of each node, first scale operation
CODES, MODE, TAPS, OPERATION = 2, 5, (7, 9, 11, 13), 14


@pytest.mark.parametrize("chain_vpus", [1, 2])
@pytest.mark.parametrize("entries", [32, 512])
def test_matrix_execute(entries, chain_vpus):
    parameters = {"Entries": entries, "ChainVpus": chain_vpus}
    run_bench("matrix_execute", __file__, ["matrix"], parameters, only="beats", timeout_s=240)


def random_op(rng: random.Random, entries: int) -> tuple[dict, list[dict]]:
    """(mop fields, tiles) as fetch hands them over."""
    kind = rng.choice(["KindMm", "KindQk", "KindPv"])
    mop = dict.fromkeys(TYPES.names("mop_t"), 0)
    n1 = 1 if kind == "KindMm" else rng.randrange(1, 4)
    mop |= {"kind": TYPES.enum("kind_e")[kind], "dual": rng.randrange(2), "wait_mask": rng.randrange(16), "n0": rng.randrange(4), "n1": n1,
            "ab": rng.randrange(100), "ab_s0": rng.randrange(100, 200), "ab_s1": rng.randrange(30, 60)}  # fmt: skip
    tiles = []
    strips = rng.randrange(1, 4)
    for s in range(strips):
        strip = dict.fromkeys(TYPES.names("strip_t"), 0) | {
            "stride": rng.randrange(1, 3), "rows": 1, "slots": rng.randrange(1, 99), "base": 16 * rng.randrange(99), "op_last": int(s == strips - 1),
        }  # fmt: skip
        if strips == 1 and kind != "KindMm" and rng.random() < 0.2:  # no keys
            tiles.append(dict.fromkeys(TYPES.names("tile_t"), 0) | {"last": 1, "strip": strip | {"empty": 1}})
            break
        number = rng.randrange(1, 5)
        for i in range(number):
            n = rng.randrange(4) if kind == "KindMm" else 0
            affine = int(kind == "KindMm" and n == 0 and rng.random() < 0.5)
            tiles.append(dict.fromkeys(TYPES.names("tile_t"), 0) | {
                "nw": rng.choice([1, rng.randrange(1, 9)]) if kind != "KindQk" else rng.choice([1, 3, 16]), "n_index": n, "width": rng.randrange(7),
                "unit_scale": int(kind != "KindMm"), "affine": affine, "row": rng.randrange(2), "window": rng.randrange(30),
                "first": int(i == 0), "last": int(i == number - 1), "scale": rng.randrange(64), "free_row": rng.randrange(2),
                "side0_only": rng.randrange(2), "strip": strip,
            })  # fmt: skip
    return mop, tiles


def row_address(mop: dict, token: int) -> int:
    return mop["ab"] + token // mop["n1"] * mop["ab_s0"] + token % mop["n1"] * mop["ab_s1"]


@dataclass(frozen=True)
class Pass:
    """Once through the windows of a tile for a pair of tokens. tokens: of the lanes, None: none, which has a window of zeros."""

    side: int
    packed: bool
    tokens: tuple[int, int | None]
    #: above the entry in each lane's address: which of the pair it has, or the side of a dual token
    halves: tuple[int, int]


def passes(chain_vpus: int, tile: dict, token: int, both: bool, dual: bool) -> list[Pass]:
    """What docs/rtl.md, "Two VPUs in a chain", asks for; token: the first of the pair, which a dual one has twice."""
    first, second = token, token if dual else token + 1
    if chain_vpus == 1:
        return [Pass(0, False, (first, second if both else None), (0, 0))]
    if not both and tile["n_index"] == 0:
        return [Pass(0, True, (first, first), (0, 0))]
    if dual:
        found = [Pass(0, False, (first, first), (0, 0)), Pass(1, False, (first, first), (1, 1))]
    elif both:
        found = [Pass(0, False, (first, second), (0, 1)), Pass(1, False, (second, first), (1, 0))]
    else:
        found = [Pass(0, False, (first, None), (0, 1)), Pass(1, False, (first, first), (1, 0))]
    return found[:1] if tile["side0_only"] else found


class Model:
    """Everything that must happen, as a plan: beats in order, then what each of them causes when it is issued."""

    def __init__(self, entries: int, chain_vpus: int, ab: list[list[int]]) -> None:
        self.entries, self.chain_vpus, self.ab = entries, chain_vpus, ab
        self.half = self.beat = 0
        self.beats: deque[dict] = deque()
        self.at: dict[int, dict[str, int]] = defaultdict(dict)
        self.strips: deque[tuple[dict, int]] = deque()
        self.kinds: set[tuple] = set()  # of passes, for what must have been there

    def plan(self, mop: dict, tiles: list[dict], number: int) -> None:
        tokens = mop["n0"] * mop["n1"]
        for k, tile in enumerate(tiles):
            step = 1 if mop["dual"] else 2
            skipped = tokens == 0 or tile["nw"] == 0
            for pair, token in enumerate(range(0, tokens if tile["nw"] else 0, step)):
                both = bool(mop["dual"]) or token + 1 < tokens
                todo = passes(self.chain_vpus, tile, token, both, bool(mop["dual"]))
                for i, run in enumerate(todo):
                    ending = i == len(todo) - 1 and token + step >= tokens
                    self.kinds.add((run.side, run.packed, both, bool(mop["dual"]), tile["n_index"] > 0))
                    self.run(mop, tile, pair, run, ending, number, k)
            self.beat = (self.beat + tile["nw"]) % 16
            if tile["last"]:
                self.strips.append((tile["strip"], 0 if skipped else self.half))
                self.half ^= int(not skipped)

    def run(self, mop: dict, tile: dict, pair: int, run: Pass, ending: bool, number: int, k: int) -> None:
        """The beats of one pass. ending: the tile's last."""
        sums = [0, 0]
        for w in range(tile["nw"]):
            at = tile["window"] + w
            if mop["dual"]:
                a = row_address(mop, run.tokens[0]) + 1 + 2 * at
                b = a + 1
            else:
                a, b = (None if t is None else row_address(mop, t) + 1 + at for t in run.tokens)
            windows = self.ab[a], [0] * 16 if b is None else self.ab[b]
            sums = [s + sum(x) for s, x in zip(sums, windows, strict=True)]
            last = w == tile["nw"] - 1
            self.beats.append({
                "op": number, "beat": (self.beat + w) % 16, "a": a, "b": b, "windows": windows, "w": w, "first": w == 0, "last": last, "tile": tile, "run": run,
                "operations": self.operations(tile, pair, run, b is not None, sums) if last else [], "tile_end": last and ending,
                "strip": (tile["strip"], self.half) if last and ending and tile["last"] else None, "k": k,
            })  # fmt: skip

    def operations(self, tile: dict, pair: int, run: Pass, both: bool, sums: list[int]) -> list[dict]:
        entry = pair * tile["strip"]["stride"] + tile["row"] + self.half * self.entries // 2
        count = (1 + both) if tile["affine"] else 1 << tile["n_index"]
        found = []
        for i in range(count):
            at = (entry + (0 if tile["affine"] else i)) % self.entries
            found.append({
                "scale": (tile["scale"] + (0 if tile["affine"] else i)) % 64, "node": 0 if tile["affine"] else i, "lane": i & 1, "sum": sums[i & 1],
                "addr": at if self.chain_vpus == 1 else sum((half * self.entries + at) * (2 * self.entries) ** lane for lane, half in enumerate(run.halves)),
                "mu_side": i if run.packed else run.side,
            })  # fmt: skip
        return found

    def issued(self, b: dict, t: int) -> int:
        """Enter what this beat causes; returns the cycle of its last operation."""
        tile, run = b["tile"], b["run"]
        self.at[t + 1] |= {
            "beat1_valid_o": 1,
            "beat1_width_o": tile["width"],
            "beat1_sparse_o": int(tile["n_index"] != 0),
            "beat1_side_o": run.side,
        }
        for p in range(8):
            self.at[t + CODES + p] |= {("win_a_o", p): b["windows"][0], ("win_b_o", p): b["windows"][1]}
            self.at[t + CODES + p] |= {("side_o", p): run.side, ("packed_o", p): int(run.packed)}
            self.at[t + MODE + p] |= {("mode_o", p): tile["n_index"]}
        for k, tap in enumerate(TAPS):
            self.at[t + tap] |= {("tap_valid_o", k): 1, ("tap_last_o", k): int(b["last"])}
            self.at[t + tap - 1] |= {("tap_clear_o", k): int(b["first"])}
        u = t + OPERATION
        for i, op in enumerate(b["operations"]):
            u = t + OPERATION + i
            assert "scale_o" not in self.at[u - 1] or self.at[u - 1].get("op") is None, "two operations in one cycle"
            self.at[u - 1] |= {"unit_scale_o": tile["unit_scale"], "op": i}
            if not tile["unit_scale"]:
                self.at[u - 1] |= {"scale_o": op["scale"], "sigma_side_o": 2 if run.packed else 3 * run.side}
            if tile["affine"]:
                self.at[u - 1]["mu_side_o"] = op["mu_side"]
            self.at[u] |= {"op_n_index_o": tile["n_index"], "op_node_o": op["node"]}
            if tile["affine"]:
                self.at[u] |= {"group_sum_o": op["sum"]}
                self.at[u + 1] |= {"op1_lane_o": op["lane"]}
            self.at[u + 1] |= {
                "op1_valid_o": 1,
                "op1_affine_o": tile["affine"],
                "op1_first_o": tile["first"],
                "op1_addr_o": op["addr"],
            }
            self.at[u + 2] |= {"op2_valid_o": 1}
        return u


#: passes of two VPUs in a chain that must be there: (side, packed, two lanes, dual, sparse)
SHARED = {
    (side, False, both, dual, sparse) for side in (0, 1) for both, dual, sparse in product((False, True), repeat=3)
}
SHARED = {kind for kind in SHARED if kind[2] or kind[3:] == (False, True)} | {(0, True, False, False, False)}


def window(raw: int, p: int) -> list[int]:
    bytes_ = (raw >> (128 * p) & ((1 << 128) - 1)).to_bytes(16, "little")
    return [x - 256 if x > 127 else x for x in bytes_]


def to_word(codes: list[int]) -> int:
    return int.from_bytes(bytes(c & 255 for c in codes), "little")


@cocotb.test()
@cocotb.parametrize(speed=["none", "half", "bursts"], seed=[1, 2])
async def beats(dut, speed, seed):
    entries = parameter("Entries")
    rng = random.Random(seed)
    ab = [[rng.randrange(-127, 128) for _ in range(16)] for _ in range(4096)]
    model = Model(entries, parameter("ChainVpus"), ab)
    ops = []
    while len(ops) < 12 or (parameter("ChainVpus") == 2 and not model.kinds >= SHARED):
        ops.append(random_op(rng, entries))
        model.plan(*ops[-1], len(ops) - 1)
    mops, tiles = deque(m for m, _ in ops), deque(t for _, ts in ops for t in ts)
    fill = deque(t["nw"] for t in tiles)
    headers = deque((i, row_address(m, i)) for m, _ in ops for i in range(m["n0"] * m["n1"]))
    masks = deque((m["wait_mask"], m["n0"] * m["n1"]) for m, _ in ops)
    rows_wanted = sum(1 for _, ts in ops for t in ts if t["free_row"] and not t["unit_scale"] and t["nw"])
    await start(
        dut, mop_valid_i=0, tile_valid_i=0, beat_done_i=0, take_ready_i=0, ab_a_data_i=0, ab_b_data_i=0, start_ready_i=0, strip_release_i=0,
        drain_waits_i=0,
    )  # fmt: skip
    give, take, tokens, waits, free = (pauses(speed, i + 10 * seed) for i in range(5))
    reads = [deque([0, 0]), deque([0, 0])]
    ready_beats = rows_released = started = open_strips = 0
    row_credit: deque[int] = deque()
    strip_times: deque[int] = deque()
    releases: deque[int] = deque()
    busy_until = -1
    waiting = False
    for t in range(30_000):
        here = bool(mops) and not next(give)
        dut.mop_valid_i.value = int(here)
        if mops:
            dut.mop_i.value = TYPES.pack("mop_t", **mops[0])
        # a tile that is offered stays until it is taken
        offered = bool(tiles) and (waiting or not next(give))
        dut.tile_valid_i.value = int(offered)
        dut.tile_i.value = TYPES.pack("tile_t", **tiles[0]) if offered else rng.getrandbits(TYPES.bits("tile_t"))
        filled = bool(fill) and ready_beats < 16 and not next(waits)
        if fill and fill[0] == 0:
            fill.popleft()
            filled = False
        dut.beat_done_i.value = int(filled)
        dut.take_ready_i.value = accepts = int(not next(tokens))
        dut.start_ready_i.value = int(not next(take))
        dut.drain_waits_i.value = int(speed != "none" and rng.random() < 0.2)
        release = bool(releases) and releases[0] <= t and not next(free)
        dut.strip_release_i.value = int(release)
        for port, pipe in zip("ab", reads, strict=True):
            getattr(dut, f"ab_{port}_data_i").value = to_word(ab[pipe.popleft() % 4096])
        await RisingEdge(dut.clk_i)
        reads[0].append(int(dut.ab_a_addr_o.value) if int(dut.ab_valid_o.value) else rng.randrange(4096))
        reads[1].append(int(dut.ab_b_addr_o.value) if int(dut.ab_valid_o.value) else rng.randrange(4096))
        if release:
            releases.popleft()
            open_strips -= 1
        if here and int(dut.mop_ready_o.value):
            mops.popleft()
        if int(dut.take_valid_o.value):
            assert int(dut.start_ready_i.value) and int(dut.take_mask_o.value) == masks[0][0]
        assert int(dut.taken_o.value) == int(dut.start_o.value) == (int(dut.take_valid_o.value) and accepts)
        if int(dut.start_o.value):
            assert int(dut.tokens_o.value) == masks.popleft()[1]
            started += 1
        if int(dut.scale_we_o.value):
            index, address = headers.popleft()
            assert int(dut.scale_index_o.value) == index
            assert int(dut.scale_data_o.value) == to_word(ab[address]) & 0xFFFFFFFF, f"scale of row {index}"
        # a beat
        if int(dut.beat_valid_o.value):
            b = model.beats.popleft()
            assert started == b["op"] + 1, "a beat before the tokens are taken"
            assert not int(dut.drain_waits_i.value), "the drain's turn"
            assert int(dut.beat_o.value) == b["beat"] and int(dut.ab_a_addr_o.value) == b["a"]
            assert b["b"] is None or int(dut.ab_b_addr_o.value) == b["b"]
            assert int(dut.ab_valid_o.value)
            assert ready_beats > b["w"], "a beat before its codes are there"
            last = model.issued(b, t)
            busy_until = max(busy_until, last + 6)
            if b["tile_end"] and b["tile"]["free_row"] and not b["tile"]["unit_scale"]:
                row_credit.append(last)
            if b["strip"] is not None:
                strip_times.append(last + 4)
        waiting = offered and not int(dut.tile_ready_o.value)
        if offered and not waiting:
            tile = tiles.popleft()
            assert int(dut.beats_release_o.value) and int(dut.beats_count_o.value) == tile["nw"]
            assert ready_beats >= tile["nw"], "a tile ends before all of its beats are there"
            ready_beats -= tile["nw"]
            skipped = tile["nw"] == 0 or not (int(dut.beat_valid_o.value))
            if skipped:
                if tile["free_row"] and not tile["unit_scale"] and tile["nw"]:
                    row_credit.append(t)
                if tile["last"]:
                    strip_times.append(t)
        else:
            assert not int(dut.beats_release_o.value)
        if filled:
            ready_beats += 1
            fill[0] -= 1
            if fill[0] == 0:
                fill.popleft()
        # what earlier beats cause now
        now = model.at.pop(t, {})
        now.pop("op", None)
        for name in ("beat1_valid_o", "op1_valid_o", "op2_valid_o"):
            now.setdefault(name, 0)
        for name in ("tap_valid_o", "tap_clear_o"):
            for k in range(len(TAPS)):
                now.setdefault((name, k), 0)
        for name, value in now.items():
            if isinstance(name, tuple):
                port, p = name
                raw = int(getattr(dut, port).value)
                got = (
                    raw >> p & 1
                    if port.startswith(("tap_", "side_", "packed_"))
                    else raw >> (2 * p) & 3
                    if port == "mode_o"
                    else window(raw, p)
                )
                assert got == value, f"cycle {t}: {port}[{p}]"
            else:
                raw = getattr(dut, name).value
                got = raw.to_signed() if name == "group_sum_o" else int(raw)
                assert got == value, f"cycle {t}: {name} is {got}, not {value}"
        if t <= busy_until:
            assert int(dut.ce_o.value), "the array stops while something is under way"
        if int(dut.row_release_o.value):
            assert row_credit.popleft() <= t, "a scale row is freed before it is read"
            rows_released += 1
        if int(dut.strip_valid_o.value):
            assert strip_times and strip_times.popleft() < t, "a strip is complete before its last write"
            want, half = model.strips.popleft()
            got = TYPES.unpack("strip_t", int(dut.strip_o.value))
            assert got == want and (int(dut.strip_half_o.value) == half or want["empty"] or not got["slots"]), "strip"
            open_strips += 1
            assert open_strips <= 2, "more strips than halves"
            releases.append(t + rng.randrange(1, 60))
        if not tiles and not mops and not model.strips and int(dut.idle_o.value):
            break
    assert not mops and not tiles and not model.beats and not model.strips and not headers and not masks
    assert rows_released == rows_wanted and not row_credit
