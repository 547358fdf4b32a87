"""`flightllm check`: every operator of a model, supported or not, where it is, why not, what to do."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flightllm.compress.grids import holdable
from flightllm.compress.plan import again
from flightllm.compress.recipe import Recipe
from flightllm.errors import FlightError, ModelError
from flightllm.frontends import model_kind
from flightllm.ir.graph import Graph, Node
from flightllm.ir.ops import Attention, Embed, Linear, Norm, PosEmbed, Rope
from flightllm.ir.supported import check_supported
from flightllm.ir.verify import verify_graph
from flightllm.ir.weights import Weight

NOTE = "names, types and shapes were looked at, not the values of weights: NaN and infinity are found by compile"


@dataclass(frozen=True)
class CheckRow:
    """One operator (or group of equal ones), field or tensor. where: its place in the model. why, do: if it is not supported."""

    operator: str
    where: str
    supported: bool
    why: str = ""
    do: str = ""


@dataclass(frozen=True)
class CheckReport:
    """All rows of a model."""

    model: str
    kind: str
    rows: tuple[CheckRow, ...]

    @property
    def supported(self) -> bool:
        """Nothing stands in the way of compiling."""
        return bool(self.rows) and all(r.supported for r in self.rows)

    def render(self) -> str:
        """The rows as text: first what is not supported, then the rest."""
        lines = [f"{self.model} ({self.kind})"]
        bad = [r for r in self.rows if not r.supported]
        for r in bad:
            lines.append(f"  not supported  {r.operator}  at {r.where}")
            lines += [f"      {label}: {text}" for label, text in (("why", r.why), ("do", r.do)) if text]
        lines += [f"  supported      {r.operator}  at {r.where}" for r in self.rows if r.supported]
        lines += [NOTE] if self.supported else []
        lines.append("supported" if self.supported else f"not supported: {len(bad)} of {len(self.rows)} rows")
        return "\n".join(lines) + "\n"

    def to_json(self) -> dict[str, Any]:
        """The rows as plain data."""
        return {
            "model": self.model,
            "kind": self.kind,
            "supported": self.supported,
            "note": NOTE,
            "rows": [asdict(r) for r in self.rows],
        }


def check_model(path: str | os.PathLike[str]) -> CheckReport:
    """Look through a model and collect everything that is wrong with it. Never raises for what is in the model."""
    path = Path(path)
    kind = "unknown"
    try:
        if not path.exists():
            raise ModelError(
                "there is no such model", where=str(path), do="give the path of a model, or the name of an embedded one"
            )
        kind, file = model_kind(path)
        rows = _onnx(file) if kind == "onnx" else _canonical(kind, file)
    except FlightError as error:
        rows = [_problem(error)]
    return CheckReport(str(path), kind, tuple(rows))


def _problem(error: FlightError) -> CheckRow:
    return CheckRow(error.what, error.where, False, error.why, error.do)


def _onnx(file: Path) -> list[CheckRow]:
    from flightllm.frontends.onnx import check_onnx

    found = check_onnx(file)
    return [CheckRow(**{k: row[k] for k in ("operator", "where", "supported", "why", "do")}) for row in found]  # type: ignore[arg-type]


def _canonical(kind: str, file: Path) -> list[CheckRow]:
    problems: list[ModelError] = []
    if kind == "gguf":
        from flightllm.frontends.gguf import load_gguf

        graph = load_gguf(file, problems)
    else:
        from flightllm.frontends.hf import load_hf

        graph = load_hf(file, problems=problems)
    rows = [_problem(e) for e in problems]
    if not problems:
        verify_graph(graph)
        check_supported(graph)
    return rows + list(_groups(graph))


def _groups(graph: Graph) -> Iterable[CheckRow]:
    """One row for each role and kind of node."""
    groups: dict[tuple[str, str], list[Node]] = {}
    for node in graph:
        groups.setdefault((node.role, _describe(node)), []).append(node)
    for (role, text), nodes in groups.items():
        layers = [n.layer for n in nodes if n.layer is not None]
        place = role if not layers else f"{role}, layers {_ranges(layers)}"
        yield CheckRow(text, place, True)


def _describe(node: Node) -> str:
    op = node.op
    name = type(op).__name__
    if isinstance(op, Linear):
        return f"{name} {list(op.weight.shape)}{' with bias' if op.bias else ''}{_stored(node, op.weight)}"
    if isinstance(op, Norm):
        return f"{name} {op.kind} of {node.dim // op.heads}" + (f", {op.heads} heads" if op.heads > 1 else "")
    if isinstance(op, Attention):
        window = f", window {op.window}" if op.window else ""
        return f"{name} of {op.heads} heads of {op.head_dim}, {op.kv_heads} kv heads{window}"
    if isinstance(op, Rope):
        return f"{name} on {2 * len(op.inv_freq)} of {op.head_dim} dimensions, {op.heads} heads"
    if isinstance(op, Embed | PosEmbed):
        return f"{name} {list(op.table.shape)}"
    return f"{name} {getattr(op, 'kind', '')} of {node.dim}".replace("  ", " ")


def _stored(node: Node, weight: Weight) -> str:
    """What becomes of a weight that is quantised in the file, without options of compression; "" for floating point."""
    grid = weight.grid
    if grid is not None:
        text = f", stored on a {grid.bits}-bit grid in groups of {grid.group}, "
        if not holdable(grid):
            return text + "kept as it is"
    elif weight.stored:
        text = f", stored as {weight.stored}, "
    else:
        return ""
    return text + again(Recipe.from_options().for_node(node.name, node.role, node.layer))


def _ranges(layers: list[int]) -> str:
    """[0, 1, 2, 5] -> "0-2, 5"."""
    runs: list[list[int]] = []
    for i in layers:
        if runs and runs[-1][1] == i - 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
