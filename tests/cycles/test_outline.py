"""A program without its weights is the program that the compiler makes with them, and takes the same cycles."""

from __future__ import annotations

import numpy as np
import pytest
from packages import build, small_arch

from flightllm.api import find_model
from flightllm.compiler.outline import SparseMemory, outline_model
from flightllm.compress.recipe import Recipe
from flightllm.config.arch import ArchConfig
from flightllm.config.board import load_board
from flightllm.cycles.device import CycleModel
from flightllm.frontends import load_model
from flightllm.isa import decode_program
from flightllm.package import Package

RECIPES = {
    "4 bits": {"default": {"weights": 4, "group": 64}},
    "8 bits, 4-bit cache": {"default": {"weights": 8}, "rule": [{"match": "attn.core", "kv": 4}]},
    "4:16": {"default": {"weights": 6, "sparsity": 4}},
    "two passes": {"default": {"passes": [{"bits": 3, "affine": True}, {"bits": 8, "n": 2}], "activations": "dual"}},
    "masks": {
        "default": {"weights": 4},
        "rule": [{"match": "attn.core", "attention": {"kind": "local+global", "local": 1, "global": 0, "stride": 0}}],
    },
}
ARCHES = (small_arch(1, 4, 8), small_arch(2, 2, 4))


def both(recipe, arch: ArchConfig, path) -> tuple[Package, CycleModel, CycleModel]:
    """The package, its cycle model, and that of the outline."""
    graph = load_model(find_model("tiny-austen"))
    package = build(graph, path / "p.flpkg", arch, recipe)
    board = load_board("u280")
    outline = outline_model(graph, board=board.with_arch(arch), recipe=Recipe.from_dict(recipe))
    assert outline.manifest.memory[: len(package.manifest.memory)] == package.manifest.memory
    assert outline.program == decode_program(bytes(package.program))
    return package, CycleModel.of_package(package), CycleModel(outline.manifest, outline.program, outline.memory)


@pytest.mark.parametrize("arch", ARCHES, ids=lambda a: f"{a.cores}x{a.channels}x{a.vpus}")
@pytest.mark.parametrize("name", RECIPES)
def test_same_program_same_places_same_cycles(name, arch, tmp_path):
    _, whole, outline = both(RECIPES[name], arch, tmp_path)
    for ids, pos, masken in (([3, 4, 5], 0, True), ([9] * 32, 64, True), ([7], 130, False)):
        assert whole.run(ids, pos, 1, masken) == outline.run(ids, pos, 1, masken)


@pytest.mark.parametrize("bits", [2.9, 3.5, 5.2])
def test_a_budget_is_met_by_two_widths(bits):
    graph = load_model(find_model("tiny-austen"))
    outline = outline_model(graph, board="tiny", recipe=Recipe.from_options(weights=bits))
    assert bits - 0.35 < outline.weights <= bits + 0.35  # small matrices have few entries to spread over
    counter = CycleModel(outline.manifest, outline.program, outline.memory)
    assert counter.run([1], 20, 1, False)["cycles"] > 1000


def test_more_bits_take_more_memory_and_time():
    graph = load_model(find_model("tiny-austen"))
    found = []
    for bits in (3, 8):
        outline = outline_model(graph, board="tiny", recipe=Recipe.from_options(weights=bits))
        counters = CycleModel(outline.manifest, outline.program, outline.memory).run([1], 20, 1, False)
        found.append((outline.weights, counters["core0.ch0.read_bytes"], counters["cycles"]))
    assert all(a < b for a, b in zip(*found, strict=True))


def test_masks_leave_blocks_out(tmp_path):
    """A mask that leaves blocks out takes fewer bytes of the cache."""
    arch = ARCHES[0]
    counts = {}
    for name in ("4 bits", "masks"):
        _, counter, _ = both(RECIPES[name], arch, tmp_path)
        counts[name] = counter.run([1] * 32, 192, 0, True)["core0.ch0.read_bytes"]
    assert counts["masks"] < counts["4 bits"]


def test_sparse_memory():
    memory = SparseMemory()
    memory.put(100, np.arange(10, dtype=np.uint8))
    memory.put(300, np.full(4, 7, np.uint8))
    assert memory.read(102, 4).tolist() == [2, 3, 4, 5]
    assert memory.read(108, 4).tolist() == [8, 9, 0, 0]
    assert memory.read(50, 3).tolist() == [0, 0, 0]
    assert memory.read(300, 2).tolist() == [7, 7]
