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

#: more iterations of a loop than any program has
MOST_ITERATIONS = 4096
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
    # Logits of the whole chunk everywhere; none and one at the first and last positions as well.
    ends = np.flatnonzero((p == 0) | (p + n == max_context))
    order = np.concatenate([np.arange(len(p)), ends, ends])
    p, n = p[order], n[order]
    count = len(order) - 2 * len(ends)
    nlog = np.concatenate([n[:count], np.zeros(len(ends), np.int64), np.ones(len(ends), np.int64)])
    lane = np.arange(len(p), dtype=np.int64)
    return {
        HostRegister.POS: p,
        HostRegister.NTOK: n,
        HostRegister.KVLEN: p + n,
        HostRegister.CORE: lane % cores,
        HostRegister.NLOG: nlog,
        HostRegister.MASKEN: lane // cores % 2,
    }


class _Collector:
    """Runs the sequencer on all lanes. Arrays are numbered and results remembered by the numbers of their inputs: layers that
    repeat the same arithmetic cost nothing.
    """

    def __init__(self, program: list[Instruction], start: dict[int, np.ndarray]) -> None:
        self.program = program
        lanes = len(start[HostRegister.POS])
        self.arrays: list[np.ndarray] = [np.zeros(lanes, np.int64)]
        self.regs = [0] * REGISTERS  # number of the array in each register
        for number, values in start.items():
            self.regs[number] = self._new(values)
        self.masks: list[np.ndarray] = [np.ones(lanes, bool)]
        self.memo: dict[tuple[object, ...], int] = {}
        self.found: list[set[tuple[int, ...]]] = [set() for _ in program]
        self.names = [[n for n, f in i.fields.items() if isinstance(f, Addr | Count)] for i in program]

    def _new(self, array: np.ndarray) -> int:
        self.arrays.append(array)
        return len(self.arrays) - 1

    def run(self, first: int, end: int, live: int) -> None:
        """Instructions first..end-1 on the lanes of mask number `live`."""
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

    def _alu(self, inst: ALU, live: int) -> None:
        o = inst.resolve([0] * REGISTERS)
        if not o.rd:
            return
        # Where all lanes are live nothing of the register's old value remains.
        key: tuple[object, ...] = (o.op, self.regs[o.ra], self.regs[o.rb], o.imm, live, live and self.regs[o.rd])
        if key not in self.memo:
            a = self.arrays[self.regs[o.ra]]
            b = (self.arrays[self.regs[o.rb]] + o.imm).astype(np.int32).astype(np.int64)
            value = _VECTOR_OPS[o.op](a, b).astype(np.int32).astype(np.int64)
            self.memo[key] = self._new(np.where(self.masks[live], value, self.arrays[self.regs[o.rd]]))
        self.regs[o.rd] = self.memo[key]

    def _loop(self, inst: LOOP, pc: int, live: int) -> int:
        base, source = inst.values["count"], self.regs[inst.values["count_r"]]
        count = base + self.arrays[source]
        rd, end = inst.values["rd"], pc + 1 + inst.values["body"]
        most = int(count[self.masks[live]].max(initial=0))
        if most > MOST_ITERATIONS:
            raise ProgramError(
                f"a loop may run more than {MOST_ITERATIONS} times", where=f"pc {pc}: {inst}", why=f"up to {most}"
            )
        for i in range(most):
            key: tuple[object, ...] = ("mask", live, base, source, i)
            if key not in self.memo:
                mask = self.masks[live] & (count > i)
                if np.array_equal(mask, self.masks[live]):
                    self.memo[key] = live
                else:
                    self.masks.append(mask)
                    self.memo[key] = len(self.masks) - 1
            inside = self.memo[key]
            if rd:
                key = ("counter", inside, i, inside and self.regs[rd])
                if key not in self.memo:
                    self.memo[key] = self._new(np.where(self.masks[inside], i, self.arrays[self.regs[rd]]))
                self.regs[rd] = self.memo[key]
            self.run(pc + 1, end, inside)
        return end

    def _note(self, pc: int, inst: Instruction, live: int) -> None:
        if not self._any(live):
            return
        picked: set[int] = {self._extreme(live, (), False)}
        uses = {n: (self.regs[inst.values[n + "_r"]] if inst.values[n + "_r"] else 0) for n in self.names[pc]}
        for name, array in uses.items():
            if not array:
                continue
            picked |= {self._extreme(live, ((array, 1),), False), self._extreme(live, ((array, 1),), True)}
            scale = inst.values.get(name + "_s", 1)
            for suffix, count in STRIDES:
                if name + suffix in inst.values and uses.get(count):
                    picked.add(self._extreme(live, ((array, scale), (uses[count], inst.values[name + suffix])), True))
        if uses.get("pos") and uses.get("n0"):
            picked.add(self._extreme(live, ((uses["pos"], 1), (uses["n0"], 1)), True))
        self.found[pc] |= {tuple(self._value(inst, n, lane) for n in self.names[pc]) for lane in picked}

    def _any(self, live: int) -> bool:
        key = ("any", live)
        if key not in self.memo:
            self.memo[key] = int(self.masks[live].any())
        return bool(self.memo[key])

    def _extreme(self, live: int, terms: tuple[tuple[int, int], ...], most: bool) -> int:
        """Live lane with the least or greatest sum of array * factor; with no terms, the first live lane."""
        key = ("lane", live, terms, most)
        if key not in self.memo:
            lanes = np.flatnonzero(self.masks[live])
            total = np.zeros(len(lanes), np.int64)
            for array, factor in terms:
                total += self.arrays[array][lanes] * factor
            self.memo[key] = int(lanes[total.argmax() if most else total.argmin()])
        return self.memo[key]

    def _value(self, inst: Instruction, name: str, lane: int) -> int:
        f, reg = inst.fields[name], int(self.arrays[self.regs[inst.values[name + "_r"]]][lane])
        if not isinstance(f, Addr):
            return inst.values[name] + reg
        value = inst.values[name] + reg * inst.values[name + "_s"]
        if not 0 <= value < 1 << f.bits:
            raise ProgramError(
                f"address {name} leaves its range", where=str(inst), why=f"register value {reg}: {value:#x}"
            )
        return value


def operand_bounds(program: list[Instruction], max_context: int, max_chunk: int, cores: int) -> list[Bounds]:
    """Bounds of every instruction's operands over all settings."""
    start = settings(max_context, max_chunk, cores)
    c = _Collector(program, start)
    c.run(0, len(program), 0)
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
