"""`check_program`: no deadlock and no race, for every length and every order that the tokens allow. See docs/checker.md."""

from __future__ import annotations

from dataclasses import dataclass

from flightllm.checker.deadlock import check_run, extreme_settings
from flightllm.checker.order import check_loops, check_races
from flightllm.checker.ranges import DENSE_CONTEXT, operand_bounds
from flightllm.config.arch import ArchConfig
from flightllm.isa.fields import Instruction


@dataclass(frozen=True)
class CheckResult:
    """What was proven. conflicts: pairs of accesses found ordered. runs: settings run for deadlock. proof: how lengths were covered."""

    conflicts: int
    runs: int
    events: int
    proof: str


def check_program(
    instructions: list[Instruction], arch: ArchConfig, *, max_context: int, max_chunk: int
) -> CheckResult:
    """Prove a program, or raise ProgramError naming the instructions that break it."""
    check_loops(instructions)
    bounds = operand_bounds(instructions, max_context, max_chunk, arch.cores)
    conflicts = check_races(instructions, bounds, arch)
    runs = extreme_settings(max_context, max_chunk)
    events = sum(check_run(instructions, regs, arch) for regs in runs)
    covered = "every position" if max_context <= DENSE_CONTEXT else "positions at ends, middle and block borders"
    return CheckResult(conflicts, len(runs), events, f"{covered}, every chunk length")
