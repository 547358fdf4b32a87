"""What the kernel says about itself: state of every unit, counters, the dump in an error message."""

from __future__ import annotations

from collections.abc import Callable

from flightllm.config.arch import ArchConfig
from flightllm.kernel import control_map as cm
from flightllm.kernel.registers import Registers, read64


def read_counters(regs: Registers, arch: ArchConfig) -> dict[str, int]:
    """Counters of the last run.

    Returns:
        "cycles"; per core "core0.M.busy" (cycles; units and events as in docs/registers.md); per channel
        "core0.ch1.read_bytes", "core0.ch1.written_bytes".
    """
    out = {"cycles": read64(regs, cm.ADDRESS["CYCLES"])}
    for core in range(arch.cores):
        for unit in cm.UNITS:
            for event in cm.EVENTS:
                out[f"core{core}.{unit}.{event}"] = read64(regs, cm.counter(core, unit, event))
        for channel in range(arch.channels):
            port = core * arch.channels + channel
            out[f"core{core}.ch{channel}.read_bytes"] = read64(regs, cm.traffic(port, written=False))
            out[f"core{core}.ch{channel}.written_bytes"] = read64(regs, cm.traffic(port, written=True))
    return out


def state_dump(regs: Registers, arch: ArchConfig, listing: Callable[[int], str] = lambda pc: "") -> list[str]:
    """Lines about every core: instruction, units and what they wait for, tokens, rings.

    listing: pc -> text of the instruction there, or "".
    """
    lines = [f"cycles of this run: {read64(regs, cm.ADDRESS['CYCLES']):,}"]
    for core in range(arch.cores):
        pc = regs.read(cm.core_register(core, "PC"))
        state = regs.read(cm.core_register(core, "STATE"))
        text = listing(pc)
        lines.append(f"core {core}: pc {pc}{': ' + text if text else ''}")
        units = []
        for number, unit in enumerate(cm.UNITS):
            bits = state >> (4 * number) & 15
            waits = [event for i, event in enumerate(cm.EVENTS) if i and bits >> i & 1]
            units.append(f"{unit} {'waits for ' + '+'.join(waits) if waits else 'busy' if bits & 1 else 'idle'}")
        lines.append("  units: " + ", ".join(units))
        tokens = []
        for source in cm.UNITS[:4]:
            word = regs.read(cm.core_register(core, f"TOKENS_{source}"))
            tokens += [
                f"{source}->{to} {word >> (8 * i) & 255}" for i, to in enumerate(cm.UNITS[:4]) if word >> (8 * i) & 255
            ]
        lines.append("  tokens: " + (", ".join(tokens) or "none"))
        w_level, k_level = (regs.read(cm.core_register(core, name)) for name in ("W_LEVEL", "K_LEVEL"))
        lines.append(f"  rings: W {8 * w_level} bytes, K {8 * k_level} bytes")
    return lines
