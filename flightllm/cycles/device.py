"""The cycle model of a program, run by run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from flightllm.cycles.machine import Machine
from flightllm.cycles.memory import Bytes, ChannelMemory, ImageBytes
from flightllm.isa import decode_program
from flightllm.isa.fields import Instruction
from flightllm.isa.registers import host_registers
from flightllm.package import Manifest, Package
from flightllm.runtime.device import check_chunk
from flightllm.sim.hbm import HbmTiming

#: cycles that a run may take, as on the simulated hardware
LIMIT = 2_000_000_000


class CycleModel:
    """Counts the cycles of a program's runs without computing anything.

    Args:
        manifest, program: what runs. constants: [core] what it reads of channel 0. timing: of the memory; default as the board has it.

    Attributes:
        machine: cores and channels of the last run, with what each unit did.
    """

    def __init__(
        self,
        manifest: Manifest,
        program: list[Instruction],
        constants: Sequence[Bytes],
        timing: HbmTiming | None = None,
    ) -> None:
        self.manifest = manifest
        self._timing = timing or HbmTiming.of_board(manifest.memory_timing)
        self._program = program
        self._addr = manifest.region("program").addr
        self._memory = [ChannelMemory(c, manifest.host.ids_addr) for c in constants]
        self._masks = [np.zeros(manifest.arch.mb_bytes, np.uint8) for _ in constants]
        self.machine: Machine | None = None

    @classmethod
    def of_package(cls, package: Package, timing: HbmTiming | None = None) -> Self:
        """Of a compiled package; of its images only masks and format tables are read.

        Raises:
            PackageError: it is damaged.
        """
        m = package.manifest
        m.program_region()  # is there
        constants = [ImageBytes(package.image(k, 0)) for k in range(m.arch.cores)]
        return cls(m, decode_program(bytes(package.program)), constants, timing)

    def run(self, ids: Sequence[int], pos: int, nlog: int, masken: bool, start: float = 0.0) -> dict[str, int]:
        """One run of the program; arguments as of `Device.run_chunk`.

        Args:
            start: cycles since the reset of the memory at which it begins: decides where refreshes fall.

        Returns:
            Counters, named as `flightllm.kernel.status.read_counters` names them.

        Raises:
            ProgramError: the program does not end. FlightError: ids, position or nlog are outside the package's limits.
        """
        m = self.manifest
        check_chunk(m, ids, pos, nlog)
        for memory in self._memory:
            memory.set_ids(ids)
        self.machine = Machine(m.arch, self._timing, self._memory, self._masks, start, len(ids) > 1)
        regs = [host_registers(pos, len(ids), core, nlog, masken) for core in range(m.arch.cores)]
        return self.machine.run(self._program, regs, self._addr, LIMIT)
