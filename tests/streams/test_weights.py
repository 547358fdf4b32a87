"""Weight streams: what is packed comes back, by the vectorised unpacker and by a slow one written from the page."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_cases import cases, random_matrix
from stream_reference import read_streams

from flightllm.errors import PackageError
from flightllm.streams import EntryFormat, pack, stream_bytes, stream_format, unpack, unpack_coded
from flightllm.streams.formats import KEPT, WIDTHS


def exact(matrix) -> np.ndarray:
    """W' by its definition, element by element in int64."""
    out = np.zeros(matrix.shape, np.int64)
    for p in matrix.passes:
        g = np.arange(matrix.k) // matrix.group
        out += p.sigma.astype(np.int64)[:, g] * p.q + p.mu.astype(np.int64)[:, g]
    return out


@settings(max_examples=150, deadline=None)
@given(cases())
def test_round_trip(case) -> None:
    matrix, channels, vpus, m = case
    matrix.validate()
    stream = pack(matrix, channels, vpus, m)
    assert stream.shape == (channels, stream_bytes(matrix, channels, vpus, m)) and stream.shape[1] % 64 == 0
    fmt, has_bias = stream_format(matrix, channels, vpus, m), matrix.bias is not None
    weights, rho, bias = unpack(stream, *matrix.shape, matrix.group, fmt, has_bias, channels, vpus, m)
    assert weights.dtype == np.float64
    np.testing.assert_array_equal(weights, exact(matrix))
    np.testing.assert_array_equal(rho, matrix.rho)
    if has_bias:
        np.testing.assert_array_equal(bias, matrix.bias)
    else:
        assert bias is None


@settings(max_examples=60, deadline=None)
@given(cases())
def test_page_reader_agrees(case) -> None:
    matrix, channels, vpus, m = case
    stream = pack(matrix, channels, vpus, m)
    fmt, has_bias = stream_format(matrix, channels, vpus, m), matrix.bias is not None
    weights, rho, bias = read_streams(stream, *matrix.shape, matrix.group, fmt, has_bias, vpus, m)
    # a granule widened to offsets has mu = 0, so the padded columns of the page reader do not matter: only k are compared
    np.testing.assert_array_equal(weights, exact(matrix))
    np.testing.assert_array_equal(rho, matrix.rho)
    if has_bias:
        np.testing.assert_array_equal(bias, matrix.bias)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("n", KEPT)
@pytest.mark.parametrize("group", [32, 64, 128])
def test_every_format_with_a_tail_and_a_short_strip(bits: int, n: int, group: int) -> None:
    rng = np.random.default_rng(bits * 100 + n + group)
    fmt = EntryFormat(bits, n, n == 16)
    formats = np.broadcast_to(np.uint8(fmt.byte), (83, 5, 1))
    matrix = random_matrix(rng, 83, 576, group, formats, True)
    stream = pack(matrix, 2, 4, 8)
    weights, _, _ = unpack(stream, 83, 576, group, fmt.byte, True, 2, 4, 8)
    np.testing.assert_array_equal(weights, exact(matrix))
    np.testing.assert_array_equal(read_streams(stream, 83, 576, group, fmt.byte, True, 4, 8)[0], exact(matrix))


@settings(max_examples=40, deadline=None)
@given(cases(kinds=("uniform", "granules")))
def test_pack_of_unpacked_is_the_same_bytes(case) -> None:
    matrix, channels, vpus, m = case
    stream = pack(matrix, channels, vpus, m)
    fmt = stream_format(matrix, channels, vpus, m)
    again = unpack_coded(stream, *matrix.shape, matrix.group, fmt, matrix.bias is not None, channels, vpus, m)
    again.validate()
    np.testing.assert_array_equal(pack(again, channels, vpus, m), stream)


def test_slabs_do_not_show() -> None:
    """A matrix of several slabs of work has the same bytes as its row parts packed one by one."""
    rng = np.random.default_rng(1)
    from flightllm.compress.rtn import quantise

    matrix = quantise(rng.standard_normal((3072, 2048)).astype(np.float32), 4, 64, True)
    channels, vpus, m = 4, 8, 4
    step = channels * vpus * m
    whole = pack(matrix, channels, vpus, m)
    parts = [pack(matrix.slice_rows(a, a + step), channels, vpus, m) for a in range(0, matrix.rows, step)]
    np.testing.assert_array_equal(whole, np.concatenate(parts, axis=1))


def test_known_bytes() -> None:
    """A two-row matrix by hand: 4-bit codes, one channel, four VPUs."""
    formats = np.broadcast_to(np.uint8(EntryFormat(4).byte), (2, 1, 1))
    matrix = random_matrix(np.random.default_rng(0), 2, 16, 32, formats, False)
    p = matrix.passes[0]
    p.q[0], p.q[1] = np.arange(-8, 8), 1
    p.sigma[:, 0] = (7, 200)
    matrix.rho[:] = (1.0, -2.0)
    expected = bytes.fromhex("0000803f 000000c007c80000 0000000098badcfe103254761111111111111111")
    assert pack(matrix, 1, 4, 1).tobytes() == expected.ljust(64, b"\0")


def test_window_with_too_many_codes_is_refused() -> None:
    formats = np.broadcast_to(np.uint8(EntryFormat(4, 4).byte), (8, 1, 1))
    matrix = random_matrix(np.random.default_rng(0), 8, 128, 128, formats, False)
    matrix.passes[0].q[3, 16:21] = 1
    with pytest.raises(ValueError, match="N"):
        matrix.validate()
    with pytest.raises(ValueError, match="more than 4"):
        pack(matrix, 1, 4, 4)


def test_strip_too_low_for_sparsity_is_refused() -> None:
    formats = np.broadcast_to(np.uint8(EntryFormat(4, 2).byte), (8, 1, 1))
    matrix = random_matrix(np.random.default_rng(0), 8, 128, 128, formats, False)
    with pytest.raises(ValueError, match="at least 8 rows per VPU"):
        pack(matrix, 1, 4, 4)


@settings(max_examples=100, deadline=None)
@given(cases(), st.randoms(use_true_random=False), st.sampled_from(["bits", "short", "long", "noise"]))
def test_damaged_streams_never_crash(case, random, damage: str) -> None:
    matrix, channels, vpus, m = case
    stream = pack(matrix, channels, vpus, m)
    if damage == "bits":
        for _ in range(5):
            stream[random.randrange(channels), random.randrange(stream.shape[1])] ^= 1 << random.randrange(8)
    elif damage == "short":
        stream = stream[:, : -64 * random.randint(1, stream.shape[1] // 64)]
    elif damage == "long":
        stream = np.pad(stream, ((0, 0), (0, 64)))
    else:
        stream = np.frombuffer(random.randbytes(stream.size), np.uint8).reshape(stream.shape)
    fmt = stream_format(matrix, channels, vpus, m)
    try:
        unpack(stream, *matrix.shape, matrix.group, fmt, matrix.bias is not None, channels, vpus, m)
    except PackageError:
        return
    assert damage in ("bits", "noise"), "a stream of the wrong length was accepted"
