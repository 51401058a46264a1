# SPDX-License-Identifier: MIT
"""``python -m bench.compare``: what locks do that processes of one machine share, asked of each of them by trying it.

Every cell of docs/reference/comparison.md is what a probe of bench.probes saw; --write makes the page anew.
"""

from __future__ import annotations

import contextlib
import datetime
import inspect
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any

import click

from . import instructions, probes
from .peers import PEERS, Absent, Peer, Place, Redis
from .probes import NO, NOT_ASKED, PROBES, Hangs, Raised, limits

PAGE = probes.TOP / "docs" / "reference" / "comparison.md"
COST = "a `with` that nobody else wants"
KERNEL_ROW = next(title for title, probe in PROBES if probe is probes.kernel_takes_it)
WIDTH = 120

#: Probes at once: most of their time they wait.
AT_ONCE = 6
#: Of limits.hangs: a probe is made of several steps.
PROBE_LIMIT = 6
COST_ROUNDS = 5
VM_TIMEOUT = 300

Cells = dict[str, dict[str, str]]
"""What was seen: by row, by column."""


# ------------------------------------------------------------------------------------------------------------- asking


@dataclass
class Running:
    """A probe at work, in a process group of its own."""

    row: str
    peer: Peer
    pid: int
    pipe: connection.Connection
    deadline: float

    def end(self) -> str:
        """What it saw; kills all that it started, and removes what is left of it."""
        answer = "no: hangs"
        if self.pipe.poll():
            with contextlib.suppress(EOFError):
                answer = self.pipe.recv()
        os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pipe.close()
        self.peer.clean()
        shutil.rmtree(self.peer.place.folder)
        return answer


def say(probe: Callable[[Peer], str], peer: Peer) -> str:
    """What a probe saw, or how it ended."""
    try:
        return probe(peer)
    except Hangs:
        return "no: hangs"
    except (Raised, Absent) as error:
        what = str(error)
        return NO if isinstance(error, Absent) or what == "Absent" else f"no: {what}"
    except Exception as error:
        traceback.print_exc()
        return f"?: {type(error).__name__}: {error}"


def start(row: str, probe: Callable[[Peer], str], peer: Peer) -> Running:
    """Run a probe in a process of its own."""
    ours, theirs = connection.Pipe(duplex=False)
    pid = os.fork()
    if not pid:
        try:
            os.setpgid(0, 0)
            ours.close()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            theirs.send(say(probe, peer))
            signal.pause()  # until the group is killed
        finally:
            os._exit(1)
    # Both do that, so that it is done before the group is killed.
    os.setpgid(pid, pid)
    theirs.close()
    return Running(row, peer, pid, ours, time.monotonic() + PROBE_LIMIT * limits.hangs)


