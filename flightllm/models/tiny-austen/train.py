"""Train a model like tiny-austen: `python train.py OUT TEXT [TEXT ...]` (needs flightllm[torch]).

Writes a Hugging Face folder. It is the recipe of the embedded model; other versions of the libraries give other weights.
`python train.py OUT --evaluate TEXT` measures the perplexity of the model in OUT.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

SPECIAL = ["<unk>", "<s>", "</s>"]


def train_tokenizer(text: str, vocab: int) -> Tokenizer:
    """Byte-level BPE of at most `vocab` tokens: <unk>, <s>, </s>, the 256 bytes, then merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=SPECIAL,
        # all bytes, seen or not: any text can be encoded
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    return tokenizer


def architecture(vocab: int) -> LlamaConfig:
    """LLaMA with 4 layers, dimension 128, 4 heads, 2 KV heads; 853,120 parameters with 512 tokens."""
    return LlamaConfig(
        vocab_size=vocab,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
    )


def train(
    out: Path, texts: list[Path], *, vocab: int, steps: int, batch: int, window: int, rate: float, seed: int
) -> float:
    """Train and save.

    Args:
        out: folder to write.
        texts: UTF-8 files to train on.
        vocab: tokens of the vocabulary.
        steps, batch, window: optimiser steps, windows of a step, tokens of a window.
        rate: largest learning rate of AdamW; 40 steps of warm-up, then a cosine down to a twentieth.
        seed: of weights and windows.

    Returns:
        Mean loss of the last tenth of the steps, nats per token.
    """
    torch.manual_seed(seed)
    text = "\n".join(p.read_text(encoding="utf-8") for p in texts)
    tokenizer = train_tokenizer(text, vocab)
    ids = torch.tensor(tokenizer.encode(text).ids)
    if len(ids) <= window:
        raise SystemExit(f"the text has {len(ids)} tokens; a window needs {window}, and one more to choose from")
    model = LlamaForCausalLM(architecture(tokenizer.get_vocab_size()))
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda i: min(1.0, (i + 1) / 40) * (0.05 + 0.95 * (1 + math.cos(math.pi * i / max(steps, 1))) / 2)
    )
    losses: list[float] = []
    for step in range(steps):
        start = torch.randint(len(ids) - window + 1, (batch,))
        x = torch.stack([ids[s : s + window] for s in start.tolist()])
        loss = model(x, labels=x).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if step % 20 == 0:
            print(f"step {step} loss {losses[-1]:.3f}", flush=True)
    model.save_pretrained(out)
    tokenizer.save(str(out / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "model_max_length": 512,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    tail = losses[-max(1, steps // 10) :]
    return sum(tail) / len(tail)


def evaluate(folder: Path, text: Path, *, windows: int = 64, window: int = 256) -> float:
    """Perplexity over windows spread evenly over a text; the first token of a window is context only."""
    model = LlamaForCausalLM.from_pretrained(folder).eval()
    ids = torch.tensor(Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text.read_text(encoding="utf-8")).ids)
    if len(ids) < window:
        raise SystemExit(f"the text has {len(ids)} tokens, a window needs {window}")
    stride = (len(ids) - window) // windows
    with torch.no_grad():
        parts = [ids[k * stride : k * stride + window][None] for k in range(windows)]
        return math.exp(sum(model(x, labels=x).loss.item() for x in parts) / windows)


def main(arguments: list[str]) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the model")
    parser.add_argument("texts", type=Path, nargs="*", help="UTF-8 texts to train on")
    parser.add_argument(
        "--evaluate", type=Path, metavar="TEXT", help="text to measure the perplexity of, after training if any"
    )
    parser.add_argument("--vocab", type=int, default=512)
    parser.add_argument("--steps", type=int, default=620)
    parser.add_argument("--batch", type=int, default=16, help="windows of a step")
    parser.add_argument("--window", type=int, default=256, help="tokens of a window")
    parser.add_argument("--rate", type=float, default=4e-3, help="largest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args(arguments)
    if not a.texts and not a.evaluate:
        parser.error("nothing to do: give texts to train on, or --evaluate")
    if a.texts:
        sizes = {"vocab": a.vocab, "steps": a.steps, "batch": a.batch, "window": a.window}
        if min(sizes.values()) < 1:
            parser.error("--vocab, --steps, --batch and --window have to be at least 1")
        loss = train(a.out, a.texts, **sizes, rate=a.rate, seed=a.seed)
        print(f"loss at the end {loss:.3f}, perplexity {math.exp(loss):.2f} (training text)")
    if a.evaluate:
        print(f"perplexity {evaluate(a.out, a.evaluate):.2f} ({a.evaluate.name}, 64 windows of 256 tokens)")


if __name__ == "__main__":
    main(sys.argv[1:])
