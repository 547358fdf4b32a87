"""Reading and writing a rectangle of entries of one format: scales and codes of some strips in some blocks.

Axes, outermost first: channel C, strip S, block B, VPU beat down the strip J, window W, slot-in-beat I (16 / N of them),
VPU V, column. A row of the matrix is ((strip * J * I * V) + (j * I + i) * V + v) * C + c, so a reshape of whole rows gives
[S, J, I, V, C, ...] and one transposed copy gives stream order.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flightllm.streams.bits import pack12, pack_codes, unpack12, unpack_codes
from flightllm.streams.coded import Pass
from flightllm.streams.formats import BLOCK, WINDOW
from flightllm.streams.layout import EntryShape

_SLAB = 1 << 21  # codes worked on at a time


def write_entry(region: np.ndarray, data: Pass, shape: EntryShape, row: int, block: int, blocks: int) -> None:
    """Encode into `region` uint8 [channels, strips, blocks, shape.size] from rows `row`.. and blocks `block`.. of `data`."""
    channels = region.shape[0]
    codes = _codes_part(region, shape)
    for strips, cols, rows in _slabs(region, shape, row):
        part = slice(block + cols.start, block + cols.stop)
        _write_scales(region[:, strips, cols], data, shape, rows, part, channels)
        q = _tile(
            data.q, rows, _columns(part, shape), (cols.stop - cols.start) * shape.columns, shape, strips, channels
        )
        target = [c[:, strips, cols] for c in codes]
        if shape.fmt.n == 16:
            _write_dense(target, q, shape, channels)
        else:
            _write_sparse(target, q, shape, channels)


def read_entry(region: np.ndarray, data: Pass, shape: EntryShape, row: int, block: int, blocks: int) -> None:
    """Decode `region` into rows `row`.. and blocks `block`.. of `data` (whose arrays are filled in place)."""
    channels = region.shape[0]
    codes = _codes_part(region, shape)
    for strips, cols, rows in _slabs(region, shape, row):
        part = slice(block + cols.start, block + cols.stop)
        _read_scales(region[:, strips, cols], data, shape, rows, part, channels)
        source = [c[:, strips, cols] for c in codes]
        q = _read_dense(source, shape) if shape.fmt.n == 16 else _read_sparse(source, shape)
        width = _columns(part, shape)
        target = data.q[rows, width]
        target[...] = q.reshape(-1, q.shape[-3] * q.shape[-2] * WINDOW)[: target.shape[0], : target.shape[1]]


def _slabs(region: np.ndarray, shape: EntryShape, row: int) -> Iterator[tuple[slice, slice, slice]]:
    """(strips, blocks, rows) of pieces of at most about `_SLAB` codes."""
    channels, strips, blocks, _ = region.shape
    per_strip = shape.slots * channels
    per_entry = per_strip * shape.columns
    step_b = max(1, min(blocks, _SLAB // max(per_entry, 1)))
    step_s = max(1, _SLAB // max(per_entry * step_b, 1))
    for s in range(0, strips, step_s):
        stop = min(strips, s + step_s)
        for b in range(0, blocks, step_b):
            yield slice(s, stop), slice(b, min(blocks, b + step_b)), slice(row + s * per_strip, row + stop * per_strip)


def _columns(blocks: slice, shape: EntryShape) -> slice:
    return slice(blocks.start * BLOCK, (blocks.stop - 1) * BLOCK + shape.columns)


def _groups(blocks: slice, shape: EntryShape) -> slice:
    per_block = BLOCK // shape.group
    return slice(blocks.start * per_block, (blocks.stop - 1) * per_block + shape.groups)


def _tile(
    x: np.ndarray, rows: slice, cols: slice, width: int, shape: EntryShape, strips: slice, channels: int
) -> np.ndarray:
    """x[rows, cols] with zero rows up to whole VPU beats and zero columns up to `width`."""
    part = x[rows, cols]
    need = (strips.stop - strips.start) * shape.scale_slots * channels
    if part.shape == (need, width):
        return part
    # missing rows are at the end: only the last strip of a matrix has fewer slots than its beats
    out = np.zeros((need, width), x.dtype)
    out[: part.shape[0], : part.shape[1]] = part
    return out


def _codes_part(region: np.ndarray, shape: EntryShape) -> list[np.ndarray]:
    """Views of the code beats: with all VPUs [C, S, B, J, W, bytes], and with fewer [C, S, B, 1, W, bytes] (either may be empty)."""
    at = shape.sigma_bytes + shape.mu_bytes
    head = region.shape[:3]
    whole = region[..., at : at + shape.whole_bytes].reshape(
        *head, shape.whole, shape.windows, shape.beat_bytes(shape.vpus)
    )
    rest = region[..., at + shape.whole_bytes : at + shape.whole_bytes + shape.part_bytes]
    part = rest.reshape(*head, shape.beats_down - shape.whole, shape.windows, shape.beat_bytes(shape.last_vpus))
    return [whole, part]


def _beats(views: list[np.ndarray], shape: EntryShape) -> Iterator[tuple[np.ndarray, slice, int]]:
    """(bytes, beats down the strip, VPUs) of the non-empty ones of `views`."""
    if shape.whole:
        yield views[0], slice(0, shape.whole), shape.vpus
    if shape.whole < shape.beats_down:
        yield views[1], slice(shape.whole, shape.beats_down), shape.last_vpus


def _write_dense(views: list[np.ndarray], q: np.ndarray, shape: EntryShape, channels: int) -> None:
    item = f"V{2 * shape.fmt.bits}"
    packed = pack_codes(q, shape.fmt.bits).view(item)
    packed = packed.reshape(-1, shape.beats_down, shape.vpus, channels, packed.shape[1] // shape.windows, shape.windows)
    packed = packed.transpose(3, 0, 4, 1, 5, 2)  # C S B J W V
    for view, down, vpus in _beats(views, shape):
        view[..., : 2 * shape.fmt.bits * vpus].view(item)[...] = packed[:, :, :, down, :, :vpus]


def _read_dense(views: list[np.ndarray], shape: EntryShape) -> np.ndarray:
    """Codes int8 [S, J, V, C, B, W, 16]."""
    item = f"V{2 * shape.fmt.bits}"
    c, s, b = views[0].shape[:3]
    packed = np.zeros((s, shape.beats_down, shape.vpus, c, b, shape.windows), item)
    target = packed.transpose(3, 0, 4, 1, 5, 2)
    for view, down, vpus in _beats(views, shape):
        target[:, :, :, down, :, :vpus] = view[..., : 2 * shape.fmt.bits * vpus].view(item)
    return unpack_codes(packed.view(np.uint8).reshape(*packed.shape, 2 * shape.fmt.bits), shape.fmt.bits)


def _write_sparse(views: list[np.ndarray], q: np.ndarray, shape: EntryShape, channels: int) -> None:
    n, share = shape.fmt.n, shape.fmt.share
    codes, index = choose_kept(q, n)
    tile = (-1, shape.beats_down, share, shape.vpus, channels, q.shape[1] // (shape.windows * WINDOW), shape.windows, n)
    order = (4, 0, 5, 1, 6, 3, 2, 7)  # C S B J W V I N
    codes, index = (
        x.reshape(tile).transpose(order).reshape(channels, -1, tile[5], shape.beats_down, shape.windows, shape.vpus, 16)
        for x in (codes, index)
    )
    codes, index = pack_codes(codes, shape.fmt.bits), pack_codes(index, 4)
    for view, down, vpus in _beats(views, shape):
        at, used = shape.codes_bytes(vpus), 2 * shape.fmt.bits * vpus
        view[..., :used].reshape(*view.shape[:-1], vpus, -1)[...] = codes[:, :, :, down, :, :vpus]
        view[..., at : at + 8 * vpus].reshape(*view.shape[:-1], vpus, -1)[...] = index[:, :, :, down, :, :vpus]


def _read_sparse(views: list[np.ndarray], shape: EntryShape) -> np.ndarray:
    """Codes int8 [S, J, I, V, C, B, W, 16] with zeros where nothing is kept."""
    n, share, bits = shape.fmt.n, shape.fmt.share, shape.fmt.bits
    c, s, b = views[0].shape[:3]
    out = np.zeros((s, shape.beats_down, share, shape.vpus, c, b, shape.windows, WINDOW), np.int8)
    order = (4, 0, 5, 1, 6, 3, 2, 7)
    for view, down, vpus in _beats(views, shape):
        at = shape.codes_bytes(vpus)
        body = (*view.shape[:-1], vpus, share, n)
        codes = unpack_codes(view[..., : 2 * bits * vpus], bits).reshape(body)
        index = unpack_codes(view[..., at : at + 8 * vpus], 4).reshape(body) & np.int8(15)
        target = np.zeros((*body[:-1], WINDOW), np.int8)
        np.put_along_axis(target, index.astype(np.intp), codes, axis=-1)
        out.transpose(order)[:, :, :, down, :, :vpus] = target
    return out


def choose_kept(q: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The n codes of each window of 16 that a sparse entry stores, and their columns in the window: int8 [rows, k / 16 * n].

    All codes that are not zero, and the first zeros up to n; in ascending column order. ValueError if a window has more than n.
    """
    kept = q != 0
    windows = kept.reshape(-1, WINDOW)
    room = n - np.count_nonzero(windows, axis=1)
    if (room < 0).any():
        raise ValueError(f"a window of 16 has more than {n} codes that are not zero")
    rank = np.cumsum(~windows, axis=1, dtype=np.int8)
    place = np.flatnonzero(windows | (rank <= room[:, None].astype(np.int8)))
    shape = (q.shape[0], q.shape[1] // WINDOW * n)
    return np.ascontiguousarray(q).reshape(-1)[place].reshape(shape), (place & 15).astype(np.int8).reshape(shape)


def _scale_parts(region: np.ndarray, shape: EntryShape) -> tuple[np.ndarray, np.ndarray]:
    """Views of the scales: sigma bytes and mu bytes [C, S, B, bytes], without their padding."""
    count = shape.scale_slots * shape.groups
    return region[..., :count], region[..., shape.sigma_bytes : shape.sigma_bytes + count * 3 // 2]


def _write_scales(region: np.ndarray, data: Pass, shape: EntryShape, rows: slice, blocks: slice, channels: int) -> None:
    sigma, mu = _scale_parts(region, shape)
    c, s, b = region.shape[:3]
    todo = [(data.sigma, sigma, None)] + ([(data.mu, mu, pack12)] if shape.fmt.affine else [])
    for x, target, encode in todo:
        tile = _tile(x, rows, _groups(blocks, shape), b * shape.groups, shape, slice(0, s), channels)
        tile = tile.reshape(s, shape.beats_down, shape.fmt.share, shape.vpus, c, b, shape.groups)
        flat = tile.transpose(4, 0, 5, 1, 6, 2, 3).reshape(c, s, b, -1)  # C S B J G I V
        target[...] = encode(flat) if encode else flat


def _read_scales(region: np.ndarray, data: Pass, shape: EntryShape, rows: slice, blocks: slice, channels: int) -> None:
    sigma, mu = _scale_parts(region, shape)
    c, s, b = region.shape[:3]
    todo = [(data.sigma, sigma, None)] + ([(data.mu, mu, unpack12)] if shape.fmt.affine else [])
    for x, source, decode in todo:
        flat = decode(source) if decode else source
        tile = flat.reshape(c, s, b, shape.beats_down, shape.groups, shape.fmt.share, shape.vpus)
        tile = tile.transpose(1, 3, 5, 6, 0, 2, 4).reshape(-1, b * shape.groups)
        target = x[rows, _groups(blocks, shape)]
        target[...] = tile[: target.shape[0], : target.shape[1]]
