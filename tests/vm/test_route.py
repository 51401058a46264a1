# SPDX-License-Identifier: MIT
"""/dev/semshare-route: what a call through it must not lose or mix up. That it answers as the system calls do, on every
argument, is what test_differential.py tries.
"""

import contextlib
import errno
import os
import pathlib
import signal
import threading

import kernel
import pytest
from kernel import GETALL, GETNCNT, GETVAL, IPC_CREAT, IPC_NOWAIT, IPC_PRIVATE, IPC_RMID, SETVAL, Route, shorts

system = kernel.SystemCalls()


@pytest.fixture(params=["caller", "kthread"])
def route(request):
    route = Route(getattr(Route, request.param.upper()))
    yield route
    route.close()


@contextlib.contextmanager
def a_set(nsems=1, mode=0o600):
    semid = system.semget(IPC_PRIVATE, nsems, IPC_CREAT | mode)
    assert semid >= 0
    try:
        yield semid
    finally:
        system.semctl(semid, 0, IPC_RMID)


@contextlib.contextmanager
def a_rain_of_signals(interval=0.002):
    """Of which the handler does nothing; the calls in between see them all."""
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, interval, interval)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_what_need_not_wait_is_never_interrupted(route):
    # A V that came back with EINTR would be a V lost: no program expects it.
    with a_set() as semid, a_rain_of_signals():
        for _ in range(400):
            assert route.semop(semid, [(0, 1)]) == 0
            assert route.semop(semid, [(0, -1, IPC_NOWAIT)]) == 0
            assert route.semctl(semid, 0, GETVAL) == 0


def test_an_interrupted_p_has_not_been_done_and_one_that_was_done_says_so(route):
    with a_set() as semid, Giver(semid) as giver:
        taken = interrupted = 0
        with a_rain_of_signals():
            while taken < 100:
                result = route.semtimedop(semid, [(0, -1)], 60)
                assert result in (0, -errno.EINTR), kernel.name_of(result)
                taken += result == 0
                interrupted += result != 0
        giver.stop()
        assert interrupted > 0
        assert taken + system.semctl(semid, 0, GETVAL) == giver.given


class Giver:
    """A thread that does a V now and then, through system calls."""

    def __init__(self, semid):
        self.given = 0
        self._semid = semid
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._give)

    def _give(self):
        # Rarer than the signals, and never two, so that these find somebody waiting, however slow that one is.
        while not self._end.wait(0.01):
            if system.semctl(self._semid, 0, GETVAL) == 0:
                assert system.semop(self._semid, [(0, 1)]) == 0
                self.given += 1

    def stop(self):
        self._end.set()
        self._thread.join()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop()


def test_a_value_is_cut_as_the_system_call_cuts_it(route):
    with a_set() as semid:
        for word in (5, 1 << 32 | 7, 0xFFFFFFFF_00000009):
            assert system.semctl(semid, 0, SETVAL, 0) == 0
            assert route.semctl(semid, 0, SETVAL, word) == 0
            assert system.semctl(semid, 0, GETVAL) == word & 0xFFFF


def test_getall_gives_all_values_of_a_set_of_any_size(route):
    for nsems in (1, 16, 17, 256, 257, 32000):
        values = [number % 32768 for number in range(nsems)]
        with a_set(nsems) as semid:
            assert route.setall(semid, values) == 0
            assert route.getall(semid, nsems) == values
            # Exactly so many are written.
            more = shorts([0xABCD] * (nsems + 1))
            assert route.semctl(semid, 0, GETALL, more) == 0
            assert more[nsems] == 0xABCD


def test_an_unknown_context_is_refused_and_nothing_done():
    route = Route(2)
    with a_set() as semid:
        assert route.semop(semid, [(0, 1)]) == -errno.EINVAL
        assert route.semctl(semid, 0, SETVAL, 3) == -errno.EINVAL
        assert system.semctl(semid, 0, GETVAL) == 0
    route.close()


def test_no_thread_is_told_apart_from_no_semaphore():
    # EAGAIN would say that the semaphore is taken, and of a V nobody expects it at all.
    most = pathlib.Path("/proc/sys/kernel/threads-max")
    before = most.read_text()
    route = Route(Route.KTHREAD)
    with a_set() as semid:
        try:
            most.write_text("20")  # which are there already
            assert route.semop(semid, [(0, 1)]) == -errno.ENOMEM
        finally:
            most.write_text(before)
        assert route.semop(semid, [(0, 1)]) == 0
        assert system.semctl(semid, 0, GETVAL) == 1
    route.close()


def test_a_user_has_so_many_threads_at_once_and_the_others_theirs():
    limit = pathlib.Path("/sys/module/semshare/parameters/max_user_threads")
    before = limit.read_text()

    def sleepers_of(uid, semid, count):
        """A process of that user, with threads asleep in a P each; what one call more answers."""

        def sleep():
            os.setuid(uid)
            route = Route(Route.KTHREAD)
            for _ in range(count):
                threading.Thread(target=route.semop, args=(semid, [(0, -1)]), daemon=True).start()
            assert kernel.eventually(lambda: system.semctl(semid, 0, GETNCNT) >= count)
            return kernel.name_of(route.semop(semid, [(0, 0)]))

        return kernel.in_child(sleep)

    try:
        limit.write_text("3")
        sets = [a_set(mode=0o666) for _ in range(3)]
        with sets[0] as one, sets[1] as another, sets[2] as third:
            assert sleepers_of(65534, one, 3) == "-ENOMEM"
            assert sleepers_of(65533, another, 2) == kernel.name_of(0)
            assert sleepers_of(0, third, 5) == kernel.name_of(0)
            # And given back when they ended.
            assert sleepers_of(65534, one, 2) == kernel.name_of(0)
    finally:
        limit.write_text(before)
