"""The Pareto front: configs that no other one beats in every objective."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flightllm.config.board import Board
from flightllm.errors import ConfigError
from flightllm.resources.estimate import LIMITED
from flightllm.search.point import Point

#: objectives are compared in steps of this share: a modelled rate is no better known than that
NEARLY = 0.005


@dataclass(frozen=True)
class Objective:
    """Something to have much or little of. value: of a point that fits, above 0. head: of its column in a table."""

    name: str
    head: str
    more: bool
    value: Callable[[Point, Board], float]


def _share(resource: str) -> Objective:
    return Objective(resource, resource.upper(), False, lambda p, b: p.needs[resource] / getattr(b.resources, resource))


#: by name
OBJECTIVES = {
    "token": Objective("token", "tokens/s", True, lambda p, b: p.token_rate),
    "prompt": Objective("prompt", "prompt tokens/s", True, lambda p, b: p.prompt_rate),
    **{name: _share(name) for name in LIMITED},
}
DEFAULT = ("token", "prompt", "lut")


def make_objectives(names: Sequence[str] | None = None) -> list[Objective]:
    """Objectives by name.

    Raises:
        ConfigError: one is unknown, or there is none.
    """
    names = list(dict.fromkeys(names)) if names is not None else list(DEFAULT)
    unknown = [name for name in names if name not in OBJECTIVES]
    if unknown or not names:
        what = f"unknown objective {', '.join(unknown)}" if unknown else "no objective"
        raise ConfigError(what, where="objective", do=f"known: {', '.join(OBJECTIVES)}")
    return [OBJECTIVES[name] for name in names]


def front(points: Sequence[Point], objectives: Sequence[Objective], board: Board) -> list[Point]:
    """The points that no other one beats, best in the first objective first.

    Of points in the same steps of `NEARLY`, the one that takes the fewest memory blocks and DSPs stays. The order of the points does not matter.
    """
    steps = {p.arch: tuple(_step(o, p, board) for o in objectives) for p in points if not p.refused}
    best: dict[tuple[int, ...], Point] = {}
    for p in points:
        if not p.refused:
            key = steps[p.arch]
            if key not in best or _cost(p) < _cost(best[key]):
                best[key] = p
    kept = [key for key in best if not any(_beats(other, key) for other in best)]
    return [best[key] for key in sorted(kept)]


def _step(objective: Objective, point: Point, board: Board) -> int:
    """The objective on a scale on which less is better and a step is what counts."""
    value = math.log(max(objective.value(point, board), 1e-12)) / math.log1p(NEARLY)
    return round(-value if objective.more else value)


def _beats(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def _cost(point: Point) -> tuple[float, ...]:
    """What decides between points that are equal in all objectives; ends with the config itself, so that the choice never depends on order."""
    needs = point.needs
    return (
        needs["uram"], needs["bram36"], needs["dsp"], needs["lut"], -point.token_rate, -point.prompt_rate,
        *(float(v) for v in point.arch.to_dict().values()),
    )  # fmt: skip
