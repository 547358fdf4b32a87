"""One page of HTML, and the same as JSON, of how a model runs: headline, timeline, roofline, memory, resources, comparison (docs/report.md)."""

from flightllm.report.data import Report
from flightllm.report.page import write_report

__all__ = ["Report", "write_report"]
