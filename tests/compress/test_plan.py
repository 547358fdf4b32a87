"""code_tensor and budgets: what the compiler gets, and what the report says of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from flightllm.compress import Recipe, TensorRecipe, code_tensor, sensitivity
from flightllm.compress.budget import BudgetMatrix, BudgetPart, allocate
from flightllm.compress.producer import Calibration
from flightllm.compress.rtn import RoundToNearest
from flightllm.compress.sensitivity import losses, sample_rows
from flightllm.config.arch import ArchConfig
from flightllm.errors import ModelError, RecipeError
from flightllm.ir.weights import Grid, GridSpec, Weight
from flightllm.streams import EntryFormat, pack, stack_rows, take_rows, widen_together

ARCH = ArchConfig(channels=2, vpus=4)


def weight(rows: int = 96, k: int = 304, seed: int = 0, scale: float = 1.0, name: str = "w") -> Weight:
    rng = np.random.default_rng(seed)
    return Weight.of(name, rng.standard_normal((rows, k)) * scale)


def stored(bits: int = 4, group: int = 32) -> Weight:
    rng = np.random.default_rng(1)
    shape = (64, -(-256 // group))
    half = 1 << (bits - 1)
    grid = Grid(
        GridSpec(bits, group, True),
        rng.integers(-half, half, (64, 256)).astype(np.int8),
        rng.uniform(0.5, 1, shape).astype(np.float32),
        rng.uniform(-1, 1, shape).astype(np.float32),
    )
    return Weight("s", (64, 256), grid.dense, "memory", grid.spec, lambda: grid)


def test_stored_grid_is_kept() -> None:
    w = stored()
    coded, report = code_tensor(w, TensorRecipe(), ARCH)
    np.testing.assert_array_equal(coded.passes[0].q, w.read_grid().q)
    assert report.stored and report.formats == {"4b affine": 1.0} and report.error < 0.004 and not report.notes


def test_stored_grid_that_cannot_be_held_is_coded_again_and_said() -> None:
    _, report = code_tensor(stored(group=16), TensorRecipe(), ARCH)
    assert not report.stored and report.formats == {"8b": 1.0}
    assert "16 columns" in report.notes[0]


def test_recipe_can_ask_for_another_width_than_the_stored_one() -> None:
    recipe = Recipe.from_options(weights=6, group=32).for_node("s", "lm_head", None)
    _, report = code_tensor(stored(), recipe, ARCH)
    assert not report.stored and report.formats == {"6b": 1.0} and report.group == 32


@pytest.mark.parametrize("m", [1, 2, 8])
def test_reported_bits_are_those_of_the_stream(m: int) -> None:
    coded, report = code_tensor(weight(), TensorRecipe(), ARCH, bias=Weight.of("b", np.ones(96)), rows_per_vpu=m)
    stream = pack(coded, ARCH.channels, ARCH.vpus, m)
    assert report.bits_per_weight == pytest.approx(8 * stream.size / (96 * 304))
    np.testing.assert_array_equal(coded.bias, np.ones(96, np.float32))
    w = weight().read()
    assert report.error == pytest.approx(np.linalg.norm(coded.dense() - w) / np.linalg.norm(w), rel=1e-3)


def test_row_ranges_become_granules() -> None:
    rule = {
        "match": "*",
        "weights": 4,
        "rows": [[10, 20, {"weights": 8}], [40, 41, {"passes": [{"bits": 3}, {"bits": 8, "n": 4}]}]],
    }
    recipe = Recipe.from_dict({"rule": [rule]}).for_node("w", "lm_head", None)
    coded, report = code_tensor(weight(), recipe, ARCH, rows_per_vpu=4)  # granule: 2 * 4 * 4 = 32 rows
    coded.validate()
    assert {len(np.unique(coded.formats[r : r + 32], axis=0)) for r in (0, 32, 64)} == {1}
    first, second, third = (coded.formats[r, 0].tolist() for r in (0, 32, 64))
    assert first == [EntryFormat(8, 16, True).byte, 0xFF]
    assert second == [EntryFormat(4, 16, True).byte, EntryFormat(8, 4).byte]
    assert third == [EntryFormat(4, 16, True).byte, 0xFF]
    assert report.formats == pytest.approx({"8b affine": 1 / 3, "4b affine": 1 / 3, "4b affine + 8b 4:16": 1 / 3})
    assert "granules of 32 rows: 64 rows" in report.notes[0]  # even the 8-bit rows: they got offsets


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(bad: float) -> None:
    data = np.zeros((4, 32), np.float32)
    data[2, 3] = bad
    with pytest.raises(ModelError, match="1 of 128 values"):
        code_tensor(Weight.of("broken", data), TensorRecipe(), ARCH)
    with pytest.raises(ModelError, match="1 of 128 values"):
        allocate([layout([(Weight.of("broken", data), 4.0)], 1, False)], ARCH)
    w = stored()
    w.read_grid().d[3, 1] = bad
    with pytest.raises(ModelError, match="NaN or infinity"):
        code_tensor(w, TensorRecipe(), ARCH)


def test_budget_without_allocation_is_an_error() -> None:
    with pytest.raises(RecipeError, match="allocate"):
        code_tensor(weight(), TensorRecipe(budget=4.0, as_stored=False), ARCH)


def layout(parts: list[tuple[Weight, float | None]], cores: int, bias: bool, segments=()) -> BudgetMatrix:
    """Parts stacked with rows divided over cores and padded to 16."""
    members = []
    for w, budget in parts:
        each = -(-w.shape[0] // cores // 16) * 16
        rows = [np.arange(c * each, (c + 1) * each) for c in range(cores)]
        rows = tuple(np.where(r < w.shape[0], r, -1) for r in rows)
        recipe = TensorRecipe(group=64, as_stored=False, budget=budget)
        members.append(BudgetPart(w.name, w, rows, recipe))
    return BudgetMatrix("m", tuple(members), 2, bias, segments)


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("budget", [3.2, 3.5, 4.4, 6.0])
def test_budget_is_met_all_included(budget: float, cores: int) -> None:
    arch = dataclasses.replace(ARCH, cores=cores)
    weights = [weight(90 + 40 * i, 576, i, 1 + i, f"w{i}") for i in range(4)]
    for i, w in enumerate(weights):
        w.read()[: 20 * i] *= 6
    matrices = [
        layout([(weights[0], budget), (weights[1], budget)], cores, True),
        layout([(weights[2], budget)], cores, False, ((0, 64), (64, 176 // cores // 16 * 16)))
        if cores == 1
        else layout([(weights[2], budget)], cores, False),
        layout([(weights[3], budget)], cores, False),
    ]
    mixes = allocate(matrices, arch)
    assert set(mixes) == {w.name for w in weights}
    bits, total = 0, 0
    for matrix in matrices:
        coded = [code_tensor(p.weight, p.recipe, arch, mix=mixes[p.name])[0] for p in matrix.parts]
        stacks = [
            stack_rows([take_rows(c, p.rows[core]) for c, p in zip(coded, matrix.parts, strict=True)])
            for core in range(cores)
        ]
        for whole in widen_together(stacks, arch.channels * arch.vpus * 2):
            if matrix.bias:
                whole = whole.with_bias(np.zeros(whole.rows))
            for lo, hi in matrix.segments or ((0, whole.rows),):
                bits += 8 * pack(whole.slice_rows(lo, hi), arch.channels, arch.vpus, 2).size
        total += sum(p.weight.shape[0] * 576 for p in matrix.parts)
    assert budget - 0.06 < bits / total <= budget


def test_budget_gives_bits_to_what_suffers_most() -> None:
    """Same budget, one tensor with heavy tails and one flat one: the heavy one gets wider codes."""
    rng = np.random.default_rng(0)
    heavy = Weight.of("heavy", rng.standard_t(2, (128, 512)))
    flat = Weight.of("flat", rng.choice([-1.0, 1.0], (128, 512)))
    mixes = allocate([layout([(w, 3.5)], 1, False) for w in (heavy, flat)], ARCH)
    mean = {name: (mix.formats & 7).mean() for name, mix in mixes.items()}
    assert mean["flat"] == 0 and mean["heavy"] > 2


def test_budget_beats_the_uniform_width_of_the_same_size() -> None:
    rng = np.random.default_rng(0)
    scale = np.repeat([1, 4], 256)
    weights = [Weight.of(f"w{i}", rng.standard_t(3, (128, 512)) * rng.permutation(scale)) for i in range(3)]
    uniform = [code_tensor(w, TensorRecipe((EntryFormat(3, 16, True),), 64, False), ARCH)[1] for w in weights]
    size = np.mean([r.bits_per_weight for r in uniform])
    matrices = [layout([(w, float(size))], 1, False) for w in weights]
    mixes = allocate(matrices, ARCH)
    mixed = [
        code_tensor(w, m.parts[0].recipe, ARCH, mix=mixes[w.name])[1] for w, m in zip(weights, matrices, strict=True)
    ]
    assert sum(r.error**2 for r in mixed) < 0.97 * sum(r.error**2 for r in uniform)


def test_fixed_parts_are_left_alone() -> None:
    a, b = weight(64, 256, 0, name="a"), weight(64, 256, 1, name="b")
    mixes = allocate([layout([(a, 4.0), (b, None)], 1, False)], ARCH)
    assert set(mixes) == {"a"} and mixes["a"].formats.shape == (64, 2, 1)


def test_budget_too_small() -> None:
    with pytest.raises(RecipeError, match=r"3\.719 is the least"):
        allocate([layout([(weight(64, 64), 2.2)], 1, True)], ARCH)


def test_allocation_is_deterministic() -> None:
    matrices = [layout([(weight(128, 576, i, name=f"w{i}"), 3.7)], 1, False) for i in range(3)]
    one, two = allocate(matrices, ARCH), allocate(matrices, ARCH)
    assert all(np.array_equal(one[n].formats, two[n].formats) for n in one)


def test_losses_sum_to_the_relative_error_and_follow_calibration() -> None:
    from flightllm.compress.producer import producer

    w = weight(64, 256).read()
    choices = (EntryFormat(2, 16, True), EntryFormat(4, 16, True))
    granule = np.arange(64) // 16
    loss = losses(w, choices, 64, producer("rtn"), granule, 4)
    assert loss.shape == (4, 2, 2)
    for i, fmt in enumerate(choices):
        _, report = code_tensor(Weight.of("w", w), TensorRecipe((fmt,), 64, False), ARCH)
        assert loss[:, :, i].sum() == pytest.approx(report.error**2, rel=1e-3)
    moment = np.ones(256, np.float32)
    moment[128:] = 100
    tilted = losses(w, choices, 64, producer("rtn"), granule, 4, calibration=Calibration(moment))
    assert tilted[:, 1].sum() > 50 * tilted[:, 0].sum()


@pytest.mark.parametrize("stride", [1, 2, 8])
def test_sampled_rows_stand_for_all(stride: int) -> None:
    granule = np.array([0] * 9 + [3] * 1 + [1] * 16 + [-1] * 3 + [3] * 2)
    rows, share = sample_rows(granule, stride)
    assert (np.diff(rows) > 0).all()
    for g in (-1, 0, 1, 3):
        assert share[granule[rows] == g].sum() == pytest.approx((granule == g).sum())
        assert (granule[rows] == g).sum() == -(-(granule == g).sum() // stride)


def test_sampled_losses_are_close_and_miss_no_granule(monkeypatch) -> None:
    w = weight(256, 512, 4).read() * np.linspace(0.5, 2, 256, dtype=np.float32)[:, None]
    arguments = (w, (EntryFormat(3, 16, True),), 64, RoundToNearest(), np.arange(256) // 16, 16)
    full = losses(*arguments)
    monkeypatch.setattr(sensitivity, "SAMPLE", w.size // 4)
    sampled = losses(*arguments)
    assert not np.array_equal(full, sampled)
    np.testing.assert_allclose(sampled, full, rtol=0.4)
    assert sampled.sum() == pytest.approx(full.sum(), rel=0.05)


def test_budget_is_used_up_between_equal_pieces() -> None:
    """All pieces alike: one price moves all of them at once, the rest of the budget must be spent piece by piece."""
    rows = np.tile(weight(16, 128).read(), (16, 4))
    w = Weight.of("w", rows)
    mix = allocate([layout([(w, 3.9)], 1, False)], ARCH)["w"]
    assert len(np.unique(mix.formats)) > 1
    _, report = code_tensor(w, TensorRecipe(group=64, as_stored=False), ARCH, mix=mix, rows_per_vpu=2)
    assert 3.8 < report.bits_per_weight <= 3.9
