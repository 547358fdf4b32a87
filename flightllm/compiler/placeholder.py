"""Images with made-up addresses: enough for lowering to find out whether its buffers fit, before any weight is read."""

from __future__ import annotations

from flightllm.compiler.attention import rope_key
from flightllm.compiler.buffers import MemoryMap
from flightllm.compiler.fusion import Fusion
from flightllm.compiler.geometry import Geometry
from flightllm.compiler.images import plan_cache
from flightllm.compiler.matrices import MatrixPlan, heads_of
from flightllm.compiler.options import LoweringOptions
from flightllm.compiler.streams import Images, StreamInfo, VectorTable
from flightllm.ir.graph import Graph
from flightllm.ir.ops import Embed, Norm, PosEmbed


def placeholder_images(
    graph: Graph,
    fusion: Fusion,
    plans: list[MatrixPlan],
    geometry: Geometry,
    options: LoweringOptions,
    strips: dict[str, int],
) -> Images:
    """Addresses all zero; rows per VPU as in `strips`, by name of the plan."""
    images, memory = Images(), MemoryMap(1 << 40)
    nothing = memory.add("nothing", 0, "scratch")

    def table(name: str, width: int, rows: int) -> None:
        padded = -(-width // geometry.align) * geometry.align
        images.vectors[name] = VectorTable(nothing, "f32", 64, geometry.slots(padded), rows)

    for node in graph:
        if isinstance(node.op, Norm):
            width = node.dim // node.op.heads
            group = fusion.group_of.get(node.name)
            if node.op.heads > 1 and hasattr(group, "core"):
                width = heads_of(geometry, group).padded  # type: ignore[arg-type]
            table(f"{node.name}.gamma", width, 1)
            table(f"{node.name}.beta", width, 1)
        elif isinstance(node.op, Embed | PosEmbed):
            table(node.name, geometry.whole(node.dim), 1)
    for plan in plans:
        images.streams[plan.name] = [
            StreamInfo(0, 64, geometry.slots(s.hi - s.lo), s.last - s.first, 128, 0, strips[plan.name], False, 0, 1.0)
            for s in plan.segments
        ]
    for group in fusion.attentions:
        heads = heads_of(geometry, group)
        if group.rope is not None:
            table(rope_key(group), heads.padded, 1)
        mask = None
        if options.attention[group.core.name].mask is not None:
            mask = (nothing, -(-options.max_context // 512))
        images.caches[group.core.name] = plan_cache(memory, geometry, options, group, mask)
    images.logits = nothing
    images.logits_row = 64
    return images
