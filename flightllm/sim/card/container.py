"""The xclbin of a simulated card, made from the kernel's signature: what a linker writes about a real one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from flightllm.config.arch import ArchConfig
from flightllm.kernel import signature, xclbin
from flightllm.kernel.facts import KernelFacts
from flightllm.kernel.xclbin import Bank

#: name of the platform
PLATFORM = "flightllm_simulated_card_1"
#: of the kernel, and address of its registers, as linkers like to choose them
INSTANCE, REGISTERS = f"{signature.NAME}_1", 0x1800000


def hbm(count: int, size: int, used: int) -> list[Bank]:
    """Banks HBM[0].. of `size` bytes each at their addresses on a card; the first `used` ones are connected."""
    return [Bank(i, f"HBM[{i}]", i * size, size, i < used) for i in range(count)]


def metadata(arch: ArchConfig) -> str:
    """Section EMBEDDED_METADATA."""
    project = ElementTree.Element("project", name=signature.NAME)
    platform = ElementTree.SubElement(project, "platform", vendor="flightllm", name=PLATFORM)
    core = ElementTree.SubElement(ElementTree.SubElement(platform, "device", name="fpga0"), "core", name="OCL_REGION_0")
    kernel = ElementTree.SubElement(
        core,
        "kernel",
        name=signature.NAME,
        language="ip",
        vlnv=f"flightllm:kernel:{signature.NAME}:1.0",
        hwControlProtocol="ap_ctrl_chain",
    )
    control = {"name": signature.CONTROL_PORT, "mode": "slave", "range": hex(signature.CONTROL_BYTES)}
    ElementTree.SubElement(kernel, "port", control, portType="addressable", dataWidth="32", base="0x0")
    for port in range(signature.ports(arch)):
        master = {"name": signature.memory_port(port), "mode": "master", "range": "0xFFFFFFFFFFFFFFFF"}
        ElementTree.SubElement(
            kernel, "port", master, portType="addressable", dataWidth=str(arch.port_bits), base="0x0"
        )
    for number, argument in enumerate(signature.arguments(arch)):
        size = hex(argument.bits // 8)
        ElementTree.SubElement(
            kernel,
            "arg",
            {
                "name": argument.name,
                "id": str(number),
                "addressQualifier": "1" if argument.port else "0",
                "port": argument.port or signature.CONTROL_PORT,
                "size": size,
                "offset": hex(argument.address),
                "hostOffset": "0x0",
                "hostSize": size,
                "type": argument.ctype,
            },
        )
    instance = ElementTree.SubElement(kernel, "instance", name=INSTANCE)
    ElementTree.SubElement(instance, "addrRemap", base=hex(REGISTERS), port=signature.CONTROL_PORT)
    return ElementTree.tostring(project, encoding="unicode")


def make_xclbin(
    path: Path,
    arch: ArchConfig,
    bank_bytes: int | None = None,
    banks: int = 32,
    wires: Mapping[int, int | None] | None = None,
    tells: bool = True,
) -> Path:
    """Write a container for a simulated card.

    Args:
        path: file to write.
        arch: config of its kernel.
        bank_bytes: size of an HBM bank; default: the config's `channel_bytes`, in whole KiB.
        banks: HBM banks of the card.
        wires: port -> number of its bank, or None for none, where it is not the bank of the port's own number.
        tells: the container says what it was built for.

    Returns:
        The path.
    """
    size = bank_bytes or arch.channel_bytes
    arguments = signature.arguments(arch)
    of_port = {port: port for port in range(signature.ports(arch))} | dict(wires or {})
    numbers = [i for i, a in enumerate(arguments) if a.port]
    connections = [(numbers[port], 0, bank) for port, bank in of_port.items() if bank is not None]
    topology = hbm(max(banks, len(numbers)), size, len(numbers))
    text = metadata(arch)
    uuid = hashlib.sha256(repr((text, topology, connections)).encode()).digest()[:16]
    xclbin.write(
        path,
        PLATFORM,
        uuid,
        text,
        [(f"{signature.NAME}:{INSTANCE}", REGISTERS)],
        topology,
        connections,
        KernelFacts(arch) if tells else None,
    )
    return path
