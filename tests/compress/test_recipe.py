"""Recipes: rules, ranges, overrides, options, and errors that name the rule and what is allowed."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flightllm.compress import AttentionRecipe, Recipe, RowRange, TensorRecipe, parse_weights
from flightllm.compress.recipe import CalibrationRecipe
from flightllm.errors import FlightError, RecipeError
from flightllm.ir.graph import Graph, ModelInfo
from flightllm.ir.ops import Attention, Linear
from flightllm.ir.weights import Weight
from flightllm.streams import EntryFormat

FILE = """
[default]
weights = 4
group = 64
kv = 8

[[rule]]
match = "layers.0-3.attn.*"
weights = 8
kv = 4

[[rule]]
match = ["mlp.down", "lm_head"]
activations = "dual"
rows = [[0, 64, { weights = 8 }]]

[[rule]]
match = "layers.2.attn.v"
weights = 6

[[rule]]
match = "layers.5-.mlp.up"
passes = [{ bits = 2, affine = true }, { bits = 8, n = 2 }]
"""


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    path = tmp_path / "mix.toml"
    path.write_text(FILE)
    return Recipe.load(path)


def model(layers: int = 6) -> Graph:
    """A graph of matrices and attentions only: enough for roles."""
    g = Graph(ModelInfo("llama", 64, 128, layers))
    from flightllm.ir.ops import Embed

    x = g.add("embed", Embed(Weight.of("e", np.zeros((64, 32)))), dim=32)

    def linear(name: str, x: str, out: int) -> str:
        return g.add(name, Linear(Weight.of(name, np.zeros((out, 32)))), [x], dim=out)

    for i in range(layers):
        q, k, v = (linear(f"layers.{i}.attn.{r}", x, 32) for r in "qkv")
        core = g.add(f"layers.{i}.attn.core", Attention(2, 2, 16, 0.25), [q, k, v], dim=32)
        x = linear(f"layers.{i}.attn.o", core, 32)
        x = linear(f"layers.{i}.mlp.down", linear(f"layers.{i}.mlp.up", x, 32), 32)
    linear("lm_head", x, 64)
    return g


def test_later_rules_override_field_by_field(recipe: Recipe) -> None:
    four = EntryFormat(4, 16, True)
    q = recipe.for_node("layers.1.attn.q", "attn.q", 1)
    assert q == TensorRecipe(passes=(EntryFormat(8),), group=64, as_stored=False)
    assert recipe.for_node("layers.4.attn.q", "attn.q", 4).passes == (four,)
    assert recipe.for_node("layers.2.attn.v", "attn.v", 2).passes == (EntryFormat(6),)
    assert recipe.for_node("layers.4.mlp.up", "mlp.up", 4).passes == (four,)
    assert recipe.for_node("layers.5.mlp.up", "mlp.up", 5).passes == (EntryFormat(2, 16, True), EntryFormat(8, 2))
    head = recipe.for_node("lm_head", "lm_head", None)
    assert head.activations == "dual" and head.rows == (RowRange(0, 64, (EntryFormat(8),)),)


def test_scales_are_searched_where_it_helps(recipe: Recipe) -> None:
    assert recipe.for_node("layers.4.attn.q", "attn.q", 4).search  # 4 bits, offsets
    assert recipe.for_node("layers.5.mlp.up", "mlp.up", 5).search
    assert not recipe.for_node("layers.1.attn.q", "attn.q", 1).search  # 8 bits
    assert not Recipe.from_options(weights=4, affine=False).for_node("lm_head", "lm_head", None).search
    assert not Recipe.from_options(weights=3, search=False).for_node("lm_head", "lm_head", None).search
    assert Recipe.from_options(weights=3.5).for_node("lm_head", "lm_head", None).search


def test_kv_by_layer(recipe: Recipe) -> None:
    assert [recipe.for_attention(i).kv_bits for i in range(6)] == [4, 4, 4, 4, 8, 8]


def test_default_keeps_stored_grids() -> None:
    r = Recipe.from_options()
    assert r.for_node("lm_head", "lm_head", None) == TensorRecipe(as_stored=True, passes=(EntryFormat(8),), group=128)
    assert r.for_attention(0) == AttentionRecipe(kv_bits=8)


def test_options_build_the_same_recipe(tmp_path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"default": {"weights": 3, "group": 32, "kv": 4}}))
    a, b = Recipe.load(path), Recipe.from_options(weights=3, group=32, kv=4, sparsity=None)
    for node in (("lm_head", "lm_head", None), ("layers.0.mlp.up", "mlp.up", 0)):
        assert a.for_node(*node) == b.for_node(*node)
    assert a.for_attention(0) == b.for_attention(0)


def test_options_take_the_place_of_defaults_only(tmp_path) -> None:
    path = tmp_path / "mix.toml"
    path.write_text(FILE)
    r = Recipe.load(path, weights=5, kv=None)
    assert r.for_node("layers.4.attn.q", "attn.q", 4).passes == (EntryFormat(5),)
    assert r.for_node("layers.1.attn.q", "attn.q", 1).passes == (EntryFormat(8),)


def test_weights_option() -> None:
    assert parse_weights("4") == 4 and parse_weights("as-stored") == "as-stored"
    assert isinstance(parse_weights("4.0"), float)
    for text in ("four", "", "4,5"):
        with pytest.raises(RecipeError):
            parse_weights(text)


def test_budget_and_sparsity() -> None:
    r = Recipe.from_options(weights=3.5).for_node("lm_head", "lm_head", None)
    assert r.budget == 3.5 and not r.as_stored
    s = Recipe.from_options(sparsity=4).for_node("lm_head", "lm_head", None)
    assert s.passes == (EntryFormat(8, 4),) and not s.as_stored and s.budget is None


BAD = [
    ({"default": {"weight": 4}}, ["default", "weight", "weights"]),
    ({"defaults": {}}, ["defaults", "rule"]),
    ({"default": {"weights": 7}}, ["default", "7", "2, 3, 4, 5, 6, 8"]),
    ({"default": {"weights": True}}, ["weights"]),
    ({"default": {"weights": "four"}}, ["four"]),
    ({"default": {"weights": 1.5}}, ["1.5", "2.15"]),
    ({"default": {"group": 16}}, ["16", "32, 64, 128"]),
    ({"default": {"group": 64.0}}, ["64.0", "32, 64, 128"]),
    ({"default": {"sparsity": 8.0}}, ["8.0", "16, 8, 4, 2"]),
    ({"default": {"kv": 8.0}}, ["8.0", "8, 4"]),
    ({"rule": [{"match": "mlp.up", "passes": [{"bits": 4.0}]}]}, ["4.0", "bits of"]),
    ({"rule": [{"match": "mlp.up", "passes": [{"bits": 4, "n": 8.0}]}]}, ["8.0", "n of"]),
    ({"default": {"kv": 2}}, ["kv", "8, 4"]),
    ({"default": {"affine": 1}}, ["affine"]),
    ({"default": {"activations": "a16"}}, ["a16", "dual"]),
    ({"rule": [{"weights": 4}]}, ["rule 1", "match"]),
    ({"rule": [{"match": "lm_head"}, {"match": "layers.3-1.mlp.up", "weights": 4}]}, ["rule 2", "layers.3-1"]),
    ({"rule": [{"match": "layers.a.mlp.up", "weights": 4}]}, ["layers.a"]),
    ({"rule": [{"match": "mlp.up", "passes": [{"bits": 4, "n": 3}]}]}, ["rule 1", "n of"]),
    ({"rule": [{"match": "mlp.up", "passes": []}]}, ["passes"]),
    ({"rule": [{"match": "mlp.up", "passes": [{"bits": 4}], "weights": 4}]}, ["passes and weights"]),
    ({"rule": [{"match": "mlp.up", "rows": [[5, 3, {"weights": 8}]]}]}, ["rows"]),
    ({"rule": [{"match": "mlp.up", "rows": [[False, True, {"weights": 8}]]}]}, ["rows"]),
    ({"rule": [{"match": "mlp.up", "rows": [[0, 3, {"weights": 3.5}]]}]}, ["rows", "budget"]),
    ({"rule": [{"match": "mlp.up", "rows": [[0, 3, {"group": 32}]]}]}, ["group"]),
    ({"rule": [{"match": "attn.core", "attention": {"kind": "ring"}}]}, ["ring", "window"]),
    ({"rule": [{"match": "attn.core", "attention": {"kind": "window"}}]}, ["window"]),
    ({"rule": [{"match": "attn.core", "attention": {"kind": "window", "window": 8, "size": 3}}]}, ["size"]),
    ({"rule": {"match": "x"}}, ["list"]),
    ({"default": {"calibrate": 3}}, ["default", "calibrate = 3", "text file"]),
    ({"default": {"calibrate": ""}}, ["text file"]),
    ({"default": {"calibrate_tokens": 9}}, ["without calibrate"]),
    ({"default": {"calibrate": "t", "calibrate_tokens": 0}}, ["0", "1 or more"]),
    ({"default": {"calibrate": "t", "calibrate_tokens": 9.5}}, ["9.5", "whole number"]),
    ({"rule": [{"match": "mlp.up", "calibrate": "t"}]}, ["rule 1", "calibrate", "[default]"]),
]


@pytest.mark.parametrize(("data", "words"), BAD)
def test_errors_name_the_rule_and_what_is_allowed(data, words) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict(data, "my.toml")
    for word in [*words, "my.toml" if "where" in str(caught.value) else ""]:
        assert word in str(caught.value)


def test_calibration_text_is_found_beside_the_recipe_and_options_go_first(tmp_path) -> None:
    file = tmp_path / "r.toml"
    file.write_text(
        '[default]\nweights = 3.5\ncalibrate = "text.txt"\ncalibrate_tokens = 99\n[[rule]]\nmatch="*"\nkv=4\n'
    )
    assert Recipe.load(file).calibration == CalibrationRecipe(str(tmp_path / "text.txt"), 99)
    chosen = Recipe.load(file, calibrate="other.txt").calibration
    assert chosen == CalibrationRecipe(os.path.abspath("other.txt"), 99)
    assert Recipe.from_options(calibrate="other.txt").calibration == CalibrationRecipe("other.txt", 1024)
    assert Recipe.from_options(weights=3.5, calibrate=None).calibration is None
    assert Recipe.load(file).for_node("w", "lm_head", None).budget == 3.5


def test_errors_of_options_say_that_they_are_of_options() -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_options(weights=9)
    assert caught.value.where == "options"
    with pytest.raises(RecipeError) as caught:
        parse_weights("four")
    assert (caught.value.where, "one of 2, 3, 4, 5, 6, 8, a budget" in caught.value.do) == ("options", True)


def test_rules_that_match_nothing_are_errors() -> None:
    g = model()
    Recipe.from_dict({"rule": [{"match": ["attn.*", "layers.5.mlp.up"], "weights": 4}]}).check(g)
    for pattern in ("mlp.gate", "layers.6.mlp.up", "layers.0.lm_head", "attn.core"):
        with pytest.raises(RecipeError, match="matches no matrix") as caught:
            Recipe.from_dict({"rule": [{"match": ["attn.q", pattern], "weights": 4}]}).check(g)
        assert pattern in str(caught.value) and "mlp.down" in str(caught.value)
    with pytest.raises(RecipeError, match="matches no attention"):
        Recipe.from_dict({"rule": [{"match": "mlp.up", "kv": 4}]}).check(g)


def test_row_ranges_must_lie_in_the_matrix() -> None:
    rule = {"match": "lm_head", "rows": [[0, 64, {"weights": 4}]]}
    Recipe.from_dict({"rule": [rule]}).check(model())
    rule["rows"][0][1] = 65
    with pytest.raises(RecipeError, match="64 rows"):
        Recipe.from_dict({"rule": [rule]}).check(model())


def test_contradictions_between_rules_are_found_at_the_node() -> None:
    r = Recipe.from_dict({"default": {"affine": True}, "rule": [{"match": "mlp.up", "sparsity": 4}]}, "r.toml")
    r.for_node("lm_head", "lm_head", None)
    with pytest.raises(RecipeError, match=r"mlp\.up"):
        r.for_node("layers.0.mlp.up", "mlp.up", 0)


@pytest.mark.parametrize(
    ("name", "text"), [("a.toml", "= 3"), ("a.json", "{"), ("a.json", "[1]"), ("a.toml", b"\xff\xfe")]
)
def test_unreadable_files(tmp_path, name: str, text: str | bytes) -> None:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RecipeError, match=name):
        Recipe.load(path)
    with pytest.raises(RecipeError, match="missing"):
        Recipe.load(tmp_path / "missing.toml")


scalar = st.one_of(st.none(), st.booleans(), st.integers(-5, 200), st.floats(allow_nan=True), st.text(max_size=12))
anything = st.recursive(scalar, lambda s: st.lists(s, max_size=3) | st.dictionaries(st.text(max_size=8), s, max_size=3))
field_names = st.sampled_from(
    [
        "match",
        "weights",
        "group",
        "affine",
        "sparsity",
        "passes",
        "activations",
        "search",
        "rows",
        "producer",
        "kv",
        "attention",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries({"default": st.dictionaries(field_names, anything, max_size=3)}) | anything)
def test_any_data_is_a_recipe_or_a_recipe_error(data) -> None:
    try:
        r = Recipe.from_dict(data if isinstance(data, dict) else {"rule": [data]})
        r.for_node("lm_head", "lm_head", None)
        r.for_attention(0)
    except FlightError as e:
        assert isinstance(e, RecipeError)


def test_passes_and_their_short_forms_replace_each_other() -> None:
    passes = {"match": "mlp.up", "passes": [{"bits": 2}, {"bits": 8, "n": 2}]}
    short = {"match": "layers.1.*", "weights": 6}
    up = ("layers.1.mlp.up", "mlp.up", 1)
    assert Recipe.from_dict({"rule": [passes, short]}).for_node(*up).passes == (EntryFormat(6),)
    assert len(Recipe.from_dict({"rule": [short, passes]}).for_node(*up).passes) == 2
