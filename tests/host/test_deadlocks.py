# SPDX-License-Identifier: MIT
"""Who would wait for himself, or for threads that wait for him, is told at once; and nobody is who merely waits."""

from __future__ import annotations

import random
import threading
import time

import pytest
from effort import scaled
from lock_factories import LOCKS, Can
from processes import LIMIT, Child, Gate, wait_until

from semshare import Lock, LockPool, RLock, RWLock
from semshare.lock import UNBOUND

# Of a condition it is the lock, which is one of these.
OWNED = [kind for kind in LOCKS if Can.OWN in kind.can and kind.id != "Condition"]


@pytest.fixture(params=OWNED, ids=lambda kind: kind.id)
def kind(request):
    return request.param


@pytest.fixture
def make(names):
    """Makes locks and removes them."""
    made = []

    def make(kind=Lock, *arguments):
        made.append(kind(names(), *arguments))
        return made[-1]

    yield make
    for each in made:
        each.unlink()


class Thread(threading.Thread):
    """A thread that runs a function, and keeps what it returned or raised."""

    def __init__(self, function, *arguments):
        super().__init__(daemon=True)
        self._function = lambda: function(*arguments)
        self.result = None
        self.error = None
        self.start()

    def run(self):
        try:
            self.result = self._function()
        except Exception as error:
            self.error = error

    def end(self):
        """Wait for its end. What it returned; raises what it raised."""
        self.join(LIMIT)
        assert not self.is_alive(), "a thread hangs"
        if self.error is not None:
            raise self.error
        return self.result


class Holder:
    """A thread that takes a lock, and then another one when it is told to."""

    def __init__(self, first, second, **how):
        self._go = threading.Event()
        self._has = threading.Event()
        self.thread = Thread(self._run, first, second, how)
        assert self._has.wait(LIMIT)

    def _run(self, first, second, how):
        with first:
            self._has.set()
            assert self._go.wait(LIMIT)
            if second.acquire(**how):
                second.release()
                return True
            return False

    def go_on(self):
        self._go.set()
        return self


def waits(lock) -> bool:
    return lock.waiters() > 0


# --------------------------------------------------------------------------------------------------------- for oneself


def test_waiting_for_oneself_is_an_error_by_way_of_whichever_object(kind, name):
    lock, other = kind(name), kind(name)
    try:
        with lock:
            for same in (lock, other):
                if Can.AGAIN in kind.can:
                    assert same.acquire() and same.acquire(timeout=1)
                    same.release()
                    same.release()
                    continue
                for how in ({}, {"timeout": 5}):
                    with pytest.raises(RuntimeError, match="wait for itself"):
                        same.acquire(**how)
                with pytest.raises(RuntimeError, match="wait for itself"), same:
                    pass
                assert same.acquire(blocking=False) is False and same.acquire_nowait() is False
                assert same.acquire(timeout=0) is False
        with other:
            pass
        assert not lock.locked()
    finally:
        kind.remove(name)


def test_of_several_locks_one_that_is_held_is_enough(make):
    pool = make(LockPool, 8)
    with pool[3]:
        with pytest.raises(RuntimeError, match="wait for itself"):
            pool.multi(1, 3).acquire()
        with pool.multi(1, 2), pytest.raises(RuntimeError, match="wait for itself"):
            pool[2].acquire()
        with pool.multi(4, 5), pytest.raises(RuntimeError, match="wait for itself"):
            pool.multi(6, 5).acquire(timeout=1)
    with pool.multi(*range(8)):
        pass


def test_a_reader_cannot_become_a_writer_nor_a_writer_a_reader_by_waiting(make):
    lock = make(RWLock)
    other = RWLock(lock.name)
    for reading, writing in ((lock.read(), lock.write()), (lock.read(), other.write())):
        with reading:
            with pytest.raises(RuntimeError, match="wait for itself"):
                writing.acquire()
            assert not writing.acquire_nowait()
        with writing:
            with pytest.raises(RuntimeError, match="wait for itself"):
                reading.acquire(timeout=1)
            assert not reading.acquire_nowait()
    # And has not said that it waits: then this would have to wait for it.
    assert Child(lambda: RWLock(lock.name).read().acquire(timeout=LIMIT) or exit(3)).wait() == 0


