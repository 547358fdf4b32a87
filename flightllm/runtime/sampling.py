"""Choosing the next token from logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flightllm.errors import FlightError


def greedy(logits: np.ndarray, ids: Sequence[int] = ()) -> int:
    """The largest logit; of equal ones, the lowest id. logits: [vocab]."""
    _check(logits)
    return int(np.argmax(logits))


def _check(logits: np.ndarray) -> None:
    if np.isnan(logits).any():
        raise FlightError(
            "the logits are not numbers",
            why=f"{int(np.isnan(logits).sum())} of {logits.size} are NaN",
            do="compile with more bits (--weights 8); if that is no remedy, the model's weights are damaged",
        )


@dataclass(frozen=True)
class SamplingOptions:
    """How to sample. The default is greedy.

    The filters apply in this order: repetition penalty, temperature, top-k, top-p, min-p.
    """

    #: divides the logits; 0 is greedy
    temperature: float = 0.0
    #: keep the k largest; 0: all
    top_k: int = 0
    #: keep the smallest set of largest probabilities whose sum reaches this; 1: all
    top_p: float = 1.0
    #: keep probabilities of at least this share of the largest; 0: all
    min_p: float = 0.0
    #: logits of tokens in the context: divided by this if positive, multiplied if negative; 1: off
    repetition_penalty: float = 1.0
    #: of the random generator; None: different every time
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, ok, rule in (
            ("temperature", 0 <= self.temperature < np.inf, "0 or more"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", 0 <= self.min_p <= 1, "from 0 to 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < np.inf, "above 0"),
            ("seed", self.seed is None or self.seed >= 0, "0 or more"),
        ):
            if not ok:
                raise FlightError(
                    f"{name} = {getattr(self, name)} is not possible",
                    why=f"it must be {rule}",
                    do="give a value in this range",
                )


class Sampler:
    """Samples with `options`; equal seeds and logits give equal tokens on every machine."""

    def __init__(self, options: SamplingOptions | None = None) -> None:
        self.options = options or SamplingOptions()
        self.rng = np.random.Generator(np.random.PCG64(self.options.seed))

    def __call__(self, logits: np.ndarray, ids: Sequence[int] = ()) -> int:
        """logits: [vocab]; ids: tokens in the context, for the repetition penalty. Returns a token id."""
        _check(logits)
        x = penalise(logits, ids, self.options.repetition_penalty)
        if self.options.temperature == 0:
            return int(np.argmax(x))
        tokens, p = distribution(x, self.options)
        edges = np.cumsum(p)
        # the sum of p is 1 up to rounding only, so scale the draw to it
        drawn = np.searchsorted(edges, self.rng.random() * edges[-1], side="right")
        return int(tokens[min(int(drawn), len(tokens) - 1)])


def penalise(logits: np.ndarray, ids: Sequence[int], penalty: float) -> np.ndarray:
    """Logits as float64 with the repetition penalty of Keskar et al. (arXiv 1909.05858) on the tokens in `ids`."""
    x = logits.astype(np.float64)
    if penalty != 1.0 and len(ids):
        seen = np.unique(np.asarray(ids, dtype=np.int64))
        x[seen] = np.where(x[seen] > 0, x[seen] / penalty, x[seen] * penalty)
    return x


def distribution(x: np.ndarray, options: SamplingOptions) -> tuple[np.ndarray, np.ndarray]:
    """What is left after temperature and filters: token ids, most probable first, and their probabilities (float64, sum 1)."""
    tokens = np.argsort(-x, kind="stable")
    if options.top_k:
        tokens = tokens[: options.top_k]
    top = x[tokens[0]]
    # differences before the division: a tiny temperature must not make infinities out of large logits
    with np.errstate(over="ignore", invalid="ignore"):
        p = np.exp(np.where(x[tokens] == top, 0.0, (x[tokens] - top) / options.temperature))
    p /= p.sum()
    if options.top_p < 1:
        before = np.cumsum(p) - p
        kept = max(1, int(np.count_nonzero(before < options.top_p)))
        tokens, p = tokens[:kept], p[:kept] / p[:kept].sum()
    if options.min_p:
        kept = int(np.count_nonzero(p >= options.min_p * p[0]))
        tokens, p = tokens[:kept], p[:kept] / p[:kept].sum()
    return tokens, p
