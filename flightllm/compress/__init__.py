"""Compression: recipes, producers of coded matrices, budgets (docs/compression.md)."""

from flightllm.compress.plan import TensorReport, code_tensor
from flightllm.compress.tensor import TensorRecipe

__all__ = ["TensorRecipe", "TensorReport", "code_tensor"]