def test_who_reads_may_read_again_while_a_writer_waits(make):
    lock = make(RWLock)
    other = RWLock(lock.name)
    with lock.read():
        writer = Child(lambda: RWLock(lock.name).write().acquire())
        wait_until(lambda: waits(lock), "a writer that waits")
        for again in (lock.read(), other.read()):
            with again:
                assert again.acquire_nowait()
                again.release()
        assert lock.readers() == 1
        assert Child(lambda: exit(RWLock(lock.name).read().acquire_nowait())).wait() == 0
    assert writer.wait() == 0


# ------------------------------------------------------------------------------------------------------ for each other


def test_two_threads_that_wait_for_each_other(make):
    one, two = make(), make()
    with one:
        other = Holder(two, one).go_on()
        wait_until(lambda: waits(one), "the other's wait")
        with pytest.raises(RuntimeError, match="deadlock") as caught:
            two.acquire()
        told = str(caught.value)
        assert told.startswith(f"{two._what}: acquire") and f"waits for {one._what}" in told
        assert str(other.thread.native_id) in told
        assert not two.acquire_nowait() and not two.held()
    assert other.thread.end() is True
    with one, two:
        pass


def test_the_objects_do_not_matter(make):
    one, two = make(), make()
    with Lock(one.name):
        other = Holder(Lock(two.name), Lock(key=one.key)).go_on()
        wait_until(lambda: waits(one), "the other's wait")
        with pytest.raises(RuntimeError, match="deadlock"), Lock(semid=two.semid):
            pass
    assert other.thread.end()


def test_a_circle_of_many_of_all_kinds(make):
    pool = make(LockPool, 5)
    table = make(RWLock)
    table_too = RWLock(table.name)
    ring = [make(), make(RLock), pool[1], pool.multi(2, 4), table.write()]
    # Each takes one by way of one object and waits for the next by way of another, if there can be another.
    others = [Holder(one, two) for one, two in zip(ring, [*ring[1:4], table_too.read()])]
    with table.write():
        for number, other in enumerate(others):
            other.go_on()
            watched = ring[number + 1] if number < 3 else table
            wait_until(lambda watched=watched: waits(watched), "the next wait")
        with pytest.raises(RuntimeError, match="deadlock") as caught:
            ring[0].acquire()
        assert str(caught.value).count("waits for") == 4
    for other in others:
        assert other.thread.end()


def test_a_reader_waits_for_those_who_wait_to_write(make):
    lock, table = make(), make(RWLock)
    release = threading.Event()

    def read():
        with table.read():
            reads.set()
            assert release.wait(LIMIT)
            with lock:
                return True

    reads = threading.Event()
    reader = Thread(read)
    assert reads.wait(LIMIT)
    with lock:
        release.set()
        wait_until(lambda: waits(lock), "the reader's wait for the lock")
        writer = Thread(lambda: table.write().acquire() and table.write().release())
        wait_until(lambda: waits(table), "the writer's wait for the reader")
        with pytest.raises(RuntimeError, match="deadlock"):
            RWLock(table.name).read().acquire()
    assert reader.end()
    writer.end()


# -------------------------------------------------------------------------------------------------------- false alarms


def test_a_wait_that_ends_by_itself_is_no_deadlock(make):
    one, two = make(), make()
    with one:
        other = Holder(two, one, timeout=LIMIT).go_on()
        wait_until(lambda: waits(one), "the other's wait")
        # This one ends by itself, and so would the other's.
        assert two.acquire(timeout=0.05) is False
        # Only the other's does.
        waiting = Thread(lambda: two.acquire() and two.release())
        wait_until(lambda: waits(two), "a wait without limit")
    assert other.thread.end() is True
    waiting.end()


def test_who_merely_waits_is_not_told_anything(make):
    locks = [make() for _ in range(4)]
    with locks[0]:
        chain = [Holder(mine, wanted).go_on() for mine, wanted in zip(locks[1:], locks)]
        more = [Thread(lambda lock=lock: lock.acquire() and lock.release()) for lock in locks for _ in range(2)]
        for lock in locks:
            wait_until(lambda lock=lock: lock.waiters() >= 2, "all waits")
    for other in chain:
        assert other.thread.end()
    for each in more:
        each.end()


def test_what_a_process_cannot_know_is_no_deadlock(make):
    """That the other process would wait for us in turn, nobody here sees."""
    one, two = make(), make()
    gate, done = Gate(), Gate()

    def child():
        with Lock(two.name):
            gate.open()
            done.pass_through()

    other = Child(child)
    gate.pass_through()
    with one:
        waiting = Thread(lambda: two.acquire() and two.release())
        wait_until(lambda: waits(two), "a wait for the other process")
        behind = Holder(make(), one).go_on()
        wait_until(lambda: waits(one), "a wait for this thread")
        done.open()
        with two:
            pass
    assert other.wait() == 0
    waiting.end()
    assert behind.thread.end()
    gate.close(), done.close()


