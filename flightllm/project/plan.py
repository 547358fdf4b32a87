"""What is to be built, checked: board, config, flavour of the kernel, and where each port goes."""

from __future__ import annotations

from dataclasses import dataclass

from flightllm.config.arch import ArchConfig
from flightllm.config.board import Board
from flightllm.config.board_build import Build, VitisBuild, ZynqBuild
from flightllm.errors import ConfigError, FitError
from flightllm.kernel import signature
from flightllm.kernel.control_map import FLAVOURS
from flightllm.project.floorplan import Region, floorplan, kernel_region
from flightllm.resources import check_fit

#: name of the kernel's one instance
UNIT = f"{signature.NAME}_1"
#: vendor, library, name and version of the kernel's IP, whatever it is made from
VLNV = f"flightllm:kernel:{signature.NAME}:1.0"
#: flow -> suffix of what the board is programmed with
IMAGES = {"vitis": "xclbin", "versal": "pdi", "zynq": "bit"}

#: share of a device's logic, by estimate, from which a warning says so
ROOM = 0.9


@dataclass(frozen=True)
class Place:
    """Where one AXI port of the kernel goes. tag: in the words of the flow. address: of the memory there, as the port sees it; None: the host allocates it.

    bases: if the port is split over several of the board's, of each one's part of the memory, as the processors see it.
    """

    port: int
    tag: str
    address: int | None = None
    bases: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plan:
    """One build. flavour: "rtl" or "hls". regions: of the floorplan. unit_region: the kernel as a whole; "" if it is too large for one."""

    board: Board
    build: Build
    arch: ArchConfig
    flavour: str
    places: tuple[Place, ...]
    regions: tuple[Region, ...]
    unit_region: str
    warnings: tuple[str, ...]

    @property
    def image(self) -> str:
        """File that the board is programmed with."""
        return f"{signature.NAME}.{IMAGES[self.board.flow]}"

    @property
    def parts(self) -> int:
        """AXI ports of the board side by side for one of the kernel; more than 1: the host stores each beat in so many parts."""
        return parts_of(self.build, self.arch)

    @property
    def range_bits(self) -> int:
        """Bits of the range of addresses behind a port of the kernel: its memory may fill it, or not."""
        return (self.board.memory.channel_bytes - 1).bit_length()

    def relative(self, place: Place) -> tuple[int, ...]:
        """Bases of a port's parts as `axi_parts` wants them: to be added to the address at which the port sees its memory."""
        return tuple(base - (place.address or 0) for base in place.bases)

    @property
    def wrappers(self) -> dict[tuple[int, ...], str]:
        """Bases -> name of the wrapper of `axi_parts` that has them; ports with the same ones share it. Nothing if no port is split."""
        found = dict.fromkeys(self.relative(place) for place in self.places if place.bases)
        return {bases: f"axi_parts{i}_ip" for i, bases in enumerate(found)}


def parts_of(build: Build, arch: ArchConfig) -> int:
    """Ports of the board for one of the kernel: all that a channel has if one is too narrow."""
    if isinstance(build, VitisBuild) or arch.port_bits <= build.port_bits:
        return 1
    return build.ports_per_channel


def make_plan(board: Board, arch: ArchConfig, flavour: str = "rtl") -> Plan:
    """The plan of a build.

    Raises:
        ConfigError: the board has no tool flow, or it does not take the config's ports. FitError: the config does not fit the board.
    """
    if flavour not in FLAVOURS:
        raise ConfigError(f"there is no kernel {flavour!r}", do=f"take one of {', '.join(FLAVOURS)}")
    if board.build is None:
        raise ConfigError(
            f"nothing can be built for {board.name}",
            where=board.title,
            why='its board file says flow = "none": it exists in simulation only',
            do="take another board (`flightllm boards`), or write a board file with a flow",
        )
    signature.arguments(arch)  # ConfigError if the register map has no room
    rows = check_fit(board, arch)
    _check_width(board.build, arch, board.name)
    tight = [r for r in rows if r.need > (ROOM if r.estimate else 1) * r.have]
    warnings = [f"{r.resource}: needs {r.need:,.0f}, {board.name} has {r.have:,.0f}" for r in tight]
    if tight:
        warnings.append(
            "a platform takes its part as well, and a full device is hard to route: begin with fewer VPUs (--set vpus=8)"
        )
    if flavour == "hls":
        warnings.append(
            "these are figures of the RTL; a kernel from HLS takes more, how much only its synthesis tells (docs/hls.md)"
        )
    return Plan(
        board=board,
        build=board.build,
        arch=arch,
        flavour=flavour,
        places=tuple(_places(board, board.build, arch)),
        regions=tuple(floorplan(board, arch)) if flavour == "rtl" else (),
        unit_region=kernel_region(board, arch),
        warnings=tuple(warnings),
    )


def _check_width(build: Build, arch: ArchConfig, name: str) -> None:
    """Whether the board's ports are as wide as the config's. FitError if they are not."""
    if isinstance(build, VitisBuild):
        return  # the platform's interconnect converts any width
    side_by_side = build.ports_per_channel
    if arch.port_bits <= build.port_bits or arch.port_bits == side_by_side * build.port_bits:
        return
    ports = (
        f"{side_by_side} ports of {build.port_bits} bits" if side_by_side > 1 else f"a port of {build.port_bits} bits"
    )
    together = f"{side_by_side * build.port_bits}, or to " if side_by_side > 1 else ""
    raise FitError(
        f"ports of {arch.port_bits} bits do not fit {name}",
        why=f"it has {ports} for a memory channel",
        do=f"set port_bits to {together}{build.port_bits} or less",
        parameter="port_bits",
    )


def _places(board: Board, build: Build, arch: ArchConfig) -> list[Place]:
    ports, parts = range(signature.ports(arch)), parts_of(build, arch)
    if isinstance(build, VitisBuild):
        return [Place(p, f"{build.memory_tag}[{p}]") for p in ports]
    if isinstance(build, ZynqBuild):
        names = [f"S_AXI_{name}_FPD" for name in build.memory_ports]
        first = [p * build.ports_per_channel for p in ports]
        if parts == 1:
            return [Place(p, names[first[p]]) for p in ports]
        # a memory that exists for its port only: it may lie at 0
        return [
            Place(p, "+".join(names[i : i + parts]), 0, build.part_addresses[i : i + parts])
            for p, i in enumerate(first)
        ]
    size = board.memory.channel_bytes
    places = []
    for p in ports:
        address = build.hbm_address + p * size
        bases = tuple(address + h * size // parts for h in range(parts)) if parts > 1 else ()
        places.append(Place(p, f"HBM{p // 2}_PC{p % 2}", address, bases))
    return places
