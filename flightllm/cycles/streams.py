"""Formats of the weight streams that MMs take: from the instruction, or from the format tables in the images."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from flightllm.config.arch import ArchConfig
from flightllm.cycles.memory import ChannelMemory
from flightllm.isa.fields import Operands
from flightllm.streams.formats import EntryFormat
from flightllm.streams.layout import EntryShape, Geometry, header_sizes

#: a strip as the matrix unit pops it: shapes of its entries in order, bytes of its format table
Strip = tuple[list[EntryShape], int]
#: bytes of a format table at most (fetch_plan: TableBytes)
TABLE_BYTES = 1024


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
            geo = self._geometry(o)
            fmt = EntryFormat.from_byte(o.format)
            self._known[key] = [
                ([self._shape(geo, strip, block, fmt) for block in range(geo.blocks)], 0) for strip in range(geo.strips)
            ]
        return iter(self._known[key])

    def _geometry(self, o: Operands) -> Geometry:
        arch = self._arch
        return Geometry(
            o.slots * arch.channels, o.k, int(o.group), bool(o.bias), arch.channels, arch.vpus, int(o.rows_per_vpu)
        )

    @staticmethod
    def _shape(geo: Geometry, strip: int, block: int, fmt: EntryFormat) -> EntryShape:
        return EntryShape(fmt, geo.slots_of(strip), geo.columns_of(block), geo.group, geo.vpus)

    def _from_tables(self, o: Operands, addr: int) -> Iterator[Strip]:
        geo = self._geometry(o)
        for strip in range(geo.strips):
            shapes, count = [], 0
            table = self._memory.read(addr, TABLE_BYTES).tolist()
            for block in range(geo.blocks):
                more = True
                while more:
                    fmt = EntryFormat.from_byte(table[count])
                    count, more = count + 1, fmt.more
                    shapes.append(self._shape(geo, strip, block, fmt))
            addr += sum(header_sizes(geo.slots_of(strip), geo.bias, count)) + sum(s.size for s in shapes)
            yield shapes, count
