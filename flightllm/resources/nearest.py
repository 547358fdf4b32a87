"""The config nearest to one that does not fit its board."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count

from flightllm.config.arch import ArchConfig
from flightllm.config.board import Board
from flightllm.errors import ConfigError
from flightllm.resources.fit import FitRow, fit_rows
from flightllm.resources.ladder import NAMES, ladder

#: configs that are looked at before the search gives up
MOST = 1000
#: what a halving of a parameter counts: a channel less is memory and its rate less, and a core is many of everything
_WEIGHTS = {"cores": 2.0, "channels": 2.0}
#: parameters of which more takes less
_SHARING = ("chain_vpus",)
#: what each parameter that changes at all counts on top: few changes before small ones
_CHANGE = 0.5


def rows_within(board: Board, arch: ArchConfig, limits: Mapping[str, float] | None = None) -> list[FitRow]:
    """The rows of `fit_rows`, with what the board has cut to shares of it.

    Args:
        limits: share of a resource that may be used, by its name in the board file ("lut": 0.9); those not named count in full.
    """
    rows = fit_rows(board, arch)
    return [replace(row, have=row.have * (limits or {}).get(row.key, 1.0)) for row in rows]


def nearest_fit(
    board: Board,
    arch: ArchConfig,
    limits: Mapping[str, float] | None = None,
    knobs: Mapping[str, Sequence[int | float]] | None = None,
) -> ArchConfig | None:
    """The config that fits a board, logic as estimated included, and takes the least change: few parameters, and these by little.

    Args:
        board, arch: what does not fit what. limits: as of `rows_within`.
        knobs: parameters that may change, with their values, ascending; default: all of `NAMES`, as `ladder` has them.

    Returns:
        the config; `arch` itself if it fits; None if none was found.
    """
    start = arch
    if knobs is None:
        start = replace(
            arch,
            channel_bytes=min(arch.channel_bytes, board.memory.channel_bytes),
            clock_mhz=min(arch.clock_mhz, board.clock_mhz_max),
        )
    order = count()
    queue: list[tuple[float, int, ArchConfig]] = [(0.0, next(order), start)]
    done: set[ArchConfig] = set()
    while queue and len(done) < MOST:
        _, _, config = heapq.heappop(queue)
        if config in done:
            continue
        done.add(config)
        short = _short(rows_within(board, config, limits))
        if not short:
            return config
        for smaller in _smaller(board, config, knobs):
            left = _short(rows_within(board, smaller, limits))
            if any(left.get(name, -math.inf) < need for name, need in short.items()):
                heapq.heappush(queue, (_distance(start, smaller), next(order), smaller))
    return None


def changes(old: ArchConfig, new: ArchConfig) -> dict[str, int | float]:
    """Parameters of the new config that differ from the old one's, in the order of `ArchConfig`."""
    before = old.to_dict()
    return {name: value for name, value in new.to_dict().items() if value != before[name]}


def settings(values: Mapping[str, int | float]) -> str:
    """Parameters as options of the command line."""
    return " ".join(f"--set {name}={value:.10g}" for name, value in values.items())


def advice(board: Board, arch: ArchConfig) -> str:
    """What to change so that a config fits its board, with the figures; "" if no config near it does."""
    near = nearest_fit(board, arch)
    if near is None or near == arch:
        return ""
    before = {row.resource: row for row in fit_rows(board, arch)}
    figures = [
        f"{row.resource} {row.need:,.10g} of {row.have:,.10g}"
        for row in fit_rows(board, near)
        if not before[row.resource].fits
    ]
    return f"the nearest config that fits: {settings(changes(arch, near))} ({', '.join(figures)})"


def _short(rows: list[FitRow]) -> dict[str, float]:
    """Needs that the board does not meet."""
    return {row.resource: row.need for row in rows if not row.fits}


def _smaller(board: Board, arch: ArchConfig, knobs: Mapping[str, Sequence[int | float]] | None) -> Iterator[ArchConfig]:
    """Configs with one parameter at the next value that takes less: the smaller one, or of `_SHARING` the greater."""
    for name in NAMES if knobs is None else knobs:
        values = ladder(board, arch, name) if knobs is None else knobs[name]
        now = getattr(arch, name)
        less = [v for v in values if v > now] if name in _SHARING else [v for v in reversed(values) if v < now]
        if less:
            try:
                yield replace(arch, **{name: less[0]})  # type: ignore[arg-type]
            except ConfigError:
                continue


def _distance(old: ArchConfig, new: ArchConfig) -> float:
    """How far a config is from another one."""
    total = 0.0
    for name, value in changes(old, new).items():
        total += _CHANGE + _WEIGHTS.get(name, 1.0) * abs(math.log2(value / getattr(old, name)))
    return total