def test_a_forked_child_knows_nothing_of_its_parents_waits(make):
    one, two = make(), make()

    def child():
        # Of the same threads and locks: a deadlock, if the parent's threads were this process's.
        with pytest.raises(RuntimeError, match="before the fork"):
            one.release()
        assert two.acquire(timeout=0.05) is False
        waiting = Thread(two.acquire)
        wait_until(lambda: two.waiters() == 1, "a wait")
        assert one.acquire(timeout=0.05) is False
        assert waiting.is_alive()

    with one:
        other = Holder(two, one).go_on()
        wait_until(lambda: waits(one), "the other's wait")
        assert Child(child).wait() == 0
    assert other.thread.end()


def test_waiting_in_a_signals_handler_is_a_wait_of_its_own(make):
    """Its wait is over when it takes a lock in the handler, and begins anew behind that."""
    import os
    import signal

    one, two = make(), make()
    seen = []

    def handle(number, frame):
        with two:
            seen.append(one.held())

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        has = threading.Event()
        release = threading.Event()

        def hold():
            with one:
                has.set()
                wait_until(lambda: waits(one), "the wait")
                os.kill(os.getpid(), signal.SIGUSR1)
                wait_until(lambda: seen, "the handler")
                with two:
                    assert release.wait(LIMIT)

        other = Thread(hold)
        assert has.wait(LIMIT)
        release.set()
        with one:
            pass
        other.end()
        assert seen == [False]
    finally:
        signal.signal(signal.SIGUSR1, before)


class Unbound(Lock):
    """A lock that belongs to no thread: as those of asyncio do, whose tasks share one."""

    _flags = UNBOUND


def test_what_belongs_to_no_thread_is_waited_for_by_any(make):
    lock = make(Unbound)
    other = Unbound(lock.name)
    lock.acquire()
    assert lock.held() and not other.held()
    # It may be a task of this very thread that releases it.
    for same in (lock, other):
        assert same.acquire(timeout=0.01) is False
        assert same._wait_slice(0.01) is False
    with pytest.raises(RuntimeError, match="not acquired by this object"):
        other.release()
    waiting = Thread(other.acquire)
    wait_until(lambda: waits(lock), "a wait")
    Thread(lock.release).end()
    assert waiting.end() and other.held()
    other.release()
    assert lock.deaths == 0  # the thread that took it has ended


def test_what_belongs_to_no_thread_belongs_to_a_process(make):
    lock = make(Unbound)

    def child():
        assert not lock.held()
        with pytest.raises(RuntimeError, match="before the fork"):
            lock.release()
        assert lock.acquire(timeout=0.01) is False

    with lock:
        assert Child(child).wait() == 0
        assert lock.held()


# ------------------------------------------------------------------------------------------------------------ at random


def test_threads_that_take_locks_in_one_order_are_never_told(make):
    pool = make(LockPool, 6)
    table = make(RWLock)
    rounds = scaled(150, 20)

    def work(seed):
        rng = random.Random(seed)
        mine = LockPool(pool.name)
        sides = RWLock(table.name)
        for _ in range(rounds):
            numbers = sorted(rng.sample(range(6), 3))
            side = sides.read() if rng.random() < 0.7 else sides.write()
            with side, mine[numbers[0]], mine[numbers[1]]:
                time.sleep(0)  # let others run
                with mine[numbers[2]]:
                    pass
            with mine.multi(*numbers):
                time.sleep(0)
        return True

    threads = [Thread(work, seed) for seed in range(5)]
    assert all(thread.end() for thread in threads)


def test_threads_that_take_locks_in_any_order_do_not_hang(make):
    """Who is told gives back what it has, and tries again: without that all of them would hang soon."""
    pool = make(LockPool, 4)
    told = []

    def work(seed):
        rng = random.Random(seed)
        mine = LockPool(pool.name)
        done = 0
        while done < rounds:
            one, two, three = rng.sample(range(4), 3)
            try:
                with mine[one]:
                    time.sleep(0)
                    with mine[two], mine[three]:
                        done += 1
            except RuntimeError as error:
                assert "deadlock" in str(error)
                told.append(seed)
        return True

    rounds = scaled(300, 30)
    threads = [Thread(work, seed) for seed in range(4)]
    assert all(thread.end() for thread in threads)
    assert told and not any(member.locked() for member in pool)
