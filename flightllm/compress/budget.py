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
from flightllm.ir.values import FP32_MAX, read_values
from flightllm.ir.weights import Weight
from flightllm.streams.formats import BLOCK, STREAM_ALIGN, EntryFormat
from flightllm.streams.layout import EntryShape, Geometry, header_sizes

#: widths a mix chooses among
MIX = (2, 3, 4, 5, 6, 8)
#: largest weight whose square, summed over a block, is finite in fp32 (half of it: errors can be a little larger than weights)
SQUARE_LIMIT = (FP32_MAX / BLOCK) ** 0.5 / 2


@dataclass(frozen=True)
class BudgetPart:
    """Rows of one weight in a matrix. rows: for each core, the weight's row at each row of its part, -1: a zero row.

    Parts whose recipe has another budget, or none, take part only by the place they need.
    """

    name: str
    weight: Weight
    rows: tuple[np.ndarray, ...]
    recipe: TensorRecipe
    calibration: Calibration | None = None


@dataclass(frozen=True)
class BudgetMatrix:
    """One matrix as the compiler lays it out: parts stacked by rows, m rows per VPU, with a bias or not.

    segments: (first, last + 1) rows of each of its streams; () for one stream. Columns are those of the weights, in order.
    """

    name: str
    parts: tuple[BudgetPart, ...]
    rows_per_vpu: int = 1
    bias: bool = False
    segments: tuple[tuple[int, int], ...] = ()


@dataclass
class _Pieces:
    """Losses and sizes of the pieces of one matrix: [granules, blocks, choices]; sizes in bytes over all channels and cores.

    homes: part name -> granule of each row of its weight. fixed: bytes that no choice changes. weights: how many take part.
    choice: what was chosen, [granules, blocks].
    """

    homes: dict[str, np.ndarray]
    loss: np.ndarray
    size: np.ndarray
    fixed: int
    weights: int
    choice: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int64))


def mix_choices() -> tuple[EntryFormat, ...]:
    """Formats a mix chooses among: dense, narrow ones with offsets."""
    return tuple(EntryFormat(b, 16, b <= AFFINE_UP_TO) for b in MIX)


def allocate(
    matrices: Sequence[BudgetMatrix],
    arch: ArchConfig,
    progress: Callable[[Iterable[BudgetMatrix]], Iterable[BudgetMatrix]] = iter,
) -> dict[str, np.ndarray]:
    """Formats of every weight that has a budget: part name -> uint8 [rows of the weight, blocks, 1], for `code_tensor(formats=...)`.

    For each budget, the average over all weights that have it, in bits of stored stream per weight, is at most the budget. Reads
    each weight once and holds its losses only. RecipeError if even the narrowest choice is above the budget.
    """
    out: dict[str, np.ndarray] = {}
    for budget in sorted({p.recipe.budget for m in matrices for p in m.parts if p.recipe.budget is not None}):
        pool = [m for m in matrices if any(p.recipe.budget == budget for p in m.parts)]
        pieces = [_measure(m, budget, arch) for m in progress(pool)]
        _meet(pieces, budget)
        bytes_of = np.array([c.byte for c in mix_choices()], np.uint8)
        for p in pieces:
            table = bytes_of[p.choice]
            out |= {name: table[np.maximum(granule, 0)][..., None] for name, granule in p.homes.items()}
    return out


def _meet(pieces: list[_Pieces], budget: float) -> None:
    weights, fixed = sum(p.weights for p in pieces), sum(p.fixed for p in pieces)
    room = int(budget * weights / 8) - fixed
    least = sum(int(p.size.min(axis=2).sum()) for p in pieces)
    if least > room:
        raise RecipeError(
            f"a budget of {budget} bits per weight cannot be met",
            why=f"{8 * (least + fixed) / max(1, weights):.3f} is the least: {min(MIX)}-bit codes, scales, headers, padding",
            do="raise the budget, or use larger groups",
        )
    _choose(pieces, room)


def _measure(matrix: BudgetMatrix, budget: float, arch: ArchConfig) -> _Pieces:
    choices, members = mix_choices(), [p for p in matrix.parts if p.recipe.budget == budget]
    group = min(p.recipe.group for p in matrix.parts)
    k = members[0].weight.shape[1]
    total = sum(len(p.rows[0]) for p in matrix.parts)
    home, geos = np.empty(total, np.int64), []
    strips = 0
    for lo, hi in matrix.segments or ((0, total),):
        geo = Geometry(hi - lo, k, group, matrix.bias, arch.channels, arch.vpus, matrix.rows_per_vpu)
        home[lo:hi] = strips + np.arange(hi - lo) // geo.granule
        strips += geo.strips
        geos.append(geo)
    size, headers = np.concatenate([_sizes(g, choices) for g in geos]), np.concatenate([_headers(g) for g in geos])
    loss, homes, used, at = np.zeros(size.shape), {}, np.zeros(strips, bool), 0
    for part in matrix.parts:
        place = home[at : at + len(part.rows[0])]
        at += len(place)
        if part.recipe.budget != budget:
            continue
        granule = np.full(part.weight.shape[0], -1)
        for index in part.rows:
            granule[index[index >= 0]] = place[index >= 0]
        used[place] = True
        method, search = producer(part.recipe.producer), part.recipe.search
        loss += losses(
            read_values(part.weight, SQUARE_LIMIT, "their squares, by which a budget is shared out, overflow fp32"),
            choices,
            group,
            method,
            granule,
            strips,
            search=search,
            calibration=part.calibration,
        )
        homes[part.name] = granule
    copies = arch.channels * len(members[0].rows)
    # the end of a stream is padded to 64 bytes: count it whole, its exact length depends on the choice
    fixed = int(headers[used].sum()) + (STREAM_ALIGN - 8) * len(geos)
    size = np.where(used[:, None, None], size, 0)
    return _Pieces(homes, loss, size * copies, fixed * copies, sum(p.weight.shape[0] * k for p in members))


def _sizes(geo: Geometry, choices: tuple[EntryFormat, ...]) -> np.ndarray:
    """Bytes per channel of every entry under every choice, int64 [strips, blocks, choices]."""
    known = {
        (slots, columns): [EntryShape(c, slots, columns, geo.group, geo.vpus).size for c in choices]
        for slots in {geo.slots_of(0), geo.slots_of(geo.strips - 1)}
        for columns in {geo.columns_of(0), geo.columns_of(geo.blocks - 1)}
    }
    rows = [[known[geo.slots_of(s), geo.columns_of(b)] for b in range(geo.blocks)] for s in range(geo.strips)]
    return np.array(rows, np.int64)


def _headers(geo: Geometry) -> np.ndarray:
    """Bytes per channel of every strip's header, with a format table, int64 [strips]."""
    return np.array([sum(header_sizes(geo.slots_of(s), geo.bias, geo.blocks)) for s in range(geo.strips)], np.int64)


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
