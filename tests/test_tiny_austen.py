"""The embedded model is what its page says, and its training script trains."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from flightllm.api import find_model
from flightllm.frontends import load_model

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def train():
    """The training script as a module."""
    spec = importlib.util.spec_from_file_location("train", find_model("tiny-austen") / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_parameters_and_vocabulary_are_those_of_its_page():
    folder = find_model("tiny-austen")
    page = (folder / "README.md").read_text()
    weights = load_file(folder / "model.safetensors")
    assert f"{sum(w.size for w in weights.values()):,} parameters" in page
    assert all(np.isfinite(w).all() for w in weights.values())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    config = json.loads((folder / "config.json").read_text())
    assert config["vocab_size"] == tokenizer.get_vocab_size() == 512
    text = "It is a truth – universally: \N{GREEK SMALL LETTER ALPHA}\x00\n"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


@pytest.mark.slow
def test_training_script(tmp_path, train, capsys):
    texts = sorted((ROOT / "docs").glob("*.md"))
    out = tmp_path / "model"
    options = ["--steps", "2", "--batch", "2", "--window", "64", "--vocab", "400"]
    train.main([str(out), *map(str, texts), *options, "--evaluate", str(texts[0])])
    printed = capsys.readouterr().out
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == 400
    assert [tokenizer.id_to_token(i) for i in range(3)] == ["<unk>", "<s>", "</s>"]
    assert tokenizer.decode(tokenizer.encode("\x00é\n").ids) == "\x00é\n"
    ours = json.loads((find_model("tiny-austen") / "config.json").read_text())
    made = json.loads((out / "config.json").read_text())
    differ = {key: value for key, value in made.items() if ours.get(key) != value and key != "transformers_version"}
    assert differ == {"vocab_size": 400}
    # two steps from random weights: close to a uniform choice of 400 tokens
    (perplexity,) = re.findall(r"perplexity ([\d.]+) \(", printed.splitlines()[-1])
    assert 100 < float(perplexity) < 600
    first = float(re.search(r"step 0 loss ([\d.]+)", printed).group(1))
    assert abs(first - math.log(400)) < 0.5
    load_model(out)  # flightllm reads what it wrote


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [("", "nothing to do"), ("short.txt", "a window needs 256"), ("short.txt --steps 0", "at least 1")],
)
def test_training_script_refuses(tmp_path, monkeypatch, train, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("short.txt").write_text("It is a truth.")
    with pytest.raises(SystemExit) as exit_:
        train.main(["out", *arguments.split()])
    assert message in str(exit_.value) + capsys.readouterr().err
    assert not Path("out").exists()