def ask_all(
    wanted: Sequence[tuple[str, Callable[[Peer], str], type[Peer]]], folder: Path, server: Path, at_once: int = AT_ONCE
) -> Iterator[tuple[str, type[Peer], str]]:
    """Run probes, some at a time; yields the row, the column and what was seen."""
    waiting = list(enumerate(wanted))[::-1]
    running: list[Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                number, (row, probe, kind) = waiting.pop()
                own = folder / str(number)
                own.mkdir()
                peer = kind(Place(f"compare-{os.getpid()}-{number}", own, server, limits.lease))
                running.append(start(row, probe, peer))
            soonest = min(each.deadline for each in running)
            ready = connection.wait([each.pipe for each in running], max(0, soonest - time.monotonic()))
            for each in [each for each in running if each.pipe in ready or time.monotonic() > each.deadline]:
                running.remove(each)
                yield each.row, type(each.peer), each.end()
    finally:
        for each in running:
            each.end()


def patience() -> float:
    """Seconds after which something hangs, on this machine as it is now: 4, where Python starts in less than 0.2."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import semshare"], check=True, cwd=probes.TOP)
    return max(limits.hangs, 20 * (time.monotonic() - began))


def cost(kinds: Sequence[type[Peer]], folder: Path, server: Path) -> dict[str, str]:
    """What a ``with`` costs: the median of rounds, in each of which all have their turn, one after the other."""
    seen: dict[str, list[float]] = {kind.title: [] for kind in kinds}
    for number in range(COST_ROUNDS):
        own = folder / f"cost-{number}"
        own.mkdir()
        for _, kind, answer in ask_all([(COST, probes.nanoseconds, kind) for kind in kinds], own, server, at_once=1):
            seen[kind.title].append(float(answer))
    return {title: in_words(statistics.median(values)) for title, values in seen.items()}


def in_words(nanoseconds: float) -> str:
    """A time, to the digits that mean something."""
    return f"{nanoseconds:,.0f} ns" if nanoseconds < 9_950 else f"{nanoseconds / 1000:,.0f} µs"


def compare(
    kinds: Sequence[type[Peer]], rows: Sequence[str] | None = None, progress: Callable[[str], object] = print
) -> Cells:
    """Ask them all; None: everything, and what a ``with`` costs. Who is not installed is "not asked"."""
    limits.hangs = patience()
    asked = [(title, probe) for title, probe in PROBES if rows is None or title in rows]
    cells: Cells = {title: {} for title, _ in asked}
    here = []
    for kind in kinds:
        if why := kind.missing():
            progress(f"{kind.title}: not asked: {why}")
            for seen in cells.values():
                seen[kind.title] = NOT_ASKED
        else:
            here.append(kind)
    with contextlib.ExitStack() as stack:
        # Not a TemporaryDirectory: a child of a probe comes to the end of this program too, and would remove it.
        folder = Path(tempfile.mkdtemp(prefix="semshare-compare-"))
        stack.callback(shutil.rmtree, folder)
        server = folder / "redis"
        if Redis in here:
            process = Redis.serve(server)
            stack.callback(process.wait)
            stack.callback(process.kill)
        # Row by row, so that not all that hang do so together at the end.
        wanted = [(title, probe, kind) for title, probe in asked for kind in here]
        for row, kind, answer in ask_all(wanted, folder, server):
            cells[row][kind.title] = answer
            progress(f"{kind.title}: {row}: {answer}")
        if rows is None or COST in rows:
            cells[COST] = {**{kind.title: NOT_ASKED for kind in kinds}, **cost(here, folder, server)}
    return cells


def ask_in_the_machine(kinds: Sequence[type[Peer]], kernel: str) -> Cells:
    """The row that needs the module.

    Raises:
        BenchError: there is no machine here.
    """
    instructions.prepare(kernel)
    with tempfile.TemporaryDirectory(prefix="semshare-compare-") as folder:
        words = [f"--only {kind.module}" for kind in kinds if not kind.missing()]
        script = (
            f"cd {probes.TOP} && python -m bench.compare --row '{KERNEL_ROW}' {' '.join(words)} --json "
            '>"$SEMSHARE_RUN_DIR/cells"'
        )
        run = ["vm/run", "--kernel", kernel, "--run-dir", folder, "--timeout", str(VM_TIMEOUT), "--sh", script]
        if code := subprocess.run(run, cwd=probes.TOP, stdout=subprocess.DEVNULL).returncode:
            raise instructions.BenchError(f"vm/run ended with {code}")
        cells: Cells = json.loads((Path(folder) / "cells").read_text())["cells"]
    return cells


# ------------------------------------------------------------------------------------------------------------ showing


def versions(kinds: Sequence[type[Peer]]) -> dict[str, str]:
    """Of the packages that are here."""
    return {kind.package or "Python": kind.version() for kind in kinds if not kind.missing()}


def table(cells: Cells, kinds: Sequence[type[Peer]]) -> str:
    """In Markdown."""
    lines = ["| | " + " | ".join(f"`{kind.title}`" for kind in kinds) + " |", "|---" * (len(kinds) + 1) + "|"]
    for row, seen in cells.items():
        shown = [seen.get(kind.title, NOT_ASKED) for kind in kinds]
        lines.append(f"| {row} | " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


def read_table(text: str) -> Cells:
    """The cells of a page."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    titles = [title.strip("`") for title in rows[0][1:]]
    return {row[0]: dict(zip(titles, row[1:])) for row in rows[2:]}


PAGE_TEXT = """\
<!-- SPDX-License-Identifier: MIT -->
<!-- Made by python -m bench.compare --write -->
# Comparison with other locks

Locks that processes of one machine share. Each cell is what a script saw when it tried: `make compare` asks again, and
a test compares what it sees with this page. What is asked stands below the table; how, in `bench/probes.py`; in which
words of each package, in `bench/peers.py`. After "no" comes what was seen instead; where nothing does, there is no such
thing, and the package's public names were searched for it. What had not happened after {hangs:.0f} s hangs.

{table}
{seen}

What a `with` costs is the median of {rounds} rounds, in each of which all had their turn, on a machine with load
{load:.1f}: compare the columns, not these numbers with those of another day.

- `sysv_ipc` is used with `undo`, for which a program has to ask. Its x86-64 wheels are built without timeouts: they
  wait as if there were none.
- `redis.lock` lends a lock for a time, here {lease:.0f} s, as its documentation advises: without that, a lock whose
  owner was killed is never free again.
- `filelock` and `portalocker` have more locks, with other promises. Asked are those of these names, and of the same
  packages those for readers and writers, for reentrance and for asyncio.

## What is asked

{questions}
"""


def page(cells: Cells, kinds: Sequence[type[Peer]]) -> str:
    """The whole page."""
    asked = [*PROBES, (COST, probes.nanoseconds)]
    questions = [f"**{title}**: {inspect.getdoc(probe)}" for title, probe in asked]
    seen = [f"Linux {platform.release()}", *(" ".join(each) for each in versions(kinds).items())]
    return PAGE_TEXT.format(
        table=table(cells, kinds),
        hangs=limits.hangs,
        lease=limits.lease,
        seen=textwrap.fill(f"Seen {datetime.date.today()}: {', '.join(seen)}.", WIDTH),
        rounds=COST_ROUNDS,
        load=os.getloadavg()[0],
        questions="\n".join(
            textwrap.fill(text, WIDTH, initial_indent="- ", subsequent_indent="  ") for text in questions
        ),
    )


def choose(words: Sequence[str]) -> list[type[Peer]]:
    """Columns by their modules' names; none: all."""
    return [kind for kind in PEERS if not words or kind.module in words]


@click.command()
@click.option("--only", multiple=True, type=click.Choice([kind.module for kind in PEERS]), help="These columns.")
@click.option("--row", "rows", multiple=True, type=click.Choice([*dict(PROBES), COST]), help="These rows.")
@click.option("--write", is_flag=True, help=f"Write {PAGE.relative_to(probes.TOP)}.")
@click.option("--machine/--no-machine", default=None, help="Ask in the virtual machine what needs it: with --write.")
@click.option("--kernel", envvar="KERNEL", default="6.1", show_default=True, help="Of the virtual machine.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout instead of the table.")
def main(
    only: tuple[str, ...], rows: tuple[str, ...], write: bool, machine: bool | None, kernel: str, as_json: bool
) -> None:
    """Ask each lock, by trying, what it does; print a table of it."""
    kinds = choose(only)
    if write and (only or rows):
        raise click.UsageError("--write writes all of the table")

    def tell(line: str) -> None:
        print(line, file=sys.stderr)

    cells = compare(kinds, rows or None, tell)
    if machine or (write and machine is None):
        try:
            cells.update(ask_in_the_machine(kinds, kernel))
        except instructions.BenchError as error:
            tell(f"not asked in the machine: {error}")
    if write:
        PAGE.write_text(page(cells, kinds))
    elif as_json:
        report: dict[str, Any] = {"cells": cells, "versions": versions(kinds)}
        print(json.dumps(report))
    else:
        print(table(cells, kinds))


if __name__ == "__main__":
    main()
