"""An instruction touches what its footprint says: the checker's proofs rest on this.

Each instruction of a real run is executed twice from the same state, the second time with everything outside its declared reads
overwritten by noise. It must write the same values, and nothing outside its declared writes.
"""

from itertools import product

import numpy as np
import pytest
from graphs import VARIANTS, decoder
from packages import build, small_arch

from flightllm.executors.functional import FunctionalDevice
from flightllm.isa.control import BARRIER, HALT
from flightllm.isa.load import LDW
from flightllm.isa.registers import host_registers
from flightllm.isa.store import XCHG
from flightllm.isa.trace import trace


def mark(mask, access):
    """Set the units of an access in a boolean array over the space."""
    if access.empty:
        return
    for index in product(*(range(c) for c in access.counts)):
        base = access.base + sum(i * s for i, s in zip(index, access.strides, strict=True))
        mask[..., base : base + access.length] = True


class State:
    """Copies of a core's memories."""

    def __init__(self, core):
        self.vb, self.ab, self.mb, self.mem = core.vb.copy(), core.ab.copy(), core.mb.copy(), core.mem.copy()
        self.w_ring, self.k_ring = core.w_ring.copy(), core.k_ring.copy()

    def restore(self, core):
        core.vb[:], core.ab[:], core.mb[:], core.mem[:] = self.vb, self.ab, self.mb, self.mem
        core.w_ring, core.k_ring = self.w_ring.copy(), self.k_ring.copy()


def masks(core, inst, o, write):
    found = {
        "VB": np.zeros(core.vb.size, bool),
        "AB": np.zeros(core.ab.shape[0], bool),
        "MB": np.zeros(core.mb.size, bool),
        "MEM": np.zeros(core.mem.shape, bool),
    }
    for a in inst.footprint(o, core.arch):
        if a.write == write and a.space in found:
            mark(found[a.space][a.channel] if a.channel is not None else found[a.space], a)
    return found


def check(space, writes, before, after, noisy, now, inst):
    """Declared units got the same value in both runs; a masked instruction may leave some alone, then in both."""
    before, after, noisy, now = (
        x.view(np.uint8).reshape(len(x), -1)[writes[space]] for x in (before, after, noisy, now)
    )
    left_alone = (before == after) & (noisy == now)
    assert ((after == now) | left_alone).all(), str(inst)
    if "masked" not in inst.fields:
        assert np.array_equal(after, now), str(inst)


@pytest.mark.parametrize("variant", ["llama", "opt", "window", "masked"])
@pytest.mark.parametrize("run", [(0, 32), (40, 20), (63, 1)])
def test_footprints_cover_all_accesses(variant, run, tmp_path):
    recipe = None
    if variant == "masked":
        recipe = {
            "default": {"kv": 4},
            "rule": [
                {"match": "attn.core", "attention": {"kind": "local+global", "local": 1, "global": 0, "stride": 0}}
            ],
        }
    arch = small_arch(vb_elements=64 << 10, ab_windows=16 << 10)
    package = build(
        decoder(**{"layers": 1, "context": 128, **VARIANTS.get(variant, {})}), tmp_path / "p.flpkg", arch, recipe
    )
    device = FunctionalDevice()
    device.load(package)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 70, 100).tolist()
    for pos in range(0, run[0], 8):
        device.run_chunk(ids[pos : pos + 8], pos, 0, True)
    pos, n = run
    core = device.cores[0]
    core.mem[0, package.manifest.host.ids_addr :][: 4 * n] = np.asarray(ids[pos : pos + n], "<i4").view(np.uint8)
    core.regs = host_registers(pos, n, 0, n, True)
    checked = 0
    with np.errstate(all="ignore"):
        for _, inst, o in trace(device.program, core.regs):
            if isinstance(inst, HALT | BARRIER):
                continue
            before = State(core)
            inst.execute(core, o)
            if isinstance(inst, LDW | XCHG):
                continue
            after = State(core)
            reads, writes = masks(core, inst, o, False), masks(core, inst, o, True)
            assert np.array_equal(before.vb.view(np.uint32)[~writes["VB"]], after.vb.view(np.uint32)[~writes["VB"]]), (
                str(inst)
            )
            assert np.array_equal(before.ab[~writes["AB"]], after.ab[~writes["AB"]]), str(inst)
            assert np.array_equal(before.mb[~writes["MB"]], after.mb[~writes["MB"]]), str(inst)
            assert np.array_equal(before.mem[~writes["MEM"]], after.mem[~writes["MEM"]]), str(inst)
            before.restore(core)
            noise = ~reads["VB"]
            core.vb[noise] = rng.standard_normal(int(noise.sum())).astype(np.float32) * 1e3
            core.ab[~reads["AB"]] = rng.integers(-127, 128, 16)
            core.mb[~reads["MB"]] = 0xA5
            noise = ~reads["MEM"]
            noise[:, : package.manifest.image_bytes] = False  # constants, and the weights behind the W ring
            core.mem[noise] = 0x5A
            noisy = State(core)
            inst.execute(core, o)
            check("VB", writes, before.vb, after.vb, noisy.vb, core.vb, inst)
            check("AB", writes, before.ab, after.ab, noisy.ab, core.ab, inst)
            check("MB", writes, before.mb, after.mb, noisy.mb, core.mb, inst)
            written = writes["MEM"] & (before.mem != after.mem)  # strobed stores leave other bytes of a range alone
            assert np.array_equal(core.mem[written], after.mem[written]), str(inst)
            after.restore(core)
            core.k_ring = after.k_ring.copy()
            checked += 1
    assert checked > 20
