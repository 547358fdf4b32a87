"""Values of the architecture's parameters between which a choice makes sense on a board.

A memory takes whole blocks, so of a buffer only sizes that fill its blocks are worth asking for: one element more takes the next row of blocks,
one less saves none.
"""

from __future__ import annotations

from flightllm.config.arch import ArchConfig
from flightllm.config.board import Board

#: words of an UltraRAM, and those of a block RAM of 72 bits
URAM_WORDS, BRAM_WORDS = 4096, 512
#: bytes of a row of a channel's rings: 16 memories of 64 bits
RING_ROW = 128
#: rows of a ring from which it lies in UltraRAM (flightllm/synth/units.py)
RING_ULTRA = 1024
#: elements of the vector buffer that one row of its blocks holds: 4 banks of 16 elements
VB_ROW = 4 * 16 * URAM_WORDS
#: windows of the activation buffer that one row of its blocks holds: words of two windows
AB_ROW = 2 * URAM_WORDS
#: DSPs of a VPU, or of two that share a chain: the chain of 16, and four for the scales
DSP_PER_CHAIN = 20
#: parameters that a search over configs varies, in the order in which results name them
NAMES = (
    "cores", "channels", "vpus", "chain_vpus", "lanes", "max_chunk", "vb_elements", "ab_windows", "acc_entries", "w_ring_bytes",
    "k_ring_bytes", "clock_mhz",
)  # fmt: skip
_MULTIPLES = (1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32)


def ladder(board: Board, base: ArchConfig, name: str) -> tuple[int | float, ...]:
    """Values of one parameter, ascending; the base's own is among them.

    Args:
        board: bounds the values. base: gives what the value depends on: the rings of a channel share their blocks.
        name: one of `NAMES`.
    """
    return tuple(sorted({*_values(board, base, name), getattr(base, name)}))


def _values(board: Board, base: ArchConfig, name: str) -> list[int]:
    has = board.resources
    if name == "cores":
        return list(range(1, min(4, most_cores(board), board.memory.channels) + 1))
    if name == "channels":
        return [1 << i for i in range(6) if 1 << i <= board.memory.channels]
    if name == "vpus":
        return [v for v in range(4, 33, 4) if DSP_PER_CHAIN * v // base.chain_vpus <= has.dsp]
    if name == "chain_vpus":
        return [1, 2]
    if name == "lanes":
        return [4, 8, 16]
    if name == "max_chunk":
        return [16, 32, 64, 128]
    if name == "vb_elements":
        return [n * VB_ROW for n in _MULTIPLES if 32 * n <= has.uram]
    if name == "ab_windows":
        return [n * AB_ROW for n in (1, 2, 4, 8, 16) if 8 * n <= has.uram]
    if name == "acc_entries":
        return [512, 1024, 2048]
    # one block RAM for each of a ring's 16 memories, two, or an UltraRAM
    rings = [RING_ROW * rows for rows in (BRAM_WORDS, RING_ULTRA - 1, URAM_WORDS)]
    if name == "w_ring_bytes":
        return [n - base.k_ring_bytes for n in rings if n - base.k_ring_bytes >= 16384]
    return [16384, 32768] if name == "k_ring_bytes" else []


def most_cores(board: Board) -> int:
    """Cores that a board takes: one per super logic region; a board that is only simulated has none to count."""
    return 4 if board.flow == "none" else board.slrs
