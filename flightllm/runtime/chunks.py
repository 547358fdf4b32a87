"""Which tokens go into which run of the program: a prompt in chunks, then one token at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flightllm.errors import FlightError
from flightllm.package.manifest import Limits


@dataclass(frozen=True)
class Chunk:
    """Positions pos .. pos + count - 1. prompt: belongs to the prompt (masks apply). last: logits of its last token are wanted."""

    pos: int
    count: int
    prompt: bool
    last: bool


def chunks(limits: Limits, prompt: int, new: int, chunk: int | None = None) -> Iterator[Chunk]:
    """Runs that feed `prompt` tokens, at most `chunk` at once (None: what the program takes), then `new` tokens singly.

    Raises:
        FlightError: they do not fit the context.
    """
    if prompt + new > limits.max_context:
        why = f"{prompt} + {new} tokens, the package has room for {limits.max_context}"
        raise FlightError("the context is too short", why=why, do="ask for fewer tokens")
    return _chunks(limits, prompt, new, chunk or limits.max_chunk)


def random_ids(vocab: int, count: int, seed: int) -> list[int]:
    """Token ids to feed when their meaning does not matter; the same for a seed."""
    ids: list[int] = np.random.default_rng(seed).integers(0, vocab, count).tolist()
    return ids


def _chunks(limits: Limits, prompt: int, new: int, most: int) -> Iterator[Chunk]:
    pos = 0
    while pos < prompt:
        count = min(most, limits.room(pos), prompt - pos)
        yield Chunk(pos, count, True, pos + count == prompt)
        pos += count
    for pos in range(prompt, prompt + new):
        yield Chunk(pos, 1, False, True)
