"""What a board file says for `flightllm build`, its table [build]: one record for each tool flow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields

#: what names in generated Tcl, make and configuration files are made of
_PLAIN = re.compile(r"[\w.:*+ -]*")
#: bursts cross no multiple of it
PAGE = 4096


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
    #: memory ports side by side on one channel; those of channel c are c * ports_per_channel and up
    ports_per_channel: int
    #: memory ports as the processor system names them (`S_AXI_<port>_FPD`), in the order of the channels
    memory_ports: tuple[str, ...]
    #: the same ports in its parameters (`PSU__USE__S_AXI_<slot>`)
    memory_slots: tuple[str, ...]
    #: widest data of a memory port
    port_bits: int
    #: address segments behind a memory port (`<port>_<segment>`), where each begins, and its bytes
    memory_segments: tuple[str, ...]
    segment_addresses: tuple[int, ...]
    segment_bytes: tuple[int, ...]
    #: with several ports on a channel: where the memory of each begins, in the order of the ports; all have the same size
    part_addresses: tuple[int, ...]
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
        yield from _zynq_problems(build, channels, channel_bytes)


def _zynq_problems(build: ZynqBuild, channels: int, channel_bytes: int) -> Iterator[tuple[bool, str, str]]:
    parts = build.ports_per_channel
    if parts not in (1, 2, 4):
        yield True, "build.ports_per_channel", "1, 2 or 4"
        return
    count = channels * parts
    rule = f"{count} names: memory.channels x build.ports_per_channel"
    yield len(build.memory_ports) != count, "build.memory_ports", rule
    yield len(build.memory_slots) != count, "build.memory_slots", rule
    segments = len(build.memory_segments)
    yield segments == 0, "build.memory_segments", "one name at least"
    for name in ("segment_addresses", "segment_bytes"):
        yield len(getattr(build, name)) != segments, f"build.{name}", f"{segments} numbers, as memory_segments says"
    if parts == 1:
        yield len(build.part_addresses) != 0, "build.part_addresses", "empty: a channel has one port"
        return
    yield len(build.part_addresses) != count, "build.part_addresses", f"{count} numbers, as memory_ports says"
    yield channel_bytes % (parts * PAGE) != 0, "memory.channel_bytes", f"a multiple of {parts} x {PAGE}"
    size = channel_bytes // parts
    ranges = list(zip(build.segment_addresses, build.segment_bytes, strict=False))
    for h, base in enumerate(build.part_addresses):
        what = f"build.part_addresses[{h}] = {base:#x}"
        yield base % PAGE != 0, what, f"a multiple of {PAGE}"
        inside = any(first <= base and base + size <= first + length for first, length in ranges)
        yield not inside, what, f"{size:,} bytes (memory.channel_bytes / {parts}) inside one segment"
        others = build.part_addresses[:h]
        yield any(abs(base - other) < size for other in others), what, f"{size:,} bytes apart from the others"
