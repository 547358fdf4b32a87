"""flightllm trace: a Perfetto trace of what every unit did when."""

from __future__ import annotations

from pathlib import Path

import click

from flightllm.cli.common import common, print_json, token_options


@click.command("trace", short_help="Write a Perfetto trace of a package's runs.")
@click.argument("package", type=click.Path())
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="File, for ui.perfetto.dev.")
@click.option(
    "--on",
    "executor",
    type=click.Choice(("model", "rtl")),
    default="model",
    show_default=True,
    help="model: the cycle model. rtl: the hardware itself, simulated.",
)
@token_options
@click.option("--seed", type=int, default=1, show_default=True, help="Of the tokens.")
@click.option("--skip-prompt", is_flag=True, help="With --on model: only the runs after the prompt.")
@common
def command(
    package: str,
    output: Path,
    executor: str,
    prompt_tokens: int,
    new_tokens: int,
    chunk: int | None,
    seed: int,
    skip_prompt: bool,
    as_json: bool,
) -> None:
    """Feed random tokens to PACKAGE and write what every unit did when, instruction by instruction."""
    from flightllm.timeline.trace import write_trace

    found = write_trace(
        package,
        output,
        on=executor,
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        chunk=chunk,
        seed=seed,
        skip_prompt=skip_prompt,
    )
    runs = [{"cycles": t.cycles, "instructions": len(t.spans)} for t in found]
    if as_json:
        print_json({"trace": str(output), "executor": executor, "runs": runs})
        return
    click.echo(
        f"{output}: {len(runs)} run{'s' if len(runs) != 1 else ''}, {sum(r['cycles'] for r in runs):,} cycles; open it at https://ui.perfetto.dev"
    )
