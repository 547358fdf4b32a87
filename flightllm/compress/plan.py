"""From a weight and its recipe to a coded matrix: the compiler calls `code_tensor` once per tensor."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from flightllm.compress import rtn  # noqa: F401  (registers the producer "rtn")
from flightllm.compress.grids import from_grid, holdable, keep_pieces, kept_rho
from flightllm.compress.producer import Calibration, CodingRequest, producer
from flightllm.compress.tensor import Mix, TensorRecipe
from flightllm.config.arch import ArchConfig
from flightllm.errors import RecipeError
from flightllm.ir.values import FP32_MAX, check_values, read_values
from flightllm.ir.weights import Weight
from flightllm.numerics.constants import QMAX
from flightllm.streams.coded import CodedMatrix, regroup, widen
from flightllm.streams.formats import ABSENT, BLOCK, EntryFormat
from flightllm.streams.weights import rows_per_vpu_needed, stream_bytes

_OVERFLOW = "sums of products with them overflow fp32"


@dataclass
class TensorReport:
    """What became of one tensor: a row of the table at the end of a compile.

    bits_per_weight: of the packed stream, all included. error: relative, |coded - weight| / |weight| (Frobenius).
    formats: entry format -> share of the weights, 0..1. notes: anything done differently from what was asked for.
    """

    name: str
    rows: int
    k: int
    group: int
    stored: bool
    bits_per_weight: float
    error: float
    formats: dict[str, float]
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary (for --json)."""
        return asdict(self)


def code_tensor(
    weight: Weight,
    recipe: TensorRecipe,
    arch: ArchConfig,
    *,
    bias: Weight | None = None,
    rows_per_vpu: int | None = None,
    mix: Mix | None = None,
    calibration: Calibration | None = None,
) -> tuple[CodedMatrix, TensorReport]:
    """Code one weight [out, in] as its recipe says. Reads this tensor and holds nothing else.

    rows_per_vpu: m of the strips the compiler will pack with (for row ranges and the reported bits per weight); default the least that
    is legal. mix: chosen by a budget (`compress.budget.allocate`), in place of the recipe's passes and group. calibration: of its inputs.
    ModelError if weight or bias holds NaN, infinity or values whose products overflow fp32; RecipeError if the recipe has a budget and no mix is given.
    """
    notes: list[str] = []
    coded, error, stored = _from_store(weight, recipe, notes) if mix is None else (None, 0.0, False)
    if coded is None:
        if mix is None:
            if recipe.budget is not None:
                raise RecipeError(
                    f"{weight.name} takes part in a budget of {recipe.budget} bits, and nothing was allocated",
                    do="call compress.budget.allocate over all matrices first",
                )
            sparsest = max(f.share for f in recipe.passes + tuple(f for r in recipe.rows for f in r.passes))
            m = rows_per_vpu or sparsest
            formats = recipe_formats(recipe, weight.shape[0], weight.shape[1], arch.channels * arch.vpus * m, notes)
            mix = Mix(recipe.group, formats)
        data = read_values(weight, _limit(recipe, weight.shape[1]), _OVERFLOW)
        coded = _code(weight, data, recipe, mix, calibration)
        error = relative_error(data, coded)
        stored = mix.kept is not None and bool(mix.kept.all())
    if bias is not None:
        coded = coded.with_bias(read_values(bias, FP32_MAX / 2, "a sum with it overflows fp32"))
    m = rows_per_vpu or rows_per_vpu_needed(coded)
    size = stream_bytes(coded, arch.channels, arch.vpus, m) * arch.channels
    bits = 8 * size / max(1, coded.rows * coded.k)
    report = TensorReport(weight.name, *coded.shape, coded.group, stored, bits, error, format_shares(coded), notes)
    return coded, report


def _code(
    weight: Weight, data: np.ndarray, recipe: TensorRecipe, mix: Mix, calibration: Calibration | None
) -> CodedMatrix:
    """Code `data`, the dense weight; pieces that the mix keeps have the codes of the stored grid."""
    method, search = producer(recipe.producer), recipe.search
    if mix.kept is None or not mix.kept.any():
        return method.code(data, CodingRequest(mix.group, mix.formats, search, calibration))
    assert weight.read_grid is not None
    grid = weight.read_grid()
    if mix.kept.all():
        return replace(regroup(from_grid(grid), mix.group), formats=mix.formats)
    least = kept_rho(grid, mix.group, mix.kept)
    coded = method.code(data, CodingRequest(mix.group, mix.formats, search, calibration, least))
    return keep_pieces(coded, grid, mix.kept)


