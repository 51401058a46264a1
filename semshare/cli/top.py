# SPDX-License-Identifier: MIT
"""`semshare top`: what goes on now at sets, locks, rings, channels and areas."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from semshare import AreaInfo, ChannelState, RingState
from semshare.cli import condition, details, inventory
from semshare.cli.group import print_lines, wide_console
from semshare.cli.inventory import Inventory
from semshare.cli.ls import WORDY, held_by
from semshare.cli.rates import Rates
from semshare.cli.sets import SetInfo


@dataclass(frozen=True)
class View:
    """One refresh: what there is, and how fast it goes."""

    when: float
    """Seconds since 1970."""
    found: Inventory
    rates: Rates

    def rate_of(self, each: SetInfo) -> float | None:
        """How often the locks of a set are taken, each second."""
        return self.rates.of("set", (each.semid, each.state.last_change)).get("taken")

    @property
    def sets(self) -> list[SetInfo]:
        """The busiest first, and those that somebody has or waits for before the rest."""
        return sorted(self.found.sets, key=self._order)

    def _order(self, each: SetInfo) -> tuple[float, int, bool, str, int]:
        taken = any(lock.holder is not None for lock in each.locks)
        return -(self.rate_of(each) or 0.0), -each.waiting, not taken, each.name, each.semid

    def holding(self, kind: type) -> list[tuple[AreaInfo, Any]]:
        """The areas with an object of that kind, and its state."""
        return [
            (info, each.state) for info, each in self.found.areas if each is not None and isinstance(each.state, kind)
        ]


@click.command("top", short_help="What goes on now: rates, fill, contention.")
@click.option(
    "--interval", type=click.FloatRange(0.05), default=1.0, show_default=True, help="Seconds to the next look."
)
@click.option("-n", "--count", type=click.IntRange(1), help="End after so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for each look.")
def command(interval: float, count: int | None, as_json: bool) -> None:
    """Show what goes on at sets, locks, rings, channels and areas, until Ctrl-C: rates, fill, and who waits.

    All of it is looked at without taking a lock. Rates are those of a second, since the look before. Where the output
    is no terminal, each look is printed below the one before.
    """
    console = wide_console()
    try:
        if as_json:
            _each(interval, count, False, lambda view: click.echo(json.dumps(as_dict(view))))
        elif console.is_terminal:
            _live(console, interval, count)
        else:
            _each(interval, count, False, lambda view: _print(console, view))
    except KeyboardInterrupt:
        # How one ends it: nothing is wrong.
        pass


def _live(console: Console, interval: float, count: int | None) -> None:
    last: list[View] = []
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:

            def show(view: View) -> None:
                last[:] = [view]
                live.update(_table_of(view), refresh=True)

            _each(interval, count, True, show)
    finally:
        # The screen as it was before has come back: leave what was seen last, as top does.
        if last:
            _print(console, last[0])


def _print(console: Console, view: View) -> None:
    print_lines(console, _table_of(view))
    console.print()


def _each(interval: float, count: int | None, at_once: bool, show: Callable[[View], object]) -> None:
    """Look, again and again.

    Args:
        at_once: show the first look too, which has no rates.
    """
    views = _views(interval)
    first = next(views)
    if at_once:
        show(first)
    for number, view in enumerate(views, 1):
        show(view)
        if number == count:
            break


def _views(interval: float) -> Iterator[View]:
    rates = None
    due = time.monotonic()
    while True:
        found = inventory.take()
        rates = Rates(found, rates)
        yield View(time.time(), found, rates)
        # By the clock, so that what a look takes does not add up; but never without a pause.
        due = max(due + interval, time.monotonic() + interval / 10)
        time.sleep(due - time.monotonic())


# ------------------------------------------------------------------------------------------------------- for programs


def as_dict(view: View) -> dict[str, Any]:
    """One refresh for programs. Rates are of a second; null where there is nothing to compare with."""
    return {
        "time": view.when,
        "seconds": view.rates.seconds,
        "sets": [
            # Without what a pool has thousands of.
            {
                **{key: value for key, value in details.of_set(each).items() if key not in details.EACH_SEMAPHORE},
                "waiting": each.waiting,
                "rates": {"taken": view.rate_of(each)},
            }
            for each in view.sets
        ],
        "areas": [{**details.of_area(*each), "rates": _area_rates(view, each[0])} for each in view.found.areas],
    }


def _area_rates(view: View, info: AreaInfo) -> dict[str, float | None]:
    return view.rates.of("ring", info.name) or view.rates.of("channel", info.name)


# --------------------------------------------------------------------------------------------------------- for people


def _table_of(view: View) -> RenderableType:
    when = time.strftime("%H:%M:%S", time.localtime(view.when))
    taken = sum(lock.holder is not None for each in view.found.sets for lock in each.locks)
    waiting = sum(each.waiting for each in view.found.sets)
    parts: list[RenderableType] = [
        f"[bold]{when}[/]  {_plural(len(view.found.sets), 'set')}, {_plural(taken, 'lock')} taken, "
        f"{waiting:,} waiting; {_plural(len(view.found.areas), 'area')}"
    ]
    for table in (_rings(view), _channels(view), _sets(view), _areas(view)):
        if table.row_count:
            parts += ["", table]
    return Group(*parts)


def _plural(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _table(*columns: str) -> Table:
    """Columns whose names end in a blank are of numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in columns:
        right = column.endswith(" ")
        table.add_column(column.strip(), justify="right" if right else "left", no_wrap=right or column not in WORDY)
    return table


