"""`compile_model`: from a model to a package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flightllm.checker import check_program
from flightllm.compiler.attention import SOFTMAX_ROWS
from flightllm.compiler.budget import budgeted_mixes
from flightllm.compiler.buffers import MemoryMap
from flightllm.compiler.calibrate import calibrate
from flightllm.compiler.emit import Item
from flightllm.compiler.fusion import Fusion, fuse
from flightllm.compiler.geometry import Geometry
from flightllm.compiler.images import ImageBuilder, Progress, plan_cache
from flightllm.compiler.lower import Lowering
from flightllm.compiler.matrices import MatrixPlan, cut_rows, heads_of, part_tokens, plan_matrices
from flightllm.compiler.nearest import say_what_fits
from flightllm.compiler.options import AttentionOptions, LoweringOptions
from flightllm.compiler.part import Source
from flightllm.compiler.passes import assign_tokens, finish, prefetch
from flightllm.compiler.placeholder import placeholder_images
from flightllm.compiler.report import CompileReport
from flightllm.compiler.streams import Images
from flightllm.compiler.strips import rows_per_vpu
from flightllm.compiler.verify import verify_items
from flightllm.compress.recipe import Recipe
from flightllm.compress.tensor import TensorRecipe
from flightllm.config.arch import ArchConfig
from flightllm.config.board import Board, load_board
from flightllm.errors import FitError, UnsupportedError
from flightllm.frontends import load_model, plain_name
from flightllm.ir.graph import Graph
from flightllm.ir.ops import Attention, PosEmbed
from flightllm.ir.supported import check_supported
from flightllm.ir.verify import verify_graph
from flightllm.isa import encode_program
from flightllm.isa.blocks import BLOCK_POSITIONS
from flightllm.isa.fields import Instruction
from flightllm.isa.load import LDW
from flightllm.package import (
    HostInterface,
    Limits,
    Manifest,
    MemoryTiming,
    ModelFacts,
    PackageWriter,
    Region,
)
from flightllm.resources import FitRow, check_fit

#: least queries of a step, and tokens of a chunk, that are worth it: with fewer queries what an instruction costs to begin counts, with fewer tokens
#: the array waits for weights
QUERIES, LEAST_CHUNK = 16, 8
#: percent of the array's cycles that are lost, of LLaMA2-7B's shapes on a U280 by the cycle model (docs/compiler.md, "The schedule"): SWITCH / heads of a
#: SOFTMAX, up to so many, and EDGE / tokens of a chunk, for its beginning and end and, more than the array, for memory, which each chunk asks for all weights
SWITCH, MANY_HEADS, EDGE = 36.0, 16, 80.0
#: LDWs issued ahead of the matrix instruction being dispatched; at most half the queue depth
PREFETCH = 8


@dataclass(frozen=True)
class Program:
    """A finished program with what report and listings say of it.

    tokens: dependency tokens. onchip: memory -> (peak, capacity). sections: pc -> graph node that begins there. buffers: space ->
    first unit -> name.
    """

    instructions: list[Instruction]
    tokens: int
    onchip: dict[str, tuple[int, int]]
    sections: dict[int, str]
    buffers: dict[str, dict[str, str]]


def compile_model(
    model: str | Path | Graph,
    *,
    board: str | Board,
    output: str | Path,
    arch: ArchConfig | None = None,
    recipe: Recipe | None = None,
    max_context: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
    name: str = "",
) -> CompileReport:
    """Compile a model for a board and write the package.

    Args:
        model: path of a model, or a graph.
        board: name or path of a board file, or a loaded board.
        output: folder of the package (`NAME.flpkg`).
        arch: architecture config; default the board's.
        recipe: compression; default weights as stored, 8-bit KV.
        max_context: positions of the KV cache; default the model's limit.
        force: replace an existing package.
        progress: called as progress(what, done, total).
        name: of the package in its manifest; default the model's, so that the output folder's name changes no byte.

    Raises:
        FlightError: anything wrong with model, options or fit; no package is left behind.
    """
    with say_what_fits(model, board, arch, recipe, max_context):
        return _compile(model, board, output, arch, recipe, max_context, force, progress, name)


def _compile(
    model: str | Path | Graph,
    board: str | Board,
    output: str | Path,
    arch: ArchConfig | None,
    recipe: Recipe | None,
    max_context: int | None,
    force: bool,
    progress: Progress | None,
    name: str,
) -> CompileReport:
    """`compile_model`, but for what its errors say of other configs."""
    report = progress or _silent
    job = prepare(model, board=board, arch=arch, recipe=recipe, max_context=max_context, progress=report)
    graph, recipe, options = job.graph, job.recipe, job.options
    board, arch = job.board, job.arch
    calibration = calibrate(graph, recipe.calibration, report) if recipe.calibration else {}
    mixes = budgeted_mixes(graph, job.plans, job.strips, job.recipes, calibration, arch, report)
    path = Path(output)
    with PackageWriter(path, cores=arch.cores, channels=arch.channels, force=force) as writer:
        builder = ImageBuilder(
            graph,
            job.fusion,
            job.plans,
            job.strips,
            job.geometry,
            options,
            job.recipes,
            mixes,
            calibration,
            writer,
            report,
        )
        builder.build()
        builder.map.check("with the KV cache and what the host reads and writes")
        report("program", 0, 1)
        program = make_program(job, builder.images)
        check_program(program.instructions, arch, max_context=options.max_context, max_chunk=options.chunk)
        encoded = encode_program(program.instructions)
        builder.map.add("program", len(encoded), "program")
        builder.map.check("with the program")
        writer.program(encoded)
        writer.tokenizer(graph.info.tokenizer_json)
        writer.chat_template(graph.info.chat_template)
        manifest = writer.commit(make_manifest(job, builder, program, name))
    notes = [f"{t.name}: {n}" for t in builder.report.coded for n in t.notes]
    if options.chunk < min(arch.max_chunk, BLOCK_POSITIONS):
        notes.append(f"chunks of {options.chunk} tokens instead of {arch.max_chunk}: the on-chip buffers hold no more")
    for row in job.needs:
        if not row.fits:
            notes.append(
                f"{row.resource}: {row.need:,.0f} of {row.have:,} that {board.name} has; see `flightllm resources`"
            )
    if not graph.info.tokenizer_json:
        notes.append("the model has no tokenizer: the package has token ids only (Model.logits, Session), no text")
    report("done", 1, 1)
    hints = []
    if mixes and not calibration and graph.info.tokenizer_json and "synthetic" not in graph.info.extra:
        hints.append(
            "a budget spends its bits much better with --calibrate TEXT: a text of the kind the model is used on"
        )
    return CompileReport(
        str(path), manifest, len(encoded), program.tokens, program.onchip, builder.report.coded, notes, hints
    )


def _silent(what: str, done: int, total: int) -> None:
    """Progress that nobody wants."""


@dataclass(frozen=True)
class Job:
    """Everything that is decided before a weight is read. needs: of the board's resources. strips: rows per VPU of each plan, by name."""

    board: Board
    arch: ArchConfig
    needs: list[FitRow]
    graph: Graph
    recipe: Recipe
    recipes: dict[str, TensorRecipe]
    fusion: Fusion
    geometry: Geometry
    plans: list[MatrixPlan]
    strips: dict[str, int]
    options: LoweringOptions


