"""The cycle model against the RTL, instruction by instruction: from when it can begin until it gives its tokens.

Compared are instructions of the matrix and special-function units, whose time no memory decides: their cycles follow from registers alone, so a
register more or less in the RTL shows here at once.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from flightllm.api import find_model
from flightllm.cycles.device import CycleModel
from flightllm.executors.rtl import RtlDevice
from flightllm.frontends import load_model
from flightllm.isa.fields import Unit
from flightllm.isa.matrix import MMQK
from flightllm.runtime.chunks import random_ids
from flightllm.sim import control_map as cm
from flightllm.sim.events import Kind

sys.path.insert(0, str(Path(__file__).parents[1] / "lockstep"))

from kernels_rtl import SMALL
from packages import build

pytestmark = pytest.mark.slow

#: cycles by which an instruction may differ, and share of its cycles; a pass of many vectors may meet conflicts of banks
CYCLES, SHARE = 4, 0.02


def rtl_spans(package, ids, pos) -> tuple[dict[int, list[list[int]]], int]:
    """By unit [pc, cycle of the dispatch, cycle of the end] in order; cycle of the simulation in which the run began."""
    events: list[np.ndarray] = []
    device = RtlDevice(
        observer=lambda e: events.append(e[(e["kind"] == Kind.DISPATCH) | (e["kind"] == Kind.END)].copy())
    )
    device.load(package)
    write, begun = device.sim.write, []

    def watched(address: int, value: int, strobes: int = 15) -> None:
        write(address, value, strobes)
        if address == cm.ADDRESS["AP_CTRL"] and value & cm.START:
            begun.append(device.sim.cycle)

    device.sim.write = watched
    device.run_chunk(ids, pos, 1, len(ids) > 1)
    device.close()
    spans: dict[int, list[list[int]]] = defaultdict(list)
    ended: dict[int, int] = defaultdict(int)
    for e in np.concatenate(events):
        unit = int(e["unit"])
        if e["kind"] == Kind.DISPATCH:
            spans[unit].append([int(e["addr"]), int(e["cycle"]), -1])
        else:
            spans[unit][ended[unit]][2] = int(e["cycle"])
            ended[unit] += 1
    return spans, begun[0]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    recipe = {"default": {"weights": 4, "group": 32}}
    return build(load_model(find_model("tiny-austen")), tmp_path_factory.mktemp("cycles") / "p.flpkg", SMALL, recipe)


@pytest.mark.parametrize(("count", "pos"), [(1, 70), (9, 20)])
def test_instructions_take_their_cycles(count, pos, package):
    ids = random_ids(512, count, 3)
    real, begun = rtl_spans(package, ids, pos)
    model = CycleModel.of_package(package)
    model.run(ids, pos, 1, count > 1, begun)
    core = model.machine.cores[0]
    # when did the model's instruction begin, and what had ended just before? the RTL's begins as long after that
    rows = []
    for name, unit in core.units.items():
        for span, (pc, dispatched, ended) in zip(unit.spans, real[int(name)], strict=True):
            assert span.pc == pc
            rows.append((name, span, dispatched, ended))
    ends = sorted((span.ended, ended) for name, span, _, ended in rows if name is not Unit.W)
    compared: dict[str, int] = defaultdict(int)
    wrong = []
    for name, span, _, ended in rows:
        if name not in (Unit.M, Unit.S) or isinstance(span.inst, MMQK):  # keys may still be coming
            continue
        model_end, rtl_end = ends[max(0, bisect_right(ends, (span.taken, 1e18)) - 1)]
        if not 0 <= span.taken - model_end < 8:
            continue  # it did not wait for another instruction
        own, there = span.ended - span.taken, ended - rtl_end - (span.taken - model_end)
        kind = type(span.inst).__name__
        compared[kind] += 1
        if abs(own - there) > max(CYCLES, SHARE * there):
            wrong.append(f"{kind} at {span.pc}: {own} cycles, {there} in RTL")
    assert not wrong, wrong
    assert set(compared) >= {"NORM", "ROPE", "SOFTMAX", "ACT", "MM", "MMPV"}, dict(compared)
    assert sum(compared.values()) > 40
