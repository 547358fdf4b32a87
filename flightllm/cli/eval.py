"""flightllm eval: perplexity of a text file."""

from __future__ import annotations

from pathlib import Path

import click

from flightllm.cli.common import card, card_options, common, print_json, progress_line, table


@click.command("eval", short_help="Perplexity of a text file.")
@click.argument("package", type=click.Path())
@click.argument("text", type=click.Path())
@click.option("--windows", default=8, show_default=True, help="Windows to evaluate.")
@click.option("--tokens", default=512, show_default=True, help="Tokens of a window.")
@click.option("--reference", metavar="MODEL", help="Evaluate the uncompressed model too, and give the ratio.")
@click.option(
    "--on", "executor", default="functional", show_default=True, help="Executor: functional, hls, rtl, board."
)
@card_options
@click.option("--chunk", type=int, help="Tokens per run of the program. Does not change results.")
@click.option(
    "--verify/--no-verify", default=True, help="Compare the checksums of the memory images first. [default: verify]"
)
@common
def command(
    package: str,
    text: str,
    windows: int,
    tokens: int,
    reference: str | None,
    executor: str,
    xclbin: str | None,
    device: int | None,
    timeout: float | None,
    chunk: int | None,
    verify: bool,
    as_json: bool,
) -> None:
    """Perplexity of PACKAGE on the file TEXT (UTF-8).

    TEXT is tokenised whole and cut into consecutive windows; each is a conversation of its own, its first token is context only.
    """
    from flightllm.runtime.model import Model

    opts = card(executor, xclbin, device, timeout)
    model = Model.open(package, on=executor, chunk=chunk, verify=verify, **opts)
    with progress_line() as show:
        result = model.eval(Path(text), windows, tokens, reference=reference, progress=show)
    if as_json:
        print_json({"text": text} | result.to_json())
        return
    click.echo(f"{text}: {windows} windows x {tokens} tokens, {windows * (tokens - 1)} predictions")
    both = [("package", result.package), ("reference", result.reference)]
    rows = [[name, p.value, float(p.nll.mean())] for name, p in both if p is not None]
    click.echo(table(rows, ["model", "perplexity", "nats/token"]))
    if result.ratio is not None:
        click.echo(f"ratio {result.ratio:.4f}")
