"""Round to nearest, magnitude N:16 and sums of passes, on integer scales.

Scales are rounded first and the codes are chosen on the rounded scales, so that rounding a scale costs almost nothing. In a sum
of passes the sparse ones first take the largest weights of each window out of the dense one's range; afterwards every pass codes
what the passes before it have left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flightllm.compress.producer import CodingRequest, register
from flightllm.compress.scales import least_rho, round_offsets, round_scales
from flightllm.streams.coded import CodedMatrix, Pass, decode_formats
from flightllm.streams.formats import BLOCK, WINDOW, EntryFormat

_CHUNK = 1 << 18  # weights worked on at a time: the temporaries stay in the cache
#: from this width on a scale is never rounded down: a clipped weight costs more than slightly coarser steps
_ROUND_UP_FROM = 5
#: scales tried by a search, by width: the fewer levels, the more clipping pays
_SHRINK = {2: 9, 3: 6, 4: 4, 5: 3, 6: 2, 8: 1}
_SHRINK_STEP = 0.075


@dataclass(frozen=True)
class _Spec:
    """Formats of one pass for a chunk of rows: arrays [rows or 1, groups or 1]."""

    bits: np.ndarray
    kept: np.ndarray
    affine: np.ndarray
    absent: np.ndarray

    @property
    def sparse(self) -> bool:
        return bool((self.kept < WINDOW).any())

    @property
    def half(self) -> np.ndarray:
        """2^(bits - 1), float32."""
        return np.exp2(self.bits - 1).astype(np.float32)


class RoundToNearest:
    """The producer "rtn"."""

    def code(self, weight: np.ndarray, request: CodingRequest) -> CodedMatrix:
        """See `Producer.code`."""
        rows, k = weight.shape
        groups, count = -(-k // request.group), request.formats.shape[2]
        rho = np.empty(rows, np.float32)
        passes = tuple(
            Pass(np.empty((rows, k), np.int8), np.empty((rows, groups), np.uint8), np.empty((rows, groups), np.int16))
            for _ in range(count)
        )
        importance = None
        if request.calibration is not None:
            importance = grouped(request.calibration.second_moment[None], request.group)
        step = max(1, _CHUNK // max(k, 1))
        for start in range(0, rows, step):
            part = slice(start, start + step)
            w = grouped(weight[part], request.group)
            specs = [_spec(request.formats[part, :, i], request.group, groups) for i in range(count)]
            if count == 1 and not specs[0].sparse:
                masks: list[np.ndarray | None] = [None]
            else:
                masks = keep_masks(w, k, specs, importance)
            rho[part] = common_rho(w, specs, masks)
            if request.least_rho is not None:
                rho[part] = np.maximum(rho[part], request.least_rho[part])
            rest = w
            for i, (spec, mask) in enumerate(zip(specs, masks, strict=True)):
                q, sigma, mu = code_pass(rest, spec, mask, rho[part], request.search, importance)
                if count > 1:
                    rest = rest - q * (sigma * rho[part, None])[..., None] - (mu * rho[part, None])[..., None]
                target = passes[i]
                target.q[part] = q.reshape(len(q), -1)[:, :k]
                target.sigma[part], target.mu[part] = sigma, mu
        return CodedMatrix(request.group, rho, passes, request.formats)


def quantise(weight: np.ndarray, bits: int, group: int, affine: bool, search: bool = False) -> CodedMatrix:
    """Round float32 [rows, k] to nearest in one dense format."""
    formats = np.broadcast_to(
        np.uint8(EntryFormat(bits, 16, affine).byte), (len(weight), -(-weight.shape[1] // BLOCK), 1)
    )
    return RoundToNearest().code(weight, CodingRequest(group, formats, search))


def grouped(weight: np.ndarray, group: int) -> np.ndarray:
    """[rows, k] as float32 [rows, groups, group]; the last group is filled with its last column, which moves no extreme."""
    rows, k = weight.shape
    groups = -(-k // group)
    if groups * group != k:
        weight = np.concatenate([weight, np.repeat(weight[:, -1:], groups * group - k, axis=1)], axis=1)
    return np.ascontiguousarray(weight, np.float32).reshape(rows, groups, group)


def _spec(formats: np.ndarray, group: int, groups: int) -> _Spec:
    """Formats uint8 [rows, blocks] to a `_Spec`; one row and group if they are all alike."""
    if formats.strides == (0, 0) or (formats == formats[:1, :1]).all():
        formats = formats[:1, :1]
    else:
        formats = np.repeat(formats, BLOCK // group, axis=1)[:, :groups]
    return _Spec(*decode_formats(formats))


def keep_masks(w: np.ndarray, k: int, specs: list[_Spec], importance: np.ndarray | None) -> list[np.ndarray | None]:
    """Which weights of w [rows, groups, group] (of k columns) each pass may code: bool of that shape, None for all.

    A sparse entry has the N largest magnitudes (times the root of `importance`) of each window of 16 that no earlier sparse
    pass has; a dense entry has what no sparse entry of the same place has.
    """
    magnitude = np.abs(w) if importance is None else np.abs(w) * np.sqrt(importance)
    # non-negative floats order like their bits; the last four make each key of a window unique, so that ties break by column
    keys = (magnitude.view(np.int32) & ~15) | (15 - np.arange(w.shape[2], dtype=np.int32) % WINDOW)
    keys = keys.reshape(len(w), -1)
    keys[:, k:] = -1 - np.arange(keys.shape[1] - k) % WINDOW  # columns past the end are chosen last
    keys = keys.reshape(*w.shape[:2], -1, WINDOW)
    taken = np.zeros(keys.shape, bool)
    masks: list[np.ndarray | None] = [None] * len(specs)
    for i, spec in enumerate(specs):
        if not spec.sparse:
            continue
        order = np.sort(keys, axis=3)
        place = np.broadcast_to((WINDOW - spec.kept)[..., None, None], (*keys.shape[:3], 1))
        mask = keys >= np.take_along_axis(order, place, axis=3)
        usable = (spec.kept < WINDOW) & ~spec.absent
        mask &= (usable | (spec.kept == WINDOW))[..., None, None]
        only = mask & usable[..., None, None]
        keys = np.where(only, -1 - np.arange(WINDOW, dtype=np.int32), keys)
        taken |= only
        masks[i] = mask
    free = ~taken.reshape(w.shape)
    for i, spec in enumerate(specs):
        mask = masks[i]
        if mask is None:
            masks[i] = free if taken.any() else None
        else:
            mask = mask.reshape(w.shape)
            masks[i] = np.where((spec.kept == WINDOW)[..., None], free, mask)
    return masks


def common_rho(w: np.ndarray, specs: list[_Spec], masks: list[np.ndarray | None]) -> np.ndarray:
    """Row scale float32 [rows] that all passes of w [rows, groups, group] can share."""
    rho = np.zeros(len(w), np.float32)
    for i, (spec, mask) in enumerate(zip(specs, masks, strict=True)):
        if i and mask is None:
            continue  # a later dense pass codes the small errors of the first
        d, m = ideal_scales(w if mask is None else w * mask, spec)
        rho = np.maximum(rho, least_rho(d, m))
    return rho


def code_pass(
    rest: np.ndarray,
    spec: _Spec,
    mask: np.ndarray | None,
    rho: np.ndarray,
    search: bool,
    importance: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Code what is left, `rest` [rows, groups, group], in one pass: (q int8 of that shape, sigma, mu [rows, groups])."""
    w = rest if mask is None else rest * mask
    d, m = ideal_scales(w, spec)
    if search:
        d, m = search_scales(w, d, m, spec, importance)
    up = spec.bits >= _ROUND_UP_FROM
    sigma = round_scales(d, rho, up=True) if up.all() else round_scales(d, rho)
    if up.any() and not up.all():
        sigma = np.where(up, round_scales(d, rho, up=True), sigma)
    mu = np.zeros(sigma.shape, np.int16) if m is None else round_offsets(m, rho)
    q = round_codes(w, sigma * rho[:, None], None if m is None else mu * rho[:, None], spec.half)
    if mask is not None and spec.sparse:
        q *= mask | (spec.kept == WINDOW)[..., None]
    return q, sigma, mu


