"""The functional executor: numpy executes the encoded instruction stream over the memory images."""

from flightllm.executors.functional.device import FunctionalDevice

__all__ = ["FunctionalDevice"]
