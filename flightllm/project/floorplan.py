"""Which parts of the kernel go to which super logic region (SLR)."""

from __future__ import annotations

from dataclasses import dataclass

from flightllm.config.arch import ArchConfig
from flightllm.config.board import Board
from flightllm.config.board_build import VersalBuild, VitisBuild
from flightllm.resources import Estimate, estimate
from flightllm.resources.estimate import LIMITED

#: share of an SLR that a part may fill when it is bound to it: the shell lies there too, and a full region does not route
FILL = 0.75


@dataclass(frozen=True)
class Region:
    """Cells bound to one SLR. cells: pattern of their names below the kernel (`?` stands for a bracket). pblock: the platform's, "" if it has none."""

    slr: str
    pblock: str
    cells: tuple[str, ...]
    text: str


def floorplan(board: Board, arch: ArchConfig) -> list[Region]:
    """Regions for the kernel from RTL; none where a device has no SLRs, or is one.

    A core that fits an SLR is bound to one: core 0 where the memory ports are, the others outwards from there. A larger one is left to the placer,
    but for its memory ports, which stay where the memory is; the ports of a network on chip are all over the device.
    """
    build = board.build
    if not isinstance(build, VitisBuild | VersalBuild) or board.slrs < 2:
        return []
    found = estimate(arch)
    home = board.memory.slr
    # the registers and the exchange between cores are small; they stay at the memory ports, which is where the shell is
    common = ("i_control", "i_exchange")
    if not _fits(found, board, arch.cores):
        if isinstance(build, VersalBuild):
            return []
        ports = [
            f"gen_core?{k}?.i_core/gen_channel*.{part}" for k in range(arch.cores) for part in ("i_reader", "i_writer")
        ]
        return [_region(build, home, (*common, *ports), "registers and memory ports; a core is too large for one SLR")]
    order = sorted(range(board.slrs), key=lambda s: (abs(s - home), s))
    regions = []
    cells: tuple[str, ...]
    for core, slr in enumerate(order[: arch.cores]):
        cells, text = (f"gen_core?{core}?.i_core",), f"core {core}"
        if core == 0:
            cells, text = (*common, *cells), "registers, exchange, core 0"
        regions.append(_region(build, slr, cells, text))
    return regions


def kernel_region(board: Board, arch: ArchConfig) -> str:
    """SLR for the whole kernel; "" if it does not fit one, or there is only one.

    Source: UG1393, "Assigning Compute Units to SLRs": a kernel too large for an SLR must not be assigned to one.
    """
    build = board.build
    if not isinstance(build, VitisBuild | VersalBuild) or board.slrs < 2 or not _fits(estimate(arch), board, 1):
        return ""
    return build.slr_names[board.memory.slr]


def _fits(found: Estimate, board: Board, parts: int) -> bool:
    """Whether one of so many equal parts of a config takes no more than `FILL` of an SLR's share of every resource."""
    return all(found.total(name) / parts <= FILL * getattr(board.resources, name) / board.slrs for name in LIMITED)


def _region(build: VitisBuild | VersalBuild, slr: int, cells: tuple[str, ...], text: str) -> Region:
    pblock = build.slr_pblocks[slr] if isinstance(build, VitisBuild) else ""
    return Region(build.slr_names[slr], pblock, cells, text)
