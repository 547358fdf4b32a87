"""Executor `hls`: the Vitis HLS kernel, compiled natively."""

from flightllm.executors.hls.device import HlsDevice

__all__ = ["HlsDevice"]
