"""Bursts of the cycle model's memory against the C++ model, access by access."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from flightllm.config.board import load_board
from flightllm.cycles.hbm import HbmChannel
from flightllm.sim.hbm import HbmTiming

HERE = Path(__file__).parent
SIM = HERE.parents[1] / "sim"
TIMINGS = {"u280": HbmTiming(), "u50": HbmTiming.of_board(load_board("u50").memory)}


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    path = tmp_path_factory.mktemp("bench") / "bench.so"
    command = ["g++", "-std=gnu++20", "-O2", "-Wall", "-Werror", "-fPIC", "-shared", f"-I{SIM}"]
    subprocess.run([*command, str(HERE / "hbm_bench.cpp"), "-o", str(path)], check=True, timeout=120)
    return ctypes.CDLL(str(path)).serve


def reference(serve, timing, phase, address, atoms, write, arrival):
    arrays = [
        np.array(astuple(timing)), np.array(address, np.uint64), np.array(atoms, np.int32), np.array(write, np.int32),
        np.array(arrival, float), np.zeros(len(address)), np.zeros(len(address)),
    ]  # fmt: skip
    points = [a.ctypes.data_as(ctypes.c_void_p) for a in arrays]
    serve(points[0], ctypes.c_double(phase), len(address), *points[1:])
    return np.stack(arrays[5:], 1)


@pytest.mark.parametrize("timing", TIMINGS.values(), ids=TIMINGS)
@pytest.mark.parametrize("traffic", ["sequential", "random", "strided", "mixed", "idle"])
def test_bursts_take_as_long_as_their_atoms(serve, timing, traffic):
    rng = np.random.default_rng(list(TIMINGS.values()).index(timing))
    count = 3000
    atoms = np.full(count, 128)
    address = np.arange(count) * 4096
    write = np.zeros(count, int)
    gap = np.full(count, 250.0)
    if traffic == "random":
        atoms = rng.integers(1, 129, count)
        address = rng.integers(0, 1 << 18, count) * 32
    elif traffic == "strided":
        atoms, address = np.full(count, 2), np.arange(count) % 4 * 4096
        gap = np.full(count, 20.0)
    elif traffic == "mixed":
        atoms = rng.choice([1, 2, 64, 128], count)
        write = rng.integers(0, 2, count)
        gap = rng.uniform(0, 400, count)
    elif traffic == "idle":
        gap = rng.choice([0.0, 300.0, 9000.0], count)
    arrival = np.cumsum(gap)
    want = reference(serve, timing, 0.25, address, atoms, write, arrival)
    channel = HbmChannel(timing, 0.25)
    got = np.array(
        [
            channel.burst(int(a), 32 * int(n), float(t), bool(w))
            for a, n, t, w in zip(address, atoms, arrival, write, strict=True)
        ]
    )
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-3)
