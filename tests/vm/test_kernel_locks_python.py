# SPDX-License-Identifier: MIT
"""Each class of the package, and kernel threads that take the same object."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time

import abi
import kernel
import lock_kernel as lk
import pytest
from abi import Child, Handle, errno_of, eventually, semctl
from effort import scaled
from lock_kernel import BARRIER, CONDITION, EVENT, FOREVER, MULTI, MUTEX, RWLOCK, SEMAPHORE, KernelLock
from pace import SLACK

import semshare

NAME = "both-sides"
WORDS = struct.Struct("QQ")


@pytest.fixture(scope="module", autouse=True)
def module():
    before = kernel.loaded()
    if "semshare_lock_test" not in before:
        abi.insmod("semshare_lock_test")
    yield
    if "semshare_lock_test" not in before:
        assert kernel.eventually(lambda: kernel.unload("semshare_lock_test") == 0)


@pytest.fixture(autouse=True)
def _nothing_left(no_sets_left):
    yield
    for segment in semshare.segment.all_segments():
        abi.libc.shmctl(segment.shmid, abi.IPC_RMID, None)


@pytest.fixture
def area():
    with Handle() as handle:
        handle.create(NAME, abi.PAGE)
        yield handle
        handle.unlink(NAME)


class Both:
    """A lock as Python and as kernel code have it.

    Args:
        make: makes the Python object, of which forked processes make one of their own.
        kind, numbers: what the kernel opens.
    """

    def __init__(self, make, kind, numbers=(), state=0):
        self.make = make
        self.kind = kind
        self.numbers = numbers
        self.state = state  # the number of the semaphore whose words tell

    def open(self, area=None):
        return KernelLock(self.kind, NAME, numbers=self.numbers, area=area)


def pool(**keywords):
    return semshare.LockPool(NAME, 8, **keywords)


EXCLUSIVE = {
    "Lock": Both(lambda **how: semshare.Lock(NAME, **how), MUTEX),
    "RLock": Both(lambda **how: semshare.RLock(NAME, **how), MUTEX),
    "LockPool": Both(lambda **how: pool(**how)[5], MUTEX, (5,)),
    "MultiLock": Both(lambda **how: pool(**how).multi(1, 5, 6), MULTI, (6, 5, 1)),
    "RWLock": Both(lambda **how: semshare.RWLock(NAME, **how).write(), RWLOCK),
    "Condition": Both(lambda **how: semshare.Condition(NAME, **how), CONDITION),
}


@pytest.fixture(params=EXCLUSIVE.values(), ids=EXCLUSIVE)
def both(request):
    return request.param


def count_in_python(both, area, turns):
    """As the job COUNT, in a process of its own."""
    # By struct.pack_into() a word is 0 for an instant, in which it may be killed.
    words = memoryview(area.map()).cast("Q")

    def repair(*_):
        words[1] = words[0]

    lock = both.make(on_owner_died=repair)
    Child.tell()
    for turn in range(turns):
        with lock:
            if lock.suspect:
                repair()
                lock.mark_consistent()
            first, second = words[0], words[1]
            if turn % 8 == 0:
                time.sleep(50e-6)
            words[0] = first + 1
            words[1] = second + 1


def test_processes_and_kernel_threads_exclude_each_other(both, area):
    turns = scaled(800, 80)
    made = both.make()
    with both.open(area) as handle:
        children = [Child(count_in_python, both, area, turns) for _ in range(2)]
        for child in children:
            child.told()
        for thread in (1, 2):
            handle.job(thread, lk.COUNT, 4 * turns)
        for child in children:
            child.wait()
        for thread in (1, 2):
            assert handle.call(lk.COLLECT, thread)[::2] == (0, 4 * turns)
        assert WORDS.unpack_from(area.map()) == (10 * turns, 10 * turns)
    assert not made.suspect and not made.locked()


def test_each_sees_who_has_it(both):
    lock = both.make()
    with both.open() as handle:
        handle.lock(1)
        assert lock.locked() and not lock.held() and not lock.acquire_nowait()
        assert "kernel thread" in repr(lock) or both.kind == MULTI
        owner = lock.owner()
        # Of several there are several.
        if both.kind != MULTI:
            assert (owner.kind, owner.alive) == (2, None) and owner.pid > 0
        handle.begin(lk.UNLOCK, 1)
        with lock:
            assert errno_of(handle.lock, 2) == "EAGAIN"
            handle.begin(lk.LOCK, 2, timeout_ms=FOREVER)
            time.sleep(0.02)
        assert handle.collect(2) == 0
        assert not lock.acquire(timeout=0.02)
        handle.unlock(2)
        assert lock.acquire_nowait()
        lock.release()


def test_kernel_code_learns_of_a_killed_process(both):
    lock = both.make()

    def victim():
        mine = both.make()
        mine.acquire()
        if isinstance(mine, (semshare.RLock, semshare.Condition)):
            mine.acquire()
        Child.tell()
        signal.pause()

    with both.open() as handle:
        child = Child(victim)
        child.told()
        assert errno_of(handle.lock, 1) == "EAGAIN"
        child.kill()
        assert errno_of(handle.lock, 1, timeout_ms=SLACK * 1000) == "EOWNERDEAD"
        # Who does not get it leaves it as it was.
        assert lock.suspect and not lock.locked()
        assert handle.lock_suspect(1) is True
        handle.consistent(1)
        handle.unlock(1)
        assert not lock.suspect
        with lock:
            assert lock.owner_died is None


def test_processes_learn_of_kernel_code_that_let_go(both):
    found = []
    lock = both.make(on_owner_died=lambda _, died: found.append(died))
    with both.open() as handle:
        with both.open() as other:
            other.lock(1)
        with lock:
            assert len(found) == 1 and found[0].kind == 2 and lock.owner_died is not None
        assert errno_of(handle.lock) == "EOWNERDEAD"
        with lock:
            lock.mark_consistent()
        handle.lock()
        handle.unlock()


@pytest.mark.parametrize("name", ["Lock", "MultiLock", "RWLock", "Condition"])
def test_processes_are_killed_and_kernel_threads_go_on(area, name):
    """Killed anywhere, again and again: nobody waits for the dead, and what they left half done is put right."""
    both = EXCLUSIVE[name]
    turns = scaled(10_000, 1000)
    made = both.make()
    dice = random.Random(name)
    with both.open(area) as handle:
        for thread in (1, 2):
            handle.job(thread, lk.COUNT, turns, flags=lk.SUSPECT)
        children = []
        for _ in range(scaled(40, 6)):
            children.append(Child(count_in_python, both, area, 1 << 30))
            time.sleep(dice.random() * 0.02)
            if len(children) == 3:
                children.pop(0).kill()
        for child in children:
            child.kill()
        for thread in (1, 2):
            assert handle.call(lk.COLLECT, thread)[::2] == (0, turns)
        handle.job(1, lk.COUNT, 1, flags=lk.SUSPECT)
        handle.collect(1)
        first, second = WORDS.unpack_from(area.map())
        assert first == second > 2 * turns
    assert not made.suspect and not made.locked()


# ------------------------------------------------------------------------------------------------------------ RWLock


def test_readers_of_one_side_see_whole_what_the_other_writes(area):
    turns = scaled(600, 80)
    both = EXCLUSIVE["RWLock"]
    memory = area.map()

    def read_in_python():
        lock = semshare.RWLock(NAME)
        Child.tell()
        for turn in range(turns):
            with lock.read():
                first, second = WORDS.unpack_from(memory)
                if turn % 8 == 0:
                    time.sleep(50e-6)
                assert WORDS.unpack_from(memory) == (first, second) == (first, first)

    lock = semshare.RWLock(NAME)
    with both.open(area) as handle:
        children = [Child(read_in_python), Child(count_in_python, both, area, turns)]
        for child in children:
            child.told()
        handle.job(1, lk.COUNT, 4 * turns)
        handle.job(2, lk.COMPARE, 4 * turns)
        for child in children:
            child.wait()
        assert [handle.call(lk.COLLECT, thread)[::2] for thread in (1, 2)] == [(0, 4 * turns)] * 2
        assert WORDS.unpack_from(memory) == (5 * turns, 5 * turns)
    assert lock.readers() == 0


def test_kernel_readers_and_processes_read_together_and_writers_come_before_new_ones():
    lock = semshare.RWLock(NAME)
    with KernelLock(RWLOCK, NAME) as handle:
        handle.read_lock(1)
        with lock.read():
            assert lock.readers() == 2
        assert not lock.write().acquire(timeout=0.02)
        handle.begin(lk.LOCK, 2, timeout_ms=FOREVER)
        eventually(lambda: semctl(lock.semid, lk.WAITING, abi.GETVAL) == 1)
        assert not lock.read().acquire(timeout=0.02)
        handle.read_unlock(1)
        assert handle.collect(2) == 0 and lock.owner().kind == 2
        handle.downgrade(2)
        with lock.read():
            assert lock.readers() == 2 and lock.owner() is None
        handle.read_unlock(2)
        with lock.write():
            assert errno_of(handle.read_lock, 1) == errno_of(handle.lock, 1) == "EAGAIN"


# -------------------------------------------------------------------------------------------- semaphores and events


@pytest.mark.parametrize("name", ["Semaphore", "BoundedSemaphore"])
def test_permits_are_those_of_both(area, name):
    turns = scaled(300, 40)
    made = getattr(semshare, name)(NAME, 3)

    def take_in_python():
        mine = getattr(semshare, name)(NAME, 3)
        Child.tell()
        for _ in range(turns):
            with mine:
                time.sleep(20e-6)

    with KernelLock(SEMAPHORE, NAME, area=area) as handle:
        children = [Child(take_in_python) for _ in range(2)]
        for child in children:
            child.told()
        for thread in (1, 2, 3):
            handle.job(thread, lk.PERMITS, 4 * turns, upper=3)
        for child in children:
            child.wait()
        assert [handle.call(lk.COLLECT, thread)[::2] for thread in (1, 2, 3)] == [(0, 4 * turns)] * 3
        assert made.value == handle.value() == 3

        # One that the kernel gives, a process takes; and the other way round.
        for _ in range(3):
            handle.down()
        assert made.value == 0 and not made.acquire(timeout=0.02)
        handle.up(value=1)
        assert made.acquire(timeout=SLACK)
        handle.begin(lk.DOWN, 1, timeout_ms=FOREVER)
        eventually(lambda: made.waiters() == 1)
        made.release()
        assert handle.collect(1) == 0
        if name == "BoundedSemaphore":
            assert errno_of(handle.up, value=4) == "ERANGE" and handle.value() == 0
        handle.up(value=3)
        if name == "BoundedSemaphore":
            assert errno_of(handle.up, value=1) == "ERANGE"

        def victim():
            getattr(semshare, name)(NAME, 3).acquire()
            Child.tell()
            signal.pause()

        child = Child(victim)
        child.told()
        assert handle.value() == 2
        child.kill()
        eventually(lambda: handle.value() == 3)


def test_events_of_either_side_wake_the_other():
    event = semshare.Event(NAME)
    with KernelLock(EVENT, NAME) as handle:
        for _ in range(5):
            assert not event.is_set() and errno_of(handle.wait) == "EAGAIN"
            for thread in (1, 2):
                handle.begin(lk.WAIT, thread, timeout_ms=FOREVER)
            event.set()
            assert handle.collect(1) == handle.collect(2) == 0
            event.clear()
            woken = []
            waiter = threading.Thread(target=lambda woken=woken: woken.append(event.wait(SLACK)))
            waiter.start()
            handle.set(1)
            waiter.join()
            assert woken == [True] and event.is_set()
            handle.clear(1)


# -------------------------------------------------------------------------------------------- conditions and barriers


@contextlib.contextmanager
def condition_of(guarded, area=None):
    """The condition and the handle: with a lock of its own, or one that guards it."""
    with contextlib.ExitStack() as close:
        if not guarded:
            condition = semshare.Condition(NAME)
            yield condition, close.enter_context(KernelLock(CONDITION, NAME, area=area))
            return
        lock = semshare.Lock("guard")
        condition = semshare.Condition(NAME, lock)
        mutex = close.enter_context(KernelLock(MUTEX, "guard"))
        yield condition, close.enter_context(KernelLock(CONDITION, NAME, area=area, guard=mutex))


@pytest.mark.parametrize("guarded", [False, True], ids=["own", "guarded"])
def test_processes_and_kernel_threads_take_turns_by_a_condition(area, guarded):
    turns = scaled(100, 10)
    memory = area.map()

    def take_turns(mine):
        condition = semshare.Condition(NAME, semshare.Lock("guard") if guarded else None)
        for _ in range(turns):
            with condition:
                assert condition.wait_for(lambda: WORDS.unpack_from(memory)[0] % 4 == mine, 10 * SLACK)
                struct.pack_into("Q", memory, 0, WORDS.unpack_from(memory)[0] + 1)
                condition.notify_all()

    with condition_of(guarded, area) as (condition, handle):
        for thread in (1, 2):
            handle.job(thread, lk.EXCHANGE, turns, upper=4 << 16 | 2 * thread - 2)
        children = [Child(take_turns, mine) for mine in (1, 3)]
        for child in children:
            child.wait()
        assert [handle.call(lk.COLLECT, thread)[::2] for thread in (1, 2)] == [(0, turns)] * 2
        assert WORDS.unpack_from(memory)[0] == 4 * turns
        assert condition.waiters() == 0


def test_notification_of_a_killed_waiter_goes_on_to_a_kernel_thread():
    condition = semshare.Condition(NAME)

    def victim():
        mine = semshare.Condition(NAME)
        with mine:
            Child.tell()
            mine.wait()

    with KernelLock(CONDITION, NAME) as handle:
        child = Child(victim)
        child.told()
        eventually(lambda: condition.waiters() == 1)
        handle.lock(1, timeout_ms=FOREVER)
        handle.begin(lk.WAIT, 1, timeout_ms=FOREVER)
        eventually(lambda: condition.waiters() == 2)
        os.kill(child.pid, signal.SIGSTOP)
        with condition:
            condition.notify(1)
        child.kill()
        assert handle.collect(1) == 1
        handle.unlock(1)
        assert condition.waiters() == 0


def test_notification_of_a_stopped_kernel_thread_goes_on_to_a_process():
    condition = semshare.Condition(NAME)
    with KernelLock(CONDITION, NAME) as handle:
        handle.lock(1)
        handle.begin(lk.WAIT, 1, timeout_ms=FOREVER)
        eventually(lambda: condition.waiters() == 1)
        woken = []

        def wait():
            with condition:
                woken.append(condition.wait(10 * SLACK))

        waiter = threading.Thread(target=wait)
        waiter.start()
        eventually(lambda: condition.waiters() == 2)
        with condition:
            condition.notify(1)
            # It cannot have the lock any more, and goes without.
            assert errno_of(handle.stop, 1) == "EINTR"
        waiter.join()
        assert woken == [True]


def test_processes_and_kernel_threads_meet_at_a_barrier(area):
    turns = scaled(100, 10)
    barrier = semshare.Barrier(NAME, 4)

    def come():
        mine = semshare.Barrier(NAME, 4)
        for _ in range(turns):
            assert mine.wait(10 * SLACK) in range(4)

    with KernelLock(BARRIER, NAME, area=area) as handle:
        assert handle.value() == 4
        for thread in (1, 2):
            handle.job(thread, lk.MEET, turns, upper=2)
        children = [Child(come) for _ in range(2)]
        for child in children:
            child.wait()
        assert [handle.call(lk.COLLECT, thread)[::2] for thread in (1, 2)] == [(0, turns)] * 2
        assert barrier.n_waiting == 0 and not barrier.broken


def test_barrier_broken_by_either_side():
    barrier = semshare.Barrier(NAME, 3)
    with KernelLock(BARRIER, NAME) as handle:
        handle.begin(lk.WAIT, 1, timeout_ms=FOREVER)
        eventually(lambda: barrier.n_waiting == 1)
        barrier.abort()
        assert errno_of(handle.collect, 1) == "EPIPE"
        handle.reset()
        assert not barrier.broken
        ended = []

        def wait():
            try:
                barrier.wait(10 * SLACK)
            except threading.BrokenBarrierError as error:
                ended.append(error)

        waiter = threading.Thread(target=wait)
        waiter.start()
        eventually(lambda: barrier.n_waiting == 1)
        assert errno_of(handle.wait, 1, timeout_ms=20) == "ETIMEDOUT"
        waiter.join()
        assert len(ended) == 1 and barrier.broken
        barrier.reset()

        # Of those who are killed, or stopped, others come in the stead.
        def victim():
            Child.tell()
            semshare.Barrier(NAME, 3).wait()

        child = Child(victim)
        child.told()
        eventually(lambda: barrier.n_waiting == 1)
        handle.begin(lk.WAIT, 1, timeout_ms=FOREVER)
        eventually(lambda: barrier.n_waiting == 2)
        child.kill()
        assert errno_of(handle.stop, 1) == "EINTR"
        for thread in (1, 2):
            handle.begin(lk.WAIT, thread, timeout_ms=FOREVER)
        indices = {barrier.wait(10 * SLACK), handle.collect(1), handle.collect(2)}
        assert indices == {0, 1, 2}


# -------------------------------------------------------------------------------------------------------- unlinking


def told(*command):
    """What the command line says, as JSON."""
    command = [sys.executable, "-m", "semshare.cli", *command, "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=10 * SLACK).stdout)


def test_the_command_line_shows_kernel_threads_that_hold_and_wait():
    lock = semshare.Lock(NAME)
    with KernelLock(MUTEX, NAME) as handle:
        handle.lock(1)
        handle.begin(lk.LOCK, 2, timeout_ms=FOREVER)
        waiting = Child(lambda: semshare.Lock(NAME).acquire(timeout=100 * SLACK) or os._exit(1))
        eventually(lambda: lock.waiters() == 2)
        found = told("inspect", NAME)["set"]
        assert (found["state"], found["owner"]["kind"], found["waiters"]) == ("taken", "kernel thread", [2])
        (semaphore,) = found["semaphores"]
        assert [waiter["pid"] for waiter in semaphore["waiters"]] == [waiting.pid]
        # Of a kernel thread nobody can see for which semaphore it sleeps, only that somebody does.
        assert semaphore["unknown_waiters"] == 1
        (listed,) = [each for each in told("ls")["sets"] if each["name"] == NAME]
        assert listed["owner"]["kind"] == "kernel thread"
        (shown,) = [each for each in told("top", "--count", "1")["sets"] if each["name"] == NAME]
        assert shown["waiting"] == 2 and shown["owner"]["kind"] == "kernel thread"
        assert told("doctor", "--deadlocks")["deadlocks"] == []
        waiting.kill()
        handle.unlock(1)
        handle.collect(2)
        handle.unlock(2)
    lock.unlink()
    lock.close()


def test_what_was_unlinked_is_gone_for_kernel_code(both):
    lock = both.make()
    with both.open() as handle:
        lock.acquire()
        handle.begin(lk.LOCK, 1, timeout_ms=FOREVER)
        time.sleep(0.02)
        semctl(lock.semid, 0, abi.IPC_RMID)
        assert errno_of(handle.collect, 1) == errno_of(handle.lock) == "EIDRM"
        with pytest.raises(semshare.Removed):
            lock.release()
    # Made anew it is another.
    again = both.make()
    with both.open() as handle:
        handle.lock()
        assert again.locked()
        handle.unlock()
