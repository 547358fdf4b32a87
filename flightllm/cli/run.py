"""flightllm run: generate text from a package."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeGuard

import click

from flightllm.cli.common import RTL_WINDOW, card, card_options, common, print_json
from flightllm.errors import FlightError

if TYPE_CHECKING:
    from flightllm.executors.rtl.window import WindowDevice
    from flightllm.runtime.device import Device
    from flightllm.runtime.model import Model
    from flightllm.runtime.sampling import SamplingOptions

HELP = "/reset begins a new conversation, /exit (or Ctrl-D) ends, Ctrl-C stops an answer."


@click.command("run", short_help="Generate text from a package.")
@click.argument("package", type=click.Path())
@click.option("-p", "--prompt", help="Text to continue; with --chat, the user's message. [default: standard input]")
@click.option(
    "--chat/--no-chat",
    default=None,
    help="Use the chat template. [default: without --prompt, if the package has one]",
)
@click.option("--system", help="System message; implies --chat.")
@click.option(
    "--on", "executor", default="functional", show_default=True, help="Executor: functional, hls, rtl, board."
)
@click.option("--rtl-window", metavar="FIRST:COUNT", help=RTL_WINDOW)
@card_options
@click.option("-n", "--max-new-tokens", type=click.IntRange(min=0), help="[default: to the end of the context]")
@click.option("--temperature", type=float, default=0.0, show_default=True, help="0 is greedy.")
@click.option("--top-k", type=int, default=0, help="Keep the k most probable tokens.")
@click.option("--top-p", type=float, default=1.0, help="Keep the most probable tokens up to this sum.")
@click.option("--min-p", type=float, default=0.0, help="Keep tokens of at least this share of the most probable one.")
@click.option("--repetition-penalty", type=float, default=1.0, help="Above 1: avoid tokens of the context.")
@click.option("--seed", type=int, help="Makes sampling repeatable.")
@click.option("--chunk", type=int, help="Prompt tokens per run of the program. Does not change results.")
@click.option("--stream/--no-stream", default=True, help="Print text as it comes, or at the end. [default: stream]")
@click.option("--stats", is_flag=True, help="Print token counts and times on stderr.")
@click.option(
    "--verify/--no-verify", default=True, help="Compare the checksums of the memory images first. [default: verify]"
)
@common
def command(
    package: str,
    prompt: str | None,
    chat: bool | None,
    system: str | None,
    executor: str,
    rtl_window: str | None,
    xclbin: str | None,
    device: int | None,
    timeout: float | None,
    max_new_tokens: int | None,
    chunk: int | None,
    stream: bool,
    stats: bool,
    verify: bool,
    as_json: bool,
    **sampling: Any,
) -> None:
    """Generate text from PACKAGE.

    Without --prompt it reads standard input: from a pipe or file one message (for a model without a chat template, or with --no-chat,
    one text to continue), from a terminal one per line.
    """
    from flightllm.runtime.model import Model
    from flightllm.runtime.sampling import SamplingOptions

    options = SamplingOptions(**sampling)
    if system is not None and chat is False:
        raise click.UsageError("--system needs the chat template; leave out --no-chat")
    if rtl_window is not None and executor != "rtl":
        raise click.UsageError("--rtl-window needs --on rtl")
    opts: dict[str, Any] = {} if rtl_window is None else {"rtl_window": rtl_window}
    opts |= card(executor, xclbin, device, timeout)
    model = Model.open(package, on=executor, chunk=chunk, verify=verify, **opts)
    interactive = prompt is None and sys.stdin.isatty()
    if interactive and as_json:
        raise click.UsageError("--json needs a prompt: give --prompt, or pipe a text in")
    if chat is None:
        chat = system is not None or (prompt is None and bool(model.package.chat_template))
    opening = [{"role": "system", "content": system}] if system is not None else []
    if interactive:
        _converse(model, opening, chat, options, max_new_tokens, stream, stats)
        _print_window(model)
        return
    text = _read_stdin() if prompt is None else prompt
    if as_json:
        answer = model.run(text, chat=chat, system=system, max_new_tokens=max_new_tokens, options=options)
        report = answer.to_json() | {"executor": executor, "counters": model.device.counters()}
        print_json(report | ({"rtl_window": model.device.to_json()} if _is_window(model.device) else {}))
    else:
        talk = [*opening, {"role": "user", "content": text}]
        _show(_answer(model, talk, chat, max_new_tokens, options), stream)
        _print_window(model)
    _hint(model, chat)
    if stats and not as_json:
        _print_stats(model)


def _hint(model: Model, chat: bool) -> None:
    """Say on stderr why nothing was printed, if the model ended at once."""
    if model.stats.ids or model.stats.finish != "stop":
        return
    if not chat and model.package.chat_template:
        do = "it was made to chat: use --chat"
    elif chat:
        do = "put the message in other words, or use --temperature 0.7"
    else:
        do = "give it the beginning of a text that goes on, or use --temperature 0.7"
    click.echo(f"hint: the model ended at once, so there is no text. {do[0].upper()}{do[1:]}.", err=True)


def _read_stdin() -> str:
    try:
        text = sys.stdin.read()
        text.encode()  # where the locale is C, Python reads anything: what is not UTF-8 becomes surrogates
    except UnicodeError as error:
        raise FlightError(
            "the prompt is not UTF-8", where="standard input", why=str(error), do="convert it to UTF-8"
        ) from None
    return text.removesuffix("\n")  # the newline that echo and editors put at the end


def _answer(
    model: Model, talk: list[dict[str, str]], chat: bool, limit: int | None, options: SamplingOptions
) -> Iterable[str]:
    return model.chat(talk, limit, options) if chat else model.stream(talk[-1]["content"], limit, options)


def _show(pieces: Iterable[str], stream: bool) -> str:
    if not stream:
        text = "".join(pieces)
        click.echo(text)
        return text
    text = ""
    try:
        for piece in pieces:
            text += piece
            click.echo(piece, nl=False)
            sys.stdout.flush()
    except FlightError:
        if text:
            click.echo()
        raise
    except BaseException:
        click.echo()
        raise
    click.echo()
    return text


def _converse(
    model: Model,
    opening: list[dict[str, str]],
    chat: bool,
    options: SamplingOptions,
    limit: int | None,
    stream: bool,
    stats: bool,
) -> None:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives input() line editing and history
    click.echo(f"{model.manifest.name} on {model.manifest.board}. {HELP}", err=True)
    talk = list(opening)
    while True:
        try:
            line = input("> ")
        except (EOFError, KeyboardInterrupt):
            click.echo(err=True)
            return
        if line.strip() == "/exit":
            return
        if line.strip() == "/reset":
            talk = list(opening)
            model.reset()
            continue
        if not line:
            continue
        turn = [*talk, {"role": "user", "content": line}]
        try:
            text = _show(_answer(model, turn, chat, limit, options), stream)
        except KeyboardInterrupt:
            continue  # the unfinished turn is dropped from the conversation
        except FlightError as error:
            click.echo(f"error: {error}", err=True)
            continue
        _hint(model, chat)
        if stats:
            _print_stats(model)
        if chat:
            talk = [*turn, {"role": "assistant", "content": text}]


def _is_window(device: Device) -> TypeGuard[WindowDevice]:
    """Whether only a window of the run is in RTL."""
    module = sys.modules.get("flightllm.executors.rtl.window")  # where it is used it has been imported
    return module is not None and isinstance(device, module.WindowDevice)


def _print_window(model: Model) -> None:
    """Say on stderr what was measured in RTL, if only a window of the run was."""
    if _is_window(model.device):
        click.echo(model.device.summary(), err=True)


def _print_stats(model: Model) -> None:
    s = model.stats
    rate = s.to_json()["tokens_per_second"]
    speed = f"{s.decode_seconds:.2f} s ({rate:.2f} tokens/s)" if rate else "-"
    click.echo(
        f"prompt: {s.prompt_tokens} tokens ({s.reused} from the cache), {s.prompt_seconds:.2f} s; "
        f"new: {len(s.ids)} tokens, {speed}; ended by {s.finish}; wall time of this machine",
        err=True,
    )
