"""What length-adaptive compilation saves: instructions and bytes of programs under several policies.

FlightLLM (arXiv 2401.03868) compiles programs for buckets of lengths, shares them among cores and merges instructions of channels, because one
program per length would take terabytes. A program of this project serves every length: counts, addresses and loops follow registers that the host
sets. Here both are counted for the same program: what it dispatches at a length is what a program for just that length would consist of.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

from flightllm.isa.control import ALU, HALT, LOOP
from flightllm.isa.fields import INSTRUCTION_BYTES, Instruction, Unit
from flightllm.isa.registers import host_registers
from flightllm.package.manifest import Manifest
from flightllm.runtime.chunks import chunks

#: lengths that share a program (FlightLLM, section on length adaptive compilation): prompts, generated tokens
PREFILL_BUCKET, DECODE_BUCKET = 128, 16
#: units whose instructions go to a memory channel
MEMORY = (Unit.W, Unit.L, Unit.T)


@dataclass(frozen=True)
class Policy:
    """programs: how many there are. instructions, bytes: of all of them together."""

    name: str
    programs: int
    instructions: int

    @property
    def bytes(self) -> int:
        """Of all programs."""
        return self.instructions * INSTRUCTION_BYTES


class _Counts:
    """How many instructions of each unit a program dispatches, without going through them one by one."""

    def __init__(self, program: list[Instruction]) -> None:
        self._program = program
        self._stops = [pc for pc, inst in enumerate(program) if isinstance(inst, ALU | LOOP | HALT)]
        self._before = {
            unit: [0, *accumulate(int(inst.unit == unit) for inst in program)] for unit in Unit if unit is not Unit.Q
        }
        self.regs: list[int] = []

    def of(self, regs: list[int]) -> Counter[Unit]:
        """Instructions by unit from the start to HALT."""
        self.regs = regs
        spans: Counter[tuple[int, int]] = Counter()  # stretches without control, how often
        loops: list[list[int]] = []  # first, behind the last, iterations left, counter
        pc = 0
        while True:
            stop = self._stops[bisect_left(self._stops, pc)]
            if loops:
                stop = min(stop, loops[-1][1])
            spans[pc, stop] += 1
            pc = stop
            inst = self._program[pc] if not (loops and pc == loops[-1][1]) else None
            if isinstance(inst, HALT):
                break
            if isinstance(inst, ALU):
                inst.execute(self, inst.resolve(regs))
                pc += 1
            elif isinstance(inst, LOOP):
                o = inst.resolve(regs)
                pc += 1
                if o.count <= 0:
                    pc += o.body
                else:
                    if o.rd:
                        regs[o.rd] = 0
                    loops.append([pc, pc + o.body, o.count, o.rd])
            while loops and pc == loops[-1][1]:
                loops[-1][2] -= 1
                if loops[-1][2]:
                    pc = loops[-1][0]
                    if loops[-1][3]:
                        regs[loops[-1][3]] += 1
                    break
                loops.pop()
        return Counter({u: sum(n * (b[hi] - b[lo]) for (lo, hi), n in spans.items()) for u, b in self._before.items()})


def policies(manifest: Manifest, program: list[Instruction], longest: int | None = None) -> list[Policy]:
    """Programs, instructions and bytes under each policy.

    Args:
        longest: prompts and contexts of 1 to so many tokens are served; default: the context of the package.
    """
    arch, limits = manifest.arch, manifest.limits
    longest = longest or limits.max_context
    counts = _Counts(program)

    @cache
    def run(pos: int, count: int, nlog: int) -> tuple[int, int]:
        """(all, those of memory) of one run."""
        found = counts.of(host_registers(pos, count, 0, nlog, count > 1))
        return sum(found.values()), sum(found[u] for u in MEMORY)

    def prompt(length: int) -> tuple[int, int]:
        parts = [run(c.pos, c.count, int(c.last)) for c in chunks(limits, length, 0)]
        return sum(a for a, _ in parts), sum(b for _, b in parts)

    def together(prompts: Iterable[int], contexts: Iterable[int], apart: bool) -> tuple[int, int]:
        """(programs, instructions); apart: programs of their own for cores, instructions of their own for channels."""
        each = [prompt(n) for n in prompts] + [run(n - 1, 1, 1) for n in contexts]
        if apart:
            merged = sum(a + (arch.channels - 1) * b for a, b in each) * arch.cores
            return len(each) * arch.cores, merged
        return len(each), sum(a for a, _ in each)

    every = range(1, longest + 1)
    prompts = range(PREFILL_BUCKET, longest + PREFILL_BUCKET, PREFILL_BUCKET)
    contexts = range(DECODE_BUCKET, longest + DECODE_BUCKET, DECODE_BUCKET)
    bucketed = [min(n, longest) for n in prompts], [min(n, longest) for n in contexts]
    return [
        Policy("a program for each length, core and channel", *together(every, every, True)),
        Policy(f"buckets of {PREFILL_BUCKET} (prompt) and {DECODE_BUCKET} (token)", *together(*bucketed, True)),
        Policy("buckets, shared by cores, one instruction for all channels", *together(*bucketed, False)),
        Policy("this program, for every length", 1, len(program)),
    ]
