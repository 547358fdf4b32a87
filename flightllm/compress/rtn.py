"""Round to nearest: dense codes of one width per entry, on integer scales.

The scales are rounded first and the codes are chosen on the rounded scales, so that rounding a scale costs almost nothing.
"""

from __future__ import annotations

import numpy as np

from flightllm.compress.scales import least_rho, round_offsets, round_scales
from flightllm.streams.coded import CodedMatrix
from flightllm.streams.formats import EntryFormat

_CHUNK = 1 << 18  # weights worked on at a time: the temporaries stay in the cache
#: scales tried when a search is asked for, relative to the one that clips nothing
_SHRINK = (1.0, 0.93, 0.86, 0.79, 0.72, 0.65)


def quantise(weight: np.ndarray, bits: int, group: int, affine: bool, search: bool = False) -> CodedMatrix:
    """Round float32 [rows, k] to codes of `bits` bits in groups of `group` columns.

    search: try smaller scales that clip the largest weights, and keep the one with the least squared error in each group.
    """
    rows, k = weight.shape
    groups = -(-k // group)
    q = np.empty((rows, k), np.int8)
    sigma, rho = np.empty((rows, groups), np.uint8), np.empty(rows, np.float32)
    mu = np.zeros((rows, groups), np.int16) if affine else None
    step = max(1, _CHUNK // max(k, 1))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        w = grouped(weight[part], group)
        d, m = ideal_scales(w, bits, affine)
        if search:
            d, m = search_scales(w, d, m, bits)
        rho[part] = least_rho(d, m)
        # a scale rounded down clips; with many levels a clipped step costs more than a slightly coarser one
        sigma[part] = round_scales(d, rho[part], up=bits >= 5)
        if mu is not None and m is not None:
            mu[part] = round_offsets(m, rho[part])
        scale = sigma[part] * rho[part, None]
        offset = None if mu is None else mu[part] * rho[part, None]
        codes = round_codes(w, scale, offset, bits)
        q[part] = codes.reshape(len(codes), -1)[:, :k]
    return CodedMatrix.uniform(q, sigma, mu, rho, group, EntryFormat(bits, 16, affine))


def grouped(weight: np.ndarray, group: int) -> np.ndarray:
    """Weights [rows, k] as float32 [rows, groups, group]; the last group is filled with its last column, which moves no extreme."""
    rows, k = weight.shape
    groups = -(-k // group)
    if groups * group != k:
        weight = np.concatenate([weight, np.repeat(weight[:, -1:], groups * group - k, axis=1)], axis=1)
    return np.ascontiguousarray(weight, np.float32).reshape(rows, groups, group)


def ideal_scales(w: np.ndarray, bits: int, affine: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Scale d and offset m (None if symmetric) [rows, groups] under which no weight of w [rows, groups, group] is clipped.

    Codes are two's complement; an affine grid puts the smallest weight at -2^(b-1) and the largest at 2^(b-1) - 1.
    """
    half = 1 << (bits - 1)
    high, low = w.max(axis=2), w.min(axis=2)
    if affine:
        d = (high - low) / np.float32(2 * half - 1)
        return d, low + d * np.float32(half)
    return np.maximum(high / np.float32(half - 1), -low / np.float32(half)), None


def search_scales(
    w: np.ndarray, d: np.ndarray, m: np.ndarray | None, bits: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """The best of some shrunken scales for each group, by squared error; offsets keep the middle of the range in place."""
    best = np.full(d.shape, np.inf, np.float32)
    best_d, best_m = d.copy(), None if m is None else m.copy()
    for factor in _SHRINK:
        scale = d * np.float32(factor)
        # the middle of the grid is at m - d / 2: codes run from -2^(b-1) to 2^(b-1) - 1
        offset = None if m is None else m - (d - scale) * np.float32(0.5)
        back = round_codes(w, scale, offset, bits).astype(np.float32)
        back *= scale[..., None]
        if offset is not None:
            back += offset[..., None]
        back -= w
        error = np.einsum("rgk,rgk->rg", back, back)
        better = error < best
        best = np.where(better, error, best)
        best_d = np.where(better, scale, best_d)
        if offset is not None and best_m is not None:
            best_m = np.where(better, offset, best_m)
    return best_d, best_m


def round_codes(w: np.ndarray, scale: np.ndarray, offset: np.ndarray | None, bits: int) -> np.ndarray:
    """Codes int8 [rows, groups, group] nearest to (w - offset) / scale; 0 where the scale is 0."""
    half = 1 << (bits - 1)
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale > 0)[..., None]
    x = w * inverse if offset is None else (w - offset[..., None]) * inverse
    np.rint(x, out=x)
    np.clip(x, -half, half - 1, out=x)
    return x.astype(np.int8)
