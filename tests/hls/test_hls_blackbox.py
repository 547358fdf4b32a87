"""The HLS kernel with FLIGHTLLM_BLACKBOX, its CSD-chains by the black box's model, against the functional executor: every N, bit for bit."""

from __future__ import annotations

import pytest
from formats import FORMATS, IDS
from graphs import decoder
from packages import build, small_arch
from side_by_side import Lockstep
from test_hls_formats import CHUNKS

from flightllm.executors.hls import HlsDevice
from flightllm.executors.hls.build import build_hls


@pytest.mark.parametrize("name", ["mixed", "2:16", "4:16", "8:16", "dual"])
def test_formats_by_the_black_box(name, tmp_path):
    recipe, graph = FORMATS[name]
    arch = small_arch(vpus=8)
    package = build(decoder(**graph), tmp_path / "p.flpkg", arch, recipe)
    kernel = HlsDevice(library=build_hls(arch, blackbox=True))
    Lockstep(package, kernel=kernel).feed(IDS, CHUNKS)
