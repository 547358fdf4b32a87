"""Which configs a search looks at."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flightllm.config.board import boards, load_board
from flightllm.errors import ConfigError
from flightllm.resources import estimate
from flightllm.resources.ladder import NAMES, ladder
from flightllm.search.limits import LIMITS, make_limits
from flightllm.search.space import VARIED, make_space

BOARDS = boards()


@pytest.mark.parametrize("board", BOARDS, ids=lambda b: b.name)
def test_all_values_of_a_ladder_are_legal(board):
    for name in NAMES:
        values = ladder(board, board.arch, name)
        assert getattr(board.arch, name) in values
        assert list(values) == sorted(set(values))
        for value in values:
            replace(board.arch, **{name: value})


@pytest.mark.parametrize("name", ["vb_elements", "ab_windows", "w_ring_bytes"])
def test_values_of_buffers_fill_their_blocks(name):
    """One step more takes more blocks: what a ladder leaves out between two values is not worth asking for."""
    board = load_board("u280")
    base = replace(board.arch, vb_elements=262144, ab_windows=8192, w_ring_bytes=32768)

    def blocks(value):
        found = estimate(replace(base, **{name: value}))
        return found.total("bram36"), found.total("uram")

    values = [v for v in ladder(board, base, name) if v >= 8192]
    assert len(values) > 2
    for value in values:
        more = value + (64 if name != "w_ring_bytes" else 128)
        assert blocks(more) != blocks(value)


def test_default_space():
    board = load_board("u280")
    space = make_space(board, board.arch)
    assert tuple(space.knobs) == VARIED
    assert space.knobs["cores"] == (1, 2, 3)
    assert space.knobs["channels"] == (8, 16, 32)
    assert space.knobs["chain_vpus"] == (1, 2)
    assert {(a.vpus, a.chain_vpus) for a in space.shapes()} == {(v, c) for v in space.knobs["vpus"] for c in (1, 2)}
    assert space.base.clock_mhz == 225
    assert make_space(load_board("vhk158"), load_board("vhk158").arch).base.clock_mhz == 225, "as the paths are known"
    assert make_space(load_board("tiny"), load_board("tiny").arch).knobs["channels"] == (1, 2, 4)
    assert make_space(load_board("kv260"), load_board("kv260").arch).knobs["channels"] == (1,)


def test_vpus_are_as_many_as_there_are_chains_for():
    board = load_board("tiny")
    board = replace(board, resources=replace(board.resources, dsp=300))
    assert ladder(board, board.arch, "vpus") == (4, 8, 12)
    assert ladder(board, replace(board.arch, chain_vpus=2), "vpus") == (4, 8, 12, 16, 20, 24, 28)


def test_given_values_are_the_only_ones():
    board = load_board("u280")
    space = make_space(board, board.arch, {"vpus": [12, 4], "queue_depth": [8], "clock_mhz": [200, 300.0]})
    assert space.knobs["vpus"] == (4, 12)
    assert space.knobs["clock_mhz"] == (200, 300.0)
    assert space.base.queue_depth == 8, "shapes and their neighbours have what is fixed"
    assert not space.contains(board.arch)
    assert space.contains(replace(board.arch, queue_depth=8, clock_mhz=300.0))
    assert not space.contains(replace(board.arch, queue_depth=8, clock_mhz=300.0, vpus=8))


@pytest.mark.parametrize(
    ("vary", "what"),
    [
        ({"vpus": []}, "no values of vpus"),
        ({"vpu": [4]}, "unknown parameter vpu"),
        ({"vpus": ["4"]}, "not a whole number"),
        ({"vpus": [4, 5]}, "vpus = 5 is not legal"),
    ],
)
def test_values_that_are_not_possible(vary, what):
    board = load_board("u280")
    with pytest.raises(ConfigError, match=what):
        make_space(board, board.arch, vary)


def test_the_base_is_one_of_the_combinations():
    board = load_board("tiny")
    space = make_space(board, board.arch, {"lanes": [4, 16], "vpus": [12, 16], "max_chunk": [8, 64]})
    assert (space.base.lanes, space.base.vpus, space.base.max_chunk) == (4, 12, 8)
    assert space.contains(space.base)
    assert all(space.contains(near) for near in space.neighbours(space.base))


def test_neighbours_are_one_step_away():
    board = load_board("u280")
    vary = {name: [getattr(board.arch, name)] for name in VARIED}
    vary |= {"cores": [1, 2], "channels": [8, 16], "vpus": [4, 8, 12]}
    space = make_space(board, board.arch, vary)
    here = replace(board.arch, cores=1, channels=16, vpus=8)
    found = {(a.cores, a.channels, a.vpus) for a in space.neighbours(here)}
    assert found == {(2, 16, 8), (1, 8, 8), (1, 16, 12), (1, 16, 4), (2, 8, 8)}
    assert len(list(space.shapes())) == 12 == space.size()
    assert len(set(space.all())) == 12
    assert all(space.contains(c) for c in space.all())


def test_limits():
    assert make_limits() == LIMITS
    assert make_limits({"lut": 0.5})["lut"] == 0.5
    for bad in ({"lut": 0}, {"luts": 0.5}, {"lut": True}, {"lut": "1"}, {"lut": 11}):
        with pytest.raises(ConfigError, match="limit"):
            make_limits(bad)
