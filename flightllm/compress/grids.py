"""Stored grids (GGUF, GPTQ, AWQ, ONNX MatMulNBits) to coded matrices: the codes stay, only their scales are rounded."""

from __future__ import annotations

import numpy as np

from flightllm.compress.scales import fit
from flightllm.ir.weights import Grid, GridSpec
from flightllm.streams.coded import CodedMatrix, block_reduce
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
    index = np.arange(groups) * group // grid.spec.group
    count = np.full(groups, group, np.int64)
    count[-1:] = k - group * (groups - 1)
    rho, sigma = np.empty(rows, np.float32), np.empty((rows, groups), np.uint8)
    mu = np.zeros((rows, groups), np.int16) if fmt.affine else None
    for start in range(0, rows, max(1, _CHUNK // max(k, 1))):
        part = slice(start, start + max(1, _CHUNK // max(k, 1)))
        q = grid.q[part].astype(np.int32)
        total, square = block_reduce(np.add, q, group), block_reduce(np.add, q * q, group)
        m = grid.m[part][:, index] if fmt.affine else None
        rho[part], sigma[part], part_mu, _ = fit(grid.d[part][:, index], m, count, total, square)
        if mu is not None and part_mu is not None:
            mu[part] = part_mu
    return CodedMatrix.uniform(np.ascontiguousarray(grid.q, np.int8), sigma, mu, rho, group, fmt)
