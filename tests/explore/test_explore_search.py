"""The search as a whole: on the command line, in Python, and what is said of what does not fit."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from click.testing import CliRunner
from shapes import FOUR, write

import flightllm
from flightllm.cli import main
from flightllm.compiler.layers import plan_cut
from flightllm.config.board import load_board
from flightllm.errors import ConfigError, FitError, FlightError
from flightllm.resources import rows_within
from flightllm.search import explore as search_module
from flightllm.search import point as point_module
from flightllm.search.explore import OVER
from flightllm.search.pareto import front
from flightllm.search.space import make_space

#: 24 configs, all of which fit
MANY = FOUR | {"channels": [1, 2], "vpus": [4, 8], "lanes": [4, 8], "max_chunk": [8, 16, 32]}


def call(*args):
    return CliRunner().invoke(main, [str(a) for a in args], prog_name="flightllm")


def vary(values):
    return [a for name, numbers in values.items() for a in ("--vary", f"{name}={','.join(map(str, numbers))}")]


@pytest.fixture
def shapes(tmp_path):
    return write(tmp_path / "m", num_hidden_layers=2)


def explore(model, values=FOUR, **options):
    return flightllm.explore(
        model, **{"board": "tiny", "vary": values, "workers": 1, "context": 100, "prompt": 40} | options
    )


def test_all_of_a_small_space(shapes):
    found = explore(shapes)
    assert found.complete
    assert [(p.arch.channels, p.arch.vpus) for p in found.front] == [(1, 40), (2, 4), (1, 4)]
    assert [p.arch for p in found.points] == sorted((p.arch for p in found.front), key=lambda a: (a.channels, a.vpus))
    assert found.layers is None, "a model of two layers is run whole"
    assert all(p.whole for p in found.front)
    rows = {r.resource: r for r in rows_within(found.board, replace(found.front[0].arch, channels=2), found.limits)}
    assert {r.reason: r.count for r in found.refusals} == {
        f"{OVER}: {name}": 1 for name, row in rows.items() if not row.fits
    }
    assert "of 1,248" in next(r.why for r in found.refusals if r.reason.endswith("DSP"))


def test_rates_are_those_of_speed(shapes):
    found = explore(shapes, prompt=70)
    for p in found.front:
        phases = flightllm.speed(shapes, board="tiny", arch=p.arch.to_dict(), prompts=[70], contexts=[100]).phases
        assert [ph.tokens_per_second for ph in phases] == pytest.approx([p.prompt_rate, p.token_rate])
        assert {k: v for k, v in p.needs.items() if k in ("lut", "dsp")} == {
            k: flightllm.estimate(p.arch).total(k) for k in ("lut", "dsp")
        }


def test_neighbours_lead_to_the_front_of_all(shapes):
    everything = explore(shapes, MANY)
    assert everything.complete
    assert len(everything.points) == 24
    some = explore(shapes, MANY, most=23)
    assert not some.complete
    assert len(some.points) < 24
    # it goes from neighbour to neighbour of the front: what it misses has none there
    whole, found = [p.arch for p in everything.front], [p.arch for p in some.front]
    space = make_space(everything.board, found[0], MANY)
    missed = [arch for arch in whole if arch not in found]
    assert not [arch for arch in missed if set(space.neighbours(arch)) & set(found)]
    assert len(missed) <= 1
    assert [arch for arch in whole if arch in found] == found, "and nothing that is not on it"
    assert len(everything.front) > 3
    few = explore(shapes, MANY, most=5)
    assert len(few.points) == 5
    assert "after 5 configs" in " ".join(few.notes)


def test_buffers_of_shapes_shrink_until_they_fit(shapes):
    """With two cores the base's vector buffers take more UltraRAM than there is: smaller ones are looked at."""
    values = MANY | {"cores": [1, 2], "vb_elements": [262144, 524288, 786432]}
    found = explore(shapes, values, most=30, arch={"vb_elements": 786432})
    assert {p.arch.vb_elements for p in found.points if p.arch.cores == 2} <= {262144, 524288}
    assert any(p.arch.cores == 2 for p in found.points)


