"""The budgeted mix: widths per piece of each matrix so that the average bits per weight, all included, meets a budget.

A piece is what the hardware can give a format of its own: a granule (one strip of rows on all channels) times a block of 128
columns. The widths minimise the summed loss (flightllm.compress.sensitivity) under the budget, by one Lagrange multiplier: each piece
takes the choice with the least loss + lambda * bytes, lambda is found by bisection, and what the last step leaves over
is spent on the best single steps. Sizes are those of the packed streams, so headers, tables, scales and padding all count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from flightllm.compress import rtn  # noqa: F401  (registers the producer "rtn")
from flightllm.compress.producer import Calibration, producer
from flightllm.compress.recipe import AFFINE_UP_TO
from flightllm.compress.sensitivity import losses
from flightllm.compress.tensor import TensorRecipe
from flightllm.config.arch import ArchConfig
from flightllm.errors import RecipeError
from flightllm.ir.weights import Weight
from flightllm.streams.formats import STREAM_ALIGN, EntryFormat
from flightllm.streams.layout import EntryShape, Geometry, header_sizes

#: widths a mix chooses among
MIX = (2, 3, 4, 5, 6, 8)


@dataclass(frozen=True)
class BudgetPart:
    """Rows of one weight in a matrix. rows: for each core, the weight's row at each row of its part, -1: a zero row."""

    name: str
    weight: Weight
    rows: tuple[np.ndarray, ...]
    calibration: Calibration | None = None


@dataclass(frozen=True)
class BudgetMatrix:
    """One weight stream as the compiler lays it out: parts stacked by rows, m rows per VPU, with a bias or not.

    recipe: of its parts (they must agree in group and search). Columns are those of the weights, in order.
    """

    name: str
    parts: tuple[BudgetPart, ...]
    recipe: TensorRecipe
    rows_per_vpu: int
    bias: bool = False


@dataclass
class _Pieces:
    """Losses and sizes of the pieces of one matrix: [granules, blocks, choices]; sizes in bytes over all channels and cores.

    homes: for each part, the granule of each row of its weight. fixed: bytes that no choice changes. choice: what was chosen.
    """

    matrix: BudgetMatrix
    homes: list[np.ndarray]
    loss: np.ndarray
    size: np.ndarray
    fixed: int
    weights: int
    choice: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


def mix_choices() -> tuple[EntryFormat, ...]:
    """Formats a mix chooses among: dense, narrow ones with offsets."""
    return tuple(EntryFormat(b, 16, b <= AFFINE_UP_TO) for b in MIX)


def allocate(
    matrices: Sequence[BudgetMatrix],
    bits_per_weight: float,
    arch: ArchConfig,
    progress: Callable[[Iterable[BudgetMatrix]], Iterable[BudgetMatrix]] = iter,
) -> dict[str, np.ndarray]:
    """Formats per weight: part name -> uint8 [rows of the weight, blocks, 1], for `code_tensor(formats=...)`.

    The average over all matrices, in bits of stored stream per weight, is at most `bits_per_weight`. Reads each weight once; holds its
    losses only. RecipeError if even the narrowest choice is above the budget.
    """
    pieces = [_measure(m, arch) for m in progress(matrices)]
    weights = sum(p.weights for p in pieces)
    room = int(bits_per_weight * weights / 8) - sum(p.fixed for p in pieces)
    least = sum(int(p.size.min(axis=2).sum()) for p in pieces)
    if least > room:
        floor = 8 * (least + sum(p.fixed for p in pieces)) / max(1, weights)
        raise RecipeError(
            f"a budget of {bits_per_weight} bits per weight cannot be met",
            why=f"{floor:.3f} bits per weight is the least: {min(MIX)}-bit codes, scales, headers and padding",
            do="raise the budget, or use larger groups",
        )
    _choose(pieces, room)
    return _tables(pieces)


