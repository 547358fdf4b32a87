"""The command line. Commands are loaded when they are used, so that `flightllm --help` does not import numpy."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from flightllm import __version__
from flightllm.errors import FlightError

#: command -> what `flightllm --help` says about it
COMMANDS = {
    "compile": "Compile a model into a package.",
    "run": "Generate text from a package.",
    "eval": "Perplexity of a text file.",
    "simulate": "Run a package on the simulated hardware and count cycles.",
    "inspect": "Show what is in a package.",
    "check": "Say which operators of a model are supported.",
    "boards": "List the boards.",
    "resources": "Say what a config needs of an FPGA.",
    "doctor": "Say what is installed and what a missing tool costs.",
}

EXIT_ERROR = 1
EXIT_BUG = 70
EXIT_INTERRUPT = 130
EXIT_PIPE = 141


class _ReaderGone(Exception):
    """Standard output was closed by its reader."""


class LazyGroup(click.Group):
    """A group whose commands live in modules of their names, and that turns exceptions into messages and exit codes."""

    debug = False

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
        self.debug = False
        extra["standalone_mode"] = False
        try:
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
            sys.exit(error.exit_code)
        if isinstance(error, KeyboardInterrupt | click.Abort):
            click.echo("interrupted", err=True)
            sys.exit(EXIT_INTERRUPT)
        if isinstance(error, _ReaderGone | BrokenPipeError):
            # the reader is gone; give stdout a sink, so that the flush at exit does not complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(EXIT_PIPE)
        if self.debug:
            traceback.print_exception(error)
        if isinstance(error, FlightError):
            click.echo(f"error: {error}", err=True)
            sys.exit(EXIT_ERROR)
        click.echo(
            f"error: flightllm made a mistake, sorry. It is not your input's fault.\n  {_one_line(error)}", err=True
        )
        if not self.debug:
            click.echo("  do: run the same command with --debug and report the traceback as an issue", err=True)
        sys.exit(EXIT_BUG)


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="flightllm")
def main() -> None:
    """Compile decoder LLMs to an FPGA instruction stream and execute it, bit-exact, with or without a board."""
