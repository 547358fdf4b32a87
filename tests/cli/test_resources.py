"""flightllm resources: figures of configs, boards and packages."""

from __future__ import annotations

import json

import pytest

from flightllm.config.board import load_board
from flightllm.package import Package


def run(flightllm, *args):
    result = flightllm("resources", *args, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_board(flightllm):
    data = run(flightllm, "--board", "tiny")
    arch = load_board("tiny").arch
    vpus = arch.channels * arch.vpus
    units = {u["name"]: u for u in data["units"]}
    assert units["vpu"]["count"] == vpus
    assert data["totals"]["dsp"] == sum(u["count"] * u["each"]["dsp"] for u in data["units"]) >= 18 * vpus
    board = data["board"]
    assert board["fits"]["dsp"] == (data["totals"]["dsp"] <= board["has"]["dsp"])
    shown = flightllm("resources", "--board", "tiny").stdout
    assert f"{round(data['totals']['lut']):,}" in shown
    assert "574,000" in shown  # FlightLLM's, beside


def test_what_does_not_fit_is_said(flightllm):
    data = run(flightllm, "--board", "kv260", "--set", "vpus=64", "--set", "channels=4")
    assert data["board"]["fits"]["dsp"] is False
    assert data["board"]["all_fit"] is False
    shown = flightllm("resources", "--board", "kv260", "--set", "vpus=64", "--set", "channels=4").stdout
    assert "does not fit kv260" in shown
    assert "too much" in shown


def test_figures_scale_with_the_config(flightllm):
    one = run(flightllm, "--set", "channels=8", "--set", "vpus=4")
    two = run(flightllm, "--set", "channels=8", "--set", "vpus=8")
    both = [{u["name"]: u for u in d["units"]} for d in (one, two)]
    assert both[1]["vpu"]["count"] == 2 * both[0]["vpu"]["count"]
    assert both[1]["mpu"]["each"]["lut"] > both[0]["mpu"]["each"]["lut"]
    cores = run(flightllm, "--set", "channels=8", "--set", "vpus=4", "--set", "cores=2")
    assert cores["totals"]["bram36"] == 2 * one["totals"]["bram36"]


def test_package(flightllm, package):
    assert run(flightllm, package)["arch"] == Package.open(package).manifest.arch.to_dict()


@pytest.mark.parametrize(
    ("setting", "text"), [("vpus=5", "vpus = 5"), ("lanes=32", "lanes = 32"), ("nonsense=1", "nonsense")]
)
def test_wrong_settings(flightllm, setting, text):
    result = flightllm("resources", "--set", setting)
    assert result.exit_code == 1
    assert text in result.output


def test_errors_of_the_estimator(flightllm):
    rows = json.loads(flightllm("resources", "--errors", "--json").stdout)
    for row in rows:
        assert set(row["synthesised"]) == set(row["estimated"])
