"""What the fetch stage of the matrix unit pops, item by item (rtl/matrix/fetch_plan.sv, fetch_walk.sv): counts only, no data.

A piece is a pop of up to 16 words. Lengths: docs/streams.md, "Weight streams" and "KV cache".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate

from flightllm.isa.blocks import key_slots
from flightllm.streams.layout import EntryShape

#: words of a pop at most
POP_WORDS = 16
#: words of a pop that a ring's level never holds up (matrix: LEVEL)
STEADY_WORDS = 12
#: pieces that may wait behind the walk (a section, the queue): it takes the next item in the cycle after the firing so many before the last
AHEAD = 5
#: scale beats of a row of the scale FIFOs
ROW_BEATS = 8
WORD_BYTES = 8


@dataclass(frozen=True)
class Tile:
    """Windows of one set of rows that share one scale operation per row.

    windows: pieces of each, in words. held: replay beats that the first piece needs room for (a tile of keys takes all at once); 0: each window
    its own. two, one: scale operations of a run for a pair of tokens, and for a single one. pair_runs, lone_runs: how often the array goes through
    the windows for each of the two: for each side of the chains, if two VPUs share one and do not work at once. frees_row: of the scale FIFOs.
    """

    windows: tuple[tuple[int, ...], ...]
    two: int
    one: int
    frees_row: bool = False
    held: int = 0
    pair_runs: int = 1
    lone_runs: int = 1

    @cached_property
    def count(self) -> int:
        """Windows."""
        return len(self.windows)

    def runs(self, pairs: int, odd: bool) -> int:
        """How often the array goes through the windows for so many pairs, the last of which is a single token if `odd`."""
        return (pairs - 1) * self.pair_runs + (self.lone_runs if odd else self.pair_runs)

    @cached_property
    def words(self) -> int:
        """Words of all pieces."""
        return sum(map(sum, self.windows))

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """Pieces up to the end of each window."""
        return tuple(accumulate(map(len, self.windows)))

    @cached_property
    def steady(self) -> bool:
        """Its pieces can be popped one a cycle, because no ring's level is too small to show so many words."""
        return all(words <= STEADY_WORDS for window in self.windows for words in window)


@dataclass(frozen=True)
class Item:
    """One entry of a weight stream. scales: pieces of sigma and mu; True where a piece needs a row of the scale FIFOs."""

    scales: tuple[tuple[int, bool], ...]
    tiles: tuple[Tile, ...]

    @cached_property
    def words(self) -> int:
        """Words of all pieces."""
        return sum(words for words, _ in self.scales) + sum(tile.words for tile in self.tiles)

    @cached_property
    def pieces(self) -> int:
        """Pops of the whole item."""
        return len(self.scales) + sum(len(w) for t in self.tiles for w in t.windows)

    @cached_property
    def tail(self) -> int:
        """The tile from which on all pieces are that the walk of the next item may wait for."""
        pieces = 0
        for number in reversed(range(len(self.tiles))):
            pieces += self.tiles[number].ends[-1]
            if pieces > AHEAD:
                return number
        return 0


def sides(taking_part: int, vpus: int, chain_vpus: int) -> int:
    """Sides of the chains that a beat has rows for: of `vpus` VPUs the first ones take part, and the first half of all is side 0."""
    return chain_vpus if 2 * taking_part > vpus else 1


def cut(words: int) -> tuple[int, ...]:
    """Pieces of a section."""
    whole, rest = divmod(words, POP_WORDS)
    return (POP_WORDS,) * whole + ((rest,) if rest else ())


def _scale_pieces(scales: int, bytes_per_beat: float, needs_row: bool) -> Iterator[tuple[int, bool]]:
    for begin in range(0, scales, ROW_BEATS):
        count = min(ROW_BEATS, scales - begin)
        for i, words in enumerate(cut(-(-int(2 * count * bytes_per_beat) // (2 * WORD_BYTES)))):
            yield words, needs_row and i == 0


def entry_item(shape: EntryShape, chain_vpus: int = 1) -> Item:
    """The item of an entry: sigma, mu, then row beat by row beat, group by group, the codes of each window and their indices."""
    share, windows_of_group = shape.fmt.share, shape.group // 16
    scales = shape.beats_down * share * shape.groups
    pieces = list(_scale_pieces(scales, shape.vpus, True))
    if shape.fmt.affine:
        pieces += _scale_pieces(scales, 1.5 * shape.vpus, False)
    # packed, a chain's two lanes are its two sides, and each has an operation of its own
    two, one = (2, chain_vpus) if shape.fmt.affine else (share, share)
    tiles, at = [], 0
    for beat in range(shape.beats_down):
        vpus = shape.last_vpus if beat == shape.beats_down - 1 else shape.vpus
        runs = sides(vpus, shape.vpus, chain_vpus)
        packed = 1 if shape.fmt.n == 16 else runs
        window = cut(shape.codes_bytes(vpus) // WORD_BYTES) + (() if shape.fmt.n == 16 else cut(vpus))
        for group in range(shape.groups):
            count = min(windows_of_group, shape.windows - group * windows_of_group)
            at += share
            frees_row = at % ROW_BEATS == 0 or at == scales
            tiles.append(Tile((window,) * count, two, one, frees_row, pair_runs=runs, lone_runs=packed))
    return Item(tuple(pieces), tuple(tiles))


@cache
def header_pieces(slots: int, bias: bool) -> tuple[int, ...]:
    """Pieces of rho and bias: four slots each."""
    one = (2,) * ((slots + 3) // 4 - 1) + (1 if slots % 4 in (1, 2) else 2,)
    return one * (2 if bias else 1)


@cache
def key_tile(lanes: int, windows: int, bits: int, channels: int, runs: int = 1) -> Tile:
    """A tile of K: `lanes` slots of each channel, `windows` windows of a head; popped in groups of slots, window by window. runs: of a pair."""
    slots = key_slots(channels)
    groups, words = -(-lanes // slots), (2 * slots if bits == 8 else slots)
    # the windows of all groups but the last come before the first window is complete
    pieces = ((words,) * ((groups - 1) * windows + 1),) + ((words,),) * (windows - 1)
    return Tile(pieces, 1, 1, held=windows, pair_runs=runs)


@cache
def value_tile(vpus: int, bits: int, runs: int = 1) -> Tile:
    """A window of V of `vpus` row slots. runs: of a pair."""
    return Tile((cut((vpus + 1) // 2 * 2 if bits == 4 else 2 * vpus),), 1, 1, pair_runs=runs)