def test_limits_are_kept(shapes):
    loose, tight = explore(shapes, MANY), explore(shapes, MANY, limits={"lut": 0.5})
    board = load_board("tiny")
    assert all(p.needs["lut"] <= 0.5 * board.resources.lut for p in tight.points)
    assert any(p.needs["lut"] > 0.5 * board.resources.lut for p in loose.points)
    wanted = [p for p in loose.points if p.needs["lut"] <= 0.5 * board.resources.lut]
    assert [p.arch for p in tight.front] == [p.arch for p in front(wanted, tight.objectives, board)]


def test_the_boards_config_is_timed_whatever_it_takes(shapes):
    found = explore(shapes, limits={"lut": 0.55})
    assert found.default.arch == load_board("tiny").arch
    assert found.default.token_rate > 0
    assert found.default.arch not in [p.arch for p in found.points]


def test_what_does_not_fit_is_a_reason(shapes):
    """Buffers too small for the model are counted, and the others still compared."""
    found = explore(shapes, FOUR | {"vpus": [4, 8], "ab_windows": [64, 8192]})
    (refusal,) = found.refusals
    assert (refusal.count, refusal.example.ab_windows) == (4, 64)
    assert "on-chip buffers" in refusal.reason
    assert "AB" in refusal.why
    assert len(found.points) == 4
    with pytest.raises(FitError, match=r"no config of the search fits(.|\n)*4 configs: the model does not fit"):
        explore(shapes, FOUR | {"vpus": [4, 8], "ab_windows": [64]})


def test_memory_is_that_of_the_whole_model(tmp_path, monkeypatch):
    """Two layers fit where forty do not."""
    shapes = write(tmp_path / "m", num_hidden_layers=40)
    monkeypatch.setattr(search_module, "plan_cut", lambda graph, recipe: plan_cut(graph, recipe, 0))
    enough = explore(shapes, FOUR | {"vpus": [4]}, confirm=False)
    assert enough.layers == (1, 2)
    need = min(p.memory_bytes for p in enough.points)
    found = explore(shapes, FOUR | {"vpus": [4]}, confirm=False, arch={"channel_bytes": need // 64 * 64})
    assert [p.arch.channels for p in found.points] == [2]
    (refusal,) = found.refusals
    assert refusal.reason == "the model does not fit the memory"
    assert f"{need // 64 * 64:,} are there" in refusal.why


def test_the_front_is_confirmed_by_the_whole_model(tmp_path, monkeypatch):
    shapes = write(tmp_path / "m")
    monkeypatch.setattr(search_module, "plan_cut", lambda graph, recipe: plan_cut(graph, recipe, 0))
    short, whole = explore(shapes, confirm=False), explore(shapes)
    assert not any(p.whole for p in short.front)
    assert all(p.whole for p in whole.front)
    assert short.error is None
    assert whole.error is not None
    worst = max(abs(a.token_rate / b.token_rate - 1) for a, b in zip(short.front, whole.front, strict=True))
    assert 0 < worst <= whole.error < 0.05


def test_a_mistake_costs_one_config_only(shapes, monkeypatch):
    measure = point_module._measure

    def broken(work, graph, arch):
        if arch.vpus == 40:
            raise ZeroDivisionError("by nothing")
        return measure(work, graph, arch)

    monkeypatch.setattr(point_module, "_measure", broken)
    found = explore(shapes)
    assert {p.arch.vpus for p in found.points} == {4}
    assert "1 configs were not timed" in " ".join(found.notes)
    assert "ZeroDivisionError: by nothing" in " ".join(found.notes)


def test_nothing_within_the_limits_says_what_would_be(shapes):
    with pytest.raises(FitError) as error:
        explore(shapes, FOUR | {"vpus": [40], "channels": [2]})
    assert f"1 configs: {OVER}: DSP" in error.value.why
    assert "--set vpus=" in error.value.do


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"prompt": 0}, "a prompt of 0 tokens"),
        ({"context": 256}, "a context of 256 tokens"),
        ({"most": 0}, "most = 0"),
        ({"limits": {"lut": 0}}, "limit lut"),
        ({"objectives": ["speed"]}, "unknown objective"),
        ({"workers": 0}, "0 workers"),
        ({"workers": 2, "scheduler": "tcp://127.0.0.1:1"}, "number of workers"),
        ({"board": "u281"}, "no board"),
        ({"arch": {"vpu": 4}}, "unknown parameter"),
    ],
)
def test_options_that_are_not_possible(shapes, options, what):
    with pytest.raises(FlightError, match=what):
        explore(shapes, **options)


