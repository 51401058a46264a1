# SPDX-License-Identifier: MIT
"""Barrier: threads and processes that wait for each other, late, interrupted, killed, and what goes wrong."""

from __future__ import annotations

import mmap
import os
import pickle
import random
import signal
import sys
import threading
import time

import pytest
from effort import scaled
from processes import Child, Gate, wait_until
from semshare._abi import ffi

from semshare import (
    BadValue,
    Barrier,
    BrokenBarrier,
    Condition,
    LimitReached,
    NameExists,
    NotFound,
    Removed,
    SemaphoreSet,
    WrongKind,
    WrongSize,
    places,
)

LONG = 60.0
"""A time that is not over in any test that passes."""


@pytest.fixture
def barrier(name):
    """One of three parties."""
    barrier = Barrier(name, 3)
    yield barrier
    barrier.unlink()


@pytest.fixture
def shared():
    """Numbers that forked children share."""
    return memoryview(mmap.mmap(-1, 4096)).cast("Q")


def waiting(barrier: Barrier, count: int) -> None:
    wait_until(lambda: barrier.n_waiting == count, f"{count} at the barrier")


def asleep(barrier: Barrier, count: int) -> None:
    semaphores = SemaphoreSet(semid=barrier.semid)
    wait_until(lambda: sum(semaphores.waiters(1 + place) for place in range(places.MOST)) == count, "sleepers")


def values(barrier: Barrier) -> list[int]:
    return SemaphoreSet(semid=barrier.semid).values()


EMPTY = [1] + [0] * places.MOST


class Party:
    """A thread that waits once."""

    def __init__(self, barrier: Barrier, timeout: float | None = LONG) -> None:
        self.result: object = None
        self.thread = threading.Thread(target=self._run, args=(barrier, timeout))
        before = barrier.n_waiting
        self.thread.start()
        if timeout == LONG and before + 1 < barrier.parties and not barrier.broken:
            waiting(barrier, before + 1)

    def _run(self, barrier: Barrier, timeout: float | None) -> None:
        try:
            self.result = barrier.wait(timeout)
        except Exception as error:
            self.result = error

    def end(self) -> object:
        self.thread.join(LONG)
        assert not self.thread.is_alive()
        return self.result


def wait_in_child(barrier: Barrier) -> Child:
    """A process that waits, and ends with 10 and its number."""
    before = barrier.n_waiting
    child = Child(lambda: sys.exit(10 + barrier.wait(LONG)))
    waiting(barrier, before + 1)
    return child


# ---------------------------------------------------------------------------------------------------------- the basics


def test_it_opens_when_so_many_wait(barrier):
    for _ in range(3):
        parties = [Party(barrier), Party(barrier)]
        assert barrier.n_waiting == barrier.waiters() == 2
        assert "2 of 3 waiting" in repr(barrier) and barrier.name in repr(barrier)
        last = barrier.wait()
        assert [last, *(party.end() for party in parties)] == [2, 0, 1]
        assert barrier.n_waiting == 0 and not barrier.broken
    assert barrier.statistics().acquisitions >= 9
    assert values(barrier) == EMPTY


def test_a_barrier_of_one_is_open(name):
    barrier = Barrier(name, 1)
    assert [barrier.wait(), barrier.wait(0)] == [0, 0]
    barrier.unlink()


