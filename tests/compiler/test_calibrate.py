"""Calibration from the text to the package."""

import dataclasses
import json

import numpy as np
import pytest
from graphs import decoder
from packages import small_arch

from flightllm import api
from flightllm.compiler import compile_model
from flightllm.compiler.calibrate import calibrate, second_moments, token_ids
from flightllm.compress.recipe import CalibrationRecipe, Recipe
from flightllm.config.board import load_board
from flightllm.errors import FlightError, RecipeError
from flightllm.ir.ops import Linear
from flightllm.runtime.tokenizer import Tokenizer

TEXT = "It is a truth universally acknowledged, that a single man in possession of a good fortune must want a wife.\n"


@pytest.fixture(scope="module")
def austen():
    return api.load_graph("tiny-austen")


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text(TEXT * 40)
    return file


def quiet(*_):
    pass


def test_moments_are_mean_squares_over_all_tokens():
    graph = decoder(bias=True)
    sequences = [[1, 2, 3], [4, 5, 6, 7, 8, 9]]
    told = []
    out = second_moments(graph, sequences, lambda *what: told.append(what))
    assert out.keys() == {n.name for n in graph.linears()}
    first = graph["layers.0.attn.q"]
    table, gamma = graph["embed"].op.table.read(), graph["layers.0.attn_norm"].op.gamma.read()
    x = table[[1, 2, 3, 4, 5, 6, 7, 8, 9]].astype(float)
    x = x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-5) * gamma
    np.testing.assert_allclose(out[first.name].second_moment, (x * x).mean(0), rtol=1e-5)
    assert out[first.name].second_moment.dtype == np.float32
    assert told[0] == ("calibration", 0, 15) and told[-1] == ("calibration", 15, 15)


def test_the_first_tokens_of_the_text_are_taken(austen, text):
    whole = Tokenizer(austen.info.tokenizer_json).encode(text.read_text(), special=False)
    for n in (1, 5, 700):
        ids = token_ids(austen, CalibrationRecipe(str(text), n))
        # the text is read in pieces: what was cut in its last word may come out differently, the rest does not
        assert len(ids) == n
        assert ids[:-3] == whole[: n - 3] or n < 4


def test_a_text_of_long_tokens_is_read_to_its_end(austen, tmp_path):
    file = tmp_path / "t.txt"
    file.write_text("acknowledged universally possession " * 30)
    ids = Tokenizer(austen.info.tokenizer_json).encode(file.read_text(), special=False)
    assert token_ids(austen, CalibrationRecipe(str(file), len(ids))) == ids


def test_long_texts_are_cut_where_the_model_ends(austen, text, monkeypatch):
    seen = []
    monkeypatch.setattr("flightllm.compiler.calibrate.second_moments", lambda g, s, p: seen.append([len(x) for x in s]))
    calibrate(austen, CalibrationRecipe(str(text), 1100), quiet)
    short = dataclasses.replace(austen.info, max_context=300)
    monkeypatch.setattr(austen, "info", short)
    calibrate(austen, CalibrationRecipe(str(text), 700), quiet)
    assert seen == [[512, 512, 76], [300, 300, 100]]


def test_what_cannot_be_calibrated_is_refused(austen, text, tmp_path, monkeypatch):
    def refused(graph, recipe, *words):
        with pytest.raises(FlightError) as e:
            calibrate(graph, recipe, quiet)
        for word in words:
            assert word in str(e.value)
        assert e.value.where and e.value.why

    refused(decoder(), CalibrationRecipe(str(text)), "no tokenizer", "--calibrate")
    refused(austen, CalibrationRecipe(str(text), 99_999), "too short", "99999 are asked for", str(text))
    refused(austen, CalibrationRecipe(str(tmp_path / "none.txt")), "cannot be read", "none.txt")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\xfa")
    refused(austen, CalibrationRecipe(str(tmp_path / "b.txt")), "cannot be read", "b.txt")
    monkeypatch.setitem(austen.info.extra, "synthetic", 3)
    refused(austen, CalibrationRecipe(str(text)), "synthetic weights", "--synthetic")


def test_a_model_that_overflows_is_refused():
    graph = decoder()
    op = graph["layers.1.mlp.up"].op
    assert isinstance(op, Linear)
    op.weight.read()[3] = np.inf
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(FlightError, match=r"finite numbers\n  where: layers.1.mlp.down\n  why: 1 of its 80"),
    ):
        second_moments(graph, [[1, 2, 3]], quiet)


def test_synthetic_weights_are_known_as_such(text, tmp_path):
    config = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1}
    config |= {"num_attention_heads": 2, "vocab_size": 64, "hidden_act": "silu", "architectures": ["LlamaForCausalLM"]}
    (tmp_path / "m").mkdir()
    (tmp_path / "m/config.json").write_text(json.dumps(config))
    with pytest.raises(RecipeError, match="synthetic weights"):
        api.compile(
            tmp_path / "m",
            tmp_path / "p.flpkg",
            board="tiny",
            weights="4.5",
            calibrate=text,
            synthetic=0,
            max_context=64,
        )
    assert not (tmp_path / "p.flpkg").exists()
    report = api.compile(tmp_path / "m", tmp_path / "p.flpkg", board="tiny", weights="4.5", synthetic=0, max_context=64)
    assert report.hints == []


def test_calibration_reaches_budgets_and_scale_searches(austen, text, tmp_path):
    """The report's error is of the weights alone: what calibration buys is paid there."""
    board = load_board("u280").with_arch(small_arch(channels=4))
    images, errors = {}, {}
    for weights in (3.6, 4):
        for name in ("", "a", "b"):
            options = {"calibrate": str(text), "calibrate_tokens": 256} if name else {}
            recipe = Recipe.from_options(weights=weights, **options)
            path = tmp_path / f"{weights}{name}.flpkg"
            report = compile_model(austen, board=board, output=path, recipe=recipe, max_context=64)
            key = weights, bool(name)
            image = {f.name: f.read_bytes() for f in path.iterdir() if f.suffix == ".bin"}
            assert images.setdefault(key, image) == image  # the same text, the same bytes
            errors[key] = np.mean([t.error for t in report.coded])
            assert bool(report.hints) == (weights == 3.6 and not name)
            assert "--calibrate" not in json.dumps(report.to_json())
            assert ("--calibrate" in str(report.tables())) == bool(report.hints)
            if weights == 3.6:
                coded = [t for t in report.manifest.tensors if "embed" not in t.node]
                bits = sum(t.bits_per_weight * t.rows * t.k for t in coded) / sum(t.rows * t.k for t in coded)
                assert 3.4 < bits <= 3.6  # streams of a small model: the 64 bytes each is padded to are counted whole
    for weights in (3.6, 4):
        assert images[weights, True] != images[weights, False]
        assert errors[weights, True] > errors[weights, False]
