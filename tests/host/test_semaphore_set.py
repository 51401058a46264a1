# SPDX-License-Identifier: MIT
"""SemaphoreSet: what the kernel does, with its errno, and against a model."""

from __future__ import annotations

import errno
import math
import os
import re
import signal
import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from limits import with_limits
from processes import Child, wait_until

from semshare import (
    IPC_NOWAIT,
    IPC_PRIVATE,
    SEM_UNDO,
    BadKey,
    BadValue,
    Denied,
    Error,
    LimitReached,
    NameExists,
    NotFound,
    Operation,
    Removed,
    SemaphoreSet,
    Timeout,
    WouldBlock,
    WrongSize,
    key_of,
)
from semshare import semaphore_set as module


@pytest.fixture
def semaphores():
    made = SemaphoreSet(IPC_PRIVATE, count=3, create=True)
    yield made
    if module.exists(made.semid):
        made.remove()


def test_several_operations_are_done_at_once_or_not_at_all(semaphores):
    semaphores.operate([(0, 2), Operation(1, 1), (2, 0)])
    assert semaphores.values() == [2, 1, 0]
    with pytest.raises(WouldBlock) as caught:
        semaphores.operate([(0, -1), (2, -1, IPC_NOWAIT)])
    assert caught.value.errno == errno.EAGAIN and isinstance(caught.value, BlockingIOError)
    assert semaphores.values() == [2, 1, 0]
    semaphores.operate([(0, -2), (1, -1), (0, 0)])
    assert semaphores.values() == [0, 0, 0]


def test_every_command(semaphores):
    semaphores.set_value(1, 7)
    assert semaphores.value(1) == 7
    semaphores.set_values([1, 2, 3])
    assert semaphores.values() == [1, 2, 3]
    assert semaphores.pid(1) == os.getpid()
    assert (semaphores.waiters(0), semaphores.zero_waiters(0)) == (0, 0)
    state = semaphores.stat()
    assert (state.key, state.mode, state.semaphores, state.uid, state.last_operation) == (0, 0o600, 3, os.getuid(), 0)
    semaphores.operate([(0, 1)])
    assert semaphores.stat().last_operation > 0
    semaphores.set_permissions(mode=0o640)
    assert semaphores.stat().mode == 0o640 and semaphores.stat().uid == os.getuid()
    assert module.limits().operations_per_call >= 3
    assert module.usage().used_sets >= 1
    assert (semaphores.semid, semaphores.stat()) in module.all_sets()
    semaphores.remove()
    with pytest.raises(Removed) as caught:
        semaphores.value()
    assert caught.value.errno == errno.EINVAL


def test_finding_and_making(name):
    key = key_of(name)
    with pytest.raises(NotFound):
        SemaphoreSet(key)
    made = SemaphoreSet(key, count=2, create=True, mode=0o660)
    try:
        assert made.stat().mode == 0o660
        assert SemaphoreSet(key).semid == made.semid == SemaphoreSet(key, count=2, create=True).semid
        assert SemaphoreSet(semid=made.semid).key == key and SemaphoreSet(key).count == 2
        with pytest.raises(NameExists):
            SemaphoreSet(key, count=2, create=True, exclusive=True)
        with pytest.raises(Error) as caught:
            SemaphoreSet(key, count=3)
        assert caught.value.errno == errno.EINVAL and f"{key:#x}" in str(caught.value)
    finally:
        made.remove()
    with pytest.raises(ValueError):
        SemaphoreSet()
    with pytest.raises(ValueError):
        SemaphoreSet(1 << 32)


@pytest.mark.parametrize(
    ("operations", "number"),
    [
        ([], errno.EINVAL),
        ([(3, 1)], errno.EFBIG),
        ([(0, 1)] * 501, errno.E2BIG),
        ([(0, 32767), (0, 1)], errno.ERANGE),
    ],
)
def test_errno_is_the_kernels(semaphores, operations, number):
    with pytest.raises(Error) as caught:
        semaphores.operate(operations)
    assert caught.value.errno == number
    assert f"set {semaphores.semid}" in str(caught.value) and errno.errorcode[number] in str(caught.value)
    assert semaphores.values() == [0, 0, 0]


def refused(call, error, number=errno.EINVAL) -> str:
    """What it says, without what looks elsewhere for what is known here."""
    with pytest.raises(error) as caught:
        call()
    assert caught.value.errno == number
    said = str(caught.value)
    assert "man 2" not in said and "semshare doctor" not in said
    return said


