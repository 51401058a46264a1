# SPDX-License-Identifier: MIT
"""`semshare get`: parameters and state as they are now."""

from __future__ import annotations

import json

import click

from semshare import Parameters
from semshare.cli.contents import for_json


@click.command("get", short_help="Print parameters and state.")
@click.argument("name")
@click.argument("keys", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output, with limits.")
def command(name: str, keys: tuple[str, ...], as_json: bool) -> None:
    """Print the parameters NAME, and their state, or only KEYS of them: a line for each, with its limits."""
    with Parameters.attach(name, readonly=True) as parameters:
        values, state = parameters.snapshot(), dict(parameters.state)
        for key in keys:
            if key not in state:
                parameters.declared(key)  # or say which there are
        wanted = keys or (*values, *state)
        if as_json:
            found = {
                key: {
                    "value": for_json(values[key]),
                    "limits": [for_json(limit) for limit in parameters.limits(key)],
                    "group": parameters.declared(key).group,
                }
                if key in values
                else {"value": for_json(state[key]), "state": True}
                for key in wanted
            }
            click.echo(json.dumps(found))
            return
        for key in wanted:
            if key in state:
                click.echo(f"{key}={state[key]} (state)")
            else:
                least, most = parameters.limits(key)
                group = parameters.declared(key).group
                click.echo(f"{key}={values[key]} ({least} to {most}{f', group {group}' if group else ''})")
