"""The search over architecture configs: what `flightllm explore` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flightllm.compiler.layers import plan_cut
from flightllm.config.arch import ArchConfig
from flightllm.config.board import Board
from flightllm.errors import FitError, FlightError
from flightllm.resources import FitRow, nearest_fit, rows_within
from flightllm.resources.nearest import changes, settings
from flightllm.search.limits import make_limits
from flightllm.search.pareto import Objective, front, make_objectives
from flightllm.search.point import Point, Work, make_work, needs_of
from flightllm.search.pool import LOCAL, Pool, open_pool
from flightllm.search.space import SHAPE, Space, make_space
from flightllm.synth.timing import CLOCK_MHZ

Progress = Callable[[str, int, int], None]
#: configs that are timed at most unless the caller says otherwise
MOST = 200
#: lengths that are timed unless the caller says otherwise
PROMPT, CONTEXT = 128, 512


#: how reasons begin that are about the board, not about the model; a resource follows, or several
OVER = "takes too much of the board"


@dataclass(frozen=True)
class Refusal:
    """Configs that were looked at and left out for the same reason; one that takes too much of several resources counts for each.

    why: figures of the first one, `example`.
    """

    reason: str
    count: int
    example: ArchConfig
    why: str


@dataclass(frozen=True)
class Exploration:
    """What a search found.

    Attributes:
        front: the points that no other one beats in all objectives, best in the first one first.
        points: all that were timed. default: the board's config with the changes given, whether it is within the limits or not.
        refusals: why others were left out. complete: every combination was looked at; else the neighbours of the front.
        layers: of the short models that cycles come from, (few, more), or None if the whole model was run for each.
        error: largest difference of a rate of the front between the short models and the whole one, as a share; None if not confirmed.
    """

    model: str
    board: Board
    space: Space
    limits: dict[str, float]
    objectives: list[Objective]
    prompt: int
    context: int
    front: list[Point]
    points: list[Point]
    default: Point
    refusals: list[Refusal]
    complete: bool
    layers: tuple[int, int] | None
    error: float | None
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "model": self.model,
            "board": self.board.name,
            "how": "cycle model, resources estimated from synthesis of units",
            "prompt": self.prompt,
            "context": self.context,
            "objectives": [o.name for o in self.objectives],
            "limits": self.limits,
            "space": {name: list(values) for name, values in self.space.knobs.items()},
            "combinations": self.space.size(),
            "complete": self.complete,
            "layers": self.layers,
            "error": self.error,
            "default": self.default.to_json(),
            "front": [p.to_json() for p in self.front],
            "points": [p.to_json() for p in self.points],
            "refused": [
                {"reason": r.reason, "count": r.count, "example": r.example.to_dict(), "why": r.why}
                for r in self.refusals
            ],
            "notes": self.notes,
        }


def explore(
    model: str | os.PathLike[str],
    *,
    board: str,
    arch: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    vary: Mapping[str, Sequence[int | float]] | None = None,
    limits: Mapping[str, float] | None = None,
    weights: str | float = 4,
    group: int | None = None,
    sparsity: int | None = None,
    kv: int | None = None,
    recipe: str | os.PathLike[str] | None = None,
    prompt: int | None = None,
    context: int | None = None,
    objectives: Sequence[str] | None = None,
    most: int = MOST,
    confirm: bool = True,
    scheduler: str = LOCAL,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Exploration:
    """Search the architecture configs of a board for those that no other one beats. Weights are not read: a folder with a config.json is enough.

    Args:
        model, board, arch, weights, group, sparsity, kv, recipe: as of `flightllm.speed`. Parameters that are not varied stay as `arch` and the board say.
        vary: parameter -> values to try; default: what makes sense on the board. limits: resource -> share of the board's that may be used.
        prompt: tokens of the prompt that is timed. context: tokens in the cache before the token that is timed. Default: 128 and 512, as far as the
            model's context reaches.
        objectives: names out of `search.pareto.OBJECTIVES`; default: token rate, prompt rate, LUTs.
        most: configs that are timed at most. confirm: run the whole model for the front, where two short ones gave the cycles.
        scheduler: "local", or the address of a Dask scheduler. workers: processes on this machine; 1: in this one. Results depend on neither.
        progress: called with (stage, done, total).

    Returns:
        the front and everything beside it: `.front`, `.points`, `.default`, `.refusals`, `.to_json()`.

    Raises:
        FitError: no config fits; with the reasons. FlightError: of the kind that fits, for anything else that is wrong.
    """
    from flightllm import api
    from flightllm.config.board import load_board
    from flightllm.frontends import plain_name

    path = api.find_model(model)
    target = load_board(board)
    base = api.board_config(target, arch)
    graph = api.load_shapes(path)
    prompt, context = _lengths(graph.info.max_context, prompt, context)
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise FlightError(f"most = {most!r} is not possible", do="give a whole number, 1 or more")
    wanted = make_objectives(objectives)
    rules = api.make_recipe(recipe, weights=str(weights), group=group, sparsity=sparsity, kv=kv)
    rules.check(graph)
    work = make_work(graph, target, rules, prompt, context, plan_cut(graph, rules))
    space, shares = make_space(target, base, vary), make_limits(limits)
    with open_pool(scheduler, workers) as pool:
        search = _Search(work, space, shares, wanted, most, pool, progress or (lambda *_: None))
        default = search.default(base)
        search.run()
        if not search.front():
            raise _nothing(search)
        best, error = search.front(), None
        if confirm and work.cut is not None:
            best, error = search.confirm(make_work(graph, target, rules, prompt, context))
    return Exploration(
        model=plain_name(path),
        board=target,
        space=space,
        limits=shares,
        objectives=wanted,
        prompt=prompt,
        context=context,
        front=best,
        points=search.timed(),
        default=default,
        refusals=search.refusals(),
        complete=search.complete,
        layers=None if work.cut is None else (work.cut.few, work.cut.more),
        error=error,
        notes=_notes(search, best),
    )


class _Search:
    """Configs that were looked at, and what was found of each."""

    def __init__(
        self,
        work: Work,
        space: Space,
        limits: Mapping[str, float],
        objectives: Sequence[Objective],
        most: int,
        pool: Pool,
        progress: Progress,
    ) -> None:
        self.work, self.space, self.limits, self.objectives = work, space, limits, objectives
        self._most, self._pool, self._progress = most, pool, progress
        self.seen: dict[ArchConfig, Point] = {}
        #: resource -> configs that take too much of it, the first of them, its figures
        self._short: dict[str, tuple[Any, ...]] = {}
        self.left_out = 0
        self.complete = space.size() <= most

    def run(self) -> None:
        """Look at every combination if there are few enough; else at all shapes, then at the neighbours of the front until it stays."""
        if self.complete:
            self._look(self.space.all())
            return
        buffers = {name: values for name, values in self.space.knobs.items() if name not in SHAPE}
        self._look(nearest_fit(self.work.board, shape, self.limits, buffers) or shape for shape in self.space.shapes())
        while self._look(near for point in self.front() for near in self.space.neighbours(point.arch)):
            pass

    def _look(self, configs: Iterable[ArchConfig]) -> int:
        """Time the configs that are new and within the limits; how many that were."""
        fit = []
        for arch in dict.fromkeys(configs):
            if arch in self.seen:
                continue
            over = [row for row in rows_within(self.work.board, arch, self.limits) if not row.fits]
            if over:
                self.seen[arch] = self._over(arch, over)
            else:
                fit.append(arch)
        room = max(0, self._most - len(self._tried()))
        self.left_out += len(fit[room:])
        fit = fit[:room]
        for point in self._run(self.work, fit, "configs"):
            self.seen[point.arch] = point
        return len(fit)

    def _run(self, work: Work, configs: Sequence[ArchConfig], stage: str) -> list[Point]:
        total, done = len(configs), 0

        def one(_: Point) -> None:
            nonlocal done
            done += 1
            self._progress(stage, done, total)

        self._progress(stage, 0, total)
        return self._pool.run(work, configs, one) if configs else []

    def _tried(self) -> list[Point]:
        return [p for p in self.seen.values() if p.refused != OVER]

    def _over(self, arch: ArchConfig, rows: Sequence[FitRow]) -> Point:
        """A point that is left out for what it takes of the board."""
        for row in rows:
            figures = f"{row.need:,.10g} of {row.have:,.10g} that may be used"
            count, *example = self._short.get(row.resource, (0, arch, figures))
            self._short[row.resource] = (count + 1, *example)
        return Point(arch, needs_of(arch), refused=OVER)

    def timed(self) -> list[Point]:
        """Points with rates, in the order of their parameters."""
        found = [p for p in self.seen.values() if not p.refused]
        return sorted(found, key=lambda p: tuple(p.arch.to_dict().values()))

    def front(self) -> list[Point]:
        """Of what was found so far."""
        return front(self.timed(), self.objectives, self.work.board)

    def default(self, arch: ArchConfig) -> Point:
        """The board's config: timed for comparison, even if it is not within the limits."""
        (point,) = self._run(self.work, [arch], "the board's config")
        if self.space.contains(arch) and all(r.fits for r in rows_within(self.work.board, arch, self.limits)):
            self.seen[arch] = point
        return point

    def confirm(self, whole: Work) -> tuple[list[Point], float]:
        """The front by the whole model, and the largest error of a rate by the short ones."""
        before = self.front()
        after = self._run(whole, [p.arch for p in before], "the front, whole model")
        error = 0.0
        for a, b in zip(before, after, strict=True):
            self.seen[b.arch] = b
            if not b.refused:
                error = max(error, abs(a.token_rate / b.token_rate - 1), abs(a.prompt_rate / b.prompt_rate - 1))
        return front(after, self.objectives, self.work.board), error

    def refusals(self) -> list[Refusal]:
        """By reason, the most frequent first."""
        groups: dict[str, list[Point]] = {}
        for point in self.seen.values():
            if point.refused and point.refused != OVER:
                groups.setdefault(point.refused, []).append(point)
        found = [Refusal(reason, len(ps), ps[0].arch, ps[0].why) for reason, ps in groups.items()]
        found += [Refusal(f"{OVER}: {resource}", *short) for resource, short in self._short.items()]
        return sorted(found, key=lambda r: (-r.count, r.reason))


