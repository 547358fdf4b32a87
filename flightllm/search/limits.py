"""How much of a board a config may take."""

from __future__ import annotations

from collections.abc import Mapping

from flightllm.errors import ConfigError
from flightllm.resources.estimate import LIMITED

#: shares of the board's resources that a config may take: a card's shell takes 8 % of a U280's LUTs and 10 % of its block RAM
LIMITS = {"dsp": 1.0, "lut": 0.9, "ff": 0.9, "bram36": 0.9, "uram": 1.0}


def make_limits(given: Mapping[str, float] | None = None) -> dict[str, float]:
    """Shares by resource, the defaults and what was given instead.

    Raises:
        ConfigError: an unknown resource, or a share that is not above 0. More than 1 is allowed: estimates of logic are on the high side.
    """
    for name, share in (given or {}).items():
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if name not in LIMITED or not number or not 0 < share <= 10:
            raise ConfigError(
                f"limit {name} = {share!r} is not possible",
                where="limit",
                why="it is the share of a resource that may be used",
                do=f"give a number above 0 (0.9: nine tenths) for one of {', '.join(LIMITED)}",
            )
    return LIMITS | dict(given or {})