def test_numbers_of_semaphores_that_cannot_be(name, semaphores):
    key, most = key_of(name), module.limits().semaphores_per_set
    for create in (key, IPC_PRIVATE):
        said = refused(lambda create=create: SemaphoreSet(create, create=True), BadValue)
        assert f"give count=, 1 to {most} (SEMMSL" in said
        said = refused(lambda create=create: SemaphoreSet(create, count=most + 1, create=True), LimitReached)
        assert f"at most {most} semaphores (SEMMSL)" in said and f"would have {most + 1}" in said
    made = SemaphoreSet(key, count=2, create=True)
    try:
        for create in (False, True):
            said = refused(lambda create=create: SemaphoreSet(key, count=3, create=create), WrongSize)
            assert f"{key:#x}" in said and "it has 2 semaphores, not 3" in said
    finally:
        made.remove()


def test_semaphores_that_it_has_not(semaphores):
    for call in (lambda: semaphores.set_value(3, 1), lambda: semaphores.value(5), lambda: semaphores.waiters(3)):
        assert "it has 3; give 0 to 2" in refused(call, BadValue)
    assert "give one or more" in refused(lambda: semaphores.operate([]), BadValue)
    semaphores.remove()
    for call in (lambda: semaphores.value(5), lambda: semaphores.operate([])):
        refused(call, Removed)


def test_what_could_not_be_done_at_once(semaphores):
    said = refused(lambda: semaphores.operate([(0, -1, IPC_NOWAIT)]), WouldBlock, errno.EAGAIN)
    assert "try again, or wait for it" in said


def test_as_many_sets_as_there_may_be():
    def fill():
        made = SemaphoreSet(IPC_PRIVATE, count=1, create=True)
        said = refused(lambda: SemaphoreSet(IPC_PRIVATE, count=1, create=True), LimitReached, errno.ENOSPC)
        assert "there are 1 sets, and 1 there may be (SEMMNI)" in said and "sysctl kernel.sem=" in said
        made.remove()

    with_limits("250 32000 32 1", fill)


@pytest.mark.parametrize("operation", [(-1, 1), (70000, 1), (0, 40000), (0, -40000), (0, 1, 1 << 20)])
def test_what_does_not_fit_into_a_sembuf_is_refused(semaphores, operation):
    with pytest.raises(ValueError):
        semaphores.operate([operation])


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.value(3),
        lambda s: s.value(-1),
        lambda s: s.set_value(0, 32768),
        lambda s: s.set_value(0, -1),
        lambda s: s.pid(5),
    ],
)
def test_bad_numbers_in_commands(semaphores, call):
    with pytest.raises(Error) as caught:
        call(semaphores)
    assert caught.value.errno in (errno.EINVAL, errno.ERANGE) and not isinstance(caught.value, Removed)
    with pytest.raises(ValueError):
        semaphores.set_values([1])


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda s: s.set_value(0, "x"), TypeError, "value is an int"),
        (lambda s: s.set_value(0, 1.9), TypeError, "value is an int"),
        (lambda s: s.set_value(0, 1 << 32), BadValue, "value 4294967296"),
        (lambda s: s.set_values([1, 2, 70000]), BadValue, "value 70000"),
        (lambda s: s.value("x"), TypeError, "number is an int"),
        (lambda s: s.value(1 << 32), BadValue, "number 4294967296"),
        (lambda s: s.operate([("a", 1)]), TypeError, "are ints"),
        (lambda s: s.operate([(0, -1)], timeout="x"), TypeError, "timeout is a number of seconds"),
        (lambda s: s.operate([(0, -1)], timeout=math.nan), ValueError, "timeout nan"),
        (lambda s: s.set_permissions(mode=0o7777), BadValue, "mode 0o7777"),
        (lambda s: s.set_permissions(uid="x"), TypeError, "uid is an int"),
        (lambda s: SemaphoreSet(semid=-1), BadValue, "semid -1"),
        (lambda s: SemaphoreSet("x"), TypeError, "key is an int"),
        (lambda s: SemaphoreSet(1 << 32), BadKey, "0x100000000"),
        (lambda s: SemaphoreSet(5, count="x"), TypeError, "count is an int"),
        (lambda s: SemaphoreSet(5, mode="rw"), TypeError, "mode is an int"),
    ],
)
def test_arguments_that_cannot_be(semaphores, call, error, says):
    before = semaphores.values(), semaphores.stat()
    with pytest.raises(error, match=re.escape(says)):
        call(semaphores)
    assert (semaphores.values(), semaphores.stat()) == before


def test_timeouts(semaphores):
    for timeout in (0, 0.02):
        with pytest.raises(Timeout) as caught:
            semaphores.operate([(0, -1)], timeout=timeout)
        assert caught.value.errno == errno.EAGAIN and isinstance(caught.value, TimeoutError)
    with pytest.raises(ValueError):
        semaphores.operate([(0, -1)], timeout=-1)
    semaphores.operate([(0, 1)], timeout=5)


