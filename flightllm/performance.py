"""How fast a model would run on a board, by the cycle model, without its weights: what `flightllm speed` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flightllm.config.board import Board
from flightllm.cycles.device import CycleModel
from flightllm.errors import FlightError, ToolError
from flightllm.package import Manifest
from flightllm.package.reader import looks_like_package
from flightllm.resources import fit_rows, tightness
from flightllm.runtime.chunks import Chunk, chunks
from flightllm.synth.timing import CLOCK_MHZ

if TYPE_CHECKING:
    from flightllm.compiler.outline import Outline
    from flightllm.compress.recipe import Recipe
    from flightllm.config.arch import ArchConfig
    from flightllm.ir.graph import Graph

#: token id that is fed; which one it is decides only where a row of the embedding lies
TOKEN = 0


@dataclass(frozen=True)
class Phase:
    """A prompt, or one generated token, on the cycle model.

    kind: "prompt" or "token". tokens: fed. context: tokens in the cache before. seconds: at the config's clock. tokens_per_second: of the
    phase. gbps: 10^9 bytes moved per second, all channels. memory: share of what the board's memory delivers in sequential reads, as the
    board file has it. array: share of the cycles in which the array has a beat.
    """

    kind: str
    tokens: int
    context: int
    cycles: int
    seconds: float
    tokens_per_second: float
    gbps: float
    memory: float
    array: float


@dataclass(frozen=True)
class Speed:
    """What `speed` found. bits: of a weight, scales and tables included, on average. notes: what keeps these figures from being a card's."""

    manifest: Manifest
    board: Board
    bits: float
    phases: list[Phase]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        m = self.manifest
        return {
            "model": m.name,
            "board": m.board,
            "how": "cycle model",
            "config": m.arch.to_dict(),
            "bits_per_weight": self.bits,
            "kv_bits": m.kv_bits,
            "instructions": m.instructions,
            "chunk": m.limits.max_chunk,
            "phases": [asdict(p) for p in self.phases],
            "notes": self.notes,
        }


