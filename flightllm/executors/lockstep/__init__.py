"""Two executors in lock step, compared instruction by instruction: docs/lockstep.md."""

from flightllm.executors.lockstep.device import LockStep, ObservedDevice
from flightllm.executors.lockstep.report import Divergence
from flightllm.executors.lockstep.run_by_run import RunByRun

__all__ = ["Divergence", "LockStep", "ObservedDevice", "RunByRun"]
