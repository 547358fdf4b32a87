"""What the functional executor computes: right, the same on every config, and the same for every chunking."""

import numpy as np
import pytest
from graphs import VARIANTS, decoder
from hypothesis import given, settings
from hypothesis import strategies as st
from packages import CONFIGS, build, cache_bytes, feed, small_arch

from flightllm.errors import FlightError
from flightllm.executors.functional import FunctionalDevice
from flightllm.ir.reference import evaluate
from flightllm.isa.load import LDK

IDS = np.random.default_rng(7).integers(0, 70, 100).tolist()


def opened(package):
    device = FunctionalDevice()
    device.load(package)
    return device


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_config_gives_the_same_bits_and_they_are_right(variant, tmp_path):
    """Cores, channels and VPUs change layouts, padding and programs, never a result."""
    graph = decoder(**VARIANTS[variant])
    wanted = evaluate(graph, IDS)
    first = None
    for cores, channels, vpus in CONFIGS:
        package = build(graph, tmp_path / "p.flpkg", small_arch(cores, channels, vpus))
        logits = feed(opened(package), IDS, [32, 32, 32, 4])
        if first is None:
            first = logits
            error = np.abs(logits - wanted).max() / np.abs(wanted).max()
            assert error < 0.05  # 8-bit weights, activations and cache
            assert np.corrcoef(logits.ravel(), wanted.ravel())[0, 1] > 0.999
        assert np.array_equal(first, logits), f"{cores} cores, {channels} channels, {vpus} VPUs differ"


def test_vpus_that_share_a_chain_change_no_stream_and_no_result(tmp_path):
    graph = decoder(**VARIANTS["llama"])
    packages = [build(graph, tmp_path / f"{n}.flpkg", small_arch(2, 2, 8, chain_vpus=n), MIXED) for n in (1, 2)]
    own, shared = ({k: f.sha256 for k, f in p.manifest.files.items() if ".ch" in k} for p in packages)
    assert own == shared != {}
    assert packages[0].manifest.memory == packages[1].manifest.memory
    logits = [feed(opened(p), IDS, [32, 32, 32, 4]) for p in packages]
    assert np.array_equal(*logits)


MIXED = {
    "default": {"weights": 4, "group": 32},
    "rule": [
        {"match": "attn.*", "kv": 4},
        {"match": "mlp.down", "activations": "dual"},
        {"match": "layers.1.attn.core", "attention": {"kind": "local+global", "local": 1, "global": 1, "stride": 0}},
    ],
}


@pytest.fixture(scope="module", params=["llama", "window", "gpt2", "wide", "masked"])
def device(request, tmp_path_factory):
    """Devices for the chunking test, `masked` with block masks, 4-bit cache and dual activations."""
    name = request.param
    graph = decoder(**VARIANTS.get(name, {}))
    recipe = MIXED if name == "masked" else None
    return opened(build(graph, tmp_path_factory.mktemp("p") / "p.flpkg", small_arch(vpus=8), recipe))


@settings(max_examples=8)
@given(data=st.data())
def test_chunking_changes_nothing(device, data):
    """A prompt fed whole, in any chunks, or token by token leaves the same cache and the same logits, bit for bit."""
    wanted = feed(device, IDS, [32, 32, 32, 4])
    cache = cache_bytes(device)
    chunks = []
    while sum(chunks) < len(IDS):
        chunks.append(data.draw(st.integers(1, min(32, len(IDS) - sum(chunks)))))
    for core in device.cores:  # what an earlier conversation left behind must not matter
        core.vb[:] = np.random.default_rng(1).standard_normal(core.vb.size)
        core.ab[:] = 77
    assert np.array_equal(feed(device, IDS, chunks), wanted)
    assert np.array_equal(cache_bytes(device), cache)


def test_token_by_token_is_the_same(device):
    wanted = feed(device, IDS, [32, 32, 32, 4])
    cache = cache_bytes(device)
    assert np.array_equal(feed(device, IDS, [1] * len(IDS)), wanted)
    assert np.array_equal(cache_bytes(device), cache)


def test_masks_apply_to_prompts_only(tmp_path):
    """With MASKEN = 0 a masked program computes what the unmasked one does."""
    graph = decoder(layers=1, context=512)
    ids = np.random.default_rng(3).integers(0, 70, 300).tolist()
    chunks = [32] * 9 + [12]
    plain = feed(opened(build(graph, tmp_path / "a.flpkg")), ids, chunks)
    recipe = {
        "rule": [{"match": "attn.core", "attention": {"kind": "local+global", "local": 1, "global": 1, "stride": 0}}]
    }
    device = opened(build(graph, tmp_path / "b.flpkg", recipe=recipe))
    assert np.array_equal(feed(device, ids, chunks, masken=False), plain)
    masked = feed(device, ids, chunks)
    assert np.array_equal(masked[:128], plain[:128])  # two blocks: the local and the global one
    assert not np.array_equal(masked[200:], plain[200:])


