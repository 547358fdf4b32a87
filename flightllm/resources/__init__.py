"""What an architecture config needs of an FPGA, in a second, from recorded synthesis (docs/resources.md)."""

from flightllm.resources.estimate import Estimate, UnitRow, estimate, reference_errors

__all__ = ["Estimate", "UnitRow", "estimate", "reference_errors"]
