"""flightllm simulate: cycles of a package on the simulated hardware."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flightllm.cli.common import RTL_WINDOW, common, print_json, table
from flightllm.errors import ProgramError, ToolError

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
    compare: bool,
    jitter: float,
    stall: float,
    rtl_window: str | None,
    trace: Path | None,
    trace_from: int,
    trace_cycles: int,
    as_json: bool,
) -> None:
    """Feed random tokens to PACKAGE on the simulated hardware; print cycles and what the units did."""
    import numpy as np

    from flightllm.executors.rtl import RtlDevice
    from flightllm.executors.rtl.window import Window, WindowDevice
    from flightllm.package import Package
    from flightllm.runtime.chunks import chunks
    from flightllm.runtime.device import open_device
    from flightllm.sim.simulator import SimOptions

    if executor != "rtl":
        raise ToolError(f"executor {executor!r} counts no cycles", do="use --on rtl")
    opened = Package.open(package, verify=True)
    m = opened.manifest
    plan = chunks(m.limits, prompt_tokens, new_tokens, chunk)
    rtl = RtlDevice(
        SimOptions(jitter_ns=jitter, stall=stall, seed=seed), trace=trace, window=(trace_from, trace_cycles)
    )
    device: RtlDevice | WindowDevice = rtl if rtl_window is None else WindowDevice(Window.parse(rtl_window), rtl)
    device.load(opened)
    beside = open_device("functional", opened) if compare and device is rtl else None  # a window is always compared
    ids = np.random.default_rng(seed).integers(0, m.model.vocab, prompt_tokens + new_tokens).tolist()
    rows: list[dict[str, Any]] = []
    if not as_json:
        click.echo(f"{m.name} on {m.board}: {m.arch.cores} x {m.arch.channels} channels, {m.arch.clock_mhz:g} MHz")
    for run in plan:
        part = ids[run.pos : run.pos + run.count]
        logits = device.run_chunk(part, run.pos, int(run.last), run.prompt)
        if beside is not None:
            _compare(beside, logits, part, run.pos, int(run.last), run.prompt)
        where = f"  positions {run.pos} to {run.pos + run.count - 1}: "
        if device.last is not None:
            rows.append({"pos": run.pos, "tokens": run.count, "prompt": run.prompt} | device.last)
        if not as_json:
            click.echo(where + ("functional executor" if device.last is None else f"{device.last['cycles']:,} cycles"))
    device.close()
    if as_json:
        facts: dict[str, Any] = {"clock_mhz": m.arch.clock_mhz, "compared": compare or rtl_window is not None}
        if isinstance(device, WindowDevice):
            facts["rtl_window"] = device.to_json()
        print_json({"package": m.name, "executor": executor, "seed": seed} | facts | {"runs": rows})
        return
    if rows:
        click.echo("\n" + _report(rows, m.arch))
    for prompt, title in ((True, "prompt"), (False, "one token at a time")):
        some = [r for r in rows if r["prompt"] == prompt]
        if some:
            click.echo(f"\ncore 0, {title}, % of the cycles\n" + _units(some))
    if isinstance(device, WindowDevice):
        click.echo("\n" + device.summary())
    elif compare:
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
