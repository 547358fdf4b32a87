"""`flightllm speed` and `flightllm simulate --on model`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import flightllm
from flightllm.cli import main
from flightllm.errors import FlightError, ToolError


def call(*args):
    return CliRunner().invoke(main, [str(a) for a in args], prog_name="flightllm")


#: a decoder with the shapes of nothing in particular
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
}


@pytest.fixture
def shapes(tmp_path):
    """A folder with nothing but a config.json."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def test_speed_needs_shapes_only(shapes):
    result = call(
        "speed", shapes, "--board", "u50", "--weights", 4, "--prompt", 100, "--context", 0, "--context", 400, "--json"
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    prompt, early, late = found["phases"]
    assert (prompt["kind"], prompt["tokens"], early["context"], late["context"]) == ("prompt", 100, 0, 400)
    assert early["cycles"] < late["cycles"] < prompt["cycles"], "a longer cache takes longer"
    clock = found["config"]["clock_mhz"] * 1e6
    for phase in found["phases"]:
        assert phase["tokens_per_second"] == pytest.approx(phase["tokens"] * clock / phase["cycles"])
        assert 0 < phase["memory"] <= 1
        assert 0 < phase["array"] <= 1
    assert prompt["tokens_per_second"] > 2 * late["tokens_per_second"], "weights serve a whole chunk"
    assert 4 < found["bits_per_weight"] < 5


def test_speed_as_text(shapes):
    text = call("speed", shapes, "--board", "tiny", "--context", 10, "--weights", "3.5").stdout
    assert "modelled" in text
    assert "token at 10" in text
    assert "prompt of" not in text, "only what was asked for"


def test_speed_says_what_does_not_fit(shapes):
    result = call("speed", shapes, "--board", "u50", "--context", 512)
    assert result.exit_code == 1
    assert "contexts of 512 tokens are not possible" in result.stderr
    (shapes / "config.json").write_text(json.dumps(CONFIG | {"intermediate_size": 100_000, "num_hidden_layers": 50}))
    result = call("speed", shapes, "--board", "tiny", "--context", 10)
    assert result.exit_code == 1
    assert "bytes" in result.stderr or "memory" in result.stderr
    with pytest.raises(FlightError):
        flightllm.speed(shapes, board="u50", arch={"vpus": 64})


def test_what_is_said_to_fit_can_be_asked_for(shapes):
    room = ("speed", shapes, "--board", "tiny", "--set", "channel_bytes=393216")
    refused = call(*room, "--context", 500)
    assert refused.exit_code == 1
    found = re.search(r"what fits: .*?or (--context \d+) ", refused.stderr)
    assert found is not None, refused.stderr
    assert call(*room, *found[1].split()).exit_code == 0


def test_a_model_that_is_none(shapes, package):
    for text, what in (
        ("{bad", "config.json is not JSON"),
        ("{}", "names no model_type"),
        ('{"model_type": "llama"}', "has no "),
    ):
        (shapes / "config.json").write_text(text)
        refused = call("speed", shapes, "--board", "tiny")
        assert refused.exit_code == 1
        assert what in refused.stderr
    refused = call("speed", package, "--board", "tiny")
    assert refused.exit_code == 1
    assert "a package, not a model" in refused.stderr


def test_budgets_count_as_what_they_are_at_least(shapes):
    refused = call("speed", shapes, "--board", "tiny", "--weights", "3.5", "--set", "channel_bytes=65536")
    assert refused.exit_code == 1
    assert "weights (codes alone, a budget as 2 bits)" in refused.stderr


def test_progress_goes_through_every_run(shapes):
    told = []
    flightllm.speed(shapes, board="tiny", prompts=[40], contexts=[3], progress=lambda *a: told.append(a))
    assert told[0][:2] == ("prompt of 40", 0)
    assert told[-1][:2] == ("token at 3", len(told) - 1)
    assert {total for _, _, total in told} == {len(told)}


def test_lengths_that_are_not_possible(shapes):
    for bad in (200, [0], [-5], [1.5], ["x"]):
        with pytest.raises(FlightError, match="are not possible"):
            flightllm.speed(shapes, board="tiny", prompts=[600] if bad == 200 else bad)
    assert [p.context for p in flightllm.speed("tiny-austen", board="tiny").phases] == [0, 128, 511], (
        "as far as it reaches"
    )


def test_what_speaks_against_building_it_is_said(shapes):
    text = call(
        "speed", shapes, "--board", "kv260", "--set", "vpus=32", "--set", "clock_mhz=300", "--context", 3
    ).stdout
    assert "note: LUT (estimate)" in text
    assert "note: 300 MHz" in text
    assert "note:" not in call("speed", shapes, "--board", "u280", "--context", 3).stdout
    # its four ports take less than its memory delivers
    notes = [x for x in call("speed", shapes, "--board", "kv260", "--context", 3).stdout.splitlines() if "note" in x]
    assert len(notes) == 1 and "14.4 GB/s a channel, 82 % of what the memory delivers" in notes[0]
    tight = call("speed", shapes, "--board", "u280", "--context", 3, "--set", "chain_vpus=1").stdout
    assert "note: LUT (estimate): 95 % of what u280 has, before what its shell takes" in tight


def test_memory_is_as_fast_as_the_board_file_says(shapes, tmp_path):
    """A board of one's own, of the same name as a known one: its rates count, in packages, too."""
    text = (Path(__file__).parents[2] / "boards" / "u280.toml").read_text()
    slow = tmp_path / "slow.toml"
    slow.write_text(
        text.replace("channel_gbps = 14.375", "channel_gbps = 1.0").replace(
            "measured_gbps = 13.27", "measured_gbps = 0.9"
        )
    )
    fast = flightllm.speed(shapes, board="u280", contexts=[100]).phases[0]
    mine = flightllm.speed(shapes, board=str(slow), contexts=[100]).phases[0]
    assert mine.cycles > 1.5 * fast.cycles
    assert mine.memory <= 1.0
    cycles = []
    for board in ("u280", str(slow)):
        flightllm.compile(shapes, tmp_path / "p.flpkg", board=board, synthetic=1, force=True)
        cycles.append(
            flightllm.simulate(tmp_path / "p.flpkg", prompt_tokens=100, new_tokens=1, skip_prompt=True).cycles
        )
    assert cycles[1] > 1.5 * cycles[0]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("speed") / "tiny.flpkg"
    flightllm.compile("tiny-austen", path, board="tiny")
    return path


def test_simulate_counts_by_the_model(package):
    result = call("simulate", package, "--prompt-tokens", 40, "--new-tokens", 2, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["executor"] == "model"
    assert [(r["pos"], r["tokens"]) for r in document["runs"]] == [(0, 32), (32, 8), (40, 1), (41, 1)]
    skipped = json.loads(
        call("simulate", package, "--prompt-tokens", 40, "--new-tokens", 2, "--skip-prompt", "--json").stdout
    )
    assert skipped["runs"] == document["runs"][2:], "what came before does not matter"
    text = call("simulate", package, "--prompt-tokens", 3, "--new-tokens", 0).stdout
    assert "modelled" in text
    unit = next(line.split() for line in text.splitlines() if line.startswith("W "))
    assert unit[2] == "-", "what the model does not count is not zero"


@pytest.mark.parametrize(
    "option", [["--compare"], ["--jitter", 5], ["--stall", 0.1], ["--rtl-window", "3:1"], ["--trace", "x.vcd"]]
)
def test_what_only_hardware_can_do(package, option):
    result = call("simulate", package, *option)
    assert result.exit_code == 1
    assert f"the cycle model has no {option[0]}" in result.stderr
    assert "--on rtl" in result.stderr


def test_skip_prompt_is_for_the_model(package):
    with pytest.raises(ToolError, match="skip-prompt"):
        flightllm.simulate(package, on="rtl", skip_prompt=True)
