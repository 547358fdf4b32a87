"""flightllm verify: an executor against the functional one, in lock step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from flightllm.cli.common import common, print_json, progress_line
from flightllm.errors import FlightError, ToolError

if TYPE_CHECKING:
    from flightllm.executors.lockstep import LockStep


@click.command("verify", short_help="Compare executors instruction by instruction.")
@click.argument("package", type=click.Path())
@click.option("--against", "executor", default="rtl", show_default=True, help="Executor to compare: rtl.")
@click.option("-p", "--prompt", help="Feed this text; what is generated after it is greedy. [default: random tokens]")
@click.option(
    "--prompt-tokens", type=click.IntRange(min=1), default=16, show_default=True, help="Random tokens of the prompt."
)
@click.option(
    "--new-tokens", type=click.IntRange(min=0), default=2, show_default=True, help="Tokens fed one by one after it."
)
@click.option("--chunk", type=click.IntRange(min=1), help="Prompt tokens per run. [default: what the program takes]")
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Of the tokens, and of all that is random in the simulation."
)
@click.option(
    "--jitter", type=click.FloatRange(min=0), default=0.0, help="Extra latency of memory, up to so many ns, at random."
)
@click.option(
    "--stall",
    type=click.FloatRange(0, 0.95),
    default=0.0,
    help="Share of cycles in which a memory channel pauses, at random.",
)
@common
def command(
    package: str,
    executor: str,
    prompt: str | None,
    prompt_tokens: int,
    new_tokens: int,
    chunk: int | None,
    seed: int,
    jitter: float,
    stall: float,
    as_json: bool,
) -> None:
    """Run PACKAGE on the functional executor and on another one in lock step; stop at the first difference.

    Every write of every instruction is compared. The report names core, instruction, tensor and index. Exit code 1 if there is a
    difference.
    """
    import numpy as np

    from flightllm.executors.lockstep import Divergence, LockStep
    from flightllm.executors.rtl import RtlDevice
    from flightllm.package import Package
    from flightllm.runtime.chunks import Chunk, chunks
    from flightllm.runtime.tokenizer import Tokenizer
    from flightllm.sim.simulator import SimOptions

    if executor != "rtl":
        raise ToolError(f"executor {executor!r} cannot be compared in lock step", do="use --against rtl")
    opened = Package.open(package)
    m = opened.manifest
    if prompt is not None:
        ids = Tokenizer.of(opened).encode(prompt)
        if not ids:
            raise FlightError("the prompt has no tokens", do="give a prompt of at least one token")
    else:
        ids = np.random.default_rng(seed).integers(0, m.model.vocab, prompt_tokens + new_tokens).tolist()
    prompt_tokens = len(ids) if prompt is not None else prompt_tokens
    plan = chunks(m.limits, prompt_tokens, new_tokens, chunk)
    device = LockStep(RtlDevice(SimOptions(jitter_ns=jitter, stall=stall, seed=seed)))
    device.load(opened)
    done: list[Chunk] = []
    report = {"package": m.name, "against": executor, "seed": seed, "prompt_tokens": prompt_tokens}
    try:
        for part in plan:
            with progress_line(not as_json) as device.progress:
                logits = device.run_chunk(ids[part.pos : part.pos + part.count], part.pos, int(part.last), part.prompt)
            done.append(part)
            if len(ids) == part.pos + part.count:
                ids.append(int(logits[-1].argmax()))
            if not as_json:
                click.echo(f"  positions {part.pos} to {part.pos + part.count - 1}: {_counts(device)}")
    except Divergence as error:
        if not as_json:
            raise
        print_json(report | _totals(device, done) | {"agree": False, "divergence": error.data})
        click.get_current_context().exit(1)
    if as_json:
        print_json(report | _totals(device, done) | {"agree": True})
        return
    click.echo(f"{m.name}: {executor} does what the functional executor does, bit for bit")


def _totals(device: LockStep, done: list[Any]) -> dict[str, Any]:
    c = device.counters()
    runs = [{"pos": part.pos, "tokens": part.count} for part in done]
    names = ("compared_instructions", "compared_writes", "cycles")
    return {"runs_that_agree": runs} | {name: c.get(name, 0) for name in names}


def _counts(device: LockStep) -> str:
    c = device.counters()
    return (
        f"{c['cycles']:,} cycles so far, {c['compared_instructions']:,} instructions and "
        f"{c['compared_writes']:,} writes agree"
    )
