# SPDX-License-Identifier: MIT
"""Semaphore and BoundedSemaphore: permits that processes take and give."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import sysv_ipc
from processes import LIMIT, Child, Gate, wait_until

from semshare import BadValue, BoundedSemaphore, Removed, Semaphore, SemaphoreSet, key_of

both = pytest.mark.parametrize("cls", [Semaphore, BoundedSemaphore])


@pytest.fixture
def make(names):
    made = []

    def make(cls, value=1, **options):
        made.append(cls(names(), value, **options))
        return made[-1]

    yield make
    for each in made:
        each.unlink()


@both
def test_as_many_are_inside_as_there_are_permits(make, cls):
    tools = make(cls, 2)
    assert repr(tools).endswith(": 2 free>")
    with tools as entered:
        assert entered is tools and tools.value == 1 and not tools.locked()
        assert tools.acquire_nowait() is True and tools.locked()
        assert tools.acquire_nowait() is False and tools.acquire(timeout=0.01) is False
        tools.release()
    assert tools.value == 2 and tools.owner() is None
    assert tools.statistics().acquisitions == 2


@both
def test_a_permit_may_be_given_by_another_thread(make, cls):
    tools = make(cls)
    tools.acquire()
    thread = threading.Thread(target=tools.release)
    thread.start()
    thread.join()
    assert tools.value == 1


@both
def test_a_permit_may_be_given_by_another_process(make, cls):
    tools = make(cls)
    tools.acquire()
    assert Child(tools.release).wait() == 0
    assert tools.value == 1


@both
def test_who_waits_gets_what_is_released(make, cls):
    tools = make(cls, 3)
    for _ in range(3):
        tools.acquire()
    children = [Child(lambda: tools.acquire(timeout=LIMIT) or os._exit(1)) for _ in range(2)]
    wait_until(lambda: tools.waiters() == 2, "two waiters")
    tools.release(2)
    assert [child.wait() for child in children] == [0, 0]
    # They ended without giving them back: the kernel did.
    assert tools.value == 2


@both
def test_of_a_removed_one_this_process_has_nothing(make, cls):
    tools = make(cls, 2)
    tools.acquire()
    assert tools.held()
    tools.unlink()
    with pytest.raises(Removed):
        tools.release()
    assert not tools.held()


@both
def test_what_a_killed_process_had_is_given_back(make, cls):
    tools = make(cls, 4)
    gate = Gate()

    def take():
        tools.acquire(), tools.acquire(), tools.acquire()
        tools.release()
        gate.open()
        signal.pause()

    child = Child(take)
    gate.pass_through()
    assert tools.value == 2
    child.kill()
    assert tools.value == 4
    gate.close()


@both
def test_a_child_does_not_give_back_what_its_parent_has(make, cls):
    tools = make(cls, 2)
    tools.acquire()
    assert Child(lambda: None).wait() == 0
    assert tools.value == 1
    # It may release it: then it is given, and not taken back when the child ends.
    assert Child(tools.release).wait() == 0
    assert tools.value == 2


def test_what_is_released_to_signal_stays_and_what_is_acquired_so_is_gone(make):
    signals = make(Semaphore, 0, undo=False)
    assert Child(lambda: signals.release(3)).wait() == 0
    assert signals.value == 3
    assert Child(lambda: (signals.acquire() and signals.acquire()) or os._exit(1)).wait() == 0
    assert signals.value == 1


def test_more_than_the_kernel_remembers_to_give_back(make):
    """In a child: its end gives them back."""
    many = make(Semaphore, 32767)

    def take():
        for _ in range(32767):
            assert many.acquire_nowait()
        SemaphoreSet(semid=many.semid).operate([(0, 1)])
        with pytest.raises(BadValue, match="undo=False"):
            many.acquire_nowait()
        assert many.value == 1

    assert Child(take).wait() == 0
    assert many.value == 32767


def test_processes_together_give_no_more_than_there_may_be(make):
    """The kernel counts, so no check is too late."""
    tools = make(BoundedSemaphore, 1)
    tools.acquire()
    start = Gate()

    def give():
        start.pass_through()
        try:
            tools.release()
        except BadValue:
            os._exit(3)

    children = [Child(give) for _ in range(6)]
    start.open(6)
    assert sorted(child.wait() for child in children) == [0, 3, 3, 3, 3, 3]
    assert tools.value == 1
    start.close()


@pytest.mark.parametrize("limit", [1, 2, 32766, 32767])
def test_a_bound_of_any_size_is_kept(make, limit):
    tools = make(BoundedSemaphore, limit)
    for _ in range(min(limit, 3)):
        assert tools.acquire_nowait()
    assert tools.value == limit - min(limit, 3)
    if limit < 3:
        assert tools.acquire_nowait() is False and tools.acquire(timeout=0.01) is False
    tools.release(min(limit, 3))
    with pytest.raises(BadValue):
        tools.release()
    assert tools.value == limit


def test_a_plain_program_takes_the_same_permits(make):
    tools = make(Semaphore, 2)
    plain = sysv_ipc.Semaphore(tools.key)
    plain.undo = True
    plain.acquire()
    assert tools.value == 1
    with tools:
        assert plain.value == 0
    plain.release()
    assert tools.value == 2


@pytest.mark.parametrize("initial", [0, 3])
def test_a_set_that_a_plain_program_made_opens_as_a_semaphore(name, initial):
    sysv_ipc.Semaphore(key_of(name), sysv_ipc.IPC_CREX, initial_value=initial)
    opened = Semaphore(name, 7)
    assert opened.value == initial
    opened.unlink()


@both
def test_fifty_processes_make_one_at_once(name, cls):
    start = Gate()

    def make_and_use():
        start.pass_through()
        made = cls(name, 3)
        for _ in range(10):
            with made:
                assert 0 <= made.value <= 2

    children = [Child(make_and_use) for _ in range(50)]
    start.open(50)
    assert [child.wait() for child in children] == [0] * 50
    made = cls.attach(name)
    assert made.value == 3
    made.unlink()
    start.close()


@both
@pytest.mark.parametrize("n", [32768, 1 << 70])
def test_more_than_a_semaphore_counts_is_refused(name, cls, n):
    made = cls(name, 3)
    with pytest.raises(BadValue, match="release: there would be more than"):
        made.release(n)
    with pytest.raises(ValueError, match="1 or more"):
        made.release(-n)
    assert made.value == 3
    made.unlink()
