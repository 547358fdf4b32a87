"""Perplexity of a text.

The text is tokenised whole, without special tokens, and cut from its beginning into consecutive windows of equal length; each window is
a conversation of its own, with nothing put before it. The first token of a window is context only, so a window of T tokens
gives T - 1 predictions. Perplexity is exp of the mean negative log-likelihood over all predictions of all windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flightllm.errors import FlightError
from flightllm.runtime.session import Session

#: ids of one window -> logits in pieces: float32 [n, vocab], n's adding up to the tokens of the window or one less
LogitsOf = Callable[[list[int]], Iterable[np.ndarray]]
#: (windows done, windows)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Perplexity:
    """Result of an evaluation. nll: float64 [windows, tokens - 1], negative log-likelihood in nats of tokens 1.. of each window."""

    nll: np.ndarray

    @property
    def value(self) -> float:
        """The perplexity; inf if it is beyond a float."""
        with np.errstate(over="ignore"):
            return float(np.exp(self.nll.mean()))

    @property
    def per_window(self) -> list[float]:
        """Perplexity of each window."""
        with np.errstate(over="ignore"):
            return [float(p) for p in np.exp(self.nll.mean(axis=1))]

    def to_json(self) -> dict[str, Any]:
        """Figures as plain values."""
        return {
            "perplexity": self.value,
            "nll": float(self.nll.mean()),
            "windows": self.nll.shape[0],
            "tokens": self.nll.shape[1] + 1,
            "per_window": self.per_window,
        }


@dataclass(frozen=True)
class Evaluation:
    """Perplexity of a package, and of its uncompressed model if that was asked for, on the same windows.

    name: of the package. seconds: wall time of this machine, by what was evaluated ("package", "reference").
    """

    name: str
    package: Perplexity
    reference: Perplexity | None
    seconds: dict[str, float]

    @property
    def ratio(self) -> float | None:
        """Perplexity of the package relative to the uncompressed model's."""
        return None if self.reference is None else self.package.value / self.reference.value

    def to_json(self) -> dict[str, Any]:
        """Figures as plain values; `reference` and `ratio` only if there is a reference."""
        shape = self.package.nll.shape
        out: dict[str, Any] = {"name": self.name, "windows": shape[0], "tokens": shape[1] + 1}
        out["package"] = self.package.to_json() | {"seconds": self.seconds["package"]}
        if self.reference is not None:
            out["reference"] = self.reference.to_json() | {"seconds": self.seconds["reference"]}
            out["ratio"] = self.ratio
        return out


def cut_windows(ids: Sequence[int], windows: int, tokens: int) -> np.ndarray:
    """The first `windows` windows of `tokens` ids: int64 [windows, tokens].

    Raises:
        FlightError: the text is too short, or a figure is senseless.
    """
    if windows < 1 or tokens < 2:
        raise FlightError(
            f"{windows} windows of {tokens} tokens",
            why="at least 1 window of at least 2 tokens is needed",
            do="give larger --windows or --tokens",
        )
    if len(ids) < windows * tokens:
        raise FlightError(
            "the text is too short",
            why=f"it has {len(ids)} tokens, {windows} windows of {tokens} need {windows * tokens}",
            do="use a longer text, or fewer or shorter windows",
        )
    return np.asarray(ids[: windows * tokens], dtype=np.int64).reshape(windows, tokens)


def token_nll(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """-log softmax(logits)[target] in float64.

    Args:
        logits: float32 [n, vocab].
        targets: [n] token ids.

    Returns:
        float64 [n], nats.
    """
    out = np.empty(len(targets))
    for i, target in enumerate(targets):  # row by row: a whole window in float64 would be hundreds of megabytes
        row = logits[i].astype(np.float64)
        top = row.max()
        out[i] = top + np.log(np.exp(row - top).sum()) - row[target]
    return out


def perplexity(logits_of: LogitsOf, windows: np.ndarray, progress: Progress | None = None) -> Perplexity:
    """Evaluate every window.

    Args:
        logits_of: the model, see `LogitsOf`.
        windows: [windows, tokens] token ids.
        progress: called after each window.

    Raises:
        FlightError: the model gives logits that are not numbers.
    """
    nll = np.empty((windows.shape[0], windows.shape[1] - 1))
    for w, window in enumerate(windows):
        first = 0
        for piece in logits_of([int(i) for i in window]):
            targets = window[first + 1 : first + 1 + len(piece)]
            nll[w, first : first + len(targets)] = token_nll(piece, targets)
            first += len(piece)
        if first < windows.shape[1] - 1:
            raise ValueError(f"logits of {first} tokens for a window of {windows.shape[1]}")
        if not np.isfinite(nll[w]).all():
            at = int(np.flatnonzero(~np.isfinite(nll[w]))[0])
            raise FlightError(
                "the logits are not numbers",
                where=f"window {w}, token {at + 1}",
                do="compile with more bits (--weights 8); if that is no remedy, the model's weights are damaged",
            )
        if progress is not None:
            progress(w + 1, len(windows))
    return Perplexity(nll)


def read_text(path: Path) -> str:
    """A UTF-8 text file.

    Raises:
        FlightError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FlightError(
            "the text cannot be read", where=str(path), why=str(error), do="give a text file in UTF-8"
        ) from None


def session_logits(session: Session) -> LogitsOf:
    """A session as the model of `perplexity`: each window a new conversation, fed as a prompt, logits chunk by chunk."""

    def logits_of(ids: list[int]) -> Iterator[np.ndarray]:
        session.reset()
        for first in range(0, len(ids), session.chunk):
            part = ids[first : first + session.chunk]
            yield session.feed(part, logits=len(part))

    return logits_of


def reference_logits(graph: Any) -> LogitsOf:
    """The uncompressed model as the model of `perplexity`: the graph evaluated in fp32 (`flightllm.ir.reference.evaluate`)."""
    from flightllm.ir.reference import evaluate

    def logits_of(ids: list[int]) -> Iterator[np.ndarray]:
        yield np.asarray(evaluate(graph, ids), dtype=np.float32)

    return logits_of
