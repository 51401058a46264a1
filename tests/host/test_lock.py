# SPDX-License-Identifier: MIT
"""Lock in one process: the interface of threading.Lock, threads, and what goes wrong."""

from __future__ import annotations

import gc
import math
import threading

import pytest
from processes import Child, Gate, wait_until
from semshare._abi import ffi, lib

from semshare import Denied, Lock, LockStatistics, NotFound, Removed, SemaphoreSet, key_of


@pytest.fixture
def lock(name):
    lock = Lock(name)
    yield lock
    lock.unlink()


def test_a_lock_is_a_context_manager_that_shows_its_state(lock, name):
    assert repr(lock) == f"<semshare.lock.Lock '{name}', semid {lock.semid}, key {key_of(name):#x}: unlocked>"
    with lock as entered:
        assert entered is lock
        assert lock.locked() and lock.held()
        assert "held by this thread" in repr(lock)
    assert not lock.locked() and not lock.held()
    with pytest.raises(ZeroDivisionError), lock:
        raise ZeroDivisionError
    assert not lock.locked()


def test_acquire_says_whether_the_lock_was_taken(lock, name):
    assert lock.acquire() is True
    other = Lock(name)
    assert other.acquire(blocking=False) is False
    assert other.acquire(False) is False
    lock.release()
    assert other.acquire(True, 0) is True
    assert lock.acquire(False) is False
    other.release()
    assert lock.acquire(timeout=None) is True
    lock.release()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"blocking": False, "timeout": 0}, ValueError),
        ({"blocking": False, "timeout": 1}, ValueError),
        ({"timeout": -2}, ValueError),
        ({"timeout": -0.5}, ValueError),
        ({"timeout": math.nan}, ValueError),
        ({"timeout": 1e300}, OverflowError),
        ({"timeout": "1"}, TypeError),
        ({"wait": 1}, TypeError),
    ],
)
def test_senseless_arguments_are_refused_as_by_threading(lock, arguments, error):
    with pytest.raises(error):
        lock.acquire(**arguments)
    if "wait" not in arguments and not math.isnan(float(arguments["timeout"])):
        with pytest.raises(error):
            threading.Lock().acquire(**arguments)
    assert not lock.locked()


def test_two_arguments_too_many_are_refused(lock):
    with pytest.raises(TypeError):
        lock.acquire(True, 1, 2)
    with pytest.raises(TypeError):
        lock.acquire(True, blocking=True)


def test_a_timed_acquire_gives_up(lock, name):
    with Lock(name):
        result = []
        thread = threading.Thread(target=lambda: result.append(lock.acquire(timeout=0.05)))
        thread.start()
        thread.join()
        assert result == [False]


def test_waiting_for_oneself_is_an_error_instead_of_a_hang(lock, name):
    other = Lock(name)
    by_key = Lock(key=lock.key)
    by_id = Lock(semid=lock.semid)
    with lock:
        for same in (lock, other, by_key, by_id):
            with pytest.raises(RuntimeError, match="holds it already"):
                same.acquire()
            with pytest.raises(RuntimeError, match="holds it already"):
                same.acquire(timeout=5)
            assert same.acquire(blocking=False) is False
    for same in (other, by_key, by_id):
        with same:
            assert lock.locked()


def test_only_the_thread_that_took_the_lock_gives_it_back(lock, name):
    with pytest.raises(RuntimeError, match="not acquired by this object"):
        lock.release()
    errors = []

    def release():
        try:
            lock.release()
        except RuntimeError as error:
            errors.append(str(error))

    with lock:
        thread = threading.Thread(target=release)
        thread.start()
        thread.join()
        assert "another thread holds it" in errors[0] and name in errors[0]
        with pytest.raises(RuntimeError):
            Lock(name).release()
        assert lock.locked()


def test_threads_of_one_object_exclude_each_other(lock):
    count = 0

    def add():
        nonlocal count
        for _ in range(2000):
            with lock:
                seen = count
                count = seen + 1

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 8000
    assert lock.statistics().acquisitions == 8000
    assert not lock.locked()


def test_the_owner_is_known_to_others(lock, name):
    assert lock.owner() is None
    gate, done = Gate(), Gate()

    def hold():
        with Lock(name):
            gate.open()
            done.pass_through()

    child = Child(hold)
    gate.pass_through()
    owner = lock.owner()
    assert owner is not None and (owner.kind, owner.pid, owner.tid) == (1, child.pid, child.pid)
    assert owner.alive
    assert repr(lock).endswith(f"locked by process {child.pid}>")
    done.open()
    assert child.wait() == 0
    assert lock.owner() is None
    assert not owner.alive
    gate.close(), done.close()


def test_removal_reaches_everybody(name):
    lock = Lock(name)
    lock.acquire()
    errors = []

    def wait():
        try:
            Lock(name).acquire()
        except Removed as error:
            errors.append(error)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: SemaphoreSet(semid=lock.semid).waiters() == 3, "three waiters")
    lock.unlink()
    for thread in threads:
        thread.join()
    assert len(errors) == 3
    with pytest.raises(Removed, match="removed") as caught:
        lock.release()
    assert caught.value.errno == 43 and name in str(caught.value)
    assert not lock.held()
    for use in (lock.acquire, lock.locked, lambda: lock.acquire(False)):
        with pytest.raises(Removed):
            use()
    lock.unlink()


