"""One config of a search: whether the model fits it, and how fast it would run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from flightllm.compiler.layers import Cut, first_layers, shapes_only
from flightllm.compiler.outline import Outline, outline_model
from flightllm.compress.recipe import Recipe
from flightllm.config.arch import ArchConfig
from flightllm.config.board import Board
from flightllm.cycles.device import CycleModel
from flightllm.errors import FlightError
from flightllm.ir.graph import Graph
from flightllm.performance import TOKEN
from flightllm.resources import estimate
from flightllm.resources.estimate import LIMITED
from flightllm.runtime.chunks import chunks


@dataclass(frozen=True)
class Work:
    """What every config is asked for; it is sent to wherever that happens.

    Attributes:
        graphs: the whole model, or the two short ones of `cut`; without weights.
        prompt: tokens of the prompt. context: tokens in the cache before the token that is timed.
    """

    graphs: tuple[Graph, ...]
    cut: Cut | None
    board: Board
    recipe: Recipe
    prompt: int
    context: int


@dataclass(frozen=True)
class Point:
    """What was found of a config.

    Attributes:
        needs: of the board, by resource (LIMITED).
        refused: what it does not fit, "" if it does. why: the figures. failed: that is a mistake of flightllm, or a worker's end.
        token_cycles, prompt_cycles: of the token and the prompt. chunk: tokens of a run. memory_bytes: per channel.
        whole: cycles of the whole model, not from two short ones.
    """

    arch: ArchConfig
    needs: dict[str, float] = field(default_factory=dict)
    refused: str = ""
    why: str = ""
    failed: bool = False
    token_cycles: float = 0.0
    prompt_cycles: float = 0.0
    prompt: int = 0
    chunk: int = 0
    memory_bytes: int = 0
    whole: bool = False

    @property
    def token_rate(self) -> float:
        """Generated tokens per second."""
        return self.arch.clock_mhz * 1e6 / self.token_cycles

    @property
    def prompt_rate(self) -> float:
        """Tokens of the prompt per second."""
        return self.prompt * self.arch.clock_mhz * 1e6 / self.prompt_cycles

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        out: dict[str, Any] = {"config": self.arch.to_dict(), "needs": self.needs}
        if self.refused:
            return out | {"refused": self.refused, "why": self.why, "failed": self.failed}
        return out | {
            "tokens_per_second": self.token_rate,
            "prompt_tokens_per_second": self.prompt_rate,
            "token_cycles": round(self.token_cycles),
            "prompt_cycles": round(self.prompt_cycles),
            "chunk": self.chunk,
            "memory_bytes_per_channel": self.memory_bytes,
            "whole_model": self.whole,
        }


def make_work(graph: Graph, board: Board, recipe: Recipe, prompt: int, context: int, cut: Cut | None = None) -> Work:
    """What configs are asked for. cut: short models to take in the place of the whole one (`plan_cut`)."""
    graph = shapes_only(graph)
    graphs = (graph,) if cut is None else (first_layers(graph, cut.few), first_layers(graph, cut.more))
    return Work(graphs, cut, board, recipe, prompt, context)


def needs_of(arch: ArchConfig) -> dict[str, float]:
    """What a config takes of a board, by resource."""
    found = estimate(arch)
    return {name: found.total(name) for name in LIMITED}


def evaluate(work: Work, arch: ArchConfig) -> Point:
    """Compile the model for a config without its weights, and time it. Raises nothing: what does not fit is in the result."""
    point = Point(arch, needs_of(arch))
    try:
        found = [_measure(work, graph, arch) for graph in work.graphs]
    except FlightError as error:
        return replace(point, refused=error.what, why=_figures(error))
    except Exception as error:  # one config's mistake must not cost the others
        text = f"{type(error).__name__}: {error}"
        return replace(point, refused="flightllm made a mistake", why=text[:300], failed=True)
    if work.cut is None:
        memory, token, prompt, chunk = found[0]
    else:
        few, more = found
        memory, token, prompt = (work.cut.whole(a, b) for a, b in zip(few[:3], more[:3], strict=True))
        chunk = more[3]
    if memory > arch.channel_bytes:
        figures = f"{memory:,.0f} bytes per channel are needed, {arch.channel_bytes:,} are there"
        return replace(point, refused="the model does not fit the memory", why=figures)
    return replace(
        point,
        token_cycles=token,
        prompt_cycles=prompt,
        prompt=work.prompt,
        chunk=int(chunk),
        memory_bytes=round(memory),
        whole=work.cut is None,
    )


def _figures(error: FlightError) -> str:
    return "; ".join(part.replace("\n", " ") for part in (error.where, error.why) if part)


def _measure(work: Work, graph: Graph, arch: ArchConfig) -> tuple[float, float, float, float]:
    """(bytes per channel, cycles of the token, cycles of the prompt, tokens of a run)."""
    longest = max(work.prompt, work.context + 1)
    outline = outline_model(
        graph, board=work.board, arch=arch, recipe=work.recipe, max_context=longest, check=work.cut is None
    )
    m = outline.manifest
    counter = CycleModel(m, outline.program, outline.memory)
    token = _cycles(counter, 1, work.context, False)
    prompt = sum(_cycles(counter, run.count, run.pos, True, run.last) for run in chunks(m.limits, work.prompt, 0))
    return _top(outline), token, prompt, m.limits.max_chunk


def _cycles(counter: CycleModel, count: int, pos: int, prompt: bool, last: bool = True) -> int:
    return counter.run([TOKEN] * count, pos, int(last), prompt)["cycles"]


def _top(outline: Outline) -> int:
    """Bytes of a channel in use."""
    return max(region.end for region in outline.manifest.memory)
