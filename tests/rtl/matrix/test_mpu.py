"""An MPU from popped words to captured accumulators: every destination, width, kind of scale and way to drain; with two VPUs in a chain
beats for both sides and for each."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from player import Player
from structs import Structs

from flightllm.isa.blocks import KEY_SLOTS
from flightllm.sim.sources import rtl_sources

ENTRIES = 16
#: width index -> bits; 6: V cache in 4 bits, two row slots a byte
BITS = {0: 2, 1: 3, 2: 4, 3: 5, 4: 6, 5: 8, 6: 4}
V4 = 6
DENSE, EIGHT, FOUR, TWO = range(4)
#: cycles of a trial: words in, one window, its scale operation, the drain
PERIOD = 60
BEAT = 24


@cache
def structs() -> Structs:
    return Structs("matrix_pkg")


@cache
def mpu(vpus: int, chain_vpus: int) -> Player:
    a, window = (chain_vpus * ENTRIES).bit_length() - 1, (8 * 16, 8)
    ports = {
        "ce_i": 1, "pop_i": structs().bits("pop_t"), "pop_data_i": (16, 64), "beat_valid_i": 1, "beat_i": 4,
        "beat1_valid_i": 1, "beat1_width_i": 3, "beat1_sparse_i": 1, "beat1_side_i": 1, "win_a_i": window, "win_b_i": window,
        "mode_i": (8, 2), "side_i": (8, 1), "packed_i": (8, 1), "tap_valid_i": 4, "tap_last_i": 4, "tap_clear_i": 4, "scale_i": 6, "unit_scale_i": 1,
        "sigma_side_i": 2, "mu_side_i": 1,
        "op_n_index_i": 2, "op_node_i": 3, "group_sum_i": 18, "op1_valid_i": 1,
        "op1_affine_i": 1, "op1_lane_i": 1, "op1_first_i": 1, "op1_addr_i": (chain_vpus, a),
        "drain_addr_i": a, "capture_i": 2, "capture_dual_i": 1, "capture_lane_i": 1, "rho_row_i": 8,
    }  # fmt: skip
    outputs = {"capture_o": (vpus, 48), "rho_o": (4, 32), "bias_o": (4, 32)}
    sources = rtl_sources("matrix")
    wanted = (
        "matrix_pkg",
        "DSP48E2",
        "dsp_slice",
        "mac_dsp",
        "csd_cascade",
        "vpu",
        "scale_control",
        "vpu_scale",
        "mpu",
    )
    return Player(
        "mpu",
        [p for p in sources if p.stem in wanted],
        ports,
        outputs,
        {"Vpus": vpus, "ChainVpus": chain_vpus, "KeySlots": KEY_SLOTS, "Entries": ENTRIES},
    )


def field(raw: int, at: int, bits: int) -> int:
    """`bits` bits of a number, two's complement."""
    value = raw >> at & ((1 << bits) - 1)
    return value - ((value >> (bits - 1)) << bits)


class Script:
    """Inputs of a run: anything, with controls low, until something is asked for."""

    def __init__(self, vpus: int, chain_vpus: int, trials: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        n = trials * PERIOD + 8
        quiet = (
            "pop_i",
            "ce_i",
            "beat_valid_i",
            "beat1_valid_i",
            "tap_valid_i",
            "tap_clear_i",
            "op1_valid_i",
            "capture_i",
        )
        self.x = {}
        for name, (count, bits) in mpu(vpus, chain_vpus).inputs.items():
            if name in quiet:
                values = np.zeros((n, count), np.int64)
            else:
                values = (
                    self.rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), (n, count))
                    if bits > 1
                    else self.rng.integers(0, 2, (n, count))
                )
                values = np.maximum(values, -127) if name.startswith("win_") else values
            self.x[name] = values
        self.x["ce_i"][:] = 1

    def pop(self, t: int, dest: str, words: list[int], offset: int, index: int) -> None:
        kind = structs().enum("dest_e")[dest]
        self.x["pop_i"][t] = structs().pack("pop_t", valid=1, dest=kind, offset=offset, index=index, done=0)
        self.x["pop_data_i"][t, : len(words)] = np.array(words, np.uint64).view(np.int64)


