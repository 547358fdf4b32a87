"""Train a model like tiny-austen: `python train.py OUT TEXT [TEXT ...]` (needs flightllm[torch]).

Writes a Hugging Face folder. It is the recipe of the embedded model; other library versions give other bytes.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM


def train_tokenizer(text: str, vocab: int) -> Tokenizer:
    """Byte-level BPE with <unk>, <s>, </s> as tokens 0, 1, 2."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    return tokenizer


def train(out: Path, texts: list[Path], *, steps: int, batch: int, window: int, rate: float, seed: int) -> float:
    """Train and save; returns the mean loss of the last tenth of the steps (nats per token)."""
    torch.manual_seed(seed)
    text = "\n".join(p.read_text(encoding="utf-8") for p in texts)
    tokenizer = train_tokenizer(text, 512)
    ids = torch.tensor(tokenizer.encode(text).ids)
    if len(ids) <= window + 1:
        raise SystemExit(f"the text has {len(ids)} tokens, a window needs {window + 1}")
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
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
    model = LlamaForCausalLM(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda i: min(1.0, (i + 1) / 40) * (0.05 + 0.95 * (1 + math.cos(math.pi * i / max(steps, 1))) / 2)
    )
    losses = []
    for step in range(steps):
        start = torch.randint(len(ids) - window, (batch,))
        x = torch.stack([ids[s : s + window] for s in start.tolist()])
        loss = model(x, labels=x).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if step % 20 == 0:
            print(f"step {step} loss {loss.item():.3f}", flush=True)
    model.save_pretrained(out)
    tokenizer.save(str(out / "tokenizer.json"))
    tail = losses[-max(1, steps // 10) :]
    return sum(tail) / len(tail)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=620)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    loss = train(a.out, a.texts, steps=a.steps, batch=a.batch, window=a.window, rate=a.rate, seed=a.seed)
    print(f"last loss {loss:.3f}, perplexity {math.exp(loss):.2f}")


if __name__ == "__main__":
    main()
