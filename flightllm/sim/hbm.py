"""Timing of a memory channel, for the RTL simulation and for the cycle model."""

from __future__ import annotations

from dataclasses import dataclass, fields

from flightllm.config.board import BoardMemory
from flightllm.package.manifest import MemoryTiming


@dataclass(frozen=True)
class HbmTiming:
    """Timing of a memory channel in ns; see sim/hbm_channel.hpp, whose order of fields this is. All zero: an ideal memory."""

    hit_ns: float = 106.6
    activate_ns: float = 15.5
    precharge_ns: float = 15.6
    row_active_ns: float = 33.6
    ccd_short_ns: float = 32 / 14.4
    ccd_long_ns: float = 64 / 14.4
    turn_ns: float = 8.0
    write_recovery_ns: float = 16.0
    refresh_every_ns: float = 3900.0
    refresh_ns: float = 285.0
    write_ns: float = 60.0

    @classmethod
    def ideal(cls) -> HbmTiming:
        """Answers in the cycle after the question, as fast as the port."""
        return cls(**{f.name: 0.0 for f in fields(cls)})

    @classmethod
    def of_board(cls, memory: BoardMemory | MemoryTiming | None) -> HbmTiming:
        """Latencies and rates of a board file, or of a package that was compiled with it; what it does not say (None: all) is as on a U280."""
        if memory is None:
            return cls()
        hit, closed, miss = (list(memory.latency_ns) + [memory.latency_ns[-1]] * 2)[:3]
        atom = 32 / memory.channel_gbps
        usual = cls()
        # rows that open again behind a refresh cost some more, hence 0.92
        pause = usual.refresh_every_ns * max(0.0, 1 - memory.measured_gbps / memory.channel_gbps) * 0.92
        return cls(
            hit_ns=hit,
            activate_ns=closed - hit,
            precharge_ns=miss - closed,
            ccd_short_ns=atom,
            ccd_long_ns=2 * atom,
            refresh_ns=pause,
        )
