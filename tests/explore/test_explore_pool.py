"""Where configs are evaluated: results do not depend on it, and what goes wrong there is said."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from shapes import FOUR, write

import flightllm
from flightllm import api
from flightllm.compress import Recipe
from flightllm.config.board import load_board
from flightllm.errors import ToolError
from flightllm.search import pool
from flightllm.search.point import evaluate, make_work

distributed = pytest.importorskip("distributed")


@pytest.fixture
def shapes(tmp_path):
    return write(tmp_path / "m", num_hidden_layers=2)


def explore(model, **options):
    return flightllm.explore(model, **{"board": "tiny", "vary": FOUR, "context": 100, "prompt": 40} | options)


def evaluate_or_die(work, arch):
    """Stands for a config whose worker runs out of memory."""
    if arch.vpus == 40:
        os._exit(1)
    return evaluate(work, arch)


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster


def test_a_scheduler_by_its_address(shapes, cluster):
    here = explore(shapes, workers=1)
    assert explore(shapes, scheduler=cluster.scheduler_address).to_json() == here.to_json()


def test_results_have_the_order_of_the_configs(shapes, cluster):
    """The first takes longest: with two workers it is not the first that is done."""
    board = load_board("tiny")
    work = make_work(api.load_shapes(shapes), board, Recipe.from_options(weights=4), 40, 100)
    configs = [replace(board.arch, channels=c, vpus=v, max_chunk=m) for c, v, m in ((1, 4, 1), (4, 8, 32), (2, 8, 16))]
    seen = []
    with pool.open_pool(cluster.scheduler_address) as here:
        points = here.run(work, configs, seen.append)
    assert [p.arch for p in points] == configs
    assert sorted(map(str, seen)) == sorted(map(str, points))


@pytest.mark.slow
def test_processes_of_this_machine(shapes):
    assert explore(shapes, workers=2).to_json() == explore(shapes, workers=1).to_json()


def test_a_worker_is_no_scheduler(shapes, cluster):
    (address, *_) = cluster.scheduler_info["workers"]
    with pytest.raises(ToolError, match="this is a Dask Worker"):
        explore(shapes, scheduler=address)


def test_workers_with_another_version(shapes, cluster, monkeypatch):
    monkeypatch.setattr(pool, "code_digest", lambda: str(os.getpid()))
    with (
        pytest.raises(ToolError, match="2 of 2 workers do not have this flightllm"),
        pool.open_pool(cluster.scheduler_address),
    ):
        pass


@pytest.mark.slow
def test_a_lost_worker_costs_one_config(shapes, cluster, monkeypatch):
    monkeypatch.setattr(pool, "evaluate", evaluate_or_die)
    found = explore(shapes, scheduler=cluster.scheduler_address)
    assert {p.arch.vpus for p in found.points} == {4}
    assert "a worker was lost" in " ".join(found.notes)


@pytest.mark.parametrize("address", ["nonsense", "http://somewhere:1", "closed", "mute"])
def test_a_scheduler_that_does_not_answer(shapes, address, monkeypatch):
    monkeypatch.setattr(pool, "TIMEOUT", 1.0)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        if address == "mute":
            mute.listen()
        if address in ("mute", "closed"):
            address = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        begin = time.monotonic()
        with pytest.raises(ToolError, match="does not answer") as error:
            explore(shapes, scheduler=address)
    assert error.value.where == address
    assert error.value.why
    assert time.monotonic() - begin < 10


def test_a_scheduler_without_workers(shapes, monkeypatch):
    monkeypatch.setattr(pool, "TIMEOUT", 1.0)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as empty,
        pytest.raises(ToolError, match="no workers"),
    ):
        explore(shapes, scheduler=empty.scheduler_address)


def test_without_dask(shapes, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(pool, "find_spec", lambda name: None if name == "distributed" else find(name))
    with pytest.raises(ToolError) as error:
        explore(shapes, workers=2)
    assert 'pip install "flightllm[explore]"' in error.value.do
    assert len(explore(shapes, workers=1).front) == 3


@pytest.mark.slow
def test_ctrl_c_ends_everything(shapes):
    """A terminal sends it to the workers, too; nothing stays and nobody shows a traceback."""
    args = ["explore", str(shapes), "--board", "tiny", "--workers", "2", "--most", "2000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "flightllm", *args],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(10)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.split()) == (130, "", ["interrupted"])
    left = time.monotonic() + 20
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < left:
            os.killpg(process.pid, 0)
            time.sleep(0.1)
