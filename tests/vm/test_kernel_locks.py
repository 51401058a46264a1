# SPDX-License-Identifier: MIT
"""The functions of locks.h, call by call: in the caller, in kernel threads that share a handle, and in plain Python.

The sets are made by hand; the Python classes meet the kernel in test_kernel_locks_python.py.
"""

import contextlib
import os
import random
import signal
import struct
import time
from pathlib import Path

import abi
import kernel
import lock_kernel as lk
import pytest
from abi import (
    GETZCNT,
    IPC_CREAT,
    IPC_EXCL,
    IPC_RMID,
    SEM_UNDO,
    SETVAL,
    Child,
    Handle,
    errno_of,
    eventually,
    key_of,
    semctl,
    semop,
    start_time,
)
from effort import EFFORT, scaled
from kernel import KernelLog
from lock_kernel import (
    BARRIER,
    CONDITION,
    DEAD_KIND,
    DEAD_PID,
    DEATHS,
    EPOCH,
    EVENT,
    FOREVER,
    KIND_BOUNDED,
    KIND_EVENT,
    KIND_LOCK,
    KIND_POOL,
    KIND_RLOCK,
    KIND_RWLOCK,
    KIND_SEMAPHORE,
    MULTI,
    MUTEX,
    OWNER_KIND,
    OWNER_PID,
    OWNER_START,
    OWNER_TID,
    PLACES_NSEMS,
    READERS,
    RWLOCK,
    SEMAPHORE,
    STATE,
    SUSPECT_WORD,
    THREADS,
    WAITING,
    WRITER,
    KernelLock,
    Set,
    barrier_set,
    condition_set,
)
from pace import SLACK, SLOW

EOPNOTSUPP = "ENOTSUP"  # Python knows it by its other name


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


@pytest.fixture
def lock():
    with Set("locks") as made:
        yield made


@pytest.fixture
def mutex(lock):
    with KernelLock(MUTEX, "locks") as opened:
        yield opened


@pytest.fixture
def area():
    """Where jobs count."""
    with Handle() as handle:
        handle.create("locks", abi.PAGE)
        yield handle
        handle.unlink("locks")


def words_of(area):
    return struct.unpack_from("QQ", area.map())


# ----------------------------------------------------------------------------------------------------------- opening


@contextlib.contextmanager
def one_of(kind):
    """A set of a kind of object, free, and what is opened of it."""
    made = {
        MUTEX: lambda: Set("locks"),
        MULTI: lambda: Set("locks", KIND_POOL, (1,) * 4),
        RWLOCK: lambda: Set("locks", KIND_RWLOCK, (0, 0, 0)),
        SEMAPHORE: lambda: Set("locks", KIND_SEMAPHORE, (3,)),
        EVENT: lambda: Set("locks", KIND_EVENT, (1,)),
        CONDITION: lambda: condition_set("locks"),
        BARRIER: lambda: barrier_set("locks", 2),
    }[kind]()
    with made, KernelLock(kind, "locks", numbers=(1, 3) if kind == MULTI else ()) as opened:
        yield made, opened


