"""The RTL executor: the SystemVerilog core under Verilator, with a memory model."""

from flightllm.executors.rtl.device import RtlDevice

__all__ = ["RtlDevice"]
