"""The frontend's entry points: load a model, list its operators."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import onnx

from flightllm.errors import FlightError, ModelError, UnsupportedError
from flightllm.frontends.onnx.constants import Constants
from flightllm.frontends.onnx.evaluate import NodeRunner
from flightllm.frontends.onnx.flow import MOVES, Flow
from flightllm.frontends.onnx.info import complete, read_angles, read_info
from flightllm.frontends.onnx.interpret import READERS
from flightllm.frontends.onnx.match import Matcher
from flightllm.frontends.onnx.operators import handlers
from flightllm.frontends.onnx.pieces import Pieces
from flightllm.frontends.onnx.reader import OnnxFile, label
from flightllm.frontends.onnx.roles import Namer
from flightllm.frontends.onnx.run import Run, main_probe
from flightllm.ir.graph import Graph
from flightllm.ir.supported import check_supported
from flightllm.ir.verify import verify_graph


@dataclass
class Loaded:
    """A file on its way: matcher and pieces are kept for reports."""

    file: OnnxFile
    flow: Flow
    matcher: Matcher
    pieces: Pieces
    logits: str


def load_onnx(path: str | os.PathLike[str]) -> Graph:
    """The canonical graph of an ONNX model; weights are read from the file when they are used.

    Raises:
        ModelError: the file or its external data is damaged, incomplete or inconsistent.
        UnsupportedError: it holds an operator or a structure that the machine does not have.
    """
    where = Path(path)
    try:
        return _name(_open(where))[0]
    except FlightError:
        raise
    except Exception as error:  # a damaged graph may break any assumption; the user gets one message
        raise _damaged(where, error) from error


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(
        "the ONNX graph cannot be interpreted",
        where=str(path),
        why=f"{type(error).__name__}: {str(error)[:200]}",
        do="the file is damaged or of an unusual form; export it again with torch.onnx.export(dynamo=True)",
    )


def _open(path: Path) -> Loaded:
    if not path.is_file():
        raise ModelError("there is no such ONNX file", where=str(path), do="give the path of an .onnx file")
    file = OnnxFile(path)
    flow = Flow(file)
    matcher = Matcher(file, flow, Constants(file, flow, NodeRunner(file)), handlers())
    names = [o.name for o in file.outputs]
    logits = "logits" if "logits" in names else names[0] if names else ""
    if not logits:
        raise ModelError("the model has no output", where=str(path), do="export it again")
    return Loaded(file, flow, matcher, Pieces(matcher, read_angles(path)), logits)


def _name(loaded: Loaded) -> tuple[Graph, Namer]:
    file, pieces = loaded.file, loaded.pieces
    run = Run(loaded.matcher, loaded.matcher.constants.runner, READERS, pieces, main_probe(file, loaded.flow))
    match = loaded.matcher(loaded.logits)
    value = pieces.plain(run.value(loaded.logits), match)
    pieces.features(value, value.width, match)
    namer = Namer(pieces)
    info = read_info(file.path)
    graph = namer.build(value.source, info)
    complete(info, graph)
    verify_graph(graph)
    return graph, namer


def check_onnx(path: str | os.PathLike[str]) -> list[dict[str, object]]:
    """Every operator of a model: operator, where, supported, why, do; in file order.

    A node of the data path has its canonical name as `where`; one that only computes shapes, positions or masks, or that only
    feeds the cache outputs, is dropped and says so.

    Raises:
        ModelError: the file cannot be read at all.
    """
    where = Path(path)
    try:
        loaded = _open(where)
        roles: dict[int, str] = {}
        errors = _walk(loaded, roles)
        if not errors:
            try:
                graph, namer = _name(loaded)
                roles |= _roles(loaded, namer)
                check_supported(graph)
            except UnsupportedError as error:
                errors[-1] = error
        return _rows(loaded, roles, errors)
    except FlightError:
        raise
    except Exception as error:
        raise _damaged(where, error) from error


def _walk(loaded: Loaded, roles: dict[int, str]) -> dict[int, UnsupportedError]:
    """Match everything that can be reached from the logits; errors by node id, roles of matched nodes."""
    errors: dict[int, UnsupportedError] = {}
    seen, todo = {loaded.logits}, [loaded.logits]
    while todo:
        tensor = todo.pop()
        try:
            match = loaded.matcher(tensor)
            needed = list(match.data)
            for node in match.nodes:
                roles.setdefault(id(node), match.kind)
        except UnsupportedError as error:
            node = loaded.file.producer.get(tensor)
            errors[id(node)] = error
            needed = loaded.matcher.data(node) if node is not None else []
        todo.extend(n for n in needed if n not in seen)
        seen.update(needed)
    return errors


def _roles(loaded: Loaded, namer: Namer) -> dict[int, str]:
    """Canonical names of the nodes of the data path."""
    roles: dict[int, str] = {}
    for piece, name in namer.names.items():
        for node in loaded.pieces.of(piece).nodes:
            roles[id(node)] = name
    return roles


def _rows(loaded: Loaded, roles: dict[int, str], errors: dict[int, UnsupportedError]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    placed = set()
    for node in loaded.file.nodes:
        error = errors.get(id(node))
        if error is not None:
            rows.append(
                _row(node, error.where, False, f"{error.what}: {error.why}" if error.why else error.what, error.do)
            )
            placed.add(id(node))
        elif id(node) in roles:
            role = roles[id(node)]
            rows.append(_row(node, f"layout of {_near(loaded, node, roles)}" if role == "move" else role, True))
        else:
            rows.append(_row(node, f"{label(node)}, dropped", True, _dropped(loaded, node)))
    for key, error in errors.items():
        if key not in placed:
            rows.append(
                {"operator": "model", "where": error.where, "supported": False, "why": str(error.what), "do": error.do}
            )
            rows[-1]["why"] = f"{error.what}: {error.why}" if error.why else error.what
    return rows


def _near(loaded: Loaded, node: onnx.NodeProto, roles: dict[int, str]) -> str:
    """The role of what a moving node moves."""
    while node.op_type in MOVES and node.input and node.input[0] in loaded.file.producer:
        node = loaded.file.producer[node.input[0]]
        if roles.get(id(node), "move") != "move":
            return roles[id(node)]
    return "token ids or cache"


def _row(node: onnx.NodeProto, where: str, supported: bool, why: str = "", do: str = "") -> dict[str, object]:
    operator = f"{node.domain}::{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
    return {"operator": operator, "where": where or label(node), "supported": supported, "why": why, "do": do}


def _dropped(loaded: Loaded, node: onnx.NodeProto) -> str:
    if all(loaded.flow.is_constant(o) for o in node.output if o):
        return "constant, folded"
    if any(loaded.flow.is_data(o) for o in node.output if o):
        return "feeds no logits (cache outputs), dropped"
    return "shape, position or mask arithmetic, dropped: the machine does its own"
