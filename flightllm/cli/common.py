"""What the commands share: options, tables, JSON."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import click

#: help of the option of the same name
RTL_WINDOW = "With --on rtl: run only these token positions in RTL, the rest on the functional executor."
_NUMBER = re.compile(r"-|[-+]?[\d,]*\.?\d+( %)?")
F = TypeVar("F", bound=Callable[..., Any])


def _set_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().command.debug = True  # type: ignore[attr-defined]  # LazyGroup


def _set_json(ctx: click.Context, _: click.Parameter, value: bool) -> bool:
    if value:
        ctx.find_root().command.as_json = True  # type: ignore[attr-defined]  # LazyGroup
    return value


def common(command: F) -> F:
    """The options of every command: --json (as `as_json`) and --debug."""
    command = click.option(
        "--debug", is_flag=True, expose_value=False, callback=_set_debug, is_eager=True, help="Show tracebacks."
    )(command)
    return click.option(
        "--json", "as_json", is_flag=True, callback=_set_json, is_eager=True, help="Print one JSON document."
    )(command)


def _settings(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(f"{text!r} is not NAME=VALUE")
        try:
            out[name.strip()] = tomllib.loads(f"x = {value}")["x"]
        except tomllib.TOMLDecodeError:
            raise click.BadParameter(f"{text!r}: {value!r} is not a number") from None
    return out


def number_list(text: str) -> tuple[str, list[Any]]:
    """NAME=1,2.5 as ("NAME", [1, 2.5])."""
    name, equals, values = text.partition("=")
    try:
        if not equals or not name.strip():
            raise ValueError
        return name.strip(), [tomllib.loads(f"x = {value.strip()}")["x"] for value in values.split(",")]
    except ValueError:  # of TOML, too
        raise click.BadParameter(f"{text!r} is not NAME=NUMBER,NUMBER,..") from None


def settings_option(command: F) -> F:
    """--set NAME=VALUE, any number of times (as `settings`): parameters of the architecture config."""
    return click.option(
        "--set", "settings", multiple=True, callback=_settings, metavar="NAME=VALUE", help="One such parameter."
    )(command)


def token_options(command: F) -> F:
    """--prompt-tokens, --new-tokens and --chunk: how many random tokens are fed, and how."""
    command = click.option(
        "--chunk", type=click.IntRange(min=1), help="Prompt tokens per run. [default: what the program takes]"
    )(command)
    command = click.option(
        "--new-tokens", type=click.IntRange(min=0), default=1, show_default=True, help="Tokens generated after it."
    )(command)
    return click.option(
        "--prompt-tokens", type=click.IntRange(min=1), default=16, show_default=True, help="Tokens of the prompt."
    )(command)


def card_options(command: F) -> F:
    """--xclbin, --device and --timeout of `--on board`; `card` makes options of the executor of them."""
    for option in (
        click.option("--timeout", type=float, help="With --on board: seconds that a run may take. [default: 10]"),
        click.option("--device", type=click.IntRange(min=0), help="With --on board: number of the card. [default: 0]"),
        click.option("--xclbin", type=click.Path(), help="With --on board: what the card is programmed with."),
    ):
        command = option(command)
    return command


def card(executor: str, xclbin: str | None, device: int | None, timeout: float | None) -> dict[str, Any]:
    """Options of the executor "board", with the memory map on stderr; none for another one. UsageError if there are some nonetheless."""
    options = {"xclbin": xclbin, "device": device, "timeout": timeout}
    given = {name: value for name, value in options.items() if value is not None}
    if executor == "board":
        return given | {"report": _print_map}
    if given:
        raise click.UsageError(f"--{next(iter(given))} needs --on board")
    return {}


def _print_map(placements: Sequence[Any]) -> None:
    """The memory map of a card, before anything is written there."""
    from flightllm.runtime.board import map_lines

    for line in map_lines(placements):
        click.echo(line, err=True)


def shape_options(command: F) -> F:
    """What a model would be compiled with: --arch, --group, --sparsity, --kv, --recipe, --weights (of which no default is said)."""
    for option in (
        click.option("--recipe", type=click.Path(), help="TOML or JSON file that says more."),
        click.option("--kv", type=int, help="Bits of the KV cache: 8 or 4."),
        click.option("--sparsity", type=int, help="N of N:16 sparsity: 2, 4, 8, or 16 for dense."),
        click.option("--group", type=int, help="Columns per scale: 32, 64 or 128."),
        click.option("--weights", help="Bits per weight, or a budget with a point (3.5). [default: 4]"),
        click.option("--arch", type=click.Path(), help="TOML file: parameters that differ from the board's config."),
    ):
        command = option(command)
    return command


def length_options(command: F) -> F:
    """--prompt and --context, any number of times each (as `prompts` and `contexts`): lengths for the cycle model."""
    command = click.option(
        "--context",
        "contexts",
        type=click.IntRange(min=0),
        multiple=True,
        metavar="TOKENS",
        help="Tokens in the cache before a generated one. [default, without --prompt: 128 and 512]",
    )(command)
    return click.option(
        "--prompt",
        "prompts",
        type=click.IntRange(min=1),
        multiple=True,
        metavar="TOKENS",
        help="Length of a prompt. [default, without --context: 128]",
    )(command)


def print_json(data: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(data, indent=1, default=_plain))


def _plain(value: Any) -> Any:
    if hasattr(value, "to_json"):
        return value.to_json()
    if hasattr(value, "item"):  # numpy scalars
        return value.item()
    return str(value)


def table(rows: Sequence[Sequence[Any]], head: Sequence[str] = (), indent: str = "") -> str:
    """Rows as aligned text, numbers to the right. Never cuts anything off, so it can be piped."""
    cells = [[_cell(v) for v in row] for row in rows]
    lines = ([list(head)] if head else []) + cells
    if not lines:
        return ""
    columns = len(lines[0])
    widths = [max(len(line[i]) for line in lines) for i in range(columns)]
    right = [
        bool(rows) and all(isinstance(row[i], int | float) or row[i] is None for row in rows) for i in range(columns)
    ]
    out = []
    for number, line in enumerate(lines):
        parts = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)]
        out.append(indent + "  ".join(parts).rstrip())
        if head and number == 0:
            out.append(indent + "  ".join("-" * w for w in widths))
    return "\n".join(out)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}"


def size(count: int) -> str:
    """Bytes for people: 1,536 -> "1.5 KiB"."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.2f} GiB"


@contextlib.contextmanager
def progress_line(wanted: bool = True) -> Iterator[Callable[[str, int, int], None]]:
    """A (stage, done, total) callable that keeps one line on stderr; silent if stderr is not a terminal."""
    if not wanted or not sys.stderr.isatty():
        yield lambda stage, done, total: None
        return
    from tqdm import tqdm

    bar = tqdm(total=0, file=sys.stderr, leave=False, bar_format="{desc} |{bar}| {n_fmt}/{total_fmt} {elapsed}")

    def show(stage: str, done: int, total: int) -> None:
        bar.set_description_str(stage, refresh=False)
        bar.total, bar.n = total, done
        bar.refresh()

    try:
        yield show
    finally:
        bar.close()
