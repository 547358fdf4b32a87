"""What a budget chooses: stored grids, groups, offsets; and how calibration steers it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from graphs import decoder

from flightllm.compiler.budget import budgeted_mixes, importances
from flightllm.compiler.calibrate import second_moments
from flightllm.compiler.fusion import fuse
from flightllm.compiler.geometry import Geometry
from flightllm.compiler.matrices import plan_matrices
from flightllm.compiler.strips import rows_per_vpu
from flightllm.compress import Recipe, TensorRecipe, code_tensor
from flightllm.compress.budget import BudgetMatrix, BudgetPart, allocate
from flightllm.compress.grids import from_grid
from flightllm.compress.producer import Calibration, CodingRequest, producer
from flightllm.config.arch import ArchConfig
from flightllm.ir.reference import evaluate
from flightllm.ir.weights import Grid, GridSpec, Weight
from flightllm.streams import EntryFormat, pack, stack_rows
from flightllm.streams.coded import regroup

ARCH = ArchConfig(channels=2, vpus=4)
Q4 = GridSpec(4, 32, True)


def stored(spec: GridSpec = Q4, rows: int = 128, k: int = 640, seed: int = 0) -> Weight:
    """Random codes that leave out the ends of their range, so that no producer finds the grid by itself."""
    rng = np.random.default_rng(seed)
    shape, half = (rows, -(-k // spec.group)), 1 << (spec.bits - 1)
    m = rng.uniform(-0.02, 0.02, shape) if spec.affine else np.zeros(shape)
    q = np.clip(np.rint(rng.standard_normal((rows, k)) * half / 4), 1 - half, half - 2).astype(np.int8)
    grid = Grid(spec, q, rng.uniform(0.01, 0.02, shape).astype(np.float32), m.astype(np.float32))
    return Weight(f"s{seed}", (rows, k), grid.dense, "memory", spec, lambda: grid)


def matrix(
    *parts: Weight, budget: float | None = None, calibration: Calibration | None = None, **recipe
) -> BudgetMatrix:
    """Parts stacked on one core, in groups of the budget's choice unless the recipe has one."""
    settings = {"groups": (32, 64, 128), "as_stored": False, "budget": budget, "search": True, **recipe}
    members = [BudgetPart(w.name, w, (np.arange(w.shape[0]),), TensorRecipe(**settings), calibration) for w in parts]
    return BudgetMatrix("m", tuple(members))


def stream_bits(matrices: list[BudgetMatrix], mixes) -> float:
    """Bits per weight of the packed streams of everything."""
    bits = weights = 0
    for m in matrices:
        whole = stack_rows([code_tensor(p.weight, p.recipe, ARCH, mix=mixes[p.name])[0] for p in m.parts])
        whole.validate()
        bits += 8 * pack(whole, ARCH.channels, ARCH.vpus, 1).size
        weights += whole.rows * whole.k
    return bits / weights


SPECS = [Q4, GridSpec(4, 128, False), GridSpec(5, 64, True), GridSpec(3, 256, True)]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_budget_that_has_room_keeps_stored_grids_bit_for_bit(spec: GridSpec) -> None:
    w = stored(spec)
    alone = [matrix(w, budget=6.6)]
    mix = allocate(alone, ARCH)[w.name]
    coded, report = code_tensor(w, alone[0].parts[0].recipe, ARCH, mix=mix)
    want = regroup(from_grid(w.read_grid()), mix.group)
    assert report.stored and mix.kept.all() and mix.group <= min(spec.group, 128)
    for name in ("q", "sigma", "mu"):
        np.testing.assert_array_equal(getattr(coded.passes[0], name), getattr(want.passes[0], name))
    np.testing.assert_array_equal(coded.rho, want.rho)
    np.testing.assert_array_equal(coded.formats, want.formats)
    assert stream_bits(alone, {w.name: mix}) <= 6.6


def test_a_grid_that_the_machine_cannot_hold_is_not_kept() -> None:
    w = stored(GridSpec(4, 16, True))
    mix = allocate([matrix(w, budget=6.6)], ARCH)[w.name]
    assert mix.kept is None


