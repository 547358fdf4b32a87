"""Weight streams: a coded matrix to bytes per channel and back, exactly as docs/streams.md lays them out.

Both directions work on rectangles of entries that have one format: a run of equal strips times a run of equal blocks.
Within a rectangle the bytes are one transposed copy of bit-packed windows, done in slabs of bounded size.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from flightllm.errors import PackageError
from flightllm.streams import layout
from flightllm.streams.coded import CodedMatrix, Pass, granule_formats, uniform_format
from flightllm.streams.entries import read_entry, write_entry
from flightllm.streams.formats import ABSENT, STREAM_ALIGN, EntryFormat, pad
from flightllm.streams.layout import EntryShape, Geometry


def geometry(coded: CodedMatrix, channels: int, vpus: int, rows_per_vpu: int) -> Geometry:
    """The geometry of a coded matrix on a core."""
    return Geometry(coded.rows, coded.k, coded.group, coded.bias is not None, channels, vpus, rows_per_vpu)


def rows_per_vpu_needed(coded: CodedMatrix) -> int:
    """The least legal m for this matrix: 16 / N of its sparsest entry."""
    formats = coded.formats[:1, :1] if coded.formats.strides[:2] == (0, 0) else coded.formats
    present = formats[formats != ABSENT]
    return 1 << int((present >> 3 & 3).max(initial=0))


def pack(coded: CodedMatrix, channels: int, vpus: int, rows_per_vpu: int) -> np.ndarray:
    """The weight stream of every channel: uint8 [channels, length], length a multiple of 64.

    The matrix is the part of one core. It is written without format tables if `stream_format` of it is a byte. ValueError if
    rows_per_vpu is too small for its sparsest entry.
    """
    geo = geometry(coded, channels, vpus, rows_per_vpu)
    formats = granule_formats(coded, geo.granule)
    table = uniform_format(formats) is None
    sizes = layout.strip_sizes(geo, formats, table)
    out = np.zeros((channels, pad(sum(sizes), STREAM_ALIGN)), np.uint8)
    offset = 0
    for first, count in _strip_runs(geo, formats):
        size = sizes[first]
        view = out[:, offset : offset + count * size].reshape(channels, count, size)
        _pack_strips(view, coded, geo, formats[first], first, table)
        offset += count * size
    return out


def stream_format(coded: CodedMatrix, channels: int, vpus: int, rows_per_vpu: int) -> int | None:
    """The format byte for the instruction, or None if the stream carries format tables."""
    return uniform_format(granule_formats(coded, geometry(coded, channels, vpus, rows_per_vpu).granule))


def stream_bytes(coded: CodedMatrix, channels: int, vpus: int, rows_per_vpu: int) -> int:
    """Length in bytes of each channel's stream, without packing."""
    geo = geometry(coded, channels, vpus, rows_per_vpu)
    formats = granule_formats(coded, geo.granule)
    return layout.stream_bytes(geo, formats, uniform_format(formats) is None)


