"""flightllm: compile decoder LLMs to an FPGA instruction stream and execute it, bit-exact, with or without a board."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from flightllm.api import Model, SamplingOptions, compile, load

__all__ = ["Model", "SamplingOptions", "__version__", "compile", "load"]


def __getattr__(name: str) -> Any:
    # the API imports numpy and more; a command line that prints its help should not
    if name in __all__:
        from flightllm import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
