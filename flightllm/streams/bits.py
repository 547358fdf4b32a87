"""Packing small two's complement codes into bits, least significant bit first: eight codes at a time in a 64-bit word.

Eight codes of b bits are exactly b bytes, so a word of eight int8 codes is folded in three steps (pairs, quads, all
eight) into its low 8*b bits and its low b bytes are kept.
"""

from __future__ import annotations

import sys

import numpy as np

_CHUNK = 1 << 15  # words of a chunk: two buffers of it stay in the second-level cache

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("flightllm.streams needs a little-endian machine")


def _lanes(value: int, lane: int) -> np.uint64:
    """`value` repeated in every lane of `lane` bits of a 64-bit word."""
    return np.uint64(sum(value << i for i in range(0, 64, lane)))


def _items(words: np.ndarray, size: int) -> np.ndarray:
    """The low `size` bytes of each 64-bit word as items of one void type (copied as one piece each)."""
    view = np.dtype({"names": ["low"], "formats": [f"V{size}"], "offsets": [0], "itemsize": 8})
    return words.view(view)["low"]


def pack_codes(q: np.ndarray, bits: int) -> np.ndarray:
    """Codes int8 [..., n] (n a multiple of 8), each within `bits` bits, to bytes uint8 [..., n * bits / 8]."""
    q = np.ascontiguousarray(q, dtype=np.int8)
    shape = (*q.shape[:-1], q.shape[-1] // 8 * bits)
    if bits == 8:
        return q.view(np.uint8)
    words = q.reshape(-1).view(np.uint64)
    out = np.empty(len(words), f"V{bits}")
    x, y = np.empty((2, min(_CHUNK, max(len(words), 1))), np.uint64)
    for start in range(0, len(words), _CHUNK):
        part = words[start : start + _CHUNK]
        a, b = x[: len(part)], y[: len(part)]
        np.bitwise_and(part, _lanes((1 << bits) - 1, 8), out=a)
        for width in (bits, 2 * bits, 4 * bits):
            lane = 16 * width // bits  # each lane holds two fields of `width` bits, half a lane apart
            np.right_shift(a, np.uint64(lane // 2 - width), out=b)
            np.bitwise_and(b, _lanes(((1 << width) - 1) << width, lane), out=b)
            np.bitwise_and(a, _lanes((1 << width) - 1, lane), out=a)
            np.bitwise_or(a, b, out=a)
        out[start : start + len(part)] = _items(a, bits)
    return out.view(np.uint8).reshape(shape)


def unpack_codes(data: np.ndarray, bits: int) -> np.ndarray:
    """Bytes uint8 [..., m] (m a multiple of `bits`) to codes int8 [..., 8 * m / bits], sign extended."""
    data = np.ascontiguousarray(data, dtype=np.uint8)
    if bits == 8:
        return data.view(np.int8)
    count = data.size // bits
    source = data.reshape(-1).view(f"V{bits}")
    words = np.empty(count, np.uint64)
    x, y = np.empty((2, min(_CHUNK, max(count, 1))), np.uint64)
    sign = _lanes(1 << (bits - 1), 8)
    for start in range(0, count, _CHUNK):
        stop = min(start + _CHUNK, count)
        a, b = x[: stop - start], y[: stop - start]
        a[...] = 0
        _items(a, bits)[...] = source[start:stop]
        for width in (4 * bits, 2 * bits, bits):
            lane = 16 * width // bits
            np.left_shift(a, np.uint64(lane // 2 - width), out=b)
            np.bitwise_and(b, _lanes(((1 << width) - 1) << (lane // 2), lane), out=b)
            np.bitwise_and(a, _lanes((1 << width) - 1, lane), out=a)
            np.bitwise_or(a, b, out=a)
        np.bitwise_xor(a, sign, out=words[start:stop])
    codes = words.view(np.int8)
    codes -= np.int8(1 << (bits - 1))
    return codes.reshape(*data.shape[:-1], data.shape[-1] // bits * 8)


def pack12(values: np.ndarray) -> np.ndarray:
    """Signed 12-bit values int16 [..., n] (n even) to bytes uint8 [..., n * 3 / 2]."""
    u = values.astype(np.uint16) & np.uint16(0xFFF)
    lo, hi = u[..., 0::2], u[..., 1::2]
    out = np.empty((*values.shape[:-1], values.shape[-1] // 2, 3), np.uint8)
    out[..., 0] = lo & 0xFF
    out[..., 1] = (lo >> 8) | ((hi & 0xF) << 4)
    out[..., 2] = hi >> 4
    return out.reshape(*values.shape[:-1], -1)


def unpack12(data: np.ndarray) -> np.ndarray:
    """Inverse of `pack12`: bytes uint8 [..., 3n / 2] to int16 [..., n]."""
    b = data.reshape(*data.shape[:-1], -1, 3).astype(np.uint16)
    out = np.empty((*b.shape[:-1], 2), np.uint16)
    out[..., 0] = b[..., 0] | (b[..., 1] & 0xF) << 8
    out[..., 1] = b[..., 1] >> 4 | b[..., 2] << 4
    signed = (out ^ np.uint16(0x800)).astype(np.int16) - np.int16(0x800)
    return signed.reshape(*data.shape[:-1], -1)
