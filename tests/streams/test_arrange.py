"""Stacking and selecting rows and columns changes places, never values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_cases import cases, random_matrix

from flightllm.streams import (
    EntryFormat,
    Pass,
    pack,
    stack_rows,
    stream_format,
    take_columns,
    take_rows,
    unpack,
    widen_together,
)
from flightllm.streams.coded import CodedMatrix, granule_formats


def same_stream(matrix: CodedMatrix, channels: int, vpus: int, m: int) -> np.ndarray:
    """W' after a trip through the stream."""
    stream = pack(matrix, channels, vpus, m)
    fmt = stream_format(matrix, channels, vpus, m)
    return unpack(stream, *matrix.shape, matrix.group, fmt, matrix.bias is not None, channels, vpus, m)[0]


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(0, 2**32))
def test_take_rows(case, seed: int) -> None:
    matrix, channels, vpus, m = case
    rng = np.random.default_rng(seed)
    index = rng.integers(-1, matrix.rows, rng.integers(1, 2 * matrix.rows + 2))
    taken = take_rows(matrix, index)
    taken.validate()
    zero = index < 0
    expected = np.where(zero[:, None], 0, matrix.effective()[index])
    np.testing.assert_array_equal(taken.effective(), expected)
    np.testing.assert_array_equal(taken.rho, np.where(zero, 0, matrix.rho[index]))
    if matrix.bias is not None:
        np.testing.assert_array_equal(taken.bias, np.where(zero, 0, matrix.bias[index]))
    np.testing.assert_array_equal(same_stream(taken, channels, vpus, m), expected)


def _two(seed: int, groups: tuple[int, int], passes: tuple[int, int], bias: tuple[bool, bool]) -> list[CodedMatrix]:
    rng = np.random.default_rng(seed)
    menu = np.array([EntryFormat(4, 16, True).byte, EntryFormat(8, 4).byte, EntryFormat(3).byte], np.uint8)
    return [
        random_matrix(rng, 20 + 7 * i, 304, groups[i], menu[rng.integers(0, 3, (20 + 7 * i, 3, passes[i]))], bias[i])
        for i in range(2)
    ]


@pytest.mark.parametrize("groups", [(32, 128), (64, 64), (128, 64)])
@pytest.mark.parametrize("passes", [(1, 1), (1, 2), (3, 1)])
@pytest.mark.parametrize("bias", [(False, False), (True, False)])
def test_stack_rows(groups, passes, bias) -> None:
    parts = _two(sum(groups), groups, passes, bias)
    whole = stack_rows(parts)
    whole.validate()
    expected = np.concatenate([p.effective() for p in parts])
    assert whole.group == min(groups)
    np.testing.assert_array_equal(whole.effective(), expected)
    np.testing.assert_array_equal(whole.rho, np.concatenate([p.rho for p in parts]))
    if any(bias):
        np.testing.assert_array_equal(whole.bias, np.concatenate([parts[0].bias, np.zeros(parts[1].rows)]))
    else:
        assert whole.bias is None
    np.testing.assert_array_equal(same_stream(whole, 2, 4, 4), expected)


def test_stack_of_equal_formats_needs_no_table() -> None:
    formats = np.broadcast_to(np.uint8(EntryFormat(4).byte), (16, 2, 1))
    rng = np.random.default_rng(0)
    whole = stack_rows([random_matrix(rng, 16, 256, 64, formats, False) for _ in range(3)])
    assert stream_format(whole, 4, 4, 2) == EntryFormat(4).byte


def test_stack_refuses_other_columns() -> None:
    rng = np.random.default_rng(0)
    parts = [random_matrix(rng, 4, k, 32, np.zeros((4, 1, 1), np.uint8), False) for k in (32, 64)]
    with pytest.raises(ValueError, match="columns"):
        stack_rows(parts)


def _weights_at(matrix: CodedMatrix, index: np.ndarray) -> np.ndarray:
    """W' at the columns that are real."""
    return matrix.effective()[:, index >= 0]


@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize("n", [16, 4])
def test_take_columns_of_padded_heads(group: int, n: int) -> None:
    """Heads of 64 in places of 96, zero columns between: groups of 64 still draw from one group each, groups of 128 do not."""
    fmt = EntryFormat(4, n, n == 16)
    formats = np.broadcast_to(np.uint8(fmt.byte), (24, 2, 1))
    matrix = random_matrix(np.random.default_rng(group), 24, 256, group, formats, False)
    index = np.full((4, 96), -1)
    index[:, :64] = np.arange(256).reshape(4, 64)
    index = index.reshape(-1)
    taken = take_columns(matrix, index)
    assert taken is not None and taken.group == min(group, 64)
    taken.validate()
    np.testing.assert_array_equal(_weights_at(taken, index), matrix.effective()[:, index[index >= 0]])
    assert not taken.passes[0].q[:, index < 0].any()
    np.testing.assert_array_equal(same_stream(taken, 2, 4, 4), taken.effective())


def test_take_columns_permutes_inside_groups_and_may_lose_sparsity() -> None:
    rng = np.random.default_rng(5)
    formats = np.array([EntryFormat(8, 2).byte, EntryFormat(5, 4).byte], np.uint8)[rng.integers(0, 2, (12, 2, 1))]
    matrix = random_matrix(rng, 12, 256, 128, formats, False)
    index = np.concatenate([128 + rng.permutation(128), rng.permutation(128)])
    taken = take_columns(matrix, index)
    assert taken is not None and taken.group == 128
    taken.validate()
    np.testing.assert_array_equal(taken.effective(), matrix.effective()[:, index])


def test_take_columns_gives_up_when_groups_tear() -> None:
    formats = np.broadcast_to(np.uint8(EntryFormat(4).byte), (4, 1, 1))
    matrix = random_matrix(np.random.default_rng(0), 4, 128, 32, formats, False)
    index = np.concatenate([np.arange(20), [-1] * 12, np.arange(20, 128)])
    assert take_columns(matrix, index) is None


def test_widen_together_makes_cores_agree() -> None:
    rng = np.random.default_rng(9)
    menu = np.array([EntryFormat(b, n, n == 16).byte for b in (2, 4, 8) for n in (16, 8)], np.uint8)
    parts = [random_matrix(rng, 40, 256, 64, menu[rng.integers(0, 6, (40, 2, 1 + i))], False) for i in range(3)]
    before = [p.effective() for p in parts]
    assert len({pack(p, 2, 4, 2).shape for p in parts}) > 1, "the case must be one where widening is needed"
    wide = widen_together(parts, 16)
    tables = [granule_formats(p, 16) for p in wide]
    assert all((t == tables[0]).all() for t in tables)
    assert len({pack(p, 2, 4, 2).shape for p in wide}) == 1
    for p, old in zip(wide, before, strict=True):
        p.validate()
        np.testing.assert_array_equal(p.effective(), old)


def test_integer_bound_holds_and_is_reached() -> None:
    q = np.full((1, 256), -128, np.int8)
    sigma, mu = np.full((1, 2), 255, np.uint8), np.full((1, 2), -2047, np.int16)
    formats = np.broadcast_to(np.uint8(EntryFormat(8, 16, True).byte), (1, 2, 1))
    matrix = CodedMatrix(128, np.ones(1, np.float32), (Pass(q, sigma, mu),), formats)
    worst = int((matrix.effective(np.int64) * -127).sum())
    assert matrix.integer_bound() == worst == 256 * 127 * (128 * 255 + 2047)
