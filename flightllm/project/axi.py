"""Signals of the kernel's AXI ports, and what they hang on in `flightllm_top` (docs/rtl.md, "Top ports")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Signal:
    """A signal of a manager port. output: the manager drives it. constant: Verilog value that the wrapper drives; "" if the RTL does."""

    name: str
    bits: int
    output: bool
    constant: str = ""

    @property
    def rtl(self) -> str:
        """Suffix of the port of a module of rtl/."""
        return f"{self.name}_{'o' if self.output else 'i'}"


def memory_signals(data_bits: int, id_bits: int = 4) -> list[Signal]:
    """An AXI4 port to memory. Bursts increment and are as wide as the port.

    AxCACHE 0011 (modifiable, bufferable) is what the network on chip wants of INCR bursts (PG313, "AXI Considerations"), and what interconnects need to
    convert widths.
    """
    size = (data_bits // 8).bit_length() - 1
    constants = (
        ("size", 3, f"3'd{size}"),
        ("burst", 2, "2'b01"),
        ("lock", 1, "1'b0"),
        ("cache", 4, "4'b0011"),
        ("prot", 3, "3'b000"),
        ("qos", 4, "4'b0000"),
    )
    out = []
    for kind in ("ar", "aw"):
        out += [Signal(f"{kind}valid", 1, True), Signal(f"{kind}ready", 1, False)]
        out += [Signal(f"{kind}addr", 64, True), Signal(f"{kind}len", 8, True), Signal(f"{kind}id", id_bits, True)]
        out += [Signal(f"{kind}{name}", bits, True, constant) for name, bits, constant in constants]
    out += [Signal("rvalid", 1, False), Signal("rready", 1, True), Signal("rdata", data_bits, False)]
    out += [Signal("rid", id_bits, False), Signal("rresp", 2, False), Signal("rlast", 1, False)]
    out += [Signal("wvalid", 1, True), Signal("wready", 1, False), Signal("wdata", data_bits, True)]
    out += [Signal("wstrb", data_bits // 8, True), Signal("wlast", 1, True)]
    out += [Signal("bvalid", 1, False), Signal("bready", 1, True), Signal("bid", id_bits, False)]
    return [*out, Signal("bresp", 2, False)]


def control_signals() -> Sequence[Signal]:
    """The AXI4-Lite port to the registers, from its manager's side."""
    return (
        Signal("awvalid", 1, True),
        Signal("awready", 1, False),
        Signal("awaddr", 16, True),
        Signal("wvalid", 1, True),
        Signal("wready", 1, False),
        Signal("wdata", 32, True),
        Signal("wstrb", 4, True),
        Signal("bvalid", 1, False),
        Signal("bready", 1, True),
        Signal("bresp", 2, False),
        Signal("arvalid", 1, True),
        Signal("arready", 1, False),
        Signal("araddr", 16, True),
        Signal("rvalid", 1, False),
        Signal("rready", 1, True),
        Signal("rdata", 32, False),
        Signal("rresp", 2, False),
    )
