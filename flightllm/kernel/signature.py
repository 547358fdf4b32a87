"""Arguments and ports of the Vitis kernel: what kernel.xml, the RTL wrapper, the HLS top and a host's driver are made from.

Kernels from RTL and from HLS have the same signature, so one host program and one link configuration serve both.
"""

from __future__ import annotations

from dataclasses import dataclass

from flightllm.config.arch import ArchConfig
from flightllm.kernel import control_map as cm

#: name of the kernel, and of the top module or function that a tool sees
NAME = "flightllm"
#: the AXI4-Lite slave, as Vitis HLS names it
CONTROL_PORT = "s_axi_control"
#: bytes of the slave's address space
CONTROL_BYTES = 1 << 16


@dataclass(frozen=True)
class Argument:
    """One argument. address: of its register. bits: 32 or 64. output: the kernel writes it and the host reads the register.

    port: the AXI4 master that the memory at the address is reached through; "" for a scalar.
    """

    name: str
    address: int
    bits: int
    text: str
    output: bool = False
    port: str = ""

    @property
    def ctype(self) -> str:
        """Type in C, as kernel.xml states it; one that hosts know (pynq takes no uint32_t)."""
        return "void*" if self.port else {32: "unsigned int", 64: "unsigned long"}[self.bits]


def ports(arch: ArchConfig) -> int:
    """AXI4 masters: one for each channel of each core, number core * channels + channel."""
    return arch.cores * arch.channels


def memory_port(port: int) -> str:
    """Name of AXI4 master `port`, as Vitis HLS makes it from the bundle `gmem<port>`."""
    return f"m_axi_gmem{port}"


def arguments(arch: ArchConfig) -> list[Argument]:
    """All arguments in order: scalars, outputs, then one memory per port.

    Raises:
        ConfigError: the register map has no room for the ports.
    """
    cm.check_ports(arch)
    out = [Argument(r.name.lower(), r.address, r.bits, r.text, r.access == "r") for r in cm.ARGUMENTS]
    for port in range(ports(arch)):
        core, channel = divmod(port, arch.channels)
        text = f"memory of channel {channel} of core {core}"
        out.append(Argument(f"mem{port}", cm.base_address(port), 64, text, port=memory_port(port)))
    return out
