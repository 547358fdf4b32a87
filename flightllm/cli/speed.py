"""flightllm speed: how fast a model would run on a board, without its weights."""

from __future__ import annotations

from typing import Any

import click

from flightllm.cli.common import (
    common,
    length_options,
    print_json,
    progress_line,
    settings_option,
    shape_options,
    table,
)


@click.command("speed", short_help="Say how fast a model would run on a board, without its weights.")
@click.argument("model", type=click.Path())
@click.option("--board", required=True, help="Name of a board (see `flightllm boards`) or its file.")
@shape_options
@settings_option
@length_options
@common
def command(
    model: str,
    settings: dict[str, Any],
    arch: str | None,
    prompts: tuple[int, ...],
    contexts: tuple[int, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Count the cycles of MODEL on a board by the cycle model. Of MODEL only the shapes are read: a folder with a config.json will do."""
    from flightllm import api
    from flightllm.performance import phase_title, speed

    some = bool(prompts or contexts)
    with progress_line() as progress:
        found = speed(
            model,
            arch=api.arch_overrides(arch, settings),
            prompts=prompts if some else None,
            contexts=contexts if some else None,
            progress=progress,
            **options,
        )
    if as_json:
        print_json(found.to_json())
        return
    m, a = found.manifest, found.manifest.arch
    click.echo(
        f"{m.name} on {m.board}, modelled: {a.cores} x {a.channels} channels x {a.vpus_text}, {a.clock_mhz:g} MHz, "
        f"{found.bits:.2f} bits a weight, {m.kv_bits}-bit KV cache, chunks of {m.limits.max_chunk}\n"
    )
    rows = [
        [
            phase_title(p.kind, p.tokens, p.context),
            p.cycles,
            f"{1000 * p.seconds:.3f}",
            f"{p.tokens_per_second:,.1f}",
            f"{p.gbps:.1f}",
            f"{100 * p.memory:.1f} %",
            f"{100 * p.array:.1f} %",
        ]
        for p in found.phases
    ]
    head = ["", "cycles", "ms", "tokens/s", "GB/s", "of what memory delivers", "array busy"]
    click.echo(table(rows, head))
    for note in found.notes:
        click.echo(f"note: {note}")
    click.echo("\nModelled, not measured; how far the cycle model is from the RTL: docs/cycle-model.md")
