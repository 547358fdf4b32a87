"""Rows per VPU of each weight stream: how high its strips are (docs/streams.md: m).

A high strip spreads what each strip and each entry cost besides codes (header, format table, scales) over more of them; a low one lets formats change from
few rows to few rows, and leaves less to drain behind the last strip, which matters where attention and matrices take turns. Cycles are those of one
token: what the fetch stage pops, and no less than the share that matrices may take of the time in which memory delivers them.
"""

from __future__ import annotations

from flightllm.compiler.matrices import MatrixPlan, part_tokens
from flightllm.compress.tensor import TensorRecipe
from flightllm.config.arch import ArchConfig
from flightllm.ir.ops import Linear
from flightllm.streams.formats import ROWS_PER_VPU, EntryFormat
from flightllm.streams.layout import EntryShape, Geometry

#: of the strips that cost at most so much more than the best, the lowest are taken: where formats change from strip to strip, and where they do not
NEARLY, NEARLY_UNIFORM = 1.05, 1.002
#: columns of a group, where a recipe or a stored grid may choose: the narrowest has the largest entries
NARROWEST = 32
#: of the time in which memory delivers a matrix, what the array may take for it: the rest is for attention and special functions, while memory goes on
SHARE = 0.7
#: cycles of a strip besides its sections: plan of the header, parsing of a format table but for its bytes (rtl/matrix/fetch_plan.sv)
HEADER, TABLE = 8, 12
#: cycles of a row beat in the drain besides its steps (rtl/matrix/matrix_drain.sv)
DRAIN = 3


def rows_per_vpu(plan: MatrixPlan, recipes: dict[str, TensorRecipe], arch: ArchConfig, rate: float) -> int:
    """m of a matrix: the least that its sparsest format allows, or more if that is faster and the buffers hold it.

    rate: bytes that a channel's memory delivers in a cycle, in sequential reads.
    """
    own = [recipes[part.node.name] for part in plan.parts]
    formats = [f for r in own for f in (*r.passes, *(f for rows in r.rows for f in rows.passes))]
    least = max((f.share for f in formats), default=1)
    dual = 2 if any(r.activations == "dual" for r in own) else 1
    # a budget, or a grid that stays as stored, may be wider than the passes say
    free = any(r.budget is not None or r.as_stored for r in own)
    widest = EntryFormat(8, 16, True) if free else max(formats, key=lambda f: f.bits * f.n)
    bias = any(isinstance(p.node.op, Linear) and p.node.op.bias is not None for p in plan.parts)
    table = any(r.budget is not None or len(r.passes) > 1 for r in own)

    def fits(m: int) -> bool:
        entry = EntryShape(widest, arch.vpus * m, 128, NARROWEST, arch.vpus).size
        return part_tokens(arch.max_chunk) * m * dual <= arch.acc_entries and 2 * entry <= arch.w_ring_bytes

    bits = min((sum(f.bits * f.n / 16 for f in r.passes) if r.budget is None else r.budget) for r in own)
    memory = SHARE * bits / 8 * plan.rows * plan.k / arch.channels / rate
    costs = {
        m: max(
            memory,
            sum(
                _cycles(Geometry(plan.rows, hi - lo, 128, bias and not lo, arch.channels, arch.vpus, m), table)
                for lo, hi in plan.cuts
            ),
        )
        for m in ROWS_PER_VPU
        if m == least or (m > least and fits(m))
    }
    best = min(costs.values())
    return min(m for m, cost in costs.items() if cost <= (NEARLY if table else NEARLY_UNIFORM) * best)


def _cycles(geo: Geometry, table: bool) -> int:
    """Cycles of the array and its front end for one token, dense codes of four bits or less."""
    cycles = drain = 0
    for strip in range(geo.strips):
        slots = geo.slots_of(strip)
        beats = -(-slots // geo.vpus)
        cycles += HEADER + -(-slots // 4) * (2 if geo.bias else 1) + (TABLE + geo.blocks if table else 0)
        for block in range(geo.blocks):
            # codes of each window; sigma and mu, eight scale beats a row of their FIFOs
            cycles += geo.columns_of(block) // 16 * beats + 2 * -(-beats * geo.groups_of(block) // 8)
        drain = beats * (DRAIN + -(-geo.vpus * geo.channels // min(16, 4 * geo.channels)))
    return cycles + drain