@pytest.mark.parametrize("parties", [2, 5])
def test_threads_go_in_step(name, parties):
    barrier = Barrier(name, parties)
    turns = scaled(300)
    steps = [0] * parties
    numbers: list[list[int]] = [[] for _ in range(turns)]

    def walk(mine):
        for turn in range(turns):
            steps[mine] = turn
            numbers[turn].append(barrier.wait(LONG))
            # Nobody is a step behind, or two ahead.
            assert all(turn <= step <= turn + 1 for step in steps)
        walked.append(mine)

    walked: list[int] = []
    threads = [threading.Thread(target=walk, args=(mine,)) for mine in range(parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert sorted(walked) == list(range(parties))
    assert all(sorted(each) == list(range(parties)) for each in numbers)
    assert values(barrier) == EMPTY
    barrier.unlink()


def test_processes_go_in_step(name, shared):
    parties, turns = 4, scaled(300)
    barrier = Barrier(name, parties)

    def walk(mine):
        here = Barrier.attach(name)
        for turn in range(turns):
            shared[mine] = turn
            here.wait(LONG)
            assert all(turn <= step <= turn + 1 for step in shared[:parties])

    children = [Child(walk, mine) for mine in range(parties)]
    assert [child.wait() for child in children] == [0] * parties
    assert values(barrier) == EMPTY
    barrier.unlink()


def test_more_than_it_takes_go_through_in_groups(name):
    barrier = Barrier(name, 2)
    parties = [threading.Thread(target=barrier.wait) for _ in range(10)]
    for party in parties:
        party.start()
    for party in parties:
        party.join(LONG)
        assert not party.is_alive()
    assert values(barrier) == EMPTY
    barrier.unlink()


def test_nobody_waits_for_who_is_on_its_way_out(barrier):
    """One is stopped where it was let through; the others go on without it, and it has its number still."""
    child = wait_in_child(barrier)
    asleep(barrier, 1)
    child.signal(signal.SIGSTOP)
    # More generations than a word has bits.
    for others in [1] + [2] * 70:
        parties = [Party(barrier) for _ in range(others)]
        assert barrier.wait(LONG) == 2
        assert all(isinstance(party.end(), int) for party in parties)
    child.signal(signal.SIGCONT)
    assert child.wait() == 10
    assert values(barrier) == EMPTY


def test_the_action_is_run_by_the_last(name):
    ran = []
    barrier = Barrier(name, 2, lambda: ran.append(threading.current_thread()))
    party = Party(barrier)
    assert not ran
    barrier.wait()
    assert isinstance(party.end(), int)
    assert ran == [threading.current_thread()]
    barrier.unlink()


def test_an_action_that_raises_breaks_the_barrier(name):
    barrier = Barrier(name, 2, lambda: 1 // 0)
    party = Party(barrier)
    with pytest.raises(ZeroDivisionError):
        barrier.wait()
    assert isinstance(party.end(), BrokenBarrier)
    assert barrier.broken
    barrier.unlink()


def test_an_action_that_waits_is_told(name):
    barrier = Barrier(name, 1, lambda: barrier.wait())
    with pytest.raises(RuntimeError, match="holds it already"):
        barrier.wait()
    assert barrier.broken
    barrier.unlink()


# ----------------------------------------------------------------------------------------------------- breaking it


def test_one_whose_time_is_over_breaks_it(barrier):
    party = Party(barrier)
    with pytest.raises(BrokenBarrier, match="broken") as caught:
        barrier.wait(0.01)
    assert isinstance(caught.value, threading.BrokenBarrierError) and caught.value.errno == 32
    assert isinstance(party.end(), BrokenBarrier)
    assert barrier.broken and "broken" in repr(barrier)
    with pytest.raises(BrokenBarrier):
        barrier.wait()
    barrier.reset()
    assert not barrier.broken
    parties = [Party(barrier), Party(barrier), Party(barrier)]
    assert sorted(party.end() for party in parties) == [0, 1, 2]
    assert values(barrier) == EMPTY


def test_no_time_at_all(barrier):
    for timeout in (0, -1, 0.0):
        with pytest.raises(BrokenBarrier):
            barrier.wait(timeout)
        barrier.reset()


def test_it_has_a_time_of_its_own(name):
    barrier = Barrier(name, 2, timeout=0.01)
    with pytest.raises(BrokenBarrier):
        barrier.wait()
    barrier.reset()
    party = Party(barrier)
    assert barrier.wait() == 1 and party.end() == 0
    barrier.unlink()


def test_breaking_it(barrier):
    parties = [Party(barrier), Party(barrier)]
    barrier.abort()
    assert all(isinstance(party.end(), BrokenBarrier) for party in parties)
    assert barrier.broken and Barrier.attach(barrier.name).broken
    barrier.abort()
    with pytest.raises(BrokenBarrier):
        barrier.wait()
    barrier.reset()
    assert not barrier.broken
    assert values(barrier) == EMPTY


def test_a_reset_is_told_to_those_who_wait(barrier):
    barrier.reset()
    parties = [Party(barrier), Party(barrier)]
    barrier.reset()
    for party in parties:
        error = party.end()
        assert isinstance(error, BrokenBarrier)
    assert not barrier.broken and barrier.n_waiting == 0
    again = [Party(barrier), Party(barrier), Party(barrier)]
    assert sorted(party.end() for party in again) == [0, 1, 2]


def test_the_time_of_some_is_over_as_it_opens(name):
    """All of a generation go through, or none."""
    barrier = Barrier(name, 4)
    dice = random.Random(3)
    for _ in range(scaled(40)):
        first = 0.001 + dice.random() * 0.004
        parties = [Party(barrier, first) for _ in range(3)]
        time.sleep(dice.random() * 0.006)
        try:
            ended = [barrier.wait(0)]
        except BrokenBarrier as error:
            ended = [error]
        ended += [party.end() for party in parties]
        passed = [each for each in ended if isinstance(each, int)]
        assert sorted(passed) in ([], [0, 1, 2, 3])
        assert barrier.broken == (not passed)
        barrier.reset()
    assert values(barrier) == EMPTY
    barrier.unlink()


# ------------------------------------------------------------------------------------------------ killed, interrupted


def test_who_is_killed_is_replaced_by_another(barrier):
    """... which has its number."""
    child, party = wait_in_child(barrier), Party(barrier)
    child.kill()
    assert barrier.n_waiting == 1 and not barrier.broken
    again = wait_in_child(barrier)
    assert barrier.n_waiting == 2
    assert barrier.wait(LONG) == 2
    assert party.end() == 1 and again.wait() == 10
    assert values(barrier) == EMPTY


def test_the_last_is_killed_before_it_opens(name):
    barrier = Barrier(name, 2)
    party = Party(barrier)
    killing = Barrier(name, 2, lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert Child(killing.wait).wait() == -signal.SIGKILL
    assert barrier.n_waiting == 1 and not barrier.broken
    assert barrier.wait(LONG) == 1 and party.end() == 0
    assert values(barrier) == EMPTY
    barrier.unlink()


@pytest.mark.parametrize("failed", [False, True])
def test_who_opens_is_killed_before_it_has_woken_them(barrier, failed):
    """The words say that the generation is over, no semaphore does: who waits looks at the words now and then."""
    parties = [Party(barrier), Party(barrier)]
    asleep(barrier, 2)
    companion = ffi.from_buffer("char[]", barrier._segment.mapping)
    words = ffi.cast("struct semshare_places *", companion + ffi.sizeof("struct semshare_lock_segment"))
    if failed:
        words.failed |= 1 << words.generation
    words.generation += 1
    for party in parties:
        assert isinstance(party.end(), BrokenBarrier if failed else int)
    assert values(barrier) == EMPTY


def test_who_breaks_it_is_killed_before_it_has_told_them(barrier):
    """The word says that it is broken, the generation goes on: who waits for that finds it, and no one else has to."""
    parties = [Party(barrier, None), Party(barrier, None)]
    asleep(barrier, 2)
    companion = ffi.from_buffer("char[]", barrier._segment.mapping)
    words = ffi.cast("struct semshare_places *", companion + ffi.sizeof("struct semshare_lock_segment"))
    words.broken = 1
    for party in parties:
        assert isinstance(party.end(), BrokenBarrier)
    assert barrier.broken and barrier.n_waiting == 0 and values(barrier) == EMPTY
    barrier.reset()
    parties = [Party(barrier), Party(barrier)]
    assert sorted([barrier.wait(LONG), *(party.end() for party in parties)]) == [0, 1, 2]


def test_parties_are_killed_at_any_moment(name, shared):
    """Those that are left, and those that come in their stead, go on; nobody passes a generation that was not full."""
    parties, turns = 3, scaled(60)
    barrier = Barrier(name, parties)

    def walk():
        here = Barrier.attach(name)
        while not shared[0]:
            try:
                if here.wait(LONG) == 0:
                    shared[1] += 1
            except BrokenBarrier:
                assert shared[0]

    dice = random.Random(8)
    walkers = [Child(walk) for _ in range(parties + 1)]
    for _ in range(turns):
        walkers.pop(dice.randrange(parties + 1)).kill()
        walkers.append(Child(walk))
        time.sleep(dice.random() * 0.004)
        assert not barrier.broken
    before = shared[1]
    wait_until(lambda: shared[1] > before + 20, "further generations")
    shared[0] = 1
    barrier.abort()
    assert [walker.wait() for walker in walkers] == [0] * len(walkers)
    assert barrier._lock.deaths < turns
    barrier.unlink()


def test_ctrl_c_takes_one_out(barrier):
    def wait():
        try:
            barrier.wait()
        except KeyboardInterrupt:
            sys.exit(42)

    child = Child(wait)
    waiting(barrier, 1)
    party = Party(barrier)
    asleep(barrier, 2)
    child.signal(signal.SIGINT)
    assert child.wait() == 42
    assert barrier.n_waiting == 1 and not barrier.broken
    again = Party(barrier)
    assert sorted([barrier.wait(LONG), party.end(), again.end()]) == [0, 1, 2]
    assert values(barrier) == EMPTY


def test_signals_do_not_end_a_wait_nor_prolong_it(barrier, shared):
    def wait(timeout):
        def count(*_):
            shared[0] += 1

        signal.signal(signal.SIGALRM, count)
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        try:
            barrier.wait(timeout)
        except BrokenBarrier:
            signal.setitimer(signal.ITIMER_REAL, 0)
            sys.exit(20)
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.exit(10)

    assert Child(wait, 0.1).wait() == 20
    barrier.reset()
    shared[0] = 0
    children = [Child(wait, None), Child(wait, None)]
    wait_until(lambda: shared[0] > 20 and barrier.n_waiting == 2, "signals")
    barrier.wait(LONG)
    assert [child.wait() for child in children] == [10, 10]


def test_a_fork_in_the_action(barrier):
    """The lock is the parent's: what the child does behind the action opens nothing."""
    gate = Gate()
    forked = []

    def fork():
        forked.append(os.fork())
        if not forked[0]:
            gate.pass_through()

    def come():
        try:
            Barrier.attach(barrier.name, action=fork).wait(LONG)
        except RuntimeError as error:
            os._exit(30 if "forked" in str(error) else 31)
        _, status = os.waitpid(forked[0], 0)
        os._exit(os.waitstatus_to_exitcode(status))

    parties = [Party(barrier), Party(barrier)]
    child = Child(come)
    for party in parties:
        party.end()
    late = Party(barrier)
    gate.open()
    assert child.wait() == 30
    assert barrier.n_waiting == 1
    barrier.abort()
    late.end()
    gate.close()


def test_a_fork_in_the_midst_of_a_wait(barrier):
    """By a signal's handler: the child has no place, and the parent waits on."""

    def wait():
        forked = []
        signal.signal(signal.SIGUSR1, lambda *_: forked.append(os.fork()))
        try:
            number = barrier.wait(LONG)
        except RuntimeError as error:
            os._exit(30 if "forked" in str(error) else 31)
        _, status = os.waitpid(forked[0], 0)
        assert os.waitstatus_to_exitcode(status) == 30
        sys.exit(10 + number)

    child = Child(wait)
    waiting(barrier, 1)
    party = Party(barrier)
    asleep(barrier, 2)
    child.signal(signal.SIGUSR1)
    time.sleep(0.1)
    assert barrier.n_waiting == 2
    barrier.wait(LONG)
    party.end()
    assert child.wait() in (10, 11)
    assert values(barrier) == EMPTY


# ------------------------------------------------------------------------------------------ opening, closing, the end


def test_opening(name):
    with pytest.raises(NotFound, match=name):
        Barrier.attach(name)
    with pytest.raises(NotFound):
        Barrier(name)
    barrier = Barrier.create(name, parties=2)
    try:
        with pytest.raises(NameExists):
            Barrier.create(name, parties=2)
        with pytest.raises(WrongSize, match="2 parties, not 3"):
            Barrier(name, 3)
        with pytest.raises(WrongKind, match="barrier"):
            Condition(name)
        assert Barrier(name).parties == Barrier(key=barrier.key).parties == Barrier(semid=barrier.semid).parties == 2
        party = Party(Barrier(name, 2))
        assert barrier.wait() == 1 and party.end() == 0
    finally:
        barrier.unlink()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"parties": 0}, BadValue),
        ({"parties": -1}, BadValue),
        ({"parties": 249}, BadValue),
        ({"parties": 1.0}, TypeError),
        ({"parties": "1"}, TypeError),
        ({"parties": 1, "action": 5}, TypeError),
        ({"parties": 1, "timeout": "soon"}, TypeError),
        ({"parties": 1, "timeout": float("nan")}, TypeError),
    ],
)
def test_senseless_arguments_are_refused(name, arguments, error):
    with pytest.raises(error):
        Barrier(name, **arguments)


