"""What every operand can be: the program's register arithmetic run for all register settings at once.

The sequencer's part of a program (ALU, LOOP) is tiny and works on few host registers, so instead of abstracting it, it is carried
out on arrays with one lane per setting (POS, NTOK, NLOG). Of each instruction's operands over all lanes and iterations those are kept,
the *witnesses*, that reach lowest and highest: the least and greatest of each address and position, and the greatest of
address + (count - 1) * stride for each strided operand. Key ranges are taken at their longest and block ranges from the first block
on, in every witness. Every access of every run then lies between the lowest and the highest unit that some witness touches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flightllm.errors import ProgramError
from flightllm.isa.control import ALU, HALT, LOOP
from flightllm.isa.fields import REGISTERS, Addr, Count, Instruction, Operands
from flightllm.isa.registers import HostRegister

#: (suffix of a stride field, count it goes with)
STRIDES = (("_s0", "n0"), ("_row", "tokens"), ("_row", "rows"), ("_row", "n0"))
#: contexts up to this are covered position by position; longer ones near their ends, their middle and the block borders
DENSE_CONTEXT = 4096

_VECTOR_OPS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "and": np.bitwise_and,
    "shl": lambda a, b: np.left_shift(a, b & 31),
    "shr": lambda a, b: np.right_shift(a, b & 31),
    "min": np.minimum,
    "max": np.maximum,
}


@dataclass
class Bounds:
    """Operands of some settings whose footprints together reach as far as those of all settings; empty if none executes it."""

    witnesses: list[Operands]


def settings(max_context: int, max_chunk: int, cores: int) -> dict[int, np.ndarray]:
    """Host registers, int64, one lane per setting: every position (see DENSE_CONTEXT) and every chunk length; extremes of the rest."""
    if max_context <= DENSE_CONTEXT:
        pos = np.arange(max_context)
    else:
        middle = max_context // 2 // 64 * 64
        edges = [np.arange(256), np.arange(middle - 128, middle + 128), np.arange(max_context - 256, max_context)]
        pos = np.unique(np.concatenate(edges))
    p, n = (x.reshape(-1) for x in np.meshgrid(pos, np.arange(1, max_chunk + 1), indexing="ij"))
    fits = p + n <= max_context
    p, n = p[fits].astype(np.int64), n[fits].astype(np.int64)
    lanes = len(p)
    nlog = [np.zeros(lanes, np.int64), np.ones(lanes, np.int64), n]
    pos_all, ntok = np.tile(p, 3), np.tile(n, 3)
    core = np.arange(3 * lanes, dtype=np.int64) % cores
    return {
        HostRegister.POS: pos_all,
        HostRegister.NTOK: ntok,
        HostRegister.KVLEN: pos_all + ntok,
        HostRegister.CORE: core,
        HostRegister.NLOG: np.concatenate(nlog),
        HostRegister.MASKEN: np.arange(3 * lanes, dtype=np.int64) // cores % 2,
    }


class _Collector:
    def __init__(self, program: list[Instruction], start: dict[int, np.ndarray]) -> None:
        self.program = program
        lanes = len(start[HostRegister.POS])
        self.regs = [np.zeros(lanes, np.int64) for _ in range(REGISTERS)]
        for number, values in start.items():
            self.regs[number] = values.copy()
        self.found: list[set[tuple[int, ...]]] = [set() for _ in program]
        self.names = [[n for n, f in i.fields.items() if isinstance(f, Addr | Count)] for i in program]

    def run(self, first: int, end: int, live: np.ndarray) -> None:
        """Instructions first..end-1 on the lanes in `live`."""
        pc = first
        while pc < end:
            inst = self.program[pc]
            if isinstance(inst, ALU):
                self._alu(inst, live)
            elif isinstance(inst, LOOP):
                pc = self._loop(inst, pc, live)
                continue
            elif isinstance(inst, HALT):
                return
            else:
                self._note(pc, inst, live)
            pc += 1

    def _alu(self, inst: ALU, live: np.ndarray) -> None:
        o = inst.resolve([0] * REGISTERS)
        if not o.rd:
            return
        a, b = self.regs[o.ra], (self.regs[o.rb] + o.imm).astype(np.int32).astype(np.int64)
        value = _VECTOR_OPS[o.op](a, b).astype(np.int32).astype(np.int64)
        self.regs[o.rd] = np.where(live, value, self.regs[o.rd])

    def _loop(self, inst: LOOP, pc: int, live: np.ndarray) -> int:
        count = inst.values["count"] + self.regs[inst.values["count_r"]]
        rd, end = inst.values["rd"], pc + 1 + inst.values["body"]
        most = int(count[live].max(initial=0))
        if most > 4096:
            raise ProgramError("a loop may run more than 4096 times", where=f"pc {pc}: {inst}", why=f"up to {most}")
        for i in range(most):
            inside = live & (count > i)
            if rd:
                self.regs[rd] = np.where(inside, i, self.regs[rd])
            self.run(pc + 1, end, inside)
        return end

    def _note(self, pc: int, inst: Instruction, live: np.ndarray) -> None:
        if not live.any():
            return
        names = self.names[pc]
        lanes = np.flatnonzero(live)
        columns = [self._values(inst, name)[lanes] for name in names]
        of = dict(zip(names, columns, strict=True))
        picked = {0}
        for column in columns:
            picked |= {int(column.argmin()), int(column.argmax())}
        for name, column in of.items():
            for suffix, count in STRIDES:
                if name + suffix in inst.values and count in of:
                    stride = inst.values[name + suffix]
                    picked.add(int((column + (of[count] - 1) * stride).argmax()))
        if "pos" in of:
            picked.add(int((of["pos"] + of["n0"]).argmax()))
        self.found[pc] |= {tuple(int(c[i]) for c in columns) for i in picked}

    def _values(self, inst: Instruction, name: str) -> np.ndarray:
        f, reg = inst.fields[name], self.regs[inst.values[name + "_r"]]
        if isinstance(f, Addr):
            out: np.ndarray = inst.values[name] + reg * inst.values[name + "_s"] & ((1 << f.bits) - 1)
            return out
        return inst.values[name] + reg


def operand_bounds(program: list[Instruction], max_context: int, max_chunk: int, cores: int) -> list[Bounds]:
    """Bounds of every instruction's operands over all settings."""
    start = settings(max_context, max_chunk, cores)
    c = _Collector(program, start)
    c.run(0, len(program), np.ones(len(start[HostRegister.POS]), bool))
    out = []
    for pc, inst in enumerate(program):
        fixed = inst.resolve([0] * REGISTERS).__dict__
        values = [dict(zip(c.names[pc], v, strict=True)) for v in sorted(c.found[pc])]
        whole: dict[str, int] = {}
        if values and "len" in c.names[pc]:
            whole["len"] = max(v["len"] for v in values)
            whole["first"] = min(v["first"] for v in values)
            if "masked" in c.names[pc]:
                whole["masked"] = 1
        unique = {tuple(sorted({**v, **whole}.items())): {**fixed, **v, **whole} for v in values}
        out.append(Bounds([Operands(v) for v in unique.values()]))
    return out
