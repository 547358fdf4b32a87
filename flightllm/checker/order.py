"""Races: every two accesses that conflict must be ordered by unit order, tokens or barriers, for all register settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flightllm.checker.ranges import Bounds
from flightllm.config.arch import ArchConfig
from flightllm.errors import ProgramError
from flightllm.isa.control import BARRIER, HALT, LOOP
from flightllm.isa.fields import TOKEN_UNITS, Instruction, Unit
from flightllm.isa.load import LDW

#: spaces that instructions of different units share without a FIFO in between
SHARED = ("VB", "AB", "MB", "MEM")


@dataclass(frozen=True)
class Touch:
    """One access of an instruction over all settings: [lo, hi) of a space."""

    space: str
    lo: int
    hi: int
    write: bool
    unit: Unit
    index: int  # among the instructions of its unit in this segment
    pc: int


def touches(inst: Instruction, bounds: Bounds, arch: ArchConfig) -> Iterator[tuple[str, int, int, bool]]:
    """(space, lo, hi, write) hulls of an instruction's accesses."""
    hulls: dict[int, tuple[str, int, int, bool]] = {}
    for o in bounds.witnesses:
        for i, a in enumerate(inst.footprint(o, arch)):
            if a.space not in SHARED or a.empty:
                continue
            lo, hi = a.span
            if i in hulls:
                lo, hi = min(lo, hulls[i][1]), max(hi, hulls[i][2])
            hulls[i] = (a.space, lo, hi, a.write)
    # An instruction's blocks often touch: one range instead of many.
    merged: list[list[Any]] = []
    for space, lo, hi, write in sorted(hulls.values(), key=lambda h: (h[0], h[3], h[1])):
        if merged and merged[-1][0] == space and merged[-1][3] == write and lo <= merged[-1][2]:
            merged[-1][2] = max(merged[-1][2], hi)
        else:
            merged.append([space, lo, hi, write])
    for space, lo, hi, write in merged:
        yield space, lo, hi, write


def segments(program: list[Instruction]) -> Iterator[list[int]]:
    """Runs of pcs between barriers (and loop ends, which barriers follow)."""
    current: list[int] = []
    for pc, inst in enumerate(program):
        if isinstance(inst, BARRIER | HALT):
            yield current
            current = []
        else:
            current.append(pc)
    yield current


def check_loops(program: list[Instruction]) -> None:
    """Each loop body begins with a barrier and a barrier follows it, so iterations and surroundings are apart."""
    for pc, inst in enumerate(program):
        if isinstance(inst, LOOP):
            after = pc + 1 + inst.values["body"]
            inside = isinstance(program[pc + 1], BARRIER) if pc + 1 < len(program) else False
            outside = isinstance(program[after], BARRIER) if after < len(program) else False
            if not (inside and outside):
                raise ProgramError(
                    "a loop is not enclosed by barriers",
                    where=f"pc {pc}: {inst}",
                    why="its body must begin with BARRIER and a BARRIER must follow it",
                )


def check_races(program: list[Instruction], bounds: list[Bounds], arch: ArchConfig) -> int:
    """Check all segments; returns the number of ordered conflicts. Raises ProgramError naming both instructions."""
    conflicts = 0
    for segment in segments(program):
        conflicts += _Segment(program, bounds, arch, segment).check()
    _check_weights(program, bounds, arch)
    return conflicts


def _check_weights(program: list[Instruction], bounds: list[Bounds], arch: ArchConfig) -> None:
    """LDW reads without tokens: nothing may ever write what it reads."""
    reads: list[tuple[int, int, int]] = []
    writes: list[tuple[int, int, int]] = []
    for pc, inst in enumerate(program):
        for space, lo, hi, write in touches(inst, bounds[pc], arch):
            if space == "MEM" and (write or isinstance(inst, LDW)):
                (writes if write else reads).append((lo, hi, pc))
    reads.sort()
    for lo, hi, pc in writes:
        for a, b, other in reads:
            if a >= hi:
                break
            if lo < b:
                raise ProgramError(
                    "a store can change what a weight load reads",
                    where=f"pc {pc}: {program[pc]}",
                    why=f"MEM {lo:#x}..{hi:#x} and pc {other}: {program[other]}, {a:#x}..{b:#x}",
                )


