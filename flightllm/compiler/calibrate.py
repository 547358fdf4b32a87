"""Calibration: what the inputs of every matrix look like while the uncompressed model reads a text."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flightllm.compiler.images import Progress
from flightllm.compress.producer import Calibration
from flightllm.compress.recipe import CalibrationRecipe
from flightllm.errors import FlightError, RecipeError
from flightllm.ir.graph import Graph, Node
from flightllm.ir.reference import observe_linears
from flightllm.runtime.evaluate import read_text
from flightllm.runtime.tokenizer import Tokenizer

#: tokens of a sequence; a long text is cut into several, which bounds the attention scores
WINDOW = 512
#: characters read for each token wanted, at first; doubled as long as they do not suffice
_CHARACTERS = 16


def calibrate(graph: Graph, recipe: CalibrationRecipe, progress: Progress) -> dict[str, Calibration]:
    """Second moments of the inputs of every linear, by node name, over the first tokens of the text that the recipe names.

    Runs the graph in fp32, layer by layer: memory holds one weight, and the activations of one layer.

    Raises:
        FlightError: synthetic weights, no tokenizer, a text that cannot be read or is too short, inputs that are not finite.
    """
    if "synthetic" in graph.info.extra:
        raise RecipeError(
            "synthetic weights cannot be calibrated",
            where=recipe.text,
            why="what random weights compute from a text says nothing about the model",
            do="leave out --calibrate, or --synthetic",
        )
    ids = token_ids(graph, recipe)
    window = min(WINDOW, graph.info.max_context)
    return second_moments(graph, [ids[i : i + window] for i in range(0, len(ids), window)], progress)


def token_ids(graph: Graph, recipe: CalibrationRecipe) -> list[int]:
    """The first `recipe.tokens` token ids of its text, without special tokens."""
    if not graph.info.tokenizer_json:
        raise RecipeError(
            "the model cannot be calibrated on a text",
            where=graph.info.source or graph.info.arch,
            why="it has no tokenizer",
            do="put its tokenizer.json beside it, or leave out --calibrate",
        )
    tokenizer = Tokenizer(graph.info.tokenizer_json, f"tokenizer of {graph.info.source}")
    text = read_text(Path(recipe.text))
    ids: list[int] = []
    taken = _CHARACTERS * recipe.tokens
    while len(ids) < recipe.tokens:
        ids = tokenizer.encode(text[:taken], special=False)
        if taken >= len(text):
            break
        taken *= 2
    if len(ids) < recipe.tokens:
        raise RecipeError(
            "the text is too short to calibrate with",
            where=recipe.text,
            why=f"it has {len(ids)} tokens, {recipe.tokens} are asked for",
            do="use a longer text, or a smaller --calibrate-tokens",
        )
    return ids[: recipe.tokens]


def second_moments(graph: Graph, sequences: list[list[int]], progress: Progress) -> dict[str, Calibration]:
    """Mean square of each input of every linear over all tokens of some sequences, by node name.

    Raises:
        FlightError: an input is not finite.
    """
    tokens = sum(len(s) for s in sequences)
    total = len(graph.linears())
    sums: dict[str, np.ndarray] = {}

    def observe(node: Node, x: np.ndarray) -> None:
        if node.name not in sums:
            progress("calibration", len(sums), total)
            sums[node.name] = np.zeros(x.shape[1])
        sums[node.name] += np.square(x, dtype=np.float64).sum(axis=0)

    observe_linears(graph, sequences, observe)
    progress("calibration", total, total)
    for name, square in sums.items():
        if not np.isfinite(square).all():
            raise FlightError(
                "the model cannot be calibrated: it does not compute finite numbers",
                where=name,
                why=f"{int((~np.isfinite(square)).sum())} of its {square.size} inputs are infinite or NaN",
                do="check the model with flightllm eval --reference, or leave out --calibrate",
            )
    return {name: Calibration((square / tokens).astype(np.float32)) for name, square in sums.items()}
