"""A divergence as an error message and as plain data."""

from __future__ import annotations

from typing import Any

from flightllm.errors import ProgramError
from flightllm.executors.lockstep.match import Finding
from flightllm.executors.lockstep.names import Names, value_text
from flightllm.isa.matrix import MM


class Divergence(ProgramError):
    """The two sides differ. `data`: the facts as plain values, for `--json`."""

    def __init__(self, what: str, where: str, why: str, do: str, data: dict[str, Any]) -> None:
        self.data = data
        super().__init__(what, where=where, why=why, do=do)


def divergence(
    names: Names, other: str, core: int, f: Finding, chunk: tuple[int, int, int, bool], also: str = ""
) -> Divergence:
    """The error for a finding. other: name of the compared executor. chunk: (pos, tokens, nlog, masken) of the run. also: more text."""
    e, place = f.expected, names.place(f)
    header = "header window" in place.index
    want, got = (None if v is None else value_text(f, v, header) for v in (f.want, f.got))
    line, section = (names.listing(e.pc), names.section(e.pc)) if e is not None else ("", "")
    matrix = names.matrix(e.matrix[0]) if e is not None and isinstance(e.inst, MM) and e.matrix else ""
    weight = names.weight(f, chunk, core) if f.space == "W" else ""
    pos, tokens = chunk[:2]
    run = f"run of the program from position {pos}, {tokens} token{'s' if tokens > 1 else ''}"
    where = [f"core {core}, unit {f.unit.name}, cycle {f.cycle:,}, {run}"]
    if e is not None:
        where.append(f"pc {e.pc}: {line}" + (f"  [{section}]" if section else ""))
    where += [f"matrix {matrix}"] if matrix else []
    where += [f"{place.text()}"] if place.tensor else []
    where += [weight] if weight else []
    why = [f"functional: {want or 'nothing'}, {other}: {got or 'nothing'}"] if want or got else []
    if f.count > 1:
        why.append(f"the first of {f.count} places that differ in this instruction")
    why += [also] if also else []
    data = {
        "what": f.what,
        "core": core,
        "unit": f.unit.name,
        "cycle": f.cycle,
        "run": {"pos": pos, "tokens": tokens},
        "pc": None if e is None else e.pc,
        "instruction": line,
        "section": section,
        "matrix": matrix or (place.tensor if f.space == "W" else ""),
        "space": f.space,
        "tensor": place.tensor,
        "index": place.index,
        "weight": weight,
        "functional": want,
        other: got,
        "count": f.count,
    }
    do = "report this with the package, or write the signals: see simulate --trace"
    return Divergence(f"{other} diverges: {f.what}", "\n    ".join(where), "\n    ".join(why), do, data)
