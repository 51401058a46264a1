# SPDX-License-Identifier: MIT
"""Trees of who has and who waits for what."""

from __future__ import annotations

from collections.abc import Iterator

from rich.markup import escape
from rich.tree import Tree

from semshare._abi import lib
from semshare._native import is_dead
from semshare.cli import condition, parties, phrases
from semshare.cli.relations import Relations, Waiting
from semshare.cli.sets import SetInfo
from semshare.deadlocks import Hold, Semaphore, Step
from semshare.waits import Thread


def of_set(relations: Relations, info: SetInfo, only: int | None = None) -> Tree:
    """Who has the semaphores of a set, or only one of them, and for what those wait in turn; and who waits for them."""
    state = condition.of(info)
    tree = Tree(escape(phrases.name_of(info) + (f": {state}" if state else "")))
    numbers = numbers_of(relations, info)
    for number in [only] if only is not None else numbers:
        # What there is but one of needs no branch of its own.
        alone = number == 0 and len(info.values or ()) == 1
        branch = tree if alone else tree.add(escape(phrases.semaphore(info, number)))
        semaphore = Semaphore(info.semid, number)
        for holder in [lock.holder for lock in info.locks if lock.number == number and lock.holder is not None]:
            if not holder.pid:
                branch.add(f"held by {parties.of_holder(holder)}")
        if _are_readers(info, number) and info.values and info.values[number]:
            branch.add(f"[yellow]{info.values[number]:,} inside, and who is not known[/]")
        for hold in relations.holds.get(semaphore, ()):
            _go_on(relations, branch.add(_held_by(info, number, hold)), hold, (hold.thread,))
        for waiting in relations.waiters_for(*semaphore):
            branch.add(escape(f"{parties.of(waiting.wait.thread)} {phrases.wait(relations.sets, waiting)}"))
        if unknown := relations.unknown.get(semaphore, 0):
            branch.add(f"[yellow]{unknown} more wait{'s' if unknown == 1 else ''}, and who is not known[/]")
    return tree


def of_cycle(relations: Relations, cycle: tuple[Step, ...]) -> Tree:
    """A cycle from its first thread back to that."""
    tree = branch = Tree(escape(parties.of(cycle[0].thread)))
    for step, following in _steps(cycle):
        what = phrases.wait(relations.sets, relations.waits[step.thread])
        has = "has" if step.certain else "perhaps has"
        if following == cycle[0].thread:
            first = name_of(following)
            branch.add(f"{escape(what)}, which [bold]{first}[/] {has}: [red]round again[/]")
        else:
            branch = branch.add(escape(f"{what}, which {parties.of(following)} {has}"))
    return tree


def cycle_in_words(relations: Relations, cycle: tuple[Step, ...]) -> str:
    """The same in a line: process 1 → lock B → process 2 → lock A → process 1."""
    words = []
    for step in cycle:
        words += [name_of(step.thread), phrases.of(relations.sets, step.semaphore)]
    return " → ".join([*words, name_of(cycle[0].thread)])


def name_of(thread: Thread) -> str:
    """A thread without its command."""
    return f"process {thread.pid}" + (f", thread {thread.tid}" if thread.tid not in (0, thread.pid) else "")


def _steps(cycle: tuple[Step, ...]) -> Iterator[tuple[Step, Thread]]:
    """Each step, and the thread that it leads to."""
    for number, step in enumerate(cycle):
        yield step, cycle[(number + 1) % len(cycle)].thread


def numbers_of(relations: Relations, info: SetInfo) -> list[int]:
    """The semaphores of a set of which there is something to say."""
    found = {lock.number for lock in info.locks if lock.holder is not None}
    found |= {
        each.number for each in relations.holds if each.semid == info.semid and not _are_writers(info, each.number)
    }
    found |= {each.number for each in relations.unknown if each.semid == info.semid}
    found |= {each.number for w in relations.waits.values() for each in w.semaphores if each.semid == info.semid}
    if any(_are_readers(info, number) and value for number, value in enumerate(info.values or ())):
        found.add(lib.SEMSHARE_RWLOCK_READERS)
    return sorted(found)


def _are_readers(info: SetInfo, number: int) -> bool:
    """Whether a semaphore counts readers, who leave no words."""
    return (info.kind, number) == (lib.SEMSHARE_SET_RWLOCK, lib.SEMSHARE_RWLOCK_READERS)


def _are_writers(info: SetInfo, number: int) -> bool:
    """Whether a semaphore counts writers who wait, which is worth a word if somebody waits for them."""
    return (info.kind, number) == (lib.SEMSHARE_SET_RWLOCK, lib.SEMSHARE_RWLOCK_WAITING)


def _held_by(info: SetInfo, number: int, hold: Hold) -> str:
    who = parties.of(hold.thread)
    if _are_writers(info, number):
        text = f"one of them is {who}"
    elif not hold.certain:
        text = f"perhaps held by {who}, who changed it last"
    else:
        text = f"held by {who}"
    if hold.certain and is_dead(hold.thread.pid):
        what = info.name or f"--semid {info.semid}"
        more = f" --number {number}" if info.kind == lib.SEMSHARE_SET_POOL else ""
        text += f": semshare unlock {what}{more}"
    return escape(text)


def _go_on(relations: Relations, branch: Tree, hold: Hold, path: tuple[Thread, ...]) -> None:
    """Below who has something: what he waits for himself, and who has that."""
    for waiting in _waits_of(relations, hold.thread):
        node = branch.add(escape(phrases.wait(relations.sets, waiting)))
        for semaphore in waiting.semaphores:
            info = relations.sets[semaphore.semid]
            for following in relations.holds.get(semaphore, ()):
                text = _held_by(info, semaphore.number, following)
                if following.thread in path:
                    node.add(f"{text}: [red]round again[/]")
                else:
                    _go_on(relations, node.add(text), following, (*path, following.thread))


def _waits_of(relations: Relations, thread: Thread) -> list[Waiting]:
    """What a thread waits for; or, if it is not known which one it is, all of its process."""
    return [
        waiting
        for each, waiting in sorted(relations.waits.items())
        if each == thread or (not thread.tid and each.pid == thread.pid)
    ]
