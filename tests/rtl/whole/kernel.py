"""Bare programs on the kernel in RTL, without a package around them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from flightllm.config.arch import ArchConfig
from flightllm.isa import encode_program
from flightllm.isa.fields import Instruction
from flightllm.kernel import control_map as cm
from flightllm.kernel.status import read_counters, state_dump
from flightllm.sim.simulator import SimOptions, Simulator, Stop, build_kernel

LIMIT = 20_000_000


@cache
def library(arch: ArchConfig) -> Path:
    """The build of a config; looked for once."""
    return build_kernel(arch)


def run_program(
    arch: ArchConfig,
    program: list[Instruction],
    memory: np.ndarray,
    host: tuple[int, int, int, int] = (0, 1, 0, 0),
    options: SimOptions | None = None,
) -> dict[str, int]:
    """Run to HALT; returns all counters.

    memory: uint8 [cores * channels, bytes], changed in place; the program is written to its beginning on channel 0 of each core. host: POS,
    NTOK, NLOG, MASKEN. AssertionError with the state of all units if the kernel ends in another way than by HALT.
    """
    code = np.frombuffer(encode_program(program), np.uint8)
    memory[:: arch.channels, : code.size] = code
    with Simulator(arch, memory.shape[1], options, library(arch), memory) as sim:
        for port in range(sim.ports):
            sim.write64(cm.base_address(port), int(sim.bases[port]))
        sim.write64(cm.ADDRESS["PROGRAM"], 0)
        registers = dict(zip(("POS", "NTOK", "NLOG", "MASKEN"), host, strict=True))
        registers |= {"INSTRUCTIONS": len(program), "WATCHDOG": 100_000, "GIE": 1, "IER": 1, "AP_CTRL": cm.START}
        for name, value in registers.items():
            sim.write(cm.ADDRESS[name], value)
        stop = sim.run(LIMIT)
        error = sim.read(cm.ADDRESS["ERROR"]) if stop is Stop.INTERRUPT else 0
        if error or stop is not Stop.INTERRUPT:
            dump = "\n".join(state_dump(sim, arch, lambda pc: repr(program[pc]) if pc < len(program) else ""))
            raise AssertionError(f"the kernel ended by {stop.name} {sim.message}, error {error:#x}\n{dump}")
        return read_counters(sim, arch)
