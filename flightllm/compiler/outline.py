"""A program without its weights: everything the cycle model needs of a model whose weights are not read.

Sizes and formats of the weight streams follow from the recipe; where a budget would choose formats by what they cost the model, here two
neighbouring widths are spread evenly in the share that meets the budget.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from flightllm.checker import check_program
from flightllm.compiler.compile import Job, make_manifest, make_program, prepare
from flightllm.compiler.geometry import round_up
from flightllm.compiler.images import ImageBuilder, segment_name
from flightllm.compiler.matrices import MatrixPlan
from flightllm.compiler.streams import StreamInfo
from flightllm.compress.budget import MIX
from flightllm.compress.recipe import Recipe
from flightllm.compress.tensor import TensorRecipe
from flightllm.config.arch import ArchConfig
from flightllm.config.board import Board
from flightllm.errors import RecipeError
from flightllm.ir.graph import Graph, Node
from flightllm.ir.ops import Embed, Linear, PosEmbed
from flightllm.isa import encode_program
from flightllm.isa.fields import Instruction
from flightllm.package import Manifest
from flightllm.streams import layout
from flightllm.streams.coded import array_share, uniform_format
from flightllm.streams.formats import STREAM_ALIGN, pad
from flightllm.streams.layout import Geometry, strip_entries, strip_sizes

#: columns per scale where a budget may choose
BUDGET_GROUP = 128


class SparseMemory:
    """Bytes of a channel, of which only some are known."""

    def __init__(self) -> None:
        self._parts: dict[int, np.ndarray] = {}
        self._starts: list[int] | None = None

    def put(self, addr: int, data: np.ndarray) -> None:
        """Bytes from `addr` on; parts do not overlap."""
        self._parts[addr] = data
        self._starts = None

    def read(self, addr: int, nbytes: int) -> np.ndarray:
        """uint8 [nbytes]; bytes that are not known are zero, and so is what lies beyond the part that holds the first one."""
        if self._starts is None:
            self._starts = sorted(self._parts)
        out = np.zeros(nbytes, np.uint8)
        index = bisect_right(self._starts, addr) - 1
        if index >= 0:
            start = self._starts[index]
            part = self._parts[start][addr - start : addr - start + nbytes]
            out[: part.size] = part
        return out


@dataclass(frozen=True)
class Outline:
    """A program and where everything would lie. memory: [core] what it reads of channel 0. weights: bits of a weight, all included, on average."""

    manifest: Manifest
    program: list[Instruction]
    memory: list[SparseMemory]
    weights: float


class _OutlineBuilder(ImageBuilder):
    """Places everything and reads no weight. `memory`: attention masks and format tables."""

    def __init__(self, job: Job) -> None:
        self.memory = [SparseMemory() for _ in range(job.arch.cores)]
        super().__init__(
            job.graph,
            job.fusion,
            job.plans,
            job.strips,
            job.geometry,
            job.options,
            job.recipes,
            {},
            {},
            self,
            lambda *_: None,
        )
        self.stream_bits = self.stream_weights = 0

    def write_at(self, core: int, channel: int, offset: int, data: np.ndarray) -> None:
        """Keeps channel 0's constants, which are small."""
        if channel == 0:
            self.memory[core].put(offset, np.asarray(data).reshape(-1))

    def _table(self, node: Node) -> None:
        assert isinstance(node.op, Embed | PosEmbed)
        self._place_table(node, self._table_rows(node.op), "f16")

    def _matrix(self, plan: MatrixPlan) -> None:
        arch = self.arch
        ops = [p.node.op for p in plan.parts]
        recipe = self.recipes[plan.parts[0].node.name]
        bias = any(isinstance(op, Linear) and op.bias is not None for op in ops)
        m = self.strips[plan.name]
        group = BUDGET_GROUP if recipe.budget is not None and recipe.groups else recipe.group
        infos = []
        for segment in plan.segments:
            own, k = bias and not segment.first, segment.last - segment.first
            geo = Geometry(segment.hi - segment.lo, k, group, own, arch.channels, arch.vpus, m)
            formats = _formats(geo, recipe, plan.name)
            uniform = uniform_format(formats)
            table = uniform is None
            sizes = strip_sizes(geo, formats, table)
            nbytes = pad(sum(sizes), STREAM_ALIGN)
            region = self.map.add(segment_name(plan, segment), nbytes, "weights")
            if table:
                self._put_tables(geo, formats, sizes, region.addr)
            shapes = {
                e
                for t in np.unique(formats.reshape(len(formats), -1), axis=0)
                for row in self._entries(geo, t)
                for e in row
            }
            infos.append(
                StreamInfo(
                    region.addr, nbytes, self.geometry.slots(geo.rows), k, group, uniform, m, own,
                    max(e.size for e in shapes), array_share(formats),
                )
            )  # fmt: skip
            self.stream_bits += 8 * nbytes * arch.channels * arch.cores
        self.stream_weights += sum(p.node.dim for p in plan.parts) * plan.k
        self.images.streams[plan.name] = infos
        self.map.check(f"at {plan.name}; later weights and the KV cache come on top")

    @staticmethod
    def _entries(geo: Geometry, row: np.ndarray) -> list[list[layout.EntryShape]]:
        return strip_entries(geo, row.reshape(geo.blocks, -1), 0)

    def _put_tables(self, geo: Geometry, formats: np.ndarray, sizes: list[int], addr: int) -> None:
        for strip, begin in zip(formats, accumulate(sizes, initial=0), strict=False):
            entries = [f.byte for block in strip for f in layout.entry_formats(block)]
            for memory in self.memory:
                memory.put(addr + begin, np.array(entries, np.uint8))


