"""Compression: recipes, producers of coded matrices, budgets (docs/compression.md)."""

from flightllm.compress.attention import AttentionRecipe, BlockMask
from flightllm.compress.plan import TensorReport, code_tensor
from flightllm.compress.recipe import Recipe, parse_weights
from flightllm.compress.tensor import Mix, RowRange, TensorRecipe

__all__ = [
    "AttentionRecipe",
    "BlockMask",
    "Mix",
    "Recipe",
    "RowRange",
    "TensorRecipe",
    "TensorReport",
    "code_tensor",
    "parse_weights",
]
