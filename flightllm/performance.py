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
from flightllm.runtime.chunks import chunks

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
    """What `speed` found. bits: of a weight, scales and tables included, on average."""

    manifest: Manifest
    board: Board
    bits: float
    phases: list[Phase]

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
    prompts: Sequence[int] = (128,),
    contexts: Sequence[int] = (128, 512),
) -> Speed:
    """How fast a model would run on a board. Its weights are not read: a folder with a config.json is enough.

    Args:
        model, board, arch, weights, group, sparsity, kv, recipe: as of `flightllm.compile`. A budget (3.5) is met by two widths, spread evenly.
        prompts: lengths of prompts, each fed into an empty cache. contexts: lengths of the cache before a generated token.

    Raises:
        FlightError: of the kind that fits, as of `flightllm.compile`.
    """
    from flightllm import api
    from flightllm.compiler.outline import outline_model
    from flightllm.config.arch import ArchConfig
    from flightllm.config.board import load_board

    path = api.find_model(model)
    target = load_board(board)
    overrides = api.arch_overrides(settings=arch) if isinstance(arch, Mapping) else api.arch_overrides(arch)
    config = ArchConfig.from_dict(
        target.arch.to_dict() | overrides, f"config of board {target.name} with the changes given"
    )
    graph = api.load_shapes(path)
    longest = max([*prompts, *(c + 1 for c in contexts)], default=1)
    if longest > graph.info.max_context:
        raise FlightError(
            f"{longest} tokens are too many",
            where=graph.info.source,
            why=f"the model was made for up to {graph.info.max_context}",
            do="ask for shorter prompts and contexts",
        )
    outline = outline_model(
        graph,
        board=target,
        arch=config,
        recipe=api.make_recipe(recipe, weights=str(weights), group=group, sparsity=sparsity, kv=kv),
        max_context=longest,
    )
    m = outline.manifest
    counter = CycleModel(m, outline.program, outline.memory)
    phases = []
    for length in prompts:
        parts = [_run(counter, run.count, run.pos, run.last, True) for run in chunks(m.limits, length, 0)]
        phases.append(_phase("prompt", m, target, length, 0, parts))
    for length in contexts:
        phases.append(_phase("token", m, target, 1, length, [_run(counter, 1, length, True, False)]))
    return Speed(m, target, outline.weights, phases)


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
