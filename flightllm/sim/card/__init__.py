"""A simulated card: memory banks, allocation and registers as a host sees them, around a simulated kernel (docs/runtime.md)."""

from flightllm.sim.card.card import SimulatedCard
from flightllm.sim.card.container import make_xclbin
from flightllm.sim.card.kernel import SimulatedKernel, VerilatedKernel, open_kernel

__all__ = ["SimulatedCard", "SimulatedKernel", "VerilatedKernel", "make_xclbin", "open_kernel"]
