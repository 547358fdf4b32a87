"""What the page shows in a browser, which has no window and no network to use."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from browser import Browser, find_browser

import flightllm
from flightllm.report.figures import pieces
from flightllm.report.page import render
from flightllm.report.published import published


class Links(HTMLParser):
    """Collects the attributes of a page that load something or lead somewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        names = ("src", "href", "xlink:href", "srcset", "action", "poster", "data", "background")
        self.found += [value for name, value in attrs if name in names]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """(path of a page, the report that it shows)."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    found = flightllm.write_report(
        "tiny-austen", path, board="tiny", weights=4, kv=8, prompts=[40], contexts=[100, 300], command="flightllm </script><!-- <report>"
    )  # fmt: skip
    return path, found


@pytest.fixture(scope="module")
def browser():
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium here (tools/setup.sh installs it for root; FLIGHTLLM_BROWSER names another)")
    with Browser(program) as opened:
        yield opened


def luminance(browser, selector, what):
    """Relative luminance (WCAG) of a colour of an element."""
    style = browser.run(f"getComputedStyle(document.querySelector({json.dumps(selector)})).{what}")
    parts = [int(x) / 255 for x in re.findall(r"\d+", style)[:3]]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_browser_sees_what_is_wrong(browser, tmp_path):
    """The other tests rely on it."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<img src='http://flightllm.invalid/x.png'><script>console.error('told'); missing();</script><p style='width:3000px'>x"
    )
    browser.open(bad, width=800)
    assert "http://flightllm.invalid/x.png" in browser.requests
    assert any("told" in text for text in browser.troubles)
    assert any("missing" in text for text in browser.troubles)
    assert browser.run("document.documentElement.scrollWidth") > 800


