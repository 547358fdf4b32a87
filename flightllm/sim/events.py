"""Events of a simulated kernel: what `Simulator.events` returns. The other end is sim/lockstep_probe.sv and sim/harness.cpp."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Kind(IntEnum):
    """Kinds of events, and what their fields hold."""

    DISPATCH = 0  #: an instruction enters a unit's queue. addr: pc; data: the 64 bytes of the instruction
    OPERANDS = 1  #: follows it. data: its resolved operands, 40 bits each
    END = 2  #: the unit's oldest instruction has ended (L, M, S, T)
    VB = 3  #: write of a word. addr: word; mask: elements; data: 16 x fp32
    AB = 4  #: write of windows addr and addr + 1. mask: windows; data: 2 x 16 codes
    MB = 5  #: write of a byte. addr: byte
    W_RING = 6  #: 64 bytes into the W ring of `channel`
    K_RING = 7  #: words addr .. addr + mask - 1 of the 8 in data go into the K ring of `channel`
    TAKE = 9  #: the unit's next instruction has its tokens (L, M, S, T)
    MEMORY = 8  #: bytes in the memory of port `channel` (core * channels + channel) change. addr: offset; mask: bytes


#: one event: struct Event in sim/harness.cpp
EVENT = np.dtype(
    [
        ("cycle", "<u8"),
        ("addr", "<u8"),
        ("mask", "<u8"),
        ("kind", "u1"),
        ("core", "u1"),
        ("unit", "u1"),
        ("channel", "u1"),
        ("unused", "<u4"),
        ("data", "u1", 64),
    ]
)