KINDS = {
    "mutex": MUTEX,
    "multi": MULTI,
    "rwlock": RWLOCK,
    "semaphore": SEMAPHORE,
    "event": EVENT,
    "condition": CONDITION,
    "barrier": BARRIER,
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_set_is_opened_as_what_it_is_and_nothing_else(kind):
    with one_of(kind):
        for other in KINDS.values():
            numbers = (0,) if other == MULTI else ()
            answer = errno_of(lambda other=other, numbers=numbers: KernelLock(other, "locks", numbers=numbers).close())
            # A lock of a pool is a lock.
            assert answer == (None if other == kind or (other, kind) == (MUTEX, MULTI) else "EPROTOTYPE"), other


def test_names_that_name_nothing():
    def answer(*arguments, **keywords):
        return errno_of(lambda: KernelLock(MUTEX, *arguments, **keywords).close())

    assert answer("no-such-lock") == "ENOENT"
    assert answer("bad name") == answer("x/y") == answer(key=0) == "EINVAL"
    assert answer(key=0x5EED) == "ENOENT"
    with Set("locks") as made:
        assert answer("locks") is None and answer(key=made.key) is None
        made.segment.memory[24:30] = b"others"
        assert answer("locks") == "EEXIST"
        # By its key it has no name.
        assert answer(key=made.key) is None

        def elsewhere():
            abi.unshare_ipc()
            assert answer("locks") == "ENOENT"

        abi.in_child(elsewhere)


@pytest.mark.parametrize(
    "at, value, answer",
    [
        (lk.AT_MAGIC, 0, "EAGAIN"),
        (lk.AT_ABI, 99, "EPROTO"),
        (lk.AT_KIND, 9, "EPROTO"),
        (lk.AT_KIND, 0xFFFFFFFF, "EPROTO"),
        (lk.AT_KIND, lk.KIND_CONDITION, "EPROTO"),
        (lk.AT_KIND, KIND_RWLOCK, "EPROTO"),
        (lk.AT_KIND, KIND_BOUNDED, "EPROTO"),  # its limit is 0
    ],
)
def test_companion_that_makes_no_sense(lock, at, value, answer):
    before = lock.segment.get32(at)
    lock.segment.set32(at, value)
    assert errno_of(KernelLock, MUTEX, "locks") == answer
    lock.segment.set32(at, before)
    KernelLock(MUTEX, "locks").close()


@pytest.mark.parametrize("at", [lk.AT_MAGIC, lk.AT_SEMID, lk.AT_NSEMS])
def test_somebody_elses_segment_is_left_alone(lock, at):
    lock.segment.set32(at, 12345)
    before = bytes(lock.segment.memory)
    with KernelLock(MUTEX, "locks") as mutex:
        mutex.lock()
        assert lock.value() == 0
        mutex.unlock()
    assert bytes(lock.segment.memory) == before


def test_a_set_that_is_not_finished_is_not_opened():
    semid = abi.semget(key_of("locks"), 3, IPC_CREAT | IPC_EXCL | 0o600)
    assert errno_of(KernelLock, RWLOCK, "locks") == "EAGAIN"
    semop(semid, (0, 0, 0))
    KernelLock(RWLOCK, "locks").close()


def test_a_pool_that_is_not_published_is_not_opened():
    """Its maker gives it values, and a last process, by SETALL before the semop that publishes it."""
    with Set("locks", KIND_POOL, (0, 1, 1, 1), published=False) as pool:
        assert pool.values() == [0, 1, 1, 1]
        for kind, numbers in ((MUTEX, ()), (MUTEX, (2,)), (MULTI, (1, 3))):
            assert errno_of(KernelLock, kind, "locks", numbers=numbers) == "EAGAIN"
        assert errno_of(KernelLock, MUTEX, key=pool.key) == "EAGAIN"
        semop(pool.semid, (0, 1, 0))
        KernelLock(MUTEX, "locks").close()
        with KernelLock(MULTI, "locks", numbers=(0, 3)) as multi:
            multi.lock()
            multi.unlock()


def test_plain_set_is_what_it_is_opened_as():
    """As sysv_ipc makes it: by SETVAL, without a companion, of any number of semaphores."""
    semid = abi.semget(0x5EED, 3, IPC_CREAT | IPC_EXCL | 0o600)
    semctl(semid, 0, SETVAL, 1)
    with KernelLock(MUTEX, key=0x5EED) as mutex, KernelLock(SEMAPHORE, key=0x5EED) as semaphore:
        mutex.lock(1)
        assert semaphore.value() == 0 and errno_of(mutex.lock) == "EAGAIN"
        mutex.unlock(1)
        semop(semid, (0, -1, SEM_UNDO))
        assert errno_of(mutex.lock) == "EAGAIN"
        semop(semid, (0, 1, SEM_UNDO))
        semaphore.down()
        semaphore.up(value=1)
    for kind in (CONDITION, BARRIER):
        assert errno_of(KernelLock, kind, key=0x5EED) == "ENXIO"


def test_who_may_not_alter_the_set_does_not_open_it(lock):
    def other_user():
        abi.become(abi.NOBODY)
        assert errno_of(KernelLock, MUTEX, "locks") == "EACCES"

    with abi.open_to_all("/dev/semshare-lock-test"):
        abi.in_child(other_user)


def test_who_may_not_write_the_companion_has_the_lock_without():
    with Set("locks", companion=False, mode=0o666) as made, abi.open_to_all("/dev/semshare-lock-test"):
        made.segment = lk.Segment(made.key, 4096, 0o644)
        made.segment.set32(lk.AT_MAGIC, lk.MAGIC)

        def other_user():
            abi.become(abi.NOBODY)
            with KernelLock(MUTEX, "locks") as mutex:
                mutex.lock()
                assert made.value() == 0
                mutex.unlock()

        before = bytes(made.segment.memory)
        abi.in_child(other_user)
        assert bytes(made.segment.memory) == before


def pinned():
    """Pages pinned by the kernel so far, less those given back."""
    # Each processor counts by itself.
    Path("/proc/sys/vm/stat_refresh").write_text("1")
    counts = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    return int(counts["nr_foll_pin_acquired"]) - int(counts["nr_foll_pin_released"])


@pytest.mark.parametrize("kind", [MUTEX, MULTI, CONDITION], ids=["mutex", "pool", "condition"])
def test_the_companions_pages_are_let_go(kind):
    with one_of(kind) as (made, _):
        numbers = (1, 3) if kind == MULTI else ()
        before = pinned()
        for _ in range(20):
            with KernelLock(kind, "locks", numbers=numbers):
                assert pinned() > before
            assert pinned() == before
        assert Path(f"/proc/{os.getpid()}/maps").read_text().count("SYSV") == 1
        made.segment.set32(lk.AT_ABI, 99)
        assert errno_of(KernelLock, kind, "locks", numbers=numbers) == "EPROTO"
        assert pinned() == before


def test_the_companion_outlives_its_segment(lock, mutex):
    """Kernel code has its pages for as long as it has the lock open."""
    abi.libc.shmctl(lock.segment.shmid, IPC_RMID, None)
    mutex.lock()
    assert lock.word(EPOCH) == 1
    mutex.unlock()
    abi.libc.shmdt(lock.segment.address)
    lock.segment.address = 0
    mutex.lock(1)
    mutex.unlock(1)


@pytest.mark.parametrize("function", ["ksys_shmget", "do_shmat"])
def test_a_kernel_without_a_function_has_locks_without_owners(function):
    with kernel.everything_unloaded():
        assert kernel.load("semshare", f"hide={function}") == 0
        assert kernel.load("semshare_lock_test") == 0
        with Set("locks") as made, KernelLock(MUTEX, "locks") as mutex:
            mutex.lock()
            assert made.value() == 0 and made.word(EPOCH) == 0
            mutex.unlock()
        with condition_set("locks"):
            assert errno_of(KernelLock, CONDITION, "locks") == "ENXIO"


# ------------------------------------------------------------------------------------------------------------- mutex


@pytest.mark.parametrize("kind", [KIND_LOCK, KIND_RLOCK], ids=["lock", "rlock"])
@pytest.mark.parametrize("thread", [0, 1], ids=["caller", "kthread"])
def test_lock_excludes_and_says_who_has_it(kind, thread):
    with Set("locks", kind) as lock, KernelLock(MUTEX, "locks") as mutex, KernelLock(MUTEX, "locks") as other:
        mutex.lock(thread)
        assert lock.value() == 0 and lock.word(EPOCH) == 1 and lock.word(OWNER_KIND) == 2
        if not thread:
            assert lock.word(OWNER_PID) == os.getpid()
            assert lock.segment.get64(STATE + OWNER_START) == start_time()
        else:
            assert lock.word(OWNER_PID) not in (0, os.getpid()) and lock.word(OWNER_TID) == lock.word(OWNER_PID)
        # Not again, whatever kind it is; not by another handle, and not by another task.
        assert errno_of(mutex.lock, thread, timeout_ms=10) == "EDEADLK"
        assert errno_of(other.lock, 2) == errno_of(mutex.lock, 3) == "EAGAIN"
        assert errno_of(other.lock, timeout_ms=30) == "ETIMEDOUT"
        for who in ((mutex.unlock, 2), (other.unlock, thread), (mutex.consistent, 2)):
            assert errno_of(*who) == "EPERM"
        mutex.consistent(thread)
        mutex.unlock(thread)
        assert lock.value() == 1 and lock.word(EPOCH) == 2 and lock.word(OWNER_KIND) == 0
        assert errno_of(mutex.unlock, thread) == "EPERM"
        other.lock()
        other.unlock()


def test_a_waiter_gets_the_lock_when_it_is_given(lock, mutex):
    lock.take()
    mutex.begin(lk.LOCK, 1, timeout_ms=FOREVER)
    eventually(lambda: lock.waiters() == 1)
    lock.give()
    assert mutex.collect(1) == 0
    assert lock.value() == 0
    mutex.begin(lk.LOCK, 2, timeout_ms=SLACK * 1000)
    eventually(lambda: lock.waiters() == 1)
    mutex.unlock(1)
    assert mutex.collect(2) == 0
    mutex.unlock(2)
    assert lock.is_sound()


def test_owner_that_is_killed_is_told_until_somebody_says_it_is_right(lock, mutex):
    def victim():
        lock.take()
        Child.tell()
        signal.pause()

    child = Child(victim)
    child.told()
    pid = child.pid
    child.kill()
    # Who does not ask does not get it.
    assert errno_of(mutex.lock, timeout_ms=1000) == "EOWNERDEAD"
    assert lock.value() == 1 and lock.word(SUSPECT_WORD) == 1 and lock.word(DEATHS) == 1
    assert (lock.word(DEAD_KIND), lock.word(DEAD_PID)) == (1, pid)
    for thread in (0, 1):
        assert errno_of(mutex.lock, thread) == "EOWNERDEAD"
        assert mutex.lock_suspect(thread) is True
        assert lock.value() == 0
        mutex.unlock(thread)
    with KernelLock(MUTEX, "locks") as other:
        assert other.lock_suspect() is True
        other.consistent()
        other.unlock()
    assert mutex.lock_suspect() is False
    mutex.unlock()
    mutex.lock()
    mutex.unlock()
    assert lock.is_sound() and lock.word(DEATHS) == 1


@pytest.mark.parametrize("thread", [0, 1], ids=["caller", "kthread"])
def test_closing_gives_it_back_as_of_a_dead_owner(lock, mutex, thread):
    with KernelLock(MUTEX, "locks") as other:
        other.lock(thread)
        assert errno_of(mutex.lock) == "EAGAIN"
    assert lock.value() == 1
    assert mutex.lock_suspect() is True
    assert lock.word(DEAD_KIND) == 2
    mutex.unlock()


def test_process_killed_with_the_kernels_lock(lock, mutex):
    def victim():
        KernelLock(MUTEX, "locks").lock()
        Child.tell()
        signal.pause()

    child = Child(victim)
    child.told()
    assert errno_of(mutex.lock) == "EAGAIN"
    child.kill()
    assert mutex.lock_suspect(timeout_ms=SLACK * 1000) is True
    mutex.unlock()


def test_words_that_were_written_meanwhile(lock, mutex):
    mutex.lock()
    lock.write(EPOCH, 77)
    assert errno_of(mutex.unlock) == "EPROTO"
    # The semaphore was its own still.
    assert lock.value() == 1 and errno_of(mutex.unlock) == "EPERM"
    assert errno_of(mutex.lock) == "EOWNERDEAD"
    lock.write(EPOCH, 0)
    lock.write(SUSPECT_WORD, 0)
    # That it was so, no user can unsay.
    assert errno_of(mutex.lock) == "EOWNERDEAD"
    assert mutex.lock_suspect() is True
    mutex.consistent()
    mutex.unlock()
    mutex.lock()
    mutex.unlock()


def test_two_owners_by_a_raised_semaphore(lock, mutex):
    """Of those who share a handle there are never two; of others the first who leaves finds out."""
    mutex.lock(1)
    semop(lock.semid, (0, 1, 0))
    assert errno_of(mutex.lock, 2) == "EPROTO"
    assert lock.value() == 0
    mutex.unlock(1)
    assert lock.value() == 1 and mutex.lock_suspect() is True
    mutex.consistent()
    mutex.unlock()

    mutex.lock(1)
    semop(lock.semid, (0, 1, 0))
    lock.take()
    assert errno_of(mutex.unlock, 1) == "EPROTO"
    # It is the process's now, and not given to a third.
    assert lock.value() == 0
    semop(lock.semid, (0, 1, SEM_UNDO))


def force(made, number=0, free=1):
    """Free what somebody has as semshare unlock --force does; and a process had it since, and said that all is well."""
    semop(made.semid, (number, 1 if free else -1, 0))
    made.write(EPOCH, made.word(EPOCH, number) + 3, number)


def test_lock_that_was_forced_open_is_not_left_taken_by_nobody(lock, mutex):
    """Who gets the semaphore beside the one who has the handle does not raise it: the other must know it."""
    for taker in (2, 0):
        mutex.lock_suspect(1)
        force(lock)
        assert errno_of(mutex.lock, taker) == "EPROTO" and lock.value() == 0
        assert errno_of(mutex.unlock, 1) == "EPROTO"
        assert lock.value() == 1
        assert mutex.lock_suspect(taker) is True
        mutex.consistent(taker)
        mutex.unlock(taker)
    # But what a process has since stays the process's.
    mutex.lock(1)
    force(lock)
    assert errno_of(mutex.lock, 2) == "EPROTO"
    semop(lock.semid, (0, 1, 0))
    lock.take()
    assert errno_of(mutex.unlock, 1) == "EPROTO"
    assert lock.value() == 0
    lock.give()


@pytest.mark.parametrize("kind", [MUTEX, MULTI, RWLOCK], ids=["mutex", "multi", "rwlock"])
def test_lock_that_was_forced_open_is_never_left_taken_by_nobody(kind):
    """Also if it is given back at the same moment: who then gets it has it."""
    dice = random.Random(1)
    seen = {None: 0, "EPROTO": 0, "EAGAIN": 0}
    with one_of(kind) as (made, handle):
        before = made.values()
        for turn in range(scaled(1000, 200)):
            handle.lock_suspect(1)
            for number in (1, 3) if kind == MULTI else (0,):
                force(made, number, 0 if kind == RWLOCK else 1)
            handle.begin(lk.LOCK, 2, flags=lk.SUSPECT)
            for _ in range(dice.randrange(1000)):
                pass
            assert errno_of(handle.unlock, 1) == "EPROTO"
            answer = errno_of(handle.collect, 2)
            seen[answer] += 1
            if answer is None:
                handle.unlock(2)
            assert made.values() == before, turn
    print(seen)


def test_semaphore_at_its_maximum(lock, mutex):
    mutex.lock()
    semctl(lock.semid, 0, SETVAL, 32767)
    assert errno_of(mutex.unlock) == "EPROTO"
    assert lock.value() == 32767


def test_block_that_could_not_give_its_lock_back_says_so(lock, mutex):
    """Where it says that all is well, by whatever positive number; an error of its own stays."""
    for value, answer in ((0, "EPERM"), (1, "EPERM"), (2**31 - 1, "EPERM"), (2**64 - 5, "EIO")):
        for thread in (0, 1):
            assert errno_of(mutex.scoped, thread, value=value) == answer
            assert lock.value() == 1


def test_dead_holder_without_undo_is_named(lock, mutex):
    child = Child(lambda: semop(lock.semid, (0, -1, 0)))
    pid = child.pid
    child.wait()
    with KernelLog() as log:
        assert errno_of(mutex.lock, timeout_ms=1500) == "ETIMEDOUT"
        told = [line for line in log.read() if f"process {pid} took it without SEM_UNDO" in line]
    assert told and "lock locks" in told[0]


def test_locks_of_a_pool(area):
    count = 300  # so many that the companion is of several pages
    with Set("locks", KIND_POOL, (1,) * count) as pool:
        with KernelLock(MUTEX, "locks", numbers=(0,)) as first, KernelLock(MUTEX, "locks", numbers=(299,)) as last:
            first.lock()
            last.lock(1)
            assert pool.value(0) == pool.value(299) == 0 and pool.value(1) == 1
            assert pool.word(EPOCH, 299) == 1 and pool.word(OWNER_KIND, 299) == 2
            first.unlock()
            last.unlock(1)
            assert pool.word(EPOCH, 299) == 2
        assert errno_of(KernelLock, MUTEX, "locks", numbers=(300,)) == "EINVAL"
    with Set("locks"):
        assert errno_of(KernelLock, MUTEX, "locks", numbers=(1,)) == "EINVAL"


def test_several_locks_are_had_all_or_none():
    with Set("locks", KIND_POOL, (1,) * 8) as pool:
        multi = KernelLock(MULTI, "locks", numbers=(1, 4, 6))
        with multi, KernelLock(MULTI, "locks", numbers=(6, 7)) as other:
            multi.lock()
            assert pool.values() == [1, 0, 1, 1, 0, 1, 0, 1]
            assert [pool.word(EPOCH, number) for number in range(8)] == [0, 1, 0, 0, 1, 0, 1, 0]
            assert errno_of(other.lock, 1) == "EAGAIN" and errno_of(multi.lock) == "EDEADLK"
            assert errno_of(other.lock, 1, timeout_ms=20) == "ETIMEDOUT"
            assert pool.value(7) == 1 and errno_of(multi.unlock, 1) == "EPERM"
            other.begin(lk.LOCK, 1, timeout_ms=FOREVER)
            eventually(lambda: pool.waiters(6) == 1)
            multi.unlock()
            assert other.collect(1) == 0
            assert pool.values() == [1] * 6 + [0, 0]
            other.unlock(1)

            pool.write(EPOCH, 1, 4)
            assert errno_of(multi.lock) == "EOWNERDEAD" and pool.values() == [1] * 8
            assert multi.lock_suspect() is True
            multi.consistent()
            multi.unlock()
            multi.lock()
            pool.write(EPOCH, 77, 6)
            assert errno_of(multi.unlock) == "EPROTO" and pool.values() == [1] * 8
            assert multi.lock_suspect(1) is True
            multi.close()
            assert pool.values() == [1] * 8 and other.lock_suspect() is True
            other.unlock()
        for numbers in ((8,), (1, 1), (0, 1, 2, 0)):
            assert errno_of(KernelLock, MULTI, "locks", numbers=numbers) == "EINVAL"


def test_several_locks_that_were_forced_open_are_not_left_taken_by_nobody():
    for forced in ((1,), (1, 3)):
        with one_of(MULTI) as (pool, multi):
            multi.lock(1)
            for number in forced:
                force(pool, number)
            for number in {1, 3} - set(forced):
                semop(pool.semid, (number, 1, 0))
            assert errno_of(multi.lock, 2) == "EPROTO" and pool.values() == [1, 0, 1, 0]
            assert errno_of(multi.unlock, 1) == "EPROTO"
            assert pool.values() == [1] * 4
            assert multi.lock_suspect(2) is True
            multi.consistent(2)
            multi.unlock(2)


@contextlib.contextmanager
def semopm(limit):
    path = Path("/proc/sys/kernel/sem")
    before = path.read_text().split()
    path.write_text(" ".join([*before[:2], str(limit), before[3]]))
    try:
        yield
    finally:
        path.write_text(" ".join(before))


def test_several_locks_are_given_one_by_one_where_root_has_lowered_semopm():
    """Their words say that they are its own, whatever was done to the semaphores; what cannot be given is told."""

    def look(pool, number):
        # Whoever looks whether it is taken is the last process.
        semop(pool.semid, (number, 0, 0))

    def at_maximum(pool, number):
        semctl(pool.semid, number, SETVAL, 32767)

    def as_ever(pool, number):
        pass

    for meanwhile, answer, value in ((as_ever, None, 1), (look, None, 1), (at_maximum, "EPROTO", 32767)):
        with one_of(MULTI) as (pool, multi):
            multi.lock(1)
            meanwhile(pool, 3)
            with semopm(1):
                assert errno_of(multi.unlock, 1) == answer
            assert pool.values() == [1, 1, 1, value]
            # With nothing amiss nobody finds it suspect.
            assert multi.lock_suspect(1) is bool(answer)
            multi.unlock(1) if not answer else None
    # Closed they are given, too.
    with one_of(MULTI) as (pool, _):
        with KernelLock(MULTI, "locks", numbers=(1, 3)) as other:
            other.lock(1)
            look(pool, 3)
            with semopm(1):
                other.close()
        assert pool.values() == [1] * 4


def test_several_locks_of_which_one_is_not_its_own_any_more():
    with one_of(MULTI) as (pool, multi):
        multi.lock(1)
        force(pool, 1)
        pool.take(1)
        assert errno_of(multi.unlock, 1) == "EPROTO"
        # It is the process's now.
        assert pool.values() == [1, 0, 1, 1]
        pool.give(1)


# ------------------------------------------------------------------------------------------------------------ rwlock


@pytest.fixture
def rw():
    with one_of(RWLOCK) as (made, opened):
        yield made, opened


def test_readers_share_and_a_writer_excludes(rw):
    made, rwlock = rw
    rwlock.read_lock()
    rwlock.read_lock(1)
    assert made.values() == [0, 2, 0]
    assert errno_of(rwlock.lock, 2) == "EAGAIN" and errno_of(rwlock.lock, 2, timeout_ms=20) == "ETIMEDOUT"
    assert made.values() == [0, 2, 0]
    rwlock.read_unlock()
    rwlock.read_unlock(1)
    assert errno_of(rwlock.read_unlock) == "EPERM"
    rwlock.lock(1)
    assert made.values() == [1, 0, 0] and made.word(OWNER_KIND) == 2 and made.word(EPOCH) == 1
    assert errno_of(rwlock.read_lock) == errno_of(rwlock.lock) == "EAGAIN"
    assert errno_of(rwlock.read_lock, 1) == errno_of(rwlock.lock, 1) == "EDEADLK"
    assert errno_of(rwlock.unlock) == errno_of(rwlock.downgrade) == errno_of(rwlock.consistent) == "EPERM"
    rwlock.downgrade(1)
    assert made.values() == [0, 1, 0] and made.word(EPOCH) == 2
    rwlock.read_lock()
    rwlock.read_unlock()
    rwlock.read_unlock(1)
    assert made.values() == [0, 0, 0]


def test_new_readers_wait_for_a_writer_that_waits(rw):
    made, rwlock = rw
    rwlock.read_lock()
    rwlock.begin(lk.LOCK, 1, timeout_ms=FOREVER)
    eventually(lambda: made.value(WAITING) == 1)
    assert errno_of(rwlock.read_lock, 2) == "EAGAIN"
    rwlock.begin(lk.READ_LOCK, 2, timeout_ms=FOREVER)
    eventually(lambda: made.waiters(WAITING, GETZCNT) + made.waiters(WRITER, GETZCNT) >= 1)
    rwlock.read_unlock()
    assert rwlock.collect(1) == 0 and made.values() == [1, 0, 0]
    rwlock.unlock(1)
    assert rwlock.collect(2) == 0 and made.values() == [0, 1, 0]
    rwlock.read_unlock(2)


def test_writer_that_gives_up_lets_readers_in(rw):
    made, rwlock = rw
    rwlock.read_lock()
    assert errno_of(rwlock.lock, 1, timeout_ms=30) == "ETIMEDOUT"
    rwlock.read_lock(2)
    rwlock.begin(lk.LOCK, 1, timeout_ms=FOREVER)
    eventually(lambda: made.value(WAITING) == 1)
    assert errno_of(rwlock.stop, 1) == "EINTR"
    assert made.values() == [0, 2, 0]
    rwlock.read_unlock()
    rwlock.read_unlock(2)


def test_readers_and_writers_learn_that_a_writer_died(rw):
    made, rwlock = rw

    def victim():
        semop(made.semid, (WRITER, 0, 0), (READERS, 0, 0), (WRITER, 1, SEM_UNDO))
        made.enter()
        Child.tell()
        signal.pause()

    child = Child(victim)
    child.told()
    pid = child.pid
    child.kill()
    assert errno_of(rwlock.read_lock, timeout_ms=1000) == "EOWNERDEAD"
    assert made.values() == [0, 0, 0] and made.word(DEAD_PID) == pid and made.word(DEATHS) == 1
    assert rwlock.lock_suspect(operation=lk.READ_LOCK) is True
    assert errno_of(rwlock.consistent) == "EPERM"
    rwlock.read_unlock()
    assert errno_of(rwlock.lock) == "EOWNERDEAD" and made.values() == [0, 0, 0]
    assert rwlock.lock_suspect() is True
    rwlock.consistent()
    rwlock.unlock()
    rwlock.read_lock()
    rwlock.read_unlock()
    assert made.is_sound() and made.word(DEATHS) == 1


def test_set_semaphores_are_found_out(rw):
    """Of those who share a handle no writer is beside another, or beside readers."""
    made, rwlock = rw
    rwlock.read_lock(1)
    semctl(made.semid, READERS, SETVAL, 0)
    assert errno_of(rwlock.lock) == "EPROTO" and made.values() == [0, 0, 0]
    assert errno_of(rwlock.read_unlock, 1) == "EPROTO"
    assert rwlock.lock_suspect(1) is True
    rwlock.consistent(1)
    semctl(made.semid, WRITER, SETVAL, 0)
    assert errno_of(rwlock.read_lock) == errno_of(rwlock.lock) == "EPROTO"
    assert made.values() == [1, 0, 0]
    rwlock.unlock(1)
    assert made.values() == [0, 0, 0]
    assert rwlock.lock_suspect() is True
    rwlock.consistent()
    made.write(EPOCH, 77)
    assert errno_of(rwlock.downgrade) == "EPROTO"
    assert made.values() == [0, 0, 0] and errno_of(rwlock.read_unlock) == "EPERM"


@pytest.mark.parametrize("end", ["unlock", "downgrade"])
def test_writer_that_was_forced_out_leaves_nothing_taken_by_nobody(rw, end):
    made, rwlock = rw
    rwlock.lock(1)
    force(made, WRITER, 0)
    assert errno_of(rwlock.lock, 2) == "EPROTO" and made.values() == [1, 0, 0]
    assert errno_of(rwlock.call, {"unlock": lk.UNLOCK, "downgrade": lk.DOWNGRADE}[end], 1) == "EPROTO"
    assert made.values() == [0, 0, 0]
    assert rwlock.lock_suspect(2) is True
    rwlock.consistent(2)
    rwlock.unlock(2)
    # The words as they were left: nobody was inside meanwhile.
    rwlock.lock(1)
    semctl(made.semid, WRITER, SETVAL, 0)
    assert errno_of(rwlock.lock, 2) == "EPROTO"
    rwlock.downgrade(1)
    assert made.values() == [0, 1, 0]
    rwlock.read_unlock(1)


@pytest.mark.parametrize("operation, values", [(lk.LOCK, [1, 0, 0]), (lk.READ_LOCK, [0, 1, 0])], ids=["write", "read"])
def test_closing_gives_back_what_is_held(rw, operation, values):
    made, _ = rw
    with KernelLock(RWLOCK, "locks") as other:
        other.call(operation, 1)
        assert made.values() == values
    assert made.values() == [0, 0, 0] and made.word(EPOCH) % 2 == values[0]


# --------------------------------------------------------------------------------------------- semaphores and events


def test_semaphore_counts():
    with one_of(SEMAPHORE) as (made, semaphore):
        for left in (2, 1, 0):
            semaphore.down(left)
            assert semaphore.value() == made.value() == left
        assert errno_of(semaphore.down) == "EAGAIN" and errno_of(semaphore.down, timeout_ms=20) == "ETIMEDOUT"
        semaphore.begin(lk.DOWN, 1, timeout_ms=FOREVER)
        eventually(lambda: made.waiters() == 1)
        semop(made.semid, (0, 1, 0))
        assert semaphore.collect(1) == 0
        semaphore.up(value=5)
        assert semaphore.value() == 5
        assert errno_of(semaphore.up, value=0) == errno_of(semaphore.up, value=32768) == "EINVAL"
        assert errno_of(semaphore.up, value=32763) == "ERANGE"
        semaphore.up(value=32762)


@pytest.mark.parametrize("limit", [1, 5, 32767])
def test_bounded_semaphore_keeps_its_bound(limit):
    with Set("locks", KIND_BOUNDED, (32767,), limit=limit) as made, KernelLock(SEMAPHORE, "locks") as semaphore:
        assert semaphore.value() == limit
        assert errno_of(semaphore.up, value=1) == "ERANGE"
        semaphore.down()
        semaphore.down(1) if limit > 1 else None
        taken = min(limit, 2)
        assert semaphore.value() == limit - taken and made.value() == 32767 - taken
        if limit == 1:
            assert errno_of(semaphore.down) == "EAGAIN"
        semaphore.up(value=taken)
        assert made.value() == 32767
        semctl(made.semid, 0, SETVAL, 0)
        assert semaphore.value() == 0


def test_bounded_semaphore_without_its_companion_is_not_one_without_a_bound():
    with Set("locks", KIND_BOUNDED, (32767,), limit=2, companion=False) as made:
        assert errno_of(KernelLock, SEMAPHORE, "locks") == errno_of(KernelLock, SEMAPHORE, key=made.key) == "ENXIO"
        for value, answer in ((16384, "ENXIO"), (16383, None), (0, None)):
            semctl(made.semid, 0, SETVAL, value)
            assert errno_of(lambda: KernelLock(SEMAPHORE, "locks").close()) == answer
        semctl(made.semid, 0, SETVAL, 32767)
        # Whatever else one opens it as.
        KernelLock(MUTEX, "locks").close()
    with Set("locks", KIND_BOUNDED, (32767,), limit=2) as made:
        abi.libc.shmctl(made.segment.shmid, IPC_RMID, None)
        assert errno_of(KernelLock, SEMAPHORE, "locks") == "ENXIO"
    with Set("locks", KIND_SEMAPHORE, (32767,)), KernelLock(SEMAPHORE, "locks") as semaphore:
        assert semaphore.value() == 32767


@pytest.mark.parametrize("function", ["ksys_shmget", "do_shmat", "semctl_main"])
def test_a_kernel_without_a_function_has_no_bounded_semaphores(function):
    with kernel.everything_unloaded():
        assert kernel.load("semshare", f"hide={function}") == 0
        assert kernel.load("semshare_lock_test") == 0

        def answer():
            return errno_of(lambda: KernelLock(SEMAPHORE, "locks").close())

        # Nor without companion and value any semaphores.
        asks = function == "semctl_main"
        for companion in (True, False):
            with Set("locks", KIND_BOUNDED, (32767,), limit=2, companion=companion):
                assert answer() == (None if asks and companion else "ENXIO")
            with Set("locks", KIND_SEMAPHORE, (3,), companion=companion):
                assert answer() == ("ENXIO" if asks and not companion else None)


def test_event_lets_all_go_on():
    with one_of(EVENT) as (made, event):
        assert errno_of(event.wait) == "EAGAIN" and errno_of(event.wait, timeout_ms=20) == "ETIMEDOUT"
        event.clear()
        for thread in (1, 2):
            event.begin(lk.WAIT, thread, timeout_ms=FOREVER)
        eventually(lambda: made.waiters(0, GETZCNT) == 2)
        semop(made.semid, (0, -1, 0))
        assert event.collect(1) == event.collect(2) == event.wait() == 0
        for value, do in ((0, event.set), (1, event.clear), (1, event.clear), (0, event.set), (0, event.set)):
            do()
            assert made.value() == value
        semctl(made.semid, 0, SETVAL, 3)
        assert errno_of(event.set) == "EPROTO"
        event.clear()


def test_event_that_is_over_again_between_two_looks_has_happened():
    """Whoever sets it counts that, and who waits compares."""
    with one_of(EVENT) as (made, event):
        event.begin(lk.WAIT, 1, timeout_ms=FOREVER)
        eventually(lambda: made.waiters(0, GETZCNT) == 1)
        made.write(EPOCH, made.word(EPOCH) + 1)
        assert event.collect(1) == 0 and made.value() == 1
        assert errno_of(event.wait, timeout_ms=20) == "ETIMEDOUT"
        for _ in range(2):
            event.set()
            assert made.word(EPOCH) == 2
        event.clear()
        assert made.word(EPOCH) == 2


# -------------------------------------------------------------------------------------------- conditions and barriers


def places(made):
    """The semaphores of a set's places that are not 0."""
    return {number: value for number, value in enumerate(made.values()) if number and value}


def test_condition_is_given_and_taken_again_around_a_wait():
    with one_of(CONDITION) as (made, condition):
        assert errno_of(condition.wait) == errno_of(condition.notify, value=1) == "EPERM"
        condition.lock()
        assert condition.notify(value=1) == 0
        # The time is over, and the lock is held again.
        assert condition.wait() == condition.wait(timeout_ms=30) == 0
        assert made.value() == 0 and places(made) == {}
        condition.unlock()

        for thread in (1, 2, 3):
            condition.lock(thread, timeout_ms=FOREVER)
            condition.begin(lk.WAIT, thread, timeout_ms=FOREVER)
            eventually(lambda thread=thread: len(places(made)) == thread and made.value() == 1)
        condition.lock()
        assert condition.notify(value=1) == 1
        condition.unlock()
        # Who waits longest.
        assert condition.collect(1) == 1 and made.value() == 0
        assert condition.notify(1, value=0xFFFFFFFF) == 2
        condition.unlock(1)
        # The other two have it one after the other; who waits still has no time for another call.
        left = [2, 3]
        while left:
            answers = {thread: errno_of(condition.unlock, thread) for thread in left}
            assert set(answers.values()) <= {None, "EBUSY"}
            left = [thread for thread in left if answers[thread]]
        assert made.value() == 1 and places(made) == {} and made.is_sound()


def test_condition_that_another_lock_guards():
    with Set("guard") as lock, condition_set("locks") as made, KernelLock(MUTEX, "guard") as mutex:
        with KernelLock(CONDITION, "locks", guard=mutex) as condition:
            mutex.lock(0)
            condition.notify(value=1)
            mutex.unlock(0)
            condition.lock(1)
            assert lock.value() == 0
            condition.begin(lk.WAIT, 1, timeout_ms=FOREVER)
            eventually(lambda: lock.value() == 1 and places(made))
            mutex.lock()
            condition.notify(value=1)
            mutex.unlock()
            assert condition.collect(1) == 1 and lock.value() == 0
            condition.unlock(1)
        assert errno_of(KernelLock, CONDITION, "locks") == "EXDEV"


def test_waiter_whose_lock_became_suspect():
    """Without the lock if it does not want to know; the notification goes on to who does."""
    with one_of(CONDITION) as (made, condition):
        for thread, flags in ((1, 0), (2, lk.SUSPECT)):
            condition.lock(thread, timeout_ms=FOREVER)
            condition.begin(lk.WAIT, thread, timeout_ms=FOREVER, flags=flags)
            eventually(lambda thread=thread: len(places(made)) == thread and made.value() == 1)
        made.write(EPOCH, made.word(EPOCH) + 1)
        assert condition.lock_suspect() is True
        condition.notify(value=1)
        condition.unlock()
        assert errno_of(condition.collect, 1) == "EOWNERDEAD"
        result, suspect, _ = condition.call(lk.COLLECT, 2)
        assert (result, suspect) == (1, True)
        condition.consistent(2)
        condition.unlock(2)
        assert places(made) == {}


def test_barrier_opens_when_all_have_come():
    with barrier_set("locks", 4) as made, KernelLock(BARRIER, "locks") as barrier:
        assert barrier.value() == 4
        for turn in range(3):
            for thread in (1, 2, 3):
                barrier.begin(lk.WAIT, thread, timeout_ms=FOREVER)
                eventually(lambda thread=thread: len(places(made)) == thread)
            numbers = [barrier.wait(timeout_ms=FOREVER), *(barrier.collect(thread) for thread in (1, 2, 3))]
            assert sorted(numbers) == [0, 1, 2, 3], turn
            assert places(made) == {} and made.value() == 1


def test_barrier_keeps_its_time_also_if_somebody_keeps_its_lock():
    with barrier_set("locks", 3) as made, KernelLock(BARRIER, "locks") as barrier:
        # A process may be stopped with it, or set the semaphore.
        made.take()
        assert errno_of(barrier.wait, timeout_ms=30) == "ETIMEDOUT"
        made.give()
        barrier.begin(lk.WAIT, 1, timeout_ms=1000)
        eventually(lambda: places(made))
        made.take()
        assert errno_of(barrier.collect, 1) == "ETIMEDOUT"
        assert places(made) == {}
        made.give()
        # It was not broken for that.
        assert barrier.begin(lk.WAIT, 1, timeout_ms=FOREVER) is None
        eventually(lambda: len(places(made)) == 1)
        barrier.abort()
        assert errno_of(barrier.collect, 1) == "EPIPE"


def test_barrier_that_breaks():
    with barrier_set("locks", 3) as made, KernelLock(BARRIER, "locks") as barrier:
        barrier.begin(lk.WAIT, 1, timeout_ms=FOREVER)
        eventually(lambda: places(made))
        assert errno_of(barrier.wait, timeout_ms=30) == "ETIMEDOUT"
        assert errno_of(barrier.collect, 1) == errno_of(barrier.wait) == "EPIPE"
        barrier.reset()
        # Who is stopped is taken out, and it is not broken.
        barrier.begin(lk.WAIT, 1, timeout_ms=FOREVER)
        eventually(lambda: places(made))
        assert errno_of(barrier.stop, 1) == "EINTR"
        assert places(made) == {}
        for end, answer in ((barrier.reset, "EPIPE"), (barrier.abort, "EPIPE")):
            barrier.begin(lk.WAIT, 1, timeout_ms=FOREVER)
            eventually(lambda: places(made))
            end()
            assert errno_of(barrier.collect, 1) == answer
        assert errno_of(barrier.wait) == "EPIPE"
        barrier.reset()
        for thread in (1, 2):
            barrier.begin(lk.WAIT, thread, timeout_ms=FOREVER)
        assert barrier.wait(timeout_ms=FOREVER) in (0, 1, 2)
        assert {barrier.collect(1), barrier.collect(2)} < {0, 1, 2}
        assert places(made) == {} and made.value() == 1


# --------------------------------------------------------------------------------------------------- ends of a sleep


@contextlib.contextmanager
def asleep(what, thread):
    """A sleep that nothing ends by itself: the set, the handle, and the call that sleeps."""
    kind, operation, take = {
        "mutex": (MUTEX, lk.LOCK, [(0, -1, 0)]),
        "multi": (MULTI, lk.LOCK, [(3, -1, 0)]),
        "write": (RWLOCK, lk.LOCK, [(READERS, 1, 0)]),
        "read": (RWLOCK, lk.READ_LOCK, [(WRITER, 1, 0)]),
        "semaphore": (SEMAPHORE, lk.DOWN, [(0, -3, 0)]),
        "event": (EVENT, lk.WAIT, []),
        "condition": (CONDITION, lk.WAIT, []),
        "barrier": (BARRIER, lk.WAIT, []),
    }[what]
    with one_of(kind) as (made, handle):
        if take:
            semop(made.semid, *take)
        before = made.values()
        if kind == CONDITION:
            handle.lock(thread)
        yield made, handle, operation, before


SLEEPS = ["mutex", "multi", "write", "read", "semaphore", "event", "condition", "barrier"]


def sleeping(made):
    """Somebody sleeps on the set."""
    return any(
        made.waiters(number, command)
        for command in (abi.GETNCNT, GETZCNT)
        for number in range(min(len(made.values()), 8))
    )


@pytest.mark.parametrize("what", SLEEPS)
def test_kthread_stop_ends_every_sleep_and_leaves_nothing(what):
    with asleep(what, 1) as (made, handle, operation, before):
        handle.begin(operation, 1, timeout_ms=FOREVER)
        eventually(lambda: sleeping(made))
        began = time.monotonic()
        assert errno_of(handle.stop, 1) == "EINTR"
        assert time.monotonic() - began < SLACK
        assert made.values() == before


@pytest.mark.parametrize("what", SLEEPS)
def test_signal_ends_every_sleep(what):
    with asleep(what, 0) as (made, handle, operation, before):
        previous = signal.signal(signal.SIGALRM, lambda *_: None)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
            assert errno_of(handle.call, operation, timeout_ms=FOREVER) == "EINTR"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        assert made.values() == before


@pytest.mark.parametrize("what", SLEEPS)
def test_removal_of_the_set_ends_every_sleep(what):
    with asleep(what, 1) as (made, handle, operation, _):
        handle.begin(operation, 1, timeout_ms=FOREVER)
        eventually(lambda: sleeping(made))
        semctl(made.semid, 0, IPC_RMID)
        assert errno_of(handle.collect, 1) == "EIDRM"
        if what not in ("condition", "event"):
            assert errno_of(handle.call, operation) == "EIDRM"


def test_a_set_that_was_made_anew_is_another(lock, mutex):
    """The old handle knows it, though name and key are the same."""
    mutex.lock()
    semctl(lock.semid, 0, IPC_RMID)
    lock.segment.close()
    with Set("locks") as new:
        assert errno_of(mutex.unlock) == "EIDRM" and new.value() == 1
        assert errno_of(mutex.lock) == "EIDRM"
        with KernelLock(MUTEX, "locks") as other:
            other.lock()
            other.unlock()


# ------------------------------------------------------------------------------------------- where nobody may sleep


CALLS = {
    MUTEX: (lk.LOCK, lk.UNLOCK),
    MULTI: (lk.LOCK, lk.UNLOCK),
    RWLOCK: (lk.LOCK, lk.UNLOCK, lk.READ_LOCK, lk.READ_UNLOCK, lk.DOWNGRADE),
    SEMAPHORE: (lk.DOWN, lk.UP, lk.VALUE),
    EVENT: (lk.SET, lk.CLEAR, lk.WAIT),
    CONDITION: (lk.LOCK, lk.UNLOCK, lk.WAIT, lk.NOTIFY),
    BARRIER: (lk.WAIT, lk.ABORT, lk.RESET),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_call_refuses_where_sleeping_is_not_allowed(kind):
    with one_of(kind) as (made, handle), KernelLog() as log:
        before = made.values(), bytes(made.segment.memory)
        for operation in CALLS[kind]:
            for timeout_ms in (0, FOREVER):
                answer = errno_of(handle.call, operation, timeout_ms=timeout_ms, value=1, flags=lk.PREEMPT_OFF)
                assert answer == EOPNOTSUPP, operation
        numbers = (0,) if kind == MULTI else ()
        assert errno_of(KernelLock, kind, "locks", numbers=numbers, flags=lk.PREEMPT_OFF) == EOPNOTSUPP
        assert (made.values(), bytes(made.segment.memory)) == before
        told = [line for line in log.read() if "sleeping is not allowed" in line]
        assert len(told) <= 1


# -------------------------------------------------------------------------------------------- threads share a handle


def end_of(handle, threads, timeout=60 if SLOW else 30):
    """What the jobs of all threads answered: [(result, done)]."""
    began = time.monotonic()
    answers = []
    for thread in threads:
        answers.append(handle.call(lk.COLLECT, thread))
    assert time.monotonic() - began < timeout
    return [(result, done) for result, _, done in answers]


@pytest.mark.parametrize("kind", [MUTEX, MULTI, RWLOCK], ids=["mutex", "multi", "rwlock"])
def test_threads_that_share_a_handle_exclude_each_other(area, kind):
    turns = scaled(4000, 400)
    made = {
        MUTEX: lambda: Set("locks"),
        MULTI: lambda: Set("locks", KIND_POOL, (1,) * 4),
        RWLOCK: lambda: Set("locks", KIND_RWLOCK, (0, 0, 0)),
    }[kind]()
    with made, KernelLock(kind, "locks", numbers=(1, 3) if kind == MULTI else (), area=area) as handle:
        writers = range(1, 4)
        for thread in writers:
            handle.job(thread, lk.COUNT, turns)
        if kind == RWLOCK:
            handle.job(4, lk.COMPARE, turns)
        assert end_of(handle, writers) == [(0, turns)] * 3
        if kind == RWLOCK:
            assert end_of(handle, [4]) == [(0, turns)]
        assert words_of(area) == (3 * turns, 3 * turns)
        assert made.is_sound(1 if kind == MULTI else 0)


@pytest.mark.parametrize("bound", [0, 2], ids=["semaphore", "bounded"])
def test_no_more_threads_have_a_permit_than_there_are(area, bound):
    turns = scaled(4000, 400)
    made = Set("locks", KIND_BOUNDED, (32767,), limit=2) if bound else Set("locks", KIND_SEMAPHORE, (2,))
    with made, KernelLock(SEMAPHORE, "locks", area=area) as handle:
        for thread in range(1, 5):
            handle.job(thread, lk.PERMITS, turns, upper=2)
        assert end_of(handle, range(1, 5)) == [(0, turns)] * 4
        assert handle.value() == 2


def test_threads_take_turns_by_a_condition(area):
    turns = scaled(100, 10)
    with condition_set("locks") as made, KernelLock(CONDITION, "locks", area=area) as handle:
        for thread in range(1, 5):
            handle.job(thread, lk.EXCHANGE, turns, upper=4 << 16 | thread - 1)
        assert end_of(handle, range(1, 5)) == [(0, turns)] * 4
        assert words_of(area)[0] == 4 * turns and places(made) == {}


def test_threads_meet_at_a_barrier(area):
    turns = scaled(100, 10)
    with barrier_set("locks", 4) as made, KernelLock(BARRIER, "locks", area=area) as handle:
        for thread in range(1, 5):
            handle.job(thread, lk.MEET, turns, upper=4)
        assert end_of(handle, range(1, 5)) == [(0, turns)] * 4
        assert places(made) == {} and made.value() == 1


# ----------------------------------------------------------------------------------------------------------- hostile


def scribble(made, seed, end):
    """Write what one likes over the words, and set the semaphores now and then, until that time."""
    dice = random.Random(seed)
    memory, size = made.segment.memory, made.segment.size
    values = [0, 1, 2, 3, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
    while time.monotonic() < end:
        for _ in range(200):
            # Half of it where the state is, or the places.
            at = dice.choice((dice.randrange(STATE, STATE + 64, 4), dice.randrange(0, size, 4)))
            before = struct.unpack_from("I", memory, at)[0]
            new = dice.choice((dice.choice(values), before + dice.choice((-2, -1, 1, 2)), dice.getrandbits(32)))
            struct.pack_into("I", memory, at, new & 0xFFFFFFFF)
            if dice.random() < 0.7:
                struct.pack_into("I", memory, at, before)
        number = dice.choice((0, 0, 1, 2, dice.randrange(PLACES_NSEMS)))
        with contextlib.suppress(OSError):
            semctl(made.semid, number, SETVAL, dice.choice((0, 0, 1, 1, 1, 2, 3, 32767)))
        time.sleep(dice.random() * 1e-3)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_users_who_lie_bring_no_two_threads_together(area, kind):
    """Whatever they write: threads of one handle exclude each other, every call comes back, and all can be stopped."""
    operation = {SEMAPHORE: lk.PERMITS, CONDITION: lk.EXCHANGE, BARRIER: lk.MEET, EVENT: 0}.get(kind, lk.COUNT)
    lasts = max(0.6, 3 * EFFORT) * (2 if SLOW else 1)
    with one_of(kind) as (made, _):
        numbers = (1, 3) if kind == MULTI else ()
        with KernelLock(kind, "locks", numbers=numbers, area=area) as handle:
            end = time.monotonic() + lasts
            liar = Child(scribble, made, 1, end)
            flags = lk.GO_ON | lk.SUSPECT
            if operation:
                for thread in range(1, THREADS + 1):
                    upper = {CONDITION: 2 << 16 | thread % 2, SEMAPHORE: 1000}.get(kind, 0)
                    handle.job(thread, operation, 0xFFFFFFFF, upper=upper, timeout_ms=10, flags=flags)
            calls = 0
            while time.monotonic() < end:
                for call in CALLS[kind]:
                    answer = errno_of(handle.call, call, timeout_ms=5, value=1, flags=lk.SUSPECT)
                    assert answer is None or answer in LIES, answer
                    calls += 1
                with contextlib.suppress(OSError):
                    KernelLock(kind, "locks", numbers=numbers).close()
            liar.wait()
            if operation:
                for thread in range(1, THREADS + 1):
                    assert errno_of(handle.stop, thread) == "EINTR"
            first, second = words_of(area)
            print(f"{calls} calls, {first} turns")
            if kind in (MUTEX, MULTI, RWLOCK):
                assert first == second > 0


#: What may come of it.
LIES = {"EAGAIN", "ETIMEDOUT", "EOWNERDEAD", "EPROTO", "EPERM", "EDEADLK", "ENOSPC", "EPIPE", "ERANGE"}
