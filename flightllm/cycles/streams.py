"""Formats of the weight streams that MMs take: from the instruction, or from the format tables in the images."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from flightllm.config.arch import ArchConfig
from flightllm.cycles.matrix_items import WORD_BYTES, Item, entry_item
from flightllm.cycles.memory import ChannelMemory
from flightllm.isa.fields import Operands
from flightllm.streams.formats import EntryFormat
from flightllm.streams.layout import EntryShape, Geometry, header_sizes


@dataclass(frozen=True, slots=True)
class Strip:
    """A strip as the matrix unit pops it: its slots, the items of its entries in order, bytes of its format table."""

    slots: int
    items: list[Item]
    table: int


#: bytes of a format table at most (fetch_plan: TableBytes)
TABLE_BYTES = 1024


@cache
def _entry(byte: int, slots: int, columns: int, group: int, vpus: int, chain_vpus: int) -> tuple[Item, bool]:
    """The item of an entry of this format byte, and whether another pass of its block follows."""
    fmt = EntryFormat.from_byte(byte)
    return entry_item(EntryShape(fmt, slots, columns, group, vpus), chain_vpus), fmt.more


class Streams:
    """The weight streams of a core in the order of their loads; the n-th load feeds the n-th MM.

    Args:
        memory: of channel 0.
    """

    def __init__(self, arch: ArchConfig, memory: ChannelMemory) -> None:
        self._arch, self._memory = arch, memory
        self._loads: deque[int] = deque()
        self._known: dict[tuple[int, ...], list[Strip]] = {}

    def loaded(self, addr: int) -> None:
        """An LDW that begins at this address."""
        self._loads.append(addr)

    def strips(self, o: Operands) -> Iterator[Strip]:
        """The strips of the next MM."""
        addr = self._loads.popleft()
        if o.table:
            return self._from_tables(o, addr)
        key = (o.slots, o.k, int(o.group), o.bias, int(o.rows_per_vpu), o.format)
        if key not in self._known:
            geo, chain = self._geometry(o), self._arch.chain_vpus
            columns = [geo.columns_of(block) for block in range(geo.blocks)]
            self._known[key] = [
                Strip(slots, [_entry(o.format, slots, count, geo.group, geo.vpus, chain)[0] for count in columns], 0)
                for slots in map(geo.slots_of, range(geo.strips))
            ]
        return iter(self._known[key])

    def _geometry(self, o: Operands) -> Geometry:
        arch = self._arch
        return Geometry(
            o.slots * arch.channels, o.k, int(o.group), bool(o.bias), arch.channels, arch.vpus, int(o.rows_per_vpu)
        )

    def _from_tables(self, o: Operands, addr: int) -> Iterator[Strip]:
        geo, chain = self._geometry(o), self._arch.chain_vpus
        columns = [geo.columns_of(block) for block in range(geo.blocks)]
        for slots in map(geo.slots_of, range(geo.strips)):
            items: list[Item] = []
            table = self._memory.read(addr, TABLE_BYTES).tolist()
            for count in columns:
                more = True
                while more:
                    item, more = _entry(table[len(items)], slots, count, geo.group, geo.vpus, chain)
                    items.append(item)
            header = sum(header_sizes(slots, geo.bias, len(items)))
            addr += header + WORD_BYTES * sum(item.words for item in items)
            yield Strip(slots, items, len(items))
