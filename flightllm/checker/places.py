"""Places that instructions touch, as spans that hold for every value of the registers.

An instruction's own `footprint` is called with operands that are forms (`flightllm.checker.forms`); the ends of each access
are bounded. Equal instructions at other addresses share the result: base addresses stay symbols until last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from flightllm.checker.forms import Domain, Form, Unproven
from flightllm.checker.ops import Op
from flightllm.config.arch import ArchConfig
from flightllm.errors import ProgramError
from flightllm.isa.fields import REGISTERS, Addr, Count, Instruction, Operands
from flightllm.isa.footprint import Access

RINGS = ("W", "K")


@dataclass(frozen=True)
class _Span:
    """A place relative to `factor` times the base of address operand `name` ("": absolute)."""

    space: str
    write: bool
    channel: int | None
    name: str
    factor: int
    lo: int
    hi: int


@dataclass(frozen=True)
class _Template:
    """Everything about an instruction but its base addresses. offsets: address operand -> (least, greatest) register part."""

    spans: tuple[_Span, ...]
    push: tuple[str, int] | None
    pop: tuple[str, int] | None
    offsets: tuple[tuple[str, int, int, int], ...]


class Places:
    """Footprints of one analysis."""

    def __init__(self, arch: ArchConfig, domain: Domain) -> None:
        self.arch, self.domain = arch, domain
        self.size = {
            "VB": arch.vb_elements,
            "AB": arch.ab_windows,
            "MB": arch.mb_bytes,
            "MEM": arch.channel_bytes,
        }
        self._cache: dict[Any, _Template] = {}

    def op(self, pc: int, inst: Instruction, regs: list[Form]) -> Op:
        """The operation of an instruction. Raises Unproven, or ProgramError for an access outside its memory in a single run."""
        if not inst.fields:
            return Op(pc, inst)
        forms, bases, parts, single = self._operands(inst, regs)
        key = (type(inst), tuple(parts))
        template = self._cache.get(key)
        if template is None:
            template = self._cache[key] = self._template(inst, forms, pc)
        for name, bits, lo, hi in template.offsets:
            if bases[name] + lo < 0 or bases[name] + hi >= 1 << bits:
                raise Unproven(f"address {name} may leave its {bits} bits", where=f"pc {pc}: {inst}")
        out = []
        for s in template.spans:
            base = s.factor * bases[s.name] if s.name else 0
            lo, hi = base + s.lo, base + s.hi
            if lo < 0 or hi > self.size[s.space]:
                error = ProgramError if single else Unproven
                raise error(
                    f"access outside {s.space}",
                    where=f"pc {pc}, unit {inst.unit.name}: {inst}",
                    why=f"{'writes' if s.write else 'reads'} {s.space} {lo}..{hi - 1}, there are {self.size[s.space]}",
                )
            out.append((s.space, s.write, lo, hi, s.channel))
        core = any(isinstance(f, Form) and f.core for n, f in forms.items() if n in ("dst", "n0"))
        return Op(pc, inst, tuple(out), template.push, template.pop, self._blocks(inst, forms, bases), core)

    def _operands(self, inst: Instruction, regs: list[Form]) -> tuple[dict[str, Any], dict[str, int], list[Any], bool]:
        """(operands, base addresses, all else that the footprint depends on, all known exactly)."""
        values = inst.values
        forms: dict[str, Any] = {}
        bases: dict[str, int] = {}
        parts: list[Any] = []
        single = True
        for name, f in inst.fields.items():
            if isinstance(f, Addr):
                reg, stride = regs[values[name + "_r"]], values[name + "_s"]
                offset = reg * stride if values[name + "_r"] else self.domain.value(0)
                if offset.constant is not None:
                    bases[name] = (values[name] + offset.constant) & ((1 << f.bits) - 1)
                    offset = self.domain.value(0)
                else:
                    bases[name] = values[name]
                    single = False
                forms[name] = offset
                parts.append(offset.key)
            elif isinstance(f, Count):
                form = regs[values[name + "_r"]] + values[name]
                single = single and form.constant is not None
                forms[name] = form
                parts.append(form.key)
            else:
                parts.append(values[name])
        return forms, bases, parts, single

    def _template(self, inst: Instruction, forms: dict[str, Any], pc: int) -> _Template:
        operands: dict[str, Any] = {}
        symbols: dict[int, str] = {}
        for name, f in inst.fields.items():
            if isinstance(f, Addr):
                symbol = self.domain.opaque(f"base of {name}", 0, (1 << f.bits) - 1)
                symbols[symbol.terms[0][0]] = name
                operands[name] = symbol + forms[name]
            elif isinstance(f, Count):
                form = forms[name]
                if form.lo < -(1 << 31) or form.hi >= 1 << 31:
                    raise Unproven(f"count {name} may overflow", where=f"pc {pc}: {inst}")
                operands[name] = form if form.constant is None else form.constant
            else:
                operands[name] = f.resolve(inst.values, [0] * REGISTERS)
        _widest(operands)
        spans: list[_Span] = []
        reaches: dict[Any, int] = {}
        push = pop = None
        try:
            for access in inst.footprint(Operands(operands), self.arch):
                if access.space in RINGS:
                    if access.write:
                        push = (access.space, int(access.length))
                    else:
                        pop = (access.space, int(access.length))
                elif not access.empty:
                    spans.append(_span(access, symbols, reaches))
        except Unproven as e:
            raise Unproven(e.what, where=f"pc {pc}: {inst}", why=e.why) from e
        offsets = tuple(
            (name, f.bits, forms[name].lo, forms[name].hi)
            for name, f in inst.fields.items()
            if isinstance(f, Addr) and forms[name].terms
        )
        return _Template(tuple(_joined(spans)), push, pop, offsets)

    @staticmethod
    def _blocks(inst: Instruction, forms: dict[str, Any], bases: dict[str, int]) -> tuple[Any, ...]:
        """What decides which blocks an attention instruction visits; equal on both ends of the K ring, equal bytes."""
        if "len" not in forms:
            return ()
        v = inst.values
        mask = (bases["mask"], forms["mask"].key, forms["masked"].key) if "mask" in forms else ()
        return forms["len"].key, v["sink"], forms["first"].key, mask


def _widest(operands: dict[str, Any]) -> None:
    """Replace a block range that varies by one that contains it for every value of the registers.

    Candidates grow with `len` and shrink with `first`, but for the last block, which is active however `first` lies: with a
    length that varies all blocks count.
    """
    if "len" in operands and "first" in operands:
        if isinstance(operands["len"], Form):
            operands["len"], operands["first"] = operands["len"].hi, 0
        elif isinstance(operands["first"], Form):
            operands["first"] = operands["first"].lo
    if "masked" in operands and isinstance(operands["masked"], Form):
        operands["masked"] = 1


def _span(access: Access, symbols: dict[int, str], reaches: dict[Any, int]) -> _Span:
    """Bounds of an access. reaches: known greatest distances between an access's first and last start, shared by its blocks."""
    first: Any = access.base
    alone = isinstance(first, Form) and len(first.terms) == 1 and first.terms[0][0] in symbols
    if alone and isinstance(access.length, int):  # the common case, and the ends do not depend on common registers
        (symbol, factor), lo = first.terms[0], first.const
        key = (access.strides, tuple(c if isinstance(c, int) else c.key for c in access.counts))
        if key not in reaches:
            reach: Any = sum((c - 1) * s for c, s in zip(access.counts, access.strides, strict=True))
            reaches[key] = reach if isinstance(reach, int) else reach.hi
        hi = lo + reaches[key] + access.length
        return _Span(access.space, access.write, access.channel, symbols[symbol], int(factor), lo, hi)
    last = first + sum((c - 1) * s for c, s in zip(access.counts, access.strides, strict=True)) + access.length
    lo, name, factor = _bound(first, symbols, False)
    hi, other, again = _bound(last, symbols, True)
    if (name, factor) != (other, again):
        raise Unproven("an access whose ends have different bases")
    return _Span(access.space, access.write, access.channel, name, factor, lo, hi)


