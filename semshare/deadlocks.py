# SPDX-License-Identifier: MIT
"""Deadlocks: threads of which each waits for a semaphore that the next one has, round to the first.

A thread waits for all semaphores of its operations, and where a semaphore has several holders, for each of them: so
every such cycle is a deadlock, unless one of its waits has a time limit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from semshare.waits import Thread


class Semaphore(NamedTuple):
    """One semaphore of a set."""

    semid: int
    number: int


class Hold(NamedTuple):
    """Who has a semaphore."""

    thread: Thread
    """Its tid is 0 if it is not known which thread of that process has it."""
    certain: bool = True
    """Whether the process is known to have it."""


class Step(NamedTuple):
    """One of a cycle: this thread waits for that semaphore, which the next one of the cycle has."""

    thread: Thread
    semaphore: Semaphore
    certain: bool
    """Whether it is known that the next thread has it."""


Waits = Mapping[Thread, Collection[Semaphore]]
Holds = Mapping[Semaphore, Collection[Hold]]


def find(waits: Waits, holds: Holds) -> list[tuple[Step, ...]]:
    """The shortest cycle through each thread that is in one, each cycle once, beginning at its first thread."""
    found: dict[frozenset[Step], tuple[Step, ...]] = {}
    for thread in sorted(waits):
        cycle = _shortest(thread, waits, holds)
        if cycle:
            found.setdefault(frozenset(cycle), cycle)
    return list(found.values())


def _next(thread: Thread, waits: Waits, holds: Holds) -> Iterator[tuple[Step, Thread]]:
    """Whom a thread waits for, of those who wait themselves."""
    for semaphore in sorted(waits[thread]):
        for holder, certain in sorted(holds.get(semaphore, ())):
            if holder.tid:
                if holder in waits:
                    yield Step(thread, semaphore, certain), holder
            else:
                for other in sorted(waits):
                    if other.pid == holder.pid:
                        yield Step(thread, semaphore, False), other


def _shortest(start: Thread, waits: Waits, holds: Holds) -> tuple[Step, ...]:
    """The shortest cycle through a thread; empty if there is none."""
    came: dict[Thread, tuple[Step, ...]] = {start: ()}
    queue = deque([start])
    while queue:
        thread = queue.popleft()
        for step, holder in _next(thread, waits, holds):
            path = (*came[thread], step)
            if holder == start:
                return path
            if holder not in came:
                came[holder] = path
                queue.append(holder)
    return ()
