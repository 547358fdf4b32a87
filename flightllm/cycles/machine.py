"""A run of a package on the cycle model: cores, channels, rings, units, and the counters that docs/registers.md describes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flightllm.config.arch import ArchConfig
from flightllm.cycles.channel import Channel
from flightllm.cycles.control import Fetch, Sequencer, Tokens, Unit
from flightllm.cycles.kernel import Kernel
from flightllm.cycles.load import LoadUnit
from flightllm.cycles.matrix import MatrixUnit
from flightllm.cycles.memory import ChannelMemory
from flightllm.cycles.rings import Ring
from flightllm.cycles.special import SpecialUnit
from flightllm.cycles.store import Exchange, StoreUnit
from flightllm.cycles.streams import Streams
from flightllm.cycles.weight import WeightUnit
from flightllm.errors import ProgramError
from flightllm.isa.fields import Instruction
from flightllm.isa.fields import Unit as UnitName
from flightllm.isa.load import LDW
from flightllm.isa.trace import Step, steps
from flightllm.sim.hbm import HbmTiming

#: channels of a core that are modelled one by one; of a core with more of them so many stand for all, which get the same requests: of a chunk of
#: tokens one, because memory waits for the array then
MODELLED_CHANNELS, MODELLED_OF_A_CHUNK = 4, 1


def level_age(channels: int) -> int:
    """Cycles until the matrix unit sees a ring's level (rtl/matrix/matrix_unit.sv: LevelAge)."""
    return 3 if channels > 8 else 2


class CoreModel:
    """One core and its channels.

    Args:
        core: its number. memory: of channel 0. modelled: channels that are modelled one by one, out of a core with more than `MODELLED_CHANNELS`.
        mask: bytes of the mask buffer, which stay from run to run. start: see `Machine`.
    """

    def __init__(
        self,
        kernel: Kernel,
        arch: ArchConfig,
        timing: HbmTiming,
        core: int,
        memory: ChannelMemory,
        mask: np.ndarray,
        exchange: Exchange,
        start: float,
        modelled: int,
    ) -> None:
        ports = arch.cores * arch.channels
        modelled = arch.channels if arch.channels <= MODELLED_CHANNELS else modelled
        period = 1000.0 / arch.clock_mhz
        numbers = [core * arch.channels + c * arch.channels // modelled for c in range(modelled)]
        self.channels = [Channel(kernel, timing, n / ports, period, arch.port_bits, start) for n in numbers]
        w_ring, k_ring = Ring(kernel, arch.w_ring_bytes // 8), Ring(kernel, arch.k_ring_bytes // 8)
        tokens, age = Tokens(kernel), level_age(arch.channels)
        self.streams = Streams(arch, memory)
        self._kernel, self._arch = kernel, arch
        self.weight = WeightUnit(kernel, tokens, arch.queue_depth, self.channels, w_ring, age)
        self.load = LoadUnit(kernel, tokens, arch, self.channels, k_ring, age, mask, memory)
        self.matrix = MatrixUnit(kernel, tokens, arch, w_ring, k_ring, age, mask, self.streams.strips)
        self.special = SpecialUnit(kernel, tokens, arch, mask)
        self.store = StoreUnit(kernel, tokens, arch, self.channels, exchange)
        self.units: dict[UnitName, Unit] = {
            u.name: u for u in (self.weight, self.load, self.matrix, self.special, self.store)
        }

    def start(self, program: list[Instruction], regs: list[int], addr: int) -> None:
        """Begin a run. addr: of the program on channel 0."""
        fetch = Fetch(self._kernel, self.channels[0], addr, len(program))
        self.sequencer = Sequencer(self._kernel, fetch, self.units, self._watched(program, regs))

    def _watched(self, program: list[Instruction], regs: list[int]) -> Iterator[Step]:
        for step in steps(program, regs):
            if isinstance(step.inst, LDW):
                self.streams.loaded(step.operands.addr)
            yield step

    def counters(self) -> dict[str, int]:
        """By "M.busy" and so on, and "ch1.read_bytes" ..

        A channel that is not modelled has those of the one that stands for it, but for what goes to one channel only: the program is channel 0's,
        and a key's bytes are shared out among those that it stands for.
        """
        out = {}
        units = {**{u.name: unit.counters for u, unit in self.units.items()}, "Q": self.sequencer.counters}
        for name in ("L", "M", "S", "T", "W", "Q"):
            for event, value in units[name].items():
                out[f"{name}.{event}"] = round(value)
        stands = self._arch.channels // len(self.channels)
        for c in range(self._arch.channels):
            channel = self.channels[c // stands]
            whole, rest = divmod(channel.alone_bytes, stands)
            out[f"ch{c}.read_bytes"] = 64 * (channel.read_beats - (channel.fetched_beats if c else 0))
            out[f"ch{c}.written_bytes"] = channel.written_bytes - channel.alone_bytes + whole + (c % stands < rest)
        return out


class Machine:
    """All cores and channels, for one run.

    Args:
        memory: [core] what programs read of channel 0. masks: [core] bytes of the mask buffer, changed by the run.
        start: cycles since the reset of the memory at which the run begins. chunk: of several tokens.

    Attributes:
        cores: with what each unit did.
    """

    def __init__(
        self,
        arch: ArchConfig,
        timing: HbmTiming,
        memory: list[ChannelMemory],
        masks: list[np.ndarray],
        start: float = 0.0,
        chunk: bool = False,
    ) -> None:
        self._kernel = Kernel()
        modelled = MODELLED_OF_A_CHUNK if chunk else MODELLED_CHANNELS
        exchange = Exchange(self._kernel, arch.cores)
        self.cores = [
            CoreModel(self._kernel, arch, timing, k, memory[k], masks[k], exchange, start, modelled)
            for k in range(arch.cores)
        ]

    def run(self, program: list[Instruction], regs: list[list[int]], addr: int, limit: float) -> dict[str, int]:
        """Run a program on all cores.

        Args:
            regs: [core] registers at the start. addr: of the program on channel 0 of each core. limit: cycles at most.

        Returns:
            The counters under the names of `flightllm.kernel.status.read_counters`.

        Raises:
            ProgramError: it does not end within `limit` cycles, or stands still before its end.
        """
        for core, own in zip(self.cores, regs, strict=True):
            core.start(program, list(own), addr)
        self._kernel.run(limit)
        for k, core in enumerate(self.cores):
            if not core.sequencer.ended:
                raise ProgramError(
                    "the program stands still on the cycle model",
                    where=f"core {k}, instruction {core.sequencer.pc}",
                    why="; ".join(f"{name.name}: {unit.open} open" for name, unit in core.units.items()),
                    do="check the program with flightllm verify; report this with the package",
                )
        out = {"cycles": round(max(c.sequencer.counters["busy"] for c in self.cores))}
        for k, core in enumerate(self.cores):
            out |= {f"core{k}.{name}": value for name, value in core.counters().items()}
        return out
