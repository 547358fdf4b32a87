"""The machine's rules of order written down once more, naively: every event is a choice, rings move one chunk at a time.

Nothing is shared with the checker. `explore` visits every reachable state; `run` follows one random path to its end.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import product

from flightllm.isa.control import BARRIER, HALT
from flightllm.isa.fields import TOKEN_UNITS, Unit
from flightllm.isa.load import LDK, LDW
from flightllm.isa.matrix import MM, MMPV, MMQK

UNITS = (*TOKEN_UNITS, Unit.W)
#: bytes moved by one event
CHUNK = 64


@dataclass(frozen=True)
class State:
    """next: instructions dispatched. done: completed, per unit. busy: chunks still to move (None: not started), per unit. tokens: per
    pair. rings: chunks in the W and K rings.
    """

    next: int
    done: tuple[int, ...]
    busy: tuple[int | None, ...]
    tokens: tuple[int, ...]
    rings: tuple[int, int]


class Machine:
    """A straight-line program without registers."""

    def __init__(self, program, arch):
        self.program, self.arch = program, arch
        self.of_unit = {u: [i for i, inst in enumerate(program) if inst.unit == u] for u in UNITS}
        self.traffic = [0] * len(program)
        loads = iter([i for i in program if isinstance(i, LDW)])
        for at, inst in enumerate(program):
            if isinstance(inst, MM):
                self.traffic[at] = next(loads).values["nbytes"] // CHUNK
            elif isinstance(inst, LDW):
                self.traffic[at] = inst.values["nbytes"] // CHUNK
            elif isinstance(inst, LDK | MMQK | MMPV):
                k = next(a for a in inst.footprint(inst.resolve([0] * 32), arch) if a.space == "K")
                assert k.length % CHUNK == 0
                self.traffic[at] = k.length // CHUNK
        self.capacity = (arch.w_ring_bytes // CHUNK, arch.k_ring_bytes // CHUNK)
        self.start = State(0, (0,) * 5, (None,) * 5, (0,) * 16, (0, 0))

    def queued(self, state, unit):
        dispatched = sum(i < state.next for i in self.of_unit[unit])
        return dispatched - state.done[UNITS.index(unit)]

    def head(self, state, u):
        return self.of_unit[UNITS[u]][state.done[u]]

    def running(self, state):
        return [self.head(state, u) for u in range(5) if state.busy[u] is not None]

    def final(self, state):
        return state.next == len(self.program) and not any(state.tokens) and not any(state.rings)

    def steps(self, state):
        """All states one event away."""
        if state.next < len(self.program):
            inst = self.program[state.next]
            held = TOKEN_UNITS if isinstance(inst, BARRIER) else UNITS if isinstance(inst, HALT) else ()
            room = inst.unit == Unit.Q or self.queued(state, inst.unit) < self.arch.queue_depth
            if room and not any(self.queued(state, u) for u in held):
                yield State(state.next + 1, state.done, state.busy, state.tokens, state.rings)
        for u, unit in enumerate(UNITS):
            if self.queued(state, unit):
                yield from self._unit(state, u, self.head(state, u))

    def _unit(self, state, u, at):
        inst = self.program[at]
        left = state.busy[u]
        if left is None:
            tokens = list(state.tokens)
            for s in range(4):
                if inst.wait >> s & 1:
                    tokens[4 * s + u] -= 1
            if min(tokens) >= 0:
                busy = (*state.busy[:u], self.traffic[at], *state.busy[u + 1 :])
                yield State(state.next, state.done, busy, tuple(tokens), state.rings)
        elif left:
            ring = int(not isinstance(inst, LDW | MM))
            rings = list(state.rings)
            rings[ring] += 1 if isinstance(inst, LDW | LDK) else -1
            if 0 <= rings[ring] <= self.capacity[ring]:
                busy = (*state.busy[:u], left - 1, *state.busy[u + 1 :])
                yield State(state.next, state.done, busy, state.tokens, tuple(rings))
        else:
            tokens = list(state.tokens)
            for t in range(4):
                if inst.signal >> t & 1:
                    tokens[4 * u + t] += 1
            done = (*state.done[:u], state.done[u] + 1, *state.done[u + 1 :])
            busy = (*state.busy[:u], None, *state.busy[u + 1 :])
            yield State(state.next, done, busy, tuple(tokens), state.rings)


def explore(machine):
    """(every maximal path ends well, pairs of instructions that some state has at work together)."""
    seen, todo, well, pairs = {machine.start}, [machine.start], True, set()
    while todo:
        state = todo.pop()
        at_work = machine.running(state)
        pairs |= {(min(a, b), max(a, b)) for a in at_work for b in at_work if a != b}
        following = list(machine.steps(state))
        if not following:
            well &= machine.final(state)
        for s in following:
            if s not in seen:
                seen.add(s)
                todo.append(s)
    return well, pairs


def run(machine, seed):
    """The last state of one random path."""
    rng, state = random.Random(seed), machine.start
    while following := list(machine.steps(state)):
        state = rng.choice(following)
    return state


def units_touched(inst, arch, write):
    """(space, unit) of all reads or writes, for registers that are all zero."""
    out = set()
    for a in inst.footprint(inst.resolve([0] * 32), arch):
        if a.write == write and a.space not in ("W", "K") and not a.empty:
            for index in product(*(range(c) for c in a.counts)):
                base = a.base + sum(i * s for i, s in zip(index, a.strides, strict=True))
                out |= {(a.space, base + i) for i in range(a.length)}
    return out


def conflict(a, b, arch):
    """Two instructions touch a common unit and one writes it."""
    ra, wa, rb, wb = (units_touched(i, arch, w) for i in (a, b) for w in (False, True))
    return bool(wa & (rb | wb) or ra & wb)
