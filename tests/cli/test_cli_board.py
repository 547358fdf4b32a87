"""flightllm board, and run --on board, with a card in Python in the place of pynq's."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from board.fake_kernel import DirectCard, FakeKernel
from sim.kernels import arch_of, package

from flightllm.runtime import card as cards
from flightllm.runtime import probe as probes
from flightllm.sim.card import SimulatedCard, make_xclbin

ARCH = arch_of()


@pytest.fixture
def card(monkeypatch):
    card = SimulatedCard(FakeKernel, ARCH)
    monkeypatch.setattr(cards, "find_cards", lambda: [cards.CardInfo(0, "a platform", "pynq")])
    monkeypatch.setattr(probes, "open_card", lambda index: DirectCard(card))
    return card


@pytest.fixture
def files(tmp_path):
    return package(tmp_path / "p.flpkg", ARCH).path, make_xclbin(tmp_path / "c.xclbin", ARCH)


def test_cards_are_listed(flightllm, card, monkeypatch):
    assert flightllm("board").stdout.splitlines()[2].split() == ["0", "a", "platform", "pynq"]
    assert json.loads(flightllm("board", "--json").stdout) == [{"index": 0, "platform": "a platform", "driver": "pynq"}]
    monkeypatch.setattr(cards, "find_cards", list)
    assert "no card was found" in flightllm("board").stdout
    assert json.loads(flightllm("board", "--json").stdout) == []


def test_without_a_library(flightllm, monkeypatch):
    monkeypatch.setattr(cards, "find_spec", lambda name: None)
    result = flightllm("board")
    assert result.exit_code == 1 and "no card can be driven from here" in result.stderr


def test_looking_into_a_file_touches_no_card(flightllm, files, card):
    result = flightllm("board", files[0], "--xclbin", files[1])
    assert result.exit_code == 0, result.output
    assert "1 x 2 channels, 4 VPUs, 8 lanes, 225 MHz, digest" in result.stdout
    assert "  m_axi_gmem1  HBM[1]            0x10000  65,536 bytes" in result.stdout
    assert "package standin, 8,192 bytes behind each port: runs on it" in result.stdout
    data = json.loads(flightllm("board", "--xclbin", files[1], "--json").stdout)
    assert data["ports"]["m_axi_gmem1"]["tag"] == "HBM[1]" and data["arch"]["vpus"] == 4
    assert (data["matches"], data["answer"], data["problem"], card.programmed) == (None, None, None, 0)


def test_probe_asks_the_card(flightllm, files, card):
    result = flightllm("board", files[0], "--xclbin", files[1], "--probe")
    assert "card: 1 cores, 2 channels, 4 vpus, 8 lanes; digest" in result.stdout
    assert "made from rtl, idle" in result.stdout and "runs on it" in result.stdout
    assert card.programmed == 1 and not card.opened, "others may have it again"
    data = json.loads(flightllm("board", "--xclbin", files[1], "--probe", "--json").stdout)
    assert data["answer"]["build"] == {"cores": 1, "channels": 2, "vpus": 4, "lanes": 8}


def test_what_does_not_match(flightllm, files, card, tmp_path):
    other = replace(ARCH, vpus=12)
    make_xclbin(tmp_path / "other.xclbin", other)
    result = flightllm("board", files[0], "--xclbin", tmp_path / "other.xclbin")
    assert result.exit_code == 1 and "does not run on it" in result.stdout and "(Vpus): 12, not 4" in result.stdout
    # a file that does not tell: the card does
    make_xclbin(tmp_path / "silent.xclbin", ARCH, tells=False, wires={1: None})
    card._make = lambda _: FakeKernel(other)
    shown = flightllm("board", "--xclbin", tmp_path / "silent.xclbin").stdout
    assert "config: the xclbin does not say" in shown and "m_axi_gmem1  connected to nothing" in shown
    make_xclbin(tmp_path / "silent.xclbin", ARCH, tells=False)
    data = json.loads(flightllm("board", files[0], "--xclbin", tmp_path / "silent.xclbin", "--probe", "--json").stdout)
    assert data["matches"] is False and "(Vpus): 12, not 4" in data["problem"]["why"]


@pytest.mark.parametrize("args", [["--probe"], ["p.flpkg"]])
def test_options_that_need_a_file(flightllm, args):
    result = flightllm("board", *args)
    assert result.exit_code == 2 and "needs --xclbin" in result.stderr
