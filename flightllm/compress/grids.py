"""Stored grids (GGUF, GPTQ, AWQ, ONNX MatMulNBits) to coded matrices: the codes stay, only their scales are rounded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from flightllm.compress.scales import fit, fit_at, least_rho
from flightllm.ir.weights import Grid, GridSpec
from flightllm.streams.coded import CodedMatrix, Pass, block_reduce, regroup
from flightllm.streams.formats import BLOCK, WIDTHS, EntryFormat

_CHUNK = 1 << 20  # codes worked on at a time


def holdable(spec: GridSpec) -> str:
    """Why a grid cannot be held as it is; "" if it can (groups of 32, 64 or any multiple of 128, at most 8 bits)."""
    if spec.bits > 8:
        return f"its codes have {spec.bits} bits, the machine takes up to 8"
    if spec.group not in (32, 64) and spec.group % BLOCK:
        return f"its groups have {spec.group} columns; the machine has groups of 32, 64, 128 and multiples of 128"
    return ""


def machine_format(spec: GridSpec) -> tuple[EntryFormat, int]:
    """(entry format, group) that hold a grid for which `holdable` is empty."""
    bits = next(b for b in WIDTHS if b >= spec.bits)
    return EntryFormat(bits, 16, spec.affine), min(spec.group, BLOCK)


def from_grid(grid: Grid) -> CodedMatrix:
    """The coded matrix of a stored grid: the same codes, scales d and m rounded to integers times a row scale.

    ValueError if the grid cannot be held (`holdable`).
    """
    why = holdable(grid.spec)
    if why:
        raise ValueError(f"this grid cannot be kept: {why}")
    fmt, group = machine_format(grid.spec)
    rows, k = grid.q.shape
    groups = -(-k // group)
    count = np.full(groups, group, np.int64)
    count[-1:] = k - group * (groups - 1)
    rho, sigma = np.empty(rows, np.float32), np.empty((rows, groups), np.uint8)
    mu = np.zeros((rows, groups), np.int16) if fmt.affine else None
    for start in range(0, rows, max(1, _CHUNK // max(k, 1))):
        part = slice(start, start + max(1, _CHUNK // max(k, 1)))
        q = grid.q[part].astype(np.int32)
        total, square = block_reduce(np.add, q, group), block_reduce(np.add, q * q, group)
        d, m = _scales(grid, part, group)
        rho[part], sigma[part], part_mu, _ = fit(d, m, count, total, square)
        if mu is not None and part_mu is not None:
            mu[part] = part_mu
    return CodedMatrix.uniform(np.ascontiguousarray(grid.q, np.int8), sigma, mu, rho, group, fmt)


def kept_rho(grid: Grid, group: int, kept: np.ndarray) -> np.ndarray:
    """The least row scales float32 [rows] under which the scales of the pieces `kept` bool [rows, blocks] of a grid fit.

    group: columns per scale of the coded matrix; it divides that of the grid (`machine_format`).
    """
    d, m = _scales(grid, slice(None), group)
    here = np.repeat(kept, BLOCK // group, axis=1)[:, : d.shape[1]]
    return least_rho(np.where(here, d, np.float32(0)), None if m is None else np.where(here, m, np.float32(0)))


def keep_pieces(coded: CodedMatrix, grid: Grid, kept: np.ndarray) -> CodedMatrix:
    """`coded` (one pass) with the stored codes in the pieces `kept` bool [rows, blocks]; formats stay.

    A row that is kept whole is what `from_grid` makes of it. In other rows the scales of kept pieces are rounded under the row scale that
    they share with the rest, which must be at least `kept_rho`.
    """
    group, (old,) = coded.group, coded.passes
    rho, q, sigma, mu = coded.rho.copy(), old.q.copy(), old.sigma.copy(), old.mu.copy()
    step = max(1, _CHUNK // max(coded.k, 1))
    for start in range(0, coded.rows, step):
        rows = start + np.flatnonzero(kept[start : start + step].any(axis=1))
        if not len(rows):
            continue
        here = np.repeat(kept[rows], BLOCK // group, axis=1)[:, : sigma.shape[1]]
        columns = np.repeat(kept[rows], BLOCK, axis=1)[:, : coded.k]
        codes = grid.q[rows]
        q[rows] = np.where(columns, codes, q[rows])
        count = np.full(sigma.shape[1], group)
        count[-1] = coded.k - group * (len(count) - 1)
        mean = block_reduce(np.add, codes.astype(np.int32), group) / count
        d, m = _scales(grid, rows, group)
        s, o, _ = fit_at(rho[rows], d.astype(np.float64), None if m is None else m.astype(np.float64), mean)
        sigma[rows] = np.where(here, s, sigma[rows])
        mu[rows] = np.where(here, 0 if o is None else o, mu[rows])
        whole = rows[kept[rows].all(axis=1)]
        if len(whole):
            stored = regroup(from_grid(Grid(grid.spec, grid.q[whole], grid.d[whole], grid.m[whole])), group)
            rho[whole], sigma[whole], mu[whole] = stored.rho, stored.passes[0].sigma, stored.passes[0].mu
    return replace(coded, rho=rho, passes=(Pass(q, sigma, mu),))


def _scales(grid: Grid, rows: slice | np.ndarray, group: int) -> tuple[np.ndarray, np.ndarray | None]:
    """d and m (None: no offsets) of some rows, one for each `group` columns: float32 [rows, groups]."""
    index = np.arange(-(-grid.q.shape[1] // group)) * group // grid.spec.group
    return grid.d[rows][:, index], grid.m[rows][:, index] if grid.spec.affine else None