def test_a_signal_does_not_end_a_wait(semaphores):
    hits = 0

    def count(*_):
        nonlocal hits
        hits += 1
        if hits == 20:
            semaphores.operate([(0, 1)])

    def wait():
        signal.signal(signal.SIGALRM, count)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        semaphores.operate([(0, -1)])
        assert hits >= 20
        with pytest.raises(Timeout):
            semaphores.operate([(0, -1)], timeout=0.05)

    assert Child(wait).wait() == 0


def test_other_threads_run_while_one_waits(semaphores):
    thread = threading.Thread(target=lambda: semaphores.operate([(1, -1)]))
    thread.start()
    wait_until(lambda: semaphores.waiters(1) == 1, "a waiter")
    semaphores.operate([(1, 1)])
    thread.join()


def test_removal_wakes_those_who_wait(semaphores):
    caught = []

    def wait(operation):
        try:
            semaphores.operate([operation])
        except Removed as error:
            caught.append(error.errno)

    semaphores.set_values([0, 1, 0])
    threads = [threading.Thread(target=wait, args=(operation,)) for operation in [(0, -1), (1, 0)]]
    for thread in threads:
        thread.start()
    wait_until(lambda: semaphores.waiters(0) + semaphores.zero_waiters(1) == 2, "two waiters")
    semaphores.remove()
    for thread in threads:
        thread.join()
    assert caught == [errno.EIDRM] * 2


def test_undo_is_done_when_a_process_is_killed(semaphores):
    semaphores.set_values([1, 0, 0])

    def hold():
        semaphores.operate([(0, -1, SEM_UNDO), (1, 3, SEM_UNDO)])
        signal.pause()

    child = Child(hold)
    wait_until(lambda: semaphores.values() == [0, 3, 0], "the child's operations")
    child.kill()
    wait_until(lambda: semaphores.values() == [1, 0, 0], "the undo")


def test_another_user_gets_eacces(semaphores):
    if os.getuid():
        pytest.skip("needs root to become somebody else")

    def try_it():
        os.setgid(65534)
        os.setuid(65534)
        for call in (semaphores.values, lambda: semaphores.operate([(0, 1)]), lambda: semaphores.set_value(0, 1)):
            with pytest.raises(Denied) as caught:
                call()
            assert caught.value.errno == errno.EACCES
        with pytest.raises(Denied) as caught:
            semaphores.remove()
        assert caught.value.errno == errno.EPERM

    assert Child(try_it).wait() == 0


class SetMachine(RuleBasedStateMachine):
    """A set of two semaphores against two integers."""

    def __init__(self):
        super().__init__()
        self.real = SemaphoreSet(IPC_PRIVATE, count=2, create=True)
        self.model: list[int] | None = [0, 0]

    def teardown(self):
        if self.model is not None:
            self.real.remove()

    def apply(self, operations):
        """What semop does, as semop(2) tells it. Returns None, or the errno."""
        values = list(self.model)
        for number, _ in operations:
            if number > 1:
                return errno.EFBIG
        for number, delta in operations:
            if delta == 0 and values[number] != 0:
                return errno.EAGAIN
            if values[number] + delta < 0:
                return errno.EAGAIN
            if values[number] + delta > 32767:
                return errno.ERANGE
            values[number] += delta
        self.model = values
        return None

    @precondition(lambda self: self.model is not None)
    @rule(
        operations=st.lists(st.tuples(st.integers(0, 2), st.integers(-3, 3) | st.just(32000)), min_size=1, max_size=5),
        timed=st.booleans(),
    )
    def operate(self, operations, timed):
        wanted = self.apply(operations)
        try:
            self.real.operate(
                [(number, delta, 0 if timed else IPC_NOWAIT) for number, delta in operations],
                timeout=0 if timed else None,
            )
            assert wanted is None
        except Error as error:
            assert error.errno == wanted

    @precondition(lambda self: self.model is not None)
    @rule(number=st.integers(0, 1), value=st.integers(-1, 32768))
    def set_value(self, number, value):
        try:
            self.real.set_value(number, value)
            self.model[number] = value
        except Error as error:
            assert error.errno == errno.ERANGE and not 0 <= value <= 32767

    @precondition(lambda self: self.model is not None)
    @rule(values=st.lists(st.integers(0, 32767), min_size=2, max_size=2))
    def set_values(self, values):
        self.real.set_values(values)
        self.model = values

    @precondition(lambda self: self.model is not None)
    @rule()
    def remove(self):
        self.real.remove()
        self.model = None

    @precondition(lambda self: self.model is None)
    @rule()
    def make_anew(self):
        self.real = SemaphoreSet(IPC_PRIVATE, count=2, create=True)
        self.model = [0, 0]

    @invariant()
    def values_agree(self):
        if self.model is None:
            with pytest.raises(Removed):
                self.real.values()
        else:
            assert self.real.values() == self.model == [self.real.value(0), self.real.value(1)]


TestSetMachine = SetMachine.TestCase
TestSetMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