def _rate(rate: float | None) -> str:
    if rate is None:
        return "-"
    return f"{rate:,.0f}" if rate >= 10 or rate == 0 else f"{rate:.1f}"


def _rings(view: View) -> Table:
    table = _table(
        "ring", "variant", "fill ", "puts/s ", "gets/s ", "kB/s ", "drops/s ", "repairs ", "waiting", "state"
    )
    for info, ring in view.holding(RingState):
        rates = view.rates.of("ring", info.name)
        put_bytes = rates.get("put_bytes")
        sleepy = [
            who
            for who, may in (("consumers", ring.consumers_may_sleep), ("producers", ring.producers_may_sleep))
            if may
        ]
        table.add_row(
            escape(info.name),
            ring.variant,
            f"{ring.fill:.0%}",
            _rate(rates.get("puts")),
            _rate(rates.get("gets")),
            _rate(put_bytes / 1000 if put_bytes is not None else None),
            _rate(rates.get("drops")),
            str(ring.repairs),
            " and ".join(sleepy) or "-",
            f"[red]broken: {escape(ring.broken)}[/]" if ring.broken else "ok",
        )
    return table


def _channels(view: View) -> Table:
    table = _table("channel", "calls/s ", "replies/s ", "outstanding ", "state")
    for info, channel in view.holding(ChannelState):
        rates = view.rates.of("channel", info.name)
        table.add_row(
            escape(info.name),
            _rate(rates.get("calls")),
            _rate(rates.get("replies")),
            f"{channel.outstanding:,} of {channel.depth:,}",
            f"[red]broken: {escape(channel.broken)}[/]" if channel.broken else "ok",
        )
    return table


def _sets(view: View) -> Table:
    table = _table("set", "what", "semid ", "taken/s ", "waiting ", "state", "held by", "deaths ")
    for each in view.sets:
        state = escape(condition.of(each)) or "-"
        table.add_row(
            escape(each.name) or "-",
            each.use or "-",
            str(each.semid),
            _rate(view.rate_of(each)),
            f"[yellow]{each.waiting:,}[/]" if each.waiting else "0",
            f"[red]{state}[/]" if condition.is_troubled(each) else state,
            held_by(each),
            str(each.deaths),
        )
    return table


def _areas(view: View) -> Table:
    table = _table("area", "memory", "size ", "users ", "holds", "state")
    for info, content in view.found.areas:
        state = details.condition_of(info)
        table.add_row(
            escape(info.name),
            info.kind,
            f"{info.size:,}",
            "?" if info.handles is None else str(info.handles),
            content.kind.name if content is not None else "-",
            f"[red]{state}[/]" if info.stale else state,
        )
    return table
