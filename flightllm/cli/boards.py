"""flightllm boards: the boards that packages can be compiled for."""

from __future__ import annotations

import click

from flightllm.cli.common import common, print_json, size, table


@click.command("boards", short_help="List the boards.")
@common
def command(as_json: bool) -> None:
    """List the boards with their memory and default architecture config."""
    from flightllm.config.board import boards

    known = boards()
    if as_json:
        print_json([board.to_dict() for board in known])
        return
    rows = []
    for b in known:
        a = b.arch
        rows.append([b.name, a.cores, a.channels, a.vpus, a.chains, a.clock_mhz, size(a.channel_bytes)])
    heads = ["board", "cores", "channels/core", "VPUs/channel", "chains/channel", "MHz", "memory/channel"]
    click.echo(table(rows, heads))
