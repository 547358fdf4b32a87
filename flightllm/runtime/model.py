"""A package and a device behind one object: text in, text out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from flightllm.errors import FlightError
from flightllm.package import Manifest, Package
from flightllm.runtime.chat import ChatTemplate, Message
from flightllm.runtime.device import Device, open_device
from flightllm.runtime.evaluate import (
    Evaluation,
    LogitsOf,
    Perplexity,
    Progress,
    cut_windows,
    perplexity,
    read_text,
    reference_logits,
    session_logits,
)
from flightllm.runtime.sampling import Sampler, SamplingOptions
from flightllm.runtime.session import Session
from flightllm.runtime.tokenizer import Tokenizer

if TYPE_CHECKING:
    from flightllm.ir import Graph


@dataclass
class Stats:
    """The last generation. ids: new tokens. reused: prompt tokens found in the cache.

    prompt_seconds: up to the first new token, or to the end if there is none. decode_seconds: from there to the last. Times are this machine's wall time in seconds."""

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


@dataclass(frozen=True)
class Answer:
    """Result of `Model.run`. chat: whether the prompt went through the chat template. stats: of this generation."""

    prompt: str
    chat: bool
    text: str
    stats: Stats

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        head = {"prompt": self.prompt, "chat": self.chat, "text": self.text, "ids": list(self.stats.ids)}
        return head | self.stats.to_json()


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
        cls,
        package: str | os.PathLike[str] | Package,
        on: str = "functional",
        chunk: int | None = None,
        *,
        verify: bool = True,
        **opts: Any,
    ) -> Model:
        """Open a package on the executor `on`, after its checksums were compared (`verify`); `opts` are the executor's.

        A `Package` that is open already is taken as it is.
        """
        if not isinstance(package, Package):
            package = Package.open(package, verify=verify)
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
            if not stats.ids:  # the first token ended it, or none was wanted
                stats.prompt_seconds = perf_counter() - start
            stats.finish = self.session.finish

    def generate(
        self, prompt: str | Sequence[int], max_new_tokens: int | None = None, options: SamplingOptions | None = None
    ) -> str:
        """The whole continuation of a text; see `stream`."""
        return "".join(self.stream(prompt, max_new_tokens, options))

    def run(
        self,
        prompt: str,
        *,
        chat: bool = False,
        system: str | None = None,
        max_new_tokens: int | None = None,
        options: SamplingOptions | None = None,
    ) -> Answer:
        """What `flightllm run PACKAGE --prompt ...` does: the text with all figures.

        Args:
            prompt: text to continue; with `chat`, the user's message.
            chat: use the chat template. system: system message; implies it.
            max_new_tokens, options: as in `stream`.
        """
        chat = chat or system is not None
        talk = [{"role": "system", "content": system}] if system is not None else []
        talk.append({"role": "user", "content": prompt})
        pieces = self.chat(talk, max_new_tokens, options) if chat else self.stream(prompt, max_new_tokens, options)
        text = "".join(pieces)
        return Answer(prompt, chat, text, self.stats)

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

    def eval(
        self,
        text: str | os.PathLike[str],
        windows: int = 8,
        tokens: int = 512,
        *,
        reference: str | os.PathLike[str] | Graph | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Evaluation:
        """What `flightllm eval PACKAGE TEXT` does: perplexity, beside the uncompressed model's.

        Args:
            text: a text, or (as `Path`) the file it is in.
            windows, tokens: how much of it.
            reference: uncompressed model to evaluate on the same windows: path, name of an embedded model, or graph.
            progress: called with ("package" or "reference", windows done, windows).

        Raises:
            FlightError: the text is too short or cannot be read, or the reference has another vocabulary.
        """
        runs = {"package": session_logits(self.session)}
        if reference is not None:
            runs["reference"] = reference_logits(self._reference(reference))
        cut = self.windows(text, windows, tokens)
        done, seconds = {}, {}
        for name, logits_of in runs.items():
            start = perf_counter()
            done[name] = perplexity(logits_of, cut, partial(progress, name) if progress else None)
            seconds[name] = perf_counter() - start
        return Evaluation(self.manifest.name, done["package"], done.get("reference"), seconds)

    def _reference(self, reference: str | os.PathLike[str] | Graph) -> Graph:
        from flightllm.api import load_graph

        graph = load_graph(reference) if isinstance(reference, str | os.PathLike) else reference
        vocab = self.manifest.model.vocab
        if graph.info.vocab != vocab:
            raise FlightError(
                "the reference is another model",
                where=graph.info.source if graph is reference else str(reference),
                why=f"it has a vocabulary of {graph.info.vocab:,}, the package one of {vocab:,}",
                do="give the model that the package was compiled from",
            )
        return graph