def ideal_scales(w: np.ndarray, spec: _Spec) -> tuple[np.ndarray, np.ndarray | None]:
    """Scale d and offset m (None: no offsets) [rows, groups] under which no weight of w [rows, groups, group] is clipped.

    Codes are two's complement; an affine grid puts the smallest weight at -2^(b-1) and the largest at 2^(b-1) - 1.
    """
    half = spec.half
    high, low = w.max(axis=2), w.min(axis=2)
    m = None
    if not spec.affine.any():
        d = np.maximum(high / (half - 1), -low / half)
    else:
        d = (high - low) / (2 * half - 1)
        m = low + d * half
        if not spec.affine.all():
            d = np.where(spec.affine, d, np.maximum(high / (half - 1), -low / half))
            m = np.where(spec.affine, m, np.float32(0))
    if spec.absent.any():
        d = np.where(spec.absent, np.float32(0), d)
        m = None if m is None else np.where(spec.absent, np.float32(0), m)
    return d, m


def search_scales(
    w: np.ndarray, d: np.ndarray, m: np.ndarray | None, spec: _Spec, importance: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The best of some shrunken scales for each group, by squared error; offsets keep the middle of the range in place."""
    best = np.full(d.shape, np.inf, np.float32)
    best_d, best_m = d, m
    for i in range(_SHRINK[int(spec.bits.min())]):
        scale = d * np.float32(1 - _SHRINK_STEP * i)
        # the middle of the grid is at m - d / 2: codes run from -2^(b-1) to 2^(b-1) - 1
        offset = None if m is None else np.where(spec.affine, m - (d - scale) * np.float32(0.5), m)
        back = round_codes(w, scale, offset, spec.half).astype(np.float32)
        back *= scale[..., None]
        if offset is not None:
            back += offset[..., None]
        back -= w
        weighted = back if importance is None else back * importance
        error = np.einsum("rgk,rgk->rg", back, weighted)
        better = error < best
        best, best_d = np.where(better, error, best), np.where(better, scale, best_d)
        if offset is not None and best_m is not None:
            best_m = np.where(better, offset, best_m)
    return best_d, best_m


def round_codes(w: np.ndarray, scale: np.ndarray, offset: np.ndarray | None, half: np.ndarray) -> np.ndarray:
    """Codes int8 [rows, groups, group] nearest to (w - offset) / scale; 0 where the scale is 0. half: 2^(bits - 1)."""
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale > 0)[..., None]
    if offset is None:
        x = w * inverse
    else:
        x = w - offset[..., None]
        x *= inverse
    np.rint(x, out=x)
    low, high = (-half[..., None], half[..., None] - 1) if half.size > 1 else (-half.item(), half.item() - 1)
    np.clip(x, low, high, out=x)
    return x.astype(np.int8)


register("rtn", RoundToNearest())