def prepare(
    model: str | Path | Graph,
    *,
    board: str | Board,
    arch: ArchConfig | None,
    recipe: Recipe | None,
    max_context: int | None,
    progress: Progress = _silent,
) -> Job:
    """Plan the compilation of a model; arguments and errors as of `compile_model`."""
    board = board if isinstance(board, Board) else load_board(board)
    arch = arch or board.arch
    needs = check_fit(board, arch)
    progress("reading the model", 0, 1)
    graph = model if isinstance(model, Graph) else load_model(model)
    verify_graph(graph)
    check_supported(graph)
    recipe = recipe or Recipe.from_options()
    recipe.check(graph)
    recipes = {n.name: recipe.for_node(n.name, n.role, n.layer) for n in graph.linears()}
    context = _context(graph, arch, max_context)
    attention = _attention_options(graph, recipe, context)
    fusion = fuse(graph)
    geometry = Geometry(arch)
    plans = plan_matrices(graph, fusion, geometry)
    dual = frozenset(name for name, r in recipes.items() if r.activations == "dual")
    _check_memory(graph, plans, geometry, recipes, context, attention, fusion)
    progress("planning", 0, 1)
    rate = board.memory.measured_gbps * 1e3 / arch.clock_mhz
    strips = {plan.name: rows_per_vpu(plan, recipes, arch, rate) for plan in plans}
    plans = [cut_rows(plan, strips[plan.name], geometry) for plan in plans]
    options = _choose_sizes(graph, fusion, plans, arch, context, attention, dual, strips)
    return Job(board, arch, needs, graph, recipe, recipes, fusion, geometry, plans, strips, options)


