# SPDX-License-Identifier: MIT
"""SIGKILL at random moments for each kind of lock: nobody hangs, nothing half written goes unsaid, nothing stays taken.

What a lock guards are pairs of words that are equal whenever nobody is inside. Who finds a pair that is not has to have
been told that an owner died; it puts that right. (That is for locks which have owners: of a semaphore's permits nobody
is told, so who has one puts it right silently.) The storms of conditions and barriers are with their own tests.
"""

from __future__ import annotations

import logging
import mmap
import os
import random
import signal
import time
from typing import Any, Callable

import pytest
from effort import scaled
from lock_factories import KINDS, LOCKS, Can
from processes import Child, wait_until

from semshare import Event, LockPool, NameExists, NotFound, RWLock, Semaphore, SemaphoreSet

KILLS = scaled(60, 12)
AT_ONCE = 3
PAIRS = 5

logger = logging.getLogger("semshare")


class Pairs:
    """What is guarded, and what happened; forked children share it."""

    def __init__(self) -> None:
        words = memoryview(mmap.mmap(-1, 4096)).cast("Q")
        self.first = words[:PAIRS]
        self.second = words[PAIRS : 2 * PAIRS]
        self.counts = words[64:67]

    def look(self, lock: Any, numbers=(0,), *, told: bool = True) -> bool:
        """Whether all is well. It need not be if an owner died, of which there has to be word."""
        if getattr(lock, "owner_died", None) is not None:
            self.counts[1] += 1
            return False
        if all(self.first[number] == self.second[number] for number in numbers):
            return True
        self.counts[2] += told
        return False

    def change(self, lock: Any, numbers=(0,), *, told: bool = True) -> None:
        """By who has it alone."""
        if not self.look(lock, numbers, told=told):
            for number in numbers:
                self.second[number] = self.first[number]
            if told:
                lock.mark_consistent()
        for _ in range(10):  # so that it is inside much of its time
            for number in numbers:
                self.first[number] += 1
            for number in numbers:
                self.second[number] += 1
        self.counts[0] += 1

    def summary(self) -> str:
        return f"{self.counts[0]} changes, {self.counts[1]} times told of a death"


@pytest.fixture
def pairs():
    pairs = Pairs()
    yield pairs
    assert pairs.counts[2] == 0, "half written, and nobody was told"
    assert pairs.counts[0] > 0


@pytest.fixture(autouse=True)
def quiet():
    """Deaths are logged each time."""
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


def storm(works: list[Callable[[], object]], check: Callable[[], object]) -> None:
    """Do all of that without end, in processes that are killed one by one, and look after each death."""
    chance = random.Random()
    running: list[tuple[int, Child]] = []
    for _ in range(KILLS):
        while len(running) < len(works):
            which = next(which for which in range(len(works)) if which not in [taken for taken, _ in running])
            running.append((which, Child(for_ever, works[which])))
        time.sleep(chance.uniform(0, 0.01))
        end(running.pop(chance.randrange(len(running)))[1])
        check()
    for _, child in running:
        end(child)
    check()


def end(child: Child) -> None:
    child.kill()
    assert child.wait() == -signal.SIGKILL, "it ended by itself"


def for_ever(work: Callable[[], object]) -> None:
    random.seed()
    while True:
        work()


def untouched(whole: Any, before: list[int]) -> None:
    """Nobody has it, and nobody waits for it."""
    semaphores = SemaphoreSet(semid=whole.semid)
    assert semaphores.values() == before
    assert whole.waiters() == 0
    assert not any(semaphores.zero_waiters(number) for number in range(len(before)))


@pytest.mark.parametrize("kind", [kind for kind in LOCKS if kind.can & Can.EXCLUDE], ids=lambda kind: kind.id)
def test_a_lock_outlives_those_who_use_it(kind, name, pairs):
    whole = kind.make(name)
    before = SemaphoreSet(semid=whole.semid).values()
    told = bool(kind.can & Can.OWN)
    lock = kind.lock(whole)
    mine: list[Any] = []  # of each child, as it is forked with none

    def work() -> None:
        if not mine:
            mine.append(kind(name))
        with mine[0]:
            pairs.change(mine[0], told=told)
            if kind.can & Can.AGAIN:
                with mine[0]:
                    pairs.change(mine[0], told=told)

    def check() -> None:
        with lock:
            pairs.change(lock, told=told)

    try:
        storm([work] * AT_ONCE, check)
        untouched(whole, before)
        deaths = f", {lock.deaths} of them inside" if told else ""
        print(f"{kind.id}: {KILLS + AT_ONCE - 1} killed{deaths}; {pairs.summary()}")
    finally:
        kind.remove(name)