@pytest.mark.parametrize("budget", [3.3, 3.7, 4.2])
def test_below_that_the_pieces_that_matter_most_keep_their_grid(budget: float) -> None:
    """A part of the columns has inputs 30 times as large: these keep the stored codes, and the budget is kept to the byte."""
    weights = [stored(seed=i) for i in range(3)]
    moment = np.ones(640, np.float32)
    moment[128:256] = 1000
    matrices = [matrix(w, budget=budget, calibration=Calibration(moment)) for w in weights]
    mixes = allocate(matrices, ARCH)
    assert budget - 0.03 < stream_bits(matrices, mixes) <= budget
    for m, w in zip(matrices, weights, strict=True):
        mix, grid = mixes[w.name], w.read_grid()
        assert mix.group == 32 and mix.kept[:, 1].all() and not mix.kept.all()
        coded, report = code_tensor(w, m.parts[0].recipe, ARCH, mix=mix)
        columns = np.repeat(mix.kept, 128, axis=1)
        np.testing.assert_array_equal(coded.passes[0].q[columns], grid.q[columns])
        error = np.abs(coded.dense() - grid.dense())
        # what is left there is the rounding of scales that share a row scale with coarser pieces
        assert error[columns].max() < 0.5 * grid.d.max() < error[~columns].max()
        assert not report.stored


def test_rows_kept_whole_are_exact_beside_rows_that_are_not() -> None:
    """Rows of the second half have ten times the weights: they keep their grid with its own row scale."""
    w = stored()
    grid = w.read_grid()
    grid.d[64:] *= 10
    grid.m[64:] *= 10
    alone = [matrix(w, budget=4.0)]
    mix = allocate(alone, ARCH)[w.name]
    whole = mix.kept.all(axis=1)
    assert whole[64:].all() and not whole[:64].any()
    coded, _ = code_tensor(w, alone[0].parts[0].recipe, ARCH, mix=mix)
    want = from_grid(grid)
    np.testing.assert_array_equal(coded.rho[whole], want.rho[whole])
    np.testing.assert_array_equal(coded.dense()[whole], want.dense()[whole])
    assert stream_bits(alone, {w.name: mix}) <= 4.0


def test_parts_of_a_matrix_keep_what_they_have() -> None:
    """A fused matrix of a 4-bit grid, an 8-bit one and one without any: one group, formats that hold all of a strip."""
    parts = [stored(seed=1, rows=72), stored(GridSpec(8, 64, False), rows=40, seed=2)]
    parts.append(Weight.of("plain", np.random.default_rng(3).standard_normal((56, 640))))
    fused = [matrix(*parts, budget=9.0)]
    mixes = allocate(fused, ARCH)
    assert {m.group for m in mixes.values()} == {32}
    assert mixes["plain"].kept is None and mixes["s1"].kept.all()
    assert stream_bits(fused, mixes) <= 9.0
    first, _ = code_tensor(parts[0], fused[0].parts[0].recipe, ARCH, mix=mixes["s1"])
    np.testing.assert_array_equal(first.dense(), from_grid(parts[0].read_grid()).dense())


def test_the_group_follows_the_weights() -> None:
    """Scales that change every 32 columns want groups of 32; where they do not, bits are better spent on codes."""
    rng = np.random.default_rng(0)
    even = rng.uniform(-1, 1, (256, 1024))
    uneven = even * np.repeat(np.exp(1.5 * rng.standard_normal((256, 32))), 32, axis=1)
    for data, groups in ((uneven, {32}), (even, {64, 128})):
        w = Weight.of("w", data)
        matrices = [matrix(w, budget=4.3)]
        mixes = allocate(matrices, ARCH)
        assert mixes["w"].group in groups
        assert stream_bits(matrices, mixes) <= 4.3


def test_offsets_are_bought_where_they_pay() -> None:
    rng = np.random.default_rng(0)
    data = rng.standard_normal((64, 1024))
    data[:, 512:] = np.abs(data[:, 512:]) + 1
    mix = allocate([matrix(Weight.of("w", data), budget=3.3)], ARCH)["w"]
    assert (mix.formats[:, 4:] & 0x20).all()
    assert (mix.formats[:, :4] & 0x20 == 0).mean() > 0.5


def test_a_group_in_the_recipe_is_kept_to() -> None:
    w = stored()
    mix = allocate([matrix(w, budget=6.0, groups=(), group=64)], ARCH)[w.name]
    assert mix.group == 64 and mix.kept is None
    assert Recipe.from_options(weights=3.5).for_node("w", "lm_head", None).groups == (32, 64, 128)
    assert Recipe.from_options(weights=3.5, group=64).for_node("w", "lm_head", None).groups == ()
    assert Recipe.from_options(weights=4).for_node("w", "lm_head", None).groups == ()


