# SPDX-License-Identifier: MIT
"""`semshare doctor --deadlocks`: all deadlocks of this IPC namespace, drawn, and what cannot be known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from semshare.cli import drawing, parties, phrases, relations
from semshare.cli.group import wide_console
from semshare.cli.relations import Relations
from semshare.deadlocks import Step

PRESUMED = (
    "it is presumed who has a semaphore: where nothing says so, who changed it last; of a task's lock, any thread of "
    "its process. Look at what the programs do"
)

LOOKS = 6
PAUSE = 0.1
"""More, and more patient, than for a picture: what is called a deadlock here stood still so long."""


def report(as_json: bool) -> bool:
    """Print them. Returns whether there is any."""
    found = relations.take(LOOKS, PAUSE)
    if as_json:
        click.echo(json.dumps(details(found)))
    else:
        _show(found)
    return bool(found.cycles)


def details(found: Relations) -> dict[str, Any]:
    """What was found, for programs."""
    return {
        "ok": not found.cycles,
        "deadlocks": [cycle_details(found, cycle) for cycle in found.cycles],
        "unknown": [
            {**_semaphore(found, semaphore.semid, semaphore.number), "waiters": number}
            for semaphore, number in sorted(found.unknown.items())
        ],
        "unplaced": [parties.details(thread) for thread in found.unplaced],
        "hidden_processes": found.hidden,
    }


def cycle_details(found: Relations, cycle: tuple[Step, ...]) -> dict[str, Any]:
    """A cycle, for programs: each thread waits for what the next one has, and the last for what the first has."""
    return {
        "certain": all(step.certain for step in cycle),
        "cycle": drawing.cycle_in_words(found, cycle),
        "threads": [
            {
                **parties.details(step.thread),
                "waits_for": _semaphore(found, step.semaphore.semid, step.semaphore.number),
            }
            for step in cycle
        ],
    }


def _semaphore(found: Relations, semid: int, number: int) -> dict[str, Any]:
    info = found.sets[semid]
    return {
        "semid": semid,
        "number": number,
        "name": info.name,
        "use": info.use,
        "what": phrases.semaphore(info, number),
    }


def _show(found: Relations) -> None:
    console = wide_console()
    for number, cycle in enumerate(found.cycles, 1):
        perhaps = "" if all(step.certain for step in cycle) else "perhaps a "
        who = "a thread waits for itself" if len(cycle) == 1 else f"{len(cycle)} threads wait for each other"
        console.print(f"[red]{perhaps}deadlock {number}[/]: {who}", soft_wrap=True)
        console.print(drawing.of_cycle(found, cycle), soft_wrap=True)
        console.print(escape(drawing.cycle_in_words(found, cycle)), soft_wrap=True)
        if perhaps:
            console.print(PRESUMED, soft_wrap=True)
        behind = _behind(found, cycle)
        if behind:
            console.print(escape(f"behind them wait {', '.join(behind)}"), soft_wrap=True)
        pid = cycle[-1].thread.pid
        console.print(
            f"to resolve it, end one of them: kill {pid}; the next who has its lock is told\n", soft_wrap=True
        )
    if not found.cycles:
        console.print("no deadlocks" + (" that can be seen from here" if found.unknown else ""))
    for line in unknowns(found):
        console.print(f"[yellow]{escape(line)}[/]", soft_wrap=True)


def _behind(found: Relations, cycle: tuple[Step, ...]) -> list[str]:
    """Who waits for a semaphore of a cycle, and is not in it."""
    stuck = {step.thread for step in cycle}
    wanted = {step.semaphore for step in cycle}
    return [
        drawing.name_of(thread)
        for thread, waiting in sorted(found.waits.items())
        if thread not in stuck and wanted & set(waiting.semaphores)
    ]


def unknowns(found: Relations) -> list[str]:
    """What could not be seen, and why."""
    lines = []
    for semaphore, number in sorted(found.unknown.items()):
        what = phrases.of(found.sets, semaphore)
        lines.append(f"not known: who the {number} {'is who waits' if number == 1 else 'are who wait'} for {what}")
    if found.unknown and found.unplaced:
        who = ", ".join(parties.of(thread) for thread in found.unplaced)
        lines.append(f"they may be among those who sleep for a semaphore that cannot be seen: {who}")
    if found.unknown:
        lines.append(why(found))
    return lines


def why(found: Relations) -> str:
    """Why somebody who waits cannot be seen."""
    causes = ["kernel threads", "processes of other pid namespaces, or of 32 bits"]
    if found.hidden:
        causes.append(f"the {found.hidden} processes that this user may not look at ({_advice()})")
    return f"what cannot be seen from here: {', '.join(causes)}"


def _advice() -> str:
    try:
        scope = int(Path("/proc/sys/kernel/yama/ptrace_scope").read_text())
    except (OSError, ValueError):
        scope = 0
    why = f"kernel.yama.ptrace_scope is {scope}: " if scope else ""
    return f"{why}root may"
