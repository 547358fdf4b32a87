"""Rearranging coded matrices without coding them again: stacking, selecting and permuting rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flightllm.streams.coded import CodedMatrix, Pass, block_reduce, granule_formats, regroup, widen
from flightllm.streams.formats import ABSENT, BLOCK, GROUPS, KEPT, WINDOW


def stack_rows(parts: Sequence[CodedMatrix]) -> CodedMatrix:
    """One matrix of the rows of all parts, in order; exact.

    Parts must agree in columns. Different groups become the smallest of them (scales repeated); a part without bias gets a
    zero bias if another has one; missing passes are absent.
    """
    if len({p.k for p in parts}) != 1:
        raise ValueError(f"matrices of {sorted({p.k for p in parts})} columns cannot be stacked")
    if len(parts) == 1:
        return parts[0]
    group = min(p.group for p in parts)
    parts = [p if p.group == group else regroup(p, group) for p in parts]
    count = max(len(p.passes) for p in parts)
    parts = [_with_passes(p, count) for p in parts]
    passes = tuple(
        Pass(
            np.concatenate([p.passes[i].q for p in parts]),
            np.concatenate([p.passes[i].sigma for p in parts]),
            np.concatenate([p.passes[i].mu for p in parts]),
        )
        for i in range(count)
    )
    bias = None
    if any(p.bias is not None for p in parts):
        bias = np.concatenate([np.zeros(p.rows, np.float32) if p.bias is None else p.bias for p in parts])
    first = parts[0].formats
    same = all(_constant(p.formats) and np.array_equal(p.formats[0, 0], first[0, 0]) for p in parts if p.rows)
    rows = sum(p.rows for p in parts)
    formats = (
        np.broadcast_to(first[:1, :1], (rows, *first.shape[1:]))
        if same and first.size
        else np.concatenate([p.formats for p in parts])
    )
    return CodedMatrix(group, np.concatenate([p.rho for p in parts]), passes, formats, bias)


def _constant(formats: np.ndarray) -> bool:
    """Whether a format array is one row and block, repeated without copies."""
    return formats.strides[:2] == (0, 0)


def _with_passes(part: CodedMatrix, count: int) -> CodedMatrix:
    missing = count - len(part.passes)
    if not missing:
        return part
    empty = Pass(*(np.broadcast_to(x.dtype.type(0), x.shape) for x in vars(part.passes[0]).values()))
    gone = np.full((*part.formats.shape[:2], missing), ABSENT, np.uint8)
    return replace(part, passes=part.passes + (empty,) * missing, formats=np.concatenate([part.formats, gone], axis=2))


def take_rows(coded: CodedMatrix, index: np.ndarray) -> CodedMatrix:
    """Rows `index` int [n]; -1 is a zero row (codes, scales, rho and bias zero), which takes any format."""
    zero = index < 0
    blank = bool(zero.any())

    def take(x: np.ndarray) -> np.ndarray:
        out = x[index]
        if blank:
            out[zero] = 0
        return out

    passes = tuple(
        Pass(take(p.q), take(p.sigma), take(p.mu) if p.mu.any() else np.zeros((len(index), p.mu.shape[1]), np.int16))
        for p in coded.passes
    )
    if _constant(coded.formats) and not zero.all():
        # a zero row fits every format: keep the table free, whatever the rest has
        formats = np.broadcast_to(coded.formats[:1, :1], (len(index), *coded.formats.shape[1:]))
    else:
        formats = coded.formats[index]
        formats[zero] = ABSENT
    return CodedMatrix(coded.group, take(coded.rho), passes, formats, None if coded.bias is None else take(coded.bias))


def take_columns(coded: CodedMatrix, index: np.ndarray) -> CodedMatrix | None:
    """Columns `index` int [n], -1 a zero column, if the scales allow it without coding again; otherwise None.

    Each new group must draw from one old group; smaller groups are tried as well. The activation at a zero column must be zero:
    its code is 0, but an offset of its group stands there too. Sparse windows may need a larger N after a permutation.
    """
    present = index >= 0
    for group in sorted((g for g in GROUPS if g <= coded.group), reverse=True):
        sources = _source_groups(index, group, coded.group)
        if sources is not None:
            break
    else:
        return None
    passes = []
    for p in coded.passes:
        q = p.q[:, index]
        q[:, ~present] = 0
        sigma, mu = p.sigma[:, sources], p.mu[:, sources]
        sigma[:, sources < 0] = 0
        mu[:, sources < 0] = 0
        passes.append(Pass(q, sigma, mu))
    formats = _column_formats(coded, index, passes)
    return CodedMatrix(group, coded.rho, tuple(passes), formats, coded.bias)


def _source_groups(index: np.ndarray, group: int, old: int) -> np.ndarray | None:
    """Old group of each new group of `group` columns (-1: all columns are zero), None if one draws from several."""
    n = -(-len(index) // group) * group
    padded = np.full(n, -1)
    padded[: len(index)] = np.where(index >= 0, index // old, -1)
    source = padded.reshape(-1, group)
    high = source.max(axis=1)
    low = np.where(source < 0, np.iinfo(np.int64).max, source).min(axis=1)
    return high if ((low == high) | (high < 0)).all() else None


def _column_formats(coded: CodedMatrix, index: np.ndarray, passes: list[Pass]) -> np.ndarray:
    """Formats after a selection of columns: per new block the widest of the old blocks it draws from, N as needed."""
    old = coded.formats
    blocks = -(-len(index) // BLOCK)
    if _constant(old) and ((old[:1, :1] >> 3 & 3) == 0).all():
        return np.broadcast_to(old[:1, :1], (coded.rows, blocks, old.shape[2]))
    out = np.full((coded.rows, blocks, old.shape[2]), ABSENT, np.uint8)
    for b in range(blocks):
        drawn = index[b * BLOCK : (b + 1) * BLOCK]
        drawn = np.unique(drawn[drawn >= 0] // BLOCK)
        if len(drawn):
            # the widest format of several blocks is the widest of a granule of that many rows
            several = old[:, drawn].reshape(-1, 1, old.shape[2])
            out[:, b] = widen(several, len(drawn))[:, 0]
    for i, p in enumerate(passes):
        kept = block_reduce(np.add, (p.q != 0).astype(np.uint8), WINDOW)
        kept = block_reduce(np.maximum, kept, BLOCK // WINDOW)
        need = np.searchsorted(-np.array(KEPT), -kept.astype(np.int64), side="right") - 1
        present = out[:, :, i] != ABSENT
        n = np.minimum(need, out[:, :, i] >> 3 & 3)
        out[:, :, i] = np.where(present, (out[:, :, i] & 0x67) | n << 3, ABSENT).astype(np.uint8)
    return out


def widen_together(parts: Sequence[CodedMatrix], granule: int) -> list[CodedMatrix]:
    """The parts of several cores with formats that agree granule by granule: all cores run one program on one layout.

    All parts have the same rows, columns and group; `granule` is rows of one strip over all channels. Exact.
    """
    if len(parts) == 1:
        return list(parts)
    count = max(len(p.passes) for p in parts)
    parts = [_with_passes(p, count) for p in parts]
    tables = [granule_formats(p, granule) for p in parts]
    merged = np.stack(tables, axis=1)  # granules, cores, blocks, passes
    flat = merged.reshape(-1, *merged.shape[2:])
    table = widen(flat, len(parts))
    if (table == table[:1, :1]).all():
        shape = (parts[0].rows, *table.shape[1:])
        return [replace(p, formats=np.broadcast_to(table[:1, :1], shape)) for p in parts]
    return [replace(p, formats=np.repeat(table, granule, axis=0)[: p.rows]) for p in parts]
