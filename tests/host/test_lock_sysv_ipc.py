# SPDX-License-Identifier: MIT
"""A plain program with sysv_ipc takes the very same lock."""

from __future__ import annotations

import mmap
import os
import signal

import pytest
import sysv_ipc
from processes import Child, Gate, wait_until

from semshare import Lock, SemaphoreSet, key_of


def plain(key: int) -> sysv_ipc.Semaphore:
    semaphore = sysv_ipc.Semaphore(key)
    semaphore.undo = True
    return semaphore


def try_plain(semaphore: sysv_ipc.Semaphore) -> bool:
    semaphore.block = False
    try:
        semaphore.acquire()
        return True
    except sysv_ipc.BusyError:
        return False
    finally:
        semaphore.block = True


@pytest.fixture
def lock(name):
    lock = Lock(name)
    yield lock
    lock.unlink()


def test_each_waits_for_the_other(lock):
    semaphore = plain(lock.key)
    assert semaphore.id == lock.semid
    with lock:
        assert not try_plain(semaphore)
    assert try_plain(semaphore)
    assert lock.acquire(blocking=False) is False
    assert lock.acquire(timeout=0.01) is False
    semaphore.release()
    with lock:
        pass


def test_both_count_one_counter_together(lock):
    counter = memoryview(mmap.mmap(-1, 4096)).cast("Q")

    def count_plain():
        semaphore = plain(lock.key)
        for _ in range(5000):
            semaphore.acquire()
            counter[0] = counter[0] + 1
            semaphore.release()

    def count():
        for _ in range(5000):
            with lock:
                counter[0] = counter[0] + 1

    children = [Child(count_plain), Child(count_plain), Child(count), Child(count)]
    assert [child.wait() for child in children] == [0] * 4
    assert counter[0] == 20000
    assert SemaphoreSet(semid=lock.semid).value() == 1


@pytest.mark.parametrize("initial", [1, 0])
def test_a_set_that_sysv_ipc_made_opens_as_a_lock(name, initial):
    """It was initialised by SETVAL, which sets no sem_otime, and has no companion until we make one."""
    semaphore = sysv_ipc.Semaphore(key_of(name), sysv_ipc.IPC_CREX, initial_value=initial)
    lock = Lock(name)
    if not initial:
        assert lock.locked()
        semaphore.release()
    with lock:
        assert lock.owner().pid == os.getpid()
        assert not try_plain(semaphore)
    lock.unlink()


def test_a_killed_plain_holder_frees_the_lock(lock):
    gate = Gate()

    def hold():
        mine = plain(lock.key)
        mine.acquire()
        gate.open()
        signal.pause()

    child = Child(hold)
    gate.pass_through()
    waiting = Child(lambda: lock.acquire(timeout=30) or os._exit(1))
    wait_until(lambda: SemaphoreSet(semid=lock.semid).waiters() == 1, "a waiter")
    child.kill()
    assert waiting.wait() == 0
    gate.close()


def test_a_lock_in_a_larger_set_is_its_first_semaphore(name):
    semaphores = SemaphoreSet(key_of(name), count=3, create=True)
    semaphores.operate([(0, 1), (1, 5)])
    lock = Lock(name)
    with lock:
        assert semaphores.values() == [0, 5, 0]
    assert semaphores.values() == [1, 5, 0]
    lock.unlink()
