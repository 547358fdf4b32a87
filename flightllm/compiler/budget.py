"""The budgeted mix of a whole model: hands the compiler's matrices to `compress.budget`, one allocation per budget."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from flightllm.compiler.images import Progress
from flightllm.compiler.matrices import MatrixPlan
from flightllm.compress.budget import BudgetMatrix, BudgetPart, allocate
from flightllm.compress.tensor import TensorRecipe
from flightllm.config.arch import ArchConfig
from flightllm.ir.ops import Linear


def budgeted_formats(
    plans: list[MatrixPlan], recipes: dict[str, TensorRecipe], arch: ArchConfig, progress: Progress
) -> dict[str, np.ndarray]:
    """Formats of every linear that takes part in a budget: node name -> uint8 [rows, blocks, 1].

    A fused matrix takes part with those of its parts that do; matrices are measured one at a time.
    """
    by_budget: dict[float, list[BudgetMatrix]] = {}
    for plan in plans:
        for budget in sorted({b for p in plan.parts if (b := recipes[p.node.name].budget) is not None}):
            parts = [p for p in plan.parts if recipes[p.node.name].budget == budget]
            ops = [p.node.op for p in parts]
            by_budget.setdefault(budget, []).append(
                BudgetMatrix(
                    plan.name,
                    tuple(
                        BudgetPart(p.node.name, op.weight, p.rows)
                        for p, op in zip(parts, ops, strict=True)
                        if isinstance(op, Linear)
                    ),
                    recipes[parts[0].node.name],
                    1,
                    any(isinstance(op, Linear) and op.bias is not None for op in ops),
                )
            )
    out: dict[str, np.ndarray] = {}
    for budget, matrices in sorted(by_budget.items()):

        def told(items: Iterable[BudgetMatrix], total: int = len(matrices)) -> Iterator[BudgetMatrix]:
            for i, item in enumerate(items):
                progress(f"sensitivity {item.name}", i, total)
                yield item
            progress("sensitivity", total, total)

        out |= allocate(matrices, budget, arch, told)
    return out
