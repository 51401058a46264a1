# SPDX-License-Identifier: MIT
"""LockPool and MultiLock: many locks in one set, and several of them at once."""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import random
import signal
import threading
import time

import pytest
from effort import scaled
from processes import LIMIT, Child, Gate, wait_until
from semshare._abi import ffi, lib

from semshare import LockPool, MultiLock, OwnerDied, Removed, SemaphoreSet, WrongKind, key_of, segment


@pytest.fixture
def pool(name):
    pool = LockPool(name, 5)
    yield pool
    pool.unlink()


def values(pool):
    return SemaphoreSet(semid=pool.semid).values()


def in_thread(function):
    """What it returns, in another thread."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(function()))
    thread.start()
    thread.join()
    return answers[0]


# --------------------------------------------------------------------------------------------------------------- locks


def test_a_pool_is_a_sequence_of_locks(pool, name):
    assert len(pool) == 5 and values(pool) == [1] * 5
    assert [lock.number for lock in pool] == list(range(5))
    assert pool[2] is pool[2] is pool[-3] and pool[1:4] == [pool[1], pool[2], pool[3]]
    assert repr(pool).endswith(": 0 of 5 locked>") and repr(pool[2]).endswith(": unlocked>")
    assert name in repr(pool[2]) and "2 of pool" in repr(pool[2])


def test_each_lock_is_a_lock_of_its_own(pool, name):
    with pool[1] as lock, pool[3]:
        assert lock is pool[1] and lock.held() and lock.locked() and lock.owner().pid == os.getpid()
        assert values(pool) == [1, 0, 1, 0, 1] and pool.taken() == 2
        other = LockPool(name)
        assert in_thread(other[1].acquire_nowait) is False and other[1].acquire_nowait() is False
        assert in_thread(lambda: other[3].acquire(timeout=0.01)) is False
        with other[0], other[2]:
            assert pool.taken() == 4
        with pytest.raises(RuntimeError, match="holds it already"):
            other[1].acquire()
    assert values(pool) == [1] * 5
    assert pool.statistics().acquisitions == 2 and pool[1].statistics().acquisitions == 1


def test_a_waiter_waits_for_one_of_them(pool, name):
    with pool[2]:
        waiting = Child(lambda: LockPool(name)[2].acquire(timeout=LIMIT) or os._exit(1))
        wait_until(lambda: pool[2].waiters() == 1, "a waiter")
        assert pool.waiters() == 1 and pool[1].waiters() == 0
    assert waiting.wait() == 0


def hold(name, take):
    """A child that holds what `take` gives of the pool, until it is killed."""
    gate = Gate()

    def stay():
        pool = LockPool(name)
        lock = take(pool)
        lock.acquire()
        gate.open()
        signal.pause()

    child = Child(stay)
    gate.pass_through()
    gate.close()
    return child


def test_a_death_is_told_of_the_lock_it_happened_in(pool, name, caplog):
    child = hold(name, lambda pool: pool[3])
    assert pool[3].owner().pid == child.pid
    child.kill()
    assert values(pool) == [1] * 5
    for lock in pool:
        with lock:
            if lock.number == 3:
                assert lock.owner_died.pid == child.pid and lock.suspect and lock.deaths == 1
            else:
                assert lock.owner_died is None and not lock.suspect and lock.deaths == 0
    assert len(caplog.records) == 1 and "lock 3 of pool" in caplog.text
    with pool[3]:
        pool[3].mark_consistent()
    with LockPool(name, on_owner_died="raise")[3]:
        pass


def test_a_dead_holder_without_undo_is_named_with_the_command_that_frees_the_lock(pool, name):
    from semshare import HolderDead

    assert Child(lambda: SemaphoreSet(semid=pool.semid).operate([(4, -1)])).wait() == 0
    with pytest.raises(HolderDead, match=f"semshare unlock {name} --number 4"):
        pool[4].acquire()
    SemaphoreSet(semid=pool.semid).operate([(4, 1)])


def test_a_pool_that_is_not_closed_leaves_those_who_wait_alone(pool, name):
    mine, taken = LockPool(name), []
    first = mine[0]
    with pool[0]:
        waiter = threading.Thread(target=lambda: taken.append(first.acquire(timeout=LIMIT)))
        waiter.start()
        wait_until(lambda: pool.waiters() == 1, "a waiter")
        with mine[3]:
            with pytest.raises(RuntimeError, match="release it first"):
                mine.close()
            assert not first.closed and mine[0] is first
    waiter.join()
    assert taken == [True]


def test_closing_the_pool_closes_its_locks_unless_one_is_held(pool, name):
    other = LockPool(name)
    with other[1], pytest.raises(RuntimeError, match="release it first"):
        other.close()
    with other[1], other[2]:
        assert not other.closed
    lock = other[1]
    other.close()
    for use in (lock.acquire, lambda: other[1], lambda: other.multi(0, 1), other.taken):
        with pytest.raises(ValueError, match="closed"):
            use()
    with pool[1]:
        pass


def test_ten_thousand_locks_are_one_set_and_one_segment(name):
    pool = LockPool(name, 10_000)
    try:
        locks = list(pool)
        assert len(locks) == 10_000 and pool.taken() == 0
        with locks[0], locks[9_999], pool.multi(1, 5_000, 9_998):
            assert pool.taken() == 5
        assert pool.taken() == 0
        assert len(SemaphoreSet(semid=pool.semid).values()) == 10_000
    finally:
        pool.unlink()


# ------------------------------------------------------------------------------------------------------ several at once


def test_all_are_taken_or_none(pool, name):
    both = pool.multi(1, 3)
    assert both.numbers == (1, 3) and "1, 3 of pool" in repr(both)
    with both as entered:
        assert entered is both and both.held() and both.locked() and both.owner().pid == os.getpid()
        assert values(pool) == [1, 0, 1, 0, 1]
        assert pool[1].owner() == pool[3].owner() == both.owner()
    assert values(pool) == [1] * 5 and not both.locked()
    with pool[3]:
        assert both.locked() and both.acquire_nowait() is False
        assert in_thread(lambda: both.acquire(timeout=0.01)) is False
        assert values(pool) == [1, 1, 1, 0, 1], "the other one was left alone"
    assert both.acquire() is True
    both.release()


def test_who_waits_for_several_holds_none_meanwhile(pool, name):
    with pool[3]:
        waiting = Child(lambda: LockPool(name).multi(1, 3).acquire(timeout=LIMIT) or os._exit(1))
        wait_until(lambda: pool.multi(1, 3).waiters() == 1, "a waiter")
        with pool[1]:
            pass
    assert waiting.wait() == 0


def test_who_holds_one_of_them_is_not_to_wait_for_it(pool, name):
    for held in (pool[1], pool.multi(1, 2)):
        with held:
            for wanted in (LockPool(name).multi(1, 3), pool.multi(0, 1)):
                with pytest.raises(RuntimeError):
                    wanted.acquire()
    with pool.multi(1, 2), pool.multi(0, 3):
        assert values(pool) == [0, 0, 0, 0, 1]


def test_a_death_inside_several_is_told_to_who_takes_any_of_them(pool, name):
    child = hold(name, lambda pool: pool.multi(1, 3))
    child.kill()
    assert values(pool) == [1] * 5
    with pool.multi(0, 1) as lock:
        assert lock.owner_died.pid == child.pid and lock.deaths == 1
        lock.mark_consistent()
    with pool.multi(0, 1) as lock, pool[3]:
        assert lock.owner_died is None
        assert pool[3].owner_died.pid == child.pid
    strict = LockPool(name, on_owner_died="raise")
    with pytest.raises(OwnerDied, match=str(child.pid)):
        strict.multi(2, 3).acquire()
    assert values(pool) == [1] * 5
    with strict.multi(1, 2):
        pass


def test_overlapping_sets_in_any_order_never_deadlock(pool, name):
    """Each takes three at random, and counts in words that those guard."""
    words = memoryview(mmap.mmap(-1, 4096)).cast("Q")
    rounds = scaled(400)

    def work():
        pool = LockPool(name)
        for _ in range(rounds):
            numbers = random.sample(range(5), 3)
            with pool.multi(*numbers):
                for number in numbers:
                    words[number] = words[number] + 1

    children = [Child(work) for _ in range(4)]
    assert [child.wait() for child in children] == [0] * 4
    assert sum(words[:5]) == 4 * 3 * rounds
    assert values(pool) == [1] * 5 and all(lock.deaths == 0 for lock in pool)


@pytest.fixture
def plain():
    """A set of another program's, whose semaphores are locks."""
    made = SemaphoreSet(lib.IPC_PRIVATE, count=5, create=True)
    made.set_values([1] * 5)
    yield made
    made.remove()


