# SPDX-License-Identifier: MIT
"""The report of a run, for people."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from semshare.demo.program_start import ProgramStart
from semshare.demo.result import Counter, LockFigures, Result


def show(result: Result, console: Console) -> None:
    """Print it."""

    def line(text: str, style: str = "") -> None:
        # Not cut to the terminal's width: a line stays a line when the output goes to a file.
        console.print(escape(text), style=style, soft_wrap=True)

    how = "one lock around one buffer" if result.locked else "WITHOUT the lock"
    if machine := result.machine:
        line(
            f"area {result.area} ({machine['backend']}), {how}, {result.seconds:.1f} s; Linux {machine['kernel']}, "
            f"{machine['cpus']} CPUs{', a virtual machine' if machine['vm'] else ''}, Python {machine['python']}"
        )
    if result.producers:
        console.print()
        console.print(_producers(result))
        console.print()
    if result.strays or result.damages:
        line(
            f"beside that: {result.strays} records that name no producer, "
            f"{result.damages} times cursors or records that made no sense"
        )
    line(_lock(result.lock) if result.locked else "lock: not taken")
    if result.counter is not None:
        line(*_counter(result.counter))
    if result.program_starts:
        line("programs started just now, as the kernel saw them:")
        console.print(_starts(result.program_starts))
    for note in result.notes:
        line(note, "dim")
    for reason in result.reasons():
        line(f"not ok: {reason}", "red")
    if result.ok:
        what = "it adds up" if result.locked else "it does not add up, and that is what the lock is for"
        line(f"ok: {what}", "green")


def _table() -> Table:
    return Table(box=None, padding=(0, 2, 0, 0))


def _producers(result: Result) -> Table:
    table = _table()
    for column in ("producer", "kind"):
        table.add_column(column, no_wrap=True)
    for column in ("sent", "received", "lost", "out of order", "torn", "records/s"):
        table.add_column(column, justify="right", no_wrap=True)
    for producer in result.producers:
        table.add_row(
            producer.name,
            producer.kind,
            "?" if producer.sent is None else f"{producer.sent:,}",
            f"{producer.received:,}",
            _bad(producer.lost),
            _bad(producer.out_of_order),
            _bad(producer.torn),
            f"{producer.rate:,.0f}",
        )
    return table


def _bad(number: int) -> str:
    return f"[red]{number:,}[/]" if number else "0"


def _lock(lock: LockFigures) -> str:
    waits = "nobody took it"
    if lock.wait_p50_ns is not None and lock.wait_p99_ns is not None:
        waits = f"wait p50 {_duration(lock.wait_p50_ns)}, p99 {_duration(lock.wait_p99_ns)}"
    return (
        f"lock: {lock.acquisitions:,} acquisitions, {lock.contended_share:.1%} contended, {waits} "
        f"({lock.parties} parties; a plain program measures nothing)"
    )


def _duration(ns: int) -> str:
    for unit, size in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns} ns"


def _counter(counter: Counter) -> tuple[str, str]:
    missing = counter.expected - counter.counted
    text = f"counter: expected {counter.expected:,}, counted {counter.counted:,}"
    if not counter.complete:
        text += ", not all parties could say how much they added"
    elif missing:
        text += f", {missing:,} missing"
    return f"{text} ({len(counter.parties)} parties, {counter.seconds:.1f} s)", "red" if missing else ""


def _starts(starts: list[ProgramStart]) -> Table:
    table = _table()
    for column in ("pid", "parent", "uid"):
        table.add_column(column, justify="right")
    for column in ("name", "path"):
        table.add_column(column)
    for start in starts:
        table.add_row(str(start.pid), str(start.parent), str(start.uid), escape(start.name), escape(start.path))
    return table