def test_a_lock_removed_and_made_again_is_another(name):
    old = Lock(name)
    old.unlink()
    new = Lock(name)
    with new, pytest.raises(Removed):
        old.acquire()
    new.unlink()


def test_without_create_there_has_to_be_one(name):
    with pytest.raises(NotFound, match=name) as caught:
        Lock(name, create=False)
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(NotFound):
        Lock(key=key_of(name), create=False)
    with pytest.raises(NotFound):
        Lock(semid=0x7FFFFFFF)


def test_a_lock_is_given_by_one_thing(name):
    for arguments in ({}, {"name": name, "key": 5}, {"key": 5, "semid": 5}):
        with pytest.raises(ValueError, match="one of them"):
            Lock(**arguments)
    for key in (0, -1, 1 << 32):
        with pytest.raises(ValueError, match="key"):
            Lock(key=key)


def test_the_name_is_known_to_who_opens_by_key(lock, name):
    assert Lock(key=lock.key).name == name
    assert Lock(semid=lock.semid).name == name


def test_a_large_key_works(name):
    key = key_of(name) | 1 << 31
    lock = Lock(key=key)
    try:
        with lock:
            assert Lock(key=key).semid == lock.semid
            assert Lock(semid=lock.semid).key == key
    finally:
        lock.unlink()


def test_a_private_set_is_a_lock_without_a_companion():
    private = SemaphoreSet(0, count=1, create=True)
    try:
        private.operate([(0, 1)])
        lock = Lock(semid=private.semid)
        with lock:
            assert lock.owner() is None
            with pytest.raises(RuntimeError):
                Lock(semid=private.semid).acquire()
        assert lock.statistics().acquisitions == 1
    finally:
        private.remove()


def test_closing_ends_the_object_and_not_the_lock(lock, name):
    other = Lock(name)
    with other, pytest.raises(RuntimeError, match="release it first"):
        other.close()
    other.close()
    other.close()
    assert other.closed and "closed" in repr(other)
    for use in (other.acquire, other.locked, other.__enter__):
        with pytest.raises(ValueError, match="closed"):
            use()
    with pytest.raises(RuntimeError):
        other.release()
    with lock:
        pass


def test_closing_sends_waiting_threads_home(lock, name):
    other = Lock(name)
    errors = []

    def wait():
        try:
            other.acquire()
        except ValueError as error:
            errors.append(str(error))

    with lock:
        thread = threading.Thread(target=wait)
        thread.start()
        wait_until(lambda: SemaphoreSet(semid=lock.semid).waiters() == 1, "a waiter")
        other.close()
        thread.join()
    assert "closed" in errors[0]
    assert not lock.locked()


def test_a_lock_forgotten_while_held_is_given_back_as_that_of_a_dead_owner(lock, name):
    other = Lock(name)
    other.acquire()
    del other
    gc.collect()
    with lock:
        assert lock.owner_died is not None
        lock.mark_consistent()
    with lock:
        assert lock.owner_died is None


def test_statistics_add_up(lock, name):
    other = Lock(name)
    lock.acquire()
    thread = threading.Thread(target=lambda: other.acquire() and other.release())
    thread.start()
    wait_until(lambda: SemaphoreSet(semid=lock.semid).waiters() == 1, "a waiter")
    lock.release()
    thread.join()
    theirs = other.statistics()
    assert (theirs.acquisitions, theirs.contended, sum(theirs.wait_ns)) == (1, 1, 1)
    both = lock.statistics() + theirs
    assert (both.acquisitions, both.contended) == (2, 1)
    assert both.percentile(0.5) == theirs.percentile(0.99) > 0
    assert (both - theirs).acquisitions == 1
    assert LockStatistics().percentile(0.5) is None


def test_statistics_are_shown_in_a_line():
    assert repr(LockStatistics()) == "<LockStatistics 0 acquisitions, 0 contended>"
    waits = [0] * len(LockStatistics().wait_ns)
    waits[40] = 99
    waits[80] = 1
    shown = LockStatistics(300, 100, waits)
    half, most = shown.percentile(0.5), shown.percentile(0.99)
    assert repr(shown) == f"<LockStatistics 300 acquisitions, 100 contended, waits p50 {half} ns, p99 {most} ns>"


def test_a_percentile_is_at_most_a_quarter_too_high():
    for value in (0, 1, 3, 4, 1000, 123456789, (1 << 64) - 1):
        end = lib.semshare_histogram_value(lib.semshare_histogram_bucket(value))
        assert value <= end <= value * 1.25 + 1


def test_another_user_is_told_who_may(lock, name):
    def try_it():
        import os

        os.setgid(65534)
        os.setuid(65534)
        with pytest.raises(Denied, match="mode") as caught:
            Lock(name)
        assert isinstance(caught.value, PermissionError) and name in str(caught.value)

    if lib.semctl(lock.semid, 0, lib.IPC_STAT, ffi.new("struct semid_ds *")) < 0 or __import__("os").getuid():
        pytest.skip("needs root to become somebody else")
    assert Child(try_it).wait() == 0


def test_a_wider_mode_lets_other_users_in(name):
    import os

    if os.getuid():
        pytest.skip("needs root to become somebody else")
    lock = Lock(name, mode=0o666)

    def use_it():
        os.setgid(65534)
        os.setuid(65534)
        mine = Lock(name)
        with mine:
            assert mine.owner().pid == os.getpid()
        with pytest.raises(Denied):
            mine.unlink()

    try:
        assert Child(use_it).wait() == 0
    finally:
        lock.unlink()
