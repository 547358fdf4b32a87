"""What is expected of an instruction is what it really writes: places found out by writing sentinels before it."""

import numpy as np
from graphs import decoder
from packages import build, small_arch

from flightllm.executors.functional import FunctionalDevice
from flightllm.executors.lockstep.expected import Recorder
from flightllm.isa.blocks import candidate_blocks
from flightllm.isa.matrix import MMQK
from flightllm.isa.special import SOFTMAX
from flightllm.isa.store import STKV

IDS = np.random.default_rng(3).integers(0, 70, 220).tolist()
MASK = {"rule": [{"match": "attn.core", "attention": {"kind": "local+global", "local": 1, "global": 0, "stride": 0}}]}


def record(package, chunks, before=None, after=None):
    """Run chunks; before(core, inst, o) and after(core, expected) for every instruction of a unit."""
    device, recorder = FunctionalDevice(), Recorder(package.manifest.arch.cores)

    def first(core, pc, inst, o):
        if before is not None:
            before(core, inst, o)
        recorder.before(core, pc, inst, o)

    def then(core, pc, inst, o):
        recorder.after(core, pc, inst, o)
        while recorder.done[core.core_id]:
            after(core, recorder.done[core.core_id].popleft())

    device.before, device.hook = first, then
    device.load(package)
    pos = 0
    for n in chunks:
        recorder.start()
        device.run_chunk(IDS[pos : pos + n], pos, 1, n > 1)
        pos += n


def test_masked_blocks(tmp_path):
    """Windows of a SOFTMAX and scores of an MMQK in blocks that the mask leaves out are not expected."""
    package = build(decoder(layers=1), tmp_path / "p.flpkg", small_arch(), MASK)
    left_out = {SOFTMAX: 0, MMQK: 0}

    def before(core, inst, o):
        if isinstance(inst, SOFTMAX):
            core.ab[o.ab :] = 0x55
        elif isinstance(inst, MMQK):
            core.vb[16 * o.dst :] = np.float32(1234.5)

    def after(core, e):
        kind = type(e.inst)
        if kind not in left_out:
            return
        space = "AB" if kind is SOFTMAX else "VB"
        if kind is SOFTMAX:
            written = np.flatnonzero((core.ab != 0x55).any(axis=1) & (np.arange(len(core.ab)) >= e.operands.ab))
        else:
            written = np.flatnonzero((core.vb != np.float32(1234.5)) & (np.arange(core.vb.size) >= 16 * e.operands.dst))
        assert np.array_equal(written, e.places[space].index)
        o = e.operands
        left_out[kind] += len(o.active) < len(candidate_blocks(o.len, o.sink, o.first))

    # K and V of the mask's fill values do not matter here, only which places are written: scores are filled before each MMQK
    record(package, [32] * 6, before, after)
    assert min(left_out.values()) > 0, "the mask leaves blocks out"


def test_strobed_bytes(tmp_path):
    """Of the V cache only the bytes of the positions count that are stored, though footprints are whole windows."""
    package = build(decoder(layers=1), tmp_path / "p.flpkg", small_arch())
    checked = []

    def after(core, e):
        if isinstance(e.inst, STKV):
            o, places = e.operands, e.places["MEM"]
            codes = o.n0 * o.n1 * o.len * int(o.bits) // 8
            assert 0 < (~places.seen).sum() <= codes + 2 * o.n0 * o.n1
            if o.kind == "V":
                assert places.seen.size >= 16 // o.n0 * codes
            checked.append(o.kind)

    record(package, [5, 1], None, after)
    assert checked == ["K", "V"] * 3  # of two halves of a chunk, and of a token
