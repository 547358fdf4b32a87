"""The register map of the kernel, declared once: hosts, the simulator, the RTL and docs/registers.md take it from here.

`python -m flightllm.kernel.control_map` writes the generated files, `--check` compares (exit code 1 if one is not current).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from flightllm.config.arch import ArchConfig
from flightllm.config.templates import environment, write_or_check
from flightllm.errors import ConfigError

#: template -> generated file, both relative to the repository
OUTPUTS = {
    "flightllm_control_pkg.sv.j2": "rtl/flightllm_control_pkg.sv",
    "registers.md.j2": "docs/registers.md",
}


@dataclass(frozen=True)
class Register:
    """One register. address: bytes. bits: 32 or 64 (low word first). access: "rw" or "r". reset: value after reset."""

    name: str
    address: int
    access: str
    text: str
    bits: int = 32
    reset: int = 0

    @property
    def sv(self) -> str:
        """Name in SystemVerilog."""
        return "Addr" + self.name.title().replace("_", "")


#: bits of AP_CTRL
START, DONE, IDLE, READY, CONTINUE = 1, 2, 4, 8, 16

_FIXED = (
    Register(
        "AP_CTRL",
        0x00,
        "rw",
        "bit 0 start (write 1; reads 1 until the run ends), 1 done (until continue), 2 idle, 3 ready (as done), 4 continue (write 1)",
    ),
    Register("GIE", 0x04, "rw", "bit 0: interrupts are enabled"),
    Register("IER", 0x08, "rw", "bit 0: interrupt at done, bit 1: at ready"),
    Register("ISR", 0x0C, "rw", "bits 0 and 1: it happened while enabled; writing 1 toggles"),
)
#: arguments of the kernel in their order; their addresses follow from it
_IN_ORDER = (
    Register("POS", 0, "rw", "position of the chunk's first token"),
    Register("NTOK", 0, "rw", "tokens in the chunk"),
    Register("NLOG", 0, "rw", "logits wanted, for the last NLOG tokens"),
    Register("MASKEN", 0, "rw", "1: attention block masks apply"),
    Register("PROGRAM", 0, "rw", "byte offset of the program on channel 0 of each core, a multiple of 64", 64),
    Register("INSTRUCTIONS", 0, "rw", "instructions of the program, 64 bytes each"),
    Register("WATCHDOG", 0, "rw", "cycles without an event in any unit that are error 5; 0: never", reset=1 << 20),
    Register("SOFT_RESET", 0, "rw", "bit 0: holds the cores in reset; to leave an error, set it, wait, clear it"),
    Register("ERROR", 0, "r", "bits 3:0: error of the last run (0 none), bits 9:8: core that reported it"),
    Register("BUILD", 0, "r", "bits 7:0 cores, 15:8 channels of a core, 23:16 VPUs of an MPU, 31:24 fp32 lanes"),
    Register("FLAVOUR", 0, "r", "0: the kernel was made from RTL; 1: from HLS, without the state and counters below"),
    Register(
        "DIGEST", 0, "r", "names all parameters that the kernel was built for (`flightllm.kernel.parameters`)", 64
    ),
    Register("CYCLES", 0, "r", "cycles of the run so far, or of the last one", 64),
)
#: values of FLAVOUR
FLAVOURS = ("rtl", "hls")


def after(address: int, bits: int, output: bool = False) -> int:
    """Address of the argument behind one at `address`, by the rule of Vitis HLS: the Vitis kernel flow chooses offsets itself.

    An input has its words and one more (UG1399, "S_AXILITE Offset Option"). An output has a word for ap_vld behind its words, and then as
    much again: by headers (`x*_hw.h`) that Vitis HLS 2022 to 2024 generated; Vivado HLS left it out.
    """
    words = bits // 32 + 1
    return address + 4 * (2 * words if output else words)


def _allocate(arguments: tuple[Register, ...], first: int) -> tuple[tuple[Register, ...], int]:
    """The arguments at their addresses, and the address behind them."""
    out, address = [], first
    for register in arguments:
        out.append(replace(register, address=address))
        address = after(address, register.bits, register.access == "r")
    return tuple(out), address


ARGUMENTS, BASE = _allocate(_IN_ORDER, 0x10)
REGISTERS = _FIXED + ARGUMENTS

#: code -> meaning, and its name in SystemVerilog
ERRORS = {
    1: "illegal instruction",
    2: "AXI read error",
    3: "AXI write error",
    4: "token id outside the table",
    5: "watchdog: no unit did anything",
    6: "HALT with tokens or ring contents left",
    7: "access beyond the end of the vector buffer",
}
ERROR_NAMES = ("Illegal", "Read", "Write", "TokenId", "Watchdog", "Halt", "Buffer")

#: base addresses, behind the other arguments: 64 bits for channel number core * channels + channel
BASE_STRIDE, MAX_PORTS = after(0, 64), 120
#: state of a core
CORE, CORE_STRIDE = 0x800, 0x100
CORE_REGISTERS = (
    Register("PC", 0x00, "r", "instruction at which the sequencer is"),
    Register("STATE", 0x04, "r", "four bits per unit (L in 3:0, then M, S, T, W, Q): the events below, now"),
    Register("W_LEVEL", 0x08, "r", "8-byte words in the W ring, of the fullest channel"),
    Register("K_LEVEL", 0x0C, "r", "8-byte words in the K ring, of the fullest channel"),
    Register("TOKENS_L", 0x10, "r", "tokens from L: a byte each to L, M, S, T"),
    Register("TOKENS_M", 0x14, "r", "tokens from M"),
    Register("TOKENS_S", 0x18, "r", "tokens from S"),
    Register("TOKENS_T", 0x1C, "r", "tokens from T"),
)
#: units in the order of flightllm_isa_pkg::unit_e
UNITS = ("L", "M", "S", "T", "W", "Q")
#: what is counted for each unit, in cycles
EVENTS = {
    "busy": "an instruction is in the unit",
    "token": "busy, and waits for a token",
    "data": "busy, and waits for input: memory answers, ring contents, instructions, other cores",
    "space": "busy, and waits for room: a ring, a queue, a port of a buffer or of memory; Q: also a barrier",
}
#: 64-bit counters of a core: COUNTERS + 32 * unit + 8 * event
COUNTERS = 0x40
#: 64-bit counters of a channel: bytes read, bytes written
TRAFFIC, TRAFFIC_STRIDE = 0x1000, 0x10

ADDRESS = {r.name: r.address for r in REGISTERS}
CORE_ADDRESS = {r.name: r.address for r in CORE_REGISTERS}


def base_address(port: int) -> int:
    """Register with the base address of channel number `port`."""
    return BASE + BASE_STRIDE * port


def core_register(core: int, name: str) -> int:
    """Address of a state register of a core."""
    return CORE + CORE_STRIDE * core + CORE_ADDRESS[name]


def counter(core: int, unit: str, event: str) -> int:
    """Address of the 64-bit count of `event` in `unit`."""
    return CORE + CORE_STRIDE * core + COUNTERS + 32 * UNITS.index(unit) + 8 * list(EVENTS).index(event)


def traffic(port: int, written: bool) -> int:
    """Address of the 64-bit count of bytes read from (or written to) channel number `port`."""
    return TRAFFIC + TRAFFIC_STRIDE * port + 8 * written


def check_ports(arch: ArchConfig) -> None:
    """The map has room for the channels of all cores; ConfigError if it has not."""
    ports = arch.cores * arch.channels
    if ports > MAX_PORTS:
        why = f"{arch.cores} cores with {arch.channels} channels each are {ports}; the register map has room for {MAX_PORTS}"
        raise ConfigError("too many memory channels for the kernel", why=why, do="use fewer cores or channels")


def render(templates: Path) -> dict[str, str]:
    """Generated file (relative path) -> text."""
    env = environment(templates)
    names = "REGISTERS CORE_REGISTERS FLAVOURS ERRORS ERROR_NAMES UNITS EVENTS BASE BASE_STRIDE MAX_PORTS CORE CORE_STRIDE COUNTERS"
    names += " TRAFFIC TRAFFIC_STRIDE"
    values = {name.lower(): globals()[name] for name in names.split()}
    return {output: env.get_template(name).render(values) for name, output in OUTPUTS.items()}


def main(argv: list[str]) -> int:
    """Write or check the files of the checkout this module lies in."""
    root = Path(__file__).resolve().parents[2]
    return write_or_check(root, render(root / "templates"), argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
