"""What a recipe says about one tensor, after all rules are applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

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
    bits per weight, all included, of the budgeted mix this tensor takes part in, or None. groups: what that mix may choose the
    group among; empty: `group` alone.
    """

    passes: tuple[EntryFormat, ...] = (EntryFormat(8),)
    group: int = 128
    as_stored: bool = True
    activations: Literal["a8", "dual"] = "a8"
    search: bool = False
    rows: tuple[RowRange, ...] = ()
    producer: str = "rtn"
    budget: float | None = None
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Mix:
    """What a budget chose for one tensor, in place of its recipe's passes and group.

    group: columns per scale. formats: uint8 [rows, blocks, 1]. kept: bool [rows, blocks], where the tensor's own grid stays as it is, or
    None for nowhere.
    """

    group: int
    formats: np.ndarray
    kept: np.ndarray | None = None
