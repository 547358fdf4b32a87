"""What fits in the place of what does not: configs on boards, models in memories and buffers."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from shapes import write

import flightllm
from flightllm.config.board import boards, load_board
from flightllm.errors import FitError
from flightllm.resources import check_fit, nearest_fit, rows_within
from flightllm.resources.nearest import changes

U280 = load_board("u280")
TOO_LARGE = [
    {"vpus": 32},
    {"vpus": 64},
    {"vpus": 16, "chain_vpus": 1},
    {"channels": 16, "cores": 4},
    {"cores": 4, "channels": 8},
    {"w_ring_bytes": 1 << 20},
    {"mb_bytes": 1 << 16, "acc_entries": 4096},
    {"clock_mhz": 301.0},
    {"channel_bytes": 1 << 33},
    {"vb_elements": 1 << 24},
]


@pytest.mark.parametrize("change", TOO_LARGE, ids=str)
def test_the_nearest_config_is_named_and_fits(change):
    arch = replace(U280.arch, **change)
    with pytest.raises(FitError) as error:
        check_fit(U280, arch)
    values = {m[1]: float(m[2]) for m in re.finditer(r"--set (\w+)=([\d.]+)", error.value.do)}
    kinds = {name: type(value) for name, value in arch.to_dict().items()}
    near = replace(arch, **{name: kinds[name](value) for name, value in values.items()})
    assert all(row.fits for row in rows_within(U280, near)), "logic, too"
    assert near == nearest_fit(U280, arch)
    # each change is needed: without any one of them it does not fit
    for name in values:
        back = replace(near, **{name: getattr(arch, name)})
        assert not all(row.fits for row in rows_within(U280, back)), name
    for row in rows_within(U280, near):
        before = next(r for r in rows_within(U280, arch) if r.resource == row.resource)
        if not before.fits:
            assert f"{row.resource} {row.need:,.10g} of {row.have:,.10g}" in error.value.do


def test_one_parameter_by_little_goes_before_more():
    assert changes(U280.arch, nearest_fit(U280, replace(U280.arch, vpus=20))) == {"vpus": 16}, (
        "as many as fit, no fewer"
    )
    assert changes(U280.arch, nearest_fit(U280, U280.arch, {"lut": 0.7})) == {"vpus": 8}
    assert changes(U280.arch, nearest_fit(U280, U280.arch, {"uram": 0.9})) == {"vb_elements": 2097152}
    assert nearest_fit(U280, U280.arch) == U280.arch
    assert nearest_fit(U280, U280.arch, {"lut": 0.01}) is None


def test_only_given_parameters_change():
    fit = nearest_fit(U280, U280.arch, {"uram": 0.5}, {"vb_elements": (262144,), "ab_windows": (8192,)})
    assert fit is None, "the rings alone take more"
    fit = nearest_fit(U280, U280.arch, {"uram": 0.65}, {"vb_elements": (262144, 1048576), "ab_windows": (8192,)})
    assert set(changes(U280.arch, fit)) == {"vb_elements"}


@pytest.mark.parametrize("board", boards(), ids=lambda b: b.name)
def test_every_board_has_a_config_that_leaves_room_for_its_shell(board):
    near = nearest_fit(board, board.arch, {"lut": 0.9, "bram36": 0.9})
    assert near is not None
    assert all(row.fits for row in rows_within(board, near, {"lut": 0.9, "bram36": 0.9}))


def proposals(do):
    """The options of each way that a message names."""
    return [
        dict(re.findall(r"--(?:set )?([\w-]+)[ =]([\w.]+)", way))
        for way in do.removeprefix("what fits: ").split("; or ")
    ]


def speed(model, context, **options):
    """With a cache of `context` positions."""
    return flightllm.speed(model, **{"board": "tiny", "contexts": [context - 1], "weights": 8} | options)


@pytest.mark.slow
def test_ways_to_fit_the_memory_all_do(tmp_path):
    """14 MB of weights and 9 MB of cache in 21 MB: each single change that is named is enough, and the next larger value is not."""
    model = write(
        tmp_path / "m", num_hidden_layers=8, hidden_size=512, intermediate_size=1536, num_attention_heads=8, num_key_value_heads=8,
        max_position_embeddings=4096,
    )  # fmt: skip
    arch = {"channel_bytes": 20 << 20, "channels": 2, "ab_windows": 16384, "w_ring_bytes": 49152, "lanes": 4}
    with pytest.raises(FitError) as error:
        speed(model, 2048, arch=arch)
    ways = proposals(error.value.do)
    names = [tuple(way) for way in ways]
    assert ("weights",) in names
    assert ("context",) in names
    assert ("channel_bytes",) in names
    for way in ways:
        if "board" in way:
            speed(model, 2048, board=way["board"])
            continue
        changed = {name: int(way[name]) for name in way if name in ("channel_bytes", "channels")}
        context = int(way.get("context", 2047)) + 1
        options = (
            {"weights": float(way["weights"]) if "." in way["weights"] else int(way["weights"])}
            if "weights" in way
            else {}
        )
        options |= {"kv": int(way["kv"])} if "kv" in way else {}
        speed(model, context, arch=arch | changed, **options)
        if "context" in way:
            with pytest.raises(FitError):
                speed(model, context + 64, arch=arch, **options)


def test_two_changes_where_one_is_not_enough(tmp_path):
    model = write(
        tmp_path / "m", num_hidden_layers=8, hidden_size=512, intermediate_size=1536, num_attention_heads=8, num_key_value_heads=8,
        max_position_embeddings=4096,
    )  # fmt: skip
    arch = {"channel_bytes": 12 << 20, "channels": 2, "ab_windows": 16384, "w_ring_bytes": 49152, "lanes": 4}
    board = tmp_path / "own.toml"
    board.write_text(_own_board())
    with pytest.raises(FitError) as error:
        speed(model, 2048, arch=arch, board=str(board))
    ways = [way for way in proposals(error.value.do) if "board" not in way]
    assert ways
    assert all(len(way) == 2 for way in ways)


def _own_board():
    """The board "tiny" with two channels of 12 MiB."""
    from flightllm.config.paths import data_dir

    text = (data_dir("boards") / "tiny.toml").read_text().replace("134217728", str(12 << 20))
    return text.replace("channels = 4", "channels = 2")


def test_buffers_that_are_large_enough_are_named(tmp_path):
    model = write(tmp_path / "m", num_hidden_layers=2, hidden_size=512, num_attention_heads=8)
    arch = {"ab_windows": 64, "vb_elements": 1024}
    with pytest.raises(FitError, match="on-chip buffers") as error:
        speed(model, 64, arch=arch)
    (way, *_) = proposals(error.value.do)
    assert set(way) == {"ab_windows", "vb_elements"}
    assert speed(model, 64, arch=arch | {name: int(value) for name, value in way.items()}).phases


def test_a_shorter_context_that_the_buffers_hold_is_named(tmp_path):
    model = write(tmp_path / "m", num_hidden_layers=2, max_position_embeddings=1 << 17)
    with pytest.raises(FitError, match="on-chip buffers") as error:
        speed(model, 1 << 17)
    context = next(int(way["context"]) for way in proposals(error.value.do) if "context" in way)
    assert speed(model, context + 1).phases


def test_compile_says_it_too(tmp_path):
    with pytest.raises(FitError, match="what fits: --set channel_bytes=134217728") as error:
        flightllm.compile(
            "tiny-austen", tmp_path / "p.flpkg", board="tiny", weights=2, kv=4, arch={"channel_bytes": 65536}
        )
    assert "bytes per channel are needed" in error.value.why
    assert list(tmp_path.iterdir()) == []