def _bound(x: Any, symbols: dict[int, str], up: bool) -> tuple[int, str, int]:
    """(bound of the rest, name of the base address in it, its factor)."""
    if not isinstance(x, Form):
        return x, "", 0
    found = [(symbols[a], c) for a, c in x.terms if a in symbols]
    if len(found) > 1:
        raise Unproven("an access with two base addresses")
    rest = Form(x.domain, tuple((a, c) for a, c in x.terms if a not in symbols), x.const)
    name, factor = found[0] if found else ("", 0)
    return (rest.hi if up else rest.lo), name, int(factor)


def _kind(s: _Span) -> tuple[str, bool, int, str, int]:
    return s.space, s.write, -1 if s.channel is None else s.channel, s.name, s.factor


def _joined(spans: list[_Span]) -> list[_Span]:
    """Spans of the same kind that overlap or touch, as one."""
    out: list[_Span] = []
    for kind, group in groupby(sorted(spans, key=lambda s: (_kind(s), s.lo)), key=_kind):
        open_, top = None, 0
        for s in group:
            if open_ is None or s.lo > top:
                if open_ is not None:
                    out.append(replace(open_, hi=top))
                open_, top = s, s.hi
            top = max(top, s.hi)
        assert open_ is not None, kind
        out.append(replace(open_, hi=top))
    return out
