"""The interface of producers: what turns a float weight into a coded matrix. New methods are added with `register`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from flightllm.errors import RecipeError
from flightllm.streams.coded import CodedMatrix


@dataclass(frozen=True)
class Calibration:
    """What is known of a matrix's inputs, measured over the tokens of a text.

    second_moment: mean square of each input, float32 [k]: the diagonal of their matrix of second moments. A producer that needs the
    whole matrix has it put here as an optional field; `ir.reference.observe_linears` shows every input to whoever asks.
    """

    second_moment: np.ndarray


@dataclass(frozen=True)
class CodingRequest:
    """What a producer is asked for.

    group: columns per scale. formats: uint8 [rows, blocks, passes], format bytes (`ABSENT`: no such pass), constant or not; the
    result must have these. search: spend time on better scales. calibration: or None. least_rho: float32 [rows], the row scales must
    not be below it, or None: pieces of a row that keep a stored grid need that much.
    """

    group: int
    formats: np.ndarray
    search: bool = False
    calibration: Calibration | None = None
    least_rho: np.ndarray | None = None


class Producer(Protocol):
    """A compression method for one matrix."""

    def code(self, weight: np.ndarray, request: CodingRequest) -> CodedMatrix:
        """Code float32 [rows, k] (finite) in the requested formats. Temporaries must not grow with the number of rows."""
        ...


_PRODUCERS: dict[str, Producer] = {}


def register(name: str, producer: Producer) -> None:
    """Make a producer known to recipes (`producer = "name"`)."""
    _PRODUCERS[name] = producer


def producer(name: str) -> Producer:
    """The producer of that name; RecipeError if there is none."""
    if name not in _PRODUCERS:
        raise RecipeError(f"there is no producer {name!r}", do=f"one of {', '.join(sorted(_PRODUCERS))}")
    return _PRODUCERS[name]