def test_page_is_self_contained(page):
    text = page[0].read_text()
    links = Links(text).found
    assert len(links) > 5
    assert [link for link in links if not link.startswith(("#", "data:"))] == []
    assert re.findall(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", text) == []
    assert len(text) < 1_000_000


def test_nothing_is_loaded_and_nothing_goes_wrong(browser, page):
    for dark in (False, True):
        browser.open(page[0], dark=dark)
        assert browser.requests == [page[0].resolve().as_uri()]
        assert browser.troubles == []


def test_headline_is_what_json_says(browser, page):
    browser.open(page[0])
    report = page[1].to_json()
    phases = report["phases"]
    assert browser.texts(".card h3") == [p["title"] for p in phases] == ["prompt of 40", "token at 100", "token at 300"]
    assert browser.texts(".card .rate") == [f"{p['phase']['tokens_per_second']:,.1f}" for p in phases]
    assert browser.texts(".card .ms") == [f"{1000 * p['phase']['seconds']:,.3f} ms" for p in phases]
    assert browser.texts(".card .cycles") == [f"{p['phase']['cycles']:,}" for p in phases]
    assert browser.texts(".card .gbps") == [f"{p['phase']['gbps']:,.1f} GB/s" for p in phases]
    assert browser.texts(".card .share") == [f"{100 * p['phase']['memory']:.1f} %" for p in phases]
    assert browser.texts(".card .array") == [f"{100 * p['phase']['array']:.1f} %" for p in phases]
    assert browser.texts(".card .limit") == [f"{100 * p['limits']['share']:.1f} %" for p in phases]
    low, high = (f"{100 * report['accuracy'][end]:+.1f} %".replace("-", "−") for end in ("low", "high"))
    assert browser.texts(".card .badge") == [f"modelled, {low} to {high} of RTL cycles"] * 3
    assert browser.texts("h1") == [report["title"]]
    assert "flightllm </script><!-- <report>" in browser.texts(".made")[0]


def test_operators_have_a_bar_and_a_row_each(browser, page):
    browser.open(page[0])
    for i, p in enumerate(page[1].phases):
        browser.click("[role=tab]", i)
        panel = f"#panel{i}"
        shown = f"{panel} svg[aria-label^='Cycles by operator']"
        names = [o.name for o in p.operators]
        labels = browser.texts(f"{shown} text:not(.value)")
        assert labels == names
        widths = browser.run(
            f"[...document.querySelectorAll({json.dumps(shown + ' rect.bar')})].map(r => r.getBoundingClientRect().width)"
        )
        assert len(widths) == len(names)
        most = max(o.cycles for o in p.operators)
        assert widths == pytest.approx([max(widths) * o.cycles / most for o in p.operators], abs=0.5)
        browser.click(f"{panel} summary", 0)
        rows = browser.texts(f"{panel} table.operators tbody tr")
        assert len(rows) == len(names)
        for row, o in zip(rows, p.operators, strict=True):
            assert row.startswith(f"{o.name} {o.cycles:,} ")
        columns = browser.run(f"document.querySelectorAll('{panel} rect.layer').length")
        assert columns == len(p.layers)
        assert browser.run(f"document.querySelectorAll('{panel} rect.channel').length") == len(p.channels)


def test_what_is_pointed_at_is_explained(browser, page):
    browser.open(page[0])
    assert browser.texts("#tip") == [""]
    last = page[1].phases[-1]
    browser.point("#panel2 rect.bar", [o.name for o in last.operators].index("attention"))
    (shown,) = browser.texts("#tip")
    attention = next(o for o in last.operators if o.name == "attention")
    assert shown.startswith(f"attention: {attention.cycles:,} cycles")
    box = browser.run("document.getElementById('tip').getBoundingClientRect().toJSON()")
    assert box["width"] > 0
    assert 0 <= box["left"] < box["right"] <= 1200
    browser.point("h2")
    assert browser.run("document.getElementById('tip').hidden")
    browser.point("circle.point", 0)
    assert browser.texts("#tip")[0].startswith("prompt of 40: ")


def test_timeline(browser, page):
    browser.open(page[0])
    phase, box = page[1].phases[2], "#panel2 .timeline"
    run = phase.timeline
    assert browser.texts(f"{box} .unit") == ["Q", "W", "L", "M", "S", "T"]
    assert browser.texts(f"{box} .window") == [f"cycles 0 – {run.cycles:,} of {run.cycles:,}"]
    whole = browser.run(f"document.querySelectorAll('{box} rect.span').length")
    assert whole > 50
    names = {run.operators[i] for unit in run.units.values() for i in unit.operator}
    assert set(browser.texts(f"{box} .legend li")) == names

    browser.click(f"{box} button", 1)  # a layer
    label = browser.texts(f"{box} button")[1]
    index = run.layers.index(label.removeprefix("layer "))
    begin, end = (
        edge(
            x
            for name in "MST"
            for x, layer in zip(getattr(run.units[name], what), run.units[name].layer, strict=True)
            if layer == index
        )
        for edge, what in ((min, "begin"), (max, "end"))
    )
    assert browser.texts(f"{box} .window") == [f"cycles {begin:,} – {end:,} of {run.cycles:,}"]

    # the widest of M in this layer is where the data say, and says so
    m = run.units["M"]
    widest = max((i for i, layer in enumerate(m.layer) if layer == index), key=lambda i: m.end[i] - m.begin[i])
    text = f"M: {run.kinds[m.kind[widest]]} (instruction {m.pc[widest]})"
    place = f"[...document.querySelectorAll('{box} rect.span')].findIndex(r => r.dataset.tip.startsWith({json.dumps(text)}))"
    number = browser.run(place)
    assert number >= 0
    left, right, lane_left, lane_right = browser.run(
        f"(r => [r.left, r.right])(document.querySelectorAll('{box} rect.span')[{number}].getBoundingClientRect())"
        f".concat((r => [r.left, r.right])(document.querySelector('{box} rect.lane').getBoundingClientRect()))"
    )
    scale = (lane_right - lane_left) / (end - begin)
    assert left - lane_left == pytest.approx((m.begin[widest] - begin) * scale, abs=1.5)
    assert right - left == pytest.approx((m.end[widest] - m.begin[widest]) * scale, abs=1.5)
    browser.point(f"{box} rect.span", number)
    assert browser.texts("#tip")[0].startswith(text)
    assert f"{m.begin[widest]:,} – {m.end[widest]:,}" in browser.texts("#tip")[0]

    browser.click(f"{box} button", 2)  # closer
    half = (end - begin) / 2
    shown = [int(x.replace(",", "")) for x in re.findall(r"[\d,]+", browser.texts(f"{box} .window")[0])]
    assert shown[1] - shown[0] == pytest.approx(half, abs=2)
    browser.click(f"{box} button", 0)
    assert browser.texts(f"{box} .window") == [f"cycles 0 – {run.cycles:,} of {run.cycles:,}"]
    assert browser.troubles == []


def test_one_phase_at_a_time(browser, page):
    browser.open(page[0])

    def shown():
        return browser.run("[...document.querySelectorAll('.panel')].map(p => p.clientHeight > 0)")

    assert shown() == [False, False, True]
    browser.click("[role=tab]", 0)
    assert shown() == [True, False, False]
    assert browser.run("document.querySelectorAll('#panel0 .timeline rect.span').length") > 50
    browser.size(700, 900)
    browser.frames()
    ends = browser.run("[...document.querySelectorAll('#panel0 rect.span')].map(r => r.getBoundingClientRect().right)")
    assert max(ends) <= 700, "drawn anew for the new width"


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_it_fits_every_window(browser, page, width):
    browser.open(page[0], width=width)
    assert browser.run("document.documentElement.scrollWidth") == width


def test_dark_mode_can_be_read(browser, page):
    light = {}
    for dark in (False, True):
        browser.open(page[0], dark=dark)
        back = luminance(browser, "body", "backgroundColor")
        light[dark] = back
        for selector, what in (("body", "color"), (".quiet", "color"), (".badge.modelled", "color"), ("nav a", "color"), ("svg text", "fill"), ("svg .axis", "fill")):  # fmt: skip
            text = luminance(browser, selector, what)
            contrast = (max(text, back) + 0.05) / (min(text, back) + 0.05)
            assert contrast >= 4.5, f"{selector} {'dark' if dark else 'light'}: {contrast:.2f}"
    assert light[False] > 0.9
    assert light[True] < 0.05


def test_sections_say_what_they_are_about(browser, page):
    browser.open(page[0])
    report = page[1]
    assert len(browser.texts("h2")) == 8
    assert browser.texts("circle.point") == [""] * len(report.phases)
    rows = browser.texts("#memory table tr")
    assert any(row.startswith("weights ") for row in rows)
    assert any(row.startswith("free ") for row in rows)
    strips = browser.run(
        "[...document.querySelectorAll('#memory svg')].map(s => s.querySelectorAll('rect.region').length)"
    )
    assert strips == [len(pieces(report.memory_map))] * 2, "the channel, and its used part"
    widths = browser.run(
        "[...document.querySelectorAll('#memory svg:last-of-type rect.region')].map(r => r.getBoundingClientRect().width)"
    )
    full = browser.run("document.querySelector('#memory svg:last-of-type').clientWidth")
    assert widths == pytest.approx([full * p[2] / report.memory_map.used for p in pieces(report.memory_map)], abs=0.5)
    assert len(browser.texts("#resources tbody tr")) == len(report.resources)
    assert len(browser.texts("#resources rect.bar")) == len(report.resources)
    assert "not comparable" in browser.texts("#comparison .other")[0]
    assert browser.texts("#comparison rect.theirs") == []
    assert [row.split()[0] for row in browser.texts("table.published tbody tr")][:1] == ["FlightLLM"]
    assert all(row.endswith("another model") for row in browser.texts("table.published tbody tr"))
    browser.click("#accuracy summary")
    assert len(browser.texts("table.accuracy tbody tr")) == len(report.accuracy.rows)


def test_figures_of_others_stand_beside_those_of_the_same_shapes(browser, page, tmp_path):
    """The report of the small model with the shapes of another, so that it takes no time; what it says of itself is in test_report_data.py."""
    model, results = published({"dim": 4096, "ffn": 11008, "layers": 32, "vocab": 32000}, "u280")
    path = tmp_path / "other.html"
    path.write_text(render(replace(page[1], comparable_model=model, published=results)))
    browser.open(path)
    assert browser.texts("#comparison .other") == []
    assert len(browser.texts("#comparison rect.theirs")) == len(results)
    rows = browser.texts("table.published tbody tr")
    assert [row.endswith("same board") for row in rows] == [q.same_board for q in results]


def test_measured_figures_say_so(browser, page, tmp_path):
    path = tmp_path / "measured.html"
    phases = [replace(p, measured=i > 0, model_cycles=p.phase.cycles * 99 // 100) for i, p in enumerate(page[1].phases)]
    path.write_text(render(replace(page[1], phases=phases)))
    browser.open(path)
    assert [text.startswith("modelled") for text in browser.texts(".card .badge")] == [True, False, False]
    assert browser.texts(".card .badge.measured") == ["measured in RTL"] * 2
    assert [text.endswith("−1.0 %") for text in browser.texts(".card .model")] == [True, True]


def test_without_scripts_everything_but_timelines_is_there(browser, page, tmp_path):
    path = tmp_path / "plain.html"
    text = page[0].read_text()
    path.write_text(re.sub(r"<script>.*?</script>", "", text, flags=re.S))
    browser.open(path)
    assert browser.run("[...document.querySelectorAll('.panel')].every(p => p.clientHeight > 0)")
    assert browser.run("document.querySelector('.tabs').clientHeight") == 0
