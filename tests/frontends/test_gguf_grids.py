"""Every weight type that keeps its own grid reads exactly as the gguf package dequantises it."""

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from flightllm.frontends.gguf_grids import BLOCK_BYTES, SPECS, read_grid


def blocks(kind, rng, negative):
    """Random tensor bytes [5, row bytes] with plausible scales, some of them negative."""
    size = 256 if kind.endswith("K") else 32
    n = 3
    data = rng.integers(0, 256, (5, n, BLOCK_BYTES[kind]), dtype=np.uint8)
    scale = rng.uniform(0.001, 0.1, (5, n, 2)).astype(np.float16)
    if negative:
        scale *= rng.choice([-1, 1], scale.shape).astype(np.float16)
    count = 2 if kind in ("Q4_1", "Q5_1", "Q4_K", "Q5_K") else 1
    data[..., : 2 * count] = np.ascontiguousarray(scale[..., :count]).view(np.uint8)
    return data.reshape(5, -1), n * size


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("kind", SPECS)
def test_grid_is_exact(kind, negative):
    rng = np.random.default_rng(3)
    data, k = blocks(kind, rng, negative)
    grid = read_grid(kind, data, None)
    bits = grid.spec.bits
    assert grid.q.shape == (5, k)
    assert (grid.d >= 0).all()
    assert grid.q.min() >= -(1 << (bits - 1))
    assert grid.q.max() < 1 << (bits - 1)
    want = gguf.dequantize(data, Type[kind])
    # one rounding of m' = m + half * d at most
    assert np.abs(grid.dense() - want).max() <= 2e-7 * np.abs(want).max() + 1e-7
    if not grid.spec.affine:
        assert not grid.m.any()
    order = rng.permutation(5)
    assert np.array_equal(read_grid(kind, data, order).dense(), grid.dense()[order])


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_quantised_by_the_gguf_package(kind):
    weights = np.random.default_rng(0).standard_normal((7, 96)).astype(np.float32)
    data = gguf.quantize(weights, Type[kind])
    assert np.array_equal(read_grid(kind, data, None).dense(), gguf.dequantize(data, Type[kind]))
