"""Patterns of rules: which nodes a rule is about.

`mlp.down`, `attn.*`, `lm_head`, `*`: roles, in every layer. `layers.4.mlp.down`, `layers.0-3.attn.*`, `layers.28-.*`,
`layers.0,2,5-7.*`: roles in some layers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from flightllm.errors import RecipeError

_LAYERS = re.compile(r"layers\.([^.]+)\.(.+)")
_RANGE = re.compile(r"(\d+)(?:(-)(\d*))?")


@dataclass(frozen=True)
class Pattern:
    """A parsed pattern. ranges: inclusive layer ranges (None as end: open), None: any layer and outside the layers as well."""

    text: str
    role: str
    ranges: tuple[tuple[int, int | None], ...] | None

    @classmethod
    def parse(cls, text: str, where: str) -> Pattern:
        """RecipeError if the layers are not understood."""
        match = _LAYERS.fullmatch(text)
        if match is None:
            if text.startswith("layers"):
                raise _bad(text, where)
            return cls(text, text, None)
        if match[1] == "*":
            return cls(text, match[2], ((0, None),))
        ranges = []
        for item in match[1].split(","):
            found = _RANGE.fullmatch(item)
            if found is None:
                raise _bad(text, where)
            first = int(found[1])
            last = first if found[2] is None else (int(found[3]) if found[3] else None)
            if last is not None and last < first:
                raise _bad(text, where)
            ranges.append((first, last))
        return cls(text, match[2], tuple(ranges))

    def matches(self, role: str, layer: int | None) -> bool:
        """Whether a node of this role in this layer (None: outside) is meant."""
        if not fnmatchcase(role, self.role):
            return False
        if self.ranges is None:
            return True
        return layer is not None and any(a <= layer and (b is None or layer <= b) for a, b in self.ranges)


def _bad(text: str, where: str) -> RecipeError:
    return RecipeError(
        f"pattern {text!r} is not understood",
        where=where,
        do='write a role ("mlp.down", "attn.*", "lm_head") or layers and role ("layers.0-3.attn.*", "layers.28-.*", "layers.0,5.*")',
    )
