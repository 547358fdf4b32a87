"""What the fetch stage pops: every word of the stream once, in pieces of at most 16, and the tiles that the array works on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flightllm.cycles.matrix_items import cut, entry_item, header_pieces, key_tile, value_tile
from flightllm.isa.blocks import key_slots
from flightllm.streams.formats import GROUPS, WIDTHS, EntryFormat
from flightllm.streams.layout import EntryShape, header_sizes

formats = st.builds(EntryFormat, st.sampled_from(WIDTHS), st.just(16), st.booleans()) | st.builds(
    EntryFormat, st.sampled_from(WIDTHS), st.sampled_from((8, 4, 2))
)


@given(st.integers(0, 300))
def test_sections_are_cut_into_pops(words):
    pieces = cut(words)
    assert sum(pieces) == words
    assert all(p == 16 for p in pieces[:-1])
    assert all(0 < p <= 16 for p in pieces)


@given(
    formats,
    st.sampled_from((4, 8, 12)),
    st.integers(1, 8),
    st.integers(1, 96),
    st.integers(1, 8),
    st.sampled_from(GROUPS),
)
def test_an_entry_is_popped_whole(fmt, vpus, m, slots, windows, group):
    m = max(m, fmt.share)
    shape = EntryShape(fmt, min(slots, vpus * m), 16 * windows, group, vpus)
    item = entry_item(shape)
    words = sum(w for w, _ in item.scales) + sum(t.words for t in item.tiles)
    assert 8 * words == shape.size
    assert sum(t.count for t in item.tiles) == shape.beats
    # a row of the scale FIFOs is taken for each eight scale beats, and freed by as many tiles
    assert sum(row for _, row in item.scales) == sum(t.frees_row for t in item.tiles)
    operations = sum(t.two for t in item.tiles)
    assert operations == len(item.tiles) * (2 if fmt.affine else fmt.share)


@given(st.integers(1, 96), st.booleans())
def test_headers_are_popped_whole(slots, bias):
    _, rho, beta = header_sizes(slots, bias, 0)
    assert 8 * sum(header_pieces(slots, bias)) == rho + beta


@given(st.integers(1, 12), st.integers(1, 16), st.sampled_from((4, 8)), st.sampled_from((1, 2, 4, 8, 16, 32)))
def test_keys_take_whole_groups_of_slots(lanes, windows, bits, channels):
    tile = key_tile(lanes, windows, bits, channels)
    slots = key_slots(channels)
    assert tile.count == tile.held == windows
    assert 8 * tile.words == -(-lanes // slots) * slots * windows * 16 * bits // 8
    # the first window is complete when all but the last group have come
    assert len(tile.windows[0]) == (-(-lanes // slots) - 1) * windows + 1


@given(st.integers(1, 12))
def test_values_of_four_bits_share_bytes(vpus):
    assert value_tile(vpus, 8).words == 2 * vpus
    assert value_tile(vpus, 4).words == -(-vpus // 2) * 2
