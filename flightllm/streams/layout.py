"""Sizes and places inside a weight stream: what packer, unpacker, compiler and cycle model all need to know."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flightllm.streams.formats import ABSENT, BLOCK, ROWS_PER_VPU, STREAM_ALIGN, WINDOW, EntryFormat, pad


@dataclass(frozen=True)
class Geometry:
    """The shape of a core's part of a matrix on the machine.

    rows, k: of this core's part. group: columns per scale. bias: whether it has one. channels, vpus: of the core. m: rows per VPU.
    """

    rows: int
    k: int
    group: int
    bias: bool
    channels: int
    vpus: int
    m: int

    def __post_init__(self) -> None:
        if self.vpus % 4 or self.m not in ROWS_PER_VPU:
            raise ValueError(f"vpus = {self.vpus} (a multiple of 4), rows per VPU = {self.m} (one of {ROWS_PER_VPU})")

    @property
    def slots(self) -> int:
        """Slots of every channel."""
        return -(-self.rows // self.channels)

    @property
    def strip(self) -> int:
        """R: slots of a full strip."""
        return self.vpus * self.m

    @property
    def strips(self) -> int:
        """Number of strips."""
        return -(-self.slots // self.strip)

    @property
    def granule(self) -> int:
        """Rows whose format is one."""
        return self.strip * self.channels

    @property
    def blocks(self) -> int:
        """Blocks along K."""
        return -(-self.k // BLOCK)

    @property
    def padded_k(self) -> int:
        """K padded to whole windows."""
        return pad(self.k, WINDOW)

    def slots_of(self, strip: int) -> int:
        """r: slots of a strip, fewer than R only in the last."""
        return min(self.strip, self.slots - strip * self.strip)

    def columns_of(self, block: int) -> int:
        """Columns of a block, a multiple of 16, fewer than 128 only in the last."""
        return min(BLOCK, self.padded_k - block * BLOCK)

    def groups_of(self, block: int) -> int:
        """Groups in a block."""
        return -(-self.columns_of(block) // self.group)


@dataclass(frozen=True)
class EntryShape:
    """Sizes of one entry of `slots` slots and `columns` columns in groups of `group`, in bytes and beats."""

    fmt: EntryFormat
    slots: int
    columns: int
    group: int
    vpus: int

    @property
    def beats_down(self) -> int:
        """JJ: VPU beats needed for the slots of the strip, per window."""
        return -(-self.slots // (self.vpus * self.fmt.share))

    @property
    def last_vpus(self) -> int:
        """VPUs that take part in the last of them; all do in the others."""
        return min(self.vpus, self.slots - (self.beats_down - 1) * self.vpus * self.fmt.share)

    @property
    def whole(self) -> int:
        """How many of `beats_down` have all VPUs."""
        return self.beats_down - (self.last_vpus < self.vpus)

    @property
    def windows(self) -> int:
        """Windows of the block."""
        return self.columns // WINDOW

    @property
    def groups(self) -> int:
        """Groups of the block."""
        return -(-self.columns // self.group)

    @property
    def scale_slots(self) -> int:
        """Slots that have scales: whole VPU beats."""
        return self.beats_down * self.fmt.share * self.vpus

    @property
    def sigma_bytes(self) -> int:
        """Bytes of the sigma section."""
        return pad(self.scale_slots * self.groups)

    @property
    def mu_bytes(self) -> int:
        """Bytes of the mu section."""
        return pad(self.scale_slots * self.groups * 3 // 2) if self.fmt.affine else 0

    def codes_bytes(self, vpus: int) -> int:
        """Bytes of the codes of a beat of `vpus` VPUs."""
        return pad(vpus * 2 * self.fmt.bits)

    def beat_bytes(self, vpus: int) -> int:
        """Bytes of a code beat of `vpus` VPUs: codes, and indices if sparse."""
        return self.codes_bytes(vpus) + (0 if self.fmt.n == WINDOW else 8 * vpus)

    @property
    def whole_bytes(self) -> int:
        """Bytes of the code beats with all VPUs."""
        return self.whole * self.windows * self.beat_bytes(self.vpus)

    @property
    def part_bytes(self) -> int:
        """Bytes of the code beats with fewer."""
        return (self.beats_down - self.whole) * self.windows * self.beat_bytes(self.last_vpus)

    @property
    def size(self) -> int:
        """Bytes of the entry."""
        return self.sigma_bytes + self.mu_bytes + self.whole_bytes + self.part_bytes

    @property
    def beats(self) -> int:
        """Code beats of the entry."""
        return self.beats_down * self.windows


def entry_formats(row: np.ndarray) -> list[EntryFormat]:
    """The entries of one block, in stream order with their "more" bits, from format bytes [passes] (ABSENT: none)."""
    present = [int(b) for b in row if b != ABSENT]
    last = len(present) - 1
    return [EntryFormat.from_byte(b & ~0x40 | (0x40 if i < last else 0)) for i, b in enumerate(present)]


def header_sizes(slots: int, bias: bool, table_entries: int) -> tuple[int, int, int]:
    """Bytes of a strip's format table, rho and bias sections; `table_entries` is 0 for a uniform matrix."""
    return pad(table_entries), pad(4 * slots), pad(4 * slots) if bias else 0


def strip_entries(geo: Geometry, formats: np.ndarray, strip: int) -> list[list[EntryShape]]:
    """Shapes of the entries of a strip, per block; `formats` uint8 [blocks, passes]."""
    slots = geo.slots_of(strip)
    out = []
    for block in range(geo.blocks):
        entries = entry_formats(formats[block])
        for fmt in entries:
            if fmt.share > geo.m:
                raise ValueError(f"{fmt} needs at least {fmt.share} rows per VPU, the strip has {geo.m}")
        out.append([EntryShape(f, slots, geo.columns_of(block), geo.group, geo.vpus) for f in entries])
    return out


def strip_bytes(geo: Geometry, formats: np.ndarray, strip: int, table: bool) -> int:
    """Bytes of one strip; `formats` uint8 [blocks, passes]."""
    entries = strip_entries(geo, formats, strip)
    count = sum(len(e) for e in entries) if table else 0
    return sum(header_sizes(geo.slots_of(strip), geo.bias, count)) + sum(e.size for block in entries for e in block)


def strip_sizes(geo: Geometry, formats: np.ndarray, table: bool) -> list[int]:
    """Bytes of every strip; `formats` uint8 [strips, blocks, passes]. Equal strips are computed once."""
    known: dict[tuple[bytes, int], int] = {}
    out = []
    same = formats.strides[0] == 0
    for s in range(geo.strips):
        key = (b"" if same else formats[s].tobytes(), geo.slots_of(s))
        if key not in known:
            known[key] = strip_bytes(geo, formats[s], s, table)
        out.append(known[key])
    return out


def stream_bytes(geo: Geometry, formats: np.ndarray, table: bool) -> int:
    """Length of each channel's stream in bytes; `formats` uint8 [strips, blocks, passes], `table`: has format tables."""
    return pad(sum(strip_sizes(geo, formats, table)), STREAM_ALIGN)
