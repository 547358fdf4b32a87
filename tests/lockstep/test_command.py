"""`flightllm verify` without a simulator: what it prints, and its exit code."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from graphs import decoder
from lockstep.mirror import Mirror
from packages import build, small_arch

from flightllm.cli import main
from flightllm.isa.matrix import MM
from flightllm.sim.events import Kind


def broken(core, e, events):
    """Wrong in its last bit from position 10 on."""
    if isinstance(e.inst, MM) and e.number == 0 and e.operands.tokens == 1:
        next(x for x in events if x["kind"] == Kind.VB)["data"][0] ^= 1
    return events


@pytest.fixture
def verify(monkeypatch, tmp_path):
    path = build(decoder(layers=1), tmp_path / "p.flpkg", small_arch()).path

    def call(*args, alter=None):
        monkeypatch.setattr("flightllm.executors.rtl.RtlDevice", lambda options: Mirror(alter))
        return CliRunner().invoke(main, ["verify", str(path), *map(str, args)], prog_name="flightllm")

    return call


def test_agreement(verify):
    done = verify("--prompt-tokens", 10, "--new-tokens", 2, "--chunk", 6)
    assert done.exit_code == 0, done.output
    assert "positions 0 to 5: " in done.stdout and "positions 11 to 11: " in done.stdout
    assert "instructions and" in done.stdout
    assert "rtl does what the functional executor does, bit for bit" in done.stdout


def test_difference(verify):
    done = verify("--prompt-tokens", 10, alter=broken)
    assert done.exit_code == 1
    assert "positions 0 to 9: " in done.stdout and "positions 10" not in done.stdout
    assert "error: rtl diverges: another value is written" in done.stderr
    assert "run of the program from position 10, 1 token" in done.stderr
    assert "MM " in done.stderr and "matrix layers.0.attn.qkv" in done.stderr
    assert "token 0, row 0" in done.stderr


def test_json(verify):
    done = verify("--prompt-tokens", 10, "--json")
    report = json.loads(done.stdout)
    assert report["agree"] and len(report["runs_that_agree"]) == 3 and report["compared_writes"] > 1000
    done = verify("--prompt-tokens", 10, "--json", alter=broken)
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert not report["agree"]
    assert report["runs_that_agree"] == [{"pos": 0, "tokens": 10}]
    assert report["divergence"]["index"] == {"token": 0, "row": 0}


def test_arguments(verify):
    assert "cannot be compared" in verify("--against", "functional").stderr
    assert "the package has room for 256" in verify("--prompt-tokens", 300).stderr
    done = verify("--prompt", "It is")
    assert done.exit_code == 1 and "tokenizer" in done.stderr, "this package has none"


def test_prompt(monkeypatch, tmp_path):
    """A text, then greedy tokens."""
    from flightllm import api

    path = tmp_path / "a.flpkg"
    api.compile("tiny-austen", path, board="tiny")
    seen = []

    class Watched(Mirror):
        def run_chunk(self, ids, pos, nlog, masken):
            out = super().run_chunk(ids, pos, nlog, masken)
            seen.append((list(ids), int(np.argmax(out[-1]))))
            return out

    monkeypatch.setattr("flightllm.executors.rtl.RtlDevice", lambda options: Watched())
    done = CliRunner().invoke(main, ["verify", str(path), "--prompt", "It is", "--new-tokens", "2"])
    assert done.exit_code == 0, done.output
    assert seen[1][0] == [seen[0][1]] and seen[2][0] == [seen[1][1]]
