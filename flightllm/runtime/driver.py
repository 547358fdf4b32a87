"""Drives one kernel through its registers and its memories, wherever these are: on a card, on a simulated one, in a simulator.

It knows docs/registers.md and packages, and nothing of vendors' libraries. A run: `begin`, wait for `done`, `finish`. After a failure
`failure` says what every unit was doing, and `recover` makes the kernel ready for the next run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, Protocol

import numpy as np

from flightllm.config.arch import ArchConfig
from flightllm.errors import ConfigError, FlightError, PackageError, ProgramError
from flightllm.kernel import control_map as cm
from flightllm.kernel.facts import KernelFacts
from flightllm.kernel.parameters import build_digest, parameters
from flightllm.kernel.registers import Registers, read64, write64
from flightllm.kernel.signature import memory_port, ports
from flightllm.kernel.status import read_counters, state_dump
from flightllm.package import Manifest, Package
from flightllm.runtime.device import check_chunk, gather_logits

#: watchdog of the kernel in cycles, as after its reset
WATCHDOG = next(r.reset for r in cm.REGISTERS if r.name == "WATCHDOG")
#: how long the cores are held in reset: far longer than any answer of memory takes
RESET_S = 0.001
#: what is waited for answers to a reset
_ANSWER_S = 1.0
#: bytes that are copied to a memory at once
_PIECE = 16 << 20


class Memory(Protocol):
    """What lies behind the kernel's ports, of `size` bytes each; offsets count from its beginning."""

    def address(self, port: int, /) -> int:
        """Where the kernel finds the beginning of the port's memory."""

    def write(self, port: int, offset: int, data: np.ndarray, /) -> None:
        """Write uint8 [n]."""

    def read(self, port: int, offset: int, count: int, /) -> np.ndarray:
        """uint8 [count]."""


class ArrayMemory:
    """Memory in this process. rows: uint8 [ports, bytes]. bases: addresses of the rows; None: zero."""

    def __init__(self, rows: np.ndarray, bases: np.ndarray | None = None) -> None:
        self.rows, self.bases = rows, bases

    def address(self, port: int, /) -> int:
        """Where the row begins."""
        return 0 if self.bases is None else int(self.bases[port])

    def write(self, port: int, offset: int, data: np.ndarray, /) -> None:
        """Copy into the row."""
        self.rows[port, offset : offset + data.size] = data

    def read(self, port: int, offset: int, count: int, /) -> np.ndarray:
        """A view of the row."""
        return self.rows[port, offset : offset + count]


