"""An executor against the functional one: what `flightllm verify` does. RTL in lock step, HLS run by run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flightllm.errors import FlightError, ToolError
from flightllm.package import Package
from flightllm.runtime.chunks import Chunk, chunks, random_ids
from flightllm.runtime.tokenizer import Tokenizer

if TYPE_CHECKING:
    from flightllm.executors.lockstep import Divergence, LockStep, RunByRun


@dataclass
class Verification:
    """What was compared. runs: those that agree. counts: how much was compared. divergence: what ended it, or None."""

    package: str
    against: str
    seed: int
    prompt_tokens: int
    runs: list[Chunk] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    divergence: Divergence | None = None

    @property
    def agree(self) -> bool:
        """Every write of every instruction was the same."""
        return self.divergence is None

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        document: dict[str, Any] = {"package": self.package, "against": self.against, "seed": self.seed}
        document |= {"prompt_tokens": self.prompt_tokens}
        document |= {"runs_that_agree": [{"pos": run.pos, "tokens": run.count} for run in self.runs]}
        document |= self.counts | {"agree": self.agree}
        return document | ({} if self.divergence is None else {"divergence": self.divergence.data})


#: called after each run with it and the counts so far
Observer = Callable[[Chunk, dict[str, int]], None]


def verify(
    package: str | os.PathLike[str] | Package,
    *,
    against: str = "rtl",
    prompt: str | None = None,
    prompt_tokens: int = 16,
    new_tokens: int = 2,
    chunk: int | None = None,
    seed: int = 1,
    jitter_ns: float = 0.0,
    stall: float = 0.0,
    observer: Observer | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Verification:
    """Run a package on the functional executor and on another one in lock step, up to the first difference.

    Args:
        package: folder, or an open `Package`.
        against: "rtl" (instruction by instruction) or "hls" (logits and all memory after every run).
        prompt: text to feed; what follows it is greedy. None: `prompt_tokens` random tokens.
        new_tokens: tokens fed one by one after it. chunk: prompt tokens per run.
        seed: of the tokens, and of all that is random in the simulation.
        jitter_ns: extra latency of memory at most. stall: share of cycles in which a channel pauses.
        observer: called after every run. progress: called during a run with (stage, instructions done, instructions in all).

    Returns:
        the verification; a difference is in its `divergence`, not raised.

    Raises:
        ToolError: no such executor, or Verilator fails. PackageError: damaged package. FlightError: no tokens, or too many.
        ProgramError: the hardware reports an error.
    """
    if against not in ("rtl", "hls"):
        raise ToolError(f"executor {against!r} cannot be compared", do="use --against rtl or --against hls")
    from flightllm.executors.lockstep import Divergence

    opened = package if isinstance(package, Package) else Package.open(package, verify=True)
    m = opened.manifest
    if prompt is not None:
        ids = Tokenizer.of(opened).encode(prompt)
        if not ids:
            raise FlightError("the prompt has no tokens", do="give a prompt of at least one token")
        prompt_tokens = len(ids)
    else:
        ids = random_ids(m.model.vocab, prompt_tokens + new_tokens, seed)
    plan = chunks(m.limits, prompt_tokens, new_tokens, chunk)
    device = _both(against, jitter_ns, stall, seed, progress)
    device.load(opened)
    result = Verification(m.name, against, seed, prompt_tokens)
    try:
        for run in plan:
            logits = device.run_chunk(ids[run.pos : run.pos + run.count], run.pos, int(run.last), run.prompt)
            result.runs.append(run)
            if len(ids) == run.pos + run.count:
                ids.append(int(logits[-1].argmax()))
            if observer is not None:
                observer(run, _counts(device))
    except Divergence as error:
        result.divergence = error
    result.counts = _counts(device)
    return result


def _both(
    against: str, jitter_ns: float, stall: float, seed: int, progress: Callable[[str, int, int], None] | None
) -> LockStep | RunByRun:
    """The functional executor and the other one as one device."""
    from flightllm.executors.lockstep import LockStep, RunByRun

    if against == "hls":
        from flightllm.executors.hls import HlsDevice

        return RunByRun(HlsDevice(), against)
    from flightllm.executors.rtl import RtlDevice
    from flightllm.sim.simulator import SimOptions

    return LockStep(RtlDevice(SimOptions(jitter_ns=jitter_ns, stall=stall, seed=seed)), progress=progress)


#: what counts as compared, by executor
_COUNTED = {
    "rtl": ("compared_instructions", "compared_writes", "cycles"),
    "hls": ("compared_runs", "compared_logits", "compared_bytes"),
}


def _counts(device: LockStep | RunByRun) -> dict[str, int]:
    counters = device.counters()
    return {name: counters.get(name, 0) for name in _COUNTED[device.name]}
