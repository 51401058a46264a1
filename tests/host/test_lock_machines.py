# SPDX-License-Identifier: MIT
"""Locks against models: threads of several processes take, wait, give, and are killed, in any order.

Each step is told to one of them. One that has to wait does so until a later step lets it in, so no step takes long; and
after each step all that the model knows is compared with what is seen from outside.
"""

from __future__ import annotations

import os
from collections import Counter
from itertools import count
from typing import Any, ClassVar

import pytest
from actors import Actor, Troupe
from effort import scaled
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from processes import wait_until

from semshare import BadValue, BoundedSemaphore, LockPool, RWLock, Semaphore, SemaphoreSet
from semshare.semaphore import MOST

PROCESSES = 2
THREADS = 2
MEMBERS = PROCESSES * THREADS

member = st.integers(0, MEMBERS - 1)
"""Which thread; the first of each process is its main thread."""
which = st.integers(0, 7)
"""Which one of some, of which there may be fewer."""
times = st.integers(1, 3)


class Company:
    """The threads, which take part in one example after the other."""

    def __init__(self) -> None:
        self.troupes: list[Troupe | None] = [None] * PROCESSES

    def actor(self, number: int) -> Actor:
        process, thread = divmod(number, THREADS)
        troupe = self.troupes[process]
        if troupe is None:
            troupe = self.troupes[process] = Troupe(THREADS)
        return troupe.actors[thread]

    def kill(self, process: int) -> None:
        troupe = self.troupes[process]
        if troupe is not None:
            troupe.kill()
            self.troupes[process] = None


company = Company()


@pytest.fixture(autouse=True, scope="module")
def _company():
    yield
    for process in range(PROCESSES):
        company.kill(process)


# What they are told: by way of the object that they opened.


def open_it(mine: dict[str, Any], cls: type, name: str, number: int) -> None:
    mine["lock"] = mine["process"][number] = cls.attach(name)


def use_that_of(mine: dict[str, Any], number: int) -> None:
    """The object that another thread has opened."""
    mine["lock"] = mine["process"][number]


def forget(mine: dict[str, Any]) -> None:
    mine.pop("lock", None)
    mine["process"].clear()


