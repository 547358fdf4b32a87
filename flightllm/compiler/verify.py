"""The verifier of the compiler: a table of rules for emitted items, run between passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flightllm.compiler.emit import Item
from flightllm.config.arch import ArchConfig
from flightllm.errors import ProgramError
from flightllm.isa.control import BARRIER, HALT, LOOP, LOOP_DEPTH
from flightllm.isa.fields import TOKEN_UNITS
from flightllm.isa.load import LDK, LDW
from flightllm.isa.matrix import MM, MMPV, MMQK


@dataclass(frozen=True)
class Rule:
    """`holds(items, arch)` returns "" or what is wrong."""

    name: str
    holds: Callable[[list[Item], ArchConfig], str]


def _ends_with_halt(items: list[Item], arch: ArchConfig) -> str:
    if not items or not isinstance(items[-1].inst, HALT):
        return "the last instruction is not HALT"
    return "" if sum(isinstance(i.inst, HALT) for i in items) == 1 else "more than one HALT"


def _loops_nest(items: list[Item], arch: ArchConfig) -> str:
    ends: list[int] = []
    for at, item in enumerate(items):
        while ends and ends[-1] <= at:
            ends.pop()
        if isinstance(item.inst, LOOP):
            end = at + 1 + item.body
            if item.body < 1 or end > (ends[-1] if ends else len(items)):
                return f"item {at}: the loop's body of {item.body} leaves its surroundings"
            ends.append(end)
            if len(ends) > LOOP_DEPTH:
                return f"item {at}: loops nest deeper than {LOOP_DEPTH}"
            if not isinstance(items[at + 1].inst, BARRIER) or not (
                end < len(items) and isinstance(items[end].inst, BARRIER)
            ):
                return f"item {at}: the loop is not enclosed by barriers"
    return ""


def _rings_in_order(items: list[Item], arch: ArchConfig) -> str:
    weights = keys = 0
    for at, item in enumerate(items):
        weights += isinstance(item.inst, LDW)
        keys += isinstance(item.inst, LDK)
        weights -= isinstance(item.inst, MM)
        keys -= isinstance(item.inst, MMQK | MMPV)
        if weights < 0 or keys < 0:
            return f"item {at}: {item.inst} comes before its load"
    return "" if weights == keys == 0 else f"{weights} weight and {keys} KV loads are never consumed"


def _places_inside(items: list[Item], arch: ArchConfig) -> str:
    size = {
        "VB": arch.vb_elements // 16,
        "AB": arch.ab_windows,
        "MB": arch.mb_bytes,
        "MEM": arch.channel_bytes,
    }
    for at, item in enumerate(items):
        for space, lo, hi in (*item.reads, *item.writes):
            if not 0 <= lo <= hi <= size[space]:
                return f"item {at}: {item.inst} touches {space} {lo}..{hi - 1} of {size[space]}"
    return ""


def _token_masks(items: list[Item], arch: ArchConfig) -> str:
    for at, item in enumerate(items):
        unit = item.inst.unit
        if unit not in TOKEN_UNITS and (item.inst.wait or item.inst.signal):
            return f"item {at}: {item.inst} of unit {unit.name} uses tokens"
        if unit in TOKEN_UNITS and (item.inst.wait | item.inst.signal) >> unit & 1:
            return f"item {at}: {item.inst} waits for or signals its own unit"
    return ""


RULES = (
    Rule("program ends with HALT", _ends_with_halt),
    Rule("loops nest and are enclosed by barriers", _loops_nest),
    Rule("rings are filled before they are drained, and drained", _rings_in_order),
    Rule("places touched lie inside their memory", _places_inside),
    Rule("tokens are used between units that have them", _token_masks),
)


def verify_items(items: list[Item], arch: ArchConfig) -> None:
    """Raise ProgramError naming the broken rule (a defect of the compiler, not of the model)."""
    for rule in RULES:
        wrong = rule.holds(items, arch)
        if wrong:
            raise ProgramError(f"the compiler broke its rule {rule.name!r}", why=wrong, do="please report this")
