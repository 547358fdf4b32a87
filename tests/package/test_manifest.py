"""manifest.json: what is written is what is read, and every wrong field is named."""

import json
from dataclasses import replace

import pytest
from fake_device import manifest

from flightllm.errors import PackageError
from flightllm.package import Manifest, Region
from flightllm.package.manifest import INSTRUCTION_BYTES


def test_round_trip():
    for cores in (1, 2):
        m = replace(manifest(cores=cores), notes={"a": [1, None, "x"], "b": {"c": 1.5}})
        assert Manifest.from_json(m.to_json()) == m
        assert Manifest.from_json(m.to_json()).to_json() == m.to_json()


def test_integer_clock_keeps_its_digest():
    m = manifest()
    m = replace(m, arch=replace(m.arch, clock_mhz=225))
    assert Manifest.from_json(m.to_json()).arch_digest == m.arch_digest


def edit(change):
    data = json.loads(manifest().to_json())
    change(data)
    return json.dumps(data)


def leaves(data, path=()):
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list) and path[:1] != ("notes",) and key != "notes":
            yield from leaves(value, (*path, key))


ALL = list(leaves(json.loads(manifest().to_json())))


def at(data, path):
    for key in path:
        data = data[key]
    return data


@pytest.mark.parametrize(
    "path", [p for p in ALL if isinstance(p[-1], str) and "formats" not in p and "buffers" not in p], ids=str
)
def test_every_field_is_needed_and_typed(path):
    def drop(d):
        del at(d, path[:-1])[path[-1]]

    def spoil(d):
        at(d, path[:-1])[path[-1]] = {"no": [{}]}

    for change in (drop, spoil):
        if path == ("notes",) and change is spoil:
            continue
        with pytest.raises(PackageError) as error:
            Manifest.from_json(edit(change))
        if path not in {("format",), ("format_version",)}:
            assert path[-1] in str(error.value)


def test_unknown_field_is_named():
    with pytest.raises(PackageError, match=r"host\.colour"):
        Manifest.from_json(edit(lambda d: d["host"].update(colour=1)))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format_version",), 2, "format_version is 2, this version reads 1"),
        (("format_version",), True, "version"),
        (("format",), "zip", "not a package manifest"),
        (("model", "vocab"), True, "model.vocab"),
        (("model", "vocab"), 3.0, "model.vocab"),
        (("model", "vocab"), 0, "model.vocab"),
        (("model", "vocab"), 10**30, "model.vocab"),
        (("model", "eos"), [9999], "model.eos"),
        (("limits", "max_chunk"), 9, "limits.max_chunk"),
        (("host", "logits_stride"), 64, "logits_stride"),
        (("host", "logits_parts"), [1], "logits_parts"),
        (("arch", "channels"), 3, "arch"),
        (("arch", "channels"), 4, "arch_digest"),
        (("arch", "clock_mhz"), float("nan"), "arch.clock_mhz"),
        (("memory", 1, "addr"), 0x800, "'weights' and 'kv' overlap"),
        (("memory", 1, "addr"), 0x1001, "not aligned"),
        (("memory", 3, "bytes"), 1 << 23, "not inside"),
        (("memory", 0, "kind"), "weight", "weight"),
        (("memory", 0, "name"), "kv", "different names"),
        (("tensors", 0, "rows"), 0, "tensors"),
        (("tensors", 0, "formats"), {"4b": "x"}, r"tensors[0].formats.4b"),
        (("memory",), [], "at least one region"),
        (("host", "ids_addr"), 0x17FF0, "host.ids_addr"),
        (("host", "ids_addr"), -4, "host.ids_addr"),
        (("host", "logits_addr"), 0x17FF0, "host.logits_addr"),
        (("image_bytes",), 0x18001, "image_bytes"),
        (("kv_bits",), 5, "kv_bits"),
        (("buffers", "VB"), {"0x10": "residual"}, "buffers"),
    ],
)
def test_wrong_values_are_named(path, value, message):
    def change(d):
        at(d, path[:-1])[path[-1]] = value

    with pytest.raises(PackageError) as error:
        Manifest.from_json(edit(change))
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "null", "[" * 100000, "1" * 5000, '{"format": "flightllm-package"}'])
def test_not_a_manifest(text):
    with pytest.raises(PackageError):
        Manifest.from_json(text)


def test_symbols_and_totals():
    m = manifest()
    assert m.symbols()["MEM"][0] == "lm_head"
    assert m.symbols()["MEM"][0x4000] == "ids"
    assert m.symbols()["VB"] == {16: "residual"}
    assert m.bits_per_weight() == pytest.approx(5.25)
    assert m.region("kv") == Region("kv", 0x1000, 0x3000, "kv")
    with pytest.raises(KeyError):
        m.region("nothing")


def test_instruction_size_is_that_of_the_instruction_set():
    fields = pytest.importorskip("flightllm.isa.fields", exc_type=ImportError)
    assert fields.INSTRUCTION_BYTES == INSTRUCTION_BYTES
