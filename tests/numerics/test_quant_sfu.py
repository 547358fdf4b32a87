"""Quantised activations and special functions: rules of docs/numerics.md and closeness to double precision."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flightllm.numerics import quant, sfu
from flightllm.numerics.constants import QMAX

floats = st.floats(-1e6, 1e6, width=32)
vectors = hnp.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 70)), elements=floats)


@pytest.mark.parametrize("kind", QMAX)
@given(x=vectors)
def test_codes_and_scale_give_the_vector_back(kind, x):
    codes, scale = quant.quantise(x, kind)
    top = QMAX[kind]
    assert codes.shape == x.shape
    assert np.abs(codes.astype(np.int32)).max() <= top
    a = np.abs(x).max(axis=-1)
    live = a >= 2.0**-100
    assert (scale[~live] == 0).all()
    assert (codes[~live] == 0).all()
    # half a step, and what the approximate reciprocal and the rounded scale add
    error = np.abs(codes * scale[..., None].astype(np.float64) - x)
    step = a / top * (1.02 if kind.startswith("kv") else 1 + 1e-5)
    assert (error <= (0.5 + 0.01) * step[..., None] + 1e-30).all()
    if not kind.startswith("kv"):
        assert (np.abs(codes.astype(np.int32)).max(axis=-1)[live] == top).all()


@given(hnp.arrays(np.float32, 50, elements=st.floats(2.0**-99, 2.0**99, width=32)))
def test_bf16_rounds_up(x):
    back = quant.bf16_to_f32(quant.f32_to_bf16(x))
    assert (back >= x).all()
    assert (back <= x * np.float32(1 + 2.0**-7)).all()
    assert np.array_equal(quant.f32_to_bf16(back), quant.f32_to_bf16(x))


def test_dual_codes_split_and_recombine():
    codes = np.arange(-16256, 16257, dtype=np.int16)
    high, low = quant.split_dual(codes)
    assert high.dtype == low.dtype == np.int8
    assert np.array_equal(high.astype(int) * 128 + low, codes)
    assert np.abs(high.astype(int)).max() == 127


def test_vectors_with_nothing_in_them():
    x = np.zeros((2, 5), np.float32)
    x[1] = np.nan
    for kind in QMAX:
        codes, scale = quant.quantise(x, kind)
        assert not codes.any()
        assert not scale.any()


@given(x=vectors, seed=st.integers(0, 9))
def test_norms_against_double(x, seed):
    rng = np.random.default_rng(seed)
    n = x.shape[-1]
    gamma, beta = rng.standard_normal((2, n)).astype(np.float32)
    d = x.astype(np.float64)
    rms = d / np.sqrt((d * d).mean(-1, keepdims=True) + 1e-5) * gamma
    assert np.abs(sfu.norm_rms(x, gamma, 1 / n, 1e-5) - rms).max() <= 1e-5 * max(1, np.abs(rms).max())
    c = d - d.mean(-1, keepdims=True)
    layer = c / np.sqrt((c * c).mean(-1, keepdims=True) + 1e-5) * gamma + beta
    # cancellation in x - mean limits what single precision can do
    scale = np.abs(d).max(-1) / np.sqrt((c * c).mean(-1) + 1e-5)
    error = np.abs(sfu.norm_layer(x, gamma, beta, 1 / n, 1e-5) - layer).max(-1)
    assert (error <= 2e-6 * (10 + scale * np.abs(gamma).max())).all()


def test_activations_against_double():
    x = np.linspace(-20, 20, 10001).astype(np.float32)
    d = x.astype(np.float64)
    gate = np.cos(d).astype(np.float32)
    assert np.array_equal(sfu.act("relu", x), np.maximum(x, 0))
    assert np.abs(sfu.act("silu", x) - d / (1 + np.exp(-d))).max() < 3e-6
    gelu = 0.5 * d * (1 + np.tanh(np.sqrt(2 / np.pi) * (d + 0.044715 * d**3)))
    assert np.abs(sfu.act("gelu", x) - gelu).max() < 3e-6
    assert np.abs(sfu.act("silu", x, gate) - d / (1 + np.exp(-d)) * gate).max() < 3e-6


def test_rope_rotates_pairs():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 2, 16)).astype(np.float32)
    angle = rng.uniform(0, 6, (3, 1, 8))
    got = sfu.rope(x, np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32))
    z = (x[..., :8] + 1j * x[..., 8:]) * np.exp(1j * angle)
    assert np.abs(got - np.concatenate([z.real, z.imag], -1)).max() < 1e-6


@given(st.integers(1, 700), st.integers(0, 5))
def test_softmax_against_double(length, seed):
    rng = np.random.default_rng(seed)
    scores = (rng.standard_normal((2, 3, length)) * 300).astype(np.float32)
    ks, vs = rng.uniform(0.001, 0.02, (2, length)).astype(np.float32)
    visible = rng.random((2, 1, length)) < 0.7
    visible[..., -1] = True
    hidden = ~np.broadcast_to(visible, scores.shape)
    scores[hidden] = rng.choice([np.nan, np.inf, -np.inf, 1e30], hidden.sum())  # whatever an earlier step left there
    codes, scale, u = sfu.softmax(scores, ks, vs, 1.4426950408889634 * 0.125, visible)
    assert not codes[hidden].any()
    t = np.where(visible, scores * ks.astype(np.float64) * 0.125, -np.inf)
    p = np.exp(t - t.max(-1, keepdims=True))
    p = p / p.sum(-1, keepdims=True) * vs
    assert np.abs(codes * scale[..., None].astype(np.float64) - p).max() <= 0.51 * p.max() / 16256 + 1e-6 * p.max()
    assert u.shape == scores.shape
    # independent of the keys that follow and are not visible
    longer = np.concatenate([scores, np.full((2, 3, 40), np.nan, np.float32)], -1)
    pad = np.ones(40, np.float32)
    more = np.concatenate([np.broadcast_to(visible, (2, 1, length)), np.zeros((2, 1, 40), bool)], -1)
    again = sfu.softmax(longer, np.r_[ks, pad], np.r_[vs, pad], 1.4426950408889634 * 0.125, more)
    assert np.array_equal(again[0][..., :length], codes)
    assert np.array_equal(again[1], scale)