def _lengths(limit: int, prompt: int | None, context: int | None) -> tuple[int, int]:
    """Lengths that the model serves."""
    prompt = min(PROMPT, limit) if prompt is None else prompt
    context = min(CONTEXT, limit - 1) if context is None else context
    for name, value, least, most in (("prompt", prompt, 1, limit), ("context", context, 0, limit - 1)):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise FlightError(
                f"a {name} of {value!r} tokens is not possible",
                why=f"the model serves {least} to {most}",
                do=f"give a whole number from {least} to {most}",
            )
    return prompt, context


def _nothing(search: _Search) -> FitError:
    """The error of a search that found no config that fits."""
    refusals = search.refusals()
    why = "".join(f"\n    {r.count} configs: {r.reason} (e.g. {r.why})" for r in refusals)
    near = nearest_fit(search.work.board, search.space.base, search.limits)
    do = "vary more parameters, raise --limit, or take a smaller model or a larger board"
    if near is not None and all(r.reason.startswith(OVER) for r in refusals):
        do = f"the nearest config within the limits: {settings(changes(search.space.base, near))}"
    return FitError(
        "no config of the search fits",
        where=search.work.board.title,
        why=f"{len(search.seen)} were looked at:{why}",
        do=do,
    )


def _notes(search: _Search, best: Sequence[Point]) -> list[str]:
    """What a reader of the front has to know."""
    notes = []
    failed = [p for p in search.seen.values() if p.failed]
    if failed:
        notes.append(
            f"{len(failed)} configs were not timed for no fault of theirs: {failed[0].refused}, {failed[0].why}"
        )
    if search.left_out:
        notes.append(f"the search ended after {search._most} configs, more were worth a look (--most)")
    if any(p.arch.clock_mhz > CLOCK_MHZ for p in best):
        notes.append(f"clocks above {CLOCK_MHZ:g} MHz: the RTL's paths were not looked at for these")
    return notes
