"""The kernel made from HLS, compiled natively, behind registers as Vitis HLS makes them: outputs appear at the end of a run, and not before."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flightllm.config.arch import ArchConfig
from flightllm.executors.hls.kernel import HlsKernel, Outcome
from flightllm.kernel import control_map as cm
from flightllm.kernel import signature


class NativeKernel:
    """A `SimulatedKernel`. It has no clock: a run happens when the clock is to go on, whole.

    Args:
        arch: its config. library: from `build_hls`; built if None. seconds: wall time after which a run counts as one that never ends.
    """

    def __init__(self, arch: ArchConfig, library: Path | None = None, seconds: float = 600.0) -> None:
        self._kernel, self._seconds = HlsKernel(arch, library), seconds
        self._arguments = signature.arguments(arch)
        self._memory = {port: (0, np.zeros(0, np.uint8)) for port in range(signature.ports(arch))}
        self._words: dict[int, int] = {}
        self._wanted = self._running = self._done = False

    def attach(self, port: int, base: int, memory: np.ndarray) -> None:
        """See `SimulatedKernel`."""
        self._memory[port] = (base, memory)

    def read(self, address: int, /) -> int:
        """A register."""
        if address != cm.ADDRESS["AP_CTRL"]:
            return self._words.get(address, 0)
        busy = self._wanted or self._running
        return cm.START * busy | (cm.DONE | cm.READY) * self._done | cm.IDLE * (not busy and not self._done)

    def write(self, address: int, value: int, /) -> None:
        """Write a register; outputs cannot be written."""
        if address == cm.ADDRESS["AP_CTRL"]:
            self._done = self._done and not value & cm.CONTINUE
            self._wanted = self._wanted or bool(value & cm.START)
        elif not any(a.address <= address < a.address + a.bits // 8 for a in self._arguments if a.output):
            self._words[address] = value

    def _value(self, address: int, bits: int) -> int:
        return self._words.get(address, 0) | (self._words.get(address + 4, 0) << 32 if bits == 64 else 0)

    def advance(self, cycles: int) -> None:
        """Run, if a run was started and the one before was acknowledged. One that stands still never ends."""
        if not self._wanted or self._running or self._done:
            return
        self._wanted, self._running = False, True
        inputs = {a.name: self._value(a.address, a.bits) for a in self._arguments if not a.output and not a.port}
        bases = [self._value(a.address, 64) for a in self._arguments if a.port]
        result = self._kernel.run(inputs, [self._reached(p, base) for p, base in enumerate(bases)], self._seconds)
        if result.outcome is not Outcome.DONE:
            return
        for argument in self._arguments:
            if argument.output:
                value = result.outputs[argument.name]
                self._words[argument.address] = value & 0xFFFFFFFF
                if argument.bits == 64:
                    self._words[argument.address + 4] = value >> 32
        self._running, self._done = False, True

    def _reached(self, port: int, base: int) -> np.ndarray:
        """What of the port's memory lies behind its base address; nothing if that is elsewhere."""
        first, memory = self._memory[port]
        return memory[base - first :] if first <= base <= first + memory.size else memory[:0]

    def close(self) -> None:
        """Nothing to free."""
