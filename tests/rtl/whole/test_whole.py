"""The whole core in RTL against the functional executor: small random decoders in every format; errors and what comes after them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from formats import FORMATS, IDS
from graphs import decoder
from packages import build, small_arch
from side_by_side import Lockstep

from flightllm.config.arch import ArchConfig
from flightllm.errors import ProgramError
from flightllm.executors.functional import FunctionalDevice
from flightllm.executors.rtl import RtlDevice

#: configs with two VPUs in a chain, by turns
CHAINS = ({"vpus": 8}, {"cores": 2, "channels": 1, "vpus": 12}, {"channels": 1, "vpus": 16})


def compare(name: str, path: Path, arch: ArchConfig) -> None:
    """A chunk of a prompt, single tokens, a short chunk."""
    recipe, graph = FORMATS[name]
    package = build(decoder(**graph), path, arch, recipe)
    both = Lockstep(package)
    both.feed(IDS, [32, 32, 16, 1, 1, 1, 3])
    both.close()


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name, tmp_path):
    compare(name, tmp_path / "p.flpkg", small_arch(vpus=8))


@pytest.mark.parametrize(("number", "name"), enumerate(FORMATS))
def test_two_vpus_in_a_chain(number, name, tmp_path):
    compare(name, tmp_path / "p.flpkg", small_arch(**CHAINS[number % len(CHAINS)], chain_vpus=2))


def test_errors_are_reported_and_the_next_run_works(tmp_path, monkeypatch):
    """A token id outside the table, an AXI error: a message with the units' states; then the device works again."""
    package = build(decoder(), tmp_path / "p.flpkg", small_arch(vpus=8))
    device, functional = RtlDevice(), FunctionalDevice()
    device.load(package)
    functional.load(package)
    want = functional.run_chunk(IDS[:3], 0, 3, True)
    monkeypatch.setattr("flightllm.runtime.driver.check_chunk", lambda *_: None)  # the host would refuse the id
    with pytest.raises(ProgramError, match=r"error 4 \(token id outside the table\) in core 0"):
        device.run_chunk([2**31 - 1], 0, 1, True)
    assert np.array_equal(device.run_chunk(IDS[:3], 0, 3, True), want)
    assert device.sim is not None
    device.sim.inject(1, package.manifest.memory[0].addr, write=False)
    with pytest.raises(ProgramError, match=r"error 2 \(AXI read error\) in core 0"):
        device.run_chunk(IDS[:3], 0, 3, True)
