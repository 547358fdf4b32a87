"""The budgeted mix of a whole model: hands the compiler's matrices to `compress.budget`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from flightllm.compiler.images import Progress
from flightllm.compiler.matrices import MatrixPlan
from flightllm.compress.budget import BudgetMatrix, BudgetPart, allocate
from flightllm.compress.producer import Calibration
from flightllm.compress.tensor import Mix, TensorRecipe
from flightllm.config.arch import ArchConfig
from flightllm.ir.ops import Linear


def budgeted_mixes(
    plans: list[MatrixPlan],
    recipes: dict[str, TensorRecipe],
    calibration: Mapping[str, Calibration],
    arch: ArchConfig,
    progress: Progress,
) -> dict[str, Mix]:
    """Group and formats of every linear that takes part in a budget, by node name. Reads one weight at a time."""
    matrices = []
    for plan in plans:
        ops = [p.node.op for p in plan.parts]
        if all(recipes[p.node.name].budget is None for p in plan.parts):
            continue
        parts = tuple(
            BudgetPart(p.node.name, op.weight, p.rows, recipes[p.node.name], calibration.get(p.node.name))
            for p, op in zip(plan.parts, ops, strict=True)
            if isinstance(op, Linear)
        )
        bias = any(isinstance(op, Linear) and op.bias is not None for op in ops)
        matrices.append(BudgetMatrix(plan.name, parts, 1, bias, plan.segments))

    def told(pool: Iterable[BudgetMatrix]) -> Iterator[BudgetMatrix]:
        pool = list(pool)
        for i, matrix in enumerate(pool):
            progress(f"sensitivity {matrix.name}", i, len(pool))
            yield matrix
        progress("sensitivity", len(pool), len(pool))

    return allocate(matrices, arch, told) if matrices else {}
