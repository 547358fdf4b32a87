"""What would fit in the place of a model that does not: fewer bits, a shorter context, another config, another board.

All is tried by planning a few layers of the model without its weights, from which the bytes of the whole follow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from flightllm.compiler.layers import Cut, first_layers, plan_cut, shapes_only
from flightllm.compress.recipe import Recipe
from flightllm.config.arch import ArchConfig
from flightllm.config.board import Board, boards, load_board
from flightllm.errors import ConfigError, FitError, FlightError
from flightllm.frontends import load_model
from flightllm.ir.graph import Graph
from flightllm.resources import check_fit
from flightllm.resources.ladder import NAMES, ladder
from flightllm.resources.nearest import settings

#: bits per weight that are tried, from wide to narrow: widths, and budgets between those that differ most
BITS = (8, 6, 5, 4, 3.5, 3, 2.5, 2)
#: a channel that any model fits
ROOM = 1 << 40
#: positions of the cache come in blocks of this
BLOCK = 64
#: options by name with their values; parameters of the config have no dashes
Options = dict[str, int | float]
Way = tuple[Options, "_Case"]
#: how a shorter context is asked for: of `compile`, as positions of the cache; of `speed` and `report`, as tokens before the one that is generated
MAX_CONTEXT, CONTEXT = "--max-context", "--context"
#: times a parameter is raised before it is given up
RAISES = 12


@contextlib.contextmanager
def say_what_fits(
    model: str | Path | Graph,
    board: str | Board,
    arch: ArchConfig | None,
    recipe: Recipe | None,
    max_context: int | None,
    shorter: str = MAX_CONTEXT,
) -> Iterator[None]:
    """Around a compilation: a refusal for want of memory or buffers says what would fit. Arguments as of `compile_model`.

    shorter: the option by which a shorter context is asked for.
    """
    try:
        yield
    except FitError as error:
        if not error.parameter:
            raise
        target = board if isinstance(board, Board) else load_board(board)
        graph = model if isinstance(model, Graph) else load_model(model)
        case = _Case.of(graph, target, arch or target.arch, recipe or Recipe.from_options(), max_context, shorter)
        do = for_memory(case) if error.parameter == "channel_bytes" else for_buffers(case)
        raise FitError(
            error.what, where=error.where, why=error.why, do=do or error.do, parameter=error.parameter
        ) from None


@dataclass(frozen=True)
class _Case:
    """A model on a board. graphs: it, or two short ones in its place, without weights. context: positions of the cache. shorter: the option for fewer."""

    graphs: tuple[Graph, ...]
    cut: Cut | None
    board: Board
    arch: ArchConfig
    recipe: Recipe
    context: int
    shorter: str

    @classmethod
    def of(
        cls, graph: Graph, board: Board, arch: ArchConfig, recipe: Recipe, max_context: int | None, shorter: str
    ) -> _Case:
        cut = plan_cut(graph, recipe, 0)
        bare = shapes_only(graph)
        graphs = (bare,) if cut is None else (first_layers(bare, cut.few), first_layers(bare, cut.more))
        return cls(graphs, cut, board, arch, recipe, max_context or graph.info.max_context, shorter)

    def with_context(self, positions: int) -> Way:
        """The option for a cache of so many positions, and the case with it."""
        value = positions - 1 if self.shorter == CONTEXT else positions
        return {self.shorter: value}, replace(self, context=positions)

    @cached_property
    def need(self) -> int:
        """Bytes of a channel; FlightError if something else does not fit."""
        from flightllm.compiler.outline import outline_model  # which needs `compile`, which needs this module

        # channels without end, on a board that has them
        arch = replace(self.arch, channel_bytes=ROOM)
        board = replace(self.board, memory=replace(self.board.memory, channel_bytes=ROOM))
        tops = []
        for graph in self.graphs:
            found = outline_model(
                graph, board=board, arch=arch, recipe=self.recipe, max_context=self.context, check=False
            )
            tops.append(max(region.end for region in found.manifest.memory))
        return round(self.cut.whole(*tops)) if self.cut else tops[0]

    @cached_property
    def fits(self) -> int | None:
        """Bytes of a channel if these are there and all else fits, too."""
        try:
            check_fit(self.board, self.arch)
            need = self.need
        except FlightError:
            return None
        return need if need <= self.arch.channel_bytes else None


def for_memory(case: _Case) -> str:
    """What to change so that a model fits the memory: every single change that will do; else the first two, else the three that will.

    "" if none will. What else is too small is enlarged first.
    """
    wider = _wider(case) or _shorter(case)
    if wider is None:
        return ""
    given, (first, case) = case, wider
    ways: list[Way] = []
    for changes in (
        *((change,) for change in (_bits, _cache, _context, _config)),
        (_cache, _context),
        (_cache, _bits),
        (_bits, _context),
        (_cache, _bits, _context),
    ):
        if len(changes) > 1 and ways:
            break
        way = _tried(case, changes)
        if way is not None:
            ways.append(way)
    texts = [
        f"{_text(first | options)} ({other.fits:,} bytes of {other.arch.channel_bytes:,} per channel)"
        for options, other in ways
    ]
    others = [b.name for b in boards() if b.name != given.board.name and _holds(given, b)]
    if others:
        texts.append(
            f"--board {' or '.join(others)}, which {'have' if len(others) > 1 else 'has'} room for it as it is"
        )
    return "what fits: " + "; or ".join(texts) if texts else ""


def for_buffers(case: _Case) -> str:
    """Which buffers to enlarge so that a model fits them, and the context with which it does as they are; "" if neither will do."""
    ways = [_text(way[0]) for way in (_wider(case), _shorter(case)) if way and way[0]]
    return f"what fits: {'; or '.join(ways)}" if ways else ""


def _shorter(case: _Case) -> Way | None:
    """The context that the buffers hold, halved until they do; None if they hold none."""
    few, blocks = replace(case, graphs=case.graphs[:1], cut=None), case.context // BLOCK
    while blocks:
        try:
            _ = replace(few, context=blocks * BLOCK).need
        except FlightError:
            blocks //= 2
        else:
            return case.with_context(blocks * BLOCK)
    return None


def _wider(case: _Case) -> Way | None:
    """The options that enlarge buffers until the model fits them, none if it does, and the case with them; None if the board does not hold that."""
    raised: Options = {}
    for _ in range(RAISES):
        arch = case.arch
        try:
            _ = replace(case, graphs=case.graphs[:1], cut=None).need
            return raised, case
        except FitError as error:
            name = error.parameter
            if not name or name == "channel_bytes":
                return None
            above = [v for v in ladder(case.board, arch, name) if v > getattr(arch, name)] if name in NAMES else []
            raised[name] = above[0] if above else 2 * getattr(arch, name)
        except FlightError:
            return None
        try:
            case = replace(case, arch=replace(arch, **{name: raised[name]}))  # type: ignore[arg-type]
        except ConfigError:
            return None
    return None


def _tried(case: _Case, changes: tuple[Callable[[_Case], Way | None], ...]) -> Way | None:
    """The options of some changes, one after the other, and what they make of the case; None if it still does not fit."""
    options: Options = {}
    for change in changes:
        way = change(case)
        if way is None:
            return None
        options |= way[0]
        case = way[1]
    return (options, case) if case.fits is not None else None


def _text(options: Options) -> str:
    """Options as on the command line."""
    return " ".join(f"{k} {v:.10g}" if k.startswith("--") else settings({k: v}) for k, v in options.items())


def _with_default(recipe: Recipe, **fields: Any) -> Recipe:
    """A recipe with other defaults; its rules stay."""
    data = recipe.to_dict()
    default = dict(data.get("default", {}))
    if "weights" in fields:
        default.pop("passes", None)
    return Recipe.from_dict({**data, "default": default | fields}, recipe.source)


def _bits(case: _Case) -> Way | None:
    """Fewer bits per weight: the most that fit, or the fewest there are if none do."""
    last: Way | None = None
    for bits in BITS:
        try:
            other = replace(case, recipe=_with_default(case.recipe, weights=bits))
            need = other.need
        except FlightError:  # a budget with a recipe that has none
            continue
        last = {"--weights": bits}, other
        if need <= case.arch.channel_bytes:
            break
    return last


def _cache(case: _Case) -> Way | None:
    """A cache of 4 bits, if it has more."""
    if all(case.recipe.for_attention(n.layer or 0).kv_bits == 4 for n in case.graphs[-1].attentions()):
        return None
    return {"--kv": 4}, replace(case, recipe=_with_default(case.recipe, kv=4))


def _context(case: _Case) -> Way | None:
    """The longest context that fits, in whole blocks; bytes grow evenly with it."""
    unit = max(BLOCK, case.arch.channels)
    try:
        most, least = case.need, replace(case, context=unit).need
    except FlightError:
        return None
    if case.context <= unit or most <= least or least > case.arch.channel_bytes:
        return None
    share = (case.arch.channel_bytes - least) / (most - least)
    blocks = int((case.context - unit) * share) // unit + 1
    for n in (blocks, blocks - 1):  # regions are rounded up
        options, other = case.with_context(n * unit)
        if n and other.fits is not None:
            return options, other
    return None


def _config(case: _Case) -> Way | None:
    """All that the board has behind a channel, or more channels."""
    has = case.board.memory
    values: Options = {}
    arch = case.arch
    if arch.channel_bytes < has.channel_bytes:
        values["channel_bytes"] = has.channel_bytes
    while True:
        other = replace(case, arch=replace(arch, **values))  # type: ignore[arg-type]
        if values and other.fits is not None:
            return values, other
        values["channels"] = 2 * other.arch.channels
        if arch.cores * values["channels"] > min(has.channels, 32 * arch.cores):
            return None


def _holds(case: _Case, board: Board) -> bool:
    """Whether another board's own config has room for the model."""
    return replace(case, board=board, arch=board.arch).fits is not None
