# SPDX-License-Identifier: MIT
"""`semshare ls`: what there is."""

from __future__ import annotations

import json
from collections import Counter

import click
from rich.markup import escape
from rich.table import Table

from semshare import AreaInfo
from semshare.cli import condition, contents, details, inventory, parties
from semshare.cli.contents import Content, Kind
from semshare.cli.group import print_lines, wide_console
from semshare.cli.sets import Holder, SetInfo

SHOWN = 8
"""So many values of a set stand in its line. Of one that has more, half as many: it has a line as others have."""
HOLDERS = 2
"""So many of a pool do, each with how many of its locks he has."""

WORDY = ("state", "held by", "values", "waiters", "waiting", "memory", "asks", "answers")


@click.command("ls", short_help="List areas, what they hold, and semaphore sets.")
@click.option("--all", "everybodys", is_flag=True, help="Also sets that are not known to be of this package.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(everybodys: bool, as_json: bool) -> None:
    """List areas, what they hold, and semaphore sets: owners, users, waiters, fill levels.

    All of it is looked at without taking a lock, while others go on.
    """
    found = inventory.take(everybodys=everybodys)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "areas": [details.of_area(info, content) for info, content in found.areas],
                    "sets": [details.of_set(each) for each in found.sets],
                }
            )
        )
        return
    console = wide_console()
    if found.areas:
        print_lines(console, _areas(found.areas))
    else:
        console.print("no areas")
    for kind in contents.KINDS:
        such = [(info, content) for info, content in found.areas if content is not None and content.kind is kind]
        if such:
            console.print()
            print_lines(console, _contents(kind, such))
    stale = [info.name for info, _ in found.areas if info.stale]
    if stale:
        console.print()
        console.print(f"{len(stale)} stale, of processes that were killed: semshare rm --stale", soft_wrap=True)
    console.print()
    if found.sets:
        print_lines(console, _sets(found.sets))
    else:
        console.print("no sets of this package" if not everybodys else "no sets")


# --------------------------------------------------------------------------------------------------------- for people


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in columns:
        right = column in ("size", "users", "semid", "put", "repairs", "deaths")
        # On a narrow terminal words go to the next line, rather than numbers lose their end.
        table.add_column(column, justify="right" if right else "left", no_wrap=column not in WORDY)
    return table


def _areas(areas: list[tuple[AreaInfo, Content | None]]) -> Table:
    table = _table("area", "backend", "memory", "size", "mode", "owner", "users", "semid", "holds", "state")
    for info, content in areas:
        state = details.condition_of(info)
        table.add_row(
            escape(info.name),
            info.backend,
            _memory(info),
            f"{info.size:,}",
            f"{info.mode:04o}",
            parties.user(info.uid),
            _users(info),
            "-" if info.semid is None else str(info.semid),
            content.kind.name if content is not None else "-",
            f"[red]{state}[/]" if state == "stale" else state,
        )
    return table


def _memory(info: AreaInfo) -> str:
    """Where its memory comes from, and where it is mapped."""
    text = info.kind
    if info.huge_pages:
        text += f", {info.huge_pages} huge"
    if info.address:
        text += f" at {info.address:#x}"
    return text


def _contents(kind: Kind, such: list[tuple[AreaInfo, Content]]) -> Table:
    """All the objects of one kind."""
    table = _table(kind.name, *kind.columns)
    for info, content in such:
        table.add_row(escape(info.name), *kind.row(content.state))
    return table


def _users(info: AreaInfo) -> str:
    """Handles, and what else holds it."""
    text = "?" if info.handles is None else str(info.handles)
    if info.maps:
        text += f"+{info.maps} maps"
    if info.kernel_users:
        text += f"+{info.kernel_users} kernel"
    return text


def _sets(sets: list[SetInfo]) -> Table:
    table = _table("semid", "key", "name", "use", "state", "mode", "owner", "values", "waiters", "held by", "deaths")
    for each in sets:
        table.add_row(
            str(each.semid),
            f"{each.state.key & 0xFFFFFFFF:#010x}",
            escape(each.name) or "-",
            each.use or "-",
            _state(each),
            f"{each.state.mode & 0o777:04o}",
            parties.user(each.state.uid),
            numbers(each.values),
            _waiters(each),
            held_by(each),
            str(each.deaths),
        )
    return table


def _state(each: SetInfo) -> str:
    text = escape(condition.of(each)) or "-"
    return f"[red]{text}[/]" if condition.is_troubled(each) else text


def numbers(given: list[int] | None) -> str:
    """The first of them; "?" if this user may not see them."""
    if given is None:
        return "?"
    shown = " ".join(map(str, given if len(given) <= SHOWN else given[: SHOWN // 2]))
    return shown + (" …" if len(given) > SHOWN else "")


def _waiters(each: SetInfo) -> str:
    """How many wait for each semaphore, and after a slash, if there are any, for its becoming 0; of many, for any."""
    if len(each.waiters or []) > SHOWN:
        return f"{each.waiting} in all"
    text = numbers(each.waiters)
    return text + (f" / {numbers(each.zero_waiters)}" if any(each.zero_waiters or []) else "")


def held_by(each: SetInfo) -> str:
    """Who holds its locks, and who has a role."""
    taken = Counter(_holder(lock.holder) for lock in each.locks if lock.holder is not None)
    found = [who if times == 1 else f"{who} ×{times}" for who, times in taken.most_common(HOLDERS)]
    found += ["…"] if len(taken) > HOLDERS else []
    roles: dict[str, str] = {}
    for role, _, holder in each.roles:
        who = _holder(holder)
        roles[who] = f"{roles[who]} and {role}" if who in roles else role
    return ", ".join([*found, *(f"{who} ({role})" for who, role in roles.items())]) or "-"


def _holder(holder: Holder) -> str:
    if not holder.pid:
        return "kernel" if holder.kind == "kernel" else "kernel or another pid namespace"
    return f"{holder.kind} {holder.pid}" + (" [red]dead[/]" if holder.alive is False else "")
