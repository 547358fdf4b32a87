"""The kernel itself: nothing is found but what is waived, for boards and for a config with several cores."""

from __future__ import annotations

import functools

import pytest

from flightllm.hlscheck import check_arch, check_text
from flightllm.hlscheck.__main__ import configs, main
from flightllm.hlscheck.findings import RULES, UNKNOWN
from flightllm.hlscheck.waivers import WAIVERS, stale
from flightllm.kernel import signature
from flightllm.kernel.hls_top import FILE, hls_top

checked = functools.cache(check_arch)


def report(name):
    return checked(configs()[name])


@pytest.mark.parametrize("name", ["tiny", "u280", "three cores"])
def test_kernel_is_clean(name):
    assert not report(name).findings, [str(f) for f in report(name).findings]


def test_all_of_it_was_read():
    r = report("tiny")
    assert r.regions == 3  # cores, a core, the matrix unit
    assert r.functions > 100
    assert r.loops > 150
    assert r.pragmas > 300


def test_waivers_are_needed():
    assert not stale([report(name) for name in configs()])
    assert all(w.rule in RULES and w.reason for w in WAIVERS)


def test_mistakes_in_the_generated_top_are_found():
    text = hls_top(configs()["tiny"])

    def rules(old, new):
        assert old in text
        return check_text(text.replace(old, new), signature.NAME, FILE).rules - {w.rule for w in WAIVERS}

    assert rules("mode = m_axi port = mem0", "mode = m_axi port = mem9") == {"pragma-variable"}
    assert rules("  flight::NoFetch none;", "  flight::NoFetch none;\n  error = 0;") == {"dataflow-statement"}
    assert rules("*cycles = 0;", "*cycles = first * 0.5;") == {"float"}


def test_command_says_what_it_cannot_know(capsys, monkeypatch):
    monkeypatch.setattr("flightllm.hlscheck.__main__.check_arch", checked)
    assert main() == 0
    said = capsys.readouterr().out
    assert "0 findings" in said
    assert all(line in said for line in UNKNOWN)
    assert all(w.reason in said for w in WAIVERS)
