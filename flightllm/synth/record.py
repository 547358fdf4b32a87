"""The record of synthesis: figures of every unit's samples, kept in flightllm/synth/figures.json."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from flightllm.config.paths import data_dir
from flightllm.synth import yosys
from flightllm.synth.netlist import counts
from flightllm.synth.references import Reference
from flightllm.synth.timing import Analysis, PortTiming
from flightllm.synth.units import UNITS, Unit, sample_arch

FIGURES = Path(__file__).with_name("figures.json")
ABOUT = "Written by `make synth` (python -m flightllm.synth); do not edit. docs/resources.md says what the figures are."


def load() -> dict[str, Any]:
    """The record; empty if there is none yet."""
    if not FIGURES.exists():
        return {"about": ABOUT, "units": {}, "references": {}}
    record: dict[str, Any] = json.loads(FIGURES.read_text())
    return record


def save(record: Mapping[str, Any]) -> None:
    """Write the record."""
    FIGURES.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


@cache
def _code() -> dict[str, str]:
    """Module or package -> its source without comments."""
    return {p.stem: re.sub(r"//.*", "", p.read_text()) for p in data_dir("rtl").rglob("*.sv")}


def modules_of(unit: Unit) -> set[str]:
    """Modules and packages of a unit: its module, what it instantiates down to its boxes, and the packages that these use."""
    code = _code()
    names = re.compile(r"\b(" + "|".join(map(re.escape, sorted(code))) + r")\b")
    seen: set[str] = set()
    todo = [unit.module]
    while todo:
        name = todo.pop()
        if name in seen or name in yosys.PRIMITIVES or name in unit.boxes:
            continue
        seen.add(name)
        todo += set(names.findall(code[name])) - seen
    return seen


def source_digest(unit: Unit) -> str:
    """16 hex digits over the code of a unit. Comments do not count, nor do the simulation models of primitives."""
    code = _code()
    text = "\0".join(f"{name}\0{' '.join(code[name].split())}" for name in sorted(modules_of(unit)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def stale(record: Mapping[str, Any] | None = None) -> list[str]:
    """Units whose sources have changed since they were recorded, or that are not in the record."""
    units = (record or load())["units"]
    return [u.name for u in UNITS if units.get(u.name, {}).get("sources") != source_digest(u)]


def _boxes(unit: Unit, record: Mapping[str, Any]) -> dict[str, PortTiming]:
    """Port timing of the modules below a unit, the slowest of the units that are the same module; none of those not recorded."""
    found: dict[str, PortTiming] = {name: PortTiming() for name in unit.boxes}
    for other in UNITS:
        if other.module in unit.boxes and other.name in record["units"]:
            timing = PortTiming.from_dict(record["units"][other.name]["ports"])
            found[other.module] = found[other.module].slowest(timing)
    return found


def measure_reference(reference: Reference) -> dict[str, Any]:
    """Synthesise a reference."""
    begin = time.monotonic()
    parameters = reference.parameters(sample_arch(reference.arch))
    module = reference.unit().module
    netlist = yosys.synthesise(module, parameters, reference.boxes, reference.wide_muxes)
    return {
        "sources": [source_digest(u) for u in UNITS if u.name in reference.units],
        "parameters": parameters, "counts": counts(netlist), "seconds": round(time.monotonic() - begin),
    }  # fmt: skip


def measure(unit: Unit, record: Mapping[str, Any]) -> dict[str, Any]:
    """Synthesise the samples of a unit. The last sample, which is the largest, is timed."""
    samples = []
    analysis = None
    for changes in unit.samples:
        parameters = unit.parameters(sample_arch(changes))
        begin = time.monotonic()
        netlist = yosys.synthesise(unit.module, parameters, unit.boxes, unit.wide_muxes)
        samples.append(
            {
                "arch": changes, "parameters": parameters, "counts": counts(netlist),
                "seconds": round(time.monotonic() - begin),
            }
        )  # fmt: skip
        analysis = Analysis(netlist, _boxes(unit, record))
    assert analysis is not None
    paths, ports = analysis.report()
    return {
        "sources": source_digest(unit),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "tool": yosys.version(),
        "samples": samples,
        "untimed_boxes": sorted(
            b for b in unit.boxes if not any(u.module == b and u.name in record["units"] for u in UNITS)
        ),
        "loops": sorted(set(analysis.loops))[:8],
        "paths": {kind: path.to_dict() for kind, path in sorted(paths.items())},
        "ports": ports.to_dict(),
    }
