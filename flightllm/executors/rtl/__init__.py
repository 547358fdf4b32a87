"""The RTL executor: the SystemVerilog kernel under Verilator runs the package."""

from flightllm.executors.rtl.device import RtlDevice

__all__ = ["RtlDevice"]