def speed(
    model: str | os.PathLike[str],
    *,
    board: str,
    arch: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    weights: str | float | None = None,
    group: int | None = None,
    sparsity: int | None = None,
    kv: int | None = None,
    recipe: str | os.PathLike[str] | None = None,
    prompts: Sequence[int] | None = None,
    contexts: Sequence[int] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Speed:
    """How fast a model would run on a board. Its weights are not read: a folder with a config.json is enough.

    Args:
        model, board, arch, weights, group, sparsity, kv, recipe: as of `flightllm.compile`. Without `weights`: 4 bits. A budget (3.5) is met by two
            widths, spread evenly.
        prompts: lengths of prompts, each fed into an empty cache. contexts: lengths of the cache before a generated token. If neither is given: a prompt
            of 128 tokens, tokens at 128 and 512, as far as the model's context reaches. progress: called with (phase, runs done, runs in all) before
            each run.

    Raises:
        FlightError: a length is not possible, the model is a package, or of the kind that fits, as of `flightllm.compile`.
    """
    from flightllm import api
    from flightllm.config.board import load_board

    if looks_like_package(Path(model)):
        raise ToolError(
            "this is a package, not a model",
            where=str(model),
            why="speed plans a model for a board; a package has its program and its board",
            do="ask simulate or report about it",
        )
    target = load_board(board)
    compression = api.make_recipe(
        recipe, weights=str(4 if weights is None else weights), group=group, sparsity=sparsity, kv=kv
    )
    shapes = api.load_shapes(api.find_model(model))
    outline, plan = plan_shapes(shapes, target, api.board_config(target, arch), compression, prompts, contexts)
    m = outline.manifest
    counter = CycleModel(m, outline.program, outline.memory)
    phases = []
    runs = [runs_of(m, *phase) for phase in plan]
    done, total = 0, sum(map(len, runs))
    for (kind, tokens, context), own in zip(plan, runs, strict=True):
        parts = []
        for run in own:
            if progress is not None:
                progress(phase_title(kind, tokens, context), done, total)
            parts.append(_run(counter, run))
            done += 1
        phases.append(make_phase(kind, m, target, tokens, context, parts))
    return Speed(m, target, outline.weights, phases, build_notes(m, target))


def phase_title(kind: str, tokens: int, context: int) -> str:
    """A phase's name in tables; arguments as of `Phase`."""
    return f"prompt of {tokens}" if kind == "prompt" else f"token at {context}"


#: (kind, tokens, context) of phases, see `Phase`
Plan = list[tuple[str, int, int]]


def plan_shapes(
    graph: Graph,
    board: Board,
    arch: ArchConfig,
    recipe: Recipe,
    prompts: Sequence[int] | None,
    contexts: Sequence[int] | None,
) -> tuple[Outline, Plan]:
    """The outline of a model, with a cache as long as the lengths asked for need; arguments and errors as of `speed`."""
    from flightllm.compiler.nearest import CONTEXT, say_what_fits
    from flightllm.compiler.outline import outline_model

    plan = plan_phases(graph.info.max_context, prompts, contexts)
    longest = max((tokens + context for _, tokens, context in plan), default=1)
    with say_what_fits(graph, board, arch, recipe, longest, CONTEXT):
        return outline_model(graph, board=board, arch=arch, recipe=recipe, max_context=longest), plan


def plan_phases(limit: int, prompts: Sequence[int] | None, contexts: Sequence[int] | None) -> Plan:
    """Phases of the lengths asked for, or the usual ones; errors as of `speed`. limit: tokens that the cache can hold."""
    if prompts is None and contexts is None:
        prompts, contexts = [min(128, limit)], sorted({min(c, limit - 1) for c in (128, 512)})
    plan = [("prompt", length, 0) for length in _lengths(prompts, 1, limit, "prompts")]
    return plan + [("token", 1, length) for length in _lengths(contexts, 0, limit - 1, "contexts")]


def runs_of(m: Manifest, kind: str, tokens: int, context: int) -> list[Chunk]:
    """The program's runs of a phase."""
    return list(chunks(m.limits, tokens, 0)) if kind == "prompt" else [Chunk(context, 1, False, True)]


def build_notes(m: Manifest, board: Board) -> list[str]:
    """What the cycle model does not know: whether the config can be built."""
    rows = fit_rows(board, m.arch)
    notes = [
        f"{row.resource}: {row.need:,.0f} of {row.have:,.0f} that {board.name} has: this config cannot be built as it is"
        for row in rows
        if not row.fits
    ]
    notes += [text for row in rows if (text := tightness(row, board, board.name))]
    if m.arch.clock_mhz > CLOCK_MHZ:
        notes.append(
            f"{m.arch.clock_mhz:g} MHz: the RTL's paths were looked at for {CLOCK_MHZ:g} MHz (docs/resources.md)"
        )
    port = m.arch.port_bits / 8 * m.arch.clock_mhz / 1000
    if port < board.memory.measured_gbps:
        notes.append(
            f"ports of {m.arch.port_bits} bits at {m.arch.clock_mhz:g} MHz take {port:.1f} GB/s a channel, "
            f"{100 * port / board.memory.measured_gbps:.0f} % of what the memory delivers: no token takes more"
        )
    if m.limits.max_chunk < m.arch.max_chunk:
        notes.append(
            f"chunks of {m.limits.max_chunk} tokens instead of {m.arch.max_chunk}: the on-chip buffers hold no more"
        )
    return notes


def _lengths(asked: Sequence[int] | None, least: int, most: int, what: str) -> list[int]:
    """Lengths that are possible."""
    if asked is None:
        return []
    given = list(asked) if isinstance(asked, Sequence) else [asked]
    for length in given:
        if not isinstance(length, int) or isinstance(length, bool) or not least <= length <= most:
            raise FlightError(
                f"{what} of {length!r} tokens are not possible",
                why=f"the model serves {least} to {most}",
                do=f"give whole numbers from {least} to {most}",
            )
    return given


def _run(counter: CycleModel, run: Chunk) -> tuple[int, int, float]:
    found = counter.run([TOKEN] * run.count, run.pos, int(run.last), run.prompt)
    return found["cycles"], moved(found), beats(counter)


def moved(counters: Mapping[str, int]) -> int:
    """Bytes that a run moved, all channels."""
    return sum(n for name, n in counters.items() if name.endswith("_bytes"))


def beats(counter: CycleModel) -> float:
    """Beats of the array in the last run, all cores."""
    assert counter.machine is not None
    return sum(core.matrix.beats for core in counter.machine.cores)


def make_phase(
    kind: str, m: Manifest, board: Board, tokens: int, context: int, runs: list[tuple[int, int, float]]
) -> Phase:
    """A phase out of (cycles, bytes, beats of the array of all cores) of its runs."""
    arch = m.arch
    cycles, nbytes, busy = (sum(column) for column in zip(*runs, strict=True))
    seconds = cycles / (arch.clock_mhz * 1e6)
    rate = nbytes / seconds / 1e9
    there = board.memory.measured_gbps * arch.cores * arch.channels
    return Phase(
        kind, tokens, context, int(cycles), seconds, tokens / seconds, rate, rate / there, busy / cycles / arch.cores
    )
