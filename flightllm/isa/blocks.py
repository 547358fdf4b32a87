"""Block ranges: which blocks of 64 key positions an attention instruction visits (docs/machine.md, "Attention over blocks")."""

from __future__ import annotations

from typing import Any

import numpy as np

from flightllm.isa.fields import Addr, Count, Field, Instruction

#: key positions in a block
BLOCK_POSITIONS = 64
#: positions in a window of the V cache
WINDOW_POSITIONS = 16
#: slots that the K cache keeps side by side, at most
KEY_SLOTS = 4


def key_slots(channels: int) -> int:
    """Slots (positions of one channel) that the K cache keeps side by side, window by window: no more than a block has."""
    return min(KEY_SLOTS, BLOCK_POSITIONS // channels)


def unit_positions(kind: str, channels: int) -> int:
    """Positions in a unit of the cache: a group of `key_slots` slots on every channel (kind K), or a window (kind V)."""
    return key_slots(channels) * channels if kind == "K" else WINDOW_POSITIONS


class KeyRange(Instruction, register=False):
    """Operands of instructions that visit the keys of an attention, by blocks."""

    len = Count(24, "keys 0..len-1")
    sink = Field(12, "blocks below this are active")
    first = Count(12, "blocks from this on are active")


class BlockRange(KeyRange, register=False):
    """The same with a mask."""

    mask = Addr("MB", 16, "mask row of the query block and head")
    masked = Count(1, "0: the mask does not apply")


def candidate_blocks(length: int, sink: int, first: int) -> list[int]:
    """Blocks of keys 0..length-1 that are active when no mask applies: b < sink or b >= first, and always the last."""
    if length <= 0:
        return []
    last = (length - 1) // BLOCK_POSITIONS
    return [b for b in range(last + 1) if b < sink or b >= first or b == last]


def active_blocks(o: Any, mb: np.ndarray) -> list[int]:
    """Blocks an instruction visits: candidates whose mask bit is set (if masks apply), and the last."""
    blocks = candidate_blocks(o.len, o.sink, o.first)
    if not o.masked or not blocks:
        return blocks
    last = blocks[-1]
    return [b for b in blocks if b == last or mb[o.mask + b // 8] >> (b % 8) & 1]


def footprint_blocks(o: Any) -> list[int]:
    """Blocks of a footprint: `o.active` if somebody who knows the mask put it there, else all candidates."""
    active: list[int] | None = vars(o).get("active")
    return candidate_blocks(o.len, o.sink, o.first) if active is None else active


def units_of(block: int, length: int, gran: int) -> tuple[int, int]:
    """[first, last + 1) units of `gran` positions (C: slots; `unit_positions`: units of the cache) that a block has below `length`."""
    start = block * BLOCK_POSITIONS
    stop = min(length, start + BLOCK_POSITIONS)
    return start // gran, -(-stop // gran)


def runs(blocks: list[int]) -> list[tuple[int, int]]:
    """Maximal runs [first, last + 1) of consecutive blocks."""
    out: list[tuple[int, int]] = []
    for b in blocks:
        if out and out[-1][1] == b:
            out[-1] = (out[-1][0], b + 1)
        else:
            out.append((b, b + 1))
    return out