def _measure(matrix: BudgetMatrix, arch: ArchConfig) -> _Pieces:
    recipe, choices = matrix.recipe, mix_choices()
    cores = len(matrix.parts[0].rows)
    rows = sum(len(p.rows[0]) for p in matrix.parts)
    k = matrix.parts[0].weight.shape[1]
    geo = Geometry(rows, k, recipe.group, matrix.bias, arch.channels, arch.vpus, matrix.rows_per_vpu)
    loss = np.zeros((geo.strips, geo.blocks, len(choices)))
    homes, at, weights = [], 0, 0
    for part in matrix.parts:
        granule = np.full(part.weight.shape[0], -1)
        for index in part.rows:
            real = index >= 0
            granule[index[real]] = (at + np.flatnonzero(real)) // geo.granule
        at += len(part.rows[0])
        loss += losses(
            part.weight.read(),
            choices,
            recipe.group,
            producer(recipe.producer),
            granule,
            geo.strips,
            recipe.search,
            part.calibration,
        )
        homes.append(granule)
        weights += part.weight.shape[0] * k
    size = np.empty(loss.shape, np.int64)
    for strip in {0, geo.strips - 1}:
        for block in {0, geo.blocks - 1}:
            shapes = [EntryShape(c, geo.slots_of(strip), geo.columns_of(block), geo.group, geo.vpus) for c in choices]
            row = slice(strip, strip + 1) if strip else slice(0, max(1, geo.strips - 1))
            column = slice(block, block + 1) if block else slice(0, max(1, geo.blocks - 1))
            size[row, column] = [s.size for s in shapes]
    copies = arch.channels * cores
    headers = sum(sum(header_sizes(geo.slots_of(s), geo.bias, geo.blocks)) for s in range(geo.strips))
    # the end of the stream is padded to 64 bytes: count it whole, its exact length depends on the choice
    return _Pieces(matrix, homes, loss, size * copies, (headers + STREAM_ALIGN - 8) * copies, weights)


def _choose(pieces: list[_Pieces], room: int) -> None:
    """Set `choice` of all pieces: least total loss with at most `room` bytes (up to the last step)."""
    loss = np.concatenate([p.loss.reshape(-1, p.loss.shape[2]) for p in pieces])
    size = np.concatenate([p.size.reshape(-1, p.size.shape[2]) for p in pieces])

    def solve(price: float) -> np.ndarray:
        return np.argmin(loss + price * size, axis=1)  # ties: the narrower

    def total(choice: np.ndarray) -> int:
        return int(np.take_along_axis(size, choice[:, None], axis=1).sum())

    choice = np.full(len(loss), size.shape[1] - 1)
    if total(choice) > room:
        low, high = 0.0, 1.0
        while total(solve(high)) > room:
            high *= 4
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (low, middle) if total(solve(middle)) <= room else (middle, high)
        choice = _spend(loss, size, solve(high), room)
    at = 0
    for p in pieces:
        count = p.loss.shape[0] * p.loss.shape[1]
        p.choice = choice[at : at + count].reshape(p.loss.shape[:2])
        at += count


def _spend(loss: np.ndarray, size: np.ndarray, choice: np.ndarray, room: int) -> np.ndarray:
    """Use the bytes that are left for single steps up, best loss per byte first, each piece at most once."""
    choice = choice.copy()
    line = np.arange(len(choice))
    left = room - int(size[line, choice].sum())
    up = np.minimum(choice + 1, size.shape[1] - 1)
    cost = size[line, up] - size[line, choice]
    gain = loss[line, choice] - loss[line, up]
    useful = np.flatnonzero((cost > 0) & (gain > 0))
    for i in useful[np.argsort(-gain[useful] / cost[useful], kind="stable")]:
        if cost[i] <= left:
            choice[i] = up[i]
            left -= int(cost[i])
    return choice


def _tables(pieces: list[_Pieces]) -> dict[str, np.ndarray]:
    out: dict[str, np.ndarray] = {}
    for p in pieces:
        bytes_of = np.array([c.byte for c in mix_choices()], np.uint8)
        table = bytes_of[p.choice]
        for part, granule in zip(p.matrix.parts, p.homes, strict=True):
            out[part.name] = table[np.maximum(granule, 0)][..., None]
    return out
