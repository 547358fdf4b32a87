"""Names for places: what a unit of a buffer, of memory or of a ring is in terms of the model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from flightllm.errors import FlightError
from flightllm.executors.lockstep.expected import Expected, starts
from flightllm.executors.lockstep.match import Finding
from flightllm.isa import decode_program, disassemble
from flightllm.isa.blocks import key_slots, unit_positions, units_of
from flightllm.isa.fields import Instruction, Operands
from flightllm.isa.load import LDG, LDK, LDS, LDV, LDW
from flightllm.isa.matrix import MM, MMPV, MMQK
from flightllm.isa.registers import host_registers
from flightllm.isa.special import SOFTMAX
from flightllm.isa.store import STKV, XCHG
from flightllm.isa.trace import trace
from flightllm.package import Package, Region
from flightllm.streams.weights import unpack

#: what the counts of an instruction's accesses count
_AXES: dict[type[Instruction], tuple[str, ...]] = {
    MM: ("token",),
    MMQK: ("query", "head of the group"),
    MMPV: ("query", "head of the group"),
    SOFTMAX: ("query", "head of the group"),
    LDV: ("row",),
    LDG: ("token",),
    LDS: ("head",),
    XCHG: ("row", "core"),
}
_SPECIAL_AXES = ("token", "vector")


@dataclass(frozen=True)
class Place:
    """A named place. tensor: matrix, buffer or region. index: coordinate -> number."""

    tensor: str
    index: dict[str, int]

    def text(self) -> str:
        """For people."""
        return ", ".join([self.tensor, *(f"{name} {number}" for name, number in self.index.items())])


class Names:
    """Names of one package."""

    def __init__(self, package: Package) -> None:
        self.package, self.m = package, package.manifest
        self.symbols = self.m.symbols()

    @cached_property
    def program(self) -> list[Instruction]:
        """The decoded program."""
        return decode_program(bytes(self.package.program))

    @cached_property
    def _listing(self) -> dict[int, str]:
        lines = disassemble(self.program, self.symbols).splitlines()
        return {int(line.split(None, 1)[0]): re.sub(r"^\s*\d+\s+", "", line) for line in lines}

    def listing(self, pc: int) -> str:
        """The line of `inspect --listing`, without the pc; "" behind the end."""
        return self._listing.get(pc, "")

    def section(self, pc: int) -> str:
        """Heading under which the instruction stands in the listing: layer and operator; "" if there is none."""
        return next((name for at, name in sorted(self.m.sections().items(), reverse=True) if at <= pc), "")

    def matrix(self, addr: int) -> str:
        """The matrix whose stream contains an address; "" if there is none."""
        return next((t.node for t in self.m.tensors if t.addr <= addr < t.addr + t.bytes), "")

    def region(self, addr: int) -> Region | None:
        """The region that contains an address."""
        return next((r for r in self.m.memory if r.addr <= addr < r.end), None)

    def place(self, f: Finding) -> Place:
        """The place of a finding."""
        if f.space in ("VB", "AB", "MB"):
            return self._buffer(f)
        if f.space == "MEM":
            return self._memory(f.index, f.channel, f.expected)
        if f.space == "K" and f.expected is not None and isinstance(f.expected.inst, LDK):
            return self._memory(self._key_address(f.expected.operands, f.index), f.channel, f.expected)
        if f.space == "W" and f.expected is not None:
            addr = f.expected.operands.addr
            return Place(
                self.matrix(addr) or f"memory {addr:#x}", {"channel": f.channel, "byte of the stream": f.index}
            )
        return Place("", {})

    # --- buffers ------------------------------------------------------------------------------------------------
    def _buffer(self, f: Finding) -> Place:
        scale = 16 if f.space == "VB" else 1
        at = f.index // scale
        base = max((b for b in self.symbols.get(f.space, {}) if b <= at), default=None)
        symbol = "" if base is None else self.symbols[f.space][base]
        unit = {"VB": "element", "AB": "window", "MB": "byte"}[f.space]
        tensor = f"{f.space} {unit} {f.index}" + (f" ({symbol})" if symbol else "")
        return Place(tensor, self._coordinates(f))

    def _coordinates(self, f: Finding) -> dict[str, int]:
        """Vector and element within it, if the instruction writes there."""
        e = f.expected
        if e is None:
            return {}
        o = e.operands
        for access in e.inst.footprint(o, self.m.arch):
            if not access.write or access.space != f.space or access.empty:
                continue
            offset = f.index - starts(access)
            inside = np.argwhere((offset >= 0) & (offset < access.length))
            if not len(inside):
                continue
            where = tuple(inside[0])
            axes = _AXES.get(type(e.inst), _SPECIAL_AXES)
            out = {name: int(i) for name, i in zip(axes, where, strict=False)} if access.counts else {}
            inner = int(offset[where]) + access.base - self._base(e, f.space)
            return out | self._inner(f, inner)
        return {}

    @staticmethod
    def _base(e: Expected, space: str) -> int:
        """First unit of vector (0, 0): blocks and codes are counted from there."""
        o = e.operands
        if space == "VB":
            return 16 * int(o.src if isinstance(e.inst, SOFTMAX) else o.dst)
        return int(o.ab if space == "AB" else o.dst)

    @staticmethod
    def _inner(f: Finding, inner: int) -> dict[str, int]:
        e = f.expected
        assert e is not None
        if f.space != "AB":
            kind = type(e.inst)
            return {"row" if kind is MM else "position" if kind in (MMQK, SOFTMAX, LDS) else "element": inner}
        if inner == 0:
            return {"header window": 0}
        dual = isinstance(e.inst, SOFTMAX) or e.operands.quant == "dual"
        number = 16 * ((inner - 1) // 2 if dual else inner - 1) + first_code(f)
        return {"code": number} | ({("low half", "high half")[inner % 2]: 1} if dual else {})

    # --- memory -------------------------------------------------------------------------------------------------
    def _memory(self, addr: int, channel: int, e: Expected | None) -> Place:
        region = self.region(addr)
        if region is None:
            return Place(f"memory {addr:#x}", {"channel": channel})
        host = self.m.host
        if region.kind == "kv":
            found = self._cache_index(region, addr, channel)
            if found:
                return Place(region.name, found)
        if host.logits_addr <= addr < host.logits_addr + self.m.limits.max_chunk * host.logits_stride:
            row, rest = divmod(addr - host.logits_addr, host.logits_stride)
            return Place("logits", {"row": row, "entry of the core": rest // 4 * self.m.arch.channels + channel})
        return Place(region.name, {"channel": channel, "byte": addr - region.addr})

    def _cache_index(self, region: Region, addr: int, channel: int) -> dict[str, int]:
        """What a byte of the KV cache is: docs/streams.md, "KV cache"."""
        c = self.m.arch.channels
        for inst in self.program:
            if not isinstance(inst, STKV):
                continue
            v = inst.resolve([0] * 32)
            at = addr - region.addr
            if v.scales == region.addr:
                slot, rest = divmod(at, 2 * v.n1)
                return {"position": slot * c + channel, "head": rest // 2}
            if v.addr != region.addr:
                continue
            head, at = divmod(at, v.head)
            unit, byte = divmod(at, v.unit_bytes)
            per = 2 if v.bits == "4" else 1
            if v.kind == "K":
                window, byte = divmod(byte, key_slots(c) * 16 // per)  # of all slots of the unit side by side
                slot, byte = divmod(byte, 16 // per)
                slot += unit * key_slots(c)
                return {"head": head, "position": slot * c + channel, "dimension": 16 * window + byte * per}
            return {"head": head, "position": 16 * unit + byte % 16, "dimension": byte // 16 * per * c + channel}
        return {}

    def _key_address(self, o: Operands, byte: int) -> int:
        """Address of a byte of the stream that an LDK pushes; with a mask, as if every candidate block were active."""
        return int(o.addr) + int(self._unit_of(o, byte // o.unit_bytes)) * int(o.unit_bytes) + byte % int(o.unit_bytes)

    def _unit_of(self, o: Operands, number: int) -> int:
        """The number-th unit that an LDK visits."""
        gran = unit_positions(o.kind, self.m.arch.channels)
        for b in o.active:
            lo, hi = units_of(b, o.len, gran)
            if number < hi - lo:
                return lo + number
            number -= hi - lo
        return 0

    # --- weights ------------------------------------------------------------------------------------------------
    def weight(self, f: Finding, chunk: tuple[int, int, int, bool], core: int) -> str:
        """What the wrong bytes of a weight stream mean; "" if that cannot be told. chunk: pos, tokens, nlog, masken of the run."""
        e = f.expected
        if e is None or not isinstance(e.inst, LDW) or e.stream is None or f.stream is None:
            return ""
        user = self._consumer(e.number, chunk, core)
        if user is None:
            return ""
        wrong = e.stream.copy()
        part = f.stream[: wrong.shape[1] - f.stream_at]
        wrong[f.channel, f.stream_at : f.stream_at + len(part)] = part
        try:
            right, other = (self._decode(user, bytes_) for bytes_ in (e.stream, wrong))
        except (FlightError, ValueError, IndexError):
            return "the stream cannot be decoded"
        for name, a, b in zip(("weight", "row factor", "bias"), right, other, strict=True):
            if a is None or b is None:
                continue
            places = np.argwhere((a != b) & ~(np.isnan(a) & np.isnan(b)))
            if len(places):
                at = ", ".join(f"{axis} {i}" for axis, i in zip(("row", "column"), places[0], strict=False))
                was, now = a[tuple(places[0])], b[tuple(places[0])]
                more = f", the first of {len(places)}" if len(places) > 1 else ""
                scaled = " (code x group scale)" if name == "weight" else ""
                return f"{name} of {at}{more}: {now:g} instead of {was:g}{scaled}"
        return "padding"

    def _consumer(self, number: int, chunk: tuple[int, int, int, bool], core: int) -> Operands | None:
        """Operands of the MM that takes the number-th stream of a run."""
        pos, tokens, nlog, masken = chunk
        for _, inst, o in trace(self.program, host_registers(pos, tokens, core, nlog, masken)):
            if isinstance(inst, MM):
                if not number:
                    return o
                number -= 1
        return None

    def _decode(self, o: Operands, stream: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        arch = self.m.arch
        fmt = None if o.table else o.format
        rows, group, m = o.slots * arch.channels, int(o.group), int(o.rows_per_vpu)
        return unpack(stream, rows, o.k, group, fmt, bool(o.bias), arch.channels, arch.vpus, m)


def first_code(f: Finding) -> int:
    """Number of the first byte that differs in an AB window."""
    if f.want is None or f.got is None:
        return 0
    return int(np.flatnonzero(np.asarray(f.want) != np.asarray(f.got))[0])


def value_text(f: Finding, raw: Any, header: bool) -> str:
    """A raw value as bits and, where it is a number, as that. header: an AB window that holds a scale."""
    if raw is None:
        return "nothing"
    if f.space == "VB":
        bits = np.uint32(raw)
        return f"{bits:#010x} ({bits.view(np.float32)!s})"
    if f.space == "AB":
        codes = np.ascontiguousarray(raw, np.int8)
        if header:
            return f"{codes.view(np.uint32)[0]:#010x} (scale {codes.view(np.float32)[0]!s})"
        return str(int(codes[first_code(f)]))
    return f"{int(raw):#04x}" if f.space else str(raw)
