"""Samplers: filters against their definitions, frequencies against probabilities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flightllm.errors import FlightError
from flightllm.runtime.sampling import Sampler, SamplingOptions, distribution, greedy, penalise

LOGITS = hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(-30, 30, width=32))


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def test_greedy_takes_the_first_of_equals():
    assert greedy(np.array([1, 3, 3, 2], np.float32)) == 1
    assert Sampler()(np.array([1, 3, 3, 2], np.float32)) == 1


@given(x=LOGITS, k=st.integers(0, 45))
def test_top_k(x, k):
    tokens, p = distribution(x.astype(float), SamplingOptions(temperature=1, top_k=k))
    kept = min(k or x.size, x.size)
    assert len(tokens) == kept
    assert sorted(x[tokens], reverse=True) == list(np.sort(x)[::-1][:kept])
    np.testing.assert_allclose(p, softmax(x[tokens].astype(float)), rtol=1e-9)


@given(x=LOGITS, share=st.floats(0.01, 0.999))
def test_top_p_is_the_smallest_set_that_reaches_p(x, share):
    full = np.sort(softmax(x.astype(float)))[::-1]
    tokens, p = distribution(x.astype(float), SamplingOptions(temperature=1, top_p=share))
    n = len(tokens)
    assert full[:n].sum() >= share - 1e-9
    assert n == 1 or full[: n - 1].sum() < share + 1e-9
    np.testing.assert_allclose(p, full[:n] / full[:n].sum(), rtol=1e-6)


@given(x=LOGITS, share=st.floats(0.01, 1))
def test_min_p(x, share):
    full = softmax(x.astype(float))
    tokens, _ = distribution(x.astype(float), SamplingOptions(temperature=1, min_p=share))
    inside = np.zeros(x.size, bool)
    inside[tokens] = True
    assert inside[full > full.max() * share * (1 + 1e-9)].all()
    assert not inside[full < full.max() * share * (1 - 1e-9)].any()


def test_equal_logits_are_kept_in_order():
    tokens, p = distribution(np.tile([0.0, 1.0, 0.5], 200), SamplingOptions(temperature=1, top_k=5))
    assert list(tokens) == [1, 4, 7, 10, 13]
    np.testing.assert_allclose(p, 0.2)


def test_temperature_divides():
    x = np.array([0.0, 1.0, 3.0])
    tokens, p = distribution(x, SamplingOptions(temperature=0.5))
    np.testing.assert_allclose(p, softmax(2 * x)[tokens])


def test_order_of_filters():
    """top_p sees what top_k left, renormalised."""
    x = np.log([0.4, 0.3, 0.2, 0.1])
    tokens, _ = distribution(x, SamplingOptions(temperature=1, top_k=2, top_p=0.5))
    assert list(tokens) == [0]  # 0.4 / 0.7 reaches a half


def test_repetition_penalty():
    x = np.array([2.0, -2.0, 5.0, 0.0], np.float32)
    np.testing.assert_array_equal(penalise(x, [0, 1, 1, 3], 2.0), [1, -4, 5, 0])
    assert Sampler(SamplingOptions(repetition_penalty=3))(x, [2]) == 0
    assert Sampler(SamplingOptions(repetition_penalty=3))(x, []) == 2


def test_frequencies():
    x = np.log(np.array([0.5, 0.3, 0.15, 0.05])).astype(np.float32)
    sampler = Sampler(SamplingOptions(temperature=1, seed=0))
    n = 20000
    got = np.bincount([sampler(x) for _ in range(n)], minlength=4) / n
    assert np.abs(got - [0.5, 0.3, 0.15, 0.05]).max() < 4 * 0.5 / np.sqrt(n)  # four standard deviations


def test_seed_fixes_the_stream():
    """A golden draw: a change of the generator or of the inversion would change everybody's seeds."""
    x = np.linspace(0, 3, 50).astype(np.float32)
    sampler = Sampler(SamplingOptions(temperature=1, top_k=40, seed=7))
    assert [sampler(x) for _ in range(6)] == [36, 22, 29, 46, 44, 23]


@settings(max_examples=50)
@given(x=LOGITS, t=st.floats(1e-300, 1e300))
def test_extreme_temperatures_stay_inside(x, t):
    assert 0 <= Sampler(SamplingOptions(temperature=t, seed=0))(x) < x.size


def test_infinite_logits():
    x = np.array([-np.inf, 1.0, -np.inf, 0.5], np.float32)
    sampler = Sampler(SamplingOptions(temperature=1, seed=0))
    assert {sampler(x) for _ in range(100)} == {1, 3}
    assert Sampler(SamplingOptions(temperature=1))(np.array([0, np.inf], np.float32)) == 1


def test_nan_is_an_error():
    x = np.array([1, np.nan], np.float32)
    for sampler in (greedy, Sampler(SamplingOptions(temperature=1))):
        with pytest.raises(FlightError, match="1 of 2 are NaN"):
            sampler(x)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 0},
        {"top_p": 1.1},
        {"min_p": 2},
        {"repetition_penalty": 0},
        {"seed": -1},
    ],
)
def test_senseless_options(options):
    with pytest.raises(FlightError, match=next(iter(options))):
        SamplingOptions(**options)
