# SPDX-License-Identifier: MIT
"""`semshare ls`: what there is."""

from __future__ import annotations

import json
import pwd
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from semshare import AreaInfo
from semshare.cli import contents, inventory
from semshare.cli.contents import Content, Kind
from semshare.cli.group import wide_console
from semshare.cli.inventory import Holder, SetInfo


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
                    "areas": [_area_dict(info, content) for info, content in found.areas],
                    "sets": [_set_dict(each) for each in found.sets],
                }
            )
        )
        return
    console = wide_console()
    if found.areas:
        console.print(_areas(found.areas), soft_wrap=True)
    else:
        console.print("no areas")
    for kind in contents.KINDS:
        such = [(info, content) for info, content in found.areas if content is not None and content.kind is kind]
        if such:
            console.print()
            console.print(_contents(kind, such), soft_wrap=True)
    stale = [info.name for info, _ in found.areas if info.stale]
    if stale:
        console.print()
        console.print(f"{len(stale)} stale, of processes that were killed: semshare rm --stale", soft_wrap=True)
    console.print()
    if found.sets:
        console.print(_sets(found.sets), soft_wrap=True)
    else:
        console.print("no sets of this package" if not everybodys else "no sets")


# ------------------------------------------------------------------------------------------------------- for programs


def _area_dict(info: AreaInfo, content: Content | None) -> dict[str, Any]:
    return {
        "name": info.name,
        "backend": info.backend,
        "kind": info.kind,
        "address": info.address,
        "huge_pages": info.huge_pages,
        "size": info.size,
        "mode": f"{info.mode:04o}",
        "uid": info.uid,
        "gid": info.gid,
        "key": info.key,
        "created": info.created,
        "creator_pid": info.creator_pid,
        "handles": info.handles,
        "maps": info.maps,
        "kernel_users": info.kernel_users,
        "semid": info.semid,
        "owns_set": info.owns_set,
        "state": _condition(info),
        "holds": content.kind.name if content is not None else None,
        **{each.name: None for each in contents.KINDS},
        **({content.kind.name: content.kind.details(content.state)} if content is not None else {}),
    }


def _set_dict(each: SetInfo) -> dict[str, Any]:
    holder = each.holder
    return {
        "semid": each.semid,
        "key": each.state.key & 0xFFFFFFFF,
        "name": each.name,
        "use": each.use,
        "mode": f"{each.state.mode & 0o777:04o}",
        "uid": each.state.uid,
        "values": each.values,
        "waiters": each.waiters,
        "zero_waiters": each.zero_waiters,
        "owner": _holder_dict(holder) if holder is not None else None,
        "roles": [{"role": role, **_holder_dict(holder)} for role, holder in each.roles],
        "deaths": each.deaths,
    }


def _holder_dict(holder: Holder) -> dict[str, Any]:
    return {"pid": holder.pid, "kind": holder.kind, "alive": holder.alive}


# --------------------------------------------------------------------------------------------------------- for people


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in columns:
        right = column in ("size", "users", "semid", "put", "repairs", "deaths")
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    return table


def _areas(areas: list[tuple[AreaInfo, Content | None]]) -> Table:
    table = _table("area", "backend", "memory", "size", "mode", "owner", "users", "semid", "holds", "state")
    for info, content in areas:
        state = _condition(info)
        table.add_row(
            escape(info.name),
            info.backend,
            _memory(info),
            f"{info.size:,}",
            f"{info.mode:04o}",
            _user(info.uid),
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


def _condition(info: AreaInfo) -> str:
    return "stale" if info.stale else "unlinked" if info.unlinked else "ok"


def _users(info: AreaInfo) -> str:
    """Handles, and what else holds it."""
    text = "?" if info.handles is None else str(info.handles)
    if info.maps:
        text += f"+{info.maps} maps"
    if info.kernel_users:
        text += f"+{info.kernel_users} kernel"
    return text


def _sets(sets: list[SetInfo]) -> Table:
    table = _table("semid", "key", "name", "use", "mode", "owner", "values", "waiters", "held by", "deaths")
    for each in sets:
        table.add_row(
            str(each.semid),
            f"{each.state.key & 0xFFFFFFFF:#010x}",
            escape(each.name) or "-",
            each.use or "-",
            f"{each.state.mode & 0o777:04o}",
            _user(each.state.uid),
            _numbers(each.values),
            _waiters(each),
            _held_by(each),
            str(each.deaths),
        )
    return table


def _numbers(numbers: list[int] | None) -> str:
    if numbers is None:
        return "?"
    shown = " ".join(map(str, numbers[:8]))
    return shown + (" …" if len(numbers) > 8 else "")


def _waiters(each: SetInfo) -> str:
    """How many wait for each semaphore, and after a slash, if there are any, for its becoming 0."""
    text = _numbers(each.waiters)
    return text + (f" / {_numbers(each.zero_waiters)}" if any(each.zero_waiters or []) else "")


def _held_by(each: SetInfo) -> str:
    """Who holds semaphore 0, and who has a role."""
    found = [] if each.holder is None else [_holder(each.holder)]
    roles: dict[str, str] = {}
    for role, holder in each.roles:
        who = _holder(holder)
        roles[who] = f"{roles[who]} and {role}" if who in roles else role
    return ", ".join([*found, *(f"{who} ({role})" for who, role in roles.items())]) or "-"


def _holder(holder: Holder) -> str:
    if not holder.pid:
        return "kernel" if holder.kind == "kernel" else "kernel or another pid namespace"
    return f"{holder.kind} {holder.pid}" + (" [red]dead[/]" if holder.alive is False else "")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
