"""Block masks and windows of recipes."""

from __future__ import annotations

import numpy as np
import pytest

from flightllm.compress import Recipe
from flightllm.errors import RecipeError


def recipe(**attention) -> Recipe:
    return Recipe.from_dict({"rule": [{"match": "layers.0-1.attn.core", "attention": attention}]})


def test_window_is_exact_and_not_a_mask() -> None:
    r = recipe(kind="window", window=256, sink=4)
    a = r.for_attention(1)
    assert (a.window, a.sink, a.mask) == (256, 4, None)
    assert r.for_attention(2).window == 0 and r.block_mask(1, 4, 2, 8) is None


def test_local_and_global_blocks() -> None:
    mask = recipe(kind="local+global", local=2, **{"global": 1}, stride=4).block_mask(0, 4, 3, 9)
    assert mask.shape == (3, 9, 9) and (mask == mask[0]).all()
    for i in range(9):
        expected = [j <= i and (i - j < 2 or j < 1 or j % 4 == 0) for j in range(9)]
        assert mask[0, i].tolist() == expected


def test_file_is_made_causal_with_its_diagonal(tmp_path) -> None:
    array = np.random.default_rng(0).random((4, 3, 10, 10)) < 0.4
    np.savez(tmp_path / "m.npz", mask=array)
    r = recipe(kind="blocks", file=str(tmp_path / "m.npz"))
    mask = r.block_mask(1, 4, 3, 6)
    for h in range(3):
        for i in range(6):
            for j in range(6):
                assert mask[h, i, j] == (i == j or (j < i and array[1, h, i, j]))


def test_file_beside_the_recipe_and_shared_by_heads(tmp_path) -> None:
    np.savez(tmp_path / "m.npz", mask=np.ones((8, 8), bool))
    (tmp_path / "r.toml").write_text('[[rule]]\nmatch = "attn.core"\nattention = { kind = "blocks", file = "m.npz" }\n')
    mask = Recipe.load(tmp_path / "r.toml").block_mask(3, 4, 2, 5)
    np.testing.assert_array_equal(mask, np.broadcast_to(np.tri(5, dtype=bool), (2, 5, 5)))


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.ones((4, 3, 5, 5), bool), "does not fit"),
        (np.ones((4, 2, 9, 9), bool), "does not fit"),
        (np.ones((3, 3, 9, 9), bool), "does not fit"),
        (np.ones((4, 3, 9, 9), np.int8), "bool"),
        (np.ones(9, bool), "bool"),
    ],
)
def test_files_that_do_not_fit(tmp_path, array, word) -> None:
    np.savez(tmp_path / "m.npz", mask=array)
    with pytest.raises(RecipeError, match=word):
        recipe(kind="blocks", file=str(tmp_path / "m.npz")).block_mask(0, 4, 3, 9)


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": ["window"]},
        {"kind": "window", "window": 1 << 31},
        {"kind": "local+global", "local": 1, "stride": 1 << 70},
    ],
)
def test_values_without_hash_or_limit_are_refused(spec) -> None:
    with pytest.raises(RecipeError, match="attention(.|\n)*where: recipe: rule 1"):
        recipe(**spec)


def test_a_file_that_is_no_npz_is_called_that(tmp_path) -> None:
    path = tmp_path / "m.npz"
    path.write_text("[[rule]]")
    with pytest.raises(RecipeError, match="why: it is not an .npz\n  do: give an .npz"):
        recipe(kind="blocks", file=str(path)).block_mask(0, 4, 3, 9)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04rubbish", "two"])
def test_damaged_files(tmp_path, content) -> None:
    path = tmp_path / "m.npz"
    if content == "two":
        np.savez(path, a=np.ones(1), b=np.ones(1))
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"m\.npz"):
        recipe(kind="blocks", file=str(path)).block_mask(0, 4, 3, 9)
