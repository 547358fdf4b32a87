"""A conversation on a device: keeps the position, feeds prompts in chunks, generates."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np

from flightllm.errors import FlightError
from flightllm.package import Package
from flightllm.runtime.device import Device
from flightllm.runtime.sampling import greedy

#: (logits float32 [vocab], ids so far) -> next token id
Sampler = Callable[[np.ndarray, Sequence[int]], int]


class Session:
    """Conversations on one device, one after another, without loading the package again. A run that fails ends the conversation.

    Args:
        device: with `package` loaded.
        package: for its limits.
        chunk: tokens fed per run of the program at most; None: what the program takes. Results do not depend on it.

    Attributes:
        ids: tokens in the KV cache.
        finish: why the last `generate` ended: "stop" (a stop token), "length" (max_new_tokens), "context" (cache full) or "" (not yet).
    """

    def __init__(self, device: Device, package: Package, chunk: int | None = None) -> None:
        limits = package.manifest.limits
        if chunk is not None and not 1 <= chunk <= limits.max_chunk:
            raise FlightError(
                f"chunk = {chunk} is not possible",
                why=f"the program takes 1 to {limits.max_chunk} tokens",
                do="give a --chunk in this range, or none",
            )
        self.device, self.package = device, package
        self.chunk = chunk or limits.max_chunk
        self.capacity = limits.max_context
        self.vocab = package.manifest.model.vocab
        self.ids: list[int] = []
        self.finish = ""
        self._pending: int | None = None

    @property
    def position(self) -> int:
        """Position of the next token fed: tokens in the KV cache."""
        return len(self.ids)

    def reset(self) -> None:
        """Begin a new conversation."""
        self.ids, self._pending, self.finish = [], None, ""
        self.device.reset()

    def rewind(self, position: int) -> None:
        """Forget the tokens from `position` on. Their cache entries are invisible and are overwritten by what comes next."""
        if not 0 <= position <= self.position:
            raise ValueError(f"rewind to {position}, the session is at {self.position}")
        del self.ids[position:]
        self._pending = None

    def align(self, ids: Sequence[int]) -> list[int]:
        """Make the session ready to continue as if `ids` were fed, keeping the longest common beginning.

        Returns the tokens that still have to be fed, at least one unless `ids` is empty.
        """
        common = 0
        for have, want in zip(self.ids, ids, strict=False):
            if have != want:
                break
            common += 1
        common = max(0, min(common, len(ids) - 1))
        if common:
            self.rewind(common)
        else:
            self.reset()
        return list(ids[common:])

    def feed(self, ids: Sequence[int], logits: int = 1, masken: bool = True) -> np.ndarray:
        """Feed tokens in chunks. A token that `generate` left unfed is dropped.

        Args:
            ids: one token or more.
            logits: how many tokens, counted from the last, to return logits of; 0..len(ids).
            masken: apply attention block masks, as for a prompt.

        Returns:
            float32 [logits, vocab].

        Raises:
            FlightError: the context would overflow (nothing is fed then), or an id is not in the vocabulary.
        """
        ids = [int(i) for i in ids]
        if not 0 <= logits <= len(ids):
            raise ValueError(f"logits of {logits} tokens wanted, {len(ids)} are fed")
        self._check_room(len(ids))
        bad = next((i for i in ids if not 0 <= i < self.vocab), None)
        if bad is not None:
            raise FlightError(
                f"token id {bad} is not in the vocabulary",
                why=f"ids go from 0 to {self.vocab - 1}",
                do="use ids of this package's tokenizer",
            )
        if not ids:
            return np.empty((0, self.vocab), np.float32)
        rows = []
        first = 0
        while first < len(ids):
            part = ids[first : first + min(self.chunk, self.package.manifest.limits.room(self.position))]
            behind = len(ids) - first - len(part)
            nlog = min(len(part), max(0, logits - behind))
            try:
                out = self.device.run_chunk(part, self.position, nlog, masken)
            except FlightError:  # what is in the cache now is unknown
                self.ids, self._pending = [], None
                raise
            self.ids.extend(part)
            rows.append(out)
            first += len(part)
        self._pending = None
        return np.concatenate(rows, axis=0)

    def _check_room(self, count: int) -> None:
        if self.position + count > self.capacity:
            raise FlightError(
                "the context is full",
                why=f"{self.position} tokens are in it, {count} more do not fit into the package's {self.capacity}",
                do="shorten the prompt, begin a new conversation, or compile with a larger --max-context",
            )

    def generate(
        self,
        prompt_ids: Sequence[int],
        max_new_tokens: int | None = None,
        sampler: Sampler | None = None,
        stop: Collection[int] = (),
    ) -> Iterator[int]:
        """Feed a prompt after what is in the cache, then generate.

        Yields each new token as soon as it is known; a stop token ends the iteration and is not yielded. The last token, yielded or
        not, is fed at the beginning of the next call, so that a conversation goes on without a gap.

        Args:
            prompt_ids: may be empty if an earlier call left a token.
            max_new_tokens: None: as many as the context holds.
            sampler: default: greedy.
            stop: token ids that end the generation.

        Raises:
            FlightError: the prompt is empty, or does not fit the context.
        """
        pending = [] if self._pending is None else [self._pending]
        prompt = pending + [int(i) for i in prompt_ids]
        if not prompt:
            raise FlightError("the prompt has no tokens", do="give a prompt of at least one token")
        return self._generate(prompt, max_new_tokens, sampler or greedy, frozenset(stop))

    def _generate(
        self, prompt: list[int], max_new_tokens: int | None, sampler: Sampler, stop: frozenset[int]
    ) -> Iterator[int]:
        self.finish = ""
        if max_new_tokens is not None and max_new_tokens < 1:
            self.feed(prompt, logits=0)
            self.finish = "length"
            return
        logits = self.feed(prompt, logits=1)[-1]
        made = 0
        while True:
            token = int(sampler(logits, self.ids))
            self._pending = token
            if token in stop:
                self.finish = "stop"
                return
            made += 1
            # set before the token is handed out: the caller may stop iterating there
            if max_new_tokens is not None and made >= max_new_tokens:
                self.finish = "length"
            elif self.position >= self.capacity:
                self.finish = "context"
            yield token
            if self.finish:
                return
            logits = self.feed([token], logits=1, masken=False)[-1]
