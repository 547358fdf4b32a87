"""The cycle model against the RTL, instruction by instruction: from when it has its tokens until it gives its own.

Compared are instructions of the matrix and special-function units, whose time no memory decides: their cycles follow from registers alone, so a
register more or less in the RTL shows here at once.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from flightllm.api import find_model
from flightllm.cycles.device import CycleModel
from flightllm.frontends import load_model
from flightllm.isa.fields import Unit
from flightllm.isa.matrix import MM, MMPV, MMQK
from flightllm.isa.special import SOFTMAX
from flightllm.runtime.chunks import random_ids
from flightllm.timeline import RtlWatch, model_timeline

sys.path.insert(0, str(Path(__file__).parents[1] / "lockstep"))

from kernels_rtl import SMALL
from packages import build, small_arch

pytestmark = pytest.mark.slow

#: cycles by which an instruction may differ, and share of its cycles; a pass of many vectors may meet conflicts of banks
CYCLES, SHARE = 4, 0.02
#: of a matrix instruction for several tokens: its drain meets scale operations of the next one, which are modelled by their mean
DRAIN_SHARE = 0.06
#: of one for a single token on chains of two VPUs: its scale operations leave the drain no cycle, and pauses of the array are counted by their mean
CHAIN_SHARE = 0.04

#: two VPUs in a chain
CHAINED = small_arch(1, 4, 8, chain_vpus=2)

RECIPE = {"default": {"weights": 4, "group": 32}}
#: of the blocks before its own a query sees the first one
MASK = {"default": RECIPE["default"] | {"attention": {"kind": "local+global", "local": 1, "global": 1, "stride": 0}}}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return build(load_model(find_model("tiny-austen")), tmp_path_factory.mktemp("cycles") / "p.flpkg", SMALL, RECIPE)


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    model = load_model(find_model("tiny-austen"))
    return build(model, tmp_path_factory.mktemp("cycles") / "masked.flpkg", SMALL, MASK)


@pytest.fixture(scope="module")
def chained(tmp_path_factory):
    return build(load_model(find_model("tiny-austen")), tmp_path_factory.mktemp("cycles") / "c.flpkg", CHAINED, RECIPE)


@pytest.mark.parametrize(("count", "pos"), [(1, 70), (32, 20)])
def test_instructions_take_their_cycles(count, pos, package):
    check(package, count, pos, DRAIN_SHARE if count > 1 else SHARE)


def test_instructions_take_their_cycles_on_chains(chained):
    check(chained, 1, 70, CHAIN_SHARE)


def check(package, count, pos, matrix_share):
    """A run on both; matrix_share: by which MM may differ."""
    ids = random_ids(512, count, 3)
    with RtlWatch(package) as watch:
        real = watch.run(ids, pos, 1, count > 1)
    modelled = model_timeline(CycleModel.of_package(package), ids, pos, 1, count > 1, real.start)
    compared: dict[str, int] = defaultdict(int)
    wrong = []
    assert len(real.spans) == len(modelled.spans)
    for there, own in zip(real.spans, modelled.spans, strict=True):
        assert (there.unit, there.pc, there.inst) == (own.unit, own.pc, own.inst)
        if own.unit not in (Unit.M, Unit.S) or isinstance(own.inst, MMQK):  # keys may still be coming
            continue
        kind = type(own.inst).__name__
        compared[kind] += 1
        a, b = own.ended - own.taken, there.ended - there.taken
        share = matrix_share if kind == "MM" else SHARE
        if abs(a - b) > max(CYCLES, share * b):
            wrong.append(f"{kind} at {own.pc}: {a} cycles, {b} in RTL")
    assert not wrong, "\n".join(wrong)
    assert set(compared) >= {"NORM", "ROPE", "SOFTMAX", "ACT", "MM", "MMPV"}, dict(compared)
    assert sum(compared.values()) > 60


def test_masked_attention_takes_its_cycles(masked):
    """Runs of blocks behind masked ones: words of two blocks of seven, two runs a vector."""
    ids = random_ids(512, 32, 3)
    with RtlWatch(masked) as watch:
        real = watch.run(ids, 400, 1, True)
    modelled = model_timeline(CycleModel.of_package(masked), ids, 400, 1, True, real.start)
    pairs = [(a, b) for a, b in zip(real.spans, modelled.spans, strict=True) if a.unit in (Unit.M, Unit.S)]
    matrix = [a.inst for a, _ in pairs if a.unit is Unit.M]
    before_mm = {id(a) for a, b in pairwise(matrix) if isinstance(b, MM)}
    compared: dict[str, int] = defaultdict(int)
    for there, own in pairs:
        # the drain of an MMPV before an MM meets scale operations of several tokens
        if not isinstance(own.inst, SOFTMAX | MMPV) or id(there.inst) in before_mm:
            continue
        kind = type(own.inst).__name__
        compared[kind] += 1
        a, b = own.ended - own.taken, there.ended - there.taken
        assert abs(a - b) <= max(CYCLES, 0.005 * b), f"{kind} at {own.pc}: {a} cycles, {b} in RTL"
    assert compared["SOFTMAX"] >= 8 and compared["MMPV"] >= 8, dict(compared)


def test_the_first_dispatches_fall_into_the_same_cycles(package):
    with RtlWatch(package) as watch:
        real = watch.run([5], 3, 1, False)
    modelled = model_timeline(CycleModel.of_package(package), [5], 3, 1, False, real.start)
    for number, (there, own) in enumerate(zip(real.spans[:8], modelled.spans[:8], strict=True)):
        assert abs(there.dispatched - own.dispatched) <= 1
        if number < 2:
            assert abs(there.taken - own.taken) <= 12, "behind the first answers of the memory"