@pytest.mark.parametrize("chain_vpus", [1, 2])
@pytest.mark.parametrize(("vpus", "trials"), [(4, 600), (12, 150)])
def test_trials(vpus, trials, chain_vpus):
    s = Script(vpus, chain_vpus, trials, seed=vpus)
    rng, x = s.rng, s.x
    words = lambda n: [int(w) for w in rng.integers(0, 1 << 64, n, np.uint64)]  # noqa: E731
    chains = vpus // chain_vpus
    places = chain_vpus * ENTRIES
    held = [None] * vpus  # captured last; None: nothing yet
    banks = np.zeros((2, chains, places), object)
    rows = {}
    want_capture, want_rows = [], []
    for k in range(trials):
        t, beat, row = k * PERIOD, int(rng.integers(16)), int(rng.integers(8))
        width, n_index = int(rng.integers(7)), int(rng.integers(4))
        bits = BITS[width]
        # words in: codes (or one lane's), indices, scales, offsets, rho or bias, in any order
        codes = np.zeros((vpus, 16), np.int64)
        writes = []
        lanes = width in (2, 5) and rng.random() < 0.5
        if lanes:  # keys: a window of KEY_SLOTS lanes at a time, the words repeated
            dest, per = ("DestKeys4", 1) if width == 2 else ("DestKeys8", 2)
            for v in range(0, vpus, KEY_SLOTS):
                data = words(KEY_SLOTS * per)
                for lane in range(KEY_SLOTS):
                    raw = sum(w << (64 * i) for i, w in enumerate(data[lane * per : (lane + 1) * per]))
                    codes[v + lane] = [field(raw, bits * i, bits) for i in range(16)]
                writes.append((dest, (data * 4)[:16], v, beat))
        else:
            data = words(2 * vpus)
            raw = sum(w << (64 * i) for i, w in enumerate(data))
            for v in range(vpus):
                for i in range(16):
                    at = ((v // 2) * 16 + i) * 8 + (v % 2) * 4 if width == V4 else (v * 16 + i) * bits
                    codes[v, i] = field(raw, at, bits)
            writes += [("DestCode", data[i : i + 16], i, beat) for i in range(0, len(data), 16)]
        data = words(vpus)
        index = np.array([[w >> (4 * i) & 15 for i in range(16)] for w in data])
        writes.append(("DestIndex", data, 0, beat))
        data = words(vpus)
        raw_sigma = sum(w << (64 * i) for i, w in enumerate(data))
        writes.append(("DestSigma", data, 0, row))
        data = words(3 * vpus // 2)
        raw_mu = sum(w << (64 * i) for i, w in enumerate(data))
        writes += [("DestMu", data[i : i + 16], i, row) for i in range(0, len(data), 16)]
        kind, at = ("DestRho", "DestBias")[int(rng.integers(2))], int(rng.integers(4 * vpus))
        rows[kind, at] = words(2)
        writes.append((kind, rows[kind, at], 0, at))
        writes.append(("DestDrop", words(16), 0, beat))
        assert len(writes) <= BEAT
        for i, j in enumerate(rng.permutation(len(writes))):
            s.pop(t + i, *writes[j])
        # a tile of one window: for both sides of the chains at once, or for one
        b = t + BEAT
        side = int(rng.integers(chain_vpus))
        both = chain_vpus == 2 and n_index == DENSE and bool(rng.integers(2))
        side = 0 if both else side
        x["beat_valid_i"][b], x["beat_i"][b] = 1, beat
        x["beat1_valid_i"][b + 1], x["beat1_width_i"][b + 1] = 1, width
        x["beat1_sparse_i"][b + 1] = n_index != DENSE
        if n_index != DENSE:
            x["beat1_side_i"][b + 1] = side
        else:
            index = np.tile(np.arange(16), (vpus, 1))
        windows = rng.integers(-127, 128, (2, 16))
        if both:
            windows[1] = windows[0]
        for p in range(8):
            x["win_a_i"][b + 2 + p, 16 * p : 16 * p + 16] = windows[0]
            x["win_b_i"][b + 2 + p, 16 * p : 16 * p + 16] = windows[1]
            x["mode_i"][b + 5 + p, p] = n_index
            x["packed_i"][b + 2 + p, p] = both
            if not both:
                x["side_i"][b + 2 + p, p] = side
        for node in range(4):
            x["tap_clear_i"][b + 6 + 2 * node] = x["tap_valid_i"][b + 7 + 2 * node] = 1 << node
            x["tap_last_i"][b + 7 + 2 * node] = 15
        # its scale operation: one row of it
        u, beat_of_row = b + 14, int(rng.integers(8))
        unit, affine, lane, first = (int(v) for v in rng.integers(0, 2, 4))
        q = 1 << n_index
        node, group, entry = int(rng.integers(q)), int(rng.integers(-2032, 2033)), rng.integers(0, places, chain_vpus)
        first |= k < places
        if k < places:
            entry[:], affine = k, 0
        x["scale_i"][u - 1], x["unit_scale_i"][u - 1] = 8 * row + beat_of_row, unit
        x["sigma_side_i"][u - 1] = 2 if both else 3 * side
        x["mu_side_i"][u - 1] = lane if both else side
        x["op_n_index_i"][u], x["op_node_i"][u] = n_index, node
        x["group_sum_i"][u] = group
        for name, value in (("valid", 1), ("affine", affine), ("lane", lane), ("first", first), ("addr", entry)):
            x[f"op1_{name}_i"][u + 1] = value
        part = slice(16 // q * node, 16 // q * (node + 1))
        for chain in range(chains):
            for bank in [lane] if affine else range(2):
                v = chain + chains * (bank if both else side)  # what this bank of the chain works for
                at_scale = beat_of_row * vpus + v
                sigma = 1 if unit else raw_sigma >> (8 * at_scale) & 255
                mu = field(raw_mu, 12 * at_scale, 12) if affine else 0
                p = int((windows[bank][index[v, part]] * codes[v, part]).sum())
                place = int(entry[bank % chain_vpus])
                old = 0 if first else banks[bank, chain, place]
                banks[bank, chain, place] = old + sigma * p + mu * group
        # and the drain: both sides, one, or none
        d, dual, which = u + 6, int(rng.integers(2)), int(rng.integers(2))
        read, capture = int(rng.choice(entry)), 1 if chain_vpus == 1 else int(rng.integers(4))
        x["drain_addr_i"][d] = read
        x["capture_i"][d + 1], x["capture_dual_i"][d + 1], x["capture_lane_i"][d + 1] = capture, dual, which
        a, c = banks[:, :, read]
        for sd in range(chain_vpus):  # side 1 has token lane 0 in bank b
            if capture >> sd & 1:
                held[sd * chains : (sd + 1) * chains] = list(128 * a + c if dual else (a, c)[which ^ sd])
        want_capture.append((d + 2, list(held)))

        x["rho_row_i"][d] = at
        want_rows.append((d + 1, [rows.get((name, at)) for name in ("DestRho", "DestBias")]))
    out = mpu(vpus, chain_vpus).run(signed=("capture_o",), **x)
    for k, (t, value) in enumerate(want_capture):
        for later in (t, t + 10):  # it stays until the next capture
            got = out["capture_o"][later].tolist()
            assert [g for g, v in zip(got, value, strict=True) if v is not None] == [
                v for v in value if v is not None
            ], f"trial {k}"
    for k, (t, pair) in enumerate(want_rows):
        for name, data in zip(("rho_o", "bias_o"), pair, strict=True):
            if data is not None:
                halves = [w >> (32 * i) & 0xFFFFFFFF for w in data for i in range(2)]
                assert out[name][t].tolist() == halves, f"trial {k}, {name}"
