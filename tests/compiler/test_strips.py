"""Rows per VPU: what formats need, what buffers hold, and in between what takes fewer cycles."""

from __future__ import annotations

from dataclasses import replace

import pytest
from packages import small_arch

from flightllm.api import find_model
from flightllm.compiler import strips
from flightllm.compiler.fusion import fuse
from flightllm.compiler.geometry import Geometry
from flightllm.compiler.matrices import part_tokens, plan_matrices
from flightllm.compiler.outline import outline_model
from flightllm.compiler.strips import rows_per_vpu
from flightllm.compress.recipe import Recipe
from flightllm.config.board import load_board
from flightllm.cycles.device import CycleModel
from flightllm.frontends import load_model


@pytest.fixture(scope="module")
def graph():
    return load_model(find_model("tiny-austen"))


def chosen(graph, arch, rate=64.0, **options):
    """m by name of the plan; `rate`: bytes that memory delivers to a channel in a cycle."""
    recipe = Recipe.from_options(**options)
    recipes = {n.name: recipe.for_node(n.name, n.role, n.layer) for n in graph.linears()}
    return {p.name: rows_per_vpu(p, recipes, arch, rate) for p in plan_matrices(graph, fuse(graph), Geometry(arch))}


def test_high_strips_where_they_pay(graph):
    found = chosen(graph, small_arch(1, 2, 4), weights=4)
    assert min(found.values()) > 1
    # one strip holds a small matrix on a large machine: a higher one only leaves more to drain
    assert set(chosen(graph, small_arch(1, 32, 64), weights=4).values()) == {1}


def test_low_strips_where_memory_is_slower(graph):
    slow = chosen(graph, small_arch(1, 2, 4), rate=2.0, weights=8)
    assert set(slow.values()) == {1}
    assert max(chosen(graph, small_arch(1, 2, 4), weights=8).values()) > 1


@pytest.mark.parametrize(("n", "least"), [(8, 2), (4, 4), (2, 8)])
def test_sparse_formats_need_their_rows(graph, n, least):
    assert min(chosen(graph, small_arch(1, 4, 8), weights=8, sparsity=n).values()) >= least


def test_accumulators_and_rings_hold_them(graph):
    arch = small_arch(1, 2, 4)
    tokens = part_tokens(arch.max_chunk)
    assert set(chosen(graph, replace(arch, acc_entries=tokens), weights=4).values()) == {1}
    assert max(chosen(graph, replace(arch, acc_entries=2 * tokens), weights=4).values()) == 2
    narrow = chosen(graph, replace(arch, w_ring_bytes=2048), weights=8)
    assert max(narrow.values()) < max(chosen(graph, arch, weights=8).values())


def test_it_takes_fewer_cycles(graph, monkeypatch):
    """By the cycle model, which counts what the fetch stage pops by itself."""
    board = load_board("tiny")
    cycles = []
    for lowest in (False, True):
        if lowest:
            monkeypatch.setattr(strips, "ROWS_PER_VPU", (1,))
        outline = outline_model(graph, board=board, recipe=Recipe.from_options(weights=3.5))
        counter = CycleModel(outline.manifest, outline.program, outline.memory)
        cycles.append(counter.run([1], 100, 1, False)["cycles"])
    assert cycles[0] < 0.95 * cycles[1]
