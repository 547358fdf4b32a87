"""The black box of the CSD-chain, in SystemVerilog and as the Verilog made from it, against its C++ model: every N, corner operands, a call every cycle and with pauses, handshake and latency as its description states them."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from player import Player, pack

from flightllm.config.paths import data_dir
from flightllm.executors.hls.build import compile_library
from flightllm.kernel import blackbox
from flightllm.sim.sources import rtl_sources

HERE = Path(__file__).parent
DENSE, EIGHT, FOUR, TWO = range(4)
SUMS = {DENSE: 1, EIGHT: 2, FOUR: 4, TWO: 8}
ARGUMENTS = {"codes": (16, 8), "indices": (16, 4), "n_index": (1, 2), "window0": (16, 8), "window1": (16, 8)}
CONTROL = {"ap_rst": 1, "ap_ce": 1, "ap_start": 1, "ap_continue": 1}
OUTPUTS = {
    "ap_ready": 1, "ap_done": 1, "ap_idle": 1, "sums0_ap_vld": 1, "sums1_ap_vld": 1, "sums0": (8, 19), "sums1": (8, 19),
}  # fmt: skip


@pytest.fixture(scope="module", params=["rtl", "verilog"])
def box(request, tmp_path_factory) -> Player:
    if request.param == "rtl":
        wanted = ("matrix_pkg", "DSP48E2", "dsp_slice", "mac_dsp", "csd_cascade", "csd_chain_blackbox")
        sources = [p for p in rtl_sources("matrix", "blackbox") if p.stem in wanted]
    else:
        pytest.importorskip("pyosys")
        path = tmp_path_factory.mktemp("blackbox") / "csd_chain_blackbox.v"
        path.write_text(blackbox.verilog()[0])
        sources = [data_dir("rtl") / "matrix" / "DSP48E2.sv", path]
    return Player("csd_chain_blackbox", sources, CONTROL | ARGUMENTS, OUTPUTS, clock="ap_clk")


@cache
def library() -> ctypes.CDLL:
    return ctypes.CDLL(str(compile_library("csd_chain_model", (HERE / "csd_chain_model.cpp").read_text(), "model.cpp")))


def model(x: dict[str, np.ndarray]) -> np.ndarray:
    """Arguments of calls -> sums [calls, 2, 8], by the C++ model."""
    calls = len(x["n_index"])
    rows = [pack(x[name].reshape(calls, n), bits) for name, (n, bits) in ARGUMENTS.items()]
    out = np.zeros((calls, 2, 8), np.int32)
    library().csd_chain_model(ctypes.c_int64(calls), *(ctypes.c_void_p(r.ctypes.data) for r in [*rows, out]))
    return out


def in_numpy(x: dict[str, np.ndarray]) -> np.ndarray:
    """The same by numpy, from the definition."""
    out = np.zeros((len(x["n_index"]), 2, 8), np.int64)
    for n, sums in SUMS.items():
        at = x["n_index"] == n
        index = np.broadcast_to(np.arange(16), (at.sum(), 16)) if n == DENSE else x["indices"][at]
        for token in range(2):
            products = np.take_along_axis(x[f"window{token}"][at], index, axis=1) * x["codes"][at]
            out[at, token, :sums] = products.reshape(-1, sums, 16 // sums).sum(axis=2)
    return out


def operands(n: int, seed: int) -> dict[str, np.ndarray]:
    """Arguments for n cycles: a third random, a third with one corner all over, a third of mixed corners."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, (n, 1))

    def values(low: int, high: int) -> np.ndarray:
        corners = np.array([low, high, 0, 1, -1])
        same = np.broadcast_to(rng.choice(corners, (n, 1), p=[0.4, 0.4, 0.1, 0.05, 0.05]), (n, 16))
        return np.choose(kind, [rng.integers(low, high + 1, (n, 16)), same, rng.choice(corners, (n, 16))])

    return {
        "codes": values(-128, 127),
        "indices": rng.integers(0, 16, (n, 16)),
        "n_index": rng.integers(0, 4, n),
        "window0": values(-127, 127),
        "window1": values(-127, 127),
    }


