"""What a board file says for `flightllm build`, its table [build]: one record for each tool flow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields

#: what names in generated Tcl, make and configuration files are made of
_PLAIN = re.compile(r"[\w.:*+ -]*")


@dataclass(frozen=True)
class VitisBuild:
    """An accelerator card with a Vitis platform: v++ links the kernel to it."""

    #: version of Vitis, and of the Vivado in it, that the project is written for
    tools: str
    #: tag of the memory in `sp=` lines; channel c is `TAG[c]`
    memory_tag: str
    #: super logic regions, from 0 on
    slr_names: tuple[str, ...]
    #: pblocks of the platform's dynamic region, one for each of them; where the platform has none, the floorplan makes its own
    slr_pblocks: tuple[str, ...]


@dataclass(frozen=True)
class VersalBuild:
    """A Versal device with HBM behind the network on chip: a block design in Vivado."""

    tools: str
    #: as Vivado's board store names it
    board_part: str
    slr_names: tuple[str, ...]
    #: HBM ports of the network side by side on one pseudo-channel, and bits of each
    ports_per_channel: int
    port_bits: int
    #: address of pseudo-channel 0; the others follow it
    hbm_address: int
    #: memory clock and its reference
    hbm_mhz: float
    hbm_reference_mhz: float
    #: memory of the processors, as the automation of the block design names it: "DDR" or "LPDDR"
    processor_memory: str
    #: address at which the processors see the kernel's registers
    control_address: int


@dataclass(frozen=True)
class ZynqBuild:
    """A Zynq UltraScale+ device: a block design in Vivado around its processor system."""

    tools: str
    board_part: str
    #: connections of the module to its carrier card; "" if there is none
    board_connections: str
    #: memory ports as the processor system names them (`S_AXI_<port>_FPD`), in the order of the channels
    memory_ports: tuple[str, ...]
    #: the same ports in its parameters (`PSU__USE__S_AXI_<slot>`)
    memory_slots: tuple[str, ...]
    #: widest data of a memory port
    port_bits: int
    #: address segments behind a memory port (`<port>_<segment>`)
    memory_segments: tuple[str, ...]
    #: master port to the registers, and its slot (`PSU__USE__M_AXI_<slot>`)
    control_port: str
    control_slot: str
    control_address: int


Build = VitisBuild | VersalBuild | ZynqBuild
#: tool flow -> its record; a flow without one builds nothing
KINDS: dict[str, type[Build]] = {"vitis": VitisBuild, "versal": VersalBuild, "zynq": ZynqBuild}


def problems(build: Build, slrs: int, channels: int, channel_bytes: int) -> Iterator[tuple[bool, str, str]]:
    """(bad, what, rule) of everything that a board file may get wrong in the table."""
    for field in fields(build):
        value = getattr(build, field.name)
        for text in value if isinstance(value, tuple) else (value,):
            bad = isinstance(text, str) and not _PLAIN.fullmatch(text)
            yield bad, f"build.{field.name} = {text!r}", "made of letters, digits and _ . : * + - only"
    yield build.tools == "", "build.tools", "the version of the vendor's tools"
    if isinstance(build, VitisBuild | VersalBuild):
        yield len(build.slr_names) != slrs, "build.slr_names", f"{slrs} names, as slrs says"
    if isinstance(build, VitisBuild):
        yield len(build.slr_pblocks) != slrs, "build.slr_pblocks", f"{slrs} names, as slrs says"
    if isinstance(build, VersalBuild):
        yield build.ports_per_channel not in (1, 2), "build.ports_per_channel", "1 or 2"
        yield build.processor_memory not in ("DDR", "LPDDR"), "build.processor_memory", "DDR or LPDDR"
        yield channel_bytes & (channel_bytes - 1) != 0, "memory.channel_bytes", "a power of two in this flow"
        aligned = channel_bytes == 0 or build.hbm_address % channel_bytes == 0
        yield not aligned, "build.hbm_address", "a multiple of memory.channel_bytes"
    if isinstance(build, ZynqBuild):
        yield len(build.memory_ports) != channels, "build.memory_ports", f"{channels} names, as memory.channels says"
        yield len(build.memory_slots) != channels, "build.memory_slots", f"{channels} names, as memory.channels says"
        yield not build.memory_segments, "build.memory_segments", "one name at least"
