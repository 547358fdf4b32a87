"""The comparison itself, against a second functional executor whose events are altered: every kind of difference is found."""

import numpy as np
import pytest
from graphs import VARIANTS, decoder
from lockstep.mirror import Mirror, event
from packages import build, small_arch

from flightllm.executors.functional import FunctionalDevice
from flightllm.executors.lockstep import Divergence, LockStep
from flightllm.isa.fields import Unit
from flightllm.isa.load import LDG, LDK, LDM, LDW
from flightllm.isa.matrix import MM, MMPV
from flightllm.isa.special import NORM, SOFTMAX
from flightllm.isa.store import STKV, STV, XCHG
from flightllm.sim.events import Kind

IDS = np.random.default_rng(3).integers(0, 70, 120).tolist()
CHUNKS = (20, 9, 1, 1)
MASK = {"rule": [{"match": "attn.core", "attention": {"kind": "local+global", "local": 1, "global": 0, "stride": 0}}]}


def run(package, alter=None, chunks=CHUNKS):
    """All chunks in lock step with a mirror; (device, logits of the last token)."""
    device = LockStep(Mirror(alter), name="mirror")
    device.load(package)
    pos, out = 0, None
    for n in chunks:
        out = device.run_chunk(IDS[pos : pos + n], pos, 1, n > 1)
        pos += n
    return device, out


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("lockstep") / "p.flpkg"
    return build(decoder(), path, small_arch(), {"default": {"weights": 4, "kv": 8}})


@pytest.mark.parametrize("variant", ["llama", "opt", "qwen3", "window", "masked", "kv 4", "cores", "wide"])
def test_a_correct_run_passes(variant, tmp_path):
    recipe, arch = {"default": {"weights": 4}}, small_arch()
    if variant == "masked":
        recipe = MASK
    elif variant == "kv 4":
        recipe = {"default": {"kv": 4, "activations": "dual"}}
    elif variant in ("cores", "wide"):
        arch = small_arch(3, 2, 4) if variant == "cores" else small_arch(1, 32, 4)
    chunks = (32, 32, 32, 9, 1) if variant == "masked" else CHUNKS
    package = build(decoder(**VARIANTS.get(variant, {})), tmp_path / "p.flpkg", arch, recipe)
    device, logits = run(package, chunks=chunks)
    alone, pos, want = FunctionalDevice(), 0, None
    alone.load(package)
    for n in chunks:
        want = alone.run_chunk(IDS[pos : pos + n], pos, 1, n > 1)
        pos += n
    assert np.array_equal(logits, want)
    counted = device.counters()["compared_instructions"]
    assert counted == device.other.device.counters()["instructions"] - controls(package, chunks)
    assert all(not queue for m in device.matchers for queue in m._queues.values()), "nothing is kept"


def controls(package, chunks):
    """BARRIER and HALT of these runs, which no unit carries out."""
    count = [0]

    def hook(core, pc, inst, o):
        count[0] += inst.unit is Unit.Q

    device, pos = FunctionalDevice(hook=hook), 0
    device.load(package)
    for n in chunks:
        device.run_chunk(IDS[pos : pos + n], pos, 1, n > 1)
        pos += n
    return count[0]


def test_progress(package):
    """Counts instructions of the run, up to all of them."""
    told = []
    device = LockStep(Mirror(), progress=lambda *args: told.append(args))
    device.load(package)
    for pos, n in ((0, 20), (20, 9)):
        told.clear()
        device.run_chunk(IDS[pos : pos + n], pos, 1, True)
        done = [d for _, d, _ in told]
        assert done == sorted(done) and len(done) > 2
        assert told[-1] == (f"positions {pos} to {pos + n - 1}", done[-1], done[-1])
        assert 0 < done[0] < done[-1]


