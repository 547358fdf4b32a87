"""Memory that random programs begin with: weight streams of all formats, tables, masks, and what they write."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from stream_cases import random_matrix

from flightllm.config.arch import ArchConfig
from flightllm.isa.blocks import key_slots, unit_positions
from flightllm.streams import EntryFormat
from flightllm.streams.formats import ABSENT
from flightllm.streams.weights import pack, stream_format

#: sizes of what programs work on: VB words (the last ones), AB windows, MB bytes
VB_WORDS, AB_WINDOWS, MB_BYTES = 512, 1312, 64


def ab_dump(channels: int) -> int:
    """Bytes per channel of all AB rows but a last one as keys of 256 codes."""
    return -(-(AB_WINDOWS // 16 - 1) // unit_positions("K", channels)) * 256 * key_slots(channels)


#: windows of a slot of AB: a set of rows that one instruction writes; the first four for straight code, the others inside loops
#: bytes per channel: places for constants by name, then what programs write
PROGRAM_BYTES = 0x8000
CONSTANTS = {
    "f32": 0x8000,
    "f16": 0x4000,
    "ids": 0x400,
    "mask": 0x400,
    "scales": 0x2000,
    "kv": 0x8000,
    "weights": 0x30000,
}
VARIABLES = {"kv cache": 0x8000, "stored": 0x8000}
#: columns of the matrices, so lengths of the activation rows
LENGTHS = (16, 32, 48, 64, 100, 128, 144, 256)
#: rows of the gather table and elements per channel of one
TABLE_ROWS, TABLE_SLOTS = 16, 40
CORNERS = (0, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x42FC0000, 0x0D800000, 0x0D7FFFFF)


@dataclass(frozen=True)
class Matrix:
    """A weight stream in memory: bytes per channel, and the operands of its MM."""

    addr: int
    nbytes: int
    k: int
    fields: dict[str, Any]


class Image:
    """Memory that all programs of a config begin with.

    Attributes:
        memory: uint8 [cores * channels, bytes]. places: name -> (first byte, bytes). constant: programs write from here on. dump:
        where the contents of VB, then of AB are stored at the end.
    """

    def __init__(self, arch: ArchConfig, corners: bool) -> None:
        self.arch, self.rng = arch, np.random.default_rng(5 + corners)
        self.places: dict[str, tuple[int, int]] = {}
        at = PROGRAM_BYTES
        for name, size in (CONSTANTS | VARIABLES).items():
            self.places[name] = (at, size)
            at += size
        self.constant = self.places[next(iter(VARIABLES))][0]
        self.dump = at
        c = arch.channels
        size = at + 64 * VB_WORDS // c + ab_dump(c) + 2 * AB_WINDOWS
        self.memory = self.rng.integers(0, 256, (arch.cores * c, -(-size // 64) * 64), np.uint8)
        self._fill(corners)
        self.matrices = self._weights()

    def view(self, name: str) -> np.ndarray:
        """uint8 [cores * channels, bytes] of a place."""
        at, size = self.places[name]
        return self.memory[:, at : at + size]

    def _fill(self, corners: bool) -> None:
        r = self.rng
        floats = self.view("f32").view("<f4")
        floats[:] = r.standard_normal(floats.shape) * 2.0 ** r.integers(-8, 6, floats.shape)
        if corners:
            words = floats.view(np.uint32)
            chosen = r.random(words.shape) < 0.01
            words[chosen] = r.choice(np.array([w | s for w in CORNERS for s in (0, 1 << 31)], np.uint32), chosen.sum())
        else:
            halves = self.view("f16").view("<f2")
            halves[:] = r.standard_normal(halves.shape)
        ids = self.view("ids").view("<i4")
        ids[:] = r.integers(0, TABLE_ROWS, ids.shape)
        scales = self.view("scales").view("<u2")
        scales[:] = np.float32(2.0 ** r.uniform(-9, -3, scales.shape)).astype("<f4").view(np.uint32) >> 16

    def _weights(self) -> list[Matrix]:
        out = []
        at, end = self.places["weights"][0], sum(self.places["weights"])
        for i in range(5 * len(LENGTHS)):
            k, m = LENGTHS[i % len(LENGTHS)], (1, 2, 4, 8)[int(self.rng.integers(4))]
            group, bias, rows = (32, 64, 128)[i % 3], bool(i % 2), int(self.rng.integers(1, 90))
            streams = []
            formats, seed = self._formats(rows, k, m), int(self.rng.integers(1 << 30))
            for core in range(self.arch.cores):  # the same formats, other weights
                matrix = random_matrix(np.random.default_rng(seed + core), rows, k, group, formats, bias)
                streams.append(pack(matrix, self.arch.channels, self.arch.vpus, m))
            fmt = stream_format(matrix, self.arch.channels, self.arch.vpus, m)
            data = np.concatenate(streams)
            assert at + data.shape[1] <= end, "the weights need more room"
            self.memory[:, at : at + data.shape[1]] = data
            fields = {
                "k": k, "slots": -(-rows // self.arch.channels), "format": fmt or 0, "table": int(fmt is None),
                "group": str(group), "rows_per_vpu": str(m), "bias": int(bias),
            }  # fmt: skip
            out.append(Matrix(at, data.shape[1], k, fields))
            at += data.shape[1]
        return out

    def _formats(self, rows: int, k: int, m: int) -> np.ndarray:
        r, blocks = self.rng, -(-k // 128)
        menu = [
            EntryFormat(b, n, n == 16 and bool(r.integers(2)))
            for b in (2, 3, 4, 5, 6, 8)
            for n in (16, 8, 4, 2)
            if n * m >= 16
        ]
        some = np.array([f.byte for f in menu], np.uint8)[r.permutation(len(menu))[:4]]
        if r.integers(2):
            return np.broadcast_to(some[0], (rows, blocks, 1))
        granule = self.arch.channels * self.arch.vpus * m
        formats = r.choice(some, (-(-rows // granule), blocks, 2))
        formats[..., 1][r.random(formats.shape[:2]) < 0.4] = ABSENT
        return np.repeat(formats, granule, axis=0)[:rows]


@cache
def image(arch: ArchConfig, corners: bool) -> Image:
    """The image of a config; corners: with words that are no ordinary numbers."""
    return Image(arch, corners)
