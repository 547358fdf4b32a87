"""flightllm check: which operators of a model are supported."""

from __future__ import annotations

import click

from flightllm.cli.common import common, print_json


@click.command("check", short_help="Say which operators of a model are supported.")
@click.argument("model", type=click.Path())
@common
@click.pass_context
def command(ctx: click.Context, model: str, as_json: bool) -> None:
    """List every operator of MODEL: supported or not, where it is, why not, what to do. Exit code 1 if one is not."""
    from flightllm import api

    report = api.check(model)
    if as_json:
        print_json(report.to_json())
    else:
        click.echo(report.render().rstrip("\n"))
    ctx.exit(0 if report.supported else 1)