class Once:
    """An alteration of an instruction of a class on a core: of the number-th, or of the first that is wanted."""

    def __init__(self, cls, change, which=0, core=0):
        self.cls, self.change, self.core = cls, change, core
        self.left, self.wanted = (0, which) if callable(which) else (which, lambda e: True)

    def __call__(self, core, e, events):
        if core == self.core and isinstance(e.inst, self.cls) and self.wanted(e):
            self.left -= 1
            if self.left == -1:
                self.pc = e.pc
                return self.change(e, events)
        return events


def of_kind(events, kind):
    return [e for e in events if e["kind"] == kind]


def flip(kind, number, byte, bit=0):
    """Flip a bit in the data of the number-th event of a kind."""

    def change(e, events):
        of_kind(events, kind)[number]["data"][byte] ^= 1 << bit
        return events

    return change


def drop(kind, number):
    def change(e, events):
        gone = of_kind(events, kind)[number]
        return [x for x in events if x is not gone]

    return change


def diverges(package, alter, **chunks):
    with pytest.raises(Divergence) as caught:
        run(package, alter, **chunks)
    assert caught.value.data["pc"] == alter.pc
    return caught.value


def test_wrong_value_in_vb(package):
    """Token 3, element 21 of an MM: word and byte are worked out here from the layout."""
    rows = []

    def change(e, events):
        word = e.operands.dst + 3 * e.operands.dst_row + 21 // 16
        hit = next(x for x in events if x["kind"] == Kind.VB and x["addr"] == word)
        hit["data"][4 * (21 % 16)] ^= 1
        rows.append(16 * word + 21 % 16)
        return events

    error = diverges(package, Once(MM, change, lambda e: e.operands.k == 48 and e.operands.slots > 30))
    assert error.data["what"] == "another value is written"
    assert error.data["index"] == {"token": 3, "row": 21}
    assert error.data["tensor"].startswith(f"VB element {rows[0]} (")
    assert error.data["matrix"] == "layers.0.mlp.gate_up"
    assert error.data["section"].startswith("layers.0.mlp")
    assert int(error.data["functional"][:10], 16) ^ int(error.data["mirror"][:10], 16) == 1
    assert error.data["count"] == 1
    assert f"pc {error.data['pc']}: MM " in str(error) and "matrix layers.0.mlp.gate_up" in str(error)


def test_missing_and_stray_writes(package):
    error = diverges(package, Once(NORM, drop(Kind.VB, 4)))
    assert error.data["what"] == "the instruction ended without this write"
    assert error.data["index"] == {"token": 1, "vector": 0, "element": 16}, "three words a token"
    assert error.data["mirror"] is None and error.data["functional"].startswith("0x")
    error = diverges(package, Once(NORM, drop(Kind.AB, 0)))
    assert error.data["tensor"].startswith("AB window") and error.data["index"]["token"] == 0

    def stray(e, events):
        return [
            *events[:-1],
            event(Kind.VB, 0, e.unit, e.operands.dst + e.operands.rows * e.operands.dst_row, 1),
            events[-1],
        ]

    error = diverges(package, Once(MMPV, lambda e, events: [*events[:-1], event(Kind.MB, 0, Unit.M, 5, 1), events[-1]]))
    assert error.data["what"] == "a write to a place that the instruction does not write"
    assert error.data["functional"] is None
    assert error.data["tensor"] == "MB byte 5"
    error = diverges(package, Once(LDG, stray))
    assert "does not write" in error.data["what"]


def test_codes(package):
    """Code 19 of a softmax row: dual windows alternate, behind the header."""
    error = diverges(package, Once(SOFTMAX, flip(Kind.AB, 1 + 2 * 1, 3), lambda e: e.operands.len > 16))
    assert error.data["index"] == {"query": 0, "head of the group": 0, "code": 19, "high half": 1}
    assert abs(int(error.data["functional"]) - int(error.data["mirror"])) == 1
    error = diverges(package, Once(SOFTMAX, flip(Kind.AB, 0, 1)))
    assert error.data["index"]["header window"] == 0 and "scale" in error.data["functional"]