def test_command(shapes, tmp_path):
    out = tmp_path / "out"
    args = ["explore", shapes, "--board", "tiny", "--workers", 1, "--context", 100, *vary(FOUR), "-o", out]
    result = call(*args)
    assert result.exit_code == 0, result.output
    text = result.stdout
    assert "3 configs timed of 4 combinations (all); 3 that no other one beats" in text
    assert "board's" in text
    assert f"1  {OVER}: DSP" in text
    document = json.loads(call(*args, "--json").stdout)
    assert document == json.loads((out / "exploration.json").read_text())
    assert len(document["front"]) == 3
    for number, point in enumerate(document["front"], 1):
        again = call("speed", shapes, "--board", "tiny", "--arch", out / f"{number}.toml", "--context", 100, "--json")
        phase = json.loads(again.stdout)["phases"][0]
        assert phase["tokens_per_second"] == pytest.approx(point["tokens_per_second"])
        assert f"{point['tokens_per_second']:,.1f}" in text


def test_plot(shapes, tmp_path):
    explore_args = ["explore", shapes, "--board", "tiny", "--workers", 1, "--context", 100, *vary(MANY)]
    assert call(*explore_args, "-o", tmp_path / "out").exit_code == 0
    text = (tmp_path / "out" / "front.svg").read_text()
    document = json.loads((tmp_path / "out" / "exploration.json").read_text())
    dots = list(ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}circle"))
    kinds = [d.get("class") for d in dots]
    panels = 2
    assert kinds.count("p") == panels * len(document["points"])
    assert kinds.count("f") == panels * len(document["front"])
    assert kinds.count("d") == panels
    # the fastest stands highest, the largest at the right, nothing outside
    first = [d for d in dots[: len(dots) // panels] if d.get("class") == "f"]
    rates = [p["tokens_per_second"] for p in document["front"]]
    assert sorted(rates, reverse=True) == rates
    heights = [float(d.get("cy")) for d in first]
    assert heights == sorted(heights)
    width = float(ElementTree.fromstring(text).get("width"))
    assert all(0 < float(d.get("cx")) < width for d in dots)


def test_output_that_is_a_file_is_refused_before_the_search(shapes, tmp_path, monkeypatch):
    monkeypatch.setattr(search_module, "explore", lambda *a, **k: pytest.fail("searched"))
    (tmp_path / "file").write_text("")
    result = call("explore", shapes, "--board", "tiny", "-o", tmp_path / "file")
    assert result.exit_code == 1
    assert "not a folder" in result.stderr


@pytest.mark.parametrize("bad", ["vpus", "vpus=", "=4", "vpus=4,x"])
def test_values_that_are_no_numbers(shapes, bad):
    result = call("explore", shapes, "--board", "tiny", "--vary", bad)
    assert result.exit_code == 2
    assert "NAME=NUMBER" in result.stderr


def test_unknown_objective_is_an_error_of_the_config(shapes):
    with pytest.raises(ConfigError):
        explore(shapes, objectives=["x"])
