"""The special-function unit against the functional executor: VB and AB bit for bit after random programs."""

from __future__ import annotations

import ctypes
import struct
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from dispatch import DISPATCH_WORDS, dispatch

from flightllm.config.arch import ArchConfig
from flightllm.executors.functional.core import Core
from flightllm.executors.functional.weights import WeightCache
from flightllm.isa.fields import Instruction
from flightllm.isa.special import ACT, ADD, NORM, QUANT, ROPE, SOFTMAX
from flightllm.sim.sources import rtl_sources
from flightllm.sim.verilate import build

HERE = Path(__file__).parent
VB, AB = 1 << 16, 1 << 13


@cache
def library(lanes: int) -> ctypes.CDLL:
    sources = rtl_sources("common", "fp", "special")
    lib = ctypes.CDLL(str(build("special_unit", sources, [HERE / "special_tb.cpp"], {"Lanes": lanes})))
    lib.special_run.restype = ctypes.c_int64
    return lib


def word(x: float) -> int:
    return struct.unpack("<I", struct.pack("<f", x))[0]


class Program:
    """Random instructions on a core with random contents."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        arch = ArchConfig(channels=4, vb_elements=VB, ab_windows=AB, mb_bytes=4096)
        self.core = Core(arch, np.zeros((4, 64), np.uint8), 0, 0, WeightCache(0))
        self.core.vb[:] = self.rng.standard_normal(VB) * 2.0 ** self.rng.integers(-12, 6, VB)
        self.core.vb[self.rng.random(VB) < 0.01] = 0
        self.core.ab[:] = self.rng.integers(-127, 128, self.core.ab.shape)
        self.core.mb[:] = self.rng.integers(0, 256, self.core.mb.size)
        self.program: list[Instruction] = []
        self.vb_at, self.ab_at = 0, 0

    def place(self, elements: int) -> int:
        """A fresh stretch of VB, in words."""
        at = self.vb_at
        self.vb_at += -(-elements // 16)
        assert 16 * self.vb_at <= VB
        return at

    def common(self, length: int, quant: str, n0: int, n1: int) -> dict:
        row = -(-length // 16) + int(self.rng.integers(0, 2))
        ab_row = -(-length // 16) * (2 if quant == "dual" else 1) + 1
        src = self.place(16 * row * n0 * n1)
        dst = src if self.rng.integers(3) == 0 else self.place(16 * row * n0 * n1)
        ab = self.ab_at
        self.ab_at += ab_row * n0 * n1
        assert self.ab_at <= AB
        return {
            "src": src, "src_s0": row * n1, "src_s1": row, "dst": dst, "dst_s0": row * n1, "dst_s1": row, "n0": n0,
            "n1": n1, "len": length, "quant": quant, "ab": ab, "ab_s0": ab_row * n1, "ab_s1": ab_row,
            "wait": int(self.rng.integers(16)), "signal": int(self.rng.integers(16)),
        }  # fmt: skip

    def add(self, kind: str, quant: str, length: int, n0: int, n1: int) -> None:
        fields = self.common(length, quant, n0, n1)
        row = fields["src_s1"]
        if kind in ("rms", "layer"):
            more = {
                "gamma": self.place(length),
                "beta": self.place(length),
                "inv_n": word(1 / length),
                "eps": word(1e-5),
            }
            self.program.append(NORM(**fields, kind=kind, **more))
        elif kind == "rope":
            self.program.append(ROPE(**fields, table=self.place(16 * row * n0), table_s0=row))
        elif kind == "add":
            self.program.append(ADD(**fields, other=self.place(16 * row * n0 * n1), other_s0=row * n1, other_s1=row))
        else:
            gated = int(self.rng.integers(2))
            gate = {"gate": self.place(16 * row * n0 * n1), "gate_s0": row * n1, "gate_s1": row} if gated else {}
            self.program.append(ACT(**fields, kind=kind, gated=gated, **gate))

    def softmax(self, length: int, n0: int, n1: int) -> None:
        r = self.rng
        row, ab_row = -(-length // 16) + 1, -(-length // 16) * 2 + 1
        ab = self.ab_at
        self.ab_at += ab_row * n0 * n1
        group = int(r.integers(0, n1 + 1))
        scales = 16 * row * (-(-n1 // group) if group else 1)
        src, ks, vs = self.place(16 * row * n0 * n1), self.place(scales), self.place(scales)
        for at in (ks, vs):
            self.core.vb[16 * at : 16 * at + scales] = np.abs(self.core.vb[16 * at : 16 * at + scales]) + 0.01
        self.program.append(
            SOFTMAX(
                len=length, sink=int(r.integers(0, 3)), first=int(r.integers(0, (length - 1) // 64 + 2)),
                mask=int(r.integers(0, 4000)), masked=int(r.integers(0, 2)), src=src, src_s0=row * n1, src_s1=row, ks=ks,
                vs=vs, n0=n0, n1=n1, qpos=max(0, length - n0), window=int(r.choice([0, 1, 20, 100])),
                sink_tokens=int(r.choice([0, 4])), alpha=word(0.18), ab=ab, ab_s0=ab_row * n1, ab_s1=ab_row,
                kv_s=row, group=group,
            )
        )  # fmt: skip

    def run(self, lanes: int, slow: bool = False, seed: int = 1) -> int:
        """Cycles; asserts that both executions agree."""
        vb, ab = self.core.vb.copy(), self.core.ab.copy()
        ops = b"".join(dispatch(i, self.core.regs) for i in self.program)
        mb = np.zeros(1 << 16, np.uint8)
        mb[: self.core.mb.size] = self.core.mb
        with np.errstate(all="ignore"):
            for inst in self.program:
                inst.execute(self.core, inst.resolve(self.core.regs))
        cycles = library(lanes).special_run(
            ops, DISPATCH_WORDS, len(self.program), ctypes.c_void_p(vb.ctypes.data), ctypes.c_uint64(VB // 16),
            ctypes.c_void_p(ab.ctypes.data), ctypes.c_uint64(AB), ctypes.c_void_p(mb.ctypes.data), int(slow), seed,
            ctypes.c_int64(200_000),
        )  # fmt: skip
        assert cycles > 0, f"the testbench stopped with {cycles}"
        got, want = vb.view(np.uint32), self.core.vb.view(np.uint32)
        bad = np.flatnonzero(got != want)
        assert not bad.size, f"VB: {bad.size} differ, first {bad[:8]}: {vb[bad[:8]]} != {self.core.vb[bad[:8]]}"
        bad = np.flatnonzero((ab != self.core.ab).any(axis=1))
        assert not bad.size, f"AB: {bad.size} windows differ, first {bad[:6]}: {ab[bad[0]]} != {self.core.ab[bad[0]]}"
        return cycles


@pytest.mark.parametrize("quant", QUANT)
@pytest.mark.parametrize("kind", ["copy", "relu", "silu", "gelu", "add", "rms", "layer", "rope"])
def test_each_kind(kind, quant):
    p = Program(seed=QUANT.index(quant))
    for length in (64, 80, 24):
        p.add(kind, quant, length, n0=2, n1=2)
    p.run(lanes=8)


@pytest.mark.parametrize("seed", range(8))
def test_softmax(seed):
    p = Program(seed)
    for _ in range(4):
        p.softmax(int(p.rng.integers(1, 500)), n0=int(p.rng.integers(0, 4)), n1=int(p.rng.integers(1, 3)))
    p.run(lanes=8, slow=bool(seed % 2))


@pytest.mark.parametrize("lanes", [4, 16])
@pytest.mark.parametrize("seed", range(4))
def test_random_programs(lanes, seed):
    p = Program(seed)
    kinds = ["copy", "relu", "silu", "gelu", "add", "rms", "layer", "rope"]
    for _ in range(6):
        length = 8 * int(p.rng.integers(1, 60))
        if p.rng.integers(4) == 0:
            p.softmax(length, n0=2, n1=2)
        else:
            p.add(
                str(p.rng.choice(kinds)),
                str(p.rng.choice(QUANT)),
                length,
                int(p.rng.integers(0, 3)),
                int(p.rng.integers(1, 3)),
            )
    p.run(lanes, slow=bool(seed % 2), seed=seed)


KINDS = ["copy", "relu", "silu", "gelu", "add", "rms", "layer", "rope"]
#: zeros, subnormals, the ends of the normal range, infinities, NaNs, the smallest magnitude that is quantised
CORNERS = [0x00000000, 0x00000001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x3F800000]
CORNERS += [0x42FC0000, 0x0D800000, 0x0D7FFFFF]


@pytest.mark.parametrize("kind", KINDS)
def test_corner_values(kind):
    """Few and many words that are no ordinary numbers, in every operand."""
    corners = np.array(CORNERS + [w | 0x80000000 for w in CORNERS], np.uint32)
    for share in (0.002, 0.1):
        p = Program(seed=11)
        words = p.core.vb.view(np.uint32)
        chosen = p.rng.random(VB) < share
        words[chosen] = p.rng.choice(corners, chosen.sum())
        for quant in QUANT:
            for length in (2, 24, 80, 300):
                p.add(kind, quant, length, n0=2, n1=2)
        p.run(lanes=16)


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_lengths(kind, slow):
    """Lengths around words and around the 256 accumulators; none at all."""
    p = Program(seed=3)
    for length in (0, 1, 2, 15, 16, 17, 30, 34, 255, 256, 257, 510, 4096):
        if (kind == "rope" and length % 2) or (kind in ("rms", "layer") and length == 0):
            continue
        p.add(kind, str(p.rng.choice(QUANT)), length, n0=1, n1=1 if length == 4096 else 2)
    p.run(lanes=16, slow=slow)


def test_nothing_to_do():
    """No vectors, no keys, counts below zero: tokens are given, and keys without a score give empty rows."""
    p = Program(seed=6)
    p.core.regs[9] = -20
    for fields in ({"len": 0}, {"len": 10, "len_r": 9}, {"n0": 1, "n0_r": 9}, {"n1": 0}):
        p.softmax(64, n0=2, n1=2)
        p.program[-1].values.update(fields)
    for fields in ({"n0": 0}, {"n0": 20, "n0_r": 9}, {"n1": 0}):
        p.add("rms", "a8", 64, n0=2, n1=2)
        p.program[-1].values.update(fields)
    p.run(lanes=16)


@pytest.mark.parametrize("position", [-3, -1, 0, 30])
def test_queries_that_see_few_keys(position):
    """Queries in front of the keys see none of them."""
    p = Program(seed=5)
    p.core.regs[9] = position
    for length in (40, 64, 300):
        p.softmax(length, n0=3, n1=2)
        p.program[-1].values.update(qpos=0, qpos_r=9)
    p.run(lanes=16)


@pytest.mark.parametrize("field", ["src", "table"])
@pytest.mark.parametrize("length", [8, 24, 40, 72])
def test_rope_at_the_end_of_the_vector_buffer(length, field):
    """Heads whose half is no multiple of 16 read nothing behind their row."""
    p = Program(seed=8)
    p.add("rope", "a8", length, n0=1, n1=1)
    p.program[-1].values[field] = VB // 16 - -(-length // 16)
    p.run(lanes=16)


#: cycles behind a pass, for its pipeline, maxima and scalars, and more behind one that adds up (docs/rtl.md); two to spare of each
BEHIND_PASS, BEHIND_SUM = 52 + 2, 40 + 2
#: and one that goes through all stages
BEHIND_GELU = 13


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_a_cycle(kind):
    """16 lanes: 256 words take 256 cycles a pass, and what stands behind it."""
    sums = {"rms": 1, "layer": 2}.get(kind, 0)
    for quant, more in (("none", 0), ("a8", 1)):
        p = Program(seed=1)
        p.add(kind, quant, 4096, n0=1, n1=1)
        passes = sums + 1 + more
        more_cycles = sums * BEHIND_SUM + (BEHIND_GELU if kind == "gelu" else 0)
        assert p.run(lanes=16) <= passes * (256 + BEHIND_PASS) + more_cycles


def test_softmax_of_512_keys():
    """Three passes of 32 words, one of which adds up."""
    p = Program(seed=1)
    p.softmax(512, n0=1, n1=1)
    p.program[-1].values.update(sink=0, first=0, masked=0, window=0)
    assert p.run(lanes=16) <= 3 * (32 + BEHIND_PASS) + BEHIND_SUM
