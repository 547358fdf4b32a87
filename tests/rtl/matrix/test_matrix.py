"""The matrix unit against the functional executor: every format, token count and kind of instruction, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from matrix_bench import Bench
from stream_cases import random_matrix

from flightllm.isa.blocks import key_slots
from flightllm.isa.load import LDK
from flightllm.isa.matrix import MM, MMPV, MMQK
from flightllm.streams import EntryFormat
from flightllm.streams.formats import ABSENT, WIDTHS
from flightllm.streams.weights import pack, stream_format

#: channels, VPUs, VPUs of a chain: one lane group per word, several, more channels than a word has elements; each with one and two VPUs a chain
SHAPES = [(4, 8, 1), (1, 12, 1), (16, 4, 1), (4, 8, 2), (1, 12, 2), (16, 4, 2), (2, 16, 2)]


class Program:
    """Random instructions whose operands do not overlap."""

    def __init__(self, channels: int, vpus: int, seed: int, chain_vpus: int = 1) -> None:
        self.bench = Bench(channels, vpus, chain_vpus, seed=seed, vb_elements=1 << 16, ab_windows=1 << 13)
        self.rng = self.bench.rng
        self.ab = 3
        self.program = []

    def rows(self, count: int, length: int, dual: bool) -> int:
        """Address of `count` activation rows; their distance is in `row`."""
        at, self.row = self.ab, -(-length // 16) * (1 + dual) + 2
        self.bench.rows(at, count, length, self.row, dual)
        self.ab += self.row * count
        return at

    def mm(self, formats, k, group, m, tokens, bias=False, accumulate=False, dual=False) -> None:
        """formats: uint8 [rows, blocks, passes]."""
        b = self.bench
        matrix = random_matrix(self.rng, len(formats), k, group, formats, bias)
        fmt = stream_format(matrix, b.channels, b.vpus, m)
        b.weights(pack(matrix, b.channels, b.vpus, m))
        slots = -(-len(formats) // b.channels)
        self.program.append(
            MM(
                ab=self.rows(tokens, k, dual), ab_row=self.row, tokens=tokens, k=k, slots=slots, dst=5,
                dst_row=-(-slots * b.channels // 16) + 1, format=fmt or 0, table=int(fmt is None), group=str(group),
                rows_per_vpu=str(m), bias=int(bias), accumulate=int(accumulate), dual=int(dual),
                wait=int(self.rng.integers(16)), signal=int(self.rng.integers(16)),
            )
        )  # fmt: skip

    def uniform(self, fmt: EntryFormat, rows: int, k: int, **more) -> None:
        self.mm(np.broadcast_to(np.uint8(fmt.byte), (rows, -(-k // 128), 1)), k, **more)

    def mixed(self) -> None:
        """Formats that change between granules, up to two passes."""
        r, m = self.rng, 8
        rows, k = int(r.integers(1, 300)), int(r.choice([16, 48, 100, 130, 256, 304]))
        menu = [EntryFormat(4), EntryFormat(8, 2), EntryFormat(2, 16, True), EntryFormat(3, 4), EntryFormat(6, 8)]
        granule = self.bench.channels * self.bench.vpus * m
        formats = np.array([f.byte for f in menu], np.uint8)[r.integers(0, 5, (-(-rows // granule), -(-k // 128), 2))]
        formats[..., 1][r.random(formats.shape[:2]) < 0.4] = ABSENT
        flags = {name: bool(r.integers(2)) for name in ("bias", "accumulate", "dual")}
        group, tokens = int(r.choice([32, 64, 128])), int(r.integers(0, 6))
        self.mm(np.repeat(formats, granule, axis=0)[:rows], k, group, m, tokens, **flags)

    def attention(self) -> None:
        """MMQK or MMPV with windows, sinks and masks."""
        r, b = self.rng, self.bench
        length = int(r.integers(1, 400))
        keys = {
            "len": length, "sink": int(r.integers(0, 3)), "first": int(r.integers(0, (length - 1) // 64 + 2)),
            "mask": int(r.integers(0, 4000)), "masked": int(r.integers(0, 2)),
        }  # fmt: skip
        bits, n0, n1, dual = int(r.choice([8, 4])), int(r.integers(0, 4)), int(r.integers(1, 4)), int(r.integers(0, 2))
        score = bool(r.integers(2))
        d = int(r.choice([16, 32, 48, 64, 80, 128]))
        slots = -(-d // b.channels)
        row_slots = slots + (slots % 2 if bits == 4 else 0)
        unit = key_slots(b.channels) * d * bits // 8 if score else row_slots * 2 * bits
        b.keys(LDK(**keys, kind="K" if score else "V", addr=0, unit_bytes=unit))
        ab = self.rows(n0 * n1, d if score else length, bool(dual))
        out = -(-(length + b.channels) // 16) + 1 if score else -(-slots * b.channels // 16)
        more = {"k": d} if score else {"slots": slots, "row_slots": row_slots}
        self.program.append(
            (MMQK if score else MMPV)(
                **keys, ab=ab, ab_s0=self.row * n1, ab_s1=self.row, n0=n0, n1=n1, bits=str(bits),
                dst=int(r.integers(0, 20)), dst_s0=out * n1, dst_s1=out, dual=dual, **more,
                wait=int(r.integers(16)), signal=int(r.integers(16)),
            )
        )  # fmt: skip

    def values(self, d: int, bits: int, length: int, n0: int, n1: int) -> None:
        """MMPV over all keys."""
        b = self.bench
        slots = -(-d // b.channels)
        keys = {"len": length, "first": 0, "sink": 0, "masked": 0}
        b.keys(LDK(**keys, kind="V", addr=0, unit_bytes=slots * 2 * bits))
        out = -(-slots * b.channels // 16)
        self.program.append(
            MMPV(
                **keys, ab=self.rows(n0 * n1, length, True), ab_s0=self.row * n1, ab_s1=self.row, n0=n0, n1=n1,
                bits=str(bits), dst=3, dst_s0=out * n1, dst_s1=out, dual=1, slots=slots, row_slots=slots,
            )
        )  # fmt: skip

    def run(self, slow: bool = False):
        return self.bench.run(self.program, slow)


@pytest.mark.parametrize("chain_vpus", [1, 2])
@pytest.mark.parametrize("tokens", [1, 2, 5])
@pytest.mark.parametrize("bits", WIDTHS)
def test_dense_widths(bits, tokens, chain_vpus):
    p = Program(4, 8, bits, chain_vpus)
    p.uniform(EntryFormat(bits, 16, bool(bits % 2)), rows=150, k=300, group=32, m=4, tokens=tokens)
    p.run()


@pytest.mark.parametrize("chain_vpus", [1, 2])
@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize("n", [8, 4, 2])
def test_sparse(n, group, chain_vpus):
    p = Program(4, 8, n, chain_vpus)
    p.uniform(EntryFormat(4, n), rows=300, k=272, group=group, m=8, tokens=3)
    p.run()


@pytest.mark.parametrize(("channels", "vpus", "chain_vpus"), SHAPES)
@pytest.mark.parametrize("seed", range(12))
def test_random_programs(channels, vpus, chain_vpus, seed):
    """Several instructions one after another, every second time with slow rings and busy buffers."""
    p = Program(channels, vpus, seed, chain_vpus)
    for _ in range(1 + seed % 4):
        p.mixed() if p.rng.integers(2) else p.attention()
    p.run(slow=bool(seed % 2))


@pytest.mark.parametrize("chain_vpus", [1, 2])
def test_matrix_mode_keeps_the_array_busy(chain_vpus):
    """A long dense tile in matrix mode: a beat in 95 % of the cycles or more."""
    p = Program(4, 8, 0, chain_vpus)
    p.uniform(EntryFormat(4, 16, True), rows=256, k=4096, group=32, m=8, tokens=16)
    cycles, (beats, *_rest) = p.run()
    assert beats == 8 * 256 * 8 * chain_vpus  # rows per VPU, windows, token pairs
    assert beats / cycles > 0.95


@pytest.mark.parametrize("chain_vpus", [1, 2])
def test_strips_are_drained_beside_the_next(chain_vpus):
    """Four strips, each half as long: the drain takes a cycle or little more from each token's row, and shows behind the last strip only."""
    p = Program(4, 8, 0, chain_vpus)
    p.uniform(EntryFormat(4, 16, True), rows=1024, k=2048, group=32, m=8, tokens=16)
    cycles, (beats, *_rest) = p.run()
    assert beats == 4 * 8 * 128 * 8 * chain_vpus
    assert beats / cycles > 0.95


