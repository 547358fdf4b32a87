"""flightllm simulate: cycles of a package, modelled or on the simulated hardware."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flightllm.cli.common import RTL_WINDOW, common, print_json, table, token_options

if TYPE_CHECKING:
    from flightllm.config.arch import ArchConfig
    from flightllm.runtime.chunks import Chunk

UNITS = ("W", "L", "M", "S", "T", "Q")
EVENTS = ("busy", "token", "data", "space")


@click.command("simulate", short_help="Count the cycles of a package, modelled or in RTL.")
@click.argument("package", type=click.Path())
@click.option(
    "--on",
    "executor",
    type=click.Choice(("model", "rtl")),
    default="model",
    show_default=True,
    help="model: counts cycles without computing, in seconds (large models on a single channel: minutes). rtl: the hardware itself, simulated, which computes.",
)
@token_options
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Of the tokens, and of all that is random in the simulation."
)
@click.option("--skip-prompt", is_flag=True, help="With --on model: only the runs after the prompt.")
@click.option("--compare", is_flag=True, help="Compare every logit with the functional executor, bit by bit.")
@click.option(
    "--jitter", type=click.FloatRange(min=0), default=0.0, help="Extra latency of memory, up to so many ns, at random."
)
@click.option(
    "--stall",
    type=click.FloatRange(0, 0.95),
    default=0.0,
    help="Share of cycles in which a memory channel pauses, at random.",
)
@click.option("--rtl-window", metavar="FIRST:COUNT", help=RTL_WINDOW)
@click.option("--trace", type=click.Path(path_type=Path), help="Write signals to this .vcd or .fst file.")
@click.option(
    "--trace-from", type=click.IntRange(min=0), default=0, show_default=True, help="First cycle of the trace."
)
@click.option(
    "--trace-cycles", type=click.IntRange(min=1), default=10_000, show_default=True, help="Cycles of the trace."
)
@common
def command(
    package: str,
    executor: str,
    prompt_tokens: int,
    new_tokens: int,
    chunk: int | None,
    seed: int,
    skip_prompt: bool,
    compare: bool,
    jitter: float,
    stall: float,
    rtl_window: str | None,
    trace: Path | None,
    trace_from: int,
    trace_cycles: int,
    as_json: bool,
) -> None:
    """Feed random tokens to PACKAGE; print cycles and what the units did."""
    from flightllm.package import Package
    from flightllm.simulation import simulate

    opened = Package.open(package, verify=executor == "rtl")
    m = opened.manifest

    def head() -> None:
        how = {"model": "modelled (how far from the RTL: docs/cycle-model.md)", "rtl": "measured in RTL"}[executor]
        click.echo(
            f"{m.name} on {m.board}: {m.arch.cores} x {m.arch.channels} channels, {m.arch.clock_mhz:g} MHz; {how}"
        )

    shown: list[Chunk] = []

    def show(run: Chunk, counters: dict[str, int] | None) -> None:
        if not as_json:
            if not shown:  # now nothing is wrong with the options any more
                head()
            shown.append(run)
            what = "functional executor" if counters is None else f"{counters['cycles']:,} cycles"
            click.echo(f"  positions {run.pos} to {run.pos + run.count - 1}: {what}")

    result = simulate(
        opened,
        on=executor,
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        chunk=chunk,
        seed=seed,
        skip_prompt=skip_prompt,
        compare=compare,
        jitter_ns=jitter,
        stall=stall,
        rtl_window=rtl_window,
        trace=trace,
        trace_from=trace_from,
        trace_cycles=trace_cycles,
        observer=show,
    )
    if as_json:
        print_json(result.to_json())
        return
    if result.runs:
        click.echo("\n" + _report(result.runs, m.arch))
    for prompted, title in ((True, "prompt"), (False, "one token at a time")):
        some = [r for r in result.runs if r["prompt"] == prompted]
        if some:
            click.echo(f"\ncore 0, {title}, % of the cycles\n" + _units(some))
    if result.window is not None:
        click.echo("\n" + result.window_text)
    elif compare:
        click.echo("every logit is the functional executor's, bit for bit")


def _report(rows: list[dict[str, Any]], arch: ArchConfig) -> str:
    """A line per run: time at the config's clock, bytes moved."""
    ports = [f"core{k}.ch{c}" for k in range(arch.cores) for c in range(arch.channels)]
    lines = []
    for r in rows:
        seconds = r["cycles"] / (arch.clock_mhz * 1e6)
        moved = sum(r[f"{p}.read_bytes"] + r[f"{p}.written_bytes"] for p in ports)
        rate = moved / seconds / 1e9 if seconds else 0.0
        lines.append([r["pos"], r["tokens"], r["cycles"], round(1e6 * seconds, 3), moved, round(rate, 3)])
    return table(lines, ["position", "tokens", "cycles", "us", "bytes moved", "GB/s"])


def _units(rows: list[dict[str, Any]]) -> str:
    """A line per unit: shares of the cycles in which it is busy, and what it waits for meanwhile (docs/registers.md); "-": not modelled."""
    cycles = max(1, sum(r["cycles"] for r in rows))

    def share(name: str) -> int | str:
        return round(100 * sum(r[name] for r in rows) / cycles) if name in rows[0] else "-"

    lines = [[unit, *(share(f"core0.{unit}.{event}") for event in EVENTS)] for unit in UNITS]
    return table(lines, ["unit", "busy", "waits for a token", "for data", "for room"])
