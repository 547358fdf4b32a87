"""What is to be built, checked: board, config, flavour of the kernel, and where each port goes."""

from __future__ import annotations

from dataclasses import dataclass

from flightllm.config.arch import ArchConfig
from flightllm.config.board import Board
from flightllm.config.board_build import Build, VersalBuild, VitisBuild, ZynqBuild
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


@dataclass(frozen=True)
class Place:
    """Where one AXI port of the kernel goes. tag: in the words of the flow. address: of the memory there; None: the host allocates it."""

    port: int
    tag: str
    address: int | None = None


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
    def halves(self) -> int:
        """AXI ports of the board side by side for one of the kernel; more than 1: the host stores each beat in so many parts."""
        build = self.build
        return (
            build.ports_per_channel if isinstance(build, VersalBuild) and self.arch.port_bits > build.port_bits else 1
        )


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
    tight = [r for r in rows if not r.fits]
    warnings = [f"{r.resource}: needs {r.need:,.0f}, {board.name} has {r.have:,.0f}" for r in tight]
    return Plan(
        board=board,
        build=board.build,
        arch=arch,
        flavour=flavour,
        places=tuple(_places(board, board.build, signature.ports(arch))),
        regions=tuple(floorplan(board, arch)) if flavour == "rtl" else (),
        unit_region=kernel_region(board, arch),
        warnings=tuple(warnings),
    )


def _check_width(build: Build, arch: ArchConfig, name: str) -> None:
    """Whether the board's ports are as wide as the config's. FitError if they are not."""
    if isinstance(build, VitisBuild):
        return  # the platform's interconnect converts any width
    side_by_side = build.ports_per_channel if isinstance(build, VersalBuild) else 1
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


def _places(board: Board, build: Build, ports: int) -> list[Place]:
    if isinstance(build, VitisBuild):
        return [Place(p, f"{build.memory_tag}[{p}]") for p in range(ports)]
    if isinstance(build, ZynqBuild):
        return [Place(p, f"S_AXI_{build.memory_ports[p]}_FPD") for p in range(ports)]
    size = board.memory.channel_bytes
    return [Place(p, f"HBM{p // 2}_PC{p % 2}", build.hbm_address + p * size) for p in range(ports)]
