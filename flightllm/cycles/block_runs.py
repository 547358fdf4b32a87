"""When block_runs (rtl/common/block_runs.sv) offers runs of active blocks."""

from __future__ import annotations

from collections.abc import Sequence

#: cycles from the start to a first run that begins with block 0, from a run taken to the next one behind a gap; of a gap at the start
FIRST, NEXT, GAP = 2, 3, 1
#: with a mask: from the start to a run that ends in byte 0 (three to read it, one in the FIFO, two edges)
MASKED_FIRST = 6
#: blocks of a byte of the mask
BYTE = 8
#: from a last run taken to the cycle in which `done_o` says so
DONE = 1


def run_steps(spans: Sequence[tuple[int, int]], masked: bool) -> list[int]:
    """Cycles from the start to the first run, and from each run taken to the next one offered.

    Args:
        spans: runs [first, last + 1) of blocks, `flightllm.isa.blocks.runs`.
        masked: whether bytes of the mask are gone through.
    """
    if not masked:
        return [(FIRST + GAP * (lo > 0)) if index == 0 else NEXT for index, (lo, _) in enumerate(spans)]
    steps, byte = [], 0
    for index, (_, hi) in enumerate(spans):
        # the byte in which the run is seen to end: that of the block behind it, or the last one
        end = (hi - 1 if index == len(spans) - 1 else hi) // BYTE
        steps.append((NEXT if index else MASKED_FIRST) + end - byte)
        byte = end
    return steps
