"""NaN, infinity and absurd magnitudes anywhere in a model: one clear error that names tensor and place, and no package."""

from dataclasses import replace

import numpy as np
import pytest
from graphs import decoder
from packages import build, small_arch

from flightllm.compress.plan import code_tensor
from flightllm.compress.tensor import TensorRecipe
from flightllm.errors import ModelError
from flightllm.ir import Weight
from flightllm.ir.ops import Rope
from flightllm.ir.weights import Grid, GridSpec
from flightllm.streams.formats import EntryFormat

#: (variant of the graph, node, field) of every tensor that enters the images as it is
VECTORS = [
    ({}, "layers.1.attn_norm", "gamma"),
    ({"norm": "layer"}, "layers.0.mlp_norm", "beta"),
    ({"head_norm": True}, "layers.1.attn.k_norm", "gamma"),
    ({"bias": True}, "layers.0.attn.q", "bias"),
    ({"bias": True}, "layers.1.mlp.down", "bias"),
    ({}, "embed", "table"),
    ({"rope": False}, "pos_embed", "table"),
]
MATRICES = [({}, "layers.0.attn.v", "weight"), ({}, "layers.1.mlp.down", "weight"), ({}, "lm_head", "weight")]


def spoil(graph, node, field, value):
    """Put `value` into the last but one element of a weight; returns the element's index."""
    op = graph[node].op
    old = getattr(op, field)
    data = old.read().copy()
    data.reshape(-1)[-2] = value
    graph[node].op = replace(op, **{field: Weight.of(old.name, data, "model.file")})
    return [int(i) for i in np.unravel_index(data.size - 2, data.shape)]


def refused(graph, path, *texts, **options):
    with pytest.raises(ModelError) as error:
        build(graph, path / "p.flpkg", **options)
    for text in texts:
        assert text in str(error.value)
    assert not list(path.iterdir())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("variant", "node", "field"), VECTORS + MATRICES)
def test_not_finite(variant, node, field, value, tmp_path):
    graph = decoder(**variant)
    index = spoil(graph, node, field, value)
    name = getattr(graph[node].op, field).name
    refused(graph, tmp_path, f"tensor {name} holds NaN or infinity", f"model.file: first at {index}", "why: 1 of")


@pytest.mark.parametrize("value", [3e38, -3e38])
@pytest.mark.parametrize(("variant", "node", "field"), VECTORS + MATRICES)
def test_finite_but_absurd(variant, node, field, value, tmp_path):
    graph = decoder(**variant)
    index = spoil(graph, node, field, value)
    name = getattr(graph[node].op, field).name
    refused(graph, tmp_path, f"tensor {name} holds values that are too large", f"first at {index}", "up to 3e+38")


def test_a_budget_reads_weights_before_they_are_coded(tmp_path):
    for value, text in ((np.nan, "NaN or infinity"), (1e25, "their squares")):
        graph = decoder(dim=128, ffn=256)
        spoil(graph, "layers.0.mlp.up", "weight", value)
        refused(graph, tmp_path, text, recipe={"default": {"weights": 5.5, "group": 64}})


def test_scales_of_a_stored_grid(tmp_path):
    for value, text in ((np.nan, "NaN or infinity"), (3e38, "too large")):
        graph = decoder()
        op = graph["layers.0.attn.o"].op
        rows, k = op.weight.shape
        d = np.full((rows, k // 32), 0.01, np.float32)
        d[3, 1] = value
        grid = Grid(GridSpec(8, 32, False), np.ones((rows, k), np.int8), d, np.zeros_like(d))
        weight = Weight("stored", (rows, k), grid.dense, "model.file", grid.spec, lambda grid=grid: grid)
        graph["layers.0.attn.o"].op = replace(op, weight=weight)
        refused(
            graph, tmp_path, f"tensor stored holds {'NaN' if value != value else 'values'}", text, "first at [3, 1]"
        )


def test_rotary_tables(tmp_path):
    for factor in (1e39, -1e39):
        graph = decoder()
        for node in ("layers.0.attn.q_rope", "layers.0.attn.k_rope"):
            op = graph[node].op
            graph[node].op = Rope(op.heads, op.head_dim, op.inv_freq, factor)
        refused(graph, tmp_path, "rotary position embedding", "layers.0.attn.core", "attention factor")


@pytest.mark.parametrize(("activations", "codes"), [("a8", 127), ("dual", 16256)])
@pytest.mark.parametrize("passes", [(EntryFormat(8),), (EntryFormat(4, 16, True),), (EntryFormat(2, 16, True),)])
def test_products_of_the_largest_weights_are_finite(passes, activations, codes):
    """mul(float(I), rho) with the largest codes (docs/numerics.md); beyond the limit such a weight is refused."""
    k = 300
    limit = np.float32(np.finfo(np.float32).max / (2 * codes * k))
    recipe = TensorRecipe(passes=passes, activations=activations, as_stored=False)
    sign = np.random.default_rng(0).choice([-1, 1], (8, k)).astype(np.float32)
    for data in (np.full((8, k), limit), sign * limit):
        coded, report = code_tensor(Weight.of("w", data), recipe, small_arch())
        sums = codes * np.abs(coded.effective(np.float64)).sum(axis=1)
        assert np.isfinite(sums.astype(np.float32) * coded.rho).all()
        assert np.isfinite(report.error)
    with pytest.raises(ModelError, match="too large"):
        code_tensor(Weight.of("w", data * np.float32(1.001)), recipe, small_arch())