def test_senseless_times_are_refused(barrier):
    for timeout, error in (("1", TypeError), (float("nan"), ValueError), (1e300, OverflowError)):
        with pytest.raises(error):
            barrier.wait(timeout)
    assert barrier.n_waiting == 0 and not barrier.broken


def test_the_largest(name):
    barrier = Barrier(name, places.MOST)
    numbers = []
    threads = [threading.Thread(target=lambda: numbers.append(barrier.wait(LONG))) for _ in range(places.MOST)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert sorted(numbers) == list(range(places.MOST))
    assert values(barrier) == EMPTY
    barrier.unlink()


def test_there_are_places_for_so_many(name):
    """Of those that were let through and are stopped, say."""
    barrier = Barrier(name, 2)
    with barrier._lock:
        inside = []
        for _ in range(places.MOST):
            _, *arrival = barrier._arrive()
            inside.append(arrival)
            assert barrier._arrive()[0] is True
            barrier._let_through()
    with pytest.raises(LimitReached, match="248 wait already"):
        barrier.wait()
    for arrival in inside:
        assert barrier._sleep(*arrival, 0) is True
        barrier._leave(*arrival)
    assert values(barrier) == EMPTY
    barrier.unlink()


def test_pickles(barrier):
    again = pickle.loads(pickle.dumps(barrier))
    assert again.semid == barrier.semid and again.parties == 3
    barrier.unlink()
    with pytest.raises(NotFound):
        pickle.loads(pickle.dumps(barrier))


def _meet(barrier: Barrier, numbers: list[int]) -> None:
    numbers.append(barrier.wait(LONG))


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_it_is_passed_to_other_processes(name, method):
    import multiprocessing

    barrier = Barrier(name, 2, timeout=LONG)
    process = multiprocessing.get_context(method).Process(target=_meet, args=(barrier, []))
    process.start()
    assert barrier.wait() in (0, 1)
    process.join()
    assert process.exitcode == 0
    barrier.unlink()


def test_removal_reaches_who_waits(barrier):
    parties = [Party(barrier), Party(barrier)]
    barrier.unlink()
    for party in parties:
        error = party.end()
        assert isinstance(error, Removed) and barrier.name in str(error)
    for use in (barrier.wait, barrier.abort, barrier.reset):
        with pytest.raises(Removed):
            use()


def test_closing_sends_waiting_threads_home(barrier):
    other = Barrier(barrier.name)
    stays, goes = Party(barrier), Party(other)
    other.close()
    error = goes.end()
    assert isinstance(error, ValueError) and "closed" in str(error)
    assert other.closed and "closed" in repr(other)
    other.close()
    for use in (other.wait, other.abort, other.reset, other.waiters, lambda: other.broken):
        with pytest.raises(ValueError, match="closed"):
            use()
    assert barrier.n_waiting == 1
    again = Party(barrier)
    assert sorted([barrier.wait(LONG), stays.end(), again.end()]) == [0, 1, 2]
    assert values(barrier) == EMPTY
