"""`run --on hls` and `verify --against hls`: the same text, agreement, and a difference named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from flightllm import api
from flightllm.cli import main
from flightllm.executors.hls import HlsDevice


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("hls") / "austen.flpkg"
    api.compile("tiny-austen", path, board="tiny")
    return path


def invoke(*args):
    return CliRunner().invoke(main, [str(a) for a in args])


def test_the_same_text(package):
    command = ("run", package, "--prompt", "It was a truth", "-n", 12, "--temperature", 0.8, "--seed", 3)
    want, got = invoke(*command), invoke(*command, "--on", "hls")
    assert got.exit_code == 0 and got.stdout == want.stdout and len(got.stdout) > 10


def test_agreement(package):
    done = invoke("verify", package, "--against", "hls", "--prompt-tokens", 7, "--new-tokens", 2, "--json")
    report = json.loads(done.stdout)
    assert done.exit_code == 0 and report["agree"]
    assert report["runs_that_agree"] == [{"pos": 0, "tokens": 7}, {"pos": 7, "tokens": 1}, {"pos": 8, "tokens": 1}]
    assert report["compared_logits"] == 3 * 512 and report["compared_bytes"] > 1_000_000


@pytest.mark.parametrize("kind", ["logit", "cache"])
def test_a_difference_is_named(package, monkeypatch, kind):
    class Wrong(HlsDevice):
        def run_chunk(self, ids, pos, nlog, masken):
            out = super().run_chunk(ids, pos, nlog, masken)
            if pos == 7 and kind == "logit":
                out[0, 5] = np.nextafter(out[0, 5], np.float32(np.inf))
            elif pos == 7:
                assert self._package is not None
                region = next(r for r in self._package.manifest.memory if r.kind == "kv")
                self.memory[1, region.addr + 3] ^= 1
            return out

    monkeypatch.setattr("flightllm.executors.hls.HlsDevice", Wrong)
    done = invoke("verify", package, "--against", "hls", "--prompt-tokens", 7, "--json")
    report = json.loads(done.stdout)
    assert done.exit_code == 1 and not report["agree"] and len(report["runs_that_agree"]) == 1
    found = report["divergence"]
    assert found["run"] == {"pos": 7, "tokens": 1} and found["count"] == 1
    assert ("logit of token 5" if kind == "logit" else "core 0, channel 1, byte") in found["place"]
