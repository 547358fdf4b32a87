"""A device without a machine: its logits are a fixed function of the tokens in its cache. And packages to load into it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from flightllm.config.arch import ArchConfig
from flightllm.package import (
    HostInterface,
    Limits,
    Manifest,
    ModelFacts,
    Package,
    PackageWriter,
    Region,
    TensorRecord,
)
from flightllm.runtime.device import check_chunk

SPECIAL = ("<s>", "</s>")
VOCAB = 256 + len(SPECIAL)
CHAT = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def byte_tokenizer() -> Tokenizer:
    """One token per byte, plus <s> (256) and </s> (257)."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tok = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens(list(SPECIAL))
    return tok


def manifest(
    cores: int = 1, channels: int = 2, max_chunk: int = 8, max_context: int = 64, vocab: int = VOCAB
) -> Manifest:
    part = vocab // cores
    return Manifest(
        name="fake",
        board="sim",
        arch=ArchConfig(cores=cores, channels=channels, max_chunk=max_chunk, channel_bytes=4 << 20),
        model=ModelFacts("llama", vocab, 4096, 2, 8, bos=min(256, vocab - 1), eos=(min(257, vocab - 1),)),
        limits=Limits(max_chunk, max_context),
        host=HostInterface(
            0x4000, 0x8000, -(-4 * vocab // (64 * channels)) * 64, (*[part] * (cores - 1), vocab - part * (cores - 1))
        ),
        kv_bits=8,
        memory=(
            Region("weights", 0, 0x1000, "weights"),
            Region("kv", 0x1000, 0x3000, "kv"),
            Region("ids", 0x4000, 0x40, "io"),
            Region("logits", 0x8000, 0x10000, "io"),
        ),
        tensors=(TensorRecord("lm_head", vocab, 8, {"4b g32 affine": 1.0}, 5.25, 0, 0x400),),
        buffers={"VB": {"16": "residual"}},
        notes={"recipe": "as-stored"},
    )


def write_package(
    path: Path, m: Manifest | None = None, tokenizer: bool = True, chat: str = CHAT, force: bool = False
) -> Package:
    m = m or manifest()
    with PackageWriter(path, cores=m.arch.cores, channels=m.arch.channels, force=force) as w:
        for core in range(m.arch.cores):
            for channel in range(m.arch.channels):
                w.append(core, channel, np.full(0x100, core * 16 + channel, np.uint8))
        w.program(bytes(range(64)) * 3)
        if tokenizer:
            w.tokenizer(byte_tokenizer().to_str())
        w.chat_template(chat)
        w.commit(m)
    return Package.open(path)


class FakeDevice:
    """`script`: ids to prefer at successive positions (position -> id), to make it say something."""

    script: ClassVar[dict[int, int]] = {}

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, int, bool]] = []
        self.loads = self.resets = 0

    def load(self, package: Package) -> None:
        self.package = package
        self.loads += 1
        limits = package.manifest.limits
        self.cache = np.full(limits.max_context, -1)

    def reset(self) -> None:
        self.resets += 1

    def run_chunk(self, ids: list[int], pos: int, nlog: int, masken: bool) -> np.ndarray:
        check_chunk(self.package.manifest, ids, pos, nlog)
        self.calls.append((len(ids), pos, nlog, masken))
        self.cache[pos : pos + len(ids)] = ids
        last = pos + len(ids)
        assert (self.cache[:last] >= 0).all(), "a position was skipped"
        vocab = self.package.manifest.model.vocab
        return np.array([self.row(p, vocab) for p in range(last - nlog, last)], np.float32).reshape(nlog, vocab)

    def row(self, p: int, vocab: int) -> np.ndarray:
        seed = hashlib.sha256(self.cache[: p + 1].tobytes()).digest()
        row = np.random.default_rng(list(seed)).normal(size=vocab) * 3
        if p in self.script:
            row[self.script[p]] = 100
        return row

    def counters(self) -> dict[str, int]:
        return {"runs": len(self.calls)}
