"""Two executors in lock step, compared instruction by instruction: docs/lockstep.md."""

from flightllm.executors.lockstep.device import LockStep, ObservedDevice
from flightllm.executors.lockstep.report import Divergence

__all__ = ["Divergence", "LockStep", "ObservedDevice"]
