"""flightllm eval: perplexity of a text file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from flightllm.cli.common import common, print_json, progress_line, table
from flightllm.errors import FlightError


@click.command("eval", short_help="Perplexity of a text file.")
@click.argument("package", type=click.Path())
@click.argument("text", type=click.Path())
@click.option("--windows", default=8, show_default=True, help="Windows to evaluate.")
@click.option("--tokens", default=512, show_default=True, help="Tokens of a window.")
@click.option("--reference", metavar="MODEL", help="Evaluate the uncompressed model too, and give the ratio.")
@click.option("--on", "executor", default="functional", show_default=True, help="Executor: functional, rtl.")
@click.option("--chunk", type=int, help="Tokens per run of the program. Does not change results.")
@common
def command(
    package: str,
    text: str,
    windows: int,
    tokens: int,
    reference: str | None,
    executor: str,
    chunk: int | None,
    as_json: bool,
) -> None:
    """Perplexity of PACKAGE on the file TEXT (UTF-8).

    TEXT is tokenised whole and cut into consecutive windows; each is a conversation of its own, its first token is context only.
    """
    from flightllm.api import load_graph
    from flightllm.runtime.evaluate import perplexity, reference_logits, session_logits
    from flightllm.runtime.model import Model

    graph = load_graph(reference) if reference else None
    model = Model.open(package, on=executor, chunk=chunk)
    vocab = model.manifest.model.vocab
    if graph is not None and graph.info.vocab != vocab:
        raise FlightError(
            "the reference is another model",
            where=f"--reference {reference}",
            why=f"it has a vocabulary of {graph.info.vocab:,}, the package one of {vocab:,}",
            do="give the model that the package was compiled from",
        )
    cut = model.windows(Path(text), windows, tokens)
    report: dict[str, Any] = {"name": model.manifest.name, "text": text, "windows": windows, "tokens": tokens}
    runs = [("package", session_logits(model.session))]
    if graph is not None:
        runs.append(("reference", reference_logits(graph)))
    for name, logits_of in runs:
        start = perf_counter()
        with progress_line() as show:
            result = perplexity(logits_of, cut, partial(show, name))
        report[name] = result.to_json() | {"seconds": perf_counter() - start}
    if graph is not None:
        report["ratio"] = report["package"]["perplexity"] / report["reference"]["perplexity"]
    if as_json:
        print_json(report)
        return
    click.echo(f"{text}: {windows} windows x {tokens} tokens, {windows * (tokens - 1)} predictions")
    rows = [[name, report[name]["perplexity"], report[name]["nll"]] for name, _ in runs]
    click.echo(table(rows, ["model", "perplexity", "nats/token"]))
    if graph is not None:
        click.echo(f"ratio {report['ratio']:.4f}")
