"""The Pareto front of points."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from flightllm.config.board import load_board
from flightllm.errors import ConfigError
from flightllm.search.pareto import DEFAULT, NEARLY, OBJECTIVES, front, make_objectives
from flightllm.search.point import Point

BOARD = load_board("u280")
NEEDS = {"dsp": 1000.0, "lut": 100_000.0, "ff": 1000.0, "bram36": 10.0, "uram": 10.0}


def point(token, prompt, lut, number, **needs):
    """A point with rates and LUTs; its number tells it from others."""
    arch = replace(BOARD.arch, clock_mhz=100.0, queue_depth=number + 2)
    return Point(
        arch, NEEDS | {"lut": float(lut)} | needs, token_cycles=1e8 / token, prompt_cycles=1e8 / prompt, prompt=1
    )


def test_only_what_no_other_one_beats():
    a, b, c = point(100, 100, 1000, 0), point(50, 200, 1000, 1), point(50, 50, 500, 2)
    worse, refused = point(99, 99, 1100, 3), replace(point(900, 900, 1, 4), refused="too much")
    assert front([worse, c, refused, b, a], make_objectives(), BOARD) == [a, b, c]
    assert front([worse, c, b, a], make_objectives(["token"]), BOARD) == [a]
    assert front([worse, c, b, a], make_objectives(["lut", "prompt"]), BOARD) == [c, b]
    assert front([refused], make_objectives(), BOARD) == []


def test_equal_rates_are_told_apart_by_their_blocks():
    """A rate that is better by less than what counts does not keep a config that takes more memory."""
    rate = (1 + NEARLY) ** 900  # in the middle of a step
    cheap, dear = point(rate, 100, 1000, 0), point(rate * (1 + NEARLY / 4), 100, 1000, 1, uram=20.0)
    assert front([dear, cheap], make_objectives(), BOARD) == [cheap]
    better = point(rate * (1 + 3 * NEARLY), 100, 1000, 2, uram=20.0)
    assert front([better, cheap], make_objectives(), BOARD) == [better]


def test_order_does_not_matter():
    rng = random.Random(1)
    points = [point(rng.randint(50, 60), rng.randint(50, 60), rng.randint(500, 520), i) for i in range(60)]
    once = front(points, make_objectives(), BOARD)
    assert len(once) > 1
    for _ in range(5):
        rng.shuffle(points)
        assert front(points, make_objectives(), BOARD) == once
    for a, b in itertools.permutations(once, 2):
        assert any(o.value(a, BOARD) > o.value(b, BOARD) if o.more else o.value(a, BOARD) < o.value(b, BOARD)
                   for o in make_objectives())  # fmt: skip


def test_objectives():
    assert [o.name for o in make_objectives()] == list(DEFAULT)
    assert [o.name for o in make_objectives(["dsp", "dsp"])] == ["dsp"]
    assert OBJECTIVES["dsp"].value(point(1, 1, 1, 0), BOARD) == 1000 / BOARD.resources.dsp
    with pytest.raises(ConfigError, match="unknown objective speed"):
        make_objectives(["speed"])
    with pytest.raises(ConfigError, match="no objective"):
        make_objectives([])
