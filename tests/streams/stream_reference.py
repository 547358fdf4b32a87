"""A slow unpacker written from docs/streams.md alone, bit by bit: it shares no code with flightllm.streams."""

from __future__ import annotations

import struct
from math import ceil

import numpy as np

WIDTH_OF = [2, 3, 4, 5, 6, 8]
N_OF = [16, 8, 4, 2]


class BitReader:
    """Reads little-endian bits of one channel's stream in order."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0  # in bits

    def take(self, bits: int) -> int:
        value = 0
        for i in range(bits):
            value |= (self.data[self.at // 8] >> (self.at % 8) & 1) << i
            self.at += 1
        return value

    def signed(self, bits: int) -> int:
        value = self.take(bits)
        return value - (1 << bits) if value >> (bits - 1) else value

    def align(self, size: int) -> None:
        """Skip to a multiple of `size` bytes; what is skipped must be zero."""
        while self.at % (8 * size):
            assert self.take(1) == 0, "padding is not zero"

    def fp32(self) -> float:
        return struct.unpack("<f", struct.pack("<I", self.take(32)))[0]


def read_channel(data: bytes, slots: int, k: int, group: int, fmt: int | None, bias: bool, vpus: int, m: int):
    """One channel: (W' int [slots, k padded to 16], rho [slots], bias [slots])."""
    padded = ceil(k / 16) * 16
    weights = np.zeros((slots, padded), np.int64)
    rhos, biases = np.zeros(slots, np.float32), np.zeros(slots, np.float32)
    r = BitReader(data)
    for first in range(0, slots, vpus * m):
        count = min(vpus * m, slots - first)
        blocks = ceil(padded / 128)
        table: list[list[int]] = [[]]
        if fmt is None:
            while True:
                byte = r.take(8)
                assert byte < 0x80
                table[-1].append(byte)
                if not byte & 0x40:
                    if len(table) == blocks:
                        break
                    table.append([])
            r.align(8)
        else:
            table = [[fmt]] * blocks
        for array, there in ((rhos, True), (biases, bias)):
            if there:
                for s in range(count):
                    array[first + s] = r.fp32()
                r.align(8)
        for block in range(blocks):
            for byte in table[block]:
                read_entry(r, weights, first, count, block, padded, byte, group, vpus, m)
    r.align(64)
    assert r.at == 8 * len(data), "the stream is longer than it should be"
    return weights, rhos, biases


def read_entry(r, weights, first, count, block, padded, byte, group, vpus, m) -> None:
    bits, n, affine = WIDTH_OF[byte & 7], N_OF[byte >> 3 & 3], bool(byte & 0x20)
    share = 16 // n
    assert m >= share and not (affine and share > 1)
    columns = min(128, padded - 128 * block)
    groups, down = ceil(columns / group), ceil(count / (share * vpus))
    scales = {}
    for name in ("sigma", "mu"):
        if name == "mu" and not affine:
            continue
        for jj in range(down):
            for g in range(groups):
                for i in range(share):
                    for v in range(vpus):
                        value = r.take(8) if name == "sigma" else r.signed(12)
                        slot = (jj * share + i) * vpus + v
                        assert slot < count or value == 0
                        scales[name, slot, g] = value
        r.align(8)
    for jj in range(down):
        present = [v for v in range(vpus) if jj * share * vpus + v < count]
        for window in range(columns // 16):
            codes = {v: [r.signed(bits) for _ in range(16)] for v in present}
            places = {v: list(range(16)) for v in present}
            if n != 16:
                r.align(8)
                places = {v: [r.take(4) for _ in range(16)] for v in present}
            r.align(8)
            for v in present:
                for i in range(share):
                    slot = (jj * share + i) * vpus + v
                    code, place = codes[v][i * n : (i + 1) * n], places[v][i * n : (i + 1) * n]
                    assert place == sorted(set(place)), "indices ascend"
                    if slot >= count:
                        assert not any(code) and place == list(range(n))
                        continue
                    for c, x in zip(code, place, strict=True):
                        column = block * 128 + window * 16 + x
                        sigma = scales["sigma", slot, (window * 16) // group]
                        weights[first + slot, column] += sigma * c
            if affine:
                for v in present:
                    mu = scales["mu", jj * vpus + v, (window * 16) // group]
                    at = block * 128 + window * 16
                    weights[first + jj * vpus + v, at : at + 16] += mu


def read_streams(stream: np.ndarray, rows: int, k: int, group: int, fmt: int | None, bias: bool, vpus: int, m: int):
    """All channels: (W' int64 [rows, k], rho, bias), rows striped as docs/machine.md says."""
    channels = len(stream)
    slots = ceil(rows / channels)
    parts = [read_channel(stream[c].tobytes(), slots, k, group, fmt, bias, vpus, m) for c in range(channels)]
    weights = np.array([parts[r % channels][0][r // channels, :k] for r in range(rows)])
    rho = np.array([parts[r % channels][1][r // channels] for r in range(rows)])
    biases = np.array([parts[r % channels][2][r // channels] for r in range(rows)])
    return weights, rho, biases if bias else None
