"""GPTQ and AWQ checkpoints: packed integer weights that keep their own grid.

Both hold, per linear of K inputs and R outputs, `qweight`, `qzeros` (int32, packed) and `scales` [groups, R]:
w[r, k] = scale[g, r] * (q[r, k] - zero[g, r]) with q unsigned of b bits. Centred: code = q - 2^(b-1), d = scale,
m = scale * (2^(b-1) - zero).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flightllm.errors import ModelError, UnsupportedError
from flightllm.frontends.safetensors_reader import SafeTensors
from flightllm.ir.weights import Grid, GridSpec, Weight

#: groups of the machine; a checkpoint with one scale per row uses the largest
GROUPS = (32, 64, 128)
#: AWQ's GEMM kernels keep the eight 4-bit values of a word in this order
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)

#: module name -> its quantised weight, or None if the module is not quantised
QuantisedWeights = Callable[[str], Weight | None]


def quantised_weights(files: SafeTensors, config: dict[str, Any]) -> QuantisedWeights | None:
    """Reader of the checkpoint's packed weights, None if it has none. UnsupportedError for other methods."""
    settings = config.get("quantization_config")
    if not isinstance(settings, dict):
        return None
    method, where = settings.get("quant_method"), f"{files.folder}: quantization_config"
    if method not in ("gptq", "awq"):
        raise UnsupportedError(
            f"quantisation method {method!r} is not supported",
            where=where,
            why="gptq and awq checkpoints keep their grid; other methods are not known",
            do="use a checkpoint in floating point, GGUF, GPTQ or AWQ",
        )
    bits = settings.get("bits", settings.get("w_bit"))
    group = settings.get("group_size", settings.get("q_group_size"))
    if method == "awq" and (bits != 4 or settings.get("version", "gemm") != "gemm"):
        raise UnsupportedError(
            f"AWQ with {bits} bits, version {settings.get('version')!r}",
            where=where,
            why="4 bits and gemm are supported",
        )
    if bits not in (2, 3, 4, 8):
        raise UnsupportedError(f"GPTQ with {bits!r} bits", where=where, why="2, 3, 4 and 8 bits are supported")
    if group not in (*GROUPS, -1):
        raise UnsupportedError(
            f"groups of {group!r}", where=where, why=f"the machine has groups of {', '.join(map(str, GROUPS))}"
        )
    # Version 1 of the GPTQ format stores zero - 1.
    plus = int(method == "gptq" and settings.get("checkpoint_format", "gptq") != "gptq_v2")

    def weight(module: str) -> Weight | None:
        return _weight(files, module, method, bits, group, plus)

    return weight


def _weight(files: SafeTensors, module: str, method: str, bits: int, group: int, plus: int) -> Weight | None:
    names = {part: f"{module}.{part}" for part in ("qweight", "qzeros", "scales")}
    if names["qweight"] not in files:
        return None
    for name in names.values():
        if name not in files:
            raise ModelError(f"the model has no tensor {name}", where=str(files.folder), do="the file is incomplete")
    scales = files.entries[names["scales"]].shape
    packed = files.entries[names["qweight"]].shape
    if len(scales) != 2 or len(packed) != 2:
        raise ModelError(f"{module}: shapes {list(packed)}, {list(scales)}", where=str(files.folder))
    rows = scales[1]
    k = packed[0] * 32 // bits if method == "gptq" else packed[0]
    size = k if group == -1 else group
    expected = (-(-k // size), rows)
    want_packed = (k * bits // 32, rows) if method == "gptq" else (k, rows * bits // 32)
    want_zeros = (expected[0], rows * bits // 32)
    zeros = files.entries[names["qzeros"]].shape
    if scales != expected or packed != want_packed or zeros != want_zeros:
        raise ModelError(
            f"{module}: packed shapes disagree",
            where=str(files.folder),
            why=f"qweight {list(packed)}, qzeros {list(zeros)}, scales {list(scales)}; {bits} bits, groups of {group}",
        )
    _check_order(files, module, size)

    def read_grid() -> Grid:
        word = files.raw(names["qweight"])
        zero_word = files.raw(names["qzeros"])
        d = files.read(names["scales"]).T
        half = 1 << (bits - 1)
        if method == "gptq":
            q = unpack_rows(word.T, bits)
            zero = unpack_rows(zero_word, bits)
        else:
            q = unpack_awq(word).T
            zero = unpack_awq(zero_word)
        zero = zero.T.astype(np.int32) + plus
        m = d * (half - zero).astype(np.float32)
        flip = d < 0  # a negative scale is mirrored: d c + m = |d| (-1 - c) + (m - d)
        codes = np.ascontiguousarray((q.astype(np.int16) - half).astype(np.int8))
        if flip.any():
            wide = np.repeat(flip, size, axis=1)[:, :k]
            codes = np.where(wide, -1 - codes, codes)
            m = np.where(flip, m - d, m)
            d = np.abs(d)
        if group == -1:
            repeat = -(-k // GROUPS[-1])
            d, m = np.repeat(d, repeat, axis=1), np.repeat(m, repeat, axis=1)
        return Grid(GridSpec(bits, GROUPS[-1] if group == -1 else group, True), codes, np.ascontiguousarray(d), m)

    spec = GridSpec(bits, GROUPS[-1] if group == -1 else group, True)
    e = files.entries[names["qweight"]]
    return Weight(
        names["qweight"], (rows, k), lambda: read_grid().dense(), str(e.path), spec, read_grid, f"{e.path}:{module}"
    )


def _check_order(files: SafeTensors, module: str, size: int) -> None:
    """GPTQ's act-order gives each column a group of its own choice; only the plain order has groups of neighbours."""
    name = f"{module}.g_idx"
    if name not in files:
        return
    order = np.asarray(files.raw(name))
    if not np.array_equal(order, np.arange(len(order)) // size):
        raise UnsupportedError(
            f"{module} is quantised in activation order (desc_act)",
            where=str(files.folder),
            why="its groups are not runs of neighbouring columns, which the weight stream needs",
            do="use a checkpoint made with desc_act = false",
        )


def unpack_rows(words: np.ndarray, bits: int) -> np.ndarray:
    """int32 [rows, n * bits / 32] -> uint8 [rows, n]: values packed from the lowest bit on, across words (3 bits) as well."""
    raw = np.ascontiguousarray(words).view(np.uint8).reshape(len(words), -1)
    if bits == 8:
        return raw
    flat = np.unpackbits(raw, axis=1, bitorder="little").reshape(len(words), -1, bits)
    return np.packbits(flat, axis=2, bitorder="little")[..., 0]


def unpack_awq(words: np.ndarray) -> np.ndarray:
    """int32 [n, rows / 8] -> uint8 [n, rows]."""
    word = np.ascontiguousarray(words).view(np.uint32)
    out = np.empty((*word.shape, 8), np.uint8)
    for place, column in enumerate(AWQ_ORDER):
        out[..., column] = word >> np.uint32(4 * place) & np.uint32(15)
    return out.reshape(len(word), -1)
