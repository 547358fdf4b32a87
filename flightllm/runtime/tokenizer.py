"""Text <-> token ids over the `tokenizers` library, and decoding token by token."""

from __future__ import annotations

from collections.abc import Sequence

import tokenizers

from flightllm.errors import FlightError, PackageError
from flightllm.package import Package

#: what decoders put in the place of bytes that are not UTF-8 (yet)
_BROKEN = "\ufffd"
#: bytes that may be missing of one character at most
_MAX_INCOMPLETE = 3
#: tokens kept as left context by the stream decoder; decoders look back one or two
_CONTEXT = 8


class Tokenizer:
    """A tokenizer of a package.

    Args:
        text: contents of tokenizer.json.
        where: its place, for messages.
    """

    def __init__(self, text: str, where: str = "tokenizer.json") -> None:
        try:
            self._inner = tokenizers.Tokenizer.from_str(text)
        except Exception as error:
            raise PackageError(
                "the tokenizer cannot be read",
                where=where,
                why=str(error),
                do="compile again, from a model whose tokenizer.json the tokenizers library reads",
            ) from None
        # a tokenizer.json may carry the padding and truncation of its training
        self._inner.no_padding()
        self._inner.no_truncation()

    @classmethod
    def of(cls, package: Package) -> Tokenizer:
        """The tokenizer of a package.

        Raises:
            PackageError: it has none, or a damaged one.
        """
        if not package.tokenizer_json:
            raise PackageError(
                "the package has no tokenizer",
                where=str(package.path),
                why="the model it was compiled from had none",
                do="compile from a folder with tokenizer.json, or use token ids in Python: Model.logits, Session",
            )
        return cls(package.tokenizer_json, str(package.path / "tokenizer.json"))

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Token ids; `special` adds what the tokenizer puts around a text (a begin-of-text token, as a rule)."""
        try:
            text.encode()  # the library refuses lone surrogates with a TypeError that does not say so
        except UnicodeEncodeError as error:
            raise FlightError("the text is not valid Unicode", why=str(error), do="convert it to UTF-8") from None
        return list(self._inner.encode(text, add_special_tokens=special).ids)

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of token ids; ids outside the vocabulary give nothing."""
        return str(self._inner.decode([int(i) for i in ids], skip_special_tokens=skip_special))

    def token(self, token_id: int | None) -> str:
        """A token's own text, e.g. "<|im_end|>"; "" for None or an unknown id."""
        return "" if token_id is None else self._inner.id_to_token(token_id) or ""

    def stream(self, skip_special: bool = True) -> StreamDecoder:
        """A decoder for tokens that arrive one by one."""
        return StreamDecoder(self, skip_special)


class StreamDecoder:
    """Decodes tokens as they come. Never gives out part of a character: bytes that may still become one are held back."""

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = True) -> None:
        self._tokenizer, self._skip = tokenizer, skip_special
        self._ids: list[int] = []
        self._given = 0  # characters of decode(self._ids) given out
        self._held = 0  # tokens since the text last ended in a whole character

    def push(self, token_id: int) -> str:
        """Text that the token completes, maybe ""."""
        self._ids.append(int(token_id))
        text = self._tokenizer.decode(self._ids, self._skip)
        whole = len(text.rstrip(_BROKEN))
        self._held = self._held + 1 if whole < len(text) else 0
        if self._held > _MAX_INCOMPLETE:
            # a token has a byte at least, so this is damage and not the beginning of a character, but for its end
            whole = max(whole, len(text) - _MAX_INCOMPLETE)
        out = text[self._given : whole]
        self._given = max(self._given, whole)
        if whole == len(text) and len(self._ids) >= 2 * _CONTEXT:
            self._shorten(text)
        return out

    def _shorten(self, text: str) -> None:
        """All is given out: let the last tokens stand for all, so that decoding stays linear in the number of tokens."""
        for count in range(_CONTEXT, _CONTEXT + _MAX_INCOMPLETE + 1):
            tail = self._tokenizer.decode(self._ids[-count:], self._skip)
            if text.endswith(tail):  # else the cut is inside a character
                self._ids = self._ids[-count:]
                self._given = len(tail)
                return

    def flush(self) -> str:
        """What is still held back, incomplete characters as U+FFFD; the decoder begins anew."""
        out = self._tokenizer.decode(self._ids, self._skip)[self._given :]
        self._ids, self._given, self._held = [], 0, 0
        return out
