"""A package and a device behind one object: text in, text out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from flightllm.errors import FlightError
from flightllm.package import Manifest, Package
from flightllm.runtime.chat import ChatTemplate, Message
from flightllm.runtime.device import Device, open_device
from flightllm.runtime.evaluate import (
    LogitsOf,
    Perplexity,
    Progress,
    cut_windows,
    perplexity,
    read_text,
    session_logits,
)
from flightllm.runtime.sampling import Sampler, SamplingOptions
from flightllm.runtime.session import Session
from flightllm.runtime.tokenizer import Tokenizer


@dataclass
class Stats:
    """The last generation. ids: new tokens. reused: prompt tokens found in the cache. Times are this machine's wall time in seconds."""

    prompt_tokens: int = 0
    reused: int = 0
    ids: tuple[int, ...] = ()
    finish: str = ""
    prompt_seconds: float = 0.0
    decode_seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Figures as plain values; tokens_per_second counts the tokens after the first, or is None."""
        steps = len(self.ids) - 1
        rate = steps / self.decode_seconds if steps > 0 and self.decode_seconds > 0 else None
        return {
            "prompt_tokens": self.prompt_tokens,
            "reused_tokens": self.reused,
            "new_tokens": len(self.ids),
            "finish": self.finish,
            "prompt_seconds": self.prompt_seconds,
            "decode_seconds": self.decode_seconds,
            "tokens_per_second": rate,
        }


class Model:
    """A loaded package. Use `flightllm.load`.

    Attributes:
        package, device, session: the parts. stats: of the last generation.
    """

    def __init__(self, package: Package, device: Device, chunk: int | None = None) -> None:
        self.package, self.device = package, device
        self.session = Session(device, package, chunk)
        self.stats = Stats()

    @classmethod
    def open(
        cls, package: str | os.PathLike[str] | Package, on: str = "functional", chunk: int | None = None, **opts: Any
    ) -> Model:
        """Open a package on the executor `on`; `opts` are the executor's."""
        if not isinstance(package, Package):
            package = Package.open(package)
        return cls(package, open_device(on, package, **opts), chunk)

    @property
    def manifest(self) -> Manifest:
        """The package's manifest."""
        return self.package.manifest

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The package's tokenizer; PackageError if it has none."""
        return Tokenizer.of(self.package)

    @cached_property
    def template(self) -> ChatTemplate:
        """The package's chat template; PackageError if it has none."""
        return ChatTemplate.of(self.package, self.tokenizer)

    def reset(self) -> None:
        """Forget the conversation."""
        self.session.reset()

    def stream(
        self, prompt: str | Sequence[int], max_new_tokens: int | None = None, options: SamplingOptions | None = None
    ) -> Iterator[str]:
        """Continue a text, piece by piece.

        The cache of the conversation before is used as far as the new prompt begins like it.

        Args:
            prompt: text (special tokens are added), or token ids (taken as they are).
            max_new_tokens: None: as many as the context holds.
            options: of sampling; default greedy.

        Yields:
            pieces of text, whole characters each.
        """
        ids = self.tokenizer.encode(prompt) if isinstance(prompt, str) else [int(i) for i in prompt]
        return self._stream(ids, max_new_tokens, options)

    def chat(
        self, messages: Sequence[Message], max_new_tokens: int | None = None, options: SamplingOptions | None = None
    ) -> Iterator[str]:
        """The assistant's answer to a conversation, piece by piece; see `stream`."""
        text = self.template.render(messages)
        return self._stream(self.tokenizer.encode(text, special=False), max_new_tokens, options)

    def _stream(self, ids: list[int], max_new_tokens: int | None, options: SamplingOptions | None) -> Iterator[str]:
        rest = self.session.align(ids)
        decoder = self.tokenizer.stream()
        stats = self.stats = Stats(prompt_tokens=len(ids), reused=len(ids) - len(rest))
        tokens = self.session.generate(rest, max_new_tokens, Sampler(options), self.manifest.model.eos)
        start = perf_counter()
        try:
            for token in tokens:
                now = perf_counter()
                if stats.ids:
                    stats.decode_seconds = now - start
                else:
                    stats.prompt_seconds, start = now - start, now
                stats.ids += (token,)
                stats.finish = self.session.finish
                if piece := decoder.push(token):
                    yield piece
            if tail := decoder.flush():
                yield tail
        finally:
            stats.finish = self.session.finish

    def generate(
        self, prompt: str | Sequence[int], max_new_tokens: int | None = None, options: SamplingOptions | None = None
    ) -> str:
        """The whole continuation of a text; see `stream`."""
        return "".join(self.stream(prompt, max_new_tokens, options))

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """Logits after every token of a new conversation: float32 [tokens, vocab]."""
        self.session.reset()
        return self.session.feed(ids, logits=len(ids))

    def windows(self, text: str | os.PathLike[str], windows: int = 8, tokens: int = 512) -> np.ndarray:
        """Token ids of the windows of an evaluation, int64 [windows, tokens]; `text` as in `perplexity`."""
        if isinstance(text, os.PathLike):
            text = read_text(Path(text))
        if tokens > self.session.capacity:
            raise FlightError(
                f"windows of {tokens} tokens",
                why=f"the package's context is {self.session.capacity} tokens",
                do="use shorter windows, or compile with a larger --max-context",
            )
        return cut_windows(self.tokenizer.encode(text, special=False), windows, tokens)

    def perplexity(
        self,
        text: str | os.PathLike[str],
        windows: int = 8,
        tokens: int = 512,
        logits_of: LogitsOf | None = None,
        progress: Progress | None = None,
    ) -> Perplexity:
        """Perplexity of a text, see `flightllm.runtime.evaluate`.

        Args:
            text: a text, or (as `Path`) the file it is in.
            windows, tokens: how much of it.
            logits_of: another model to evaluate on the same windows (`evaluate.reference_logits(graph)`); default: this one.
            progress: called after each window.
        """
        cut = self.windows(text, windows, tokens)
        return perplexity(logits_of or session_logits(self.session), cut, progress)
