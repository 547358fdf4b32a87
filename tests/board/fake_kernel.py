"""A kernel in Python that runs the stand-in's packages (tests/sim/kernels.py), and a card around it without pynq."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sim.kernels import COPY, ERROR, IDS, LOGITS, NOTHING

from flightllm.config.arch import ArchConfig
from flightllm.kernel import control_map as cm
from flightllm.kernel.parameters import build_digest
from flightllm.kernel.xclbin import Bank, Instance, Xclbin
from flightllm.sim.card import SimulatedCard

_NAMES = {address: name for name, address in cm.ADDRESS.items()}


class FakeKernel:
    """A `SimulatedKernel`. A run takes `cycles`; what it does says the program, read through the port at the address in BASE.

    deaf: a reset does not help. flavour: of the kernel; one made from HLS says nothing before the end of its first run. listens: addresses
    that were read.
    """

    def __init__(self, arch: ArchConfig, cycles: int = 7000, flavour: int = 0, deaf: bool = False) -> None:
        self.arch, self.cycles, self.deaf = arch, cycles, deaf
        self.ports = arch.cores * arch.channels
        self.memory: dict[int, tuple[int, np.ndarray]] = {}
        build = arch.cores | arch.channels << 8 | arch.vpus << 16 | arch.lanes << 24
        digest = build_digest(arch)
        self.values = {r.address: r.reset for r in cm.REGISTERS}
        self.values |= {cm.ADDRESS["BUILD"]: build, cm.ADDRESS["FLAVOUR"]: flavour}
        self.values |= {cm.ADDRESS["DIGEST"]: digest & 0xFFFFFFFF, cm.ADDRESS["DIGEST"] + 4: digest >> 32}
        self.running = self.done = self.stuck = False
        self.left = self.quiet = 0
        self.listens: list[int] = []
        self.closed = False
        self.silent = flavour == 1

    def attach(self, port, base, memory):
        self.memory[port] = (base, memory)

    def close(self):
        self.closed = True

    def read(self, address):
        self.listens.append(address)
        if address == cm.ADDRESS["AP_CTRL"]:
            ready = (cm.DONE | cm.READY) * self.done
            return cm.START * self.running | ready | (cm.IDLE if not self.running and not self.done else 0)
        return 0 if self.silent and address >= cm.ADDRESS["ERROR"] else self.values.get(address, 0)

    def write(self, address, value):
        name = _NAMES.get(address, "")
        if self.running and name not in ("SOFT_RESET", "WATCHDOG", "AP_CTRL", "ISR"):
            raise AssertionError(f"{name or hex(address)} is written during a run")
        if name == "AP_CTRL":
            if value & cm.CONTINUE:
                self.done = False
            if value & cm.START and not self.done:
                self.running, self.left, self.quiet, self.stuck = True, self.cycles, 0, False
                self.values[cm.ADDRESS["ERROR"]] = 0
        elif name == "ISR":
            self.values[address] ^= value
        else:
            if name == "SOFT_RESET" and value and not self.deaf:
                self.stuck, self.quiet = True, 0
            self.values[address] = value

    def advance(self, cycles):
        if not self.running:
            return
        self.values[cm.ADDRESS["CYCLES"]] += cycles
        if not self.stuck:
            self.left -= cycles
            if self.left <= 0:
                self._end(self._execute())
            return
        watchdog = self.values[cm.ADDRESS["WATCHDOG"]]
        self.quiet += cycles
        if watchdog and self.quiet > watchdog and not self.deaf and not self.values[cm.ADDRESS["SOFT_RESET"]]:
            self._end(5)

    def _end(self, error):
        if error is None:
            self.stuck = True
            return
        self.values[cm.ADDRESS["ERROR"]] = error
        self.running, self.done, self.silent = False, True, False
        if self.values[cm.ADDRESS["IER"]] & 1:
            self.values[cm.ADDRESS["ISR"]] |= 1

    def _reach(self, port, offset, count):
        """View of memory at BASE + offset, None if the port does not reach it."""
        low, high = (self.values.get(cm.base_address(port) + h, 0) for h in (0, 4))
        base, memory = self.memory.get(port, (0, np.zeros(0, np.uint8)))
        first = (low | high << 32) + offset - base
        return memory[first : first + count] if 0 <= first <= memory.size - count else None

    def _execute(self):
        """Error, 0, or None: it stands still."""
        value = self.values
        ntok, nlog, pos = (value[cm.ADDRESS[n]] for n in ("NTOK", "NLOG", "POS"))
        for core in range(self.arch.cores):
            first = core * self.arch.channels
            program = self._reach(first, value[cm.ADDRESS["PROGRAM"]], 64)
            raw = self._reach(first, IDS, 4 * ntok)
            if program is None or raw is None:
                return 2 | core << 8
            do = int(program.view("<u4")[3])
            if do == ERROR:
                return 1 | core << 8
            if do == NOTHING or do != COPY:
                return None
            for channel in range(self.arch.channels):
                port = first + channel
                out = self._reach(port, LOGITS, 64 * nlog)
                if out is None:
                    return 3 | core << 8
                ids = raw.view("<i4")[ntok - nlog :].astype(np.uint32)[:, None]
                words = (ids + pos) % 65536 << 16 | value[cm.ADDRESS["MASKEN"]] << 12 | port << 5
                out[:] = (words | np.arange(16, dtype=np.uint32)).astype("<u4").view(np.uint8).reshape(-1)
        return 0


class DirectCard:
    """A `Card` over a simulated one, as pynq or pyxrt are over a real one."""

    def __init__(self, card: SimulatedCard) -> None:
        self.card = card
        self.base = 0
        self.shift = 0  # added to the addresses of buffers

    def program(self, xclbin: Xclbin, kernel: Instance) -> None:
        self.card.program(Path(xclbin.path))
        self.card.opened, self.base = True, kernel.base

    def read(self, address: int, /) -> int:
        return self.card.read(self.base + address)

    def write(self, address: int, value: int, /) -> None:
        self.card.write(self.base + address, value)

    def allocate(self, bank: Bank, size: int) -> DirectBuffer:
        return DirectBuffer(self, bank.index, size)

    def close(self) -> None:
        self.card.opened = False


class DirectBuffer:
    def __init__(self, card: DirectCard, bank: int, size: int) -> None:
        self.card, self.held = card.card, card.card.allocate(bank, size)
        self.address = self.held.address + card.shift

    def write(self, offset: int, data: np.ndarray) -> None:
        self.held.host[offset : offset + data.size] = data
        self.card.to_card(self.held, offset, data.size)

    def read(self, offset: int, count: int) -> np.ndarray:
        self.card.from_card(self.held, offset, count)
        return self.held.host[offset : offset + count].copy()
