"""What the machine cannot do of a graph that is otherwise right."""

from __future__ import annotations

from flightllm.errors import UnsupportedError
from flightllm.ir.graph import Graph
from flightllm.ir.ops import Attention
from flightllm.isa.matrix import HEAD_CODES


def check_supported(graph: Graph) -> None:
    """Raise UnsupportedError naming the first node that no config of the machine has a place for."""
    for node in graph.attentions():
        assert isinstance(node.op, Attention)
        if node.op.head_dim > HEAD_CODES:
            raise UnsupportedError(
                f"attention with heads of {node.op.head_dim} elements",
                where=node.name,
                why=f"the matrix unit holds one row of keys in its replay buffer, {HEAD_CODES} codes at most",
                do=f"use a model with heads of {HEAD_CODES} elements or fewer",
            )
