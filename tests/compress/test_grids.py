"""Stored grids keep their codes; their scales become integers with a small error."""

from __future__ import annotations

import numpy as np
import pytest

from flightllm.compress.grids import from_grid, holdable
from flightllm.compress.scales import fit, least_rho
from flightllm.ir.weights import Grid, GridSpec


def grid(bits: int, group: int, affine: bool, rows: int = 48, k: int = 576, seed: int = 0) -> Grid:
    """Codes over the whole range, scales that vary within a row as those of real 4-bit models do (a factor of about four)."""
    rng = np.random.default_rng(seed)
    half, shape = 1 << (bits - 1), (rows, -(-k // group))
    d = np.exp(rng.normal(-4, 0.35, shape)).astype(np.float16).astype(np.float32)
    m = (d * rng.normal(0, 1, shape)).astype(np.float16).astype(np.float32) if affine else np.zeros(shape, np.float32)
    return Grid(GridSpec(bits, group, affine), rng.integers(-half, half, (rows, k)).astype(np.int8), d, m)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("group", [32, 64, 128, 256, 640])
@pytest.mark.parametrize("affine", [False, True])
def test_codes_stay_and_the_error_is_small(bits: int, group: int, affine: bool) -> None:
    g = grid(bits, group, affine)
    coded = from_grid(g)
    coded.validate()
    np.testing.assert_array_equal(coded.passes[0].q, g.q)
    assert coded.group == min(group, 128)
    assert affine or not coded.passes[0].mu.any()
    error = np.linalg.norm(coded.dense() - g.dense()) / np.linalg.norm(g.dense())
    # sigma is rounded to 1/255 of the row's largest; scales here are a quarter of it or more on average
    assert error < 0.006, error


def test_integer_scales_are_kept_exactly() -> None:
    rng = np.random.default_rng(1)
    g = grid(4, 32, True)
    d, m = rng.integers(1, 256, g.d.shape), rng.integers(-1500, 1501, g.d.shape)
    d[:, 0] = 255
    g.d[...], g.m[...] = d * np.float32(2**-12), m * np.float32(2**-12)
    coded = from_grid(g)
    np.testing.assert_array_equal(coded.passes[0].sigma, d)
    np.testing.assert_array_equal(coded.passes[0].mu, m)
    np.testing.assert_array_equal(coded.dense(), g.dense())


def test_large_offsets_set_the_row_scale() -> None:
    g = grid(4, 32, True)
    g.m[:, 3] = 40 * g.d.max(axis=1)
    coded = from_grid(g)
    coded.validate()
    assert np.abs(coded.passes[0].mu).max() > 1900
    assert np.abs(coded.dense() - g.dense()).max() < 0.1 * g.d.max()


def test_zero_rows_and_zero_scales() -> None:
    g = grid(4, 32, True)
    g.d[5], g.m[5], g.d[6] = 0, 0, 0
    coded = from_grid(g)
    assert not coded.dense()[5].any()
    constant = np.repeat(g.m[6], 32)
    assert np.abs(coded.dense()[6] - constant).max() <= np.abs(g.m[6]).max() / 2047


def test_fit_is_the_best_of_its_search() -> None:
    """The error that `fit` returns is the true one, and no scale it tried gives less."""
    g = grid(4, 64, False, rows=8)
    q = g.q.reshape(8, -1, 64).astype(np.int64)
    count = np.full(q.shape[1], 64)
    rho, sigma, mu, error = fit(g.d, None, count, q.sum(axis=2), (q * q).sum(axis=2))
    assert mu is None

    def true(rho: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        return (((sigma * rho[:, None].astype(np.float64))[..., None] - g.d[..., None]) ** 2 * q * q).sum(axis=(1, 2))

    np.testing.assert_allclose(true(rho, sigma), error, rtol=1e-9)
    plain = least_rho(g.d)
    assert (error <= true(plain, np.rint(g.d / plain[:, None])) * (1 + 1e-9)).all()


@pytest.mark.parametrize(
    ("bits", "group", "ok"), [(4, 32, True), (4, 16, False), (4, 96, False), (4, 384, True), (9, 32, False)]
)
def test_what_can_be_held(bits: int, group: int, ok: bool) -> None:
    assert (holdable(GridSpec(bits, group, False)) == "") == ok
    if not ok and bits <= 8:
        with pytest.raises(ValueError, match="cannot be kept"):
            from_grid(grid(4, group, False))


def test_offsets_make_up_for_rounded_scales() -> None:
    """Codes whose mean is far from zero: what rounding sigma moves, mu moves back."""
    g = grid(4, 32, True, k=512)
    g.q[...] = 5 + g.q % 3  # codes 5 to 7: a scale that is off by e is off by about 6 e everywhere
    g.d[:, 0] = 8 * g.d.max(axis=1)  # one large group: the others have sigma of few bits
    coded = from_grid(g)
    small = slice(32, None)
    d = np.repeat(g.d, 32, axis=1)[:, small]
    off = np.abs(coded.dense() - g.dense())[:, small]
    scale_off = np.abs(np.repeat(coded.passes[0].sigma * coded.rho[:, None], 32, axis=1)[:, small] - d)
    assert off.mean() < 0.5 * (6 * scale_off).mean()
