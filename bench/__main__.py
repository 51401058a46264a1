# SPDX-License-Identifier: MIT
"""``python -m bench``: every promise about speed, as a ratio against a named rival in this very run."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterator

import click
from rich.console import Console
from rich.table import Table

from . import instructions, locks, measure, parameters, records, rings, wakeups
from .instructions import Counted
from .measure import Comparison


def comparisons(rounds: int, only: str | None) -> Iterator[Comparison]:
    yield from locks.locks(rounds)
    if only == "locks":
        return
    yield from rings.rings(rounds)
    yield from wakeups.wakeups(rounds)
    yield from parameters.parameters(rounds)


def comparison_table(rows: list[Comparison], title: str) -> Table:
    table = Table(title=title)
    table.add_column("what")
    table.add_column("against")
    table.add_column("ours", justify="right")
    table.add_column("theirs", justify="right")
    table.add_column("ratio (min–max)", justify="right")
    table.add_column("wanted", justify="right")
    table.add_column("")
    for row in rows:
        ratios = row.ratios
        table.add_row(
            row.what + "".join(f"\n[dim]{note}[/dim]" for note in row.notes),
            row.against,
            f"{statistics.median(row.ours):,.0f} {row.unit}",
            f"{statistics.median(row.rival):,.0f} {row.unit}",
            f"{row.ratio:.2f} ({min(ratios):.2f}–{max(ratios):.2f})",
            row.wanted,
            "✓" if row.met else "✗",
        )
    return table


def instruction_table(counted: Counted, functions: bool) -> Table:
    """A column for each kind of pair, a row for each section, or function."""
    title = f"Instructions of an uncontended lock and unlock. Linux {counted.kernel}, {counted.boot}, emulated"
    table = Table(title=title)
    table.add_column("where they go")
    for kind in instructions.KINDS:
        table.add_column(kind.name.replace(": ", ":\n"), justify="right")
    if functions:
        for name, counts in instructions.functions_of(counted).items():
            table.add_row(name.replace("[", r"\["), *(f"{count:,}" if count else "" for count in counts))
    else:
        columns = [counted.sections(kind) for kind in instructions.KINDS]
        for section in columns[0]:
            row = [column[section] for column in columns]
            if any(row):
                table.add_row(section, *(f"{count:,.0f}" if count else "" for count in row))
    table.add_section()
    table.add_row("together", *(f"{counted.pairs[kind]:,.0f}" for kind in instructions.KINDS))
    for rival in (instructions.SYSCALL, instructions.SYSCALL_UNDO):
        ratios = [f"{counted.ratio(kind, rival):.3f}" for kind in instructions.KINDS]
        if rival is instructions.SYSCALL:
            place = instructions.KINDS.index(instructions.THREAD)
            ratios[place] += f" {'✓' if counted.met else '✗'} (wanted ≤ {instructions.WANTED})"
        table.add_row(f"ratio to {rival.name}", *ratios)
    return table


def count_instructions(kernel: str, progress: Console, must: bool) -> list[Counted]:
    """Where there can be no virtual machine, nothing, and a line that says why; an error if it ``must`` be."""
    boots = []
    try:
        for counted in instructions.instructions(kernel):
            boots.append(counted)
            rival = instructions.SYSCALL
            ratio = counted.ratio(instructions.THREAD, rival)
            progress.print(f"{counted.boot}: {ratio:.3f} × the instructions of {rival.name}", highlight=False)
    except instructions.BenchError as error:
        if must:
            raise click.ClickException(f"no instructions counted: {error}") from None
        progress.print(f"no instructions counted: {error}", highlight=False, markup=False)
    return boots


def count_records(kernel: str, progress: Console, must: bool) -> list[Comparison]:
    """As count_instructions()."""
    rows = []
    try:
        for row in records.records(kernel):
            rows.append(row)
            progress.print(f"{row.what}: {row.ratio:.3f} × {row.against}", highlight=False)
    except instructions.BenchError as error:
        if must:
            raise click.ClickException(f"no records counted: {error}") from None
        progress.print(f"no records counted: {error}", highlight=False, markup=False)
    return rows


@click.command()
@click.option("--rounds", default=measure.ROUNDS, show_default=True, type=click.IntRange(5))
@click.option("--only", type=click.Choice(["times", "locks", "instructions"]), help="One part; locks: of times.")
@click.option("--kernel", envvar="KERNEL", default="6.1", show_default=True, help="Of the virtual machine.")
@click.option("--functions", is_flag=True, help="Instructions by function rather than by what they are for.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout instead of the tables.")
def main(rounds: int, only: str | None, kernel: str, functions: bool, as_json: bool) -> None:
    """Measure and print.

    Times are this machine's, without the kernel module: an emulated processor's mean nothing. They are the reader's to
    judge. Instructions are counted in the virtual machine, where there is one: they are the same in each run, so that
    more than is promised is an error.
    """
    progress = Console(stderr=True)
    rows = []
    for row in comparisons(rounds, only) if only != "instructions" else ():
        rows.append(row)
        progress.print(f"{row.what}: {row.ratio:.2f} × {row.against}", highlight=False)
    machine = {
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }
    counting = only in (None, "instructions")
    boots = count_instructions(kernel, progress, must=only is not None) if counting else []
    counted_rows = count_records(kernel, progress, must=only is not None) if counting else []
    if as_json:
        report = {
            "machine": machine,
            "rounds": rounds,
            "rows": [row.as_dict() for row in rows],
            "instructions": [counted.as_dict() for counted in boots],
            "records": [row.as_dict() for row in counted_rows],
        }
        print(json.dumps(report))
    else:
        console = Console(width=None if os.isatty(1) else 150)
        if rows:
            title = (
                f"Medians of {rounds} rounds, rivals in turn. {machine['cpus']} CPUs, Linux {machine['kernel']}, "
                f"Python {machine['python']}, load {machine['load']:.1f}"
            )
            console.print(comparison_table(rows, title))
        for counted in boots:
            console.print(instruction_table(counted, functions))
        if counted_rows:
            title = "Instructions of a record from kernel code to Python, both sides together. Emulated"
            console.print(comparison_table(counted_rows, title))
    over = [counted.boot for counted in boots if not counted.met]
    over += [row.what for row in counted_rows if not row.met]
    if over:
        raise click.ClickException(f"more instructions than promised: {', '.join(over)}")


if __name__ == "__main__":
    main()
