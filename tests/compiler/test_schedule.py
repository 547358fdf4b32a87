"""The rough costs that order the parts of a chunk, against the cycle model."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from flightllm.api import find_model
from flightllm.compiler import lower
from flightllm.compiler.emit import Item
from flightllm.compiler.outline import Outline, outline_model
from flightllm.compiler.schedule import START, cost
from flightllm.compress.recipe import Recipe
from flightllm.config.arch import ArchConfig
from flightllm.cycles.device import CycleModel
from flightllm.frontends import load_model
from flightllm.isa.fields import Unit
from flightllm.isa.matrix import MM
from flightllm.streams.coded import array_share
from flightllm.streams.formats import ABSENT, EntryFormat
from flightllm.timeline import model_timeline

#: tokens of a chunk, and of a part
TOKENS, PART = 64, 32
CONTEXT = 128


def outline(arch: ArchConfig, **recipe: object) -> Outline:
    return outline_model(
        load_model(find_model("tiny-austen")), board="u280", arch=arch,
        recipe=Recipe.from_dict({"default": recipe}), max_context=CONTEXT,
    )  # fmt: skip


def config(lanes: int) -> ArchConfig:
    return ArchConfig(
        channels=4, vpus=8, lanes=lanes, vb_elements=1 << 20, ab_windows=1 << 16, acc_entries=512, max_chunk=TOKENS
    )


@pytest.mark.parametrize("lanes", [4, 16])
def test_costs_of_special_functions_are_the_models(lanes):
    """Of each kind of instruction within a twentieth of what the cycle model says, besides the start; short vectors included, which wait for sums."""
    arch = config(lanes)
    made = outline(arch, weights=4)
    line = model_timeline(
        CycleModel(made.manifest, made.program, made.memory), [0] * TOKENS, CONTEXT - TOKENS, 1, True, 0
    )
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for span in line.spans:
        if span.unit is Unit.S and span.taken is not None and span.ended is not None:
            found[type(span.inst).__name__].append(
                (cost(Item(span.inst), PART, arch, CONTEXT), span.ended - span.taken)
            )
    assert set(found) >= {"NORM", "ROPE", "SOFTMAX", "ACT"}
    for kind, pairs in found.items():
        rough, real = np.max(np.array(pairs), axis=0)  # those with all keys
        assert abs(rough - real) <= START[Unit.S] + 0.05 * real, f"{kind}: {rough:.0f} cycles, {real} by the model"


@pytest.mark.parametrize(
    ("recipe", "shares"),
    [
        ({"weights": 4}, {1.0}),
        ({"weights": 4, "sparsity": 4}, {0.25, 1.0}),
        ({"weights": 3.5}, {1.0}),
        ({"passes": [{"bits": 3, "affine": True}, {"bits": 8, "n": 2}]}, {1.125, 1.0}),
    ],
)
def test_the_order_knows_what_the_array_works(recipe, shares, monkeypatch):
    """N:16 weights take N/16 of the array's beats, several passes take them one after the other."""
    seen: list[Item] = []

    def watch(parts, *rest):
        seen.extend(item for part in parts for item in part)
        return interleave(parts, *rest)

    interleave = lower.interleave
    monkeypatch.setattr(lower, "interleave", watch)
    outline(config(16), **recipe)
    matrices = [item for item in seen if isinstance(item.inst, MM)]
    assert {item.array_share for item in matrices} == shares


def test_a_sparse_matrix_costs_less():
    arch, inst = ArchConfig(channels=1, vpus=4, lanes=4), MM(slots=4, k=4096)
    dense, sparse = (cost(Item(inst, array_share=share), PART, arch, CONTEXT) - START[Unit.M] for share in (1, 0.25))
    assert dense == PART / 2 * 4096 / 16 and sparse == dense / 4


def test_array_share():
    """Of a table: the mean over strips and blocks, without passes that are absent."""
    dense, half = EntryFormat(4).byte, EntryFormat(4, 8).byte
    formats = np.array([[[dense, half], [half, ABSENT]], [[dense, ABSENT], [half, half]]], np.uint8)
    assert array_share(formats) == (1.5 + 0.5 + 1.0 + 1.0) / 4
    assert array_share(formats[:0]) == 0.0