@dataclass(frozen=True)
class Placement:
    """Where a port's memory is. bank: name of the memory; "" if it has none. address: as the kernel sees it. size: bytes. regions: name, offset, bytes."""

    port: int
    bank: str
    address: int
    size: int
    regions: tuple[tuple[str, int, int], ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        regions = [{"name": name, "offset": offset, "bytes": size} for name, offset, size in self.regions]
        head = {"port": memory_port(self.port), "bank": self.bank, "address": self.address, "bytes": self.size}
        return head | {"regions": regions}


def channel_bytes(manifest: Manifest) -> int:
    """Memory that a package needs behind each port, in bytes."""
    return max(r.end for r in manifest.memory)


def memory_map(manifest: Manifest, memory: Memory, bank: Callable[[int], str] = lambda port: "") -> list[Placement]:
    """Where everything of a package goes. bank: port -> name of its memory."""
    size = channel_bytes(manifest)
    out = []
    for port in range(ports(manifest.arch)):
        # the program is on channel 0 of each core only, and so are the ids, which are small
        regions = tuple(
            (r.name, r.addr, r.bytes)
            for r in manifest.memory
            if r.kind != "program" or not port % manifest.arch.channels
        )
        out.append(Placement(port, bank(port), memory.address(port), size, regions))
    return out


def place(package: Package, memory: Memory, zero: bool = True) -> None:
    """Copy the images, and the program to channel 0 of each core. zero: what lies behind the images is not zero yet.

    Raises:
        PackageError: an image cannot be read, or the memory map has no room for the program.
    """
    m = package.manifest
    program = np.frombuffer(bytes(package.program), np.uint8)
    region, size = m.program_region(), channel_bytes(m)
    if m.image_bytes > size:
        why = f"images of {m.image_bytes} bytes, regions end at {size}"
        raise PackageError("the memory map is smaller than the images", where=m.name, why=why, do="compile it again")
    nothing = np.zeros(min(_PIECE, size), np.uint8)
    for port in range(ports(m.arch)):
        core, channel = divmod(port, m.arch.channels)
        image = package.image(core, channel)
        for first in range(0, image.size, _PIECE):
            memory.write(port, first, image[first : first + _PIECE])
        for first in range(image.size, size if zero else 0, _PIECE):
            memory.write(port, first, nothing[: size - first])
        if channel == 0:
            memory.write(port, region.addr, program)


def differences(have: ArchConfig, want: ArchConfig) -> list[str]:
    """Parameters in which two kernels differ, as "VPUs of an MPU (Vpus): 8, not 12"."""
    pairs = zip(parameters(have), parameters(want), strict=True)
    return [
        f"{text} ({name}): {there}, not {wanted}" for (name, there, text), (_, wanted, _) in pairs if there != wanted
    ]


def is_silent(registers: Registers) -> bool:
    """Whether the kernel has not said yet what it is: one made from HLS does at the end of its first run."""
    return not any(registers.read(a) for a in (cm.ADDRESS["BUILD"], cm.ADDRESS["DIGEST"], cm.ADDRESS["DIGEST"] + 4))


def greet(registers: Registers, memory: Memory, arch: ArchConfig, timeout: float) -> bool:
    """Let a kernel that `is_silent` run a program that ends at once, from the beginning of its memories.

    timeout: seconds. Returns whether it has ended.
    """
    from flightllm.isa import encode_program
    from flightllm.isa.control import HALT

    code = np.frombuffer(encode_program([HALT()]), np.uint8)
    for port in range(ports(arch)):
        write64(registers, cm.base_address(port), memory.address(port))
        if port % arch.channels == 0:
            memory.write(port, 0, code)
    write64(registers, cm.ADDRESS["PROGRAM"], 0)
    values = {"POS": 0, "NTOK": 1, "NLOG": 0, "MASKEN": 0, "INSTRUCTIONS": 1, "AP_CTRL": cm.START}
    for name, value in values.items():
        registers.write(cm.ADDRESS[name], value)
    end = monotonic() + timeout
    while not registers.read(cm.ADDRESS["AP_CTRL"]) & cm.DONE:
        if monotonic() > end:
            return False
        sleep(RESET_S)
    registers.write(cm.ADDRESS["AP_CTRL"], cm.CONTINUE)
    return True


def check_kernel(registers: Registers, arch: ArchConfig, facts: KernelFacts | None = None) -> str:
    """Whether the kernel is one for this config.

    Args:
        registers: of the kernel.
        arch: what a package was compiled for.
        facts: what the kernel was built for, if somebody said so.

    Returns:
        Its flavour, one of `control_map.FLAVOURS`.

    Raises:
        ConfigError: it is not, with every parameter that differs, as far as that is known.
    """
    build, digest = registers.read(cm.ADDRESS["BUILD"]), read64(registers, cm.ADDRESS["DIGEST"])
    flavour = registers.read(cm.ADDRESS["FLAVOUR"])
    if flavour >= len(cm.FLAVOURS):
        raise ConfigError(
            "what answers is not this version's kernel",
            why=f"register FLAVOUR is {flavour:#x}, BUILD {build:#010x}, DIGEST {digest:#018x}",
            do="build the xclbin with this version of flightllm",
        )
    wanted = build_digest(arch)
    if digest == wanted:
        return cm.FLAVOURS[flavour]
    if facts is not None and build_digest(facts.arch) == digest:
        lines = differences(facts.arch, arch)
    else:
        lines = build_differences(build, arch) or ["a parameter that register BUILD does not tell"]
    raise ConfigError(
        "the kernel was built for another config",
        why="; ".join(lines) + f" (digest {digest:016x}, not {wanted:016x})",
        do="give the xclbin of the package's config, or compile the model for the kernel's (--arch, --set)",
    )


#: parameters in register BUILD, a byte each from the lowest
IN_BUILD = ("Cores", "Channels", "Vpus", "Lanes")


def build_differences(build: int, arch: ArchConfig) -> list[str]:
    """Parameters of register BUILD that differ from the config's, as `differences` names them."""
    known = {name: (value, text) for name, value, text in parameters(arch)}
    out = []
    for i, name in enumerate(IN_BUILD):
        value, text = known[name]
        there = build >> (8 * i) & 255
        if there != value:
            out.append(f"{text} ({name}): {there}, not {value}")
    return out


def is_idle(registers: Registers) -> bool:
    """Whether the kernel waits for a run."""
    return registers.read(cm.ADDRESS["AP_CTRL"]) & (cm.START | cm.DONE | cm.IDLE) == cm.IDLE


class Driver:
    """A kernel with a package.

    Args:
        registers, memory: of the kernel; every memory has room for `channel_bytes`.
        package: what it runs.
        watchdog: cycles without an event in any unit after which the kernel gives up; 0: never.
        interrupts: raise the interrupt at the end of a run.

    Attributes:
        last: counters of the last run. sums: of all runs, with "chunks" and "tokens". flavour: after `start`.
    """

    def __init__(
        self,
        registers: Registers,
        memory: Memory,
        package: Package,
        watchdog: int = WATCHDOG,
        interrupts: bool = False,
    ) -> None:
        self.registers, self.memory, self.package = registers, memory, package
        self.watchdog, self.interrupts = watchdog, interrupts
        self.flavour = cm.FLAVOURS[0]
        self.last: dict[str, int] = {}
        self.sums: dict[str, int] = {"chunks": 0, "tokens": 0, "cycles": 0}
        self._fed = 0
        self._listing: list[str] | None = None

    @property
    def manifest(self) -> Manifest:
        """The package's manifest."""
        return self.package.manifest

    def start(self, facts: KernelFacts | None = None) -> None:
        """Check that the kernel is the one wanted, write the registers that stay the same for all runs.

        Raises:
            ConfigError: it was built for another config. PackageError: the package has no room for its program.
        """
        m = self.manifest
        self.flavour = check_kernel(self.registers, m.arch, facts)
        for port in range(ports(m.arch)):
            write64(self.registers, cm.base_address(port), self.memory.address(port))
        write64(self.registers, cm.ADDRESS["PROGRAM"], m.program_region().addr)
        self._write("INSTRUCTIONS", m.instructions)
        self._write("WATCHDOG", self.watchdog)
        self._write("GIE", int(self.interrupts))
        self._write("IER", int(self.interrupts))

    def place(self) -> None:
        """Copy everything into memory (`place`)."""
        place(self.package, self.memory)

    # --- a run -----------------------------------------------------------------------------------------------------
    def begin(self, ids: list[int], pos: int, nlog: int, masken: bool) -> None:
        """Begin a run; arguments as of `flightllm.runtime.device.Device.run_chunk`. FlightError if they are beyond the package's limits."""
        m = self.manifest
        check_chunk(m, ids, pos, nlog)
        raw = np.asarray(ids, "<i4").view(np.uint8)
        for core in range(m.arch.cores):
            self.memory.write(core * m.arch.channels, m.host.ids_addr, raw)
        for name, value in (("POS", pos), ("NTOK", len(ids)), ("NLOG", nlog), ("MASKEN", int(masken))):
            self._write(name, value)
        self._fed = len(ids)
        self._write("AP_CTRL", cm.START)

    def done(self) -> bool:
        """Whether the run has ended."""
        return bool(self._read("AP_CTRL") & cm.DONE)

    def error(self) -> int:
        """Register ERROR of the run that has ended: 0, or a code in bits 3:0 and the core in bits 9:8."""
        return self._read("ERROR")

    def finish(self, nlog: int, detail: bool = True) -> np.ndarray:
        """End a run that was done without an error.

        Args:
            nlog: as it was given to `begin`.
            detail: read all counters, hundreds of registers, and not the cycles only.

        Returns:
            Logits, float32 [nlog, vocab].
        """
        m = self.manifest
        self._acknowledge()
        self.last = self.counters() if detail else {"cycles": self.cycles()}
        self._write("AP_CTRL", cm.CONTINUE)
        for name, value in (self.last | {"chunks": 1, "tokens": self._fed}).items():
            self.sums[name] = self.sums.get(name, 0) + value
        return gather_logits(m, nlog, lambda k, c, addr, n: self.memory.read(k * m.arch.channels + c, addr, n))

    def cycles(self) -> int:
        """Clock cycles of the run so far, or of the last one."""
        return read64(self.registers, cm.ADDRESS["CYCLES"])

    def counters(self) -> dict[str, int]:
        """Counters of the last run (`flightllm.kernel.status.read_counters`); a kernel made from HLS counts nothing: its cycles are 0."""
        if self.flavour == "hls":
            return {"cycles": self.cycles()}
        return read_counters(self.registers, self.manifest.arch)

    # --- when it goes wrong ----------------------------------------------------------------------------------------
    def failure(self, what: str = "") -> ProgramError:
        """What went wrong, with the state of every unit. what: for a run that did not end; else register ERROR says it."""
        m = self.manifest
        try:
            error = self.error() if not what else 0
            state = "\n".join(self.state())
        except FlightError as silent:
            error, state = 0, f"its registers cannot be read: {silent.what}"
        if not what:
            text = cm.ERRORS.get(error & 15, "unknown")
            what = f"the kernel reports error {error & 15} ({text}) in core {error >> 8 & 3}"
        return ProgramError(what, where=m.name, why=state)

    def state(self) -> list[str]:
        """Lines about every core (`flightllm.kernel.status.state_dump`); a kernel made from HLS tells nothing."""
        if self.flavour == "hls":
            head = f"AP_CTRL {self._read('AP_CTRL'):#x}"
            return [head, "a kernel made from HLS does not tell the state of its units; one made from RTL does"]
        return state_dump(self.registers, self.manifest.arch, self.instruction)

    def instruction(self, pc: int) -> str:
        """Instruction `pc` of the program as text; "" if there is none or the program is damaged."""
        if self._listing is None:
            from flightllm.isa import decode_program

            try:
                self._listing = [repr(i) for i in decode_program(bytes(self.package.program))]
            except FlightError:
                self._listing = []
        return self._listing[pc] if pc < len(self._listing) else ""

    def recover(self, pause: Callable[[float], None] = sleep) -> bool:
        """Make the kernel ready for the next run after an error, or in the middle of a run. Memory stays as it is.

        pause: waits so many seconds.

        Returns:
            Whether it worked; if not, the card has to be programmed again.
        """
        self._write("SOFT_RESET", 1)
        pause(RESET_S)
        running = not self._read("AP_CTRL") & (cm.DONE | cm.IDLE)
        # cores that were reset do nothing, so the watchdog ends the run that they were in
        self._write("WATCHDOG", 64 if running else self.watchdog)
        self._write("SOFT_RESET", 0)
        end = monotonic() + _ANSWER_S
        while running and not self.done():
            if monotonic() > end:
                return False
            pause(RESET_S)
        self._write("WATCHDOG", self.watchdog)
        self._acknowledge()
        self._write("AP_CTRL", cm.CONTINUE)
        return is_idle(self.registers)

    def _acknowledge(self) -> None:
        if self.interrupts:
            self._write("ISR", self._read("ISR"))

    def _read(self, name: str) -> int:
        return self.registers.read(cm.ADDRESS[name])

    def _write(self, name: str, value: int) -> None:
        self.registers.write(cm.ADDRESS[name], value)
