"""Quantised GGUF tensors: their own grid where the machine can hold it, otherwise dequantised.

Block layouts are those of ggml (blocks of 32, super-blocks of 256). Each kept type is read as unsigned codes u of b bits with
w = d * u + m; `_centred` turns that into two's complement codes with d >= 0 (`ir.weights.Grid`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import gguf
import numpy as np

from flightllm.ir.weights import Grid, GridSpec

#: bytes of a block of each kept type, and its weights
BLOCK_BYTES = {"Q4_0": 18, "Q4_1": 20, "Q5_0": 22, "Q5_1": 24, "Q8_0": 34, "Q4_K": 144, "Q5_K": 176}
GROUP = 32

#: types that hold floating-point numbers
FLOATS = ("F32", "F16", "BF16")
#: kept type -> grid of its weights as a rule (a Q8_0 block with a negative scale makes it affine)
SPECS = {
    "Q4_0": GridSpec(4, GROUP, True),
    "Q4_1": GridSpec(4, GROUP, True),
    "Q5_0": GridSpec(5, GROUP, True),
    "Q5_1": GridSpec(5, GROUP, True),
    "Q8_0": GridSpec(8, GROUP, False),
    "Q4_K": GridSpec(4, GROUP, True),
    "Q5_K": GridSpec(5, GROUP, True),
}

Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def _f16(raw: np.ndarray) -> np.ndarray:
    """uint8 [..., 2] -> float32 [...]."""
    return np.ascontiguousarray(raw).view("<f2")[..., 0].astype(np.float32)


def _halves(raw: np.ndarray) -> np.ndarray:
    """16 bytes -> 32 codes: low nibbles, then high nibbles."""
    return np.concatenate([raw & 15, raw >> 4], axis=-1)


def _fifth_bits(raw: np.ndarray) -> np.ndarray:
    """4 bytes -> bit 4 of 32 codes."""
    return np.unpackbits(np.ascontiguousarray(raw), axis=-1, bitorder="little") << 4


def _q4_0(b: np.ndarray) -> Parts:
    d = _f16(b[..., :2])
    return _halves(b[..., 2:]), d, -8 * d


def _q4_1(b: np.ndarray) -> Parts:
    return _halves(b[..., 4:]), _f16(b[..., :2]), _f16(b[..., 2:4])


def _q5_0(b: np.ndarray) -> Parts:
    d = _f16(b[..., :2])
    return _halves(b[..., 6:]) | _fifth_bits(b[..., 2:6]), d, -16 * d


def _q5_1(b: np.ndarray) -> Parts:
    return _halves(b[..., 8:]) | _fifth_bits(b[..., 4:8]), _f16(b[..., :2]), _f16(b[..., 2:4])


def _k_scales(b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scales and minima [..., 8] of a super-block: 6-bit integers, packed in 12 bytes, times fp16 d and dmin."""
    d, dmin, packed = _f16(b[..., :2]), _f16(b[..., 2:4]), b[..., 4:16]
    low, middle, high = packed[..., :4], packed[..., 4:8], packed[..., 8:]
    scale = np.concatenate([low & 63, (high & 15) | (low >> 6) << 4], axis=-1)
    minimum = np.concatenate([middle & 63, (high >> 4) | (middle >> 6) << 4], axis=-1)
    return d[..., None] * scale.astype(np.float32), dmin[..., None] * minimum.astype(np.float32)


def _k_codes(raw: np.ndarray) -> np.ndarray:
    """128 bytes -> [..., 8, 32]: each run of 32 bytes holds two groups, low then high nibbles."""
    run = raw.reshape(*raw.shape[:-1], 4, 1, 32)
    return np.concatenate([run & 15, run >> 4], axis=-2).reshape(*raw.shape[:-1], 8, 32)


def _q4_k(b: np.ndarray) -> Parts:
    d, m = _k_scales(b)
    return _k_codes(b[..., 16:]), d, -m


def _q5_k(b: np.ndarray) -> Parts:
    d, m = _k_scales(b)
    fifth = b[..., None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None] & 1
    return _k_codes(b[..., 48:]) | fifth << 4, d, -m


_READERS: dict[str, Callable[[np.ndarray], Parts]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
}


def read_grid(kind: str, data: np.ndarray, index: np.ndarray | None) -> Grid:
    """Grid of a tensor of type `kind`: data uint8 [rows, bytes of a row]; `index`: order of rows, None as stored."""
    data = np.asarray(data) if index is None else data[index]
    rows = len(data)
    blocks = data.reshape(rows, -1, BLOCK_BYTES[kind])
    if kind == "Q8_0":
        return _q8_0(blocks)
    u, d, m = _READERS[kind](blocks)
    spec = SPECS[kind]
    q, d, m = _centred(u.reshape(rows, -1, GROUP), d.reshape(rows, -1), m.reshape(rows, -1), spec.bits)
    return Grid(spec, q.reshape(rows, -1), d, m)


def _centred(u: np.ndarray, d: np.ndarray, m: np.ndarray, bits: int) -> Parts:
    """d * u + m with u in 0..2^b-1 -> |d| * q + m': q = u - half, or, where d is negative, the mirrored half - 1 - u."""
    half = 1 << (bits - 1)
    back = d < 0
    q = u.astype(np.int8) - np.int8(half)
    q = np.where(back[..., None], -1 - q, q)
    return q, np.abs(d), m + d * np.where(back, np.float32(half - 1), np.float32(half))


def _q8_0(blocks: np.ndarray) -> Grid:
    rows = len(blocks)
    d = _f16(blocks[..., :2])
    q = np.ascontiguousarray(blocks[..., 2:]).view(np.int8)
    m = np.zeros_like(d)
    back = d < 0
    spec = SPECS["Q8_0"]
    if back.any():  # d q = |d| (-1 - q) + |d|
        spec = GridSpec(8, GROUP, True)
        q, m, d = np.where(back[..., None], -1 - q, q), np.where(back, -d, m), np.abs(d)
    return Grid(spec, q.reshape(rows, -1), d, m)


@cache
def readable(kind: gguf.GGMLQuantizationType) -> bool:
    """Whether `dequantise` knows a type: tried on one block of zeros, since the gguf package has no list."""
    try:
        gguf.dequantize(np.zeros((1, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
    except NotImplementedError:
        return False
    return True


def dequantise(data: np.ndarray, kind: gguf.GGMLQuantizationType, index: np.ndarray | None) -> np.ndarray:
    """Any type that is `readable` -> float32 [rows, k]."""
    data = data if index is None else data[index]
    return np.asarray(gguf.dequantize(data, kind), np.float32)
