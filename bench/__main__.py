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

from . import locks, measure, rings
from .measure import Comparison


def comparisons(rounds: int) -> Iterator[Comparison]:
    yield from locks.uncontended(rounds)
    yield from locks.contended(rounds)
    yield from rings.rings(rounds)


@click.command()
@click.option("--rounds", default=measure.ROUNDS, show_default=True, type=click.IntRange(5))
@click.option("--json", "as_json", is_flag=True, help="One object on stdout instead of the table.")
def main(rounds: int, as_json: bool) -> None:
    """Measure, print, and leave the judgement to the reader: the exit status says only that all of it ran."""
    progress = Console(stderr=True)
    rows = []
    for row in comparisons(rounds):
        rows.append(row)
        progress.print(f"{row.what}: {row.ratio:.2f} × {row.against}", highlight=False)
    machine = {
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }
    if as_json:
        print(json.dumps({"machine": machine, "rounds": rounds, "rows": [row.as_dict() for row in rows]}))
        return
    table = Table(
        title=f"Medians of {rounds} rounds, rivals in turn. {machine['cpus']} CPUs, Linux {machine['kernel']}, "
        f"Python {machine['python']}, load {machine['load']:.1f}"
    )
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
    Console(width=None if os.isatty(1) else 150).print(table)


if __name__ == "__main__":
    main()
