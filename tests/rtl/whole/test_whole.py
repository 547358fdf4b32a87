"""The whole core in RTL against the functional executor: small random decoders in every format; errors and what comes after them."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import decoder
from packages import build, small_arch
from side_by_side import Lockstep

from flightllm.errors import ProgramError
from flightllm.executors.functional import FunctionalDevice
from flightllm.executors.rtl import RtlDevice

IDS = np.random.default_rng(7).integers(0, 70, 100).tolist()
#: what the recipe, the graph and the KV cache can be; all on the default config
FORMATS = {
    "2 bits": ({"default": {"weights": 2, "group": 32}}, {}),
    "3 bits g64": ({"default": {"weights": 3, "group": 64}}, {}),
    "4 bits affine": ({"default": {"weights": 4, "group": 32, "affine": True}}, {}),
    "5 bits": ({"default": {"weights": 5, "group": 128}}, {}),
    "6 bits": ({"default": {"weights": 6, "group": 32}}, {}),
    "8 bits": ({"default": {"weights": 8, "group": 32}}, {}),
    "2:16": ({"default": {"weights": 8, "sparsity": 2}}, {}),
    "4:16": ({"default": {"weights": 6, "sparsity": 4}}, {}),
    "8:16": ({"default": {"weights": 4, "sparsity": 8}}, {}),
    "mixed": ({"default": {"weights": 4}, "rule": [{"match": "mlp.*", "weights": 6, "sparsity": 8}]}, {}),
    "two passes": ({"default": {"passes": [{"bits": 2, "affine": True}, {"bits": 8, "n": 2}]}}, {}),
    "kv 4": ({"default": {"weights": 4, "kv": 4}}, {}),
    "dual": ({"default": {"weights": 4, "activations": "dual"}}, {}),
    "mask": (
        {"rule": [{"match": "attn.core", "attention": {"kind": "local+global", "local": 1, "global": 1, "stride": 0}}]},
        {"layers": 1},
    ),
    "window": ({}, {"window": 40, "sink": 4}),
    "layer norm, gelu, biases": (
        {},
        {"norm": "layer", "act": "gelu_tanh", "gated": False, "bias": True, "rope": False, "kv_heads": 4},
    ),
    "halves": ({"default": {"weights": 4}}, {"heads": 8, "kv_heads": 4, "head_dim": 64, "ffn": 600}),
    "odd heads": ({}, {"dim": 40, "heads": 5, "kv_heads": 5, "head_dim": 24}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name, tmp_path):
    recipe, graph = FORMATS[name]
    package = build(decoder(**graph), tmp_path / "p.flpkg", small_arch(vpus=8), recipe)
    both = Lockstep(package)
    both.feed(IDS, [32, 32, 16, 1, 1, 1, 3])
    both.close()


def test_errors_are_reported_and_the_next_run_works(tmp_path, monkeypatch):
    """A token id outside the table, an AXI error: a message with the units' states; then the device works again."""
    package = build(decoder(), tmp_path / "p.flpkg", small_arch(vpus=8))
    device, functional = RtlDevice(), FunctionalDevice()
    device.load(package)
    functional.load(package)
    want = functional.run_chunk(IDS[:3], 0, 3, True)
    monkeypatch.setattr("flightllm.executors.rtl.device.check_chunk", lambda *_: None)  # the host would refuse the id
    with pytest.raises(ProgramError, match=r"error 4 \(token id outside the table\) in core 0"):
        device.run_chunk([2**31 - 1], 0, 1, True)
    assert np.array_equal(device.run_chunk(IDS[:3], 0, 3, True), want)
    assert device.sim is not None
    device.sim.inject(1, package.manifest.memory[0].addr, write=False)
    with pytest.raises(ProgramError, match=r"error 2 \(AXI read error\) in core 0"):
        device.run_chunk(IDS[:3], 0, 3, True)
