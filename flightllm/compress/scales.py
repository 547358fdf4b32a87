"""Two-level scales: a float scale d and offset m per group become rho (fp32 per row) times small integers sigma and mu."""

from __future__ import annotations

import numpy as np

from flightllm.streams.formats import MU_MAX, SIGMA_MAX

#: smallest rho written: far above the subnormals, which the machine flushes to zero
RHO_MIN = np.float32(1e-30)
#: the row scales tried, relative to the smallest that fits: sigma and mu of a row round differently under each
SEARCH = tuple(1.0 + 0.004 * i for i in range(16))


def least_rho(d: np.ndarray, m: np.ndarray | None = None) -> np.ndarray:
    """The smallest float32 row scale [rows] under which d [rows, groups] fits 8 bits and m (or None) fits 12 signed."""
    rho = d.max(axis=1, initial=0) / np.float32(SIGMA_MAX)
    if m is not None:
        rho = np.maximum(rho, np.abs(m).max(axis=1, initial=0) / np.float32(MU_MAX))
    return np.where(rho > RHO_MIN, rho, RHO_MIN if m is None else np.where(rho > 0, RHO_MIN, 0)).astype(np.float32)


def round_scales(values: np.ndarray, rho: np.ndarray, up: bool = False) -> np.ndarray:
    """sigma uint8 [rows, groups] nearest to values / rho, or not below it (`up`); rho 0 gives 0."""
    inverse = _inverse(rho)
    ratio = values * inverse[:, None]
    ratio = np.ceil(ratio - np.float32(1e-3)) if up else np.rint(ratio)
    return np.clip(ratio, 0, SIGMA_MAX).astype(np.uint8)


def round_offsets(values: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """mu int16 [rows, groups] nearest to values / rho; rho 0 gives 0."""
    return np.clip(np.rint(values * _inverse(rho)[:, None]), -MU_MAX, MU_MAX).astype(np.int16)


def _inverse(rho: np.ndarray) -> np.ndarray:
    return np.divide(np.float32(1), rho, out=np.zeros_like(rho), where=rho > 0)


def fit(
    d: np.ndarray, m: np.ndarray | None, count: np.ndarray, total: np.ndarray, square: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray]:
    """Best integer scales for given codes: minimises the squared error of sigma * rho * q + mu * rho against d * q + m.

    d, m: float32 [rows, groups] (m None: no offsets). count, total, square: number, sum and sum of squares of the codes q of each group
    (count [groups], the others [rows, groups]). Returns (rho [rows], sigma, mu or None, squared error [rows]).
    For a given rho the best mu also makes up for what rounding sigma moved the mean of the codes.
    """
    base = least_rho(d, m)
    d64, m64 = d.astype(np.float64), None if m is None else m.astype(np.float64)
    best_rho, best_error = base.copy(), np.full(len(d), np.inf)
    best_sigma = np.zeros(d.shape, np.uint8)
    best_mu = None if m is None else np.zeros(d.shape, np.int16)
    mean = total / np.maximum(count, 1)
    for factor in SEARCH:
        rho = (base * np.float32(factor)).astype(np.float32)
        sigma, mu, slope = fit_at(rho, d64, m64, mean)
        error = slope * slope * square
        if m64 is not None and mu is not None:
            shift = mu * rho[:, None].astype(np.float64) - m64
            error += shift * (2 * slope * total + shift * count)
        error = error.sum(axis=1)
        better = error < best_error
        best_error[better], best_rho[better], best_sigma[better] = error[better], rho[better], sigma[better]
        if mu is not None and best_mu is not None:
            best_mu[better] = mu[better]
    return best_rho, best_sigma, best_mu, best_error


def fit_at(
    rho: np.ndarray, d: np.ndarray, m: np.ndarray | None, mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Integer scales of given codes for row scales rho float32 [rows]: (sigma, mu or None, sigma * rho - d).

    d, m: float64 [rows, groups]. mean: of the codes of each group; mu also makes up for what rounding sigma moved it.
    """
    sigma = round_scales(d.astype(np.float32), rho)
    slope = sigma * rho[:, None].astype(np.float64) - d
    mu = None if m is None else round_offsets((m - slope * mean).astype(np.float32), rho)
    return sigma, mu, slope