def loaded_bytes(package, ids, chunks, masken=True):
    """KV-cache bytes loaded over a prompt: what LDK pushed into the K ring."""
    total = 0

    def hook(core, pc, inst, o):
        nonlocal total
        if isinstance(inst, LDK):
            total += core.k_ring[-1][2].size

    device = FunctionalDevice(hook=hook)
    device.load(package)
    feed(device, ids, chunks, masken)
    return total


def test_skipped_blocks_are_not_loaded(tmp_path):
    """Loads follow the mask and the window exactly; the matrix unit takes what was loaded, so beats follow too."""
    ids = np.random.default_rng(3).integers(0, 70, 512).tolist()
    chunks = [32] * 16
    graph = decoder(layers=1, context=512, kv_heads=4)
    dense = loaded_bytes(build(graph, tmp_path / "a.flpkg"), ids, chunks)
    # K and V: 16 bytes a key and head; each half of a chunk of 32 loads the keys before and of itself, whole V windows and K slots
    assert dense == sum(2 * 4 * 16 * n for n in range(16, 513, 16))
    recipe = {
        "rule": [{"match": "attn.core", "attention": {"kind": "local+global", "local": 1, "global": 1, "stride": 0}}]
    }
    masked = build(graph, tmp_path / "b.flpkg", recipe=recipe)
    local = sum(n % 64 or 64 for n in range(16, 513, 16))  # keys of the block that half a chunk is in
    first = 64 * 28  # the first block, for the 28 halves behind it
    assert loaded_bytes(masked, ids, chunks) == 2 * 4 * 16 * (local + first)
    assert loaded_bytes(masked, ids, chunks, masken=False) == dense
    window = decoder(layers=1, context=512, kv_heads=4, window=64, sink=4)
    keys = 0
    for n in range(16, 513, 16):
        block = (
            max(n - 16 - 63, 0) // 64
        )  # the first block that the first query of half a chunk sees through its window
        keys += n - 64 * block + (64 if block else 0)  # and the block of the sink tokens
    assert loaded_bytes(build(window, tmp_path / "c.flpkg"), ids, chunks) == 2 * 4 * 16 * keys


def test_heads_of_a_group_with_masks_of_their_own(tmp_path):
    """Prompts load a group's keys once for each query head, by its own mask; generation loads them once, and is unmasked."""
    ids = np.random.default_rng(3).integers(0, 70, 256).tolist()
    graph, chunks = decoder(layers=1, context=256, heads=4, kv_heads=2), [32] * 8
    plain, blocks = build(graph, tmp_path / "a.flpkg"), 4
    mask = np.tril(np.random.default_rng(5).random((4, blocks, blocks)) < 0.5)
    mask[:, range(blocks), range(blocks)] = True  # the block that holds the last key is always active
    np.savez(tmp_path / "mask.npz", mask)
    rule = {"match": "attn.core", "attention": {"kind": "blocks", "file": str(tmp_path / "mask.npz")}}
    masked = build(graph, tmp_path / "b.flpkg", recipe={"rule": [rule]})
    keys = 0
    for n in range(16, 257, 16):  # half a chunk of 32 sees the keys before it and its own
        for row in mask[:, (n - 1) // 64]:
            keys += sum(min(64, n - 64 * b) for b in range(blocks) if row[b] and 64 * b < n)
    assert loaded_bytes(masked, ids, chunks) == 2 * 16 * keys
    # without masks, too, a chunk loads them for each head; a single token does not
    assert loaded_bytes(masked, ids, chunks, masken=False) == 2 * loaded_bytes(plain, ids, chunks, masken=False)
    assert loaded_bytes(masked, ids, [1] * 256, masken=False) == loaded_bytes(plain, ids, [1] * 256, masken=False)
    dense = feed(opened(plain), ids, chunks, masken=False)
    assert np.array_equal(feed(opened(masked), ids, chunks, masken=False), dense)
    assert not np.array_equal(feed(opened(masked), ids, chunks)[128:], dense[128:])


def test_the_end_of_a_long_context(tmp_path):
    """Positions up to the model's limit: the last 32 of 8,192, at once and one by one, over a cache full of old keys."""
    device = opened(build(decoder(layers=1, context=8192), tmp_path / "p.flpkg"))
    core = device.cores[0]
    kv = [r for r in device.package.manifest.memory if r.kind == "kv"]
    rng = np.random.default_rng(5)
    ids = rng.integers(0, 70, 32).tolist()
    results = []
    for step in (device.package.manifest.limits.max_chunk, 1):
        fill = np.random.default_rng(6)
        for r in kv:
            data = fill.integers(0, 256, (core.channels, r.bytes), dtype=np.uint8)
            if "scales" in r.name:  # plausible bf16 scales
                data[:, 1::2] = 0x3C
            core.mem[:, r.addr : r.end] = data
        parts = [device.run_chunk(ids[i : i + step], 8160 + i, step, True) for i in range(0, 32, step)]
        results.append(np.concatenate(parts))
    assert np.isfinite(results[0]).all()
    assert np.array_equal(results[0], results[1])
    with pytest.raises(FlightError, match="context is full"):
        device.run_chunk(ids[:2], 8191, 1, True)
