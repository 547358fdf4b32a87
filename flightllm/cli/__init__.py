"""The command line. Commands are loaded when they are used, so that `flightllm --help` does not import numpy."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import click

from flightllm import __version__
from flightllm.errors import FlightError

#: command -> what `flightllm --help` says about it
COMMANDS = {
    "compile": "Compile a model into a package.",
    "run": "Generate text from a package.",
    "eval": "Perplexity of a text file.",
    "simulate": "Count the cycles of a package, modelled or in RTL.",
    "speed": "Say how fast a model would run on a board, without its weights.",
    "explore": "Search the configs of a board for the fastest that fit.",
    "trace": "Write a Perfetto trace of a package's runs.",
    "report": "Write a page about how a model or a package runs.",
    "verify": "Compare executors instruction by instruction.",
    "inspect": "Show what is in a package.",
    "check": "Say which operators of a model are supported.",
    "build": "Write a project that makes the kernel with the vendor's tools.",
    "boards": "List the boards.",
    "board": "List the cards of this machine, look into an xclbin, probe a card.",
    "resources": "Say what a config needs of an FPGA.",
    "doctor": "Say what is installed and what a missing tool costs.",
}

#: signals that end a command like Ctrl-C does, with their names for people
ENDING = {"SIGTERM": "terminated", "SIGHUP": "terminal closed"}
EXIT_ERROR = 1
EXIT_BUG = 70
EXIT_INTERRUPT = 130
EXIT_PIPE = 141
EXIT_SIGNAL = 128


class _Ended(BaseException):
    """A signal asked us to end; like KeyboardInterrupt it runs through all that cleans up."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Turn the signals of ENDING into `_Ended`, unless whoever started us has said otherwise (nohup ignores SIGHUP)."""
    ours = []
    if threading.current_thread() is threading.main_thread():
        for name in ENDING:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _end)
                ours.append(number)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, _: object) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)  # a second one ends us at once
    raise _Ended(number)


_AGAIN = "run the same command with --debug and report the traceback as an issue"


class _ReaderGone(Exception):
    """Standard output was closed by its reader."""


class LazyGroup(click.Group):
    """A group whose commands live in modules of their names, and that turns exceptions into messages and exit codes."""

    debug = False
    as_json = False
    #: of the command line, as they were given
    arguments: list[str] = []

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are used."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"flightllm.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that went away is not an error of ours, and click would make it exit code 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderGone from error

    def main(self, args: Sequence[str] | None = None, *others: Any, **extra: Any) -> NoReturn:
        """Run and exit. See docs/usage.md for the exit codes."""
        self.debug = self.as_json = False
        self.arguments = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        try:
            with _signals():
                code = super().main(args, *others, **extra)
                sys.stdout.flush()
            sys.exit(code if isinstance(code, int) else 0)
        except BaseException as error:
            self._leave(error)

    def _leave(self, error: BaseException) -> NoReturn:
        if isinstance(error, SystemExit):
            raise error
        if isinstance(error, click.ClickException):
            error.show()
            if isinstance(error, click.UsageError):
                # the command line was not understood, so --json may not have been reached
                self.as_json = self.as_json or "--json" in self.arguments
                path = error.ctx.command_path if error.ctx else "flightllm"
                self._report(FlightError(error.format_message(), where="command line", do=f"see {path} --help"))
            sys.exit(error.exit_code)
        if isinstance(error, KeyboardInterrupt | click.Abort):
            click.echo("interrupted", err=True)
            sys.exit(EXIT_INTERRUPT)
        if isinstance(error, _Ended):
            click.echo(ENDING[signal.Signals(error.number).name], err=True)
            sys.exit(EXIT_SIGNAL + error.number)
        if isinstance(error, _ReaderGone | BrokenPipeError):
            # the reader is gone; give stdout a sink, so that the flush at exit does not complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(EXIT_PIPE)
        if self.debug:
            traceback.print_exception(error)
        if isinstance(error, FlightError):
            click.echo(f"error: {error}", err=True)
            self._report(error)
            sys.exit(EXIT_ERROR)
        what, do = "flightllm made a mistake, sorry. It is not your input's fault.", _AGAIN
        if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] not in ("", "flightllm"):
            # an environment that only runs packages (docs/deploy.md) has few of the packages
            missing = FlightError(
                f"this command needs the Python package {error.name}, which is not installed here",
                do="use an environment with all of flightllm (pip install flightllm); `flightllm doctor` says what is missing",
            )
            click.echo(f"error: {missing}", err=True)
            self._report(missing)
            sys.exit(EXIT_ERROR)
        click.echo(f"error: {what}\n  {_one_line(error)}", err=True)
        if not self.debug:
            click.echo(f"  do: {do}", err=True)
        self._report(FlightError(what, why=_one_line(error), do=do))
        sys.exit(EXIT_BUG)

    def _report(self, error: FlightError) -> None:
        """With --json the error is the one document on standard output."""
        if self.as_json:
            from flightllm.cli.common import print_json

            with contextlib.suppress(BrokenPipeError):
                print_json({"error": error.to_json()})


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="flightllm")
def main() -> None:
    """Compile decoder LLMs to an FPGA instruction stream and execute it, bit-exact, with or without a board."""
