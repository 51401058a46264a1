# SPDX-License-Identifier: MIT
"""`semshare watch`: records that kernel code publishes, as they come."""

from __future__ import annotations

import json
import time
from datetime import datetime

import click

from semshare import Ring
from semshare.cli.group import Failure
from semshare.demo import program_start
from semshare.demo.program_start import ProgramStart

BATCH = 64
PATIENCE = 0.5
"""Seconds that one get waits before the clock is looked at."""


@click.group("watch")
def command() -> None:
    """Print what kernel code publishes, as it comes."""


@command.command("exec")
@click.option("--count", type=click.IntRange(1), help="End after so many program starts.")
@click.option("--seconds", type=click.FloatRange(0.0, min_open=True), help="End after so many seconds.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def program_starts(count: int | None, seconds: float | None, as_json: bool) -> None:
    """Print every program start on this machine: time, pid, parent, uid, name, path.

    The kernel module semshare_exec publishes them, and keeps some thousand until somebody reads them: those come first.
    A record goes to one reader only: of two of these at the same time, each sees a part.
    """
    try:
        ring = Ring.attach(program_start.AREA)
    except FileNotFoundError as error:
        raise Failure(
            f"there is no area {program_start.AREA!r} in this IPC namespace: the kernel module semshare_exec is not "
            "loaded; modprobe semshare_exec, or boot a virtual machine that has it: make vm CMD='semshare watch exec'"
        ) from error
    deadline = time.monotonic() + seconds if seconds is not None else float("inf")
    left = count
    missed = None
    try:
        with ring:
            while left != 0 and (patience := min(deadline - time.monotonic(), PATIENCE)) > 0:
                # No more than are wanted: a record that is taken is gone for other readers.
                payloads = ring.get_many(min(left or BATCH, BATCH), timeout=patience)
                for payload in payloads:
                    start = program_start.read(payload)
                    if missed is not None and start.missed > missed:
                        _say_missed(start.missed - missed, as_json)
                    missed = start.missed
                    _say(start, as_json)
                if left is not None:
                    left -= len(payloads)
    except KeyboardInterrupt:
        # How one ends a watch: nothing is wrong.
        pass


def _say(start: ProgramStart, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(start.as_dict()))
        return
    when = datetime.fromtimestamp(start.time).strftime("%H:%M:%S.%f")[:-3]
    click.echo(f"{when}  pid {start.pid:<7} parent {start.parent:<7} uid {start.uid:<5} {start.name:<15} {start.path}")


def _say_missed(number: int, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"missed": number}))
    else:
        click.echo(f"({number} program starts missed: the kernel's queue or the ring was full)")
