"""flightllm explore: the configs of a board that no other one beats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flightllm.cli.common import common, number_list, print_json, progress_line, settings_option

if TYPE_CHECKING:
    from flightllm.search.explore import Exploration


def _vary(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, list[Any]]:
    return dict(map(number_list, values))


def _limit(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    out = {}
    for name, numbers in map(number_list, values):
        if len(numbers) != 1:
            raise click.BadParameter(f"{name}: one number, please")
        out[name] = numbers[0]
    return out


@click.command("explore", short_help="Search the configs of a board for the fastest that fit.")
@click.argument("model", type=click.Path())
@click.option("--board", required=True, help="Name of a board (see `flightllm boards`) or its file.")
@click.option("--arch", type=click.Path(), help="TOML file: parameters that differ from the board's config.")
@settings_option
@click.option("--weights", default="4", show_default=True, help="Bits per weight (4), or a budget with a point (3.5).")
@click.option("--group", type=int, help="Columns per scale: 32, 64 or 128.")
@click.option("--sparsity", type=int, help="N of N:16 sparsity: 2, 4, 8, or 16 for dense.")
@click.option("--kv", type=int, help="Bits of the KV cache: 8 or 4.")
@click.option("--recipe", type=click.Path(), help="TOML or JSON file that says more.")
@click.option("--prompt", type=click.IntRange(min=1), metavar="TOKENS", help="Length of the prompt. [default: 128]")
@click.option(
    "--context",
    type=click.IntRange(min=0),
    metavar="TOKENS",
    help="Tokens in the cache before the generated one. [default: 512]",
)
@click.option("--vary", multiple=True, callback=_vary, metavar="NAME=V,V,..", help="Values of a parameter to try.")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    callback=_limit,
    metavar="RESOURCE=SHARE",
    help="Share of the board's dsp, lut, ff, bram36 or uram that may be used.",
)
@click.option(
    "--objective", "objectives", multiple=True, help="What to compare by: token, prompt, lut, dsp, ff, bram36, uram."
)
@click.option("--most", type=click.IntRange(min=1), default=200, show_default=True, help="Configs timed at most.")
@click.option(
    "--confirm/--no-confirm", default=True, show_default=True, help="Run the whole model for the front at the end."
)
@click.option("--scheduler", default="local", show_default=True, help="Address of a Dask scheduler, or local.")
@click.option("--workers", type=int, help="Processes on this machine. [default: its cores]")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for a plot and the configs found.")
@common
def command(
    model: str,
    settings: dict[str, Any],
    arch: str | None,
    objectives: tuple[str, ...],
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Search the architecture configs of a board for those that no other one beats in speed and size. Of MODEL only the shapes are read."""
    from flightllm import api
    from flightllm.search.explore import explore
    from flightllm.search.files import check_folder, write_files

    check_folder(output)
    with progress_line() as progress:
        found = explore(
            model,
            arch=api.arch_overrides(arch, settings),
            objectives=objectives or None,
            progress=progress,
            **options,
        )
    if output is not None:
        write_files(found, output)
    if as_json:
        print_json(found.to_json())
    else:
        click.echo(_text(found, output))


def _text(found: Exploration, output: Path | None) -> str:
    from flightllm.search.table import front_table, refused_table

    names = ", ".join(f"{o.head} ({'more' if o.more else 'less'})" for o in found.objectives)
    limits = ", ".join(f"{name} {100 * share:.0f} %" for name, share in found.limits.items())
    how = "all" if found.complete else "the shapes, then neighbours of the front"
    lines = [
        f"{found.model} on {found.board.name}, modelled: a token at {found.context}, a prompt of {found.prompt}; by {names}",
        f"may take of the board: {limits}",
        f"{len(found.points)} configs timed of {found.space.size():,} combinations ({how}); {len(found.front)} that no other one beats:",
        "",
        front_table(found),
        "",
        refused_table(found),
        "",
    ]
    if found.layers is not None:
        lines.append(
            f"Cycles of {found.layers[0]} and {found.layers[1]} layers, extended to all of the model's"
            + ("" if found.error is None else f"; the front by the whole model, from which these were off by up to {100 * found.error:.2f} %")
            + "."
        )  # fmt: skip
    lines += [f"note: {note}" for note in found.notes]
    if output is not None:
        lines.append(f"{output}: front.svg, exploration.json, and a file for --arch of each config by its number")
    return "\n".join([*lines, "Modelled and estimated, not measured: docs/explore.md"])
