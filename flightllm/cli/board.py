"""flightllm board: cards of this machine, what is in an xclbin, what a card answers."""

from __future__ import annotations

from pathlib import Path

import click

from flightllm.cli.common import common, print_json, table


@click.command("board", short_help="List the cards of this machine, look into an xclbin, probe a card.")
@click.argument("package", type=click.Path(), required=False)
@click.option(
    "--xclbin", type=click.Path(path_type=Path), help="Show what is in this file; PACKAGE: whether it runs on it."
)
@click.option("--probe", is_flag=True, help="With --xclbin: program a card with it and ask its kernel.")
@click.option(
    "--device", type=click.IntRange(min=0), default=0, show_default=True, help="With --probe: number of the card."
)
@common
@click.pass_context
def command(
    ctx: click.Context, package: str | None, xclbin: Path | None, probe: bool, device: int, as_json: bool
) -> None:
    """List the cards that can be programmed from here; with --xclbin, show which memory the ports of its kernel reach.

    No card is touched without --probe. Exit code 1 if PACKAGE does not run on the xclbin.
    """
    if xclbin is None:
        if probe or package is not None:
            raise click.UsageError(f"{'--probe' if probe else 'PACKAGE'} needs --xclbin")
        from flightllm.runtime.card import find_cards

        cards = find_cards()
        if as_json:
            print_json([card.to_json() for card in cards])
        elif cards:
            click.echo(table([[c.index, c.platform, c.driver] for c in cards], ["card", "platform", "through"]))
        else:
            click.echo(
                "no card was found: is XRT's setup.sh sourced, and does `xrt-smi examine` (`xbutil examine`) list one?"
            )
        return
    from flightllm.runtime.probe import probe as look

    result = look(xclbin, package, device if probe else None)
    if as_json:
        print_json(result.to_json())
    else:
        click.echo(result.render())
    ctx.exit(1 if result.matches is False else 0)
