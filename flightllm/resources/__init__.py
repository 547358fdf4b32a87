"""What an architecture config needs of an FPGA, in a second, from recorded synthesis (docs/resources.md)."""

from flightllm.resources.estimate import Estimate, UnitRow, estimate, reference_errors
from flightllm.resources.fit import FitRow, check_fit, dsp_count, fit_rows, fit_table, tightness
from flightllm.resources.nearest import nearest_fit, rows_within

__all__ = [
    "Estimate",
    "FitRow",
    "UnitRow",
    "check_fit",
    "dsp_count",
    "estimate",
    "fit_rows",
    "fit_table",
    "nearest_fit",
    "reference_errors",
    "rows_within",
    "tightness",
]