def test_several_semaphores_of_any_set(plain):
    lock = MultiLock(plain, [3, 1])
    assert lock.numbers == (1, 3) and "of set" in repr(lock) and not lock.locked()
    with lock:
        assert plain.values() == [1, 0, 1, 0, 1]
        assert lock.held() and lock.locked() and lock.owner() is None
        with pytest.raises(RuntimeError, match="wait for itself"):
            lock.acquire()
        same = pickle.loads(pickle.dumps(lock))
        assert Child(lambda: same.acquire(False) and os._exit(1)).wait() == 0
        assert Child(lambda: MultiLock(plain, [0, 2]).acquire(False) or os._exit(1)).wait() == 0
    assert plain.values() == [1] * 5
    killed = Child(lambda: MultiLock(plain, range(5)).acquire() and os.kill(os.getpid(), signal.SIGKILL))
    assert killed.wait() == -signal.SIGKILL
    assert lock.acquire(timeout=LIMIT) and lock.owner_died is None and lock.deaths == 0
    lock.release()
    lock.close()


def test_semaphores_that_a_set_has_not(plain):
    for bad in ([5], [-1]):
        with pytest.raises(IndexError, match="has 5, numbered from 0"):
            MultiLock(plain, bad)
    with pytest.raises(ValueError, match="each once"):
        MultiLock(plain, [1, 1])
    with pytest.raises(TypeError, match="a LockPool or a SemaphoreSet"):
        MultiLock(5, [1])


