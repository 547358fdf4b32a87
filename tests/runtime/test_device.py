"""Opening devices by name, checking chunks, taking the striping off logits."""

import sys
import types

import numpy as np
import pytest
from fake_device import FakeDevice, manifest, write_package

from flightllm.errors import FlightError, ToolError
from flightllm.runtime.device import DEVICES, Device, check_chunk, gather_logits, open_device


def test_an_executor_that_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setitem(DEVICES, "board", False)
    with pytest.raises(ToolError, match="board.*not in this version(.|\n)*functional, rtl, hls$"):
        open_device("board", write_package(tmp_path / "a"))


def test_unknown_executor(tmp_path):
    with pytest.raises(ToolError, match="unknown executor 'cuda'"):
        open_device("cuda", write_package(tmp_path / "a"))


def test_functional_is_loaded(tmp_path, monkeypatch):
    module = types.ModuleType("flightllm.executors.functional")
    module.FunctionalDevice = FakeDevice
    monkeypatch.setitem(sys.modules, "flightllm.executors.functional", module)
    device = open_device("functional", write_package(tmp_path / "a"))
    assert isinstance(device, Device)
    assert device.loads == 1


@pytest.mark.parametrize(
    ("ids", "pos", "nlog", "message"),
    [
        ([], 0, 0, "chunk of 0"),
        ([1] * 9, 0, 0, "takes 1 to 8"),
        ([1], -1, 0, "positions -1"),
        ([1, 1], 63, 0, "room for 64"),
        ([1], 0, 2, "logits of 2"),
        ([1], 0, -1, "logits of -1"),
        ([1, 258], 0, 0, "258"),
        ([-1], 0, 0, "-1"),
    ],
)
def test_chunk_limits(ids, pos, nlog, message):
    with pytest.raises(FlightError, match=message):
        check_chunk(manifest(), ids, pos, nlog)


def test_chunk_at_the_limits():
    check_chunk(manifest(), [0, 257] * 4, 56, 8)


@pytest.mark.parametrize(("cores", "channels", "vocab"), [(1, 1, 5), (1, 4, 10), (2, 4, 21), (3, 2, 100)])
def test_logits_striping(cores, channels, vocab):
    """Write logits to memories element by element, as docs/machine.md says, and gather them."""
    m = manifest(cores=cores, channels=channels, vocab=vocab)
    want = np.random.default_rng(0).normal(size=(3, vocab)).astype(np.float32)
    memory = np.full((cores, channels, 0x8000 + 3 * m.host.logits_stride), 0xA5, np.uint8)
    first = 0
    for core, count in enumerate(m.host.logits_parts):
        for t in range(3):
            for e in range(count):
                at = m.host.logits_addr + t * m.host.logits_stride + e // channels * 4
                memory[core, e % channels, at : at + 4] = np.frombuffer(want[t, first + e].tobytes(), np.uint8)
        first += count
    got = gather_logits(m, 3, lambda core, channel, addr, size: memory[core, channel, addr : addr + size])
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, want)
    assert gather_logits(m, 0, lambda core, channel, addr, size: memory[core, channel, addr:addr]).shape == (0, vocab)
