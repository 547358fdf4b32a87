"""Random programs over all units, legal by construction: every operand lies inside its memory, activation rows are what their
readers take them for, no instruction writes what it still reads. Order between units is made by the compiler's token pass; the
program checker has the last word.

A program is a list of steps, each a kind and 32 bytes; every byte is one small choice, and zeros are the simplest. So lists of
steps shrink well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from program_image import Image
from program_steps import Builder

from flightllm.compiler.emit import Item
from flightllm.compiler.passes import assign_tokens
from flightllm.config.arch import ArchConfig
from flightllm.isa.control import ALU, BARRIER, LOOP
from flightllm.isa.fields import TOKEN_UNITS, Instruction
from flightllm.isa.load import LDK, LDM, LDS, LDV, LDW
from flightllm.isa.registers import host_registers
from flightllm.isa.trace import trace


@dataclass
class Program:
    """A finished program and the registers that its host sets."""

    instructions: list[Instruction]
    pos: int
    ntok: int
    nlog: int
    masken: int


def hoist(program: list[Instruction], moves: Sequence[tuple[int, int]]) -> list[Instruction]:
    """Move loads up: (number of the load, how far). Not past a barrier, a loop, a change of registers, or another load of its ring."""
    out = list(program)
    loads = [inst for inst in program if isinstance(inst, LDW | LDK | LDS | LDV)]
    for number, far in moves:
        inst = loads[number % len(loads)]
        at = next(i for i, other in enumerate(out) if other is inst)
        for _ in range(far):
            before = out[at - 1]
            if isinstance(before, BARRIER | LOOP | ALU | LDM) or type(before) is type(inst):
                break
            out[at - 1], out[at] = inst, before
            at -= 1
    return out


def put_tokens(
    program: list[Instruction], arch: ArchConfig, host: tuple[int, int, int, int], more: Sequence[tuple[int, int]]
) -> None:
    """Set wait and signal masks: those that are needed, and some more from one instruction to a later one."""
    for inst in program:
        inst.wait = inst.signal = 0
    items = [Item(inst) for inst in program]
    pos, ntok, nlog, masken = host
    for core in range(arch.cores):
        for pc, inst, o in trace(program, host_registers(pos, ntok, core, nlog, bool(masken))):
            for a in inst.footprint(o, arch):
                if not a.empty and a.space not in ("W", "K"):
                    at = (a.space, *a.span)
                    if a.write:
                        items[pc].writes += (at,)
                    else:
                        items[pc].reads += (at,)
    assign_tokens(items)
    for giver, taker in more:
        low, high = sorted((giver % len(program), taker % len(program)))
        a, b = program[low], program[high]
        straight = not any(isinstance(i, BARRIER | LOOP) for i in program[low : high + 1])
        if not straight or a.unit not in TOKEN_UNITS or b.unit not in TOKEN_UNITS or a.unit == b.unit:
            continue
        if not a.signal >> b.unit & 1 and not b.wait >> a.unit & 1:
            a.signal |= 1 << b.unit
            b.wait |= 1 << a.unit


def build_program(
    arch: ArchConfig,
    base: Image,
    host: tuple[int, int, int, int],
    steps: Sequence[tuple[str, bytes]],
    moves: Sequence[tuple[int, int]],
    more: Sequence[tuple[int, int]],
    accepted: Callable[[list[Instruction]], bool],
) -> Program:
    """The program of these steps, as rearranged as the checker allows."""
    builder = Builder(arch, base, host)
    builder.build(steps)
    plain = builder.finish()
    for order, extra in ((hoist(plain, moves), more), (hoist(plain, moves), ()), (plain, more), (plain, ())):
        put_tokens(order, arch, host, extra)
        if accepted(order):
            return Program(order, *host)
    raise AssertionError("the checker refuses a program that ought to be legal")
