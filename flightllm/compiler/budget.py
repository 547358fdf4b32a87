"""The budgeted mix of a whole model: hands the compiler's matrices to `compress.budget`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from flightllm.compiler.images import Progress
from flightllm.compiler.matrices import MatrixPlan
from flightllm.compress.budget import BudgetMatrix, BudgetPart, allocate
from flightllm.compress.producer import Calibration
from flightllm.compress.tensor import Mix, TensorRecipe
from flightllm.config.arch import ArchConfig
from flightllm.ir.graph import Graph
from flightllm.ir.ops import Linear


def budgeted_mixes(
    graph: Graph,
    plans: list[MatrixPlan],
    strips: Mapping[str, int],
    recipes: dict[str, TensorRecipe],
    calibration: Mapping[str, Calibration],
    arch: ArchConfig,
    progress: Progress,
) -> dict[str, Mix]:
    """Group and formats of every linear that takes part in a budget, by node name. Reads one weight at a time."""
    matrices = []
    importance = importances(graph) if calibration else {}
    for plan in plans:
        ops = [p.node.op for p in plan.parts]
        if all(recipes[p.node.name].budget is None for p in plan.parts):
            continue
        parts = tuple(
            BudgetPart(
                p.node.name,
                op.weight,
                p.rows,
                recipes[p.node.name],
                calibration.get(p.node.name),
                importance.get(p.node.name, 1.0),
            )
            for p, op in zip(plan.parts, ops, strict=True)
            if isinstance(op, Linear)
        )
        bias = any(isinstance(op, Linear) and op.bias is not None for op in ops)
        cuts = tuple(last - first for first, last in plan.cuts)
        segments = tuple(plan.row_cuts())
        matrices.append(BudgetMatrix(plan.name, parts, strips[plan.name], bias, segments, cuts, plan.places))

    def told(pool: Iterable[BudgetMatrix]) -> Iterator[BudgetMatrix]:
        pool = list(pool)
        for i, matrix in enumerate(pool):
            progress(f"sensitivity {matrix.name}", i, len(pool))
            yield matrix
        progress("sensitivity", len(pool), len(pool))

    return allocate(matrices, arch, told) if matrices else {}


def importances(graph: Graph) -> dict[str, float]:
    """How much the relative error of each linear's product counts, by node name.

    Counting each product alike would starve the large matrices, counting each weight alike the small ones: inside the layers the root of
    the number of weights stands between. The errors of layers are drowned in the residual stream, those of the output matrix go into the
    logits whole: it counts as much as all others together (both measured: docs/compression.md).
    """
    inner = {
        n.name: float(np.sqrt(n.op.weight.shape[0] * n.op.weight.shape[1]))
        for n in graph.linears()
        if isinstance(n.op, Linear) and n.name != graph.output.name
    }
    return inner | {graph.output.name: sum(inner.values()) or 1.0}