def test_parts_outside_the_budget_limit_the_group() -> None:
    """A matrix has one group: of a part that keeps its grid of 32 columns the others cannot have more."""
    free = Weight.of("free", np.random.default_rng(0).uniform(-1, 1, (64, 640)))
    fixed = stored()
    mine, other = matrix(free, budget=4.8), matrix(fixed, as_stored=True)
    mixes = allocate([BudgetMatrix("m", mine.parts + other.parts)], ARCH)
    assert set(mixes) == {"free"} and mixes["free"].group == 32
    assert allocate([mine], ARCH)["free"].group > 32


def test_producers_obey_the_least_row_scale() -> None:
    w = np.random.default_rng(0).standard_normal((8, 256)).astype(np.float32)
    formats = np.full((8, 2, 1), EntryFormat(4).byte, np.uint8)
    request = CodingRequest(64, formats)
    free = producer("rtn").code(w, request)
    least = free.rho * np.linspace(0.5, 2, 8, dtype=np.float32)
    bound = producer("rtn").code(w, dataclasses.replace(request, least_rho=least))
    np.testing.assert_array_equal(bound.rho, np.maximum(free.rho, least))
    assert np.abs(bound.dense() - w).max() < 0.6 * np.abs(w).max() / 7


def test_calibration_makes_a_model_better_at_the_same_size() -> None:
    """Inputs of very different sizes, as norms of trained models give them: the logits come closer to the uncompressed ones."""
    graph = decoder(dim=128, heads=4, kv_heads=2, head_dim=32, ffn=256, vocab=256)
    rng = np.random.default_rng(5)
    for node in graph:
        if node.name.endswith("norm"):
            gamma = node.op.gamma.read()
            gamma *= np.exp(1.5 * rng.standard_normal(gamma.shape)).astype(np.float32)
    measured = second_moments(graph, [rng.integers(0, 256, 64).tolist() for _ in range(4)], lambda *a: None)
    ids = rng.integers(0, 256, 128).tolist()
    want = evaluate(graph, ids)
    recipe = Recipe.from_options(weights=4.5)
    recipes = {n.name: recipe.for_node(n.name, n.role, n.layer) for n in graph.linears()}
    plans = plan_matrices(graph, fuse(graph), Geometry(ARCH))
    errors = []
    for calibration in ({}, measured):
        strips = {p.name: rows_per_vpu(p, recipes, ARCH, 64.0) for p in plans}
        mixes = budgeted_mixes(graph, plans, strips, recipes, calibration, ARCH, lambda *a: None)
        coded = {}
        for node in graph.linears():
            c, _ = code_tensor(
                node.op.weight, recipes[node.name], ARCH, mix=mixes[node.name], calibration=calibration.get(node.name)
            )
            coded[id(node.op.weight)] = c.dense()
        errors.append(np.linalg.norm(evaluate_with(graph, ids, coded) - want) / np.linalg.norm(want))
    assert errors[1] < 0.9 * errors[0]


def evaluate_with(graph, ids, weights):
    """Logits with some weights replaced: id of a weight -> its data."""
    from flightllm.ir.reference import Cache

    def read(weight):
        return weights[id(weight)] if id(weight) in weights else weight.read()

    return evaluate(graph, ids, cache=Cache(reader=read))


def test_what_is_important_gets_more_bits() -> None:
    parts = [
        BudgetPart(
            f"w{i}",
            Weight.of(f"w{i}", np.random.default_rng(0).standard_normal((64, 512))),
            (np.arange(64),),
            TensorRecipe(budget=3.6, as_stored=False, search=True),
            importance=x,
        )
        for i, x in enumerate((1.0, 50.0))
    ]
    mixes = allocate([BudgetMatrix(p.name, (p,)) for p in parts], ARCH)
    width = {name: (m.formats & 7).mean() for name, m in mixes.items()}
    assert width["w1"] > width["w0"] + 1


def test_the_output_matrix_counts_as_much_as_all_others_together() -> None:
    graph = decoder(layers=3)
    by = importances(graph)
    inner = [by[n.name] for n in graph.linears() if n.name != "lm_head"]
    assert by["lm_head"] == pytest.approx(sum(inner))
    assert by["layers.1.mlp.up"] == pytest.approx((80 * 48) ** 0.5)