def test_a_read_write_lock_outlives_readers_and_writers(name, pairs):
    lock = RWLock(name)
    mine: list[RWLock] = []

    def opened() -> RWLock:
        if not mine:
            mine.append(RWLock(name))
        return mine[0]

    def write() -> None:
        with opened().write() as side:
            pairs.change(side)

    def write_and_read() -> None:
        lock = opened()
        lock.write().acquire()
        pairs.change(lock.write())
        lock.downgrade()
        assert pairs.first[0] == pairs.second[0]
        lock.read().release()

    def read() -> None:
        with opened().read() as side:
            pairs.look(side)
            with side:
                pairs.look(side)

    def check() -> None:
        read_by_me = lock.read()
        with read_by_me:
            pairs.look(read_by_me)
        with lock.write() as side:
            pairs.change(side)

    try:
        storm([write, write, write_and_read, read], check)
        untouched(lock, [0, 0, 0])
        print(f"RWLock: {KILLS + 3} killed, {lock.deaths} of them inside to write; {pairs.summary()}")
    finally:
        lock.unlink()


def test_a_pool_outlives_those_who_take_several_of_its_locks(name, pairs):
    pool = LockPool(name, PAIRS)
    everything = pool.multi(*range(PAIRS))
    mine: list[tuple[Any, list[int]]] = []

    def work() -> None:
        if not mine:
            pool = LockPool.attach(name)
            mine.extend((pool[number], [number]) for number in range(PAIRS))
            for count in (2, 3, 3, 4):
                numbers = random.sample(range(PAIRS), count)
                mine.append((pool.multi(*numbers), numbers))
        lock, numbers = random.choice(mine)
        with lock:
            pairs.change(lock, numbers)

    def check() -> None:
        number = random.randrange(PAIRS)
        with pool[number] as lock:
            pairs.change(lock, [number])
        with everything:
            pairs.change(everything, range(PAIRS))

    try:
        storm([work] * AT_ONCE, check)
        untouched(pool, [1] * PAIRS)
        print(f"MultiLock: {KILLS + AT_ONCE - 1} killed, {everything.deaths} locks inside; {pairs.summary()}")
    finally:
        pool.unlink()


def test_permits_outlive_those_who_have_them(name):
    """Some take one, some two, one after the other; who takes all there are, has all there are."""
    permits = 3
    semaphore = Semaphore(name, permits)
    mine: list[Semaphore] = []

    def opened() -> Semaphore:
        if not mine:
            mine.append(Semaphore(name))
        return mine[0]

    def take_one() -> None:
        with opened():
            pass

    def take_some() -> None:
        opened().acquire()
        taken = 1 + opened().acquire(False)
        opened().release(taken)

    def take_in_time() -> None:
        if opened().acquire(timeout=0.001):
            opened().release()

    def check() -> None:
        for _ in range(permits):
            semaphore.acquire()
        assert semaphore.value == 0
        semaphore.release(permits)

    try:
        storm([take_one, take_some, take_some, take_in_time], check)
        untouched(semaphore, [permits])
        print(f"Semaphore of {permits}: {KILLS + 3} killed")
    finally:
        semaphore.unlink()


def test_an_event_outlives_those_who_set_it_and_wait_for_it(name):
    event = Event(name)
    mine: list[Event] = []

    def opened() -> Event:
        if not mine:
            mine.append(Event(name))
        return mine[0]

    def turn() -> None:
        opened().set()
        opened().clear()

    def wait() -> None:
        opened().wait(random.choice([0.001, 1000]))

    def check() -> None:
        assert SemaphoreSet(semid=event.semid).value() in (0, 1)

    try:
        storm([turn, turn, wait, wait], check)
        event.clear()
        assert not event.is_set() and not event.wait(0)
        waiting = Child(lambda: Event(name).wait() or os._exit(1))
        wait_until(lambda: event.waiters() == 1, "the wait")
        event.set()
        assert waiting.wait() == 0 and event.is_set()
        untouched(event, [0])
        print(f"Event: {KILLS + 3} killed")
    finally:
        event.unlink()


# Of those that are part of the same one is enough.
MADE = {kind.make: kind for kind in KINDS if kind.id != "MultiLock"}.values()


@pytest.mark.parametrize("kind", MADE, ids=lambda kind: kind.id)
def test_makers_killed_at_any_moment_leave_what_can_be_made(kind, name):
    """Two make it and remove it; killed between any two steps, what they leave behind is no hindrance."""

    def make() -> None:
        try:
            made = kind.make(name)
            made.unlink()
            made.close()
        except (NotFound, NameExists):
            pass

    for _ in range(scaled(25, 5)):
        children = [Child(for_ever, make) for _ in range(2)]
        time.sleep(random.uniform(0, 0.015))
        for child in children:
            end(child)
        made = kind.make(name)
        if kind.lock is not None:
            with kind.lock(made) as lock:
                assert lock.locked()
        made.unlink()
        made.close()
