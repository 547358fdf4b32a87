"""Dynamic order of a program: what the sequencer dispatches, with loops and registers carried out and operands resolved."""

from __future__ import annotations

from collections.abc import Iterator

from flightllm.errors import ProgramError
from flightllm.isa.control import ALU, HALT, LOOP, LOOP_DEPTH
from flightllm.isa.fields import Instruction, Operands


class _Registers:
    """The part of a core that ALU needs."""

    def __init__(self, regs: list[int]) -> None:
        self.regs = regs


#: instructions of one run, more than any sane program has: a damaged loop count must not hang the machine
RUN_LIMIT = 2_000_000


def trace(
    program: list[Instruction], regs: list[int], limit: int = RUN_LIMIT
) -> Iterator[tuple[int, Instruction, Operands]]:
    """Yield (pc, instruction, operands) in dispatch order; ALU and LOOP are carried out on `regs` and not yielded.

    Raises ProgramError for a loop that is too deep or leaves its enclosing body, for a program that runs off its end, and after `limit`
    instructions (ALU and LOOP counted).
    """
    stack: list[list[int]] = []  # [first pc, end pc, iterations left, counter register]
    owner = _Registers(regs)
    pc = 0
    while True:
        while stack and pc == stack[-1][1]:
            top = stack[-1]
            top[2] -= 1
            if top[2]:
                if top[3]:
                    regs[top[3]] += 1
                pc = top[0]
                break
            stack.pop()
        if pc >= len(program):
            raise ProgramError("the program runs past its end", where=f"pc {pc}", why="no HALT was reached")
        limit -= 1
        if limit < 0:
            raise ProgramError(
                "the program does not end", where=f"pc {pc}: {program[pc]}", why="a loop count is absurd"
            )
        inst = program[pc]
        kind = type(inst)
        if kind is ALU:
            inst.execute(owner, inst.resolve(regs))
        elif kind is LOOP:
            o = inst.resolve(regs)
            end = pc + 1 + o.body
            if o.body < 1 or end > (stack[-1][1] if stack else len(program)):
                raise ProgramError("illegal loop body", where=f"pc {pc}: {inst}", why=f"{o.body} instructions")
            if len(stack) == LOOP_DEPTH:
                raise ProgramError("loops nest too deep", where=f"pc {pc}: {inst}", why=f"at most {LOOP_DEPTH}")
            if o.count <= 0:
                pc = end
                continue
            if o.rd:
                regs[o.rd] = 0
            stack.append([pc + 1, end, o.count, o.rd])
        else:
            yield pc, inst, inst.resolve(regs)
            if kind is HALT:
                return
        pc += 1