def _formats(geo: Geometry, recipe: TensorRecipe, name: str) -> np.ndarray:
    """Format bytes uint8 [strips, blocks, passes] that a recipe implies."""
    shape = (geo.strips, geo.blocks)
    if recipe.budget is None:
        row = np.array([p.byte for p in recipe.passes], np.uint8)
        return np.broadcast_to(row, (*shape, len(row)))
    # bits of a weight under each choice, header and table included
    weights = geo.slots_of(0) * geo.channels * geo.padded_k
    bits = []
    for choice in MIX:
        one = np.broadcast_to(np.uint8(choice.byte), (1, geo.blocks, 1))
        bits.append(8 * geo.channels * layout.strip_bytes(geo, one[0], 0, True) / weights)
    order = sorted(range(len(MIX)), key=bits.__getitem__)
    under = [i for i in order if bits[i] <= recipe.budget]
    if not under:
        raise RecipeError(
            f"a budget of {recipe.budget:g} bits per weight cannot be met",
            where=name,
            why=f"the narrowest format takes {bits[order[0]]:.2f}",
            do="give a larger budget",
        )
    low = under[-1]
    high = next((i for i in order if bits[i] > recipe.budget), low)
    share = (recipe.budget - bits[low]) / (bits[high] - bits[low]) if high != low else 0.0
    steps = np.floor((np.arange(geo.strips * geo.blocks + 1) + 0.5) * share)
    chosen = np.where(np.diff(steps) > 0, MIX[high].byte, MIX[low].byte).astype(np.uint8)
    return chosen.reshape(*shape, 1)


def outline_model(
    model: str | Path | Graph,
    *,
    board: str | Board,
    arch: ArchConfig | None = None,
    recipe: Recipe | None = None,
    max_context: int | None = None,
    check: bool = True,
) -> Outline:
    """Compile a model without reading its weights; arguments and errors as of `compile_model`.

    A weight that the recipe wants "as stored" counts as its `passes` say (8 bits unless they say more).

    Args:
        check: go through the program like `compile_model`, which is most of the time; not needed where programs of the same kind are made by the dozen.
    """
    job = prepare(model, board=board, arch=arch, recipe=recipe, max_context=max_context)
    builder = _OutlineBuilder(job)
    builder.build()
    builder.map.check("with the KV cache and what the host reads and writes")
    program = make_program(job, builder.images)
    if check:
        check_program(program.instructions, job.arch, max_context=job.options.max_context, max_chunk=job.options.chunk)
    builder.map.add("program", round_up(len(encode_program(program.instructions)), 64), "program")
    builder.map.check("with the program")
    manifest = make_manifest(job, builder, program)
    return Outline(manifest, program.instructions, builder.memory, builder.stream_bits / max(1, builder.stream_weights))
