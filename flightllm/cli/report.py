"""flightllm report: one page of HTML about how a model runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from flightllm.cli.common import common, length_options, print_json, progress_line, settings_option, shape_options


@click.command("report", short_help="Write a page about how a model or a package runs.")
@click.argument("source", type=click.Path(), metavar="MODEL_OR_PACKAGE")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The page (HTML). Needed, unless --json.")
@click.option(
    "--on",
    type=click.Choice(("model", "rtl")),
    default="model",
    show_default=True,
    help="model: the cycle model. rtl: the hardware itself, simulated; packages only.",
)
@click.option("--board", help="Name of a board (see `flightllm boards`) or its file. [of a package: its own]")
@shape_options
@settings_option
@length_options
@common
def command(
    source: str,
    output: Path | None,
    settings: dict[str, Any],
    arch: str | None,
    prompts: tuple[int, ...],
    contexts: tuple[int, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Write one page, which needs no network, about how MODEL_OR_PACKAGE runs: speed, timeline, roofline, memory, resources, comparison.

    Of a model only the shapes are read: a folder with a config.json will do. An existing page is replaced.
    """
    from flightllm import api
    from flightllm.report import write_report

    if output is None and not as_json:
        raise click.UsageError("give -o FILE for the page, --json for its data, or both")
    some = bool(prompts or contexts)
    with progress_line() as progress:
        found = write_report(
            source,
            output,
            arch=api.arch_overrides(arch, settings),
            prompts=prompts if some else None,
            contexts=contexts if some else None,
            command=_command(),
            progress=progress,
            **options,
        )
    if as_json:
        print_json(found.to_json())
        return
    how = "measured in RTL" if options["on"] == "rtl" else "modelled"
    click.echo(f"{output}: {found.title}, {how}; open it in a browser")
    for p in found.phases:
        click.echo(f"  {p.title}: {p.phase.tokens_per_second:,.1f} tokens/s")


def _command() -> str:
    """What was typed."""
    context = click.get_current_context()
    arguments = getattr(context.find_root().command, "arguments", [])
    return shlex.join(["flightllm", *arguments])
