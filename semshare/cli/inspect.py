# SPDX-License-Identifier: MIT
"""`semshare inspect`: everything about one object, and who waits for whom because of it."""

from __future__ import annotations

import json
import time
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from semshare import AreaInfo, Error, SemaphoreSet, key_of
from semshare._abi import lib
from semshare._native import is_dead
from semshare.cli import age, condition, deadlocks, details, drawing, inventory, ls, parties, phrases, relations
from semshare.cli.contents import Content
from semshare.cli.group import Failure, wide_console
from semshare.cli.relations import Relations
from semshare.cli.sets import OWNERLESS, Holder, LockState, SetInfo
from semshare.deadlocks import Semaphore, Step


@click.command("inspect", short_help="Everything about one object, and who waits for whom.")
@click.argument("name", required=False)
@click.option("--semid", type=click.IntRange(0), help="A set, instead of a name: also one of another program.")
@click.option("--number", type=click.IntRange(0), help="Only this lock of a pool, or this semaphore of a set.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(name: str | None, semid: int | None, number: int | None, as_json: bool) -> None:
    """Show everything about the object NAME: kind, values, who has it, who waits, who died, age.

    And draw who has it, what those wait for in turn, and who waits for it; a deadlock is named. Nothing is taken, or
    changed. What cannot be seen is said: a kernel thread's wait, say, or processes of other users.
    """
    if (name is None) == (semid is None):
        raise click.UsageError("give a name or --semid")
    if name is not None:
        try:
            key_of(name)
        except ValueError as error:
            raise Failure(str(error)) from error
    found = relations.take()
    area = None
    if name is not None:
        area = next((each for each in inventory.take().areas if each[0].name == name and not each[0].unlinked), None)
        semid = (
            area[0].semid if area is not None else next((i.semid for i in found.sets.values() if i.name == name), None)
        )
    info = found.sets.get(semid) if semid is not None else None
    if info is None and area is None:
        what = name if name is not None else f"set {semid}"
        raise Failure(f"{what}: there is no such object; semshare ls shows all")
    if info is not None and number is not None and number >= info.state.semaphores:
        raise Failure(f"{phrases.name_of(info)} has semaphores 0 to {info.state.semaphores - 1}, and no {number}")
    cycles = [cycle for cycle in found.cycles if info is not None and _concerns(cycle, info.semid)]
    if as_json:
        click.echo(json.dumps(_details(found, area, info, number, cycles)))
    else:
        _show(found, area, info, number, cycles)


def _concerns(cycle: tuple[Step, ...], semid: int) -> bool:
    return any(step.semaphore.semid == semid for step in cycle)


# ------------------------------------------------------------------------------------------------------- for programs


def _details(
    found: Relations,
    area: tuple[AreaInfo, Content | None] | None,
    info: SetInfo | None,
    only: int | None,
    cycles: list[tuple[Step, ...]],
) -> dict[str, Any]:
    return {
        "area": details.of_area(*area) if area is not None else None,
        "set": _set_details(found, info, only) if info is not None else None,
        "deadlocks": [deadlocks.cycle_details(found, cycle) for cycle in cycles],
        "hidden_processes": found.hidden,
    }


def _set_details(found: Relations, info: SetInfo, only: int | None) -> dict[str, Any]:
    numbers = [only] if only is not None else drawing.numbers_of(found, info)
    locks = {lock.number: lock for lock in info.locks}
    return {
        **details.of_set(info),
        "kind": info.kind,
        "shmid": info.shmid,
        "taken_times": info.turns,
        "generation": info.generation,
        "broken": info.broken,
        "changed": info.state.last_change,
        "last_operation": info.state.last_operation or None,
        "open_in": [parties.details(thread) for thread in parties.attached_to(info.shmid)],
        "semaphores": [_semaphore_details(found, info, number, locks.get(number)) for number in numbers],
    }


def _semaphore_details(found: Relations, info: SetInfo, number: int, lock: LockState | None) -> dict[str, Any]:
    semaphore = Semaphore(info.semid, number)
    return {
        "number": number,
        "what": phrases.semaphore(info, number),
        "value": info.values[number] if info.values else None,
        "owner": parties.details_of_holder(lock.holder) if lock is not None and lock.holder is not None else None,
        "holders": [
            {**parties.details(hold.thread), "certain": hold.certain} for hold in found.holds.get(semaphore, ())
        ],
        "waiters": [
            {**parties.details(each.wait.thread), "doing": phrases.wait(found.sets, each)}
            for each in found.waiters_for(*semaphore)
        ],
        "unknown_waiters": found.unknown.get(semaphore, 0),
    }


# --------------------------------------------------------------------------------------------------------- for people


def _show(
    found: Relations,
    area: tuple[AreaInfo, Content | None] | None,
    info: SetInfo | None,
    only: int | None,
    cycles: list[tuple[Step, ...]],
) -> None:
    console = wide_console()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for what, text in [
        *(_area_lines(*area) if area is not None else []),
        *(_set_lines(info) if info is not None else []),
    ]:
        if text:
            table.add_row(what, text)
    console.print(table)
    if info is not None:
        console.print()
        console.print(drawing.of_set(found, info, only), soft_wrap=True)
    for cycle in cycles:
        perhaps = "" if all(step.certain for step in cycle) else "perhaps a "
        console.print(f"[red]{perhaps}deadlock[/]: {escape(drawing.cycle_in_words(found, cycle))}", soft_wrap=True)
    if info is not None and any(each.semid == info.semid for each in found.unknown):
        console.print(f"[yellow]{escape(deadlocks.why(found))}[/]", soft_wrap=True)


def _area_lines(info: AreaInfo, content: Content | None) -> list[tuple[str, str]]:
    lines = [
        ("area", escape(info.name)),
        (
            "memory",
            f"{info.backend}, {info.kind}, {info.size:,} bytes, mode {info.mode:04o}, of {parties.user(info.uid)}",
        ),
        ("users", "not known" if info.handles is None else f"{info.handles} with it open"),
        ("made", _ago(info.created) + (f" by process {info.creator_pid}" if info.creator_pid else "")),
        ("stale", "nobody uses it any more: semshare rm --stale" if info.stale else ""),
    ]
    if content is not None:
        lines.append(("holds", content.kind.name))
        lines += list(zip(content.kind.columns, content.kind.row(content.state)))
    return lines


def _set_lines(info: SetInfo) -> list[tuple[str, str]]:
    state = info.state
    trouble = "red" if condition.is_troubled(info) else "default"
    beside = f", segment {info.shmid}" if info.shmid is not None else ""
    rwlock = info.kind == lib.SEMSHARE_SET_RWLOCK
    return [
        ("set" if not info.use else info.use, escape(info.name) or "without a name"),
        ("semid", f"{info.semid}, key {state.key & 0xFFFFFFFF:#010x}{beside}"),
        ("state", f"[{trouble}]{escape(condition.of(info))}[/]" if condition.of(info) else ""),
        ("values", ls.numbers(info.values)),
        ("mode", f"{state.mode & 0o777:04o}, of {parties.user(state.uid)}"),
        ("made", _ago(state.last_change)),
        ("last used", _ago(state.last_operation) if state.last_operation else "never"),
        ("written" if rwlock else "taken", _times(info.turns)),
        ("opened", _times(info.generation if info.kind == lib.SEMSHARE_SET_BARRIER else None)),
        ("changed", _last_pid(info)),
        ("deaths", str(info.deaths) if info.turns is not None else ""),
        ("died", ", ".join(_death(info, lock) for lock in info.locks if lock.dead is not None)),
        ("open in", escape(", ".join(parties.of(thread) for thread in parties.attached_to(info.shmid)))),
    ]


def _last_pid(info: SetInfo) -> str:
    """Who changed it last, of what has no owner."""
    if info.kind not in (*OWNERLESS, lib.SEMSHARE_SET_RWLOCK):
        return ""
    number = lib.SEMSHARE_RWLOCK_READERS if info.kind == lib.SEMSHARE_SET_RWLOCK else 0
    try:
        pid = SemaphoreSet(semid=info.semid).pid(number)
    except Error:
        return ""
    what = "reading begun or ended last" if number else "last"
    who = parties.of_holder(Holder(pid, "process" if pid else "", not is_dead(pid) if pid else None))
    return f"{what} by {escape(who)}"


def _death(info: SetInfo, lock: LockState) -> str:
    assert lock.dead is not None
    where = f" of lock {lock.number}" if len(info.values or ()) > 1 and len(info.locks) > 1 else ""
    then = "nobody has marked it consistent" if lock.suspect else "who takes it next will be told"
    return f"[red]{escape(parties.of_owner(lock.dead))} inside{where}[/]: {then}"


def _times(count: int | None) -> str:
    if count is None:
        return ""
    return "once so far" if count == 1 else f"{count:,} times so far" if count else "never"


def _ago(when: float) -> str:
    return f"{age.text(max(time.time() - when, 0.0))} ago"
