"""Cycles of a package, modelled or on the simulated hardware: what `flightllm simulate` does."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flightllm.errors import ProgramError, ToolError
from flightllm.package import Manifest, Package
from flightllm.runtime.chunks import Chunk, chunks, random_ids
from flightllm.runtime.device import Device, open_device

if TYPE_CHECKING:
    from flightllm.executors.rtl.window import WindowDevice


@dataclass
class Simulation:
    """Runs of the program on the cycle model or on the simulated hardware.

    executor: "model" or "rtl". runs: for each run that it simulated pos, tokens, prompt (bool), and every counter (docs/registers.md), `cycles` first.
    compared: every logit was compared with the functional executor's. window: which part was simulated, if not all of it.
    """

    manifest: Manifest
    executor: str
    seed: int
    compared: bool
    runs: list[dict[str, Any]] = field(default_factory=list)
    window: dict[str, Any] | None = None
    window_text: str = ""

    @property
    def cycles(self) -> int:
        """Sum over the simulated runs."""
        return sum(r["cycles"] for r in self.runs)

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        document = {"package": self.manifest.name, "executor": self.executor, "seed": self.seed}
        document |= {"clock_mhz": self.manifest.arch.clock_mhz, "compared": self.compared}
        return document | ({"rtl_window": self.window} if self.window is not None else {}) | {"runs": self.runs}


#: called after each run with it and its counters (None: it was not simulated)
Observer = Callable[[Chunk, dict[str, int] | None], None]


def simulate(
    package: str | os.PathLike[str] | Package,
    *,
    on: str = "model",
    prompt_tokens: int = 16,
    new_tokens: int = 1,
    chunk: int | None = None,
    seed: int = 1,
    skip_prompt: bool = False,
    compare: bool = False,
    jitter_ns: float = 0.0,
    stall: float = 0.0,
    rtl_window: str | None = None,
    trace: Path | None = None,
    trace_from: int = 0,
    trace_cycles: int = 10_000,
    observer: Observer | None = None,
) -> Simulation:
    """Feed random tokens to a package and count cycles.

    Args:
        package: folder, or an open `Package`.
        on: "model" (the cycle model: counts without computing) or "rtl" (the hardware itself, simulated).
        prompt_tokens, new_tokens: tokens of the prompt, and those fed singly after it. chunk: prompt tokens per run.
        seed: of the tokens, and of all that is random in the simulation.
        skip_prompt: only the runs after the prompt (model only: nothing has to be computed before them).
        compare: compare every logit with the functional executor's, bit by bit.
        jitter_ns: extra latency of memory at most. stall: share of cycles in which a channel pauses.
        rtl_window: "FIRST:COUNT", token positions that are simulated; the functional executor runs all others.
        trace: .vcd or .fst file for the signals of cycles trace_from .. trace_from + trace_cycles - 1.
        observer: called after every run.

    Raises:
        ToolError: no such executor, or Verilator fails. PackageError: damaged package. FlightError: the tokens do not fit the
            context. ProgramError: the hardware reports an error, or a logit differs.
    """
    if on not in ("model", "rtl"):
        raise ToolError(f"executor {on!r} counts no cycles", do="use --on model or --on rtl")
    if on == "model":
        given = {
            "--compare": compare,
            "--jitter": jitter_ns,
            "--stall": stall,
            "--rtl-window": rtl_window,
            "--trace": trace,
        }
        for name, value in given.items():
            if value:
                raise ToolError(
                    f"the cycle model has no {name}",
                    why="it counts cycles, without data and without chance",
                    do="add --on rtl",
                )
        return _modelled(package, prompt_tokens, new_tokens, chunk, seed, skip_prompt, observer)
    if skip_prompt:
        raise ToolError("--skip-prompt is for the cycle model", do="use --rtl-window")
    from flightllm.executors.rtl import RtlDevice
    from flightllm.executors.rtl.window import Window, WindowDevice
    from flightllm.sim.simulator import SimOptions

    opened = package if isinstance(package, Package) else Package.open(package, verify=True)
    m = opened.manifest
    plan = chunks(m.limits, prompt_tokens, new_tokens, chunk)
    options = SimOptions(jitter_ns=jitter_ns, stall=stall, seed=seed)
    rtl = RtlDevice(options, trace=trace, window=(trace_from, trace_cycles))
    device: RtlDevice | WindowDevice = rtl if rtl_window is None else WindowDevice(Window.parse(rtl_window), rtl)
    device.load(opened)
    result = Simulation(m, on, seed, compare or rtl_window is not None)
    try:
        beside = open_device("functional", opened) if compare and device is rtl else None  # a window always compares
        ids = random_ids(m.model.vocab, prompt_tokens + new_tokens, seed)
        for run in plan:
            part = ids[run.pos : run.pos + run.count]
            logits = device.run_chunk(part, run.pos, int(run.last), run.prompt)
            if beside is not None:
                _compare(beside, logits, part, run)
            if device.last is not None:
                result.runs.append({"pos": run.pos, "tokens": run.count, "prompt": run.prompt} | device.last)
            if observer is not None:
                observer(run, device.last)
    finally:
        device.close()
    if isinstance(device, WindowDevice):
        result.window, result.window_text = device.to_json(), device.summary()
    return result


def _modelled(
    package: str | os.PathLike[str] | Package,
    prompt_tokens: int,
    new_tokens: int,
    chunk: int | None,
    seed: int,
    skip_prompt: bool,
    observer: Observer | None,
) -> Simulation:
    """The runs on the cycle model. Images are not verified: it reads attention masks and formats only."""
    from flightllm.cycles.device import CycleModel

    opened = package if isinstance(package, Package) else Package.open(package)
    m = opened.manifest
    model = CycleModel.of_package(opened)
    if skip_prompt and not new_tokens:
        raise ToolError(
            "nothing is left to run", why="--skip-prompt without new tokens", do="give --new-tokens 1 or more"
        )
    result = Simulation(m, "model", seed, False)
    ids = random_ids(m.model.vocab, prompt_tokens + new_tokens, seed)
    for run in chunks(m.limits, prompt_tokens, new_tokens, chunk):
        if skip_prompt and run.prompt:
            continue
        counters = model.run(ids[run.pos : run.pos + run.count], run.pos, int(run.last), run.prompt)
        result.runs.append({"pos": run.pos, "tokens": run.count, "prompt": run.prompt} | counters)
        if observer is not None:
            observer(run, counters)
    return result


def _compare(beside: Device, logits: np.ndarray, ids: list[int], run: Chunk) -> None:
    """ProgramError at the first logit whose bits differ."""
    right = beside.run_chunk(ids, run.pos, int(run.last), run.prompt)
    wrong = np.argwhere(right.view(np.uint32) != logits.view(np.uint32))
    if wrong.size:
        row, e = (int(i) for i in wrong[0])
        raise ProgramError(
            "the simulated hardware and the functional executor disagree",
            where=f"run from position {run.pos}, {len(ids)} tokens: logit {e} of row {row}, the first of {len(wrong)} of {right.size}",
            why=f"{logits[row, e]!r} instead of {right[row, e]!r}",
            do="report this with the package; --trace writes the signals",
        )