# ---------------------------------------------------------------------------------------------------------- making it


def test_fifty_processes_make_one_pool_at_once(name):
    start = Gate()

    def make_and_use():
        start.pass_through()
        pool = LockPool(name, 7)
        for lock in pool:
            with lock:
                assert SemaphoreSet(semid=pool.semid).value(lock.number) == 0

    children = [Child(make_and_use) for _ in range(50)]
    start.open(50)
    assert [child.wait() for child in children] == [0] * 50
    pool = LockPool.attach(name)
    assert values(pool) == [1] * 7 and all(lock.deaths == 0 for lock in pool)
    pool.unlink()
    start.close()


def half_made(name, step):
    """What a maker leaves behind that is killed after a step."""
    key = key_of(name)
    shmid = lib.shmget(key, lib.SEMSHARE_LOCK_SEGMENT_SIZE, lib.IPC_CREAT | lib.IPC_EXCL | 0o600)
    semid = lib.semget(key, 3, lib.IPC_CREAT | lib.IPC_EXCL | 0o600)
    assert shmid >= 0 and semid >= 0
    segment.attach(shmid).fill(key, semid, 3, name, lib.SEMSHARE_SET_POOL)
    if step == "filled":
        return
    assert lib.semctl(semid, 0, lib.SETALL, ffi.new("unsigned short[]", [0, 1, 1])) == 0


@pytest.mark.parametrize("step", ["filled", "values"])
def test_a_pool_whose_maker_was_killed_in_between_is_made_anew(name, step):
    assert Child(half_made, name, step).wait() == 0
    start = Gate()

    def open_and_use():
        start.pass_through()
        pool = LockPool(name, 3)
        for lock in pool:
            with lock:
                assert lock.owner().pid == os.getpid()

    children = [Child(open_and_use) for _ in range(4)]
    start.open(4)
    assert [child.wait() for child in children] == [0] * 4
    pool = LockPool.attach(name)
    assert values(pool) == [1] * 3
    pool.unlink()
    start.close()


def test_who_opens_a_pool_that_is_being_made_waits_for_its_maker(name):
    """Also where its values are there already: another kind must not take it for a plain program's set."""
    from semshare import Lock

    gate, go_on = Gate(), Gate()

    def make():
        half_made(name, "values")
        gate.open()
        go_on.pass_through()
        SemaphoreSet(key_of(name)).operate([(0, 1)])
        gate.open()
        go_on.pass_through()

    child = Child(make)
    gate.pass_through()
    opened = []

    def open_it():
        with contextlib.suppress(WrongKind):
            Lock(name)
            opened.append("as a lock")
        opened.append(LockPool(name, 3))

    thread = threading.Thread(target=open_it)
    thread.start()
    time.sleep(0.05)
    assert not opened
    go_on.open()
    gate.pass_through()
    thread.join()
    assert values(*opened) == [1] * 3
    go_on.open()
    assert child.wait() == 0
    LockPool(name).unlink()
    gate.close(), go_on.close()


def test_makers_killed_at_any_moment_leave_a_pool_that_can_be_made(name):
    def make():
        while True:
            LockPool(name, 600).unlink()

    for _ in range(scaled(8)):
        child = Child(make)
        time.sleep(random.uniform(0.0, 0.01))
        child.kill()
        pool = LockPool(name, 600)
        assert pool.taken() == 0
        with pool[0], pool[599]:
            assert pool.taken() == 2
        pool.unlink()


def test_who_makes_uses_and_removes_it_at_once_always_finds_a_whole_one(name):
    """Several do that without end, and are killed at random moments: nobody ever finds one that is half there."""

    def work():
        while True:
            pool = LockPool(name, 3)
            with contextlib.suppress(Removed), pool[0], pool[2]:
                pass
            if random.random() < 0.5:
                pool.unlink()
            pool.close()

    children: list[Child] = []
    for _ in range(scaled(60)):
        while len(children) < 4:
            children.append(Child(work))
        time.sleep(random.uniform(0, 0.02))
        victim = children.pop(random.randrange(4))
        ended = victim.poll()
        victim.kill()
        assert not ended, "it found something wrong"
    for child in children:
        child.kill()
    LockPool(name, 3).unlink()
