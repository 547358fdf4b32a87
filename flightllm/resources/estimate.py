"""Resources of an architecture config: recorded figures of every unit, scaled and summed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from flightllm.config.arch import ArchConfig
from flightllm.config.board import Board
from flightllm.errors import ToolError
from flightllm.synth.netlist import RESOURCES
from flightllm.synth.record import load
from flightllm.synth.references import REFERENCES, Reference
from flightllm.synth.units import UNITS, Unit, sample_arch

#: FlightLLM on a U280 (arXiv 2401.03868, table 3), for comparison
FLIGHTLLM_U280 = {"dsp": 6345, "lut": 574_000, "bram36": 1252, "uram": 792}
#: resources that a board file limits
LIMITED = ("dsp", "lut", "ff", "bram36", "uram")


@dataclass(frozen=True)
class UnitRow:
    """One unit of a config: instances, and the resources of ONE instance by name (netlist.RESOURCES)."""

    name: str
    count: int
    each: dict[str, float]
    #: longest path of the recorded sample, ns, and its levels of logic
    ns: float
    levels: int

    def total(self, resource: str) -> float:
        """Of all instances."""
        return self.count * self.each[resource]


@dataclass(frozen=True)
class Estimate:
    """Resources of a whole config."""

    arch: ArchConfig
    rows: list[UnitRow]
    #: units that are not in the record: the sums are too small by them
    missing: list[str] = field(default_factory=list)
    #: what else one has to know before trusting the figures
    notes: list[str] = field(default_factory=list)

    def total(self, resource: str) -> float:
        """Sum over all units."""
        return sum(row.total(resource) for row in self.rows)

    def totals(self) -> dict[str, float]:
        """Sums of every resource."""
        return {name: self.total(name) for name in RESOURCES}

    def fits(self, board: Board) -> dict[str, bool]:
        """Whether the board, all of it, has enough of each resource; what its shell takes comes on top."""
        return {name: self.total(name) <= getattr(board.resources, name) for name in LIMITED}

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            "arch": self.arch.to_dict(),
            "units": [
                {"name": r.name, "count": r.count, "each": r.each, "ns": r.ns, "levels": r.levels} for r in self.rows
            ],
            "totals": self.totals(),
            "missing": self.missing,
            "notes": self.notes,
        }


def _fit(unit: Unit, samples: list[Mapping[str, Any]], resource: str) -> np.ndarray:
    """Coefficients of the unit's terms."""
    a = np.array([[term(sample_arch(s["arch"])) for term in unit.terms] for s in samples], float)
    b = np.array([s["counts"][resource] for s in samples], float)
    if len(samples) < len(unit.terms):
        raise ToolError(f"the record of unit {unit.name} has too few samples", do="run `make synth`")
    return np.linalg.lstsq(a, b, rcond=None)[0]


def _fits(unit: Unit, recorded: Mapping[str, Any]) -> np.ndarray:
    """Coefficients of all resources, float64 [resources, terms]."""
    return np.array([_fit(unit, recorded["samples"], resource) for resource in RESOURCES])


@cache
def _shipped() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Units of the record that comes with flightllm, and their coefficients: a search over configs asks thousands of times."""
    units = load()["units"]
    return units, {unit.name: _fits(unit, units[unit.name]) for unit in UNITS if unit.name in units}


def unit_counts(
    unit: Unit, recorded: Mapping[str, Any], arch: ArchConfig, fits: np.ndarray | None = None
) -> dict[str, float]:
    """Resources of one instance of a unit in a config. fits: its coefficients if they are known, float64 [resources, terms]."""
    values = np.array([term(arch) for term in unit.terms], float)
    amounts = (_fits(unit, recorded) if fits is None else fits) @ values
    out = {name: float(max(0, round(amount))) for name, amount in zip(RESOURCES, amounts.tolist(), strict=True)}
    memories = unit.memories(arch)
    if memories:  # blocks go by whole rows and columns, not by a line
        out["uram"] = float(sum(m.uram() for m in memories))
        out["bram36"] = float(sum(m.bram36() for m in memories))
    return out


def estimate(arch: ArchConfig, record: Mapping[str, Any] | None = None) -> Estimate:
    """Estimate a config.

    Args:
        arch: any legal config.
        record: of synthesis; default: the one that comes with flightllm.
    """
    fits: Mapping[str, np.ndarray] = {}
    if record is None:
        units, fits = _shipped()
    else:
        units = record["units"]
    rows, missing = [], []
    for unit in UNITS:
        recorded = units.get(unit.name)
        if recorded is None:
            missing.append(unit.name)
            continue
        paths = [(float(p["ns"]), int(p["levels"])) for p in recorded["paths"].values()]
        rows.append(
            UnitRow(
                unit.name,
                unit.count(arch),
                unit_counts(unit, recorded, arch, fits.get(unit.name)),
                *max(paths, default=(0.0, 0)),
            )
        )
    notes = []
    if missing:
        notes.append(f"units without figures, which the sums lack: {', '.join(missing)}")
    return Estimate(arch, rows, missing, notes)


@dataclass(frozen=True)
class ReferenceError:
    """One reference synthesis beside its estimate."""

    name: str
    what: str
    synthesised: dict[str, float]
    estimated: dict[str, float]

    def percent(self, resource: str) -> float | None:
        """Error of the estimate in percent of what was synthesised; None if there was none of it."""
        have = self.synthesised[resource]
        return None if not have else 100 * (self.estimated[resource] - have) / have


def reference_errors(record: Mapping[str, Any] | None = None) -> list[ReferenceError]:
    """The recorded references, none of which the figures were fitted to, beside their estimates."""
    record = record if record is not None else load()
    out = []
    for reference in REFERENCES:
        recorded = record["references"].get(reference.name)
        if recorded is not None:
            estimated = reference_estimate(reference, record)
            out.append(ReferenceError(reference.name, reference.what, recorded["counts"], estimated))
    return out


def reference_estimate(reference: Reference, record: Mapping[str, Any]) -> dict[str, float]:
    """What the estimator says of a reference: the sum over the units in it."""
    arch = sample_arch(reference.arch)
    total = dict.fromkeys(RESOURCES, 0.0)
    for unit in UNITS:
        for resource, amount in (
            unit_counts(unit, record["units"][unit.name], arch).items() if unit.name in reference.units else ()
        ):
            total[resource] += reference.units[unit.name] * amount
    return total
