# SPDX-License-Identifier: MIT
"""Who has and who waits for what in this IPC namespace: several looks at all of it, put together.

No look is of one moment. What is said to stand still did so from the first to the last: a hold has the same epoch in
all of them, and a wait was seen in half of them at least, as those of this package have moments in which they are in no
semop. Of a cycle of such holds and waits nobody can have gone on in between.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from semshare import Error, SemaphoreSet, deadlocks, waits
from semshare._abi import lib
from semshare._native import is_dead
from semshare.cli import inventory
from semshare.cli.sets import Holder, SetInfo
from semshare.deadlocks import Hold, Semaphore, Step
from semshare.waits import Thread, Wait

LOOKS: Final = 4
PAUSE: Final = 0.05
"""Seconds between two looks."""


class Waiting(NamedTuple):
    """A thread that waits."""

    wait: Wait
    semaphores: tuple[Semaphore, ...]
    """Those that it cannot have as they are now. It sleeps on the first."""


@dataclass(frozen=True)
class Relations:
    """What several looks found."""

    sets: dict[int, SetInfo]
    """All of this namespace, as they were last."""
    holds: dict[Semaphore, list[Hold]]
    waits: dict[Thread, Waiting]
    unknown: dict[Semaphore, int]
    """How many more wait for each, of whom nothing is known."""
    cycles: list[tuple[Step, ...]]
    unplaced: list[Thread]
    """They sleep for a semaphore, and for which cannot be seen."""
    hidden: int
    """Processes that this user may not look at."""

    def waiters_for(self, semid: int, number: int | None = None) -> list[Waiting]:
        """Those who wait for a semaphore of a set, or for any."""
        return [
            waiting
            for _, waiting in sorted(self.waits.items())
            if any(each.semid == semid and number in (None, each.number) for each in waiting.semaphores)
        ]


class _Held(NamedTuple):
    """A hold, and what tells it from the next one by the same thread."""

    hold: Hold
    epoch: int | None


class _Look(NamedTuple):
    sets: dict[int, SetInfo]
    held: dict[Semaphore, list[_Held]]
    waits: dict[Thread, Waiting]
    unknown: dict[Semaphore, int]
    unplaced: list[Thread]
    hidden: int


def take(looks: int = LOOKS, pause: float = PAUSE) -> Relations:
    """Look so many times, with so many seconds in between, and put together what was seen."""
    seen = []
    for number in range(looks):
        if number:
            time.sleep(pause)
        seen.append(_look())
    return _together(seen)


def _together(seen: list[_Look]) -> Relations:
    last = seen[-1]
    found: dict[Thread, Waiting] = {}  # without those of sets that were removed since
    often: Counter[tuple[Thread, Semaphore]] = Counter()
    for look in seen:
        found.update({k: waiting for k, waiting in look.waits.items() if waiting.wait.semid in last.sets})
        often.update((thread, each) for thread, waiting in look.waits.items() for each in waiting.semaphores)

    def is_steady(thread: Thread, semaphore: Semaphore) -> bool:
        return 2 * often[thread, semaphore] >= len(seen)

    def is_still(semaphore: Semaphore, held: _Held) -> bool:
        return all(held in look.held.get(semaphore, ()) for look in seen)

    stuck = {
        thread: steady
        for thread, waiting in found.items()
        if (steady := [each for each in waiting.semaphores if is_steady(thread, each)])
    }
    found = {thread: waiting for thread, waiting in found.items() if thread in stuck or thread in last.waits}
    holds = {semaphore: [each.hold for each in held] for semaphore, held in last.held.items()}
    still = {
        semaphore: [each.hold for each in held if is_still(semaphore, each)] for semaphore, held in last.held.items()
    }
    for each in (holds, still):
        _add_announced(found, last.sets, each)
    waited_for = {semaphore for look in seen for semaphore in look.unknown if semaphore.semid in last.sets}
    unknown = {semaphore: _in_half([look.unknown.get(semaphore, 0) for look in seen]) for semaphore in waited_for}
    return Relations(
        last.sets,
        holds,
        found,
        {semaphore: number for semaphore, number in unknown.items() if number},
        deadlocks.find(stuck, still),
        last.unplaced,
        last.hidden,
    )


def _in_half(counts: list[int]) -> int:
    """The most that half of them reach: who waits in slices is missed now and then."""
    return sorted(counts)[len(counts) // 2]


def _look() -> _Look:
    sleepers = waits.look()
    sets = {info.semid: info for info in inventory.take(everybodys=True).sets}
    found = {}
    for wait in sleepers.waits:
        info = sets.get(wait.semid)
        if info is None or info.values is None:
            continue
        # If nothing is in the way any more, it is about to wake up.
        if blocked := waits.blocked(wait.operations, info.values):
            found[wait.thread] = Waiting(wait, tuple(Semaphore(wait.semid, each.number) for each in blocked))
    known = Counter(waiting.semaphores[0] for waiting in found.values())
    unknown = {}
    for info in sets.values():
        for number, (waiters, zero_waiters) in enumerate(zip(info.waiters or (), info.zero_waiters or ())):
            if waiters + zero_waiters:
                semaphore = Semaphore(info.semid, number)
                unknown[semaphore] = max(waiters + zero_waiters - known[semaphore], 0)
    held: dict[Semaphore, list[_Held]] = {}
    for info in sets.values():
        for number, holder, certain in _holders(info, found):
            if holder.pid:
                hold = Hold(_thread(holder), certain)
                held.setdefault(Semaphore(info.semid, number), []).append(_Held(hold, holder.epoch))
    return _Look(sets, held, found, unknown, sleepers.unplaced, sleepers.hidden)


def _thread(holder: Holder) -> Thread:
    """The thread that has something, or thread 0 of its process."""
    if holder.tid:
        return Thread(holder.pid, holder.tid)
    try:
        threads = os.listdir(f"/proc/{holder.pid}/task")
    except OSError:
        threads = []
    return Thread(holder.pid, int(threads[0]) if len(threads) == 1 else 0)


def _holders(info: SetInfo, found: dict[Thread, Waiting]) -> list[tuple[int, Holder, bool]]:
    """Who has which semaphores of a set, and whether that is certain."""
    holders = [(lock.number, lock.holder, True) for lock in info.locks if lock.holder is not None]
    holders += [(number, holder, True) for _, number, holder in info.roles]
    for number, pid in _last_pids(info, found):
        holders.append((number, Holder(pid, "process", True), False))
    return holders


def _last_pids(info: SetInfo, found: dict[Thread, Waiting]) -> Iterator[tuple[int, int]]:
    """Who changed a semaphore last that somebody waits for, where nothing else tells who has it.

    That is who has it if it is used as a lock. Who waits for it himself waits for an event, or for permits.
    """
    if info.use == "":
        guessed = range(info.state.semaphores)
    elif info.kind in (lib.SEMSHARE_SET_SEMAPHORE, lib.SEMSHARE_SET_BOUNDED):
        guessed = range(1)
    elif info.kind == lib.SEMSHARE_SET_RWLOCK:
        guessed = range(lib.SEMSHARE_RWLOCK_READERS, lib.SEMSHARE_RWLOCK_READERS + 1)
    else:
        return
    wanted = defaultdict(set)
    for thread, waiting in found.items():
        for each in waiting.semaphores:
            if each.semid == info.semid and each.number in guessed:
                wanted[each.number].add(thread.pid)
    for number, pids in wanted.items():
        with contextlib.suppress(Error):
            pid = SemaphoreSet(semid=info.semid).pid(number)
            if pid and pid not in pids and not is_dead(pid):
                yield number, pid


def _add_announced(found: dict[Thread, Waiting], sets: dict[int, SetInfo], holds: dict[Semaphore, list[Hold]]) -> None:
    """Add what the writers of read/write locks have who wait: readers wait until there is none."""
    for thread, (wait, _) in found.items():
        info = sets.get(wait.semid)
        if info is not None and info.kind == lib.SEMSHARE_SET_RWLOCK:
            number = lib.SEMSHARE_RWLOCK_WAITING
            if any(each.number == number and each.delta < 0 for each in wait.operations):
                holds.setdefault(Semaphore(wait.semid, number), []).append(Hold(thread))
