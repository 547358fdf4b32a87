"""Tokenizer and streaming decode."""

import json

import pytest
from fake_device import byte_tokenizer, write_package
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, processors

from flightllm.errors import FlightError, PackageError
from flightllm.runtime.tokenizer import Tokenizer

BYTES = Tokenizer(byte_tokenizer().to_str())


def stream(tokenizer, ids):
    decoder = tokenizer.stream()
    return [decoder.push(i) for i in ids] + [decoder.flush()]


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60))
def test_text_streams_whole_characters(text):
    ids = BYTES.encode(text)
    assert len(ids) == len(text.encode())
    parts = stream(BYTES, ids)
    assert "".join(parts) == BYTES.decode(ids) == text
    assert parts[-1] == "" or "\ufffd" in text
    # a character appears with its last byte, no later
    if "\ufffd" not in text:
        sizes = [len(c.encode()) for c in text]
        want = [c for c, n in zip(text, sizes, strict=True) for c in [""] * (n - 1) + [c]]
        assert parts == [*want, ""]


@settings(max_examples=300, deadline=None)
@given(ids=st.lists(st.integers(0, 257), max_size=80))
def test_any_tokens_stream_to_the_same_text(ids):
    parts = stream(BYTES, ids)
    assert "".join(parts) == BYTES.decode(ids)
    assert all(part.encode() is not None for part in parts)


def test_damage_is_not_held_back_for_ever():
    a = BYTES.encode("a")
    broken = [BYTES.encode("é")[0]] * 10
    parts = stream(BYTES, a + broken + a)
    assert "".join(parts) == "a" + "\ufffd" * 10 + "a"
    assert "".join(parts[:9]).startswith("a\ufffd\ufffd")


def test_long_streams_are_decoded_in_pieces():
    ids = BYTES.encode("abc dé€𝄞" * 200)
    decoder = BYTES.stream()
    longest = 0
    for i in ids:
        decoder.push(i)
        longest = max(longest, len(decoder._ids))
    assert longest <= 20


def sentencepiece() -> Tokenizer:
    """Decoder of LLaMA 2: word mark, byte fallback, the first blank stripped."""
    words = ["▁the", "▁cat", "s", "▁", "é", *[f"<0x{b:02X}>" for b in range(256)]]
    tok = Library(models.BPE(vocab={w: i for i, w in enumerate(words)}, merges=[], byte_fallback=True))
    tok.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return Tokenizer(tok.to_str())


@settings(max_examples=100, deadline=None)
@given(words=st.lists(st.sampled_from(["▁the", "▁cat", "s", "é", "€", "𝄞"]), max_size=60))
def test_byte_fallback_and_leading_blank(words):
    tok = sentencepiece()
    ids = []
    for w in words:
        known = {"▁the": 0, "▁cat": 1, "s": 2, "é": 4}.get(w)
        ids += [known] if known is not None else [5 + b for b in w.encode()]
    parts = stream(tok, ids)
    assert "".join(parts) == tok.decode(ids) == "".join(words).replace("▁", " ").removeprefix(" ")
    assert not any("\ufffd" in p for p in parts)


@pytest.mark.parametrize("char", ["ß", "€", "𝄞"])
def test_long_runs_of_bytes(char):
    """The stream decoder drops old tokens; it must not cut a character doing so."""
    text = f"s{char * 40}s"
    tok = sentencepiece()
    ids = [2, *(5 + b for b in char.encode() * 40), 2]
    assert "".join(stream(tok, ids)) == text
    ids = BYTES.encode(text)
    assert "".join(stream(BYTES, ids)) == text


def test_special_tokens():
    inner = byte_tokenizer()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    inner.enable_truncation(2)
    inner.enable_padding(length=9)
    tok = Tokenizer(inner.to_str())
    ids = tok.encode("hello")
    assert ids == [256, *BYTES.encode("hello")]
    assert tok.encode("hello", special=False) == ids[1:]
    assert tok.encode("a</s>", special=False)[-1] == 257
    assert tok.decode([*ids, 257]) == "hello"
    assert tok.decode([*ids, 257], skip_special=False) == "<s>hello</s>"
    assert (tok.token(257), tok.token(None), tok.token(99999)) == ("</s>", "", "")
    assert tok.decode([99999]) == ""


def test_lone_surrogate_is_an_error():
    with pytest.raises(FlightError, match="Unicode"):
        BYTES.encode("\ud800")


@pytest.mark.parametrize("text", ["", "{}", "x", json.dumps({"model": {"type": "BPE"}})])
def test_damaged_tokenizer(text):
    with pytest.raises(PackageError, match="tokenizer cannot be read"):
        Tokenizer(text)


def test_package_without_tokenizer(tmp_path):
    with pytest.raises(PackageError, match=r"has no tokenizer(.|\n)*Model\.logits, Session"):
        Tokenizer.of(write_package(tmp_path / "a", tokenizer=False))
    assert Tokenizer.of(write_package(tmp_path / "b")).encode("A") == BYTES.encode("A")
