"""Synthesise units and record the figures: `python -m flightllm.synth [--all | --stale | UNIT ...]`."""

from __future__ import annotations

import argparse
import sys

from flightllm.errors import FlightError
from flightllm.synth import record as rec
from flightllm.synth.references import REFERENCES
from flightllm.synth.units import UNITS


def main(argv: list[str] | None = None) -> int:
    """Returns 1 if a unit could not be synthesised."""
    parser = argparse.ArgumentParser(prog="python -m flightllm.synth", description=__doc__)
    parser.add_argument("units", nargs="*", metavar="UNIT", help="units (default: those whose sources have changed)")
    parser.add_argument("--all", action="store_true", help="every unit")
    parser.add_argument("--references", action="store_true", help="the references (with UNIT ...: these) and no units")
    parser.add_argument("--list", action="store_true", help="print the stale units and stop")
    options = parser.parse_args(argv)
    record = rec.load()
    if options.references:
        return _references(options.units or [r.name for r in REFERENCES])
    wanted = [u.name for u in UNITS] if options.all else options.units or rec.stale(record)
    unknown = sorted(set(wanted) - {u.name for u in UNITS})
    if unknown:
        parser.error(f"no unit {', '.join(unknown)}; units: {', '.join(u.name for u in UNITS)}")
    if options.list:
        print("\n".join(wanted) or "nothing is stale")
        return 0
    failed = False
    for unit in UNITS:
        if unit.name not in wanted:
            continue
        try:
            figures = rec.measure(unit, record)
        except FlightError as error:
            print(f"{unit.name}: {error}", file=sys.stderr)
            failed = True
            continue
        record = rec.load()  # others may have been written meanwhile
        record["units"][unit.name] = figures
        rec.save(record)
        last = figures["samples"][-1]
        shown = ", ".join(f"{k} {v:g}" for k, v in last["counts"].items() if v)
        slow = max(figures["paths"].values(), key=lambda p: p["ns"], default=None)
        print(f"{unit.name}: {shown}; {slow['ns'] if slow else 0:.2f} ns; {last['seconds']} s", flush=True)
    return int(failed)


def _references(wanted: list[str]) -> int:
    for reference in REFERENCES:
        if reference.name in wanted:
            figures = rec.measure_reference(reference)
            record = rec.load()
            record["references"][reference.name] = figures
            rec.save(record)
            print(f"{reference.name}: {figures['counts']}; {figures['seconds']} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
