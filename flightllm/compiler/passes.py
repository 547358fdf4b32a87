"""Passes over emitted items: weight prefetch, dependency tokens, loop lengths."""

from __future__ import annotations

from collections import deque

from flightllm.compiler.emit import Item
from flightllm.compiler.history import History
from flightllm.isa.control import BARRIER, LOOP
from flightllm.isa.fields import TOKEN_UNITS, Instruction, Unit
from flightllm.isa.load import LDW
from flightllm.isa.matrix import MM


def prefetch(items: list[Item], lead: int) -> list[Item]:
    """Move each LDW up to `lead` matrix instructions ahead of its MM, so that dispatch never holds the weight stream back.

    The order of LDWs stays the order of their MMs, so the W ring sees the same stream. A loop with LDWs inside is a scope of its own
    (its LDWs stay inside); one without is passed over. `lead` must stay below the queue depth: then the LDWs ahead of the MM
    being dispatched fit the W queue, and dispatch cannot block on it for ever.
    """
    out: list[Item] = []
    pending: deque[Item] = deque()  # LDWs of this scope not yet placed
    scope = _scope(items)
    for piece in scope:
        if isinstance(piece, list) or not isinstance(piece.inst, LDW):
            continue
        pending.append(piece)
    ahead = 0
    for piece in scope:
        if isinstance(piece, list):
            head, body = piece[0], piece[1:]
            if any(isinstance(x.inst, LDW) for x in body):
                body = prefetch(body, lead)
            out.append(head)
            out.extend(body)
        elif isinstance(piece.inst, LDW):
            continue
        else:
            if isinstance(piece.inst, MM):
                while pending and ahead <= lead:
                    out.append(pending.popleft())
                    ahead += 1
                ahead -= 1
            out.append(piece)
    return out


def _scope(items: list[Item]) -> list[Item | list[Item]]:
    """Split into items and whole loops ([head, *body])."""
    out: list[Item | list[Item]] = []
    i = 0
    while i < len(items):
        item = items[i]
        if isinstance(item.inst, LOOP):
            out.append(items[i : i + 1 + item.body])
            i += 1 + item.body
        else:
            out.append(item)
            i += 1
    return out


def assign_tokens(items: list[Item]) -> int:
    """Set wait and signal masks so that every conflict between units is ordered; returns the number of tokens.

    Straight-line code between barriers: for each item the latest conflicting item of every other unit is looked up; if it is
    not already known to be complete (vector clocks carry what follows from earlier tokens), one token orders the two. In each pair
    of units both ends then lie in program order, so counting tokens matches them one to one, and each segment is balanced.
    """
    history: History[int] = History()
    issued: dict[Unit, list[Item]] = {u: [] for u in TOKEN_UNITS}
    clocks: dict[Unit, list[dict[Unit, int]]] = {u: [] for u in TOKEN_UNITS}
    tokens = 0
    for item in items:
        unit = item.inst.unit
        if isinstance(item.inst, BARRIER):
            history.clear()
            for u in TOKEN_UNITS:
                issued[u].clear()
                clocks[u].clear()
            continue
        if unit not in issued:
            continue
        index = len(issued[unit])
        clock = dict(clocks[unit][-1]) if index else dict.fromkeys(TOKEN_UNITS, -1)
        clock[unit] = index - 1
        need = {u: at for u, at in history.conflicts(item).items() if clock[u] < at}
        for source, at in need.items():
            if any(clocks[other][need[other]][source] >= at for other in need if other != source):
                continue  # the other one has waited for it
            issued[source][at].inst.signal |= 1 << unit
            item.inst.wait |= 1 << source
            tokens += 1
            for u, value in clocks[source][at].items():
                clock[u] = max(clock[u], value)
            clock[source] = max(clock[source], at)
        issued[unit].append(item)
        clocks[unit].append(clock)
        history.add(item, index)
    return tokens


def finish(items: list[Item]) -> list[Instruction]:
    """Fill in loop lengths and return the instructions."""
    for item in items:
        if isinstance(item.inst, LOOP):
            item.inst.values["body"] = item.body
    return [item.inst for item in items]
