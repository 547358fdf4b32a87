"""The configs that a search looks at: values of each parameter, what is legal among them, and which are neighbours."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flightllm.config.arch import ArchConfig, check_types
from flightllm.config.board import Board
from flightllm.errors import ConfigError
from flightllm.resources.ladder import ladder
from flightllm.synth.timing import CLOCK_MHZ

#: parameters that are varied unless the caller says which; the others keep the base's values
VARIED = (
    "cores", "channels", "vpus", "chain_vpus", "lanes", "max_chunk", "vb_elements", "ab_windows", "acc_entries", "w_ring_bytes",
)  # fmt: skip
#: parameters that make the size of a config; the rest are buffers
SHAPE = ("cores", "channels", "vpus", "chain_vpus")
#: channels below this share of the board's leave too much of its memory's rate unused to be looked at unasked
_CHANNELS = 4

Knobs = dict[str, tuple[int | float, ...]]


@dataclass(frozen=True)
class Space:
    """Values of the parameters that are varied.

    Attributes:
        base: one of the combinations; where the search begins, and what the parameters are that are not varied.
        knobs: parameter -> values, ascending.
    """

    base: ArchConfig
    knobs: Knobs

    def size(self) -> int:
        """Combinations."""
        return math.prod(len(values) for values in self.knobs.values())

    def all(self) -> Iterator[ArchConfig]:
        """Every combination, the last parameter running fastest."""
        return self._products(self.knobs)

    def shapes(self) -> Iterator[ArchConfig]:
        """The combinations of the parameters that make the size, with the base's buffers."""
        return self._products({name: values for name, values in self.knobs.items() if name in SHAPE})

    def _products(self, knobs: Knobs) -> Iterator[ArchConfig]:
        # each rule of a config is about one parameter, and each value was looked at: every combination is legal
        for values in itertools.product(*knobs.values()):
            given: dict[str, Any] = dict(zip(knobs, values, strict=True))
            yield replace(self.base, **given)

    def contains(self, arch: ArchConfig) -> bool:
        """Whether a config is one of the combinations."""
        values = arch.to_dict()
        given = {**self.base.to_dict(), **{name: values[name] for name in self.knobs}}
        return given == values and all(values[name] in self.knobs[name] for name in self.knobs)

    def neighbours(self, arch: ArchConfig) -> Iterator[ArchConfig]:
        """The configs one step away: a parameter at its next value, or more cores for fewer channels and the reverse."""
        for name in self.knobs:
            for step in (1, -1):
                yield from self._moved(arch, {name: step})
        if {"cores", "channels"} <= set(self.knobs):
            for step in (1, -1):
                yield from self._moved(arch, {"cores": step, "channels": -step})

    def _moved(self, arch: ArchConfig, steps: Mapping[str, int]) -> Iterator[ArchConfig]:
        values: dict[str, Any] = {}
        for name, step in steps.items():
            index = self.knobs[name].index(getattr(arch, name)) + step
            if not 0 <= index < len(self.knobs[name]):
                return
            values[name] = self.knobs[name][index]
        yield replace(arch, **values)


def make_space(board: Board, base: ArchConfig, vary: Mapping[str, Sequence[int | float]] | None = None) -> Space:
    """The space of a search.

    Args:
        board: bounds the values that nobody gave.
        base: config with the parameters that are not varied.
        vary: parameter -> values. Parameters in `VARIED` that are not in it get the values of `resources.ladder`; one with a single value is fixed.

    Raises:
        ConfigError: an unknown parameter, no value, one of a wrong type, or one that is legal in no config.
    """
    given = {name: list(values) for name, values in (vary or {}).items()}
    for name, values in given.items():
        if not values:
            raise ConfigError(f"no values of {name}", where="vary", do=f"give some, as in {name}=1,2")
        for value in values:
            check_types({name: value}, "vary")
            _possible(base, name, value)
    knobs: Knobs = {}
    fixed: dict[str, Any] = {name: values[0] for name, values in given.items() if len(set(values)) == 1}
    if "clock_mhz" not in given:
        fixed["clock_mhz"] = min(base.clock_mhz, CLOCK_MHZ)
    base = replace(base, **fixed)
    for name in dict.fromkeys([*VARIED, *given]):
        values = sorted(set(given[name])) if name in given else _default(board, base, name)
        knobs[name] = tuple(values)
    return Space(replace(base, **{name: _near(values, getattr(base, name)) for name, values in knobs.items()}), knobs)


def _near(values: Sequence[int | float], wanted: int | float) -> Any:
    """The value that was wanted, or the next smaller one there is, or the smallest."""
    return max((v for v in values if v <= wanted), default=values[0])


def _possible(base: ArchConfig, name: str, value: int | float) -> None:
    """Raise ConfigError if a value is legal in no config (each rule of `ArchConfig` is about one parameter)."""
    try:
        replace(base, **{name: value})  # type: ignore[arg-type]
    except ConfigError as error:
        raise ConfigError(error.what, where="vary", why=error.why, do="give other values") from None


def _default(board: Board, base: ArchConfig, name: str) -> list[int | float]:
    values = ladder(board, base, name)
    if name == "channels":
        return [v for v in values if v * _CHANNELS >= min(32, board.memory.channels)]
    return list(values)
