"""Rings: which load feeds which matrix instruction, and that both mean the same bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np

from flightllm.checker.ops import Op
from flightllm.config.arch import ArchConfig
from flightllm.errors import ProgramError
from flightllm.isa.blocks import key_slots
from flightllm.isa.matrix import GROUPS, MMPV, MMQK
from flightllm.streams.layout import Geometry, stream_bytes

#: V windows of a block
_BLOCK_WINDOWS = 4


def check_rings(ops: Iterable[Op], arch: ArchConfig) -> None:
    """Raise ProgramError if an item of a ring is not the one its taker expects.

    The n-th load of a ring feeds its n-th taker. A weight stream of one format must have the length that its MM implies (with a format table
    only the data know the length). On the K ring both ends must agree on kind, block range and bytes per unit, and the
    block mask must not be rewritten between the two: each end reads it for itself.
    """
    sizes: dict[tuple[int, ...], int] = {}
    waiting: dict[str, deque[Op]] = {"W": deque(), "K": deque()}
    for op in ops:
        for space, write, lo, hi, _ in op.places:
            if space == "MB" and write:
                _mask_stays(op, lo, hi, waiting["K"])
        if op.push:
            waiting[op.push[0]].append(op)
        if op.pop:
            ring, nbytes = op.pop
            if not waiting[ring]:
                raise ProgramError(f"the {ring} ring is empty", where=str(op), why="no load feeds this instruction")
            load = waiting[ring].popleft()
            assert load.push is not None
            if ring == "K":
                _same_item(load, op, arch)
            else:
                nbytes = _weight_bytes(op, arch, sizes)
            if nbytes not in (-1, load.push[1]):
                raise ProgramError(
                    "a ring holds another stream than its taker expects",
                    where=str(op),
                    why=f"it takes {nbytes} bytes, {load} pushed {load.push[1]}",
                )
    for ring, left in waiting.items():
        if left:
            raise ProgramError(
                f"the {ring} ring is not empty at HALT", where=str(left[0]), why="nothing takes this stream"
            )


def _same_item(load: Op, taker: Op, arch: ArchConfig) -> None:
    kind = "K" if isinstance(taker.inst, MMQK) else "V"
    unit, strip = _unit_bytes(taker, arch)
    mine = (("K", "V")[load.inst.values["kind"]], load.inst.values["unit_bytes"], load.blocks)
    for name, a, b in zip(("kind", "bytes per unit", "block range"), mine, (kind, unit, taker.blocks), strict=True):
        if a != b:
            raise ProgramError(
                "a ring holds another stream than its taker expects",
                where=str(taker),
                why=f"its load is {load}; {name}: loaded {a}, expected {b}",
            )
    if strip > arch.k_ring_bytes:
        raise ProgramError(
            "the K ring is smaller than what a matrix instruction reads again",
            where=str(taker),
            why=f"{strip} bytes per channel, the ring has {arch.k_ring_bytes}",
        )


def _weight_bytes(taker: Op, arch: ArchConfig, sizes: dict[tuple[int, ...], int]) -> int:
    """Bytes per channel that an MM takes; -1 if a format table in the stream decides."""
    v = taker.inst.values
    if v["table"]:
        return -1
    key = tuple(v[n] for n in ("slots", "k", "group", "bias", "rows_per_vpu", "format"))
    if key not in sizes:
        slots, k, group, bias, rows, form = key
        shape = Geometry(slots * arch.channels, k, int(GROUPS[group]), bool(bias), arch.channels, arch.vpus, 1 << rows)
        try:
            formats = np.broadcast_to(np.uint8(form), (shape.strips, shape.blocks, 1))
            sizes[key] = stream_bytes(shape, formats, False)
        except ValueError as e:
            raise ProgramError("a weight stream of no legal format", where=str(taker), why=str(e)) from e
    return sizes[key]


def _unit_bytes(taker: Op, arch: ArchConfig) -> tuple[int, int]:
    """(bytes per unit, bytes that stay in the ring while they are used for each query) of MMQK or MMPV."""
    v = taker.inst.values
    bits = 4 if v["bits"] else 8
    if isinstance(taker.inst, MMPV):
        unit = v["row_slots"] * 2 * bits
        return unit, _BLOCK_WINDOWS * unit
    row = v["k"] * bits // 8
    return key_slots(arch.channels) * row, arch.vpus * row


def _mask_stays(op: Op, lo: int, hi: int, loads: Iterable[Op]) -> None:
    for load in loads:
        for space, write, a, b, _ in load.places:
            if space == "MB" and not write and a < hi and lo < b:
                raise ProgramError(
                    "a block mask changes between a load and the instruction that takes its stream",
                    where=str(op),
                    why=f"{load} was loaded by MB {a}..{b - 1}, which this writes",
                )
