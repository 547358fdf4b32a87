"""flightllm: compile decoder LLMs to an FPGA instruction stream and execute it, bit-exact, with or without a board."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from flightllm.api import Model, SamplingOptions, check, compile, inspect, load
    from flightllm.config.board import boards
    from flightllm.errors import FlightError
    from flightllm.installed import doctor
    from flightllm.performance import speed
    from flightllm.project.write import write_project
    from flightllm.report.page import write_report
    from flightllm.resources import estimate
    from flightllm.runtime.card import find_cards
    from flightllm.runtime.probe import probe
    from flightllm.search.explore import explore
    from flightllm.simulation import simulate
    from flightllm.timeline.trace import write_trace
    from flightllm.verification import verify

__all__ = [
    "FlightError",
    "Model",
    "SamplingOptions",
    "__version__",
    "boards",
    "check",
    "compile",
    "doctor",
    "estimate",
    "explore",
    "find_cards",
    "inspect",
    "load",
    "probe",
    "simulate",
    "speed",
    "verify",
    "write_project",
    "write_report",
    "write_trace",
]

#: public name -> module; imported when used, because they bring numpy and more, which a command line that prints its help should not
_HOMES = dict.fromkeys(("Model", "SamplingOptions", "check", "compile", "inspect", "load"), "flightllm.api") | {
    "FlightError": "flightllm.errors",
    "boards": "flightllm.config.board",
    "doctor": "flightllm.installed",
    "estimate": "flightllm.resources",
    "explore": "flightllm.search.explore",
    "find_cards": "flightllm.runtime.card",
    "probe": "flightllm.runtime.probe",
    "simulate": "flightllm.simulation",
    "speed": "flightllm.performance",
    "verify": "flightllm.verification",
    "write_project": "flightllm.project.write",
    "write_report": "flightllm.report.page",
    "write_trace": "flightllm.timeline.trace",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
