# SPDX-License-Identifier: MIT
"""`semshare set`: change parameters."""

from __future__ import annotations

import click

from semshare import Parameters


@click.command("set", short_help="Set parameters.")
@click.argument("name")
@click.argument("settings", nargs=-1, required=True, metavar="KEY=VALUE...")
def command(name: str, settings: tuple[str, ...]) -> None:
    """Set parameters of NAME. Several at once are of one group, and change together."""
    with Parameters.attach(name) as parameters:
        values: dict[str, int | float] = {}
        for setting in settings:
            key, equals, text = setting.partition("=")
            if not equals:
                raise click.UsageError(f"{setting!r}: give KEY=VALUE")
            try:
                values[key] = float(text) if parameters.declared(key).type is float else int(text, 0)
            except ValueError:
                kind = "a number" if parameters.declared(key).type is float else "a whole number"
                raise click.UsageError(f"{setting!r}: {key} is {kind}") from None
        try:
            parameters.update(values)
        except ValueError as error:
            if isinstance(error, OSError):
                raise
            raise click.UsageError(str(error)) from error
