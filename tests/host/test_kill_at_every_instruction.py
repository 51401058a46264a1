# SPDX-License-Identifier: MIT
"""SIGKILL between any two instructions of what is done inside the lock.

Each call is run once, one instruction at a time from where it has the semaphore to where it has not, to count them; and
then once for each of them, to be killed there.
"""

from __future__ import annotations

from typing import Callable

import pytest
from stepping import Stepped, possible

from semshare import Empty, Lock, Ring, SemaphoreSet

pytestmark = pytest.mark.skipif(not possible(), reason="a process cannot step its child here")

LONGEST = 100_000
"""Instructions that a call holds the semaphore at most."""


def stopped_inside(semid: int, call: Callable[[], object]) -> Stepped:
    """A child that has just taken the semaphore."""
    semaphores = SemaphoreSet(semid=semid)
    stepped = Stepped(call)
    while semaphores.value() == 1:
        assert stepped.to_next_system_call(), "the call never took the semaphore"
    return stepped


def length_inside(semid: int, call: Callable[[], object]) -> int:
    """For how many instructions `call` holds the semaphore, and a few more."""
    semaphores = SemaphoreSet(semid=semid)
    stepped = stopped_inside(semid, call)
    try:
        for number in range(LONGEST):
            if semaphores.value() == 1:
                return number + 3
            assert stepped.step()
    finally:
        stepped.kill()
    raise AssertionError(f"more than {LONGEST} instructions with the semaphore")


def kill_at(semid: int, number: int, call: Callable[[], object]) -> None:
    """Run `call` and kill it so many instructions after it has taken the semaphore."""
    stepped = stopped_inside(semid, call)
    try:
        for _ in range(number):
            assert stepped.step()
    finally:
        stepped.kill()


def test_a_producer_may_be_killed_anywhere(name):
    """A record is there wholly or not at all, and what was there before stays."""
    payload = b"all of it or nothing"
    with Ring.create(name, 4096) as ring:

        def put() -> None:
            ring.put(payload)

        ring.put(b"warm up"), ring.get()
        length = length_inside(ring.semid, put)
        while ring.get_many(10, timeout=0):
            pass
        there = 0
        for number in range(length):
            ring.put(b"before")
            kill_at(ring.semid, number, put)
            found = ring.get_many(10, timeout=60)
            assert found in ([b"before"], [b"before", payload])
            there += len(found) - 1
            with pytest.raises(Empty):
                ring.get_nowait()
        state = ring.state()
    assert not state.broken and 0 < there < length and state.repairs > length // 2
    print(f"killed at {length} instructions: {state.repairs} times inside, {there} times after the commit")


def test_a_batch_is_put_wholly_or_not_at_all(name):
    batch = [b"one", b"two" * 10, b"three"]
    with Ring.create(name, 4096) as ring:

        def put() -> None:
            ring.put_many(batch)

        put(), ring.get_many(10)
        length = length_inside(ring.semid, put)
        while ring.get_many(10, timeout=0):
            pass
        for number in range(0, length, 3):
            kill_at(ring.semid, number, put)
            assert ring.get_many(10, timeout=0) in ([], batch)
        assert not ring.state().broken and ring.state().repairs > length // 6


def test_a_consumer_may_be_killed_anywhere(name):
    """Killed before the head moves, its record is delivered again; after it, it had taken it."""
    with Ring.create(name, 4096) as ring:

        def get() -> None:
            ring.get()

        ring.put(b"first"), ring.put(b"second")
        length = length_inside(ring.semid, get)
        ring.get_many(10)
        again = 0
        for number in range(length):
            ring.put(b"first"), ring.put(b"second")
            kill_at(ring.semid, number, get)
            found = ring.get_many(10, timeout=60)
            assert found in ([b"first", b"second"], [b"second"])
            again += len(found) == 2
        state = ring.state()
    assert not state.broken and 0 < again < length and state.repairs > length // 2
    print(f"killed at {length} instructions: {state.repairs} times inside, {again} times delivered again")


def test_whoever_waits_is_woken_or_looks_for_himself(name):
    """A producer killed anywhere on its way to waking a consumer: the consumer gets the record if there is one."""
    with Ring.create(name, 4096) as ring:

        def put() -> None:
            ring.put(b"for you")

        def ask_for_a_wakeup() -> None:
            with pytest.raises(Empty):
                ring.get(timeout=0.001)

        ask_for_a_wakeup()
        put(), ring.get()
        ask_for_a_wakeup()
        length = length_inside(ring.semid, put)
        ring.get()
        for number in range(0, length, 5):
            ask_for_a_wakeup()
            kill_at(ring.semid, number, put)
            put()
            assert ring.get_many(10, timeout=60)[0] == b"for you"
            assert SemaphoreSet(semid=ring.semid).value(1) <= 1
            while ring.get_many(10, timeout=0):
                pass


def test_an_owner_of_a_lock_may_be_killed_anywhere(name):
    """The lock is free afterwards, and a death is reported exactly where the words said that somebody was inside."""
    lock = Lock(name)
    try:

        def use() -> None:
            with lock:
                pass

        use()
        length = length_inside(lock.semid, use)
        told = 0
        for number in range(0, length, 3):  # most of them the interpreter's
            kill_at(lock.semid, number, use)
            assert lock.acquire(timeout=60)
            if lock.owner_died is not None:
                told += 1
                lock.mark_consistent()
            lock.release()
        assert 0 < told == lock.deaths < length / 3
        assert SemaphoreSet(semid=lock.semid).value() == 1
        print(f"killed at {length} instructions, told of {told} deaths")
    finally:
        lock.unlink()


def test_a_death_is_remembered_wherever_those_who_are_told_are_killed(name):
    """Whoever takes a suspect lock is told, however its owners since then ended."""
    lock = Lock(name)
    try:

        def use() -> None:
            with lock:
                pass

        use()
        length = length_inside(lock.semid, use)
        kill_at(lock.semid, length // 2, use)
        for number in range(0, length, 3):
            kill_at(lock.semid, number, use)
            assert lock.suspect or number == 0
            if number % 2:
                continue  # the next finds it as that one left it
            assert lock.acquire(timeout=60)
            assert lock.owner_died is not None and lock.suspect
            lock.release()
        with lock:
            lock.mark_consistent()
        with lock:
            assert lock.owner_died is None
    finally:
        lock.unlink()
