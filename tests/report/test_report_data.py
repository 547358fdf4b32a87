"""What a report says: parts add up to wholes, and agree with what is known otherwise."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from packages import build, small_arch

import flightllm
from flightllm.api import find_model
from flightllm.cli import main
from flightllm.config.arch import ArchConfig
from flightllm.errors import FlightError, ToolError
from flightllm.frontends import load_model
from flightllm.isa.fields import Unit
from flightllm.report import phases as phases_module
from flightllm.report.accuracy import accuracy
from flightllm.report.attribution import NOBODY, charge, union
from flightllm.report.operators import OPERATORS, Work
from flightllm.report.published import published
from flightllm.timeline import Span

#: those that a decoder with rotations and a gated MLP has on one core
USUAL = set(OPERATORS) - {"additions", "exchange between cores"}


def call(*args):
    return CliRunner().invoke(main, [str(a) for a in args], prog_name="flightllm")


@pytest.fixture(scope="module")
def report():
    """Of the embedded model's shapes."""
    return flightllm.write_report("tiny-austen", board="tiny", weights=4, kv=8, prompts=[40], contexts=[0, 100, 300])


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Three cores."""
    graph = load_model(find_model("tiny-austen"))
    return build(graph, tmp_path_factory.mktemp("report") / "p.flpkg", small_arch(3, 2, 4))


@pytest.fixture(scope="module")
def of_package(package):
    return flightllm.write_report(package, prompts=[33], contexts=[70])


@pytest.mark.parametrize("which", ["report", "of_package"])
def test_parts_add_up(which, request):
    for p in request.getfixturevalue(which).phases:
        assert p.phase.cycles > 0
        for rows in (p.operators, p.layers):
            assert sum(r.cycles for r in rows) == p.phase.cycles
            assert sum(r.share for r in rows) == pytest.approx(1)
            assert sum(r.moved for r in rows) == p.moved
            assert sum(r.macs for r in rows) == p.macs
            assert all(r.cycles >= 0 and r.moved >= 0 for r in rows)
        assert sum(c.read + c.written for c in p.channels) == p.moved
        assert p.moved / p.phase.seconds == pytest.approx(1e9 * p.phase.gbps)
        assert sum(c.gbps for c in p.channels) == pytest.approx(p.phase.gbps)


def test_operators_and_layers_of_the_model(report, of_package):
    token = report.phases[1]
    assert {o.name for o in token.operators} == USUAL
    assert {o.name for o in of_package.phases[1].operators} == USUAL | {"exchange between cores"}
    assert [r.name for r in token.layers] == ["embedding", "0", "1", "2", "3", "logits", "fetch and dispatch"]
    # the sequencer has the bytes of the body that runs, and some more ahead of jumps
    program = 64 * report.model["instructions"]
    for p in report.phases:
        assert 0.3 * program * p.runs <= p.operators[-1].moved < program * p.runs
    assert len({r.moved for r in token.layers if r.name.isdigit()}) == 1, "loads belong to the layer that they are for"
    attention = [next(o for o in p.operators if o.name == "attention").cycles for p in report.phases[1:]]
    assert attention == sorted(attention)
    assert len(set(attention)) == 3


def test_multiply_adds_are_those_of_the_model(report):
    """tiny-austen: width 128, MLP 384, 512 logits, 4 layers, 4 heads and 2 of keys of 32; no padding at these sizes."""
    for p in report.phases:
        tokens, context = p.phase.tokens, p.phase.context
        found = {o.name: o.macs for o in p.operators}
        assert found["q, k, v"] == tokens * 4 * 256 * 128
        assert found["attention output"] == tokens * 4 * 128 * 128
        assert found["gate and up"] == tokens * 4 * 768 * 128
        assert found["down"] == tokens * 4 * 128 * 384
        assert found["logits"] == 512 * 128, "of the last token only"
        if p.phase.kind == "token":
            assert found["attention"] == 4 * 2 * 128 * (context + 1)
        assert sum(found.values()) == p.macs


def test_masked_keys_do_not_count(tmp_path):
    graph = load_model(find_model("tiny-austen"))
    recipe = {"default": {"attention": {"kind": "local+global", "local": 3, "global": 0, "stride": 0}}}
    full = build(graph, tmp_path / "full.flpkg", small_arch(1, 4, 4))
    masked = build(graph, tmp_path / "masked.flpkg", small_arch(1, 4, 4), recipe)
    macs = {}
    for name, package in (("full", full), ("masked", masked)):
        (p,) = flightllm.write_report(package, prompts=[400]).phases
        row = next(o for o in p.operators if o.name == "attention")
        macs[name] = row.macs, row.moved
    (some, loaded), (all_, all_loaded) = macs["masked"], macs["full"]
    assert some < 0.9 * all_
    assert loaded < all_loaded
    assert some / all_ == pytest.approx(loaded / all_loaded, rel=0.2), "scales are not masked"


def test_headline_is_that_of_speed(report):
    found = flightllm.speed("tiny-austen", board="tiny", weights=4, kv=8, prompts=[40], contexts=[0, 100, 300])
    assert [p.phase for p in report.phases] == found.phases
    assert report.model["bits_per_weight"] == found.bits


def test_a_package_is_of_its_board(tmp_path):
    flightllm.compile("tiny-austen", tmp_path / "p.flpkg", board="tiny", weights=4, kv=8)
    with pytest.raises(ToolError, match="was compiled for tiny, not for kv260"):
        flightllm.write_report(tmp_path / "p.flpkg", board="kv260", contexts=[100])
    assert flightllm.write_report(tmp_path / "p.flpkg", board="tiny", contexts=[100]).board["name"] == "tiny"


def test_package_and_shapes_say_the_same(tmp_path, report):
    flightllm.compile("tiny-austen", tmp_path / "p.flpkg", board="tiny", weights=4, kv=8)
    mine = flightllm.write_report(tmp_path / "p.flpkg", prompts=[40], contexts=[100])
    theirs = flightllm.write_report(
        "tiny-austen", board="tiny", weights=4, kv=8, prompts=[40], contexts=[100, 511]
    )  # a cache as long as the package's
    assert mine.phases == theirs.phases[:2]
    assert (mine.memory_map, mine.shape, mine.config) == (theirs.memory_map, theirs.shape, theirs.config)
    assert (mine.source, mine.model["formats"], theirs.model["formats"]) == ("package", {"4b affine": 1.0}, {})
    assert mine.model["bits_per_weight"] == pytest.approx(theirs.model["bits_per_weight"])


@pytest.mark.parametrize(
    ("operator", "suffix"),
    [("q, k, v", "attn.qkv"), ("attention output", "attn.o"), ("gate and up", "mlp.gate_up"), ("down", "mlp.down")],
)
def test_an_operator_moves_its_weights(report, of_package, operator, suffix):
    for r in (report, of_package):
        stored = sum(region.bytes for region in r.memory_map.regions if region.name.split("[")[0].endswith(suffix))
        assert stored
        for p in r.phases:
            moved = next(o.moved for o in p.operators if o.name == operator)
            # a chunk of a prompt has two parts, each of which loads all weights
            loads = sum(2 if min(32, p.phase.tokens - at) > 1 else 1 for at in range(0, p.phase.tokens, 32))
            assert moved == stored * r.memory_map.channels * loads


def test_weights_that_must_move_are_those_in_memory(report, of_package):
    for r in (report, of_package):
        stored = r.memory_map.kinds["weights"] * r.memory_map.channels
        assert {p.limits.weights for p in r.phases} == {stored}
        for p in r.phases:
            assert p.limits.bytes == p.limits.weights + p.limits.cache <= p.moved
            assert 0 < p.limits.share <= 1
            limits = p.limits.tokens_per_second_measured, p.limits.tokens_per_second_array
            assert p.limits.bound == ("memory" if limits[0] <= limits[1] else "array")
            assert p.limits.share == pytest.approx(p.phase.tokens_per_second / min(limits))


def test_the_timeline_is_that_of_the_run(report):
    for p in report.phases:
        t = p.timeline
        assert set(t.units) == set("WLMSTQ")
        count = sum(len(u.begin) for name, u in t.units.items() if name != "Q")
        assert count == len(t.units["Q"].begin), "every instruction is dispatched once"
        if p.runs == 1:
            assert count == sum(o.instructions for o in p.operators)
        for u in t.units.values():
            assert len({len(column) for column in vars(u).values()}) == 1
            assert all(0 <= b <= e <= t.cycles for b, e in zip(u.begin, u.end, strict=True))
    assert report.phases[0].timeline.title == "8 tokens at 32"


def test_a_long_timeline_is_merged(monkeypatch, report):
    monkeypatch.setattr(phases_module, "TIMELINE_MOST", 10)
    (p,) = flightllm.write_report("tiny-austen", board="tiny", weights=4, kv=8, contexts=[300]).phases
    whole = report.phases[3].timeline
    assert p.timeline.merged
    assert not whole.merged
    for name in "WLMST":
        few, all_ = p.timeline.units[name], whole.units[name]
        assert (min(few.begin), max(few.end)) == (min(all_.begin), max(all_.end))
    assert sum(len(u.begin) for u in p.timeline.units.values()) < 0.7 * sum(
        len(u.begin) for n, u in whole.units.items() if n != "Q"
    )


def _span(unit, dispatched, taken, ended):
    return Span(0, unit, 0, SimpleNamespace(), dispatched, taken, ended)


def test_a_cycle_is_charged_to_the_oldest_that_has_not_ended():
    works = [Work(Unit.L, 0, name, name) for name in "abcd"]
    spans = [
        _span(Unit.L, 5, 6, 20),
        _span(Unit.M, 7, 20, 40),
        _span(Unit.W, 8, 9, 90),  # runs ahead: nobody's time
        _span(Unit.S, 50, 51, 60),
    ]
    found = [(w.operator, n) for w, n in charge(spans, works, 70) if n]
    nobody = NOBODY.operator
    assert found == [(nobody, 5), ("a", 15), ("b", 20), (nobody, 10), ("d", 10), (nobody, 10)]
    # one that ended before an older one has nothing; what does not end, ends with the run
    spans = [_span(Unit.L, 0, 1, 30), _span(Unit.M, 2, 3, 10), _span(Unit.M, 4, 5, None)]
    assert [(w.operator, n) for w, n in charge(spans, works[:3], 50) if n] == [("a", 30), ("c", 20)]
    assert union([(0, 10), (5, 12), (20, 21)]) == 13


def test_accuracy_is_the_record(report):
    a = report.accuracy
    assert a.rows
    for row in a.rows:
        assert a.low <= row.off == row.model / row.rtl - 1 <= a.high
        assert max(map(abs, row.units.values())) <= a.busy
    assert (a.low, a.high) == (min(r.off for r in a.rows), max(r.off for r in a.rows))
    assert a.beyond == []
    assert "32 channels a core" in accuracy(ArchConfig(channels=32, vpus=4)).beyond[0]
    compared = any("chains" in row.name for row in a.rows)
    assert any("in a chain" in text for text in accuracy(ArchConfig(chain_vpus=2)).beyond) != compared


def test_published_figures_are_comparable_by_shape():
    llama = {"dim": 4096, "ffn": 11008, "layers": 32, "vocab": 32000}
    model, results = published(llama, "u280")
    assert model == "LLaMA2-7B"
    assert {q.system for q in results if q.comparable} >= {"FlightLLM", "AccLLM"}
    assert {(q.context, q.tokens_per_second) for q in results if q.system == "FlightLLM" and q.same_board} == {
        (128, 57.1),
        (512, 52.7),
    }
    for other in (llama | {"ffn": 14336}, llama | {"vocab": 128256}):
        model, results = published(other, "u280")
        assert model == ""
        assert not any(q.comparable for q in results)


def test_resources_say_what_is_short():
    found = flightllm.write_report("tiny-austen", board="kv260", arch={"vpus": 32}, contexts=[3])
    short = {row.name: row for row in found.resources if not row.fits}
    assert "too much" in short["LUT (estimate)"].text
    assert short["LUT (estimate)"].error > 0
    tight = flightllm.write_report("tiny-austen", board="u280", arch={"chain_vpus": 1}, contexts=[3])
    assert all(row.fits for row in tight.resources)
    assert any("shell" in row.text for row in tight.resources)


def test_memory_map(report):
    m = report.memory_map
    assert sum(m.kinds.values()) == sum(r.bytes for r in m.regions)
    assert m.used == max(r.addr + r.bytes for r in m.regions) <= m.capacity
    assert m.max_context >= 301


def test_channels_that_stand_for_others(report):
    assert all(c.modelled for p in report.phases for c in p.channels)
    (p,) = flightllm.write_report("tiny-austen", board="u280", contexts=[3]).phases
    assert [c.channel for c in p.channels if c.modelled] == [0, 8, 16, 24]


def test_command(tmp_path):
    page = tmp_path / "r.html"
    arguments = ["report", "tiny-austen", "--board", "tiny", "--weights", "3.5", "--context", "20"]
    result = call(*arguments, "-o", page)
    assert result.exit_code == 0, result.output
    assert "token at 20" in result.stdout
    result = call(*arguments, "-o", page, "--json")
    document = json.loads(result.stdout)
    assert document["command"] == f"flightllm {' '.join(arguments)} -o {page} --json"
    assert [p["title"] for p in document["phases"]] == ["token at 20"]
    inside = page.read_text().partition('id="report">')[2].partition("</script>")[0]
    assert json.loads(inside) == document, "the page holds what --json prints"
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["tiny-austen", "--json"], 1, "a board is missing"),
        (["tiny-austen", "--board", "tiny"], 2, "give -o FILE"),
        (["tiny-austen", "--board", "tiny", "--json", "--on", "rtl"], 1, "cannot run in RTL"),
        (["tiny-austen", "--board", "tiny", "--json", "--context", "9999"], 1, "are not possible"),
        (["no-such-model", "--board", "tiny", "--json"], 1, "there is no such model"),
        (["tiny-austen", "--board", "tiny", "-o", "no/such/folder.html"], 1, "its folder does not exist"),
        (["tiny-austen", "--board", "tiny", "-o", "."], 1, "it is a folder"),
        (["{package}", "--json", "--weights", "4", "--kv", "4"], 1, "a package has no --weights, --kv"),
        (["{package}", "--json", "--set", "vpus=8"], 1, "a package has no --arch or --set"),
    ],
)
def test_what_is_not_possible(arguments, code, text, package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call("report", *(a.format(package=package.path) for a in arguments))
    assert result.exit_code == code, result.output
    assert text in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_page_that_fails(tmp_path, monkeypatch):
    page = tmp_path / "r.html"
    page.write_text("before")

    def fail(self, *_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(FlightError, match="no report") as error:
        flightllm.write_report("tiny-austen", page, board="tiny", contexts=[3])
    assert "No space left" in error.value.why
    assert page.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_progress_is_told():
    told = []
    flightllm.write_report("tiny-austen", board="tiny", prompts=[40], contexts=[3], progress=lambda *a: told.append(a))
    assert told == [("prompt of 40", 0, 3), ("prompt of 40", 1, 3), ("token at 3", 2, 3)]


def test_a_damaged_record_is_said(tmp_path, monkeypatch):
    (tmp_path / "rtl.json").write_text("{}")
    monkeypatch.setattr("flightllm.report.accuracy.data_dir", lambda name: tmp_path)
    with pytest.raises(FlightError, match="cannot be read"):
        accuracy(ArchConfig())


def test_reports_can_be_changed_and_compared(report):
    assert replace(report, title="x").to_json() == report.to_json() | {"title": "x"}


@pytest.mark.slow
def test_llama2_7b(tmp_path):
    """The shapes that others have published figures of: a ratio for the same board and context, and a page of a sensible size."""
    shapes = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32000,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": False,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(shapes))
    found = flightllm.write_report(
        tmp_path, tmp_path / "r.html", board="u280", weights=3.5, kv=8, contexts=[128], command="x"
    )
    (p,) = found.phases
    assert found.comparable_model == "LLaMA2-7B"
    (ratio,) = found.ratios
    assert (ratio.system, ratio.theirs, ratio.ours) == ("FlightLLM", 57.1, p.phase.tokens_per_second)
    assert ratio.ratio == ratio.ours / ratio.theirs
    # 32 layers of four matrices, and the logits: 4,096 wide, 11,008 in the MLP
    least = 32 * (4 * 4096**2 + 3 * 4096 * 11008) + 32000 * 4096
    assert 3.4 / 8 * least < p.limits.weights < 3.6 / 8 * least
    assert sum(o.macs for o in p.operators if o.name != "attention") == least
    assert (tmp_path / "r.html").stat().st_size < 3_000_000


@pytest.mark.slow
def test_measured_in_rtl(tmp_path):
    """The same program, on the hardware in simulation: what does not depend on time is equal, cycles are close."""
    graph = load_model(find_model("tiny-austen"))
    package = build(graph, tmp_path / "p.flpkg", small_arch(1, 2, 4, lanes=4))
    reports = {on: flightllm.write_report(package, on=on, prompts=[3], contexts=[3, 70]) for on in ("model", "rtl")}
    for rtl, model in zip(reports["rtl"].phases, reports["model"].phases, strict=True):
        assert (rtl.measured, model.measured) == (True, False)
        assert rtl.model_cycles == model.model_cycles == model.phase.cycles
        assert rtl.phase.cycles == pytest.approx(model.phase.cycles, rel=0.03)
        assert rtl.phase.cycles != model.phase.cycles
        for mine, other in zip(rtl.operators, model.operators, strict=True):
            assert (mine.name, mine.instructions, mine.macs) == (other.name, other.instructions, other.macs)
            assert mine.moved == pytest.approx(other.moved, rel=0.05)
        assert sum(o.cycles for o in rtl.operators) == rtl.phase.cycles
        assert "W" not in rtl.timeline.units
        assert rtl.timeline.units["M"].pc == model.timeline.units["M"].pc
