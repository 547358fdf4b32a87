"""One maximal run of units, queues, tokens, barriers and rings. Why one is enough: docs/checker.md, "Deadlock"."""

from __future__ import annotations

from collections import Counter, deque
from itertools import accumulate

from flightllm.checker.ops import Op
from flightllm.config.arch import ArchConfig
from flightllm.errors import ProgramError
from flightllm.isa.control import BARRIER, HALT
from flightllm.isa.fields import TOKEN_UNITS, Unit

_BITS = {mask: [u for u in TOKEN_UNITS if mask >> u & 1] for mask in range(1 << len(TOKEN_UNITS))}


class _Ring:
    """Items by number. An item may leave its loader only when everything not yet being taken fits the ring."""

    def __init__(self, ops: list[Op], name: str, capacity: int) -> None:
        self.capacity = capacity
        sizes = [op.push[1] for op in ops if op.push and op.push[0] == name]
        self.ends = [0, *accumulate(sizes)]
        self.loaded = self.taking = 0

    def can_load(self) -> bool:
        """The next item fits behind what waits; one that is being taken (nothing waits up to it) fits always."""
        return self.ends[self.loaded + 1] - self.ends[self.taking] <= self.capacity


class _Run:
    def __init__(self, ops: list[Op], arch: ArchConfig) -> None:
        self.ops, self.arch, self.next = ops, arch, 0
        self.queues: dict[Unit, deque[Op]] = {u: deque() for u in (*TOKEN_UNITS, Unit.W)}
        self.busy: dict[Unit, bool] = dict.fromkeys(self.queues, False)
        self.tokens: Counter[tuple[Unit, Unit]] = Counter()
        self.rings = {
            "W": _Ring(ops, "W", arch.w_ring_bytes),
            "K": _Ring(ops, "K", arch.k_ring_bytes),
        }
        self.order: list[Op] = []

    def dispatch(self) -> bool:
        """Dispatch as far as queues and barriers let it."""
        start = self.next
        while self.next < len(self.ops):
            op = self.ops[self.next]
            if isinstance(op.inst, BARRIER | HALT):
                held = TOKEN_UNITS if isinstance(op.inst, BARRIER) else self.queues
                if any(self.queues[u] for u in held):
                    break
                self.order.append(op)
            else:
                queue = self.queues[op.inst.unit]
                if len(queue) >= self.arch.queue_depth:  # the instruction at work keeps its place
                    break
                queue.append(op)
            self.next += 1
        return self.next > start

    def advance(self, unit: Unit) -> bool:
        """Start, then complete instructions of a unit while it can."""
        queue, moved = self.queues[unit], False
        while queue:
            op = queue[0]
            if not self.busy[unit]:
                sources = _BITS[op.inst.wait]
                if any(not self.tokens[s, unit] for s in sources):
                    break
                for s in sources:
                    self.tokens[s, unit] -= 1
                if op.pop:
                    self.rings[op.pop[0]].taking += 1
                self.order.append(op)
                self.busy[unit] = moved = True
            if op.push:
                ring = self.rings[op.push[0]]
                if not ring.can_load():
                    break
                ring.loaded += 1
            elif op.pop:
                ring = self.rings[op.pop[0]]
                if ring.loaded < ring.taking:
                    break
            queue.popleft()
            self.busy[unit], moved = False, True
            for target in _BITS[op.inst.signal]:
                self.tokens[unit, target] += 1
        return moved

    def state(self) -> str:
        """What every unit waits for."""
        lines = []
        for unit, queue in self.queues.items():
            if queue:
                op = queue[0]
                missing = "+".join(s.name for s in _BITS[op.inst.wait] if not self.tokens[s, unit])
                waits = (
                    f"a token from {missing}"
                    if not self.busy[unit]
                    else "room in the ring"
                    if op.push
                    else "its stream"
                )
                lines.append(f"{op} waits for {waits}")
        if self.next < len(self.ops):
            lines.append(f"dispatch stands at {self.ops[self.next]}")
        return "\n       ".join(lines)


def simulate(ops: list[Op], arch: ArchConfig) -> list[Op]:
    """Operations in an order in which they can start. Raises ProgramError for a deadlock, or tokens left at HALT."""
    run = _Run(ops, arch)
    moved = True
    while moved:
        moved = run.dispatch()
        for unit in run.queues:
            moved |= run.advance(unit)
    if run.next < len(ops):
        raise ProgramError("deadlock", where=f"pc {ops[run.next].pc}", why=run.state())
    left = {f"{a.name}->{b.name}": n for (a, b), n in run.tokens.items() if n}
    if left:
        raise ProgramError("tokens are left over at HALT", where=str(ops[-1]), why=f"{left}")
    return run.order
