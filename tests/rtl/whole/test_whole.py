"""The whole core in RTL against the functional executor: every logit and every byte of memory, over formats and configs."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import decoder
from packages import build, small_arch

from flightllm.api import find_model
from flightllm.compiler import compile_model
from flightllm.config.board import load_board
from flightllm.errors import ProgramError
from flightllm.executors.functional import FunctionalDevice
from flightllm.executors.rtl import RtlDevice
from flightllm.frontends import load_model
from flightllm.package import Package
from flightllm.sim.simulator import SimOptions

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
    "odd heads": ({}, {"dim": 40, "heads": 5, "kv_heads": 5, "head_dim": 24}),
}


def compare(package: Package, ids: list[int], chunks: list[int], options: SimOptions | None = None) -> RtlDevice:
    """Feed the same chunks to both; all logits, and at the end all memory but the program, agree."""
    functional, rtl = FunctionalDevice(), RtlDevice(options)
    functional.load(package)
    rtl.load(package)
    pos = 0
    for n in chunks:
        part = ids[pos : pos + n]
        want = functional.run_chunk(part, pos, n, pos == 0 or n > 1)
        got = rtl.run_chunk(part, pos, n, pos == 0 or n > 1)
        bad = np.argwhere(got.view(np.uint32) != want.view(np.uint32))
        assert not bad.size, f"position {pos}: {len(bad)} of {got.size} logits differ, first at {bad[0]}"
        pos += n
    memory_agrees(package, functional, rtl)
    return rtl


def memory_agrees(package: Package, functional: FunctionalDevice, rtl: RtlDevice) -> None:
    m = package.manifest
    assert rtl.sim is not None
    for k, core in enumerate(functional.cores):
        for region in m.memory:
            if region.kind == "program":  # the functional executor does not fetch it from memory
                continue
            part = slice(region.addr, region.end)
            mine = rtl.sim.memory[k * m.arch.channels : (k + 1) * m.arch.channels, part]
            bad = np.argwhere(core.mem[:, part] != mine)
            assert not bad.size, f"core {k}, {region.name}: {len(bad)} bytes differ, first at {bad[0]}"


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name, tmp_path):
    recipe, graph = FORMATS[name]
    package = build(decoder(**graph), tmp_path / "p.flpkg", small_arch(vpus=8), recipe)
    compare(package, IDS, [32, 32, 16, 1, 1, 1, 3])


def test_delays_change_no_bit(tmp_path):
    """Random latencies, and AXI channels that are not ready in a third of the cycles."""
    package = build(decoder(), tmp_path / "p.flpkg", small_arch(vpus=8), {"default": {"weights": 4, "kv": 4}})
    compare(package, IDS, [20, 1, 5, 1], SimOptions(jitter_ns=400.0, stall=0.35, seed=5))


@pytest.mark.parametrize(("cores", "channels", "vpus"), [(2, 2, 4), (1, 1, 12)])
def test_configs(cores, channels, vpus, tmp_path):
    package = build(decoder(), tmp_path / "p.flpkg", small_arch(cores, channels, vpus), {"default": {"weights": 4}})
    compare(package, IDS, [32, 7, 1, 1])


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


@pytest.mark.slow
def test_tiny_austen_generates_the_same(tmp_path):
    """The embedded model: a prompt of 100 tokens in chunks, then 64 tokens, every logit and byte."""
    path = tmp_path / "austen.flpkg"
    compile_model(load_model(find_model("tiny-austen")), board=load_board("tiny"), output=path)
    package = Package.open(path)
    functional, rtl = FunctionalDevice(), RtlDevice()
    functional.load(package)
    rtl.load(package)
    ids, pos = [int(x) for x in np.random.default_rng(1).integers(0, package.manifest.model.vocab, 100)], 0
    for n in [32, 31, 32, 5] + [1] * 64:
        part = ids[pos : pos + n]
        want, got = (d.run_chunk(part, pos, 1, n > 1) for d in (functional, rtl))
        assert np.array_equal(want.view(np.uint32), got.view(np.uint32)), f"logits at position {pos} differ"
        pos += n
        if pos >= 100:
            ids.append(int(want[-1].argmax()))
    memory_agrees(package, functional, rtl)