@pytest.mark.parametrize("kv", [8, 4])
def test_cache(kv, tmp_path):
    """A byte of K, of V and of a scale is named by head, position, dimension."""
    package = build(decoder(), tmp_path / "p.flpkg", small_arch(), {"default": {"kv": kv}})
    device = LockStep(Mirror(), name="mirror")
    device.load(package)

    def change(kind, region, head, position, dimension):
        """Alter the byte that holds it, by the layout of docs/streams.md."""
        c, per = 4, 8 // kv

        def inner(e, events):
            o = e.operands
            if kind == "K":
                slot, piece = position // c, 16 // per  # four slots side by side, a window of 16 codes each
                channel, addr = position % c, o.addr + head * o.head + slot // 4 * o.unit_bytes
                addr += (dimension // 16 * 4 + slot % 4) * piece + dimension % 16 // per
            elif kind == "V":
                row = dimension // c // per
                channel = dimension % c
                addr = o.addr + head * o.head + position // 16 * o.unit_bytes + 16 * row + position % 16
            else:
                channel, addr = position % c, o.scales + 2 * (position // c * o.n1 + head)
            for x in of_kind(events, Kind.MEMORY):
                if x["channel"] == channel and 0 <= addr - x["addr"] < 64:
                    x["mask"] |= 1 << (addr - x["addr"])
                    x["data"][addr - x["addr"]] ^= 0x40
                    return events
            raise AssertionError("not written")

        return inner

    def stores(kind, position):
        return lambda e: e.operands.kind == kind and e.operands.pos <= position < e.operands.pos + e.operands.n0

    for kind, place in (("K", (1, 13, 6)), ("V", (0, 17, 8))):
        error = diverges(package, Once(STKV, change(kind, "", *place), stores(kind, place[1])))
        assert error.data["tensor"] == f"layers.0.attn.core.{kind}"
        found = error.data["index"]
        assert (found["head"], found["position"]) == place[:2]
        assert found["dimension"] == place[2]
    error = diverges(package, Once(STKV, change("scale", "", 1, 14, 0), stores("V", 14)))
    assert error.data["tensor"] == "layers.0.attn.core.V scales"
    assert error.data["index"] == {"position": 14, "head": 1}


def test_missing_byte_of_memory(package):
    error = diverges(package, Once(STV, drop(Kind.MEMORY, 1)))
    assert error.data["tensor"] == "logits"
    assert error.data["index"]["row"] == 0
    assert error.data["what"] == "the instruction ended without this write"


def test_logit(package):
    """Entry 4 * 7 + 2: channel 2, slot 7."""

    def change(e, events):
        next(x for x in of_kind(events, Kind.MEMORY) if x["channel"] == 2)["data"][4 * 7 + 1] ^= 2
        return events

    error = diverges(package, Once(STV, change))
    assert error.data["index"] == {"row": 0, "entry of the core": 30}


def test_weight_stream(package):
    """A bit in the codes of a weight stream: row and column are those of the decoded matrix."""
    error = diverges(package, Once(LDW, flip(Kind.W_RING, 12, 40, 1)))
    assert error.data["tensor"] == "layers.0.attn.qkv" == error.data["matrix"]
    assert error.data["index"]["byte of the stream"] % 64 == 40
    assert error.data["weight"].startswith(("weight of row", "row factor", "bias"))
    error = diverges(package, Once(LDW, drop(Kind.W_RING, -1), 1))
    assert error.data["what"] in ("another byte goes into the ring", "the run ended before this instruction did")


def test_key_stream(package):
    """A bit in an LDK's data, found by head, position and dimension."""
    keys = next(r.addr for r in package.manifest.memory if r.name == "layers.0.attn.core.K")
    error = diverges(package, Once(LDK, flip(Kind.K_RING, 0, 9), lambda e: e.operands.addr > keys))
    assert error.data["tensor"] == "layers.0.attn.core.K"
    assert error.data["index"] == {"head": 1, "position": 0, "dimension": 9}
    error = diverges(package, Once(LDK, drop(Kind.K_RING, -1)))
    assert error.data["what"] == "bytes are missing in the ring"
    error = diverges(package, Once(LDK, lambda e, events: [*events[:-1], event(Kind.K_RING, 0, 0, 0, 1), events[-1]]))
    assert error.data["what"] == "more goes into the ring than the instruction loads"


def test_mask_bytes(tmp_path):
    package = build(decoder(layers=1), tmp_path / "p.flpkg", small_arch(), MASK)
    error = diverges(package, Once(LDM, flip(Kind.MB, 0, 0)), chunks=(32, 32, 32))
    assert error.data["space"] == "MB"
    assert error.data["tensor"].startswith("MB byte")


def test_dispatch(package):
    def other_pc(e, events):
        events[0]["addr"] += 1
        return events

    error = diverges(package, Once(MM, other_pc, 1))
    assert error.data["what"] == "another instruction is dispatched"
    assert error.data["mirror"] == f"pc {error.data['pc'] + 1}"
    error = diverges(package, Once(MM, flip(Kind.DISPATCH, 0, 60, 3)))
    assert error.data["what"] == "another instruction word is dispatched"
    error = diverges(package, Once(STKV, flip(Kind.OPERANDS, 0, 5, 2)))
    assert error.data["what"] == "operand n0 is resolved to another value"
    assert int(error.data["functional"]) ^ int(error.data["mirror"]) == 4


def test_left_over(package):
    error = diverges(package, Once(STV, lambda e, events: events[:-1]))
    assert error.data["what"] == "the run ended before this instruction did"
    error = diverges(package, Once(STV, lambda e, events: []))
    assert error.data["what"] == "the run ended without this instruction"


def test_the_earliest_is_reported(package, monkeypatch):
    """Of two differences in a batch the one told first counts, whatever its unit."""
    monkeypatch.setattr("lockstep.mirror.BATCH", 100_000)
    first, second = Once(NORM, flip(Kind.VB, 0, 0)), Once(MM, flip(Kind.VB, 0, 0))

    def both(core, e, events):
        return second(core, e, first(core, e, events))

    with pytest.raises(Divergence) as caught:
        run(package, both)
    assert caught.value.data["instruction"].startswith("NORM")


def test_exchange(tmp_path):
    """A word that arrives wrong on core 1, from core 2."""
    package = build(decoder(), tmp_path / "p.flpkg", small_arch(3, 2, 4))

    def change(e, events):
        word = e.operands.dst + e.operands.dst_row + 2 * e.operands.n
        next(x for x in of_kind(events, Kind.VB) if x["addr"] == word)["data"][8] ^= 1
        return events

    error = diverges(package, Once(XCHG, change, 1, core=1))
    assert error.data["core"] == 1
    assert error.data["index"] == {"row": 1, "core": 2, "element": error.data["index"]["element"]}


def test_a_patched_functional_instruction(package, monkeypatch):
    """The functional side may be the wrong one: its NORM, from the second run on."""
    device = LockStep(Mirror(), name="mirror")
    device.load(package)
    device.run_chunk(IDS[:20], 0, 1, True)
    right, calls = NORM.execute, [0]

    def wrong(self, core, o):
        right(self, core, o)
        if core in device.functional.cores:
            calls[0] += 1
            if calls[0] == 2:
                core.vb[16 * (o.dst + o.dst_s0) + 5] *= 2

    monkeypatch.setattr(NORM, "execute", wrong)
    with pytest.raises(Divergence) as caught:
        device.run_chunk(IDS[20:29], 20, 1, True)
    assert caught.value.data["section"] == "layers.0.attn_norm", "of the second half of the chunk"
    assert caught.value.data["index"] == {"token": 1, "vector": 0, "element": 5}
    assert caught.value.data["run"] == {"pos": 20, "tokens": 9}
