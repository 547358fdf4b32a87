"""What a recipe says about one tensor, after all rules are applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flightllm.streams.formats import EntryFormat

AS_STORED = "as-stored"


@dataclass(frozen=True)
class RowRange:
    """Rows start..stop-1 of a tensor have other passes than the rest."""

    start: int
    stop: int
    passes: tuple[EntryFormat, ...]


@dataclass(frozen=True)
class TensorRecipe:
    """How one weight matrix is coded and which activations it is multiplied with.

    as_stored: keep the file's own grid if it has one that the machine can hold; `passes` and `group` then serve the weights
    that have none. passes: the entry formats whose sum the matrix is, "more" bits clear. group: columns per scale.
    activations: "a8" or "dual" (15 bits, free for one token, twice the beats for two). search: look for scales with less
    squared error (slower). rows: exceptions for ranges of rows. producer: name of a registered producer. budget: average
    bits per weight, all included, of the budgeted mix this tensor takes part in, or None.
    """

    passes: tuple[EntryFormat, ...] = (EntryFormat(8),)
    group: int = 128
    as_stored: bool = True
    activations: Literal["a8", "dual"] = "a8"
    search: bool = False
    rows: tuple[RowRange, ...] = ()
    producer: str = "rtn"
    budget: float | None = None
