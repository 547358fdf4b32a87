"""The cycle model of a package, run by run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flightllm.cycles.machine import Machine
from flightllm.cycles.memory import ChannelMemory
from flightllm.isa import decode_program
from flightllm.isa.registers import host_registers
from flightllm.package import Package
from flightllm.runtime.device import check_chunk
from flightllm.sim.hbm import HbmTiming

#: cycles that a run may take, as on the simulated hardware
LIMIT = 2_000_000_000


class CycleModel:
    """Counts the cycles of a package's runs without computing anything.

    Args:
        timing: of the memory; default as the package's board has it.

    Attributes:
        machine: cores and channels of the last run, with what each unit did.
    """

    def __init__(self, package: Package, timing: HbmTiming | None = None) -> None:
        m = package.manifest
        self.manifest = m
        self._timing = timing or HbmTiming.of_name(m.board)
        self._program = decode_program(bytes(package.program))
        self._addr = m.program_region().addr
        self._memory = [ChannelMemory(package.image(k, 0), m.host.ids_addr) for k in range(m.arch.cores)]
        self._masks = [np.zeros(m.arch.mb_bytes, np.uint8) for _ in range(m.arch.cores)]
        self.machine: Machine | None = None

    def run(self, ids: Sequence[int], pos: int, nlog: int, masken: bool, start: float = 0.0) -> dict[str, int]:
        """One run of the program; arguments as of `Device.run_chunk`.

        Args:
            start: cycles since the reset of the memory at which it begins: decides where refreshes fall.

        Returns:
            Counters, named as `flightllm.executors.rtl.status.read_counters` names them.

        Raises:
            ProgramError: the program does not end. FlightError: ids, position or nlog are outside the package's limits.
        """
        m = self.manifest
        check_chunk(m, ids, pos, nlog)
        for memory in self._memory:
            memory.set_ids(ids)
        self.machine = Machine(m.arch, self._timing, self._memory, self._masks, start)
        regs = [host_registers(pos, len(ids), core, nlog, masken) for core in range(m.arch.cores)]
        return self.machine.run(self._program, regs, self._addr, LIMIT)
