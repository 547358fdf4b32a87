"""The memory model alone: timing against Shuhai's measurements on a U280 (FCCM 2020), data, order, and the protocol checks."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
SIM = HERE.parents[1] / "sim"
MEASURED_PERIOD_NS = 1000 / 450
BEAT = 32


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    path = tmp_path_factory.mktemp("bench") / "bench.so"
    command = ["g++", "-std=gnu++20", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", f"-I{SIM}"]
    subprocess.run([*command, str(HERE / "memory_bench.cpp"), "-o", str(path)], check=True, timeout=120)
    lib = ctypes.CDLL(str(path))
    lib.bench_rate.restype = ctypes.c_double
    lib.bench_breach.restype = ctypes.c_char_p
    return lib


@pytest.fixture
def memory():
    """16 MB of random bytes."""
    return np.random.default_rng(0).integers(0, 256, 1 << 24, np.uint8)


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p), ctypes.c_uint64(array.nbytes)


def compare(what, model, measured, tolerance, capsys):
    deviation = model / measured - 1
    with capsys.disabled():
        print(f"\n  {what}: model {model:.2f}, measured {measured:.2f}, deviation {deviation:+.1%}", end="")
    assert abs(deviation) <= tolerance


def test_idle_latency(bench, memory, capsys):
    """Shuhai: 48, 55 and 62 cycles of 450 MHz for an open row, a closed one, another one open."""
    addresses = np.array([0, 64, 1 << 14, 4096, (1 << 14) + 64], np.uint64)
    cycles = np.zeros(len(addresses), np.int32)
    args = (ctypes.c_double(MEASURED_PERIOD_NS), BEAT, addresses.ctypes.data_as(ctypes.c_void_p), len(addresses), 80)
    assert bench.bench_latency(*pointer(memory), *args, cycles.ctypes.data_as(ctypes.c_void_p)) == 0
    closed, hit, miss, closed_too, hit_too = cycles * MEASURED_PERIOD_NS
    assert closed_too == closed
    assert hit_too == hit
    compare("idle latency, ns, row open", hit, 106.7, 0.01, capsys)
    compare("idle latency, ns, row closed", closed, 122.2, 0.01, capsys)
    compare("idle latency, ns, another row open", miss, 137.8, 0.01, capsys)


def test_a_refresh_closes_rows(bench, memory):
    """Accesses as far apart as refreshes, between them, never find an open row."""
    addresses, cycles = np.array([0, 64, 128], np.uint64), np.zeros(3, np.int32)
    args = (ctypes.c_double(MEASURED_PERIOD_NS), BEAT, addresses.ctypes.data_as(ctypes.c_void_p), 3, 1755)
    assert bench.bench_latency(*pointer(memory), *args, cycles.ctypes.data_as(ctypes.c_void_p)) == 0
    assert cycles.tolist() == [55, 55, 55]


@pytest.mark.parametrize(
    ("what", "beats", "stride", "window", "measured"),
    [
        ("sequential reads, GB/s", 16, 512, 1 << 24, 13.27),
        ("32 B at 4 KB stride within 8 KB, GB/s", 1, 4096, 8192, 6.7),
        ("32 B at 4 KB stride over everything, GB/s", 1, 4096, 1 << 24, 2.4),
    ],
)
def test_read_rate(bench, memory, what, beats, stride, window, measured, capsys):
    sizes = (beats, ctypes.c_uint64(stride), ctypes.c_uint64(window))
    args = (ctypes.c_double(MEASURED_PERIOD_NS), BEAT, *sizes, 6000, 0, 64)
    compare(what, bench.bench_rate(*pointer(memory), *args), measured, 0.02, capsys)


def test_a_wide_port_at_half_the_clock_reads_as_fast(bench, memory):
    """512 bits at 225 MHz with bursts of 4 KB, 16 in flight, is how the core reads; writes of 64 B are not much slower."""
    sizes = (64, ctypes.c_uint64(4096), ctypes.c_uint64(1 << 24))
    rate = bench.bench_rate(*pointer(memory), ctypes.c_double(1000 / 225), 64, *sizes, 1000, 0, 16)
    assert rate == pytest.approx(13.27, rel=0.03)
    sizes = (1, ctypes.c_uint64(64), ctypes.c_uint64(1 << 24))
    rate = bench.bench_rate(*pointer(memory), ctypes.c_double(1000 / 225), 64, *sizes, 4000, 1, 32)
    assert 10 < rate < 14


@pytest.mark.parametrize("beat", [16, 32, 64])
@pytest.mark.parametrize(("jitter", "stall"), [(0.0, 0.0), (400.0, 0.0), (200.0, 0.3)])
def test_random_traffic(bench, memory, beat, jitter, stall):
    small = memory[: 1 << 16].copy()
    args = (beat, ctypes.c_double(jitter), ctypes.c_double(stall), ctypes.c_uint64(beat + 7), 3000)
    assert bench.bench_random(*pointer(small), *args) == 0
    assert not np.array_equal(small, memory[: 1 << 16])


def test_a_write_is_seen_only_after_its_response(bench, memory):
    """So that a kernel that does not wait for responses reads old data in simulation, as it may on a board."""
    out = np.zeros(4, np.int32)
    assert bench.bench_visibility(*pointer(memory), out.ctypes.data_as(ctypes.c_void_p)) == 0
    new_before, new_after, before, after = out
    assert before > 20
    assert new_before == 0, "reads that were asked for before the response"
    assert new_after == after > 20


@pytest.mark.parametrize("at", [0, 3, 7])
def test_injected_errors(bench, memory, at):
    assert bench.bench_faults(*pointer(memory), at) == 1 << at | 1 << 8


BREACHES = [
    "",
    "crosses 4 KB",
    "outside the channel's memory",
    "not aligned",
    "AR changed",
    "W changed",
    "WLAST",
    "more than 16 reads",
]


@pytest.mark.parametrize("number", range(len(BREACHES)))
def test_breach_of_the_protocol_is_found(bench, memory, number):
    message = bench.bench_breach(*pointer(memory), number).decode()
    assert BREACHES[number] in message
    assert bool(message) == (number > 0)
