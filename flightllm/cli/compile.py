"""flightllm compile: a model becomes a package."""

from __future__ import annotations

from typing import Any

import click

from flightllm.cli.common import common, print_json, progress_line, settings_option, table


@click.command("compile", short_help="Compile a model into a package.")
@click.argument("model", type=click.Path())
@click.option("--board", required=True, help="Name of a board (see `flightllm boards`) or its file.")
@click.option("-o", "--output", type=click.Path(), help="Package folder. [default: NAME.flpkg here]")
@click.option("--arch", type=click.Path(), help="TOML file: parameters that differ from the board's config.")
@settings_option
@click.option("--weights", help="Bits per weight (4), a budget with a point (3.5), or as-stored.  [default: as-stored]")
@click.option("--group", type=int, help="Columns per scale: 32, 64 or 128.")
@click.option("--sparsity", type=int, help="N of N:16 sparsity: 2, 4, 8, or 16 for dense.")
@click.option("--kv", type=int, help="Bits of the KV cache: 8 or 4.")
@click.option(
    "--recipe",
    type=click.Path(),
    help="TOML or JSON file that says more. Options above take the place of its defaults.",
)
@click.option(
    "--calibrate",
    type=click.Path(),
    metavar="TEXT",
    help="Text file (UTF-8) to measure the inputs of every matrix on: better budgets and narrow weights.",
)
@click.option(
    "--calibrate-tokens", type=click.IntRange(min=1), metavar="N", help="Its first tokens to read. [default: 1024]"
)
@click.option("--max-context", type=click.IntRange(min=1), help="Positions of the KV cache. [default: the model's]")
@click.option(
    "--synthetic", type=click.IntRange(min=0), metavar="SEED", help="Random weights; MODEL needs its config only."
)
@click.option("--force", is_flag=True, help="Replace an existing package.")
@common
def command(model: str, settings: dict[str, Any], arch: str | None, as_json: bool, **options: Any) -> None:
    """Compile MODEL into a package.

    MODEL is an ONNX file, a Hugging Face folder, a GGUF file, or the name of an embedded model (tiny-austen).
    """
    from flightllm import api

    with progress_line() as show:
        report = api.compile(model, arch=api.arch_overrides(arch, settings), progress=show, **options)
    if as_json:
        print_json(report.to_json())
        return
    click.echo(render_tables(report.tables()))


def render_tables(tables: Any) -> str:
    """Text as it is, or (title, head, rows) triples as tables."""
    if isinstance(tables, str):
        return tables.rstrip("\n")
    parts = []
    for title, head, rows in tables:
        body = table(rows, head)
        parts.append(f"{title}\n{body}" if title else body)
    return "\n\n".join(parts)
