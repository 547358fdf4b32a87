"""The board executor: a package on a card."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from time import monotonic, sleep

import numpy as np

from flightllm.errors import ConfigError, FitError, FlightError, ProgramError
from flightllm.kernel import signature
from flightllm.kernel.parameters import build_digest
from flightllm.kernel.xclbin import Bank, Instance, Xclbin
from flightllm.package import Package
from flightllm.runtime.card import Buffer, Card, open_card, xclbin_path
from flightllm.runtime.driver import (
    Driver,
    Placement,
    channel_bytes,
    check_kernel,
    differences,
    greet,
    is_silent,
    memory_map,
)

#: seconds that a run may take unless told otherwise: a chunk of a 7B model takes a fifth of one
TIMEOUT_S = 10.0
#: seconds between two looks at AP_CTRL; the first ones come at once
_POLL_S = 0.0001
#: buffers begin at multiples of this, as a kernel's bursts must not cross it
PAGE = 4096


class BoardDevice:
    """Executes packages on a card.

    Args:
        xclbin: what the card is programmed with.
        device: number of the card (`flightllm board`).
        timeout: seconds that a run of the program may take.
        report: called with the memory map before anything is written to the card.
        card: an open card; default: card number `device`.

    Attributes:
        placements: the memory map, after `load`. last: counters of the last run.
    """

    def __init__(
        self,
        xclbin: str | os.PathLike[str] | None = None,
        device: int = 0,
        timeout: float = TIMEOUT_S,
        report: Callable[[Sequence[Placement]], None] | None = None,
        card: Card | None = None,
    ) -> None:
        if not timeout > 0:
            raise FlightError(f"a time-out of {timeout} s", do="give --timeout more than 0")
        self.xclbin = Xclbin.read(xclbin_path(xclbin))
        self.device, self.timeout, self.report = device, timeout, report
        self.placements: list[Placement] = []
        self._card = card
        self._driver: Driver | None = None
        self._memory: _CardMemory | None = None
        self._nlog: int | None = None  # of a run that was begun and not ended
        self._lost = False  # the card had to be programmed again, and the cache is empty
        self._doubted = False  # no run has succeeded since the kernel was reset in the middle of one

    @property
    def last(self) -> dict[str, int]:
        """Counters of the last run that are read every time: "cycles"."""
        return self._driver.last if self._driver is not None else {}

    @property
    def driver(self) -> Driver:
        """What drives the kernel; ProgramError before `load`."""
        if self._driver is None:
            raise ProgramError("no package is loaded", do="call load(package) first")
        return self._driver

    def load(self, package: Package) -> None:
        """Program the card, check that its kernel is the package's, place the images in their banks.

        Raises:
            ToolError: there is no card, or it refuses the xclbin. ConfigError: the xclbin is for another config or has not the kernel's ports.
            FitError: a bank is too small. PackageError: damaged package.
        """
        m = package.manifest
        kernel = self.xclbin.kernel(signature.NAME)
        check_facts(self.xclbin, package)  # before the card is touched
        banks = banks_of_ports(self.xclbin, kernel, package)
        if self._card is None:
            self._card = open_card(self.device)
        self._driver = None
        self._card.program(self.xclbin, kernel)
        silent = is_silent(self._card)
        if not silent:
            check_kernel(self._card, m.arch, self.xclbin.facts)
        self._memory = _CardMemory(self._card, banks, channel_bytes(m))
        self.placements = memory_map(m, self._memory, lambda port: banks[port].tag)
        if self.report is not None:
            self.report(self.placements)
        if silent:
            self._greet(self._card, package)
        driver = Driver(self._card, self._memory, package)
        driver.place()
        driver.start(self.xclbin.facts)
        self._driver, self._nlog, self._lost, self._doubted = driver, None, False, False

    def _greet(self, card: Card, package: Package) -> None:
        """Have a kernel made from HLS say what it is before its memory is filled."""
        assert self._memory is not None
        if not greet(card, self._memory, package.manifest.arch, self.timeout):
            raise ProgramError(
                f"the kernel did not end an empty program within {self.timeout:g} s",
                where=str(self.xclbin.path),
                why="it does not say what it was built for before its first run, and it does not run",
                do="give the xclbin of the package's config; see that its platform is the card's (`flightllm board`)",
            )
        check_kernel(card, package.manifest.arch, self.xclbin.facts)

    def reset(self) -> None:
        """Begin a new conversation. The cache needs no clearing: keys past the position are never visible."""
        self._lost = False

    def counters(self) -> dict[str, int]:
        """Chunks, tokens and kernel cycles since `load`, and under "last.NAME" every counter of the last run."""
        driver = self.driver
        last = driver.counters() if driver.last else {}
        return dict(driver.sums) | {f"last.{name}": value for name, value in last.items()}

    def run_chunk(self, ids: list[int], pos: int, nlog: int, masken: bool) -> np.ndarray:
        """Run the program once; see `flightllm.runtime.device.Device`.

        Raises:
            ProgramError: the kernel reports an error or does not end within the time-out; the message has the state of all units, and the
                kernel is ready for the next run.
        """
        driver = self.driver
        if self._lost and pos:
            raise FlightError(
                "the conversation is lost",
                why="the card had to be programmed again after an error, so the KV cache is empty",
                do="begin a new conversation (/reset, or Model.reset in Python)",
            )
        self._settle(driver)
        driver.begin(ids, pos, nlog, masken)
        self._nlog = nlog
        if not self._wait(driver):
            raise self._recover(driver, f"the kernel did not end within {self.timeout:g} s")
        self._nlog = None
        if driver.error():
            raise self._recover(driver, "")
        self._lost = self._doubted = False
        return driver.finish(nlog, detail=False)

    def close(self) -> None:
        """Leave the card to others."""
        if self._card is not None:
            self._card.close()
        self._card = self._driver = self._memory = None

    def _wait(self, driver: Driver) -> bool:
        """To the end of the run; False if it takes too long."""
        end = monotonic() + self.timeout
        looks = 0
        while not driver.done():
            if monotonic() > end:
                return driver.done()
            looks += 1
            if looks > 10:
                sleep(_POLL_S)
        return True

    def _settle(self, driver: Driver) -> None:
        """End a run that somebody left by Ctrl-C."""
        if self._nlog is None:
            return
        if not self._wait(driver) or driver.error():
            self._recover(driver, "a run that was interrupted did not end")
        else:
            driver.finish(0, detail=False)
        self._nlog = None

    def _recover(self, driver: Driver, what: str) -> FlightError:
        """What went wrong; afterwards the kernel is ready for the next run. what: for a run that did not end.

        The card is programmed again if a reset does not help, or did not help the last time.
        """
        failure = driver.failure(what)
        self._nlog = None
        if not driver.recover() or (what and self._doubted):
            self.load(driver.package)
            self._lost = True
        else:
            self._doubted = bool(what)
        return failure


def check_facts(xclbin: Xclbin, package: Package) -> None:
    """What the container says about its config, if it does; ConfigError if the package was compiled for another."""
    if xclbin.facts is None:
        return
    there, wanted = xclbin.facts.arch, package.manifest.arch
    if build_digest(there) != build_digest(wanted):
        raise ConfigError(
            "the xclbin was built for another config",
            where=str(xclbin.path),
            why="; ".join(differences(there, wanted)),
            do="give the xclbin of the package's config, or compile the model for the xclbin's (--arch, --set)",
        )


def banks_of_ports(xclbin: Xclbin, kernel: Instance, package: Package) -> list[Bank]:
    """The memory bank behind each port, after it was checked that the package fits.

    Raises:
        ConfigError: an argument is missing or at another address, a port reaches no memory, or one that is not there.
        FitError: the ports of a bank need more than it has.
    """
    m, where = package.manifest, str(xclbin.path)
    again = "build the xclbin again with the link configuration that `flightllm build` writes"
    there = {a.name: a for a in kernel.arguments}
    need = -(-channel_bytes(m) // PAGE) * PAGE
    by_index = {b.index: b for b in xclbin.banks}
    out: list[Bank] = []
    for argument in signature.arguments(m.arch):
        found = there.get(argument.name)
        if found is None or found.address != argument.address:
            why = "it is missing" if found is None else f"it is at {found.address:#x}, not {argument.address:#x}"
            raise ConfigError(
                f"argument {argument.name} of the kernel is not the package's",
                where=where,
                why=why,
                do="give the xclbin of the package's config, built with this version of flightllm",
            )
        if not argument.port:
            continue
        banks = [by_index[i] for i in kernel.banks.get(found.index, ()) if i in by_index]
        if not banks:
            raise ConfigError(
                f"port {argument.port} of the kernel reaches no memory",
                where=where,
                why=f"the xclbin connects argument {argument.name} to nothing",
                do=again,
            )
        bank = banks[-1]  # as pynq and XRT choose, where a port reaches several
        if not bank.used or not bank.size:
            raise ConfigError(
                f"port {argument.port} of the kernel is connected to a memory that is not there",
                where=where,
                why=f"{bank.tag} is marked as unused or has no size",
                do=again,
            )
        out.append(bank)
        share = [port for port, b in enumerate(out) if b.index == bank.index]
        if len(share) * need > bank.size:
            names = ", ".join(signature.memory_port(p) for p in share)
            raise FitError(
                "the package does not fit the card's memory",
                where=f"{bank.tag}, behind {names}",
                why=f"{len(share)} x {need:,} bytes are needed, it has {bank.size:,}",
                do="compile with a shorter --max-context or fewer --weights bits, or for more channels",
                parameter="channel_bytes",
            )
    return out


class _CardMemory:
    """A buffer per port, in the port's bank."""

    def __init__(self, card: Card, banks: Sequence[Bank], size: int) -> None:
        size = -(-size // PAGE) * PAGE
        self._buffers: list[Buffer] = []
        for port, bank in enumerate(banks):
            where = f"{bank.tag}, behind {signature.memory_port(port)}"
            try:
                buffer = card.allocate(bank, size)
            except MemoryError as error:
                raise FitError(
                    "the card has no room for the package",
                    where=where,
                    why=f"{size:,} bytes of {bank.size:,} are needed: {error}",
                    do="end other programs that use the card; `flightllm board --xclbin` shows the banks",
                ) from error
            if not bank.base <= buffer.address <= bank.base + bank.size - size:
                raise ConfigError(
                    "the card's memory is not where the xclbin says",
                    where=where,
                    why=f"the buffer is at {buffer.address:#x}, the bank has {bank.size:#x} bytes from {bank.base:#x}",
                    do="see that the xclbin was built for this card's platform (`flightllm board`)",
                )
            if buffer.address % PAGE:
                why = f"the buffer is at {buffer.address:#x}, bursts must not cross {PAGE} bytes"
                raise ConfigError("the card's memory is not aligned", where=where, why=why, do="update XRT")
            self._buffers.append(buffer)

    def address(self, port: int, /) -> int:
        return self._buffers[port].address

    def write(self, port: int, offset: int, data: np.ndarray, /) -> None:
        self._buffers[port].write(offset, data)

    def read(self, port: int, offset: int, count: int, /) -> np.ndarray:
        return self._buffers[port].read(offset, count)


def map_lines(placements: Sequence[Placement]) -> list[str]:
    """The memory map as text: a line per port, then the regions that all ports have."""
    lines = [f"  {signature.memory_port(p.port):12} {p.bank:10} {p.address:#14x}  {p.size:,} bytes" for p in placements]
    return ["memory map: port, bank, address, size", *lines]
