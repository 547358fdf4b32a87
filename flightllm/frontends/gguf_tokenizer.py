"""The tokenizer in a GGUF file's metadata, as JSON of the `tokenizers` package."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from flightllm.errors import ModelError

#: values of tokenizer.ggml.token_type
_CONTROL, _USER = 3, 4

#: how GPT-4's successors cut text: contractions, words, numbers of up to N digits, punctuation, line ends, spaces
_CUT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _split(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _pre_tokenizer(kind: str) -> pre_tokenizers.PreTokenizer:
    """By `tokenizer.ggml.pre`; kinds not listed cut as GPT-2 does."""
    if kind in ("llama-bpe", "llama3", "llama-v3"):
        return _split(_CUT % "{1,3}")
    if kind in ("qwen2", "deepseek-r1-qwen"):
        return _split(_CUT % "")
    bytes_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if kind in ("smollm", "starcoder", "codeshell"):
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), bytes_level])
    return bytes_level


def tokenizer_json(fields: dict[str, Any], where: str) -> str:
    """tokenizer.json text of the file's tokenizer, "" if it has none or one of an unknown kind.

    Raises ModelError if the lists disagree.
    """
    tokens = fields.get("tokenizer.ggml.tokens")
    kind = fields.get("tokenizer.ggml.model")
    if not isinstance(tokens, list) or not tokens or not all(isinstance(t, str) for t in tokens):
        return ""
    if kind not in ("gpt2", "llama"):
        return ""
    types = fields.get("tokenizer.ggml.token_type")
    if not isinstance(types, list) or len(types) != len(tokens):
        types = [1] * len(tokens)
    try:
        tokenizer = _byte_level(fields, tokens) if kind == "gpt2" else _sentencepiece(fields, tokens)
    # The tokenizers package reports what is wrong with its inputs as plain exceptions of its own.
    except Exception as error:
        raise ModelError(
            "the tokenizer in the file is damaged", where=where, why=str(error)[:200], do="get another copy of the file"
        ) from None
    added = [
        AddedToken(text, special=t == _CONTROL, normalized=False)
        for text, t in zip(tokens, types, strict=True)
        if t in (_CONTROL, _USER) and text
    ]
    tokenizer.add_tokens([a for a in added if not a.special])
    tokenizer.add_special_tokens([a for a in added if a.special])
    bos = fields.get("tokenizer.ggml.bos_token_id")
    default = kind == "llama"
    if fields.get("tokenizer.ggml.add_bos_token", default) and isinstance(bos, int) and 0 <= bos < len(tokens):
        text = tokens[bos]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{text}:0 $A:0", pair=f"{text}:0 $A:0 $B:1", special_tokens=[(text, bos)]
        )
    return str(tokenizer.to_str())


def _byte_level(fields: dict[str, Any], tokens: list[str]) -> Tokenizer:
    """Byte-level BPE with merges as given."""
    merges = fields.get("tokenizer.ggml.merges")
    if not isinstance(merges, list):
        raise ValueError("a byte-level tokenizer without merges")
    pairs = [tuple(m.split(" ", 1)) for m in merges]
    if any(len(p) != 2 for p in pairs):
        raise ValueError("a merge is not a pair")
    vocab = {text: i for i, text in enumerate(tokens)}
    kind = fields.get("tokenizer.ggml.pre") or "default"
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=pairs, ignore_merges=kind in ("llama-bpe", "llama3", "llama-v3"))
    )
    if kind == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _pre_tokenizer(str(kind))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentencepiece(fields: dict[str, Any], tokens: list[str]) -> Tokenizer:
    """SentencePiece BPE: merges follow from the pieces' scores, unknown characters fall back to bytes."""
    scores = fields.get("tokenizer.ggml.scores")
    if not isinstance(scores, list) or len(scores) != len(tokens):
        raise ValueError("a SentencePiece tokenizer without scores")
    vocab = {text: i for i, text in enumerate(tokens)}
    merges = []
    for text, i in vocab.items():
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in vocab and right in vocab:
                merges.append((-scores[i], vocab[left], vocab[right], left, right))
    merges.sort()
    unknown = fields.get("tokenizer.ggml.unknown_token_id")
    unk = tokens[unknown] if isinstance(unknown, int) and 0 <= unknown < len(tokens) else None
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocab, merges=[(a, b) for *_, a, b in merges], unk_token=unk, fuse_unk=True, byte_fallback=True
        )
    )
    steps: list[normalizers.Normalizer] = [normalizers.Replace(" ", "▁")]
    if fields.get("tokenizer.ggml.add_space_prefix", True):
        steps.insert(0, normalizers.Prepend("▁"))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer
