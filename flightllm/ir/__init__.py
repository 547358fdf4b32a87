"""Typed decoder graph: operators, weights, graph, fp32 reference evaluation."""

from flightllm.ir.graph import Graph, ModelInfo, Node
from flightllm.ir.weights import Grid, GridSpec, Weight

__all__ = ["Graph", "Grid", "GridSpec", "ModelInfo", "Node", "Weight"]
