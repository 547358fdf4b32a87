"""flightllm doctor: what is installed, what a missing tool costs."""

from __future__ import annotations

import click

from flightllm.cli.common import common, print_json


@click.command("doctor", short_help="Say what is installed and what a missing tool costs.")
@common
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Say what is installed, and what does not work without what is missing.

    Exit code 1 if something is missing that compiling and running need.
    """
    from flightllm.installed import doctor

    result = doctor()
    if as_json:
        print_json(result.to_json())
    else:
        click.echo(result.render().rstrip("\n"))
    ctx.exit(0 if result.ok else 1)
