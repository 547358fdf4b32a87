"""Check that the HLS kernel stays within what can be synthesised, without a synthesis tool: `python -m flightllm.hlscheck`."""

from flightllm.hlscheck.check import check_arch, check_text
from flightllm.hlscheck.findings import Finding, Report

__all__ = ["Finding", "Report", "check_arch", "check_text"]
