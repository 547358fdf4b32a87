"""Channels that stand for others: what all channels together move is what they move if each is modelled."""

from __future__ import annotations

import pytest
from packages import build, small_arch

from flightllm.api import find_model
from flightllm.cycles import machine
from flightllm.cycles.device import CycleModel
from flightllm.frontends import load_model
from flightllm.timeline import model_timeline


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("channels", [8, 32])
def test_bytes_of_all_channels(tmp_path, monkeypatch, channels, bits):
    recipe = {"default": {}, "rule": [{"match": "attn.core", "kv": bits}]}
    package = build(load_model(find_model("tiny-austen")), tmp_path / "p.flpkg", small_arch(1, channels, 4), recipe)
    found = {}
    for modelled in (4, channels):
        monkeypatch.setattr(machine, "MODELLED_CHANNELS", modelled)
        assert machine.MODELLED_OF_A_CHUNK == 1
        model = CycleModel.of_package(package)
        sums = []
        for ids, pos in (([1] * 32, 0), ([1], 75)):
            t = model_timeline(model, ids, pos, 1, False)
            read, written = (sum(n for k, n in t.counters.items() if k.endswith(f"{what}_bytes")) for what in ("read", "written"))  # fmt: skip
            fetched = 64 * model.machine.cores[0].channels[0].fetched_beats
            assert sum(s.moved for s in t.spans) + fetched == read + written
            sums.append((read, written))
        found[modelled] = sums
    # instructions are read ahead of jumps, as far as the memory gets until then: a few more or less
    for (read, written), (all_read, all_written) in zip(found[4], found[channels], strict=True):
        assert written == all_written
        assert read == pytest.approx(all_read, abs=64 * 64)
