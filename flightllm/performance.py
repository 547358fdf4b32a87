"""How fast a model would run on a board, by the cycle model, without its weights: what `flightllm speed` does."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flightllm.config.board import Board
from flightllm.cycles.device import CycleModel
from flightllm.errors import FlightError
from flightllm.package import Manifest
from flightllm.resources import fit_rows
from flightllm.runtime.chunks import chunks
from flightllm.synth.timing import CLOCK_MHZ

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
    weights: str | float = 4,
    group: int | None = None,
    sparsity: int | None = None,
    kv: int | None = None,
    recipe: str | os.PathLike[str] | None = None,
    prompts: Sequence[int] | None = None,
    contexts: Sequence[int] | None = None,
) -> Speed:
    """How fast a model would run on a board. Its weights are not read: a folder with a config.json is enough.

    Args:
        model, board, arch, weights, group, sparsity, kv, recipe: as of `flightllm.compile`. A budget (3.5) is met by two widths, spread evenly.
        prompts: lengths of prompts, each fed into an empty cache. contexts: lengths of the cache before a generated token. If neither is given: a prompt
            of 128 tokens, tokens at 128 and 512, as far as the model's context reaches.

    Raises:
        FlightError: a length is not possible, or of the kind that fits, as of `flightllm.compile`.
    """
    from flightllm import api
    from flightllm.compiler.nearest import say_what_fits
    from flightllm.compiler.outline import outline_model
    from flightllm.config.board import load_board

    path = api.find_model(model)
    target = load_board(board)
    config = api.board_config(target, arch)
    graph = api.load_shapes(path)
    limit = graph.info.max_context
    if prompts is None and contexts is None:
        prompts, contexts = [min(128, limit)], sorted({min(c, limit - 1) for c in (128, 512)})
    prompts, contexts = _lengths(prompts, 1, limit, "prompts"), _lengths(contexts, 0, limit - 1, "contexts")
    longest = max([*prompts, *(c + 1 for c in contexts)], default=1)
    rules = api.make_recipe(recipe, weights=str(weights), group=group, sparsity=sparsity, kv=kv)
    with say_what_fits(graph, target, config, rules, longest):
        outline = outline_model(graph, board=target, arch=config, recipe=rules, max_context=longest)
    m = outline.manifest
    counter = CycleModel(m, outline.program, outline.memory)
    phases = []
    for length in prompts:
        parts = [_run(counter, run.count, run.pos, run.last, True) for run in chunks(m.limits, length, 0)]
        phases.append(_phase("prompt", m, target, length, 0, parts))
    for length in contexts:
        phases.append(_phase("token", m, target, 1, length, [_run(counter, 1, length, True, False)]))
    return Speed(m, target, outline.weights, phases, _notes(m, target))


def _notes(m: Manifest, board: Board) -> list[str]:
    """What the cycle model does not know: whether the config can be built."""
    notes = [
        f"{row.resource}: {row.need:,.0f} of {row.have:,.0f} that {board.name} has: this config cannot be built as it is"
        for row in fit_rows(board, m.arch)
        if not row.fits
    ]
    if m.arch.clock_mhz > CLOCK_MHZ:
        notes.append(
            f"{m.arch.clock_mhz:g} MHz: the RTL's paths were looked at for {CLOCK_MHZ:g} MHz (docs/resources.md)"
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


def _run(counter: CycleModel, count: int, pos: int, last: bool, prompt: bool) -> tuple[int, int, float]:
    """(cycles, bytes, beats of the array of all cores) of a run."""
    found = counter.run([TOKEN] * count, pos, int(last), prompt)
    assert counter.machine is not None
    moved = sum(n for name, n in found.items() if name.endswith("_bytes"))
    return found["cycles"], moved, sum(core.matrix.beats for core in counter.machine.cores)


def _phase(
    kind: str, m: Manifest, board: Board, tokens: int, context: int, runs: list[tuple[int, int, float]]
) -> Phase:
    arch = m.arch
    cycles, moved, beats = (sum(column) for column in zip(*runs, strict=True))
    seconds = cycles / (arch.clock_mhz * 1e6)
    rate = moved / seconds / 1e9
    there = board.memory.measured_gbps * arch.cores * arch.channels
    return Phase(
        kind, tokens, context, int(cycles), seconds, tokens / seconds, rate, rate / there, beats / cycles / arch.cores
    )
