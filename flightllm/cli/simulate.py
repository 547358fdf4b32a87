"""flightllm simulate: cycles of a package on the simulated hardware."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flightllm.cli.common import common, print_json, table
from flightllm.errors import FlightError, ProgramError, ToolError

if TYPE_CHECKING:
    import numpy as np

    from flightllm.config.arch import ArchConfig
    from flightllm.runtime.device import Device

UNITS = ("W", "L", "M", "S", "T", "Q")
EVENTS = ("busy", "token", "data", "space")


@click.command("simulate", short_help="Run a package on the simulated hardware and count cycles.")
@click.argument("package", type=click.Path())
@click.option("--on", "executor", default="rtl", show_default=True, help="Executor: rtl.")
@click.option(
    "--prompt-tokens", type=click.IntRange(min=1), default=16, show_default=True, help="Tokens of the prompt."
)
@click.option(
    "--new-tokens", type=click.IntRange(min=0), default=1, show_default=True, help="Tokens generated after it."
)
@click.option("--chunk", type=click.IntRange(min=1), help="Prompt tokens per run. [default: what the program takes]")
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Of the tokens, and of all that is random in the simulation."
)
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
@click.option("--trace", type=click.Path(path_type=Path), help="Write signals to this .vcd file.")
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
    compare: bool,
    jitter: float,
    stall: float,
    trace: Path | None,
    trace_from: int,
    trace_cycles: int,
    as_json: bool,
) -> None:
    """Feed random tokens to PACKAGE on the simulated hardware; print cycles and what the units did."""
    import numpy as np

    from flightllm.executors.rtl import RtlDevice
    from flightllm.package import Package
    from flightllm.runtime.device import open_device
    from flightllm.sim.simulator import SimOptions

    if executor != "rtl":
        raise ToolError(f"executor {executor!r} counts no cycles", do="use --on rtl")
    opened = Package.open(package, verify=True)
    m = opened.manifest
    if prompt_tokens + new_tokens > m.limits.max_context:
        why = f"{prompt_tokens} + {new_tokens} tokens, the package has room for {m.limits.max_context}"
        raise FlightError("the context is too short", why=why, do="ask for fewer tokens")
    device = RtlDevice(
        SimOptions(jitter_ns=jitter, stall=stall, seed=seed), trace=trace, window=(trace_from, trace_cycles)
    )
    device.load(opened)
    beside = open_device("functional", opened) if compare else None
    ids = np.random.default_rng(seed).integers(0, m.model.vocab, prompt_tokens + new_tokens).tolist()
    rows = []
    pos = 0
    while pos < len(ids):
        prompt = pos < prompt_tokens
        count = min(chunk or m.limits.max_chunk, m.limits.max_chunk, prompt_tokens - pos) if prompt else 1
        part, last = ids[pos : pos + count], pos + count >= prompt_tokens
        logits = device.run_chunk(part, pos, int(last), prompt)
        if beside is not None:
            _compare(beside, logits, part, pos, int(last), prompt)
        rows.append({"pos": pos, "tokens": count, "prompt": prompt} | device.last)
        pos += count
        if not as_json:
            if len(rows) == 1:
                click.echo(
                    f"{m.name} on {m.board}: {m.arch.cores} x {m.arch.channels} channels, {m.arch.clock_mhz:g} MHz"
                )
            click.echo(f"  positions {rows[-1]['pos']} to {pos - 1}: {device.last['cycles']:,} cycles")
    device.close()
    if as_json:
        clock = {"clock_mhz": m.arch.clock_mhz, "compared": compare}
        print_json({"package": m.name, "executor": executor, "seed": seed} | clock | {"runs": rows})
        return
    click.echo("\n" + _report(rows, m.arch))
    for prompt, title in ((True, "prompt"), (False, "one token at a time")):
        part = [r for r in rows if r["prompt"] == prompt]
        if part:
            click.echo(f"\ncore 0, {title}, % of the cycles\n" + _units(part))
    if compare:
        click.echo("every logit is the functional executor's, bit for bit")


def _compare(beside: Device, logits: np.ndarray, ids: list[int], pos: int, nlog: int, masken: bool) -> None:
    """ProgramError at the first logit whose bits differ."""
    import numpy as np

    right = beside.run_chunk(ids, pos, nlog, masken)
    wrong = np.argwhere(right.view(np.uint32) != logits.view(np.uint32))
    if wrong.size:
        row, e = (int(i) for i in wrong[0])
        raise ProgramError(
            "the simulated hardware and the functional executor disagree",
            where=f"run from position {pos}, {len(ids)} tokens: logit {e} of row {row}, the first of {len(wrong)} of {right.size}",
            why=f"{logits[row, e]!r} instead of {right[row, e]!r}",
            do="report this with the package; --trace writes the signals",
        )


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
    """A line per unit: shares of the cycles in which it is busy, and what it waits for meanwhile (docs/registers.md)."""
    cycles = max(1, sum(r["cycles"] for r in rows))
    lines = [
        [unit, *(round(100 * sum(r[f"core0.{unit}.{event}"] for r in rows) / cycles) for event in EVENTS)]
        for unit in UNITS
    ]
    return table(lines, ["unit", "busy", "waits for a token", "for data", "for room"])
