# SPDX-License-Identifier: MIT
"""/dev/semshare-route: what a call through it must not lose or mix up. That it answers as the system calls do, on every
argument, is what test_differential.py tries.
"""

import contextlib
import errno
import signal
import threading

import kernel
import pytest
from kernel import GETALL, GETVAL, IPC_CREAT, IPC_NOWAIT, IPC_PRIVATE, IPC_RMID, SETVAL, Route, shorts

system = kernel.SystemCalls()


@pytest.fixture(params=["caller", "kthread"])
def route(request):
    route = Route(getattr(Route, request.param.upper()))
    yield route
    route.close()


@contextlib.contextmanager
def a_set(nsems=1, key=IPC_PRIVATE):
    semid = system.semget(key, nsems, IPC_CREAT | 0o600)
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
                result = route.semtimedop(semid, [(0, -1)], 5)
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
        while not self._end.wait(0.01):  # rarer than the signals, so that these find somebody waiting
            if system.semctl(self._semid, 0, GETVAL) < 1000:
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
