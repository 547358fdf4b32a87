"""The checker: an independent proof over encoded programs (nothing of the compiler's own bookkeeping is used)."""

from flightllm.checker.check import ALL_LENGTHS, CheckResult, check_program, check_run

__all__ = ["ALL_LENGTHS", "CheckResult", "check_program", "check_run"]
