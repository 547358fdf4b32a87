"""Perplexity against an independent computation (torch where it is installed)."""

import numpy as np
import pytest
from fake_device import FakeDevice, write_package

from flightllm.errors import FlightError
from flightllm.runtime.evaluate import cut_windows, perplexity, session_logits, token_nll
from flightllm.runtime.session import Session


def test_token_nll_agrees_with_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    logits = (rng.normal(size=(50, 1000)) * 20).astype(np.float32)
    targets = rng.integers(0, 1000, 50)
    want = torch.nn.functional.cross_entropy(
        torch.tensor(logits, dtype=torch.float64), torch.tensor(targets), reduction="none"
    )
    np.testing.assert_allclose(token_nll(logits, targets), want.numpy(), rtol=1e-12, atol=1e-13)


def test_token_nll_of_known_distributions():
    np.testing.assert_allclose(token_nll(np.zeros((1, 8), np.float32), np.array([3])), [np.log(8)])
    assert token_nll(np.array([[1000, -1000]], np.float32), np.array([1])) == [2000]  # no overflow
    np.testing.assert_allclose(
        token_nll(np.log(np.array([[0.25, 0.75]], np.float32)), np.array([0])), [np.log(4)], 1e-6
    )


def test_windows_are_consecutive():
    np.testing.assert_array_equal(cut_windows(list(range(100)), 3, 4), np.arange(12).reshape(3, 4))


@pytest.mark.parametrize(
    ("windows", "tokens", "message"), [(3, 4, "11 tokens.*need 12"), (0, 4, "0 windows"), (1, 1, "2 tokens")]
)
def test_windows_that_do_not_exist(windows, tokens, message):
    with pytest.raises(FlightError, match=message):
        cut_windows(list(range(11)), windows, tokens)


@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_perplexity_by_hand(tmp_path, chunk):
    """Each prediction from a fresh conversation of exactly the tokens before it."""
    package = write_package(tmp_path / "a")
    device = FakeDevice()
    device.load(package)
    windows = np.random.default_rng(1).integers(0, 256, (3, 21))
    done = []
    got = perplexity(session_logits(Session(device, package, chunk)), windows, lambda a, b: done.append((a, b)))
    nll = np.empty((3, 20))
    for w in range(3):
        for t in range(1, 21):
            s = Session(device, package)
            s.reset()
            row = s.feed(windows[w, :t])[0].astype(np.float64)
            p = np.exp(row) / np.exp(row).sum()
            nll[w, t - 1] = -np.log(p[windows[w, t]])
    np.testing.assert_allclose(got.nll, nll, rtol=1e-12)
    assert got.value == pytest.approx(np.exp(nll.mean()), rel=1e-12)
    assert got.per_window == pytest.approx(np.exp(nll.mean(axis=1)), rel=1e-12)
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert got.to_json() == {
        "perplexity": got.value,
        "nll": pytest.approx(nll.mean()),
        "windows": 3,
        "tokens": 21,
        "per_window": got.per_window,
    }


def test_uniform_model_has_the_vocabulary_as_perplexity():
    got = perplexity(lambda ids: [np.zeros((len(ids), 77), np.float32)], np.arange(20).reshape(2, 10))
    assert got.value == pytest.approx(77)


def test_numbers_that_are_none():
    bad = np.zeros((5, 9), np.float32)
    bad[2, 3] = np.nan
    with pytest.raises(FlightError, match=r"window 0, token 3"):
        perplexity(lambda ids: [bad], np.arange(5).reshape(1, 5))


def test_missing_logits_are_noticed():
    with pytest.raises(ValueError, match="logits of 3 tokens"):
        perplexity(lambda ids: [np.zeros((3, 9), np.float32)], np.arange(5).reshape(1, 5))