def unpack(
    stream: np.ndarray,
    rows: int,
    k: int,
    group: int,
    fmt: int | None,
    bias: bool,
    channels: int,
    vpus: int,
    rows_per_vpu: int,
    dtype: type = np.float64,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Streams uint8 [channels, length] to (W' [rows, k] in `dtype`, rho float32 [rows], bias float32 [rows] or None).

    fmt: the format byte of the whole matrix, None if the stream has format tables. W' is exact in int32, float32 and float64.
    PackageError if the bytes are not such a stream.
    """
    coded = unpack_coded(stream, rows, k, group, fmt, bias, channels, vpus, rows_per_vpu)
    return coded.effective(dtype), coded.rho, coded.bias


def unpack_coded(
    stream: np.ndarray,
    rows: int,
    k: int,
    group: int,
    fmt: int | None,
    bias: bool,
    channels: int,
    vpus: int,
    rows_per_vpu: int,
) -> CodedMatrix:
    """As `unpack`, but the codes and scales themselves."""
    try:
        geo = Geometry(rows, k, group, bias, channels, vpus, rows_per_vpu)
        tables, sizes = _read_layout(stream, geo, fmt)
    except ValueError as error:
        raise PackageError(
            "a weight stream is damaged or does not match its instruction", why=str(error), do="compile the model again"
        ) from error
    known = np.unique(tables[tables != ABSENT]) & 0x20
    passes = [_empty_pass(geo, bool(known.any())) for _ in range(tables.shape[2])]
    rho = np.zeros(geo.slots * channels, np.float32)
    out_bias = np.zeros(geo.slots * channels, np.float32) if bias else None
    offset = 0
    for first, count in _strip_runs(geo, tables):
        view = stream[:, offset : offset + count * sizes[first]].reshape(channels, count, sizes[first])
        _unpack_strips(view, passes, rho, out_bias, geo, tables[first], first, fmt is None)
        offset += count * sizes[first]
    formats = (
        np.repeat(tables, geo.granule, axis=0)[:rows]
        if fmt is None
        else np.broadcast_to(tables[0], (rows, *tables.shape[1:]))
    )
    return CodedMatrix(group, rho[:rows], tuple(passes), formats, None if out_bias is None else out_bias[:rows])


def _empty_pass(geo: Geometry, affine: bool) -> Pass:
    groups = (geo.rows, -(-geo.k // geo.group))
    mu = np.zeros(groups, np.int16) if affine else np.broadcast_to(np.int16(0), groups)
    return Pass(np.zeros((geo.rows, geo.k), np.int8), np.zeros(groups, np.uint8), mu)


def _strip_runs(geo: Geometry, formats: np.ndarray) -> Iterator[tuple[int, int]]:
    """(first, count) of runs of strips with equal formats and equal slots; formats [strips, blocks, passes]."""
    if geo.strips == 0:
        return
    same = np.ones(geo.strips - 1, bool)
    if formats.strides[0]:
        same = (formats[1:] == formats[:-1]).all(axis=(1, 2))
    if geo.strips > 1 and geo.slots_of(geo.strips - 1) != geo.strip:
        same = same.copy()
        same[-1] = False
    edges = [0, *(np.flatnonzero(~same) + 1).tolist(), geo.strips]
    for a, b in pairwise(edges):
        yield a, b - a


def _block_runs(geo: Geometry, formats: np.ndarray) -> Iterator[tuple[int, int]]:
    """(first, count) of runs of blocks with equal formats and equal columns; formats [blocks, passes]."""
    first = 0
    for b in range(1, geo.blocks + 1):
        if b == geo.blocks or (formats[b] != formats[first]).any() or geo.columns_of(b) != geo.columns_of(first):
            yield first, b - first
            first = b


def _regions(
    view: np.ndarray, geo: Geometry, formats: np.ndarray, strip: int, start: int
) -> Iterator[tuple[int, int, int, EntryShape, np.ndarray]]:
    """(pass, first block, blocks, shape, bytes [channels, strips, blocks, size]) of each rectangle of entries.

    view: uint8 [channels, strips, strip bytes]; the entries start at byte `start` of each strip.
    """
    shapes = layout.strip_entries(geo, formats, strip)
    for block, count in _block_runs(geo, formats):
        size = sum(e.size for e in shapes[block])
        region = view[:, :, start : start + count * size].reshape(*view.shape[:2], count, size)
        inner = 0
        for index, shape in zip(np.flatnonzero(formats[block] != ABSENT), shapes[block], strict=True):
            yield int(index), block, count, shape, region[..., inner : inner + shape.size]
            inner += shape.size
        start += count * size


def _table_bytes(geo: Geometry, formats: np.ndarray) -> np.ndarray:
    entries = [f.byte for b in range(geo.blocks) for f in layout.entry_formats(formats[b])]
    return np.array(entries, np.uint8)


def _pack_strips(
    view: np.ndarray, coded: CodedMatrix, geo: Geometry, formats: np.ndarray, first: int, table: bool
) -> None:
    """Fill `view` uint8 [channels, count, strip bytes] with the strips from `first` on, all of the same formats."""
    count, slots = view.shape[1], geo.slots_of(first)
    entries = _table_bytes(geo, formats) if table else np.zeros(0, np.uint8)
    view[:, :, : len(entries)] = entries
    at = pad(len(entries))
    row = first * geo.granule
    for values in (coded.rho, coded.bias):
        if values is not None:
            part = _padded(values[row : row + count * slots * geo.channels], count * slots * geo.channels)
            by_channel = np.ascontiguousarray(part.reshape(count, slots, geo.channels).transpose(2, 0, 1))
            view[:, :, at : at + 4 * slots] = by_channel.astype("<f4").view(np.uint8)
            at += pad(4 * slots)
    for index, block, blocks, shape, region in _regions(view, geo, formats, first, at):
        write_entry(region, coded.passes[index], shape, row, block, blocks)


def _unpack_strips(
    view: np.ndarray,
    passes: list[Pass],
    rho: np.ndarray,
    bias: np.ndarray | None,
    geo: Geometry,
    formats: np.ndarray,
    first: int,
    table: bool,
) -> None:
    """Inverse of `_pack_strips`, into arrays of all rows (rho and bias of all slots)."""
    count, slots = view.shape[1], geo.slots_of(first)
    at = pad(int((formats != ABSENT).sum())) if table else 0
    row = first * geo.granule
    for values in (rho, bias):
        if values is not None:
            data = np.ascontiguousarray(view[:, :, at : at + 4 * slots]).view("<f4")
            values[row : row + count * slots * geo.channels] = data.transpose(1, 2, 0).reshape(-1)
            at += pad(4 * slots)
    for index, block, blocks, shape, region in _regions(view, geo, formats, first, at):
        read_entry(region, passes[index], shape, row, block, blocks)


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    """`values` with zeros behind, up to `length`."""
    if len(values) == length:
        return values
    out = np.zeros(length, values.dtype)
    out[: len(values)] = values
    return out


def _read_layout(stream: np.ndarray, geo: Geometry, fmt: int | None) -> tuple[np.ndarray, list[int]]:
    """Formats [strips, blocks, passes] and bytes of every strip, checked against the length of the stream."""
    if stream.ndim != 2 or stream.dtype != np.uint8 or stream.shape[0] != geo.channels:
        raise ValueError(f"expected uint8 [{geo.channels}, length], got {stream.dtype} {list(stream.shape)}")
    if fmt is not None:
        entry = EntryFormat.from_byte(fmt)
        if entry.more:
            raise ValueError("a matrix with one format has one pass: bit 6 of its format byte must be clear")
        formats = np.broadcast_to(np.uint8(fmt), (geo.strips, geo.blocks, 1))
        sizes = layout.strip_sizes(geo, formats, False)
        if stream.shape[1] != pad(sum(sizes), STREAM_ALIGN):
            raise ValueError(f"{stream.shape[1]} bytes a channel, {pad(sum(sizes), STREAM_ALIGN)} expected")
        return formats, sizes
    tables, sizes, offset = [], [], 0
    for strip in range(geo.strips):
        table = _read_table(stream[0, offset:], geo)
        width = max(len(t) for t in table)
        formats = np.array([t + [ABSENT] * (width - len(t)) for t in table], np.uint8)
        sizes.append(layout.strip_bytes(geo, formats, strip, True))
        tables.append(formats)
        offset += sizes[-1]
        if offset > stream.shape[1]:
            raise ValueError(f"strip {strip} ends at byte {offset}, the stream has {stream.shape[1]}")
    if pad(offset, STREAM_ALIGN) != stream.shape[1]:
        raise ValueError(f"{stream.shape[1]} bytes a channel, {pad(offset, STREAM_ALIGN)} expected")
    width = max((t.shape[1] for t in tables), default=1)
    out = np.full((geo.strips, geo.blocks, width), ABSENT, np.uint8)
    for strip, formats in enumerate(tables):
        out[strip, :, : formats.shape[1]] = formats
    return out, sizes


def _read_table(data: np.ndarray, geo: Geometry) -> list[list[int]]:
    """Format bytes (without "more") of each block, read from the head of a strip."""
    blocks: list[list[int]] = [[]]
    for byte in data:
        entry = EntryFormat.from_byte(int(byte))
        blocks[-1].append(entry.byte & ~0x40)
        if not entry.more:
            if len(blocks) == geo.blocks:
                return blocks
            blocks.append([])
    raise ValueError("the stream ends inside a format table")