def recipe_formats(recipe: TensorRecipe, rows: int, k: int, granule: int, notes: list[str]) -> np.ndarray:
    """Format table uint8 [rows, blocks, passes] of a recipe; row ranges are widened to granules of `granule` rows, with a note."""
    blocks = -(-k // BLOCK)
    count = max([len(recipe.passes), *(len(r.passes) for r in recipe.rows)])

    def column(passes: tuple[EntryFormat, ...]) -> np.ndarray:
        return np.array([p.byte for p in passes] + [ABSENT] * (count - len(passes)), np.uint8)

    if not recipe.rows:
        return np.broadcast_to(column(recipe.passes), (rows, blocks, count))
    out = np.empty((rows, blocks, count), np.uint8)
    out[:] = column(recipe.passes)
    for r in recipe.rows:
        out[r.start : r.stop] = column(r.passes)
    wide = np.repeat(widen(out, granule), granule, axis=0)[:rows]
    changed = int((wide != out).any(axis=(1, 2)).sum())
    if changed:
        notes.append(
            f"row ranges were widened to granules of {granule} rows: {changed} rows got a wider format than asked for"
        )
    return wide


def again(recipe: TensorRecipe) -> str:
    """What happens to a weight whose stored form is not kept, e.g. "coded again at 8 bits, group 128"."""
    if recipe.budget is not None:
        return f"coded again within a budget of {recipe.budget:g} bits"
    bits = " + ".join(str(p.bits) for p in recipe.passes)
    return f"coded again at {bits} bits, group {recipe.group}"


def _from_store(weight: Weight, recipe: TensorRecipe, notes: list[str]) -> tuple[CodedMatrix | None, float, bool]:
    if not recipe.as_stored:
        return None, 0.0, False
    if weight.grid is None or weight.read_grid is None:
        if weight.stored:
            notes.append(f"stored as {weight.stored}, which the machine does not have: {again(recipe)}")
        return None, 0.0, False
    why = holdable(weight.grid)
    if why:
        notes.append(f"the stored grid is not kept ({why}): {again(recipe)}")
        return None, 0.0, False
    grid = weight.read_grid()
    limit = _limit(recipe, weight.shape[1])
    check_values(weight, grid.d, limit / (1 << grid.spec.bits), _OVERFLOW)
    check_values(weight, grid.m, limit / 2, _OVERFLOW)
    coded = from_grid(grid)
    return coded, relative_error(grid.dense(), coded), True


def _limit(recipe: TensorRecipe, k: int) -> float:
    """Largest weight of a row of `k` with which float(I) * rho is finite for any activations (half of it: room for rounding)."""
    return FP32_MAX / (2 * max(1, k) * QMAX[recipe.activations])


def relative_error(weight: np.ndarray, coded: CodedMatrix) -> float:
    """|coded - weight| / |weight|, Frobenius; 0 for a zero matrix that is coded as zero."""
    step = max(1, (1 << 20) // max(coded.k, 1))
    difference = norm = 0.0
    for start in range(0, coded.rows, step):
        w = weight[start : start + step]
        delta = coded.slice_rows(start, start + step).dense() - w
        # squares of large weights overflow fp32
        difference += float(np.einsum("rk,rk->", delta, delta, dtype=np.float64))
        norm += float(np.einsum("rk,rk->", w, w, dtype=np.float64))
    return (difference / norm) ** 0.5 if norm else (0.0 if not difference else float("inf"))


def format_shares(coded: CodedMatrix) -> dict[str, float]:
    """Entry format, or sum of formats -> share of the weights, in falling order."""
    formats = coded.formats
    if formats.strides[:2] == (0, 0):
        return {_format_text(formats[0, 0]): 1.0} if formats.size else {}
    counts: Counter[str] = Counter()
    for block in range(formats.shape[1]):
        kinds, number = np.unique(formats[:, block], axis=0, return_counts=True)
        columns = min(BLOCK, coded.k - BLOCK * block)
        for kind, n in zip(kinds, number, strict=True):
            counts[_format_text(kind)] += int(n) * columns
    total = max(1, sum(counts.values()))
    return {text: n / total for text, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))}


def _format_text(entry: np.ndarray) -> str:
    return " + ".join(str(EntryFormat.from_byte(int(b))) for b in entry if b != ABSENT) or "zero"
