"""Values of registers over all runs: affine forms of the host's registers and of named non-linear results, with bounds.

Plain intervals lose what the machine's programs live from (a chunk's queries start at or after POS and end at or before KVLEN), so
a value is kept as `const + sum(coefficient * atom)`. Atoms are host registers, loop counters, and results of min, max and shifts
with their arguments. Bounds are found by replacing atoms, latest first, with what is known of them, until only host
registers are left, whose feasible set is a polytope with few vertices.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

from flightllm.errors import FlightError

INT_MIN, INT_MAX = -(1 << 31), (1 << 31) - 1

Number = int | Fraction
Terms = tuple[tuple[int, Number], ...]


class Unproven(FlightError):
    """The proof for all lengths does not go through; says nothing about any single run."""


@dataclass(frozen=True)
class Atom:
    """A named value. kind: "host", "opaque", "counter" (args: count - 1), "min", "max" or "floor" (args: form, divisor)."""

    kind: str
    name: str
    args: tuple[Any, ...]
    lo: int
    hi: int
    core: bool  #: may differ between cores


class Form:
    """An affine form with integer coefficients; immutable. Supports what footprints do with operands."""

    __slots__ = ("const", "domain", "terms")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, domain: Domain, terms: Terms, const: int) -> None:
        self.domain, self.terms, self.const = domain, terms, const

    @property
    def key(self) -> tuple[Terms, int]:
        """Equal keys: equal values in every run."""
        return self.terms, self.const

    @property
    def constant(self) -> int | None:
        """The value, if it is the same in every run."""
        return None if self.terms else self.const

    @property
    def hi(self) -> int:
        """Greatest value over all runs (or a bound above it)."""
        return self.domain.upper(self.terms) + self.const

    @property
    def lo(self) -> int:
        """Least value over all runs (or a bound below it)."""
        return self.const - self.domain.upper(_scaled(self.terms, -1))

    @property
    def core(self) -> bool:
        """May differ between cores."""
        return any(self.domain.atoms[a].core for a, _ in self.terms)

    def _coerce(self, other: Any) -> Form:
        if isinstance(other, Form):
            return other
        if isinstance(other, int):
            return Form(self.domain, (), int(other))
        raise Unproven(f"arithmetic of a register value with {type(other).__name__}")

    def __add__(self, other: Any) -> Form:
        b = self._coerce(other)
        return Form(self.domain, _added(self.terms, b.terms), self.const + b.const)

    __radd__ = __add__

    def __neg__(self) -> Form:
        return self * -1

    def __sub__(self, other: Any) -> Form:
        return self + self._coerce(other) * -1

    def __rsub__(self, other: Any) -> Form:
        return self._coerce(other) - self

    def __mul__(self, other: Any) -> Form:
        b = self._coerce(other)
        if self.terms and b.terms:
            raise Unproven("a product of two register values")
        if not b.terms:
            return Form(self.domain, _scaled(self.terms, b.const), self.const * b.const)
        return b * self.const

    __rmul__ = __mul__

    def __floordiv__(self, other: int) -> Form:
        return self.domain.floor(self, other)

    # A footprint may skip accesses that do not exist. Kept unless they exist in no run: more accesses are always sound.
    def __le__(self, other: int) -> bool:
        return (self - other).hi <= 0

    def __gt__(self, other: int) -> bool:
        return not self <= other

    def __lt__(self, other: int) -> bool:
        return self <= other - 1

    def __ge__(self, other: int) -> bool:
        return not self < other

    def __eq__(self, other: object) -> bool:
        raise Unproven("a comparison of register values for equality")

    def __bool__(self) -> bool:
        raise Unproven("a decision on a register value")


def _scaled(terms: Terms, factor: Number) -> Terms:
    return tuple((a, c * factor) for a, c in terms) if factor else ()


def _added(x: Terms, y: Terms) -> Terms:
    if not x or not y:
        return x or y
    total = dict(x)
    for a, c in y:
        total[a] = total.get(a, 0) + c
    return tuple(sorted((a, c) for a, c in total.items() if c))


class Domain:
    """All atoms of one analysis, and the feasible set of the host's registers.

    Feasible: 1 <= NTOK <= max_chunk, 0 <= POS, POS + NTOK <= max_context, 0 <= NLOG <= NTOK, 0 <= CORE < cores, MASKEN in {0, 1}.
    """

    def __init__(self, max_context: int, max_chunk: int, cores: int) -> None:
        chunk = min(max_chunk, max_context)
        self.atoms: list[Atom] = []
        self._index: dict[Any, int] = {}
        self._memo: dict[Terms, int] = {}
        self._exact: dict[Terms, Number] = {}
        self.pos = self._host("POS", 0, max_context - 1)
        self.ntok = self._host("NTOK", 1, chunk)
        self.nlog = self._host("NLOG", 0, chunk)
        self.core_id = self._host("CORE", 0, cores - 1, core=cores > 1)
        self.masken = self._host("MASKEN", 0, 1)
        places = {(0, 1), (max_context - 1, 1), (0, chunk), (max_context - chunk, chunk)}
        self._hosts = len(self.atoms)
        self._vertices = [
            (pos, ntok, nlog, core, masken)
            for pos, ntok in sorted(places)
            for nlog, core, masken in product({0, ntok}, {0, cores - 1}, (0, 1))
        ]

    def _host(self, name: str, lo: int, hi: int, core: bool = False) -> Form:
        return self._atom(("host", name), Atom("host", name, (), lo, hi, core))

    def _atom(self, key: Any, atom: Atom) -> Form:
        if key not in self._index:
            self._index[key] = len(self.atoms)
            self.atoms.append(atom)
        return Form(self, ((self._index[key], 1),), 0)

    # --- values ---------------------------------------------------------------------------------------------------
    def value(self, number: int) -> Form:
        """A constant."""
        return Form(self, (), number)

    def opaque(self, name: str, lo: int = INT_MIN, hi: int = INT_MAX, core: bool = True) -> Form:
        """A value of which only a range is known; never equal to another."""
        return self._atom(("opaque", len(self.atoms)), Atom("opaque", name, (), lo, hi, core))

    def counter(self, name: str, count: Form) -> Form:
        """Counter of a loop of `count` iterations, inside its body (so count >= 1 there): 0 .. count - 1."""
        last = count - 1
        return self._atom(("counter", len(self.atoms)), Atom("counter", name, (last,), 0, max(0, last.hi), count.core))

    def floor(self, x: Form, divisor: int) -> Form:
        """Floor of x / divisor, divisor positive."""
        if divisor <= 0:
            raise Unproven("a division by a number that is not positive")
        if not x.terms:
            return self.value(x.const // divisor)
        if divisor == 1:
            return x
        atom = Atom("floor", f"/{divisor}", (x, divisor), x.lo // divisor, x.hi // divisor, x.core)
        return self._atom(("floor", x.key, divisor), atom)

    def least(self, a: Form, b: Form) -> Form:
        """min(a, b)."""
        return self._select("min", a, b)

    def greatest(self, a: Form, b: Form) -> Form:
        """max(a, b)."""
        return self._select("max", a, b)

    def _select(self, kind: str, a: Form, b: Form) -> Form:
        difference = a - b
        pick = min if kind == "min" else max
        if difference.hi <= 0:
            return a if kind == "min" else b
        if difference.lo >= 0:
            return b if kind == "min" else a
        atom = Atom(kind, kind, (a, b), pick(a.lo, b.lo), pick(a.hi, b.hi), a.core or b.core)
        return self._atom((kind, *sorted((a.key, b.key))), atom)

    # --- bounds ---------------------------------------------------------------------------------------------------
    def upper(self, terms: Terms) -> int:
        """Greatest integer that the sum of terms can reach, or a bound above it."""
        if terms not in self._memo:
            self._memo[terms] = int(self._upper(terms) // 1)
        return self._memo[terms]

    def _upper(self, terms: Terms) -> Number:
        if not terms:
            return 0
        if terms not in self._exact:
            self._exact[terms] = self._find(terms)
        return self._exact[terms]

    def _find(self, terms: Terms) -> Number:
        at, c = terms[-1]
        if at < self._hosts:
            factors = dict(terms)
            return max(sum(c * v[a] for a, c in factors.items()) for v in self._vertices)
        rest, atom = terms[:-1], self.atoms[at]
        best = self._upper(rest) + c * (atom.hi if c > 0 else atom.lo)

        def put(factor: Number, form: Form, shift: Number = 0) -> Number:
            return self._upper(_added(rest, _scaled(form.terms, factor))) + factor * (form.const + shift)

        if atom.kind == "counter" and c > 0:
            best = min(best, put(c, atom.args[0]))
        elif atom.kind == "floor":
            x, divisor = atom.args
            best = min(best, put(Fraction(c) / divisor, x, 0 if c > 0 else 1 - divisor))
        elif atom.kind in ("min", "max"):
            both = [put(c, form) for form in atom.args]
            # c * max is a maximum for positive c and a minimum for negative c; of a minimum either argument is a bound.
            best = min(best, max(both) if (atom.kind == "max") == (c > 0) else min(both))
        return best
