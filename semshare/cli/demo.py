# SPDX-License-Identifier: MIT
"""`semshare demo`: the main job."""

from __future__ import annotations

import json
import os

import click

from semshare.cli.group import Failure, wide_console
from semshare.demo import report
from semshare.demo.kernel import DEVICE
from semshare.demo.run import Settings, conduct, kernel_threads_here

INTERRUPTED = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}
"""Exit statuses as shells give them: 128 and the signal's number."""

LEFT_OUT = (
    f"left out: kernel threads, because there is no {DEVICE} here. `make demo` in a checkout of semshare boots a "
    "virtual machine that has it; where the modules are installed: modprobe semshare_demo"
)


@click.command("demo", short_help="The main job: kernel threads and processes around one lock.")
@click.option(
    "--seconds",
    type=click.FloatRange(0.01, 86400),
    help="How long to produce; the counter takes half as long again.  [default: 3]",
)
@click.option(
    "--records", type=click.IntRange(1), help="Records, and then additions, of each party, instead of a time."
)
@click.option(
    "--kernel-producers", type=click.IntRange(0, 64), help="Kernel threads.  [default: 2 where the kernel can]"
)
@click.option(
    "--producers",
    type=click.IntRange(0, 64),
    default=2,
    show_default=True,
    help="Python processes that use the package.",
)
@click.option(
    "--payload",
    type=click.IntRange(0, 1 << 20),
    default=200,
    show_default=True,
    help="Longest pattern behind a record's header, in bytes.",
)
@click.option("--unlocked", is_flag=True, help="Take no lock, to see what is lost and torn. Fails if nothing is.")
@click.option(
    "--backend",
    type=click.Choice(["module", "posix"]),
    help="Where the area lies.  [default: the module's memory where there is one]",
)
@click.option("--name", help="The area's name.  [default: demo-PID]")
@click.option(
    "--watch/--no-watch", default=True, help="End with a few program starts, where the kernel publishes them."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output, and nothing else.")
def command(
    seconds: float | None,
    records: int | None,
    kernel_producers: int | None,
    producers: int,
    payload: int,
    unlocked: bool,
    backend: str | None,
    name: str | None,
    watch: bool,
    as_json: bool,
) -> None:
    """Kernel threads, Python processes and a plain sysv_ipc program around one lock and one buffer.

    All of them put records into one ring, and one Python process reads and checks them: what was sent, what arrived,
    lost, out of order, or torn. Then all of them, the reader too, add 1 to one plain counter without atomics. Both
    experiments are guarded by one SysV semaphore. The exit status is 0 only if everything adds up.
    """
    if seconds is not None and records is not None:
        raise click.UsageError("give --seconds or --records, not both")
    notes = []
    if kernel_producers is None:
        kernel_producers = 2 if kernel_threads_here() and backend != "posix" else 0
        if not kernel_producers:
            notes.append(
                LEFT_OUT if not kernel_threads_here() else "left out: kernel threads, because of --backend posix"
            )
    elif kernel_producers and not kernel_threads_here():
        raise Failure(f"--kernel-producers {kernel_producers}: {LEFT_OUT}")
    elif kernel_producers and backend == "posix":
        raise click.UsageError("kernel threads work on the module's areas only, not with --backend posix")
    result = conduct(
        Settings(
            name=name or f"demo-{os.getpid()}",
            seconds=seconds or 3.0,
            records=records or 0,
            kernel_producers=kernel_producers,
            python_producers=producers,
            payload=payload,
            locked=not unlocked,
            watch=watch,
            backend=backend,
        )
    )
    result.notes += notes
    if as_json:
        click.echo(json.dumps(result.as_dict()))
    else:
        report.show(result, wide_console())
    if not result.ok:
        raise SystemExit(INTERRUPTED.get(result.interrupted or "", 1))
