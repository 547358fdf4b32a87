"""Format bytes and bit packing."""

from __future__ import annotations

import numpy as np
import pytest

from flightllm.streams.bits import pack12, pack_codes, unpack12, unpack_codes
from flightllm.streams.formats import KEPT, WIDTHS, EntryFormat


def test_every_byte_decodes_or_is_refused() -> None:
    legal = {
        w | n << 3 | a << 5 | m << 6
        for w in range(6)
        for n in range(4)
        for a in range(2)
        for m in range(2)
        if not (n and a)
    }
    for byte in range(256):
        if byte in legal:
            fmt = EntryFormat.from_byte(byte)
            assert fmt.byte == byte
            assert (fmt.bits, fmt.n) == (WIDTHS[byte & 7], KEPT[byte >> 3 & 3])
        else:
            with pytest.raises(ValueError, match="not legal|no offsets"):
                EntryFormat.from_byte(byte)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("words", [1, 3, 70_000])
def test_codes_against_numpy_packbits(bits: int, words: int) -> None:
    half = 1 << (bits - 1)
    q = np.random.default_rng(bits).integers(-half, half, (words, 8)).astype(np.int8)
    plain = np.unpackbits(q.view(np.uint8)[..., None], axis=2, bitorder="little")[..., :bits].reshape(words, -1)
    expected = np.packbits(plain, axis=1, bitorder="little")
    packed = pack_codes(q, bits)
    np.testing.assert_array_equal(packed, expected)
    np.testing.assert_array_equal(unpack_codes(packed, bits), q)


def test_codes_outside_the_width_lose_their_high_bits_only() -> None:
    q = np.array([[-128, 127, 5, -1, 0, 1, 2, 3]], np.int8)
    np.testing.assert_array_equal(unpack_codes(pack_codes(q, 4), 4), [[0, -1, 5, -1, 0, 1, 2, 3]])


def test_offsets_of_12_bits() -> None:
    values = np.arange(-2048, 2048, dtype=np.int16).reshape(2, -1)
    packed = pack12(values)
    bits = np.unpackbits(values.astype("<i2").view(np.uint8).reshape(2, -1, 2), axis=2, bitorder="little")[..., :12]
    np.testing.assert_array_equal(packed, np.packbits(bits.reshape(2, -1), axis=1, bitorder="little"))
    np.testing.assert_array_equal(unpack12(packed), values)
