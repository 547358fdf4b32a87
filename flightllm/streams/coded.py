"""The coded matrix: integer codes, integer scales and entry formats of one weight matrix, in memory.

Producers (flightllm.compress) make it, the packer (flightllm.streams.weights) writes it as a weight stream, and
`effective` says which exact integer matrix the hardware multiplies with:

    W'[r, k] = sum over passes p of sigma[p, r, g] * q[p, r, k] + mu[p, r, g],  g = k // group;  weight ~ rho[r] * W'[r, k]
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from flightllm.streams.formats import (
    ABSENT,
    BLOCK,
    GROUPS,
    KEPT,
    MU_MAX,
    WIDTHS,
    WINDOW,
    EntryFormat,
)


@dataclass(frozen=True, eq=False)
class Pass:
    """One pass. q: int8 [rows, k], zero where a sparse window keeps nothing. sigma: uint8 [rows, ceil(k / group)].

    mu: int16 of the same shape as sigma, within +-2047 and zero in sparse and symmetric entries.
    """

    q: np.ndarray
    sigma: np.ndarray
    mu: np.ndarray


@dataclass(frozen=True, eq=False)
class CodedMatrix:
    """A weight matrix [rows, k] as the machine holds it.

    group: columns per scale (32, 64 or 128). rho: float32 [rows]. bias: float32 [rows] or None. passes: one or more `Pass`.
    formats: uint8 [rows, ceil(k / 128), passes], format bytes without the "more" bit, `ABSENT` where a pass does not exist (its
    q, sigma and mu are zero there). Formats stand per row so that matrices can be stacked and permuted; the packer widens
    them to the granule of the hardware (`granule_formats`).
    """

    group: int
    rho: np.ndarray
    passes: tuple[Pass, ...]
    formats: np.ndarray
    bias: np.ndarray | None = None

    @classmethod
    def uniform(
        cls,
        q: np.ndarray,
        sigma: np.ndarray,
        mu: np.ndarray | None,
        rho: np.ndarray,
        group: int,
        fmt: EntryFormat,
        bias: np.ndarray | None = None,
    ) -> CodedMatrix:
        """One pass with one format everywhere; `mu` None means zero."""
        mu = np.zeros(sigma.shape, np.int16) if mu is None else mu
        blocks = -(-q.shape[1] // BLOCK)
        formats = np.broadcast_to(np.uint8(fmt.byte & ~0x40), (q.shape[0], blocks, 1))
        return cls(group, rho, (Pass(q, sigma, mu),), formats, bias)

    @property
    def rows(self) -> int:
        """Number of rows (outputs)."""
        return self.passes[0].q.shape[0]

    @property
    def k(self) -> int:
        """Number of columns (inputs), without padding."""
        return self.passes[0].q.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, k)."""
        return self.passes[0].q.shape

    def effective(self, dtype: type = np.int32) -> np.ndarray:
        """The exact integer matrix W' [rows, k] in `dtype` (int32 and wider floats hold it exactly)."""
        out: np.ndarray | None = None
        for p in self.passes:
            term = expand(p.q, p.sigma, p.mu, self.group, dtype)
            out = term if out is None else np.add(out, term, out=out)
        assert out is not None
        return out

    def dense(self) -> np.ndarray:
        """The weights this stands for, float32 [rows, k]: fl(W' * rho)."""
        out = self.effective(np.float32)
        out *= self.rho[:, None]
        return out

    def integer_bound(self, act_max: int = 127) -> int:
        """An upper bound of |I| for activations within +-act_max; the machine needs it below 2^47."""
        total = np.zeros(self.rows, np.int64)
        for p in self.passes:
            for start in range(0, self.rows, 1024):
                part = slice(start, start + 1024)
                sums = group_reduce(np.abs(p.q[part].astype(np.int32)), self.group)
                size = np.full(sums.shape[1], self.group, np.int64)
                size[-1] = self.k - self.group * (sums.shape[1] - 1)
                total[part] += (p.sigma[part] * sums.astype(np.int64) + np.abs(p.mu[part].astype(np.int64)) * size).sum(
                    1
                )
        return int(total.max(initial=0)) * act_max

    def with_bias(self, bias: np.ndarray | None) -> CodedMatrix:
        """The same matrix with another bias (float32 [rows] or None)."""
        return replace(self, bias=None if bias is None else np.ascontiguousarray(bias, np.float32))

    def slice_rows(self, start: int, stop: int) -> CodedMatrix:
        """Rows start..stop-1 (views, no copies): the part of one core, or of one strip of work."""
        part = slice(start, stop)
        passes = tuple(Pass(p.q[part], p.sigma[part], p.mu[part]) for p in self.passes)
        bias = None if self.bias is None else self.bias[part]
        return CodedMatrix(self.group, self.rho[part], passes, self.formats[part], bias)

    def slice_columns(self, start: int, stop: int) -> CodedMatrix:
        """Columns start..stop-1 (views); `start` is a multiple of 128, so that no block and no group is torn."""
        if start == 0 and stop == self.k:
            return self
        assert start % BLOCK == 0
        groups = slice(start // self.group, -(-stop // self.group))
        passes = tuple(Pass(p.q[:, start:stop], p.sigma[:, groups], p.mu[:, groups]) for p in self.passes)
        formats = self.formats[:, start // BLOCK : -(-stop // BLOCK)]
        return CodedMatrix(self.group, self.rho, passes, formats, self.bias)

    def validate(self) -> None:
        """ValueError if codes, scales, sparsity or shapes do not fit the formats."""
        rows, k = self.shape
        groups, blocks = -(-k // self.group), -(-k // BLOCK)
        if self.group not in GROUPS:
            raise ValueError(f"group {self.group} is not one of {GROUPS}")
        if self.formats.shape != (rows, blocks, len(self.passes)) or self.rho.shape != (rows,):
            raise ValueError("formats or rho have the wrong shape")
        if self.bias is not None and self.bias.shape != (rows,):
            raise ValueError("bias has the wrong shape")
        for i, p in enumerate(self.passes):
            if p.q.shape != (rows, k) or p.sigma.shape != (rows, groups) or p.mu.shape != (rows, groups):
                raise ValueError(f"pass {i}: arrays do not have the shapes [rows, k], [rows, groups]")
            if p.q.dtype != np.int8 or p.sigma.dtype != np.uint8 or p.mu.dtype != np.int16:
                raise ValueError(f"pass {i}: dtypes must be int8, uint8, int16")
            for start in range(0, rows, 512):
                self._validate_pass(i, slice(start, start + 512))

    def _validate_pass(self, i: int, part: slice) -> None:
        p, fmt = self.passes[i], self.formats[part, :, i]
        bits, kept, affine, absent = decode_formats(fmt)
        half = 1 << (bits.astype(np.int32) - 1)
        half[absent] = 0
        low, high = block_reduce(np.minimum, p.q[part], BLOCK), block_reduce(np.maximum, p.q[part], BLOCK)
        if (low < -half).any() or (high > np.maximum(half - 1, 0)).any():
            raise ValueError(f"pass {i}: a code does not fit its format")
        nonzero = block_reduce(
            np.maximum, block_reduce(np.add, (p.q[part] != 0).astype(np.int8), WINDOW), BLOCK // WINDOW
        )
        if (nonzero > kept).any():
            raise ValueError(f"pass {i}: a window keeps more codes than its N")
        mu = block_reduce(np.maximum, np.abs(p.mu[part].astype(np.int32)), BLOCK // self.group)
        if (mu > np.where(affine & ~absent, MU_MAX, 0)).any():
            raise ValueError(f"pass {i}: an offset is out of range or in an entry without offsets")


def decode_formats(formats: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Format bytes to arrays (bits, kept, affine, absent); absent entries decode as 2 bits, 16 kept."""
    absent = formats == ABSENT
    known = np.where(absent, 0, formats)
    return np.array(WIDTHS)[known & 7], np.array(KEPT)[known >> 3 & 3], (known & 0x20) != 0, absent


def array_share(formats: np.ndarray) -> float:
    """Beats of the array that entries of these formats take, of those of one dense pass: N/16 for each N:16 pass, on average over uint8 [..., passes]."""
    _, kept, _, absent = decode_formats(formats)
    return float(np.where(absent, 0, kept).sum(axis=-1).mean()) / 16 if formats.size else 0.0


def block_reduce(ufunc: np.ufunc, x: np.ndarray, size: int) -> np.ndarray:
    """Reduce the last axis of x [rows, n] in blocks of `size` (the last may be shorter): [rows, ceil(n / size)]."""
    if size == 1:
        return x
    rows, n = x.shape
    whole = n // size * size
    out = ufunc.reduce(x[:, :whole].reshape(rows, whole // size, size), axis=2, dtype=x.dtype)
    if whole < n:
        out = np.concatenate([out, ufunc.reduce(x[:, whole:], axis=1, keepdims=True, dtype=x.dtype)], axis=1)
    return out


def group_reduce(x: np.ndarray, group: int) -> np.ndarray:
    """Sums of x [rows, k] over groups of columns: [rows, ceil(k / group)]."""
    return block_reduce(np.add, x, group)


def expand(q: np.ndarray, sigma: np.ndarray, mu: np.ndarray, group: int, dtype: type) -> np.ndarray:
    """sigma * q + mu as an array [rows, k] of `dtype`."""
    rows, k = q.shape
    out: np.ndarray = np.empty((rows, k), dtype)
    offsets = bool(mu.any())
    whole = k // group * group
    step = max(1, (1 << 18) // max(k, 1))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        for lo, hi in ((0, whole), (whole, k)):
            if lo == hi:
                continue
            shape = (-1, (hi - lo) // group, group) if hi == whole else (-1, 1, hi - lo)
            g = slice(lo // group, -(-hi // group))
            # a row of out is contiguous in each half only: multiply in a temporary that fits the cache
            term = q[part, lo:hi].astype(dtype).reshape(shape)
            term *= sigma[part, g, None].astype(dtype)
            if offsets:
                term += mu[part, g, None].astype(dtype)
            out[part, lo:hi] = term.reshape(term.shape[0], -1)
    return out


def granule_formats(coded: CodedMatrix, granule: int) -> np.ndarray:
    """Formats that serve every row of each granule: uint8 [ceil(rows / granule), blocks, passes] (see `widen`)."""
    formats = coded.formats
    if formats.strides[:2] == (0, 0) and not (formats[:1, :1] == ABSENT).any():
        return np.broadcast_to(formats[:1, :1], (-(-coded.rows // granule), *formats.shape[1:]))
    return widen(formats, granule)


def widen(formats: np.ndarray, granule: int) -> np.ndarray:
    """The widest formats of each `granule` rows of uint8 [rows, blocks, passes]: uint8 [ceil(rows / granule), blocks, passes].

    Most bits, most kept, offsets if any has them; a pass exists if any row has it. A block without any pass gets the narrowest first
    pass. Codes need no change: what fits a format fits a wider one.
    """
    starts = np.arange(0, len(formats), granule)
    if not len(starts):
        return np.array(formats)
    _, _, _, absent = decode_formats(formats)
    known = np.where(absent, 0, formats)
    width = np.maximum.reduceat(known & 7, starts, axis=0)
    kept = np.minimum.reduceat(np.where(absent, 3, known >> 3 & 3), starts, axis=0)
    affine = np.maximum.reduceat(known & 0x20, starts, axis=0)
    gone = np.logical_and.reduceat(absent, starts, axis=0)
    out = np.where(gone, ABSENT, width | kept << 3 | affine).astype(np.uint8)
    empty = gone.all(axis=2)
    out[..., 0] = np.where(empty, 0, out[..., 0])
    return out


def uniform_format(formats: np.ndarray) -> int | None:
    """The format byte that the whole matrix has (goes into the instruction), or None if it needs a format table."""
    if formats.size == 0:
        return 0
    first = formats[0, 0]
    present = first[first != ABSENT]
    return int(present[0]) if len(present) == 1 and (formats == first).all() else None


def regroup(coded: CodedMatrix, group: int) -> CodedMatrix:
    """The same matrix in smaller groups (exact); ValueError if `group` does not divide the present one."""
    if coded.group % group:
        raise ValueError(f"groups of {coded.group} cannot be cut into groups of {group}")
    index = np.arange(-(-coded.k // group)) * group // coded.group
    passes = tuple(Pass(p.q, p.sigma[:, index], p.mu[:, index]) for p in coded.passes)
    return replace(coded, group=group, passes=passes)
