"""What an xclbin holds and what a card answers, beside what a package needs: `flightllm board`."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flightllm.config.arch import ArchConfig
from flightllm.errors import FlightError
from flightllm.kernel import control_map as cm
from flightllm.kernel import signature
from flightllm.kernel.parameters import build_digest
from flightllm.kernel.registers import read64
from flightllm.kernel.xclbin import Bank, Xclbin
from flightllm.package import Package
from flightllm.runtime.board import banks_of_ports, check_facts
from flightllm.runtime.card import Card, open_card
from flightllm.runtime.driver import IN_BUILD, channel_bytes, check_kernel, is_idle, is_silent


@dataclass(frozen=True)
class Answer:
    """What the kernel on a card says about itself: its registers. idle: it waits for a run. One made from HLS says nothing before its first run: flavour "", digest ""."""

    flavour: str
    build: dict[str, int]
    digest: str
    idle: bool


@dataclass
class Probe:
    """An xclbin, and a card that was programmed with it.

    ports: name of the AXI port -> bank that it reaches, None for none. arch: what it was built for, if it says so. answer: of the card, if it
    was asked. needs: bytes that the package needs behind each port. problem: why the package cannot run on it, None if it can or none was
    given.
    """

    path: str
    platform: str
    kernel: str
    ports: dict[str, Bank | None]
    arch: ArchConfig | None = None
    answer: Answer | None = None
    package: str = ""
    needs: int = 0
    problem: FlightError | None = None

    @property
    def matches(self) -> bool | None:
        """Whether the package can run on it; None without one."""
        return None if not self.package else self.problem is None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "xclbin": self.path,
            "platform": self.platform,
            "kernel": self.kernel,
            "ports": {name: None if bank is None else asdict(bank) for name, bank in self.ports.items()},
            "arch": None if self.arch is None else self.arch.to_dict(),
            "answer": None if self.answer is None else asdict(self.answer),
            "package": self.package,
            "bytes_needed": self.needs,
            "matches": self.matches,
            "problem": None if self.problem is None else self.problem.to_json(),
        }

    def render(self) -> str:
        """As text."""
        lines = [f"{self.path}: kernel {self.kernel}, for platform {self.platform}"]
        if self.arch is None:
            lines.append("config: the xclbin does not say; ask the card with --probe")
        else:
            a = self.arch
            lines.append(
                f"config: {a.cores} x {a.channels} channels, {a.vpus_text}, {a.lanes} lanes, {a.clock_mhz:g} MHz, "
                f"digest {build_digest(a):016x}"
            )
        lines.append("memory: port, bank, address, size")
        for name, bank in self.ports.items():
            place = "connected to nothing" if bank is None else f"{bank.tag:10} {bank.base:#14x}  {bank.size:,} bytes"
            lines.append(f"  {name:12} {place}")
        if self.answer is not None:
            state = "idle" if self.answer.idle else "not idle"
            built = ", ".join(f"{value} {name}" for name, value in self.answer.build.items())
            tells = f"{built}; digest {self.answer.digest}, made from {self.answer.flavour}"
            if not self.answer.flavour:
                tells = "the kernel says nothing before its first run, as one made from HLS does"
            lines.append(f"card: {tells}, {state}")
        if self.package:
            head = f"package {self.package}, {self.needs:,} bytes behind each port: "
            lines.append(head + ("runs on it" if self.problem is None else f"does not run on it\n{self.problem}"))
        return "\n".join(lines)


def probe(
    xclbin: str | os.PathLike[str],
    package: str | os.PathLike[str] | Package | None = None,
    device: int | None = None,
    card: Card | None = None,
) -> Probe:
    """Look into an xclbin, and with `device` or `card` program a card with it and ask its kernel: `flightllm board --xclbin`.

    Args:
        xclbin: the file.
        package: what should run on it: a folder, or an open `Package`.
        device: number of the card (`find_cards`).
        card: an open card, instead.

    Raises:
        ConfigError: it is no xclbin, or has no kernel of ours. ToolError: there is no such card, or it refuses the xclbin.
        PackageError: not a package.
    """
    if package is not None and not isinstance(package, Package):
        package = Package.open(package)
    container = Xclbin.read(Path(xclbin))
    kernel = container.kernel(signature.NAME)
    by_index = {b.index: b for b in container.banks}
    ports = {
        a.port: next((by_index[i] for i in kernel.banks.get(a.index, ())[-1:] if i in by_index), None)
        for a in kernel.arguments
        if a.port
    }
    arch = None if container.facts is None else container.facts.arch
    out = Probe(str(xclbin), container.platform, f"{kernel.kernel}:{kernel.name}", ports, arch)
    if package is not None:
        out.package, out.needs = package.manifest.name, channel_bytes(package.manifest)
        try:
            check_facts(container, package)
            banks_of_ports(container, kernel, package)
        except FlightError as error:
            out.problem = error
    if device is not None or card is not None:
        card = card or open_card(device or 0)
        card.program(container, kernel)
        out.answer = _ask(card)
        if package is not None and out.problem is None and out.answer.flavour:
            try:
                check_kernel(card, package.manifest.arch, container.facts)
            except FlightError as error:
                out.problem = error
        card.close()
    return out


def _ask(card: Card) -> Answer:
    if is_silent(card):
        return Answer("", {}, "", is_idle(card))
    build = card.read(cm.ADDRESS["BUILD"])
    flavour = card.read(cm.ADDRESS["FLAVOUR"])
    return Answer(
        cm.FLAVOURS[flavour] if flavour < len(cm.FLAVOURS) else f"unknown ({flavour:#x})",
        {name.lower(): build >> (8 * i) & 255 for i, name in enumerate(IN_BUILD)},
        f"{read64(card, cm.ADDRESS['DIGEST']):016x}",
        is_idle(card),
    )