def check(box: Player, x: dict[str, np.ndarray], control: dict[str, np.ndarray]) -> int:
    """Compare every output in every cycle, those of the handshake with a model of ap_ctrl_chain; the calls that ended."""
    cycles = len(x["n_index"])
    control = {name: np.broadcast_to(control[name], cycles).astype(int) for name in CONTROL}
    out = box.run(signed=("sums0", "sums1"), **control, **x)
    want = model(x)
    assert np.array_equal(want, in_numpy(x)), "the C++ model is wrong"
    ended = 0
    line: list[int | None] = [None] * blackbox.latency()  # the cycle of the call in each stage
    for t in range(cycles):
        rst, ce, start, go_on = (control[name][t] for name in CONTROL)
        last = line[-1]
        moves = bool(ce) and (bool(go_on) or last is None)
        # before the first reset anything may be in the pipeline
        if control["ap_rst"][:t].any():
            seen = [int(out[name][t]) for name in ("ap_ready", "ap_done", "ap_idle", "sums0_ap_vld", "sums1_ap_vld")]
            done = int(last is not None)
            assert seen == [int(start and moves), done, int(not start and line.count(None) == len(line)), done, done], t
            if last is not None:
                for token in range(2):
                    got = out[f"sums{token}"][t]
                    assert np.array_equal(got, want[last, token]), f"cycle {t}, call of {last}, token {token}: {got}"
        if rst:
            line = [None] * len(line)
        elif moves:
            ended += last is not None
            line = [t if start else None, *line[:-1]]
    return ended


def with_reset(cycles: int, *at: int) -> np.ndarray:
    """Reset in the first two cycles, and in others."""
    rst = np.zeros(cycles, int)
    rst[[0, 1, *at]] = 1
    return rst


@pytest.mark.parametrize("seed", range(3))
def test_a_call_every_cycle(box, seed):
    n = 4000
    ended = check(box, operands(n, seed), {"ap_rst": with_reset(n), "ap_ce": 1, "ap_start": 1, "ap_continue": 1})
    assert ended == n - 2 - blackbox.latency()


@pytest.mark.parametrize("pauses", ["enable", "start", "continue", "all"])
def test_pauses(box, pauses):
    n = 4000

    def bits(name: str, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        one = np.repeat(rng.random(n), rng.integers(1, 40, n))[:n] < 0.6  # runs of both
        return np.where(rng.random(n) < 0.5, one, rng.random(n) < 0.5) if pauses in (name, "all") else np.ones(n, int)

    control = {
        "ap_rst": with_reset(n), "ap_ce": bits("enable", 1), "ap_start": bits("start", 2), "ap_continue": bits("continue", 3),
    }  # fmt: skip
    assert check(box, operands(n, 9), control) > n // 20


@pytest.mark.parametrize("mode", [DENSE, EIGHT, FOUR, TWO])
def test_largest_sums(box, mode):
    """All pairs of signs in both tokens, all codes at an end: the packed sums are as large as they get."""
    ends = np.array(np.meshgrid([-128, 127, -1, 0], [-127, 127, 0, 1], [-127, 127, 0, 1])).reshape(3, -1)
    n = ends.shape[1] + 40
    x = {name: np.resize(row, (16, n)).T for name, row in zip(("codes", "window0", "window1"), ends, strict=True)}
    x |= {"indices": np.random.default_rng(mode).integers(0, 16, (n, 16)), "n_index": np.full(n, mode)}
    check(box, x, {"ap_rst": with_reset(n), "ap_ce": 1, "ap_start": 1, "ap_continue": 1})


def test_reset_forgets_calls(box):
    n = 400
    rst = with_reset(n, 50, 51, 120, 200, 207)
    check(box, operands(n, 5), {"ap_rst": rst, "ap_ce": 1, "ap_start": np.arange(n) % 3 != 0, "ap_continue": 1})


def test_latency_is_the_description_s(box):
    """One call alone: its sums come as many cycles later as the description says, and nothing else comes."""
    n = 60
    start = np.zeros(n, int)
    start[20] = 1
    control = {"ap_rst": with_reset(n), "ap_ce": np.ones(n, int), "ap_start": start, "ap_continue": np.ones(n, int)}
    out = box.run(**control, **operands(n, 1))
    latency = int(blackbox.description({}, {})["rtl_performance"]["latency"])
    assert np.flatnonzero(out["ap_done"][2:]).tolist() == [20 + latency - 2]