@pytest.mark.parametrize("chain_vpus", [1, 2])
def test_matrix_vector_mode_keeps_the_port_busy(chain_vpus):
    """One token, dense 4-bit weights: the ring gives 95 % or more of what the port brings (8 words a cycle), with half the chains as well."""
    p = Program(4, 8, 0, chain_vpus)
    p.uniform(EntryFormat(4, 16, True), rows=512, k=4096, group=32, m=8, tokens=1)
    cycles, (beats, words, *_rest) = p.run()
    assert beats == 16 * 256
    assert words / 8 / cycles > 0.95


def test_a_beat_without_the_second_side_takes_one_run():
    """Rows for half of the VPUs: tokens in turn do not wait for codes that do not exist."""
    p = Program(4, 8, 0, chain_vpus=2)
    p.uniform(EntryFormat(4), rows=16, k=2048, group=32, m=1, tokens=4)
    _cycles, (beats, *_rest) = p.run()
    assert beats == 128 * 2


def test_a_lone_sparse_token_is_in_turn():
    """Two VPUs want two different activations of a window: both sides one after the other."""
    p = Program(4, 8, 0, chain_vpus=2)
    p.uniform(EntryFormat(4, 8), rows=64, k=2048, group=32, m=2, tokens=1)
    _cycles, (beats, *_rest) = p.run()
    assert beats == 128 * 2


@pytest.mark.parametrize("chain_vpus", [1, 2])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("d", [64, 128, 256])
def test_values_of_long_heads_on_one_channel(d, bits, chain_vpus):
    """16, 32 and 64 row beats a window of values."""
    p = Program(1, 4, d, chain_vpus)
    for _ in range(2):
        p.values(d, bits, length=100, n0=2, n1=2)
    p.run()
