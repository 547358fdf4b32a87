"""The budgeted mix: formats per piece and a group per matrix so that the average bits per weight, all included, meets a budget.

A piece is what the hardware can give a format of its own: a granule (one strip of rows on all channels) times a block of 128
columns; the group of columns per scale is one for a matrix. A piece may also keep the grid its weights are stored on, which costs no
accuracy. The choices minimise the summed loss (flightllm.compress.sensitivity) under the budget, by one Lagrange multiplier: each
piece takes the choice with the least loss + lambda * bytes, each matrix the group with the least sum, lambda is found by bisection,
and what the last step leaves over is spent on the best single steps. Sizes are those of the packed streams, so headers, tables,
scales and padding all count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from flightllm.compress import rtn  # noqa: F401  (registers the producer "rtn")
from flightllm.compress.grids import holdable, machine_format
from flightllm.compress.producer import Calibration, producer
from flightllm.compress.sensitivity import losses
from flightllm.compress.tensor import Mix, TensorRecipe
from flightllm.config.arch import ArchConfig
from flightllm.errors import RecipeError
from flightllm.ir.values import FP32_MAX, read_values
from flightllm.ir.weights import Weight
from flightllm.streams.formats import BLOCK, GROUPS, STREAM_ALIGN, WIDTHS, EntryFormat
from flightllm.streams.layout import EntryShape, Geometry, header_sizes

#: dense formats a mix chooses among, narrower ones first: at 2 bits no grid does without offsets, from 5 bits on none needs them
MIX = tuple(EntryFormat(b, 16, affine) for b, affine in ((2, True), (3, False), (3, True), (4, False), (4, True)))
MIX += tuple(EntryFormat(b) for b in (5, 6, 8))
#: bytes of a piece in a group or format that its matrix cannot have: more than any budget
_NEVER = 1 << 40
#: loss per byte next to none: of choices without any loss the smallest wins
_FREE = 1e-30
#: largest weight whose square, summed over a block, is finite in fp32 (half of it: errors can be a little larger than weights)
SQUARE_LIMIT = (FP32_MAX / BLOCK) ** 0.5 / 2


@dataclass(frozen=True)
class BudgetPart:
    """Rows of one weight in a matrix. rows: for each core, the weight's row at each row of its part, -1: a zero row.

    Parts whose recipe has another budget, or none, take part only by the place they need. importance: how much its loss counts.
    """

    name: str
    weight: Weight
    rows: tuple[np.ndarray, ...]
    recipe: TensorRecipe
    calibration: Calibration | None = None
    importance: float = 1.0


@dataclass(frozen=True)
class BudgetMatrix:
    """One matrix as the compiler lays it out: parts stacked by rows, m rows per VPU, with a bias or not.

    segments: (first, last + 1) rows of each of its streams; () for one stream. Columns are those of the weights, in order. cuts: columns of each
    piece that has streams of its own; () for one. places: row at which each row of the stack lies, if not the same.
    """

    name: str
    parts: tuple[BudgetPart, ...]
    rows_per_vpu: int = 1
    bias: bool = False
    segments: tuple[tuple[int, int], ...] = ()
    cuts: tuple[int, ...] = ()
    places: np.ndarray | None = None


@dataclass
class _Pieces:
    """Losses and sizes of the pieces of one matrix: [granules, blocks, groups, choices]; sizes in bytes over all channels and cores.

    The last choice is the stored grid. homes: part name -> granule of each row of its weight. stored: for each group, the format of
    the stored grid, or None. keeps: (part name, group) of the parts that have one. fixed: bytes that no choice changes.
    weights: how many take part. group, choice: what was chosen, an index and [granules, blocks].
    """

    homes: dict[str, np.ndarray]
    loss: np.ndarray
    size: np.ndarray
    stored: list[EntryFormat | None]
    keeps: set[tuple[str, int]]
    fixed: int
    weights: int
    group: int = 0
    choice: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int64))

    @property
    def count(self) -> int:
        """Number of pieces."""
        return self.loss.shape[0] * self.loss.shape[1]

    def mixes(self) -> Iterable[tuple[str, Mix]]:
        """What was chosen for each part."""
        group, stored = GROUPS[self.group], self.stored[self.group]
        table = np.array([c.byte for c in (*MIX, stored or MIX[0])], np.uint8)[self.choice]
        keep = self.choice == len(MIX)
        for name, granule in self.homes.items():
            row = np.maximum(granule, 0)
            kept = keep[row] if (name, group) in self.keeps and keep[row].any() else None
            yield name, Mix(group, table[row][..., None], kept)


def allocate(
    matrices: Sequence[BudgetMatrix],
    arch: ArchConfig,
    progress: Callable[[Iterable[BudgetMatrix]], Iterable[BudgetMatrix]] = iter,
) -> dict[str, Mix]:
    """What every weight that has a budget is coded in, by part name, for `code_tensor(mix=...)`.

    For each budget, the average over all weights that have it, in bits of stored stream per weight, is at most the budget. Reads
    each weight once and holds its losses only. RecipeError if even the narrowest choice is above the budget.
    """
    out: dict[str, Mix] = {}
    for budget in sorted({p.recipe.budget for m in matrices for p in m.parts if p.recipe.budget is not None}):
        pool = [m for m in matrices if any(p.recipe.budget == budget for p in m.parts)]
        pieces = [_measure(m, budget, arch) for m in progress(pool)]
        _meet(pieces, budget)
        for p in pieces:
            out.update(p.mixes())
    return out


def _meet(pieces: list[_Pieces], budget: float) -> None:
    weights, fixed = sum(p.weights for p in pieces), sum(p.fixed for p in pieces)
    room = int(budget * weights / 8) - fixed
    least = sum(int(p.size.min(axis=3).sum(axis=(0, 1)).min()) for p in pieces)
    if least > room:
        raise RecipeError(
            f"a budget of {budget} bits per weight cannot be met",
            why=f"{8 * (least + fixed) / max(1, weights):.3f} is the least: {WIDTHS[0]}-bit codes, scales, headers, padding",
            do="raise the budget, or allow larger groups",
        )
    _choose(pieces, room)


def _groups(matrix: BudgetMatrix, budget: float) -> set[int]:
    """Groups the matrix may have: what the recipes of all members allow, and no more than parts outside the budget have."""
    members = [p.recipe for p in matrix.parts if p.recipe.budget == budget]
    others = [p for p in matrix.parts if p.recipe.budget != budget]
    every = [set(r.groups or (r.group,)) for r in members]
    if any(p.recipe.budget is not None for p in others):  # two budgets in one matrix must agree: neither chooses
        return {min(p.recipe.group for p in matrix.parts)}
    limit = min((_fixed_group(p) for p in others), default=max(GROUPS))
    return {g for g in set.intersection(*every) if g <= limit} or {min(limit, *(min(e) for e in every))}


def _fixed_group(part: BudgetPart) -> int:
    grid = part.weight.grid
    return machine_format(grid)[1] if part.recipe.as_stored and grid and not holdable(grid) else part.recipe.group


def _keeps(part: BudgetPart, group: int) -> bool:
    """Whether pieces of the part can keep the stored grid in groups of `group`."""
    grid = part.weight.grid
    return grid is not None and not holdable(grid) and machine_format(grid)[1] >= group


def _stored_format(parts: Sequence[BudgetPart], group: int) -> EntryFormat | None:
    """The format that holds the stored grids of all parts that have one, None if none has."""
    formats = [machine_format(p.weight.grid)[0] for p in parts if p.weight.grid is not None and _keeps(p, group)]
    return EntryFormat(max(f.bits for f in formats), 16, any(f.affine for f in formats)) if formats else None


def _measure(matrix: BudgetMatrix, budget: float, arch: ArchConfig) -> _Pieces:
    members = [p for p in matrix.parts if p.recipe.budget == budget]
    k = members[0].weight.shape[1]
    total = sum(len(p.rows[0]) for p in matrix.parts)
    home, geos = np.empty(total, np.int64), []
    strips = 0
    for lo, hi in matrix.segments or ((0, total),):
        geo = Geometry(hi - lo, k, GROUPS[0], matrix.bias, arch.channels, arch.vpus, matrix.rows_per_vpu)
        home[lo:hi] = strips + np.arange(hi - lo) // geo.granule
        strips += geo.strips
        geos.append(geo)
    if matrix.places is not None:
        home = home[matrix.places]
    allowed = sorted(_groups(matrix, budget))
    stored = [_stored_format(members, g) if g in allowed else None for g in GROUPS]
    shape = (strips, geos[0].blocks, len(GROUPS), len(MIX) + 1)
    loss, size = np.full(shape, np.inf), np.full(shape, _NEVER)
    homes, keeps, used, at = {}, set(), np.zeros(strips, bool), 0
    for i, group in enumerate(GROUPS):
        if group in allowed:
            choices = _choices(stored[i])
            loss[:, :, i, : len(choices)] = 0
            size[:, :, i, : len(choices)] = np.concatenate([_sizes(replace(g, group=group), choices) for g in geos])
    for part in matrix.parts:
        place = home[at : at + len(part.rows[0])]
        at += len(place)
        if part.recipe.budget != budget:
            continue
        granule = np.full(part.weight.shape[0], -1)
        for index in part.rows:
            granule[index[index >= 0]] = place[index >= 0]
        used[place] = True
        homes[part.name] = granule
        data = read_values(part.weight, SQUARE_LIMIT, "their squares, by which a budget is shared out, overflow fp32")
        for group in allowed:
            i = GROUPS.index(group)
            if _keeps(part, group):
                keeps.add((part.name, group))  # the stored grid costs nothing
                choices = MIX
            else:
                choices = _choices(stored[i])
            loss[:, :, i, : len(choices)] += part.importance * losses(
                data,
                choices,
                group,
                producer(part.recipe.producer),
                granule,
                strips,
                search=part.recipe.search,
                calibration=part.calibration,
            )
    copies = arch.channels * len(members[0].rows)
    # the end of a stream is padded to 64 bytes: count it whole, its exact length depends on the choice
    cuts = matrix.cuts or (k,)
    headers = np.concatenate(
        [sum(_headers(replace(g, k=c, bias=g.bias and not i)) for i, c in enumerate(cuts)) for g in geos]
    )
    fixed = int(headers[used].sum()) + (STREAM_ALIGN - 8) * len(geos) * len(cuts)
    size = np.where(used[:, None, None, None] | (size == _NEVER), size, 0)
    size = np.where(size == _NEVER, size, size * copies)
    return _Pieces(homes, loss, size, stored, keeps, fixed * copies, sum(p.weight.shape[0] * k for p in members))


def _choices(stored: EntryFormat | None) -> tuple[EntryFormat, ...]:
    return MIX if stored is None else (*MIX, stored)


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
    """Set `group` and `choice` of all pieces: least total loss with at most `room` bytes (up to the last step)."""
    groups, choices = pieces[0].loss.shape[2:]
    count = np.array([p.count for p in pieces])
    loss = np.concatenate([p.loss.reshape(-1, groups, choices) for p in pieces])
    size = np.concatenate([p.size.reshape(-1, groups, choices) for p in pieces])
    start, line = np.cumsum(count) - count, np.arange(len(loss))

    def solve(price: float) -> tuple[np.ndarray, np.ndarray]:
        """(group of each matrix, choice of each piece)."""
        cost = loss + price * size
        group = np.argmin(np.add.reduceat(cost.min(axis=2), start, axis=0), axis=1)
        return group, np.argmin(cost[line, np.repeat(group, count)], axis=1)

    def total(solution: tuple[np.ndarray, np.ndarray]) -> int:
        return int(size[line, np.repeat(solution[0], count), solution[1]].sum())

    best = solve(_FREE)
    if total(best) > room:
        low, high = _FREE, 1.0
        while total(solve(high)) > room:
            high *= 4
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (low, middle) if total(solve(middle)) <= room else (middle, high)
        group, choice = solve(high)
        mine = np.repeat(group, count)
        best = group, _spend(loss[line, mine], size[line, mine], choice, room)
    for p, first, group in zip(pieces, start, best[0], strict=True):
        p.group = int(group)
        p.choice = best[1][first : first + p.count].reshape(p.loss.shape[:2])


def _spend(loss: np.ndarray, size: np.ndarray, choice: np.ndarray, room: int) -> np.ndarray:
    """Use the bytes that are left for single steps up, best loss per byte first, each piece at most once."""
    choice = choice.copy()
    line = np.arange(len(choice))
    left = room - int(size[line, choice].sum())
    cost = size - size[line, choice][:, None]
    gain = loss[line, choice][:, None] - loss
    piece, step = np.nonzero((cost > 0) & (cost <= left) & (gain > 0))
    cost, gain = cost[piece, step], gain[piece, step]
    done = np.zeros(len(choice), bool)
    for i in np.argsort(-gain / cost, kind="stable"):
        if cost[i] <= left and not done[piece[i]]:
            choice[piece[i]] = step[i]
            done[piece[i]] = True
            left -= int(cost[i])
    return choice
