"""flightllm verify: an executor against the functional one, in lock step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flightllm.cli.common import common, print_json, progress_line

if TYPE_CHECKING:
    from flightllm.runtime.chunks import Chunk


@click.command("verify", short_help="Compare executors instruction by instruction.")
@click.argument("package", type=click.Path())
@click.option("--against", "executor", default="rtl", show_default=True, help="Executor to compare: rtl, hls.")
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
    """Run PACKAGE on the functional executor and on another one; stop at the first difference.

    RTL goes in lock step: every write of every instruction is compared, and the report names core, instruction, tensor and index. Of
    HLS the logits and all of memory are compared after every run. Exit code 1 if there is a difference.
    """
    from flightllm.verification import verify

    def show(run: Chunk, counts: dict[str, int]) -> None:
        if not as_json:
            click.echo(f"  positions {run.pos} to {run.pos + run.count - 1}: {_text(counts)}")

    with progress_line(not as_json) as progress:
        result = verify(
            package,
            against=executor,
            prompt=prompt,
            prompt_tokens=prompt_tokens,
            new_tokens=new_tokens,
            chunk=chunk,
            seed=seed,
            jitter_ns=jitter,
            stall=stall,
            observer=show,
            progress=progress,
        )
    if as_json:
        print_json(result.to_json())
        click.get_current_context().exit(0 if result.agree else 1)
    if result.divergence is not None:
        raise result.divergence
    click.echo(f"{result.package}: {executor} does what the functional executor does, bit for bit")


def _text(c: dict[str, int]) -> str:
    if "compared_runs" in c:
        return f"{c['compared_logits']:,} logits and {c['compared_bytes']:,} bytes of memory agree so far"
    return (
        f"{c['cycles']:,} cycles so far, {c['compared_instructions']:,} instructions and "
        f"{c['compared_writes']:,} writes agree"
    )
