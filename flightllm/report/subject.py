"""What a report is about: the program of a package, or of a model whose weights are not read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flightllm.config.board import Board, load_board
from flightllm.cycles.memory import Bytes, ImageBytes
from flightllm.errors import ToolError
from flightllm.ir import Graph
from flightllm.isa import decode_program
from flightllm.isa.fields import Instruction
from flightllm.package import Manifest, Package
from flightllm.package.reader import looks_like_package
from flightllm.performance import Plan, build_notes, plan_phases, plan_shapes

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Subject:
    """A program and its surroundings.

    constants: [core] what it reads of channel 0. bits: of a weight of the matrices, all included, on average. formats: number format -> share of the
    weights of the matrices; empty if weights were not read. shape: dim, ffn, layers, vocab.
    package: None if weights were not read.
    """

    manifest: Manifest
    board: Board
    program: list[Instruction]
    constants: Sequence[Bytes]
    bits: float
    formats: dict[str, float]
    shape: dict[str, int]
    plan: Plan
    notes: list[str]
    package: Package | None


def find_subject(
    source: PathLike | Package,
    board: str | None,
    arch: PathLike | Mapping[str, Any] | None,
    compression: Mapping[str, Any],
    prompts: Sequence[int] | None,
    contexts: Sequence[int] | None,
) -> Subject:
    """Open a package, or outline a model; arguments and errors as of `write_report`."""
    if isinstance(source, Package) or looks_like_package(Path(source)):
        given = [f"--{name}" for name, value in compression.items() if value is not None]
        if arch:
            given.append("--arch or --set")
        if given:
            raise ToolError(
                f"a package has no {', '.join(given)}",
                where=str(source.path if isinstance(source, Package) else source),
                why="its config and its weights are as it was compiled",
                do="leave these options out, or give the model",
            )
        return _of_package(source if isinstance(source, Package) else Package.open(source), board, prompts, contexts)
    if board is None:
        raise ToolError(
            "a board is missing", where=str(source), why="this is a model, not a package", do="give --board"
        )
    return _of_model(source, board, arch, compression, prompts, contexts)


def _of_package(
    package: Package, board: str | None, prompts: Sequence[int] | None, contexts: Sequence[int] | None
) -> Subject:
    m = package.manifest
    target = load_board(board or m.board)
    if target.name != m.board:
        raise ToolError(
            f"this package was compiled for {m.board}, not for {target.name}",
            where=str(package.path),
            why="its config, its memory map and its memory's rates are those of its board",
            do=f"leave --board out; or compile it again for {target.name}, or give the model instead of the package",
        )
    matrices = [t for t in m.tensors if t.node not in ("embed", "pos_embed")]
    weights = sum(t.rows * t.k for t in matrices)
    bits = sum(t.bits_per_weight * t.rows * t.k for t in matrices) / max(1, weights)
    formats: dict[str, float] = {}
    for t in matrices:
        for name, share in t.formats.items():
            formats[name] = formats.get(name, 0.0) + share * t.rows * t.k
    ffn = next((t.k for t in m.tensors if t.node == "layers.0.mlp.down"), 0)
    shape = {"dim": m.model.dim, "ffn": ffn, "layers": m.model.layers, "vocab": m.model.vocab}
    constants = [ImageBytes(package.image(k, 0)) for k in range(m.arch.cores)]
    plan = plan_phases(m.limits.max_context, prompts, contexts)
    program = decode_program(bytes(package.program))
    shares = {name: count / weights for name, count in formats.items()}
    return Subject(m, target, program, constants, bits, shares, shape, plan, build_notes(m, target), package)


def _of_model(
    source: PathLike,
    board: str,
    arch: PathLike | Mapping[str, Any] | None,
    compression: Mapping[str, Any],
    prompts: Sequence[int] | None,
    contexts: Sequence[int] | None,
) -> Subject:
    from flightllm import api

    target = load_board(board)
    options = dict(compression)
    file, weights = options.pop("recipe", None), options.pop("weights", None)
    recipe = api.make_recipe(file, weights=str(4 if weights is None else weights), **options)
    graph = api.load_shapes(api.find_model(source))
    outline, plan = plan_shapes(graph, target, api.board_config(target, arch), recipe, prompts, contexts)
    m = outline.manifest
    shape = {"dim": m.model.dim, "ffn": _ffn(graph), "layers": m.model.layers, "vocab": m.model.vocab}
    return Subject(
        m, target, outline.program, outline.memory, outline.weights, {}, shape, plan, build_notes(m, target), None
    )


def _ffn(graph: Graph) -> int:
    """Inputs of the first layer's second matrix of the MLP."""
    down = "layers.0.mlp.down"
    return graph[graph[down].inputs[0]].dim if down in graph else 0
