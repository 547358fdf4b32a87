"""The RTL in lock step with the functional executor: agreement, and faults put into either side."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from graphs import decoder
from lockstep.kernels_rtl import CORES, ROUNDING, SMALL, mutated
from packages import build

from flightllm.cli import main
from flightllm.executors.lockstep import Divergence, LockStep
from flightllm.executors.rtl import RtlDevice
from flightllm.isa.control import LOOP
from flightllm.isa.matrix import MM
from flightllm.isa.special import ROPE
from flightllm.sim.simulator import SimOptions
from flightllm.streams.weights import unpack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("g++") is None or shutil.which("perl") is None, reason="Verilator needs g++ and perl"
    ),
]
IDS = np.random.default_rng(7).integers(0, 70, 100).tolist()
RECIPE = {"default": {"weights": 4, "kv": 8}}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return build(decoder(), tmp_path_factory.mktemp("lockstep") / "p.flpkg", SMALL, RECIPE)


@pytest.fixture
def device(package):
    device = LockStep(RtlDevice())
    device.load(package)
    yield device
    device.other.close()


def feed(device, chunks, pos=0):
    for n in chunks:
        device.run_chunk(IDS[pos : pos + n], pos, 1, n > 1)
        pos += n


def diverges(device, chunks, pos=0):
    with pytest.raises(Divergence) as caught:
        feed(device, chunks, pos)
    return caught.value.data


@pytest.mark.parametrize("arch", [SMALL, CORES], ids=["one core", "two cores"])
def test_rtl_agrees(arch, tmp_path):
    """Chunks that pass 64 positions, in noise; exchanges with two cores; several instructions in flight."""
    recipe = {"default": {"weights": 4, "kv": 4, "activations": "dual"}}
    recipe["rule"] = [
        {"match": "attn.core", "attention": {"kind": "local+global", "local": 1, "global": 0, "stride": 0}}
    ]
    package = build(decoder(layers=1), tmp_path / "p.flpkg", arch, recipe)
    device = LockStep(RtlDevice(SimOptions(jitter_ns=200, stall=0.1, seed=2)))
    device.load(package)
    feed(device, (32, 32, 32, 1))
    counts = device.counters()
    functional = device.functional.counters()["instructions"]
    assert 0.8 * functional < counts["compared_instructions"] < functional, "all but BARRIER and HALT"
    assert counts["compared_writes"] > 50_000
    device.other.close()


def test_a_wrong_weight_in_memory(package, device):
    feed(device, (20,))
    record = next(t for t in package.manifest.tensors if t.node == "layers.1.mlp.down")
    channel, byte = 1, record.bytes - 100
    device.other.sim.memory[channel, record.addr + byte] ^= 4
    data = diverges(device, (5,), 20)
    assert data["instruction"].startswith("LDW ")
    assert (data["matrix"], data["index"]) == (record.node, {"channel": channel, "byte of the stream": byte})
    assert int(data["functional"], 16) ^ int(data["rtl"], 16) == 4
    # where it is in the matrix, from the MM and the stream as a whole
    mm = next(i for i in device.names.program if isinstance(i, MM) and i.values["k"] == 80)
    args = (mm.values["slots"] * 2, 80, 128, mm.values["format"], False, 2, 4, 1 << mm.values["rows_per_vpu"])
    part = slice(record.addr, record.addr + record.bytes)
    right = unpack(device.functional.cores[0].mem[:, part], *args)[0]
    wrong = unpack(device.other.sim.memory[:, part], *args)[0]
    row, column = np.argwhere(right != wrong)[0]
    assert row % 2 == channel, "rows are striped over channels"
    assert data["weight"].startswith(f"weight of row {row}, column {column}")


@pytest.mark.parametrize("kind", ["K", "V"])
def test_a_wrong_byte_in_the_cache(kind, package, device):
    """Head 1, position 9, dimension 6, in the second layer."""
    feed(device, (20,))
    channels, head, position, dimension = 2, 1, 9, 6
    region = package.manifest.region(f"layers.1.attn.core.{kind}")
    if kind == "K":
        channel, offset = position % channels, region.bytes // 2 * head + position // channels * 16 + dimension
    else:
        channel, offset = dimension % channels, region.bytes // 2 * head + position
        offset += 16 * (dimension // channels)
    device.other.sim.memory[channel, region.addr + offset] ^= 0x10
    data = diverges(device, (1,), 20)
    assert data["instruction"].startswith("LDK ") and f"kind={kind}" in data["instruction"]
    assert data["tensor"] == region.name
    assert data["index"] == {"head": head, "position": position, "dimension": dimension}
    assert int(data["functional"], 16) ^ int(data["rtl"], 16) == 0x10


def test_a_wrong_functional_instruction(package, device, monkeypatch):
    """The second layer's ROPE of the queries, of a token alone: head 3."""
    feed(device, (8,))
    right, calls = ROPE.execute, [0]

    def wrong(self, core, o):
        right(self, core, o)
        calls[0] += 1
        if calls[0] == 4:
            core.vb.view(np.uint32)[16 * (o.dst + 3 * o.dst_s1) + 11] ^= 1

    monkeypatch.setattr(ROPE, "execute", wrong)
    data = diverges(device, (1,), 8)
    assert data["section"].startswith("layers.1.attn")
    assert data["instruction"].startswith("ROPE ")
    assert data["index"] == {"token": 0, "vector": 3, "element": 11}
    assert int(data["functional"][:10], 16) ^ int(data["rtl"][:10], 16) == 1
    assert data["count"] == 1


def test_wrong_rounding_in_the_drain(package, tmp_path):
    """RTL with a mistake: the first MM is named, and the values differ in their last bits."""
    device = LockStep(RtlDevice(library=mutated(tmp_path / "rtl", SMALL, *ROUNDING)))
    device.load(package)
    data = diverges(device, (12,))
    assert data["unit"] == "M" and data["instruction"].startswith("MM ")
    assert data["matrix"] == "layers.0.attn.qkv"
    assert set(data["index"]) == {"token", "row"}
    program = device.names.program
    token = next(pc for pc, i in enumerate(program) if isinstance(i, LOOP))  # the body of a token, which a prompt skips
    chunk = token + 1 + program[token].values["body"]
    assert data["pc"] == next(pc for pc, i in enumerate(program) if pc > chunk and isinstance(i, MM))
    assert 0 < abs(int(data["functional"][:10], 16) - int(data["rtl"][:10], 16)) <= 3
    device.other.close()


def test_an_error_of_the_kernel(package, device):
    """The run ends with an error of its own: it is reported with what was in the units."""
    device.other.sim.inject(1, package.manifest.region("norm.gamma").addr, write=False)
    data = diverges(device, (3,))
    assert "AXI read error" in data["what"]
    assert data["pc"] is None


def test_command(package, tmp_path):
    call = CliRunner()
    done = call.invoke(main, ["verify", str(package.path), "--prompt-tokens", "6", "--new-tokens", "1", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["agree"] and report["runs_that_agree"] == [{"pos": 0, "tokens": 6}, {"pos": 6, "tokens": 1}]
