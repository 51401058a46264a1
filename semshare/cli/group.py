# SPDX-License-Identifier: MIT
"""The command `semshare`, its subcommands by name, and how all of them fail."""

from __future__ import annotations

import errno
import signal
import sys
from importlib import import_module
from typing import IO, Any

import click
from rich.console import Console, RenderableType

WIDTH = 200
"""Columns of output that goes to a file or a pipe."""
UNLIMITED = 10_000

COMMANDS = ("demo", "exec", "watch", "ls", "inspect", "top", "get", "set", "rm", "unlock", "doctor")


class Failure(click.ClickException):
    """One line on standard error that says what to do; exit status 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"semshare: {one_line(self.message)}", file=file or sys.stderr)


def one_line(error: object) -> str:
    """An error's text without line breaks."""
    return " ".join(str(error).split())


def wide_console() -> Console:
    """A console on standard output: as wide as the terminal, and wide enough for our tables where there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=max(console.width, WIDTH))


def print_lines(console: Console, lines: RenderableType) -> None:
    """Print tables that have a line for each object: as long as it is where there is no terminal to break it."""
    console.print(lines, soft_wrap=True, width=None if console.is_terminal else UNLIMITED)


class Commands(click.Group):
    """Subcommands that are loaded when they are called: `semshare watch` need not wait for the demo's imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"semshare.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # As a shell names it: 128 and the signal's number. The demo, which has more to say, handles it by itself.
            raise SystemExit(128 + signal.SIGINT) from None
        except OSError as error:  # all of this package's errors are
            if error.errno == errno.EPIPE:
                raise  # the reader of our output went away: click ends quietly
            raise Failure(str(error)) from error


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="semshare")
def main() -> None:
    """One lock and one buffer for kernel code and Python processes."""
