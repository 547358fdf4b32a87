"""Rules of form that the proofs rest on: loops stand between barriers and leave no token and no stream behind."""

from __future__ import annotations

from collections import Counter
from typing import NoReturn

from flightllm.config.arch import ArchConfig
from flightllm.errors import ProgramError
from flightllm.isa.control import BARRIER, HALT, LOOP, LOOP_DEPTH
from flightllm.isa.fields import TOKEN_UNITS, Instruction
from flightllm.isa.load import LDK, LDW
from flightllm.isa.matrix import MM, MMPV, MMQK


def _fail(what: str, program: list[Instruction], pc: int, why: str = "") -> NoReturn:
    text = str(program[pc]) if pc < len(program) else "(end)"
    raise ProgramError(what, where=f"pc {pc}: {text}", why=why)


def check_structure(program: list[Instruction]) -> None:
    """Raise ProgramError for a broken rule of form.

    HALT is the last instruction and the only one. Loops nest inside each other up to LOOP_DEPTH, begin with a BARRIER and are
    followed by one. At both barriers the tokens given and taken are equal for each pair of units, and so are the K loads and their
    takers; weight loads too, unless the loop has neither loads nor takers. Tokens are used by units that have them, not with themselves.
    """
    if not program or not isinstance(program[-1], HALT):
        raise ProgramError("the program runs past its end", why="the last instruction is not HALT")
    ends: list[tuple[int, bool]] = []
    tokens: Counter[tuple[int, int]] = Counter()
    streams: Counter[str] = Counter()
    at_border: dict[int, bool] = {}  # pc of a barrier at a loop's border -> weight loads must be balanced there
    for pc, inst in enumerate(program):
        while ends and ends[-1][0] <= pc:
            end, weights = ends.pop()
            at_border[end] = at_border.get(end, False) or weights
        if pc in at_border:
            _border(program, pc, tokens, streams, at_border[pc])
        if isinstance(inst, HALT) and pc != len(program) - 1:
            _fail("HALT is not the last instruction", program, pc)
        if isinstance(inst, LOOP):
            end = pc + 1 + inst.values["body"]
            if inst.values["body"] < 1 or end > (ends[-1][0] if ends else len(program)):
                _fail("illegal loop body", program, pc, "it leaves its surroundings")
            if len(ends) == LOOP_DEPTH:
                _fail("loops nest too deep", program, pc, f"at most {LOOP_DEPTH}")
            if not isinstance(program[pc + 1], BARRIER) or end >= len(program) or not isinstance(program[end], BARRIER):
                _fail(
                    "a loop is not enclosed by barriers",
                    program,
                    pc,
                    "its body must begin with one and be followed by one",
                )
            weights = any(isinstance(i, LDW | MM) for i in program[pc + 1 : end])
            at_border[pc + 1] = weights
            ends.append((end, weights))
        _use(program, pc, tokens, streams)


def check_fields(program: list[Instruction], arch: ArchConfig) -> None:
    """Raise ProgramError for an instruction whose fields break a rule of its description, whatever the registers hold."""
    for pc, inst in enumerate(program):
        for broken in inst.broken_rules(arch):
            _fail("an instruction is not legal", program, pc, broken)


def _border(
    program: list[Instruction], pc: int, tokens: Counter[tuple[int, int]], streams: Counter[str], weights: bool
) -> None:
    for (source, target), n in tokens.items():
        if n:
            pair = f"{TOKEN_UNITS[source].name}->{TOKEN_UNITS[target].name}"
            _fail("tokens are left over at a loop's border", program, pc, f"{pair}: {n:+d} given, taken ones deducted")
    if streams["K"] or (weights and streams["W"]):
        _fail("streams are under way at a loop's border", program, pc, f"loads not yet taken: {dict(streams)}")


def _use(program: list[Instruction], pc: int, tokens: Counter[tuple[int, int]], streams: Counter[str]) -> None:
    inst = program[pc]
    if inst.wait or inst.signal:
        if inst.unit not in TOKEN_UNITS:
            _fail("an instruction uses tokens whose unit has none", program, pc)
        if (inst.wait | inst.signal) >> inst.unit & 1:
            _fail("a unit exchanges tokens with itself", program, pc)
        for u in TOKEN_UNITS:
            tokens[u, inst.unit] -= inst.wait >> u & 1
            tokens[inst.unit, u] += inst.signal >> u & 1
    streams["W"] += isinstance(inst, LDW) - isinstance(inst, MM)
    streams["K"] += isinstance(inst, LDK) - isinstance(inst, MMQK | MMPV)
    if streams["W"] < 0 or streams["K"] < 0:
        _fail("a stream is taken before its load", program, pc)