class _Segment:
    """Straight-line code between barriers."""

    def __init__(self, program: list[Instruction], bounds: list[Bounds], arch: ArchConfig, pcs: list[int]) -> None:
        self.program, self.bounds, self.arch, self.pcs = program, bounds, arch, pcs
        self.clocks: dict[Unit, list[dict[Unit, int]]] = {u: [] for u in TOKEN_UNITS}
        self.history: dict[str, list[Touch]] = {}

    def check(self) -> int:
        """Vector clocks along the tokens; each access against the history of its space."""
        given: dict[tuple[Unit, Unit], list[int]] = {}
        taken: dict[tuple[Unit, Unit], int] = {}
        conflicts = 0
        for pc in self.pcs:
            inst = self.program[pc]
            unit = inst.unit
            if unit not in self.clocks:
                continue
            index = len(self.clocks[unit])
            clock = dict(self.clocks[unit][-1]) if index else dict.fromkeys(TOKEN_UNITS, -1)
            clock[unit] = index - 1
            for source in TOKEN_UNITS:
                if not inst.wait >> source & 1:
                    continue
                number = taken.get((source, unit), 0)
                signals = given.get((source, unit), [])
                if number >= len(signals):
                    raise ProgramError(
                        "an instruction waits for a token that no earlier instruction gives",
                        where=f"pc {pc}: {inst}",
                        why=f"token {number + 1} from {source.name} to {unit.name} since the last barrier",
                    )
                taken[source, unit] = number + 1
                at = signals[number]
                for u, value in self.clocks[source][at].items():
                    clock[u] = max(clock[u], value)
                clock[source] = max(clock[source], at)
            for target in TOKEN_UNITS:
                if inst.signal >> target & 1:
                    given.setdefault((unit, target), []).append(index)
            self.clocks[unit].append(clock)
            if self.bounds[pc].witnesses:
                conflicts += self._accesses(pc, inst, unit, index, clock)
        for pair, signals in given.items():
            if taken.get(pair, 0) != len(signals):
                raise ProgramError(
                    "tokens are left over at a barrier",
                    where=f"from {pair[0].name} to {pair[1].name}, before pc {self.pcs[-1] + 1}",
                    why=f"{len(signals)} given, {taken.get(pair, 0)} taken since the barrier before",
                )
        return conflicts

    def _accesses(self, pc: int, inst: Instruction, unit: Unit, index: int, clock: dict[Unit, int]) -> int:
        conflicts = 0
        new = []
        for space, lo, hi, write in touches(inst, self.bounds[pc], self.arch):
            for old in self.history.get(space, ()):
                if old.unit == unit or not (write or old.write) or old.hi <= lo or hi <= old.lo:
                    continue
                if clock[old.unit] < old.index:
                    raise ProgramError(
                        f"race: nothing orders a {'write' if write else 'read'} after a "
                        f"{'write' if old.write else 'read'} of {space} {max(lo, old.lo):#x}..{min(hi, old.hi):#x}",
                        where=f"pc {pc} ({unit.name}): {inst}",
                        why=f"pc {old.pc} ({old.unit.name}): {self.program[old.pc]}",
                    )
                conflicts += 1
            new.append(Touch(space, lo, hi, write, unit, index, pc))
        for t in new:
            entries = self.history.setdefault(t.space, [])
            # What a later access of the same unit and kind covers is implied by it.
            entries[:] = [
                e for e in entries if not (e.unit == t.unit and e.write == t.write and t.lo <= e.lo and e.hi <= t.hi)
            ]
            entries.append(t)
        return conflicts