class LockMachine(RuleBasedStateMachine):
    """What the machines have in common: who waits, and that all who can go on do so, and nobody else.

    Steps that make no sense now, as one of a thread that waits, do nothing: which steps there are must not depend on
    who was let in first.
    """

    cls: ClassVar[type]
    numbers = count()

    def make(self, size: int) -> Any:
        raise NotImplementedError

    def may(self, number: int, wanted: Any) -> bool:
        """Whether it can have that now."""
        raise NotImplementedError

    def never(self, number: int, wanted: Any) -> bool:
        """Whether it could never have that if it waited."""
        return False

    def enter(self, number: int, wanted: Any, answer: Any) -> None:
        """It has that, from now on."""
        raise NotImplementedError

    def leave(self, members: range, pid: int) -> None:
        """What these have they have no more: their process was killed, or one of its threads ended."""
        raise NotImplementedError

    def values(self) -> list[int]:
        """What the semaphores are when all sleep who wait."""
        raise NotImplementedError

    @initialize(shared=st.booleans(), size=st.integers(0, 3))
    def begin(self, shared: bool, size: int) -> None:
        """`shared`: the threads of a process use one object, not one each."""
        self.name = f"test-machine-{os.getpid()}-{next(self.numbers)}"
        self.whole = self.make(size)
        self.semaphores = SemaphoreSet(semid=self.whole.semid)
        self.shared = shared
        self.opened: set[int] = set()
        self.waiting: dict[int, Any] = {}
        """What each one waits for that does."""

    def teardown(self) -> None:
        busy = {number // THREADS for number in self.waiting}
        for process in busy:
            company.kill(process)
        for number in self.opened:
            if number // THREADS not in busy:
                company.actor(number).call(forget)
        self.whole.unlink()
        self.whole.close()

    # ------------------------------------------------------------------------------------------------ what steps do

    def actor(self, number: int) -> Actor:
        """It has opened the lock."""
        actor = company.actor(number)
        if number not in self.opened:
            first = number // THREADS * THREADS
            if self.shared and number != first:
                self.actor(first)
                actor.call(use_that_of, first)
            else:
                actor.call(open_it, self.cls, self.name, number)
            self.opened.add(number)
        return actor

    def call(self, number: int, function: Any, *arguments: object) -> Any:
        return self.actor(number).call(function, *arguments)

    def refused(self, error: type[Exception], number: int, function: Any, *arguments: object) -> None:
        with pytest.raises(error):
            self.call(number, function, *arguments)

    def take(self, number: int, wanted: Any, how: str) -> None:
        """Acquire that: "now", "soon" or whenever it can be had."""
        if how != "now" and self.never(number, wanted):
            self.refused(RuntimeError, number, take, wanted, *HOW[how])
        elif how == "ever":
            self.actor(number).start(take, wanted)
            self.waiting[number] = wanted
        else:
            expected = self.may(number, wanted)
            answer = self.call(number, take, wanted, *HOW[how])
            assert answer[0] is expected
            if expected:
                self.enter(number, wanted, answer)
        self.settle()

    def idle(self, number: int) -> int | None:
        """That one, or if it waits the next that does not; None if all do."""
        members = [(number + more) % MEMBERS for more in range(MEMBERS)]
        return next((member for member in members if member not in self.waiting), None)

    def choose(self, has: list[tuple[int, Any]], which: int) -> tuple[int, Any] | None:
        """One of those who have something, and what, from the end; None if nobody does who can do anything now."""
        able = [(number, wanted) for number, wanted in has if number not in self.waiting]
        return able[-1 - which % len(able)] if able else None

    def settle(self) -> None:
        """Let go on who can; the others sleep."""
        while able := [number for number, wanted in self.waiting.items() if self.may(number, wanted)]:
            answered: list[int] = []

            def anybody(answered: list[int] = answered) -> bool:
                answered.extend(number for number in self.waiting if company.actor(number).answered())
                return bool(answered)

            wait_until(anybody, f"that one of {able} goes on, of those who wait: {self.waiting}")
            for number in answered:
                wanted = self.waiting.pop(number)
                answer = company.actor(number).answer()
                assert self.may(number, wanted), f"{number} went on, with {wanted}, and must not"
                assert answer[0] is True
                self.enter(number, wanted, answer)
        wait_until(lambda: self.semaphores.values() == self.values(), f"the values {self.values()}")
        wait_until(lambda: self.whole.waiters() == len(self.waiting), f"that {self.waiting} sleep")
        assert not any(company.actor(number).answered() for number in self.waiting)

    @rule(process=st.integers(0, PROCESSES - 1), spare=st.integers(0, 2))
    def kill(self, process: int, spare: int) -> None:
        if spare:
            return  # to start another takes longer than all else
        pid = company.actor(process * THREADS).pid
        company.kill(process)
        members = range(process * THREADS, (process + 1) * THREADS)
        for number in members:
            self.waiting.pop(number, None)
            self.opened.discard(number)
        self.leave(members, pid)
        self.settle()

    @rule(number=member)
    def end_thread(self, number: int) -> None:
        actor = company.actor(number)
        if actor.number and number not in self.waiting:
            actor.end()
            self.leave(range(number, number + 1), actor.pid)
            self.settle()


# How to acquire: an attempt, a wait that ends, one that does not.
HOW: dict[str, tuple[object, ...]] = {"now": (False,), "soon": (True, 0.01), "ever": ()}
how = st.sampled_from(["now", "soon", "ever", "ever"])


def part(mine: dict[str, Any], wanted: Any) -> Any:
    """What a thread takes: a side of a lock, one or several of a pool, or the lock itself."""
    lock = mine["lock"]
    if isinstance(lock, RWLock):
        return getattr(lock, wanted)()
    if isinstance(lock, LockPool):
        if len(wanted) == 1:
            return lock[wanted[0]]
        # It is released by way of the object that took it.
        return mine["process"].setdefault((id(lock), wanted), lock.multi(*wanted))
    return lock


def take(mine: dict[str, Any], wanted: Any, *how: object) -> tuple[bool, int | None]:
    """Whether it was taken, and who died inside before."""
    lock = part(mine, wanted)
    taken = lock.acquire(*how)
    died = lock.owner_died if taken else None
    return taken, died and died.pid


def use(mine: dict[str, Any], wanted: Any, method: str, *arguments: object) -> Any:
    return getattr(part(mine, wanted), method)(*arguments)


def downgrade(mine: dict[str, Any]) -> None:
    mine["lock"].downgrade()


# -------------------------------------------------------------------------------------------------------------- RWLock

side = st.sampled_from(["read", "write"])


class RWLockMachine(LockMachine):
    """Many read or one writes; who waits to write keeps new readers out."""

    cls = RWLock

    def make(self, size: int) -> RWLock:
        self.writer: int | None = None
        self.reads: Counter[int] = Counter()
        self.died: int | None = None
        """The pid of the last writer that was killed inside, until somebody says that all is well."""
        return RWLock.create(self.name)

    def may(self, number: int, wanted: str) -> bool:
        if wanted == "write":
            return self.writer is None and not self.reads
        return number in self.reads or (self.writer is None and "write" not in self.waiting.values())

    def never(self, number: int, wanted: str) -> bool:
        return number == self.writer or (wanted == "write" and number in self.reads)

    def enter(self, number: int, wanted: str, answer: tuple[bool, int | None]) -> None:
        # Who reads already was told when it began to.
        assert answer[1] == self.died or number in self.reads
        if wanted == "write":
            self.writer = number
        else:
            self.reads[number] += 1

    def leave(self, members: range, pid: int) -> None:
        for number in members:
            del self.reads[number]
            if self.writer == number:
                self.writer = None
                self.died = pid

    def values(self) -> list[int]:
        waiting = sum(wanted == "write" for wanted in self.waiting.values())
        return [int(self.writer is not None), sum(self.reads.values()), waiting]

    def has(self) -> list[tuple[int, str]]:
        """Who has which side; the writer last."""
        readers = [(number, "read") for number in sorted(self.reads)]
        return readers if self.writer is None else [*readers, (self.writer, "write")]

    @rule(number=member, wanted=side, how=how)
    def acquire(self, number: int, wanted: str, how: str) -> None:
        idle = self.idle(number)
        if idle is not None:
            self.take(idle, wanted, how)

    @rule(which=which, times=times)
    def release(self, which: int, times: int) -> None:
        for _ in range(times):
            holder = self.choose(self.has(), which)
            if holder is None:
                return
            number, wanted = holder
            self.call(number, use, wanted, "release")
            if wanted == "write":
                self.writer = None
            else:
                self.reads -= Counter([number])
            self.settle()

    @rule()
    def downgrade(self) -> None:
        number = self.writer
        if number is None:
            return
        self.call(number, downgrade)
        self.writer = None
        self.reads[number] = 1
        self.settle()

    @rule(which=which)
    def mark_consistent(self, which: int) -> None:
        holder = self.choose(self.has(), which)
        if holder is not None:
            self.call(holder[0], use, holder[1], "mark_consistent")
            self.died = None

    @rule(number=member, wanted=side)
    def misuse(self, number: int, wanted: str) -> None:
        """What is only for those who have it."""
        if number in self.waiting or (number, wanted) in self.has():
            return
        for method in ("release", "mark_consistent"):
            self.refused(RuntimeError, number, use, wanted, method)
        if number != self.writer:
            self.refused(RuntimeError, number, downgrade)
        self.settle()

    @invariant()
    def what_is_seen(self) -> None:
        assert self.whole.readers() == sum(self.reads.values())
        assert self.whole.write().locked() == (self.writer is not None)
        assert self.whole.read().locked() == bool(self.reads)
        owner = self.whole.owner()
        if self.writer is not None:
            actor = company.actor(self.writer)
            assert owner is not None and (owner.pid, owner.tid) == (actor.pid, actor.tid)
        elif self.died is None:
            assert owner is None


# ----------------------------------------------------------------------------------------------------------- MultiLock

LOCKS = 5
wanted = st.sets(st.integers(0, LOCKS - 1), min_size=1, max_size=3).map(lambda numbers: tuple(sorted(numbers)))


class MultiLockMachine(LockMachine):
    """All that somebody wants at once, or nothing. Some take more while they have some, and wait for each other."""

    cls = LockPool

    def make(self, size: int) -> LockPool:
        self.owner: dict[int, int] = {}
        """Of each lock that is taken."""
        self.taken: set[tuple[int, tuple[int, ...]]] = set()
        """Who has taken what at once."""
        self.died: dict[int, int] = {}
        """The pid of who died with a lock, of each that nobody has put right."""
        return LockPool.create(self.name, count=LOCKS)

    def may(self, number: int, wanted: tuple[int, ...]) -> bool:
        return not any(lock in self.owner for lock in wanted)

    def never(self, number: int, wanted: tuple[int, ...]) -> bool:
        return number in {self.owner.get(lock) for lock in wanted}

    def circle(self, number: int, wanted: tuple[int, ...]) -> bool:
        """Whether it would wait for threads of its process that wait for it, whatever anybody else does."""
        searched, others = {number}, {self.owner[lock] for lock in wanted if lock in self.owner}
        while others - searched:
            other = (others - searched).pop()
            searched.add(other)
            if other // THREADS == number // THREADS and other in self.waiting:
                owners = {self.owner[lock] for lock in self.waiting[other] if lock in self.owner}
                if number in owners:
                    return True
                others |= owners
        return False

    def enter(self, number: int, wanted: tuple[int, ...], answer: tuple[bool, int | None]) -> None:
        died = {self.died[lock] for lock in wanted if lock in self.died}
        assert answer[1] in died if died else answer[1] is None
        self.owner.update(dict.fromkeys(wanted, number))
        self.taken.add((number, wanted))

    def leave(self, members: range, pid: int) -> None:
        for number, wanted in list(self.taken):
            if number in members:
                self.taken.discard((number, wanted))
                for lock in wanted:
                    del self.owner[lock]
                    self.died[lock] = pid

    def values(self) -> list[int]:
        return [int(lock not in self.owner) for lock in range(LOCKS)]

    @rule(number=member, wanted=wanted, how=how)
    def acquire(self, number: int, wanted: tuple[int, ...], how: str) -> None:
        idle = self.idle(number)
        if idle is None:
            return
        if how == "ever" and self.circle(idle, wanted):
            self.refused(RuntimeError, idle, take, wanted)
        else:
            self.take(idle, wanted, how)

    def has(self) -> list[tuple[int, tuple[int, ...]]]:
        return sorted(self.taken)

    @rule(which=which, times=times)
    def release(self, which: int, times: int) -> None:
        for _ in range(times):
            holder = self.choose(self.has(), which)
            if holder is None:
                return
            number, wanted = holder
            self.call(number, use, wanted, "release")
            self.taken.discard(holder)
            for lock in wanted:
                del self.owner[lock]
            self.settle()

    @rule(which=which)
    def mark_consistent(self, which: int) -> None:
        holder = self.choose(self.has(), which)
        if holder is not None:
            self.call(holder[0], use, holder[1], "mark_consistent")
            for lock in holder[1]:
                self.died.pop(lock, None)

    @rule(number=member, wanted=wanted)
    def misuse(self, number: int, wanted: tuple[int, ...]) -> None:
        """What is only for those who have them, all, taken at once."""
        if number not in self.waiting and (number, wanted) not in self.taken:
            for method in ("release", "mark_consistent"):
                self.refused(RuntimeError, number, use, wanted, method)
            self.settle()

    @invariant()
    def what_is_seen(self) -> None:
        assert self.whole.taken() == len(self.owner)
        for lock in range(LOCKS):
            member = self.whole[lock]
            assert member.locked() == (lock in self.owner)
            owner = member.owner()
            if lock in self.owner:
                actor = company.actor(self.owner[lock])
                assert owner is not None and (owner.pid, owner.tid) == (actor.pid, actor.tid)
            elif lock not in self.died:
                assert owner is None and not member.suspect


# ----------------------------------------------------------------------------------------------------------- Semaphore


class SemaphoreMachine(LockMachine):
    """Permits are of nobody; a process that is killed gives those back that it had taken and not given back itself."""

    cls = Semaphore
    sizes: ClassVar[tuple[int, ...]] = (0, 1, 3, MOST - 2)

    def make(self, size: int) -> Any:
        self.free = self.sizes[size]
        self.most = MOST
        self.out: Counter[int] = Counter()
        """What each process has."""
        return self.cls.create(self.name, value=self.free)

    def may(self, number: int, wanted: None) -> bool:
        return self.free > 0

    def enter(self, number: int, wanted: None, answer: tuple[bool, None]) -> None:
        assert answer[1] is None
        self.free -= 1
        self.out[number // THREADS] += 1

    def leave(self, members: range, pid: int) -> None:
        if len(members) == THREADS:  # what its threads have taken is the process's
            self.free = min(self.free + self.out.pop(members.start // THREADS, 0), self.most)

    def values(self) -> list[int]:
        return [self.free]

    @rule(number=member, how=how)
    def acquire(self, number: int, how: str) -> None:
        idle = self.idle(number)
        if idle is not None:
            self.take(idle, None, how)

    @rule(number=member, permits=st.sampled_from([1, 1, 1, 2, 3, MOST]))
    def release(self, number: int, permits: int) -> None:
        idle = self.idle(number)
        if idle is None:
            return
        if self.free + permits > self.most:
            self.refused(BadValue, idle, use, None, "release", permits)
        else:
            self.call(idle, use, None, "release", permits)
            self.free += permits
            process = idle // THREADS
            self.out[process] = max(0, self.out[process] - permits)
        self.settle()

    @rule(number=member)
    def open_anew(self, number: int) -> None:
        """What the object had taken stays with the process."""
        first = number // THREADS * THREADS
        users = range(first, first + THREADS) if self.shared else [number]
        if not any(user in self.waiting for user in users) and number in self.opened:
            self.call(number, use, None, "close")
            self.opened.difference_update(users)

    @invariant()
    def what_is_seen(self) -> None:
        assert self.whole.value == self.free
        assert self.whole.locked() == (self.free == 0)
        assert self.whole.owner() is None


class BoundedSemaphoreMachine(SemaphoreMachine):
    """... and never more permits than it began with."""

    cls = BoundedSemaphore
    sizes = (1, 2, 3, MOST)

    def make(self, size: int) -> Any:
        made = super().make(size)
        self.most = self.free
        return made

    def values(self) -> list[int]:
        return [self.free + MOST - self.most]


def case(machine: type[LockMachine]) -> Any:
    machine.TestCase.settings = settings(
        max_examples=scaled(40, 10),
        stateful_step_count=100,
        deadline=None,
        # What fails is shown as it is: to make it shorter would take a time limit each time.
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    return machine.TestCase


TestRWLock = case(RWLockMachine)
TestMultiLock = case(MultiLockMachine)
TestSemaphore = case(SemaphoreMachine)
TestBoundedSemaphore = case(BoundedSemaphoreMachine)
