"""Deadlock: one maximal run of units, queues, tokens and rings.

Every counter has one giver and one taker, every ring one filler and one drainer, every queue is filled in program order: there is
nothing to choose. Such a network (a Kahn network with bounded queues) reaches the same final state in every order, so one run to
quiescence decides for all.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from flightllm.config.arch import ArchConfig
from flightllm.errors import ProgramError
from flightllm.isa.control import BARRIER, HALT
from flightllm.isa.fields import TOKEN_UNITS, Instruction, Unit
from flightllm.isa.load import LDK, LDW
from flightllm.isa.matrix import MM, MMPV, MMQK
from flightllm.isa.registers import host_registers
from flightllm.isa.trace import trace


@dataclass
class Event:
    """One dispatched instruction. ring: bytes pushed to (+) or popped from (-) a ring."""

    pc: int
    inst: Instruction
    kind: str = ""
    nbytes: int = 0


@dataclass
class _Ring:
    """A FIFO of streams. A stream longer than the ring passes through it while its consumer runs.

    filled: (kind, bytes) of loads that are done or under way, oldest first.
    """

    capacity: int
    streams: deque[tuple[str, int]] = field(default_factory=deque)

    def room(self) -> bool:
        """A further load can end: what lies before it is in the ring completely, and it fits behind (or is consumed as it comes)."""
        return sum(n for _, n in self.streams) < self.capacity or not self.streams


def dynamic(program: list[Instruction], regs: list[int], arch: ArchConfig) -> list[Event]:
    """Dispatched instructions in order, with their ring traffic."""
    events = []
    pending: deque[int] = deque()
    with_mask = list(regs)
    for pc, inst, o in trace(program, with_mask):
        event = Event(pc, inst)
        if isinstance(inst, LDW):
            event.kind, event.nbytes = "W", o.nbytes
            pending.append(o.nbytes)
        elif isinstance(inst, MM):
            event.kind, event.nbytes = "W", pending.popleft() if pending else -1
        elif isinstance(inst, LDK | MMQK | MMPV):
            access = next(a for a in inst.footprint(o, arch) if a.space == "K")
            kind = o.kind if isinstance(inst, LDK) else ("K" if isinstance(inst, MMQK) else "V")
            event.kind, event.nbytes = kind, access.length
        events.append(event)
    return events


def check_run(program: list[Instruction], regs: list[int], arch: ArchConfig) -> int:
    """Run one setting of the registers to quiescence; returns the number of events. Raises ProgramError if it does not reach HALT."""
    events = dynamic(program, regs, arch)
    run = _Run(events, arch)
    run.to_end()
    return len(events)


def extreme_settings(max_context: int, max_chunk: int) -> list[list[int]]:
    """Registers that run every loop zero, one, two and more times, at the ends of the context."""
    out = []
    for ntok in sorted({1, 2, max_chunk}):
        for pos in sorted({0, 62, 63, 64, max_context // 2 - 1, max_context - ntok}):
            if 0 <= pos <= max_context - ntok:
                for nlog in sorted({0, 1, ntok}):
                    out.append(host_registers(pos, ntok, 0, nlog, False))
    return out


class _Run:
    def __init__(self, events: list[Event], arch: ArchConfig) -> None:
        self.events, self.arch = events, arch
        self.next = 0
        self.queues: dict[Unit, deque[Event]] = {u: deque() for u in (*TOKEN_UNITS, Unit.W)}
        self.tokens: dict[tuple[Unit, Unit], int] = {(a, b): 0 for a in TOKEN_UNITS for b in TOKEN_UNITS}
        self.rings = {"W": _Ring(arch.w_ring_bytes), "K": _Ring(arch.k_ring_bytes)}
        self.halted = False

    def to_end(self) -> None:
        moved = True
        while moved:
            moved = self._dispatch()
            for unit in self.queues:
                moved |= self._step(unit)
        if not self.halted:
            raise ProgramError("deadlock", where=self._where(), why=self._state())
        left = {f"{a.name}->{b.name}": n for (a, b), n in self.tokens.items() if n}
        if left or any(r.streams for r in self.rings.values()):
            raise ProgramError(
                "tokens or streams are left at HALT",
                why=f"tokens {left}, " + ", ".join(f"{k} ring {len(r.streams)}" for k, r in self.rings.items()),
            )

    def _dispatch(self) -> bool:
        """Dispatch as far as queues and barriers let it."""
        moved = False
        while self.next < len(self.events) and not self.halted:
            event = self.events[self.next]
            if isinstance(event.inst, BARRIER | HALT):
                waiting = self.queues if isinstance(event.inst, HALT) else TOKEN_UNITS
                if any(self.queues[u] for u in waiting):
                    return moved
                self.halted = isinstance(event.inst, HALT)
            else:
                queue = self.queues[event.inst.unit]
                if len(queue) >= self.arch.queue_depth:
                    return moved
                queue.append(event)
            self.next += 1
            moved = True
        return moved

    def _step(self, unit: Unit) -> bool:
        """Run the instruction at the head of a unit's queue if it can run."""
        queue = self.queues[unit]
        if not queue:
            return False
        event = queue[0]
        inst = event.inst
        needed = [(s, unit) for s in TOKEN_UNITS if inst.wait >> s & 1]
        if any(not self.tokens[p] for p in needed):
            return False
        if event.kind:
            ring = self.rings["W" if event.kind == "W" else "K"]
            if unit in (Unit.W, Unit.L):
                if not ring.room():
                    return False
                ring.streams.append((event.kind, event.nbytes))
            else:
                if not ring.streams:
                    return False
                kind, nbytes = ring.streams.popleft()
                if (kind, nbytes) != (event.kind, event.nbytes):
                    raise ProgramError(
                        "a ring holds another stream than its consumer takes",
                        where=f"pc {event.pc}: {inst}",
                        why=f"ring: {kind}, {nbytes} bytes; taken: {event.kind}, {event.nbytes} bytes",
                    )
        queue.popleft()
        for pair in needed:
            self.tokens[pair] -= 1
        for target in TOKEN_UNITS:
            if inst.signal >> target & 1:
                self.tokens[unit, target] += 1
        return True

    def _where(self) -> str:
        heads = [f"{u.name} at pc {q[0].pc}: {q[0].inst}" for u, q in self.queues.items() if q]
        if self.next < len(self.events):
            heads.append(f"dispatch at pc {self.events[self.next].pc}: {self.events[self.next].inst}")
        return "\n         ".join(heads)

    def _state(self) -> str:
        tokens = {f"{a.name}->{b.name}": n for (a, b), n in self.tokens.items() if n}
        rings = {k: sum(n for _, n in r.streams) for k, r in self.rings.items()}
        return f"tokens {tokens or 'none'}; bytes in the rings {rings}"
