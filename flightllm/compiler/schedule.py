"""The parts of a chunk, interleaved: one program order in which, as far as can be, one part has the matrix unit while the other is elsewhere.

Units carry out their instructions in program order, so the order decides who waits for whom. `interleave` runs a clock for each unit with rough
costs and takes, group by group, the part whose next group could begin first; of several the one that is the first to be done with the unit, so that it
goes on to another one and leaves this one to the rest. Costs need not be right: they decide the order, tokens keep it correct. The order
inside a part stays.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from flightllm.compiler.emit import Item, Range
from flightllm.compiler.history import History
from flightllm.config.arch import ArchConfig
from flightllm.isa.control import ALU
from flightllm.isa.fields import Instruction, Unit
from flightllm.isa.load import LDK, LDW
from flightllm.isa.matrix import MM, MMPV, MMQK
from flightllm.isa.special import NORM, SOFTMAX
from flightllm.isa.store import STKV

#: keys that an attention is taken to see, if the context is as long
KEYS = 512
#: cycles of an instruction besides its work
START = {Unit.L: 60, Unit.M: 40, Unit.S: 60, Unit.T: 60, Unit.W: 0, Unit.Q: 0}
#: vectors of a batch of the special-function unit; cycles of a batch's pass besides its words
BATCH, PASS = 32, 22
#: cycles from the last word of a vector until its ordered sum takes another one: of NORM, of SOFTMAX, of each part of a word (rtl/special/ordered_sum.sv)
SUM_NORM, SUM_SOFTMAX, SUM_PART = 54, 67, 19
#: cycles of a row beat of a token in the drain besides its steps, and of another read (rtl/matrix/matrix_drain.sv)
READ, READ_MORE = 3, 2


def cost(item: Item, tokens: int, arch: ArchConfig, context: int) -> float:
    """About how many cycles an instruction keeps its unit busy, of `tokens` tokens and `context` positions."""
    inst = item.inst
    v, keys = inst.values, min(KEYS, context)
    chain = arch.chain_vpus
    # of the array through a row beat: two VPUs that share a chain do two tokens one after the other, one at once
    runs = (tokens + 1) // 2 if chain == 1 else tokens
    work = 0.0
    if isinstance(inst, MM):
        beats = -(-v["slots"] // arch.vpus)
        work = max(runs * beats * v["k"] / 16 * item.array_share, tokens * _drain(v["slots"], arch))
    elif isinstance(inst, MMQK):
        slots = -(-keys // arch.channels)
        beats = -(-slots // arch.vpus)
        work = v["n1"] * max(runs * beats * v["k"] / 16, tokens * _drain(slots, arch))
    elif isinstance(inst, MMPV):
        beats = -(-v["slots"] // arch.vpus)
        reads = beats * (chain - 1) * READ_MORE  # of the two codes of a token
        work = v["n1"] * max(chain * tokens * beats * keys / 16, tokens * (_drain(v["slots"], arch) + reads))
    elif inst.unit == Unit.S:
        work = _special(inst, tokens, arch, keys)
    elif isinstance(inst, STKV):
        work = 20.0 * tokens * v["n1"]
    return START[inst.unit] + work


def _drain(slots: int, arch: ArchConfig) -> int:
    """Cycles of the drain for a token's results of so many slots a channel."""
    lanes = min(16, 4 * arch.channels)
    return READ * -(-slots // arch.vpus) + -(-slots * arch.channels // lanes)


def _special(inst: Instruction, tokens: int, arch: ArchConfig, keys: int) -> float:
    """Cycles of a special function of `tokens` tokens, with `keys` keys."""
    v = inst.values
    softmax, codes = isinstance(inst, SOFTMAX), v.get("quant", 0) > 0
    words = (keys if softmax else v["len"]) / arch.lanes
    passes = 3 if softmax else 2 + v["kind"] if isinstance(inst, NORM) else 1
    vector = (passes + codes) * words + codes  # codes have a header
    sums = 1 if softmax else passes - 1 if isinstance(inst, NORM) else 0
    busy = (SUM_SOFTMAX if softmax else SUM_NORM) + SUM_PART * 16 / arch.lanes
    vector += sums * max(0.0, (busy - words) / 2)  # short vectors wait for one of two sums
    vectors = v["n1"] * tokens
    return vectors * vector + -(-vectors // BATCH) * (passes + codes) * PASS


@dataclass
class _Part:
    """A part on its way. groups: items that stay together. costs: of each item of a group. stay: cycles until the part is done with the unit of a group.
    stores: group and place of each write to memory still to come. at: next group. history: who touched what, and the cycle in which that ends.
    """

    groups: list[list[Item]]
    costs: list[list[float]]
    stay: list[float]
    stores: deque[tuple[int, Range]]
    at: int = 0
    history: History[float] = field(default_factory=History)

    @classmethod
    def of(cls, items: list[Item], tokens: int, arch: ArchConfig, context: int) -> _Part:
        """A part at its beginning."""
        groups = _groups(items)
        costs = [[cost(item, tokens, arch, context) for item in group] for group in groups]
        stay, unit, total = [0.0] * len(groups), Unit.Q, 0.0
        for n in range(len(groups) - 1, -1, -1):
            own = groups[n][-1].inst.unit
            if own in (Unit.M, Unit.S):
                if own != unit:
                    unit, total = own, 0.0
                total += costs[n][-1]
                stay[n] = total
        stores = deque((n, w) for n, group in enumerate(groups) for item in group for w in item.writes if w[0] == "MEM")
        return cls(groups, costs, stay, stores)


def interleave(parts: Sequence[list[Item]], tokens: int, arch: ArchConfig, context: int) -> list[Item]:
    """One list of the items of all parts. tokens: of a part at most. context: positions of the cache.

    Parts share no buffer. A later part attends to what an earlier one has appended, so what it reads of memory comes behind what the earlier
    one writes there.
    """
    running = [_Part.of(items, tokens, arch, context) for items in parts]
    free = dict.fromkeys(Unit, 0.0)
    out: list[Item] = []
    while True:
        best: tuple[float, float, int] | None = None
        for number, part in enumerate(running):
            if part.at < len(part.groups) and not _held(part.groups[part.at], running[:number]):
                rank = _start(part, part.groups[part.at], free), part.stay[part.at], number
                best = rank if best is None else min(best, rank)
        if best is None:
            return out
        part = running[best[2]]
        for item, cycles in zip(part.groups[part.at], part.costs[part.at], strict=True):
            unit = item.inst.unit
            end = max(free[unit], _ready(part, item)) + cycles
            free[unit] = end
            part.history.add(item, end)
            out.append(item)
        part.at += 1
        while part.stores and part.stores[0][0] < part.at:
            part.stores.popleft()


def _groups(items: list[Item]) -> list[list[Item]]:
    """Loads of a ring stay with what takes them: rings are in order for all parts together."""
    groups: list[list[Item]] = []
    open_loads: list[Item] = []
    for item in items:
        open_loads.append(item)
        if not isinstance(item.inst, LDK | LDW | ALU):
            groups.append(open_loads)
            open_loads = []
    if open_loads:
        groups.append(open_loads)
    return groups


def _held(group: list[Item], before: Sequence[_Part]) -> bool:
    """An earlier part has still to write what this group reads of memory."""
    reads = [r for item in group for r in item.reads if r[0] == "MEM"]
    return any(_overlap(w, r) for r in reads for part in before for _, w in part.stores)


def _overlap(a: Range, b: Range) -> bool:
    return a[0] == b[0] and a[1] < b[2] and b[1] < a[2]


def _ready(part: _Part, item: Item) -> float:
    """Cycle in which everything is there that an item of other units needs."""
    return max(part.history.conflicts(item).values(), default=0.0)


def _start(part: _Part, group: list[Item], free: dict[Unit, float]) -> float:
    """Cycle in which the last item of a group could begin: what goes before it only loads."""
    return max(free[group[-1].inst.unit], *(_ready(part, item) for item in group))
