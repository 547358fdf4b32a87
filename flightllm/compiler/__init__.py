"""The compiler: graph -> fusion -> memory images -> lowering -> prefetch and tokens -> package."""

from flightllm.compiler.compile import compile_model
from flightllm.compiler.report import CompileReport

__all__ = ["CompileReport", "compile_model"]
