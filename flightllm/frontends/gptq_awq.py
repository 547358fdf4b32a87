"""GPTQ and AWQ checkpoints: packed integer weights that keep their own grid.

Both hold, per linear of K inputs and R outputs, `qweight`, `qzeros` (int32, packed) and `scales` [groups, R]:
w[r, k] = scale[g, r] * (q[r, k] - zero[g, r]) with q unsigned of b bits. Centred: code = q - 2^(b-1), d = scale,
m = scale * (2^(b-1) - zero).
"""

from __future__ import annotations

from collections.abc import Callable
from reprlib import repr as short
from typing import Any

import numpy as np

from flightllm.errors import ModelError, UnsupportedError
from flightllm.frontends.safetensors_reader import SafeTensors
from flightllm.ir.weights import Grid, GridSpec, Weight

#: groups of the machine; a checkpoint with one scale per row uses the largest
GROUPS = (32, 64, 128)
#: AWQ's GEMM kernels keep the eight 4-bit values of a word in this order
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
#: widths of codes and layouts of words that are read; the first layout is meant where none is named
BITS = {"gptq": (2, 3, 4, 8), "awq": (4,)}
LAYOUTS = {"gptq": ("gptq", "gptq_v2"), "awq": ("gemm",)}

#: module name -> its quantised weight, or None if the module is not quantised
QuantisedWeights = Callable[[str], Weight | None]


def quantised_weights(files: SafeTensors, config: dict[str, Any]) -> QuantisedWeights | None:
    """Reader of the checkpoint's packed weights, None if it has none. UnsupportedError for other methods."""
    settings = config.get("quantization_config")
    if settings is None:
        return None
    if not isinstance(settings, dict):
        raise ModelError(
            f"quantization_config = {short(settings)}",
            where=str(files.folder),
            why="an object is needed",
            do="see to the model's configuration, or get another copy of it",
        )
    method, where = settings.get("quant_method"), f"{files.folder}: quantization_config"
    if not isinstance(method, str) or method not in BITS:
        raise UnsupportedError(
            f"quantisation method {short(method)} is not supported",
            where=where,
            why="gptq and awq checkpoints keep their grid; other methods are not known",
            do="use a checkpoint in floating point, GGUF, GPTQ or AWQ",
        )
    bits: Any = settings.get("bits", settings.get("w_bit"))
    group: Any = settings.get("group_size", settings.get("q_group_size"))
    # AutoAWQ calls the layout of its words `version`, GPTQ tools `checkpoint_format`; later ones `format`.
    layout = settings.get("version" if method == "awq" else "checkpoint_format") or settings.get("format")
    layout = str(layout or LAYOUTS[method][0]).lower()
    for name, value, allowed in (("bits", bits, BITS[method]), ("format", layout, LAYOUTS[method])):
        if type(value) not in (int, str) or value not in allowed:
            raise UnsupportedError(
                f"{method} with {name} {short(value)} is not supported",
                where=where,
                why=f"supported are {', '.join(map(str, allowed))}",
                do=f"use a {method} checkpoint of that kind, or one in floating point",
            )
    if type(group) is not int or group not in (*GROUPS, -1):
        raise UnsupportedError(
            f"groups of {short(group)} are not supported",
            where=where,
            why=f"the machine has groups of {', '.join(map(str, GROUPS))}; -1, one scale per row, is possible too",
            do="use a checkpoint with one of these group sizes",
        )
    plus = int(layout == "gptq")
    ordered = method == "gptq" and bool(settings.get("desc_act"))

    def weight(module: str) -> Weight | None:
        return _weight(files, module, method, bits, group, plus, ordered)

    return weight


