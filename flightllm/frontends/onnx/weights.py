"""Views of weights that are read lazily: transposed, rows selected; and the packed integer weights of MatMulNBits."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx

from flightllm.errors import ModelError, UnsupportedError
from flightllm.frontends.onnx.reader import OnnxFile, finite, integer, label
from flightllm.ir.weights import Grid, GridSpec, Weight


def transposed(weight: Weight) -> Weight:
    """A matrix [k, n] of the file as [n, k]."""
    inner = weight.read
    return Weight(
        weight.name,
        weight.shape[::-1],
        lambda: np.ascontiguousarray(inner().T),
        weight.source,
        key=weight.key + "|T",
    )


def take(weight: Weight, rows: np.ndarray) -> Weight:
    """Rows of a matrix or elements of a vector, in that order, with their stored grid."""
    if len(rows) == weight.shape[0] and np.array_equal(rows, np.arange(len(rows))):
        return weight
    inner, inner_grid = weight.read, weight.read_grid

    def grid() -> Grid:
        assert inner_grid is not None
        full = inner_grid()
        return Grid(full.spec, full.q[rows], full.d[rows], full.m[rows])

    return Weight(
        weight.name,
        (len(rows), *weight.shape[1:]),
        lambda: np.ascontiguousarray(inner()[rows]),
        weight.source,
        grid=weight.grid,
        read_grid=grid if inner_grid is not None else None,
        key=f"{weight.key}|{hashlib.sha256(np.ascontiguousarray(rows, np.int64).tobytes()).hexdigest()[:16]}",
    )


def unpack(packed: np.ndarray, bits: int) -> np.ndarray:
    """uint8 [..., n] -> codes uint8 [..., n * 8 / bits], lowest bits first."""
    per = 8 // bits
    shifts = (np.arange(per) * bits).astype(np.uint8)
    codes = (packed[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return codes.reshape(*packed.shape[:-1], packed.shape[-1] * per)


class NBits:
    """Weight of a MatMulNBits node: codes in blocks along k, w = (code - zero_point) * scale.

    Inputs of the node: A, B uint8 [n, blocks, block_size * bits / 8], scales [n * blocks], zero_points (packed uint8 [n, ceil(blocks *
    bits / 8)], or of the scales' type; default 2 ** (bits - 1)), g_idx, bias. Source: ONNX Runtime's ContribOperators.md.
    """

    def __init__(self, file: OnnxFile, node: onnx.NodeProto) -> None:
        self.file, self.node = file, node
        self.n, self.k = integer(node, "N", 0), integer(node, "K", 0)
        self.bits, self.block = integer(node, "bits", 4), integer(node, "block_size", 0)
        if self.bits not in (2, 4, 8):
            raise UnsupportedError(
                f"MatMulNBits with {self.bits} bits",
                where=label(node),
                why="2, 4 and 8 bits are read",
                do="quantise to 4 or 8 bits",
            )
        if self.n < 1 or self.k < 1 or self.block < 16 or self.block & (self.block - 1):
            raise ModelError(
                "MatMulNBits with impossible sizes",
                where=label(node),
                why=f"N {self.n}, K {self.k}, block_size {self.block}; a block is a power of two of at least 16",
                do="export the model again",
            )
        self.blocks = -(-self.k // self.block)
        self.codes = self._constant(1, "codes")
        self.scales = self._constant(2, "scales")
        self.zeros = self._constant(3, "zero points") if len(node.input) > 3 and node.input[3] else ""
        self._size(self.codes, self.n * self.blocks * self.block * self.bits // 8)
        self._size(self.scales, self.n * self.blocks)
        if len(node.input) > 4 and node.input[4]:
            raise UnsupportedError(
                "MatMulNBits with reordered columns (g_idx)",
                where=label(node),
                why="a group's columns would not lie side by side",
                do="quantise without activation order (desc_act = false)",
            )
        if self.zeros:
            self._packed_zeros = not file.is_float(self.zeros)
            per_row = -(-self.blocks * self.bits // 8) if self._packed_zeros else self.blocks
            self._size(self.zeros, self.n * per_row)

    def _constant(self, index: int, what: str) -> str:
        name = self.node.input[index] if len(self.node.input) > index else ""
        if name not in self.file.constants:
            raise UnsupportedError(
                f"MatMulNBits whose {what} are not a constant",
                where=label(self.node),
                why=f"tensor {name!r}",
                do="fold constants",
            )
        return name

    def _size(self, name: str, wanted: int) -> None:
        have = int(np.prod(self.file.shape(name), dtype=np.int64))
        if have != wanted:
            raise ModelError(
                "MatMulNBits whose shapes disagree",
                where=f"{label(self.node)}, tensor {name}",
                why=f"{have} elements; N {self.n}, K {self.k}, block_size {self.block}, {self.bits} bits need {wanted}",
                do="export the model again",
            )

    def _scales(self) -> tuple[np.ndarray, np.ndarray]:
        """(scale, zero point) as float32 [n, blocks]."""
        where = f"{self.file.path}, tensor {self.scales}"
        scale = finite(np.asarray(self.file.array(self.scales), np.float32).reshape(self.n, self.blocks), where)
        if not self.zeros:
            return scale, np.full_like(scale, 1 << (self.bits - 1))
        zero = self.file.array(self.zeros).reshape(self.n, -1)
        if self._packed_zeros:
            return scale, unpack(np.ascontiguousarray(zero, np.uint8), self.bits)[:, : self.blocks].astype(np.float32)
        return scale, finite(np.asarray(zero, np.float32), f"{self.file.path}, tensor {self.zeros}")

    def read_grid(self) -> Grid:
        """Codes centred by 2 ** (bits - 1); a negative scale is turned: d * q = |d| * (-q - 1) + |d|."""
        half = 1 << (self.bits - 1)
        packed = np.ascontiguousarray(self.file.array(self.codes), np.uint8).reshape(self.n, -1)
        q = (unpack(packed, self.bits)[:, : self.k].astype(np.int16) - half).astype(np.int8)
        d, zero = self._scales()
        m = (half - zero) * d
        negative = d < 0
        if negative.any():
            flip = np.repeat(negative, self.block, axis=1)[:, : self.k]
            q[flip] = ~q[flip]
            m = np.where(negative, m - d, m)
            d = np.abs(d)
        return Grid(self.spec(), q, d, m.astype(np.float32))

    def spec(self) -> GridSpec:
        """The grid's description; reads the scales."""
        d, zero = self._scales()
        affine = bool((d < 0).any() or (zero != 1 << (self.bits - 1)).any())
        return GridSpec(self.bits, self.block, affine)

    def weight(self) -> Weight:
        """The weight [n, k] with its grid."""
        return Weight(
            self.codes,
            (self.n, self.k),
            lambda: self.read_grid().dense(),
            str(self.file.path),
            grid=self.spec(),
            read_grid=self.read_grid,
            key=f"{self.file.path}:{self.codes}|nbits",
        )
