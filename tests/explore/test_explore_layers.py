"""Short models in the place of a long one."""

from __future__ import annotations

import pickle

import pytest
from shapes import write

from flightllm import api
from flightllm.compiler.layers import Cut, first_layers, plan_cut, shapes_only
from flightllm.compress import Recipe
from flightllm.config.board import load_board
from flightllm.ir.verify import verify_graph
from flightllm.search.point import evaluate, make_work

PLAIN = Recipe.from_options(weights=4)


@pytest.fixture
def graph(tmp_path):
    return api.load_shapes(write(tmp_path / "m"))


def test_layers_that_are_alike(graph):
    assert plan_cut(graph, PLAIN, 0) == Cut(9, 1, 2)
    assert Cut(9, 1, 2).whole(100, 150) == 100 + 8 * 50
    assert plan_cut(api.load_shapes("tiny-austen"), PLAIN, 0) is None, "four layers are no dearer than one and two"


@pytest.mark.parametrize(
    ("rule", "cut"),
    [
        ({"match": "layers.0-8.mlp.down", "weights": 8}, (1, 2)),
        ({"match": "layers.3.mlp.down", "weights": 8}, None),
        ({"match": "layers.8.attn.core", "kv": 4}, None),
    ],
)
def test_layers_that_a_recipe_makes_differ(graph, rule, cut):
    recipe = Recipe.from_dict({"default": {"weights": 4}, "rule": [rule]})
    recipe.check(graph)
    found = plan_cut(graph, recipe, 0)
    assert (found and (found.few, found.more)) == cut


def test_a_pattern_of_two_layers(tmp_path):
    """Nine layers, every second one wider: the short models end as the long one does."""
    graph = api.load_shapes(write(tmp_path / "m", num_hidden_layers=9))
    rules = [{"match": f"layers.{i}.mlp.down", "weights": 8} for i in range(1, 9, 2)]
    cut = plan_cut(graph, Recipe.from_dict({"default": {"weights": 4}, "rule": rules}), 0)
    assert cut is None, "3 and 5 layers are no cheaper than 9"
    graph = api.load_shapes(write(tmp_path / "m", num_hidden_layers=17))
    rules = [{"match": f"layers.{i}.mlp.down", "weights": 8} for i in range(1, 17, 2)]
    assert plan_cut(graph, Recipe.from_dict({"default": {"weights": 4}, "rule": rules}), 0) == Cut(17, 3, 5)


def test_first_layers_are_a_model(graph, tmp_path):
    """The graph cut off equals the graph of a model that has so many layers, but for its weights."""
    own = api.load_shapes(write(tmp_path / "short", num_hidden_layers=2))
    cut = shapes_only(first_layers(graph, 2))
    verify_graph(cut)
    assert [(n.name, n.inputs, n.dim) for n in cut] == [(n.name, n.inputs, n.dim) for n in own]
    assert cut.info.layers == 2
    again = pickle.loads(pickle.dumps(cut))
    assert [n.name for n in again] == [n.name for n in cut]


def test_small_layers_are_taken_more_at_once(tmp_path):
    graph = api.load_shapes(write(tmp_path / "m", num_hidden_layers=40))
    layer = 128 * (128 + 64 + 64 + 128 + 3 * 384)
    assert plan_cut(graph, PLAIN, 3 * layer) == Cut(40, 3, 6)
    assert plan_cut(graph, PLAIN, 3 * layer + 1) == Cut(40, 4, 8)
    assert plan_cut(graph, PLAIN, 7 * layer) is None, "half of the model is as well all of it"
    assert plan_cut(graph, PLAIN) is None


@pytest.mark.parametrize("options", [{"weights": 4}, {"weights": 3.5, "kv": 4}])
def test_two_short_models_say_what_the_whole_takes(tmp_path, options):
    """Cycles nearly, the nearer the larger the layers are; bytes of memory but for what is rounded up."""
    board = load_board("tiny")
    recipe = Recipe.from_options(**options)
    graph = api.load_shapes(write(tmp_path / "m", num_hidden_layers=24))
    cut = plan_cut(graph, recipe, 3 * 128 * (128 + 64 + 64 + 128 + 3 * 384))
    assert cut == Cut(24, 3, 6)
    short = evaluate(make_work(graph, board, recipe, 64, 200, cut), board.arch)
    whole = evaluate(make_work(graph, board, recipe, 64, 200), board.arch)
    assert (short.whole, whole.whole) == (False, True)
    assert short.chunk == whole.chunk
    assert short.memory_bytes == pytest.approx(whole.memory_bytes, rel=0.001)
    assert short.token_cycles == pytest.approx(whole.token_cycles, rel=0.03)
    assert short.prompt_cycles == pytest.approx(whole.prompt_cycles, rel=0.01)
    six = evaluate(make_work(first_layers(graph, 6), board, recipe, 64, 200), board.arch)
    assert six.token_cycles < whole.token_cycles / 3, "there is something to extend"


@pytest.mark.slow
def test_the_larger_the_layers_the_better_two_say_what_all_take(tmp_path):
    """TinyLlama's shapes: three layers and six in the place of 22."""
    graph = api.load_shapes(
        write(tmp_path / "m", hidden_size=2048, intermediate_size=5632, num_attention_heads=32, num_key_value_heads=4, num_hidden_layers=22)
    )  # fmt: skip
    board, recipe = load_board("u280"), Recipe.from_options(weights=3.5, kv=8)
    cut = plan_cut(graph, recipe)
    assert cut == Cut(22, 3, 6)
    short = evaluate(make_work(graph, board, recipe, 64, 200, cut), board.arch)
    whole = evaluate(make_work(graph, board, recipe, 64, 200), board.arch)
    assert short.token_cycles == pytest.approx(whole.token_cycles, rel=0.005)
    assert short.prompt_cycles == pytest.approx(whole.prompt_cycles, rel=0.005)