def _weight(
    files: SafeTensors, module: str, method: str, bits: int, group: int, plus: int, ordered: bool
) -> Weight | None:
    names = {part: f"{module}.{part}" for part in ("qweight", "qzeros", "scales")}
    if names["qweight"] not in files:
        return None
    for name in names.values():
        if name not in files:
            raise ModelError(f"the model has no tensor {name}", where=str(files.folder), do="the file is incomplete")
    scales = files.entry(names["scales"]).shape
    packed, zeros = (files.entry(names[part], {"I32"}).shape for part in ("qweight", "qzeros"))
    if len(scales) != 2 or len(packed) != 2 or 0 in scales + packed:
        raise ModelError(
            f"{module}: packed shapes disagree",
            where=str(files.folder),
            why=f"qweight {list(packed)} and scales {list(scales)} should both be matrices with elements",
            do="the checkpoint is damaged, or of a layout that is not known; get another copy or another checkpoint",
        )
    rows = scales[1]
    k = packed[0] * 32 // bits if method == "gptq" else packed[0]
    size = k if group == -1 else group
    half = 1 << (bits - 1)
    expected = (-(-k // size), rows)
    want_packed = (k * bits // 32, rows) if method == "gptq" else (k, rows * bits // 32)
    want_zeros = (expected[0], rows * bits // 32)
    if scales != expected or packed != want_packed or zeros != want_zeros:
        raise ModelError(
            f"{module}: packed shapes disagree",
            where=str(files.folder),
            why=f"qweight {list(packed)}, qzeros {list(zeros)}, scales {list(scales)}; {bits} bits, groups of {group}",
            do="the checkpoint is damaged, or of a layout that is not known; get another copy or another checkpoint",
        )
    _check_order(files, module, size, ordered, k)

    def centre() -> tuple[np.ndarray, np.ndarray]:
        """(d, m) [rows, groups]; a d may still be negative."""
        word = files.raw(names["qzeros"])
        zero = (unpack_rows(word, bits) if method == "gptq" else unpack_awq(word)).T.astype(np.int32)
        # Version 1 of the GPTQ format stores zero - 1, in b bits: 0 stands as 2^b - 1.
        zero = (zero + plus) & ((1 << bits) - 1)
        d = files.read(names["scales"]).T
        with np.errstate(invalid="ignore"):  # scales that are not finite are reported when the weight is coded
            return d, d * (half - zero).astype(np.float32)

    def read_grid() -> Grid:
        word = files.raw(names["qweight"])
        q = unpack_rows(word.T, bits) if method == "gptq" else unpack_awq(word).T
        codes = (q - np.uint8(half)).view(np.int8)  # modulo 256, so right for every width
        d, m = centre()
        flip = d < 0  # a negative scale is mirrored: d c + m = |d| (-1 - c) + (m - d)
        if flip.any():
            wide = np.repeat(flip, size, axis=1)[:, :k]
            codes = np.where(wide, ~codes, codes)
            m = np.where(flip, m - d, m)
            d = np.abs(d)
        if group == -1:
            repeat = -(-k // GROUPS[-1])
            d, m = np.repeat(d, repeat, axis=1), np.repeat(m, repeat, axis=1)
        codes, d, m = (np.ascontiguousarray(x) for x in (codes, d, m))
        return Grid(spec, codes, d, m)

    d, m = centre()
    affine = bool((m != 0).any() or (d < 0).any())
    spec = GridSpec(bits, GROUPS[-1] if group == -1 else group, affine)
    e = files.entries[names["qweight"]]
    return Weight(
        names["qweight"], (rows, k), lambda: read_grid().dense(), str(e.path), spec, read_grid, f"{e.path}:{module}"
    )


def _check_order(files: SafeTensors, module: str, size: int, ordered: bool, k: int) -> None:
    """GPTQ's act-order gives each column a group of its own choice; only the plain order has groups of neighbours."""
    name = f"{module}.g_idx"
    if name in files:
        files.entry(name, {"I32", "I64"})
        trivial = np.array_equal(files.raw(name), np.arange(k) // size)
    else:
        trivial = not ordered
    if not trivial:
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
    # A run of `unit` bytes holds whole values: one byte for 2 and 4 bits, three bytes for 3.
    unit = 1 if 8 % bits == 0 else bits
    run: np.ndarray = raw[:, 0::unit].astype(np.uint8 if unit == 1 else np.uint32)
    for i in range(1, unit):
        run = run | raw[:, i::unit].astype(np.uint32) << np.uint32(8 * i)
    out = np.empty((*run.shape, 8 * unit // bits), np.uint8)
    for place in range(out.shape[-1]):
        out[..., place] = np.right_shift(run, bits * place) & ((1 << bits) - 1)
    return out.reshape(len(words), -1)


def unpack_awq(words: np.ndarray) -> np.ndarray:
    """int32 [n, rows / 8] -> uint8 [n, rows]."""
    word = np.ascontiguousarray(words).view(np.uint32)
    out = np.empty((*word.shape, 8), np.uint8)
    for place, column in enumerate(AWQ_ORDER):
        out[..., column] = word >> np.uint32(4 * place) & np.uint32(15)
    return out.reshape(len(word), -1)
