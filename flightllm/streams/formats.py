"""The format byte of a weight-stream entry and the constants of the stream layout (docs/streams.md)."""

from __future__ import annotations

from dataclasses import dataclass

#: columns of a block: the unit along K whose format is constant
BLOCK = 128
#: columns of a window: the activations one CSD-chain sees in a beat
WINDOW = 16
#: code widths in bits, by width index (bits 2:0 of the format byte)
WIDTHS = (2, 3, 4, 5, 6, 8)
#: kept codes of a window of 16, by N index (bits 4:3 of the format byte); 16 is dense
KEPT = (16, 8, 4, 2)
#: legal group sizes along K
GROUPS = (32, 64, 128)
#: legal rows per VPU of a strip
ROWS_PER_VPU = (1, 2, 4, 8)
#: largest values of the integer scale and offset
SIGMA_MAX = 255
MU_MAX = 2047
#: every section of a strip starts at a multiple of this, in bytes
ALIGN = 8
#: the stream as a whole is padded to this, in bytes
STREAM_ALIGN = 64
#: in tables of formats in memory: this pass does not exist in this entry
ABSENT = 0xFF


@dataclass(frozen=True, order=True)
class EntryFormat:
    """How one entry (a strip's rows in one block of K, one pass) is coded.

    bits: width of a code, one of `WIDTHS`. n: codes kept of each window of 16, one of `KEPT` (16: dense). affine: has offsets mu
    (dense entries only). more: another pass of the same block follows.
    """

    bits: int
    n: int = 16
    affine: bool = False
    more: bool = False

    def __post_init__(self) -> None:
        if self.bits not in WIDTHS or self.n not in KEPT:
            raise ValueError(f"no such entry format: {self.bits} bits, {self.n}:16 (bits {WIDTHS}, N {KEPT})")
        if self.affine and self.n != 16:
            raise ValueError("a sparse entry has no offsets: affine needs n = 16")

    @property
    def byte(self) -> int:
        """The format byte."""
        return WIDTHS.index(self.bits) | KEPT.index(self.n) << 3 | int(self.affine) << 5 | int(self.more) << 6

    @classmethod
    def from_byte(cls, byte: int) -> EntryFormat:
        """Decode a format byte; ValueError if it is not legal."""
        if byte & 0x80 or byte & 7 >= len(WIDTHS) or not 0 <= byte < 0x80:
            raise ValueError(f"format byte {byte:#04x} is not legal")
        return cls(WIDTHS[byte & 7], KEPT[byte >> 3 & 3], bool(byte & 0x20), bool(byte & 0x40))

    @property
    def share(self) -> int:
        """Slots that share a VPU beat: 16 / n."""
        return 16 // self.n

    def __str__(self) -> str:
        text = f"{self.bits}b"
        if self.n != 16:
            text += f" {self.n}:16"
        return text + (" affine" if self.affine else "")


def pad(size: int, to: int = ALIGN) -> int:
    """`size` rounded up to a multiple of `to`."""
    return -(-size // to) * to
