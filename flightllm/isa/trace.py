"""Dynamic order of a program: what the sequencer dispatches, with loops and registers carried out and operands resolved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flightllm.errors import ProgramError
from flightllm.isa.control import ALU, HALT, LOOP, LOOP_DEPTH
from flightllm.isa.fields import Instruction, Operands


class _Registers:
    """The part of a core that ALU needs."""

    def __init__(self, regs: list[int]) -> None:
        self.regs = regs


#: instructions of one run, more than any sane program has: a damaged loop count must not hang the machine
RUN_LIMIT = 2_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction as the sequencer goes through it.

    ended: loops whose body ended with it and that do not begin anew. target: instruction that it jumps to, if it jumps: the beginning of a
    loop, or what follows a body that is skipped.
    """

    pc: int
    inst: Instruction
    operands: Operands
    ended: int = 0
    target: int | None = None


def steps(program: list[Instruction], regs: list[int], limit: int = RUN_LIMIT) -> Iterator[Step]:
    """All instructions of a run in order, ALU and LOOP too, which are carried out on `regs`; the last is HALT.

    Raises ProgramError for a loop that is too deep or leaves its enclosing body, for a program that runs off its end, and after `limit`
    instructions.
    """
    stack: list[list[int]] = []  # [first pc, end pc, iterations left, counter register]
    owner = _Registers(regs)
    pc = 0
    while True:
        if pc >= len(program):
            raise ProgramError("the program runs past its end", where=f"pc {pc}", why="no HALT was reached")
        limit -= 1
        if limit < 0:
            raise ProgramError(
                "the program does not end", where=f"pc {pc}: {program[pc]}", why="a loop count is absurd"
            )
        inst = program[pc]
        o = inst.resolve(regs)
        kind = type(inst)
        after, skips = pc + 1, False
        if kind is ALU:
            inst.execute(owner, o)
        elif kind is LOOP:
            end = pc + 1 + o.body
            if o.body < 1 or end > (stack[-1][1] if stack else len(program)):
                raise ProgramError("illegal loop body", where=f"pc {pc}: {inst}", why=f"{o.body} instructions")
            if len(stack) == LOOP_DEPTH:
                raise ProgramError("loops nest too deep", where=f"pc {pc}: {inst}", why=f"at most {LOOP_DEPTH}")
            if o.count <= 0:
                after, skips = end, True
            else:
                if o.rd:
                    regs[o.rd] = 0
                stack.append([pc + 1, end, o.count, o.rd])
        ended = counter = 0
        if kind is not HALT:
            while stack and after == stack[-1][1]:
                top = stack[-1]
                top[2] -= 1
                if top[2]:
                    after, skips, counter = top[0], True, top[3]
                    break
                stack.pop()
                ended += 1
        yield Step(pc, inst, o, ended, after if skips else None)
        if kind is HALT:
            return
        if counter:
            regs[counter] += 1
        pc = after


def trace(
    program: list[Instruction], regs: list[int], limit: int = RUN_LIMIT
) -> Iterator[tuple[int, Instruction, Operands]]:
    """(pc, instruction, operands) of what the sequencer dispatches, in order: `steps` without ALU and LOOP."""
    for step in steps(program, regs, limit):
        if not isinstance(step.inst, ALU | LOOP):
            yield step.pc, step.inst, step.operands