def _model_name(graph: Graph) -> str:
    """Name of the folder or file a graph was read from; the architecture's if it was made in memory."""
    return plain_name(Path(graph.info.source)) if graph.info.source else graph.info.arch


def _context(graph: Graph, arch: ArchConfig, wanted: int | None) -> int:
    """Positions of the cache: what was asked for, rounded up to whole blocks of 64."""
    limit = graph.info.max_context
    if wanted is not None and not (isinstance(wanted, int) and 1 <= wanted <= limit):
        raise UnsupportedError(
            f"a context of {wanted} tokens is not possible",
            where=graph.info.source,
            why=f"the model was made for up to {limit}",
            do=f"give a --max-context from 1 to {limit}, a whole number",
        )
    for node in graph:
        if isinstance(node.op, PosEmbed) and node.op.table.shape[0] - node.op.offset < (wanted or limit):
            raise UnsupportedError(
                f"a context of {wanted or limit} tokens is not possible",
                where=node.name,
                why=f"the position table has {node.op.table.shape[0]} rows, {node.op.offset} of them before position 0",
                do="give a smaller --max-context",
            )
    unit = max(64, arch.channels)
    return -(-(wanted or limit) // unit) * unit


def _attention_options(graph: Graph, recipe: Recipe, context: int) -> dict[str, AttentionOptions]:
    out = {}
    for node in graph.attentions():
        assert isinstance(node.op, Attention)
        layer = node.layer or 0
        asked = recipe.for_attention(layer)
        window, sink = node.op.window, node.op.sink
        if asked.window and (not window or asked.window < window):
            window, sink = asked.window, asked.sink
        mask = recipe.block_mask(layer, graph.info.layers, node.op.heads, -(-context // 64))
        if window >= context:
            window = 0
        out[node.name] = AttentionOptions(asked.kv_bits, window, sink if window else 0, mask)
    return out


def _check_memory(
    graph: Graph,
    plans: list[MatrixPlan],
    geometry: Geometry,
    recipes: dict[str, TensorRecipe],
    context: int,
    attention: dict[str, AttentionOptions],
    fusion: Fusion,
) -> None:
    """Refuse a model whose codes and cache alone exceed the memory, before anything is read."""
    arch = geometry.arch
    memory = MemoryMap(arch.channel_bytes)
    for plan in plans:
        bits, budget = 0.0, False
        for part in plan.parts:
            recipe, op = recipes[part.node.name], part.node.op
            grid = op.weight.grid  # type: ignore[union-attr]
            width = sum(p.bits * p.n / 16 for p in recipe.passes)
            if recipe.as_stored and grid is not None:
                width = grid.bits
            if recipe.budget is not None:
                width, budget = 2, True
            bits += width * part.node.dim * op.weight.shape[1]  # type: ignore[union-attr]
        memory.add(
            plan.name,
            int(bits / 8 / arch.channels / arch.cores),
            "weights (codes alone, a budget as 2 bits)" if budget else "weights (codes alone)",
        )
    options = LoweringOptions(1, 1, 1, 1, context, attention=attention)
    for group in fusion.attentions:
        plan_cache(memory, geometry, options, group, None)
    memory.check(graph.info.source)


def _choose_sizes(
    graph: Graph,
    fusion: Fusion,
    plans: list[MatrixPlan],
    arch: ArchConfig,
    context: int,
    attention: dict[str, AttentionOptions],
    dual: frozenset[str],
    strips: dict[str, int],
) -> LoweringOptions:
    """Sizes whose buffers fit, found by lowering with made-up addresses: a chunk (no larger than a block of masks), queries of an attention step, heads
    that share a SOFTMAX, so that the array loses least; if nothing that is worth it fits, the largest chunk.
    """
    most = min(arch.max_chunk, BLOCK_POSITIONS)
    chunk = 1 << (most.bit_length() - 1)
    sizes = [most] if chunk != most else []
    while chunk:
        sizes.append(chunk)
        chunk //= 2
    error: FitError | None = None

    # sizes of regions depend on the context and the cache alone
    any_size = LoweringOptions(1, 1, 1, 1, context, dual, attention)
    images = placeholder_images(graph, fusion, plans, Geometry(arch), any_size, strips)

    def lowering(options: LoweringOptions) -> Lowering:
        return Lowering(Source(graph, fusion, plans, arch, images, options))

    heads = _halved(SOFTMAX_ROWS)
    group = min((heads_of(Geometry(arch), g).group for g in fusion.attentions), default=1)
    for token_heads in heads:
        try:
            lowering(LoweringOptions(1, 1, 1, token_heads, context, dual, attention)).token()
        except FitError as e:
            error = e
            continue
        every = [(c, q, h) for c in sizes for q in _halved(part_tokens(c)) for h in heads]
        good = [s for s in every if s[0] >= LEAST_CHUNK and s[1] >= min(QUERIES, part_tokens(s[0]))]
        good.sort(key=lambda s: _lost(s[0], s[1], s[2], group))
        for chunk, queries, together in good + [s for s in every if s[2] == 1]:
            options = LoweringOptions(chunk, queries, together, token_heads, context, dual, attention)
            try:
                lowering(options).chunk()
                return options
            except FitError as e:
                error = e
        break
    assert error is not None
    raise FitError(
        "the model does not fit the on-chip buffers, not even one token at a time",
        where=f"{error.what} {error.where}".strip(),
        why=error.why,
        do=error.do,
        parameter=error.parameter,
    )


def _lost(chunk: int, queries: int, heads: int, group: int) -> float:
    """Share of the array's cycles that sizes lose, in percent: roughly, to compare them. group: query heads of a key-value head."""
    rows = queries * max(heads, group) / part_tokens(chunk)  # of a SOFTMAX for each token
    return SWITCH / min(rows, MANY_HEADS) + EDGE / chunk


def _halved(most: int) -> list[int]:
    """`most`, and half of the one before down to 1."""
    return [most] if most == 1 else [most, *_halved(-(-most // 2))]


def make_program(job: Job, images: Images) -> Program:
    """The instructions, for images at known addresses."""
    arch = job.arch
    lowered = Lowering(Source(job.graph, job.fusion, job.plans, arch, images, job.options)).run()
    items = lowered.items
    verify_items(items, arch)
    items = prefetch(items, min(PREFETCH, arch.queue_depth // 2))
    tokens = assign_tokens(items)
    verify_items(items, arch)
    onchip = {
        "VB (elements)": (16 * lowered.onchip["VB"], arch.vb_elements),
        "AB (windows)": (lowered.onchip["AB"], arch.ab_windows),
    }
    return Program(finish(items), tokens, onchip, _sections(items), lowered.symbols)


def _sections(items: list[Item]) -> dict[int, str]:
    """Where the instructions of each graph node begin; prefetched loads do not count."""
    out: dict[int, str] = {}
    current = ""
    for pc, item in enumerate(items):
        if item.note != current and not isinstance(item.inst, LDW):
            current = item.note
            out[pc] = current
    return out


def make_manifest(job: Job, builder: ImageBuilder, program: Program, name: str = "") -> Manifest:
    """What a host must know. name: of the package; default the model's."""
    graph, arch, options = job.graph, job.arch, job.options
    info, geometry = graph.info, job.geometry
    part = geometry.part(info.vocab)
    parts = tuple(max(0, min(part, info.vocab - k * part)) for k in range(arch.cores))
    assert builder.images.logits is not None
    dims = [n.dim for n in graph.embeds()]
    return Manifest(
        name=name or _model_name(graph),
        board=job.board.name,
        arch=arch,
        model=ModelFacts(
            arch=info.arch,
            vocab=info.vocab,
            max_context=info.max_context,
            layers=info.layers,
            dim=dims[0],
            bos=info.bos,
            eos=info.eos,
        ),
        limits=Limits(
            options.chunk, min(options.max_context, info.max_context), BLOCK_POSITIONS if options.masked else 0
        ),
        host=HostInterface(builder.images.ids, builder.images.logits.addr, builder.images.logits_row, parts),
        kv_bits=max(a.kv_bits for a in options.attention.values()),
        memory=tuple(Region(r.name, r.addr, r.size, r.kind) for r in builder.map.regions),
        tensors=tuple(builder.report.tensors),
        memory_timing=MemoryTiming(
            job.board.memory.channel_gbps, job.board.memory.measured_gbps, tuple(job.board.memory.latency_ns)
        ),
        buffers=program.buffers,
        instructions=len(program.instructions),
        notes={"sections": {str(pc): node for pc, node in program.sections.items()}},
    )
