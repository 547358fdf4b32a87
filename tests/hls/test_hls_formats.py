"""The HLS kernel against the functional executor: small random decoders in every format, logits and all memory bit for bit."""

from __future__ import annotations

import pytest
from formats import FORMATS, IDS
from graphs import decoder
from packages import build, small_arch
from side_by_side import Lockstep

from flightllm.executors.hls import HlsDevice

CHUNKS = [32, 32, 16, 1, 1, 1, 3]


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name, tmp_path):
    """Streams hold exactly what the source says, so depths that are too small would show as a deadlock."""
    recipe, graph = FORMATS[name]
    package = build(decoder(**graph), tmp_path / "p.flpkg", small_arch(vpus=8), recipe)
    Lockstep(package, kernel=HlsDevice(exact_depths=True)).feed(IDS, CHUNKS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arch",
    [
        small_arch(1, 32, 4),
        small_arch(1, 8, 16, lanes=16, port_bits=128),
        small_arch(2, 16, 8, port_bits=256, queue_depth=2),
    ],
    ids=lambda a: f"{a.cores}x{a.channels}x{a.vpus}-{a.port_bits}",
)
@pytest.mark.parametrize("name", ["mixed", "kv 4", "mask", "odd heads"])
def test_wide_configs(name, arch, tmp_path):
    recipe, graph = FORMATS[name]
    package = build(decoder(**graph), tmp_path / "p.flpkg", arch, recipe)
    Lockstep(package, kernel=HlsDevice(exact_depths=True)).feed(IDS, CHUNKS)
