# SPDX-License-Identifier: MIT
"""Condition: threads and processes that wait, are notified, interrupted, killed, and what goes wrong."""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from effort import scaled
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from processes import CLONE_NEWIPC, CLONE_NEWPID, Child, in_new_namespace, wait_until
from semshare._abi import ffi, lib

from semshare import (
    Condition,
    LimitReached,
    Lock,
    LockPool,
    NameExists,
    NotFound,
    OwnerDied,
    Removed,
    RLock,
    SemaphoreSet,
    WrongKind,
    key_of,
    places,
)

LONG = 60.0
"""A time that is not over in any test that passes."""


@pytest.fixture
def condition(name):
    condition = Condition(name)
    yield condition
    condition.unlink()


@pytest.fixture
def shared():
    """Numbers that forked children share."""
    memory = mmap.mmap(-1, 4096)
    return memoryview(memory).cast("Q")


def waiting(condition: Condition, count: int = 1) -> None:
    wait_until(lambda: condition.waiters() == count, f"{count} waiters")


def asleep(condition: Condition, count: int = 1) -> None:
    """Until so many sleep: they wait for nothing else any more."""
    semaphores = SemaphoreSet(semid=condition.semid)
    wait_until(lambda: sum(semaphores.waiters(1 + place) for place in range(places.MOST)) == count, "sleepers")


def waits_for_lock(condition: Condition, count: int = 1) -> None:
    wait_until(lambda: SemaphoreSet(semid=condition.semid).waiters() == count, f"{count} who wait for the lock")


def values(condition: Condition) -> list[int]:
    return SemaphoreSet(semid=condition.semid).values()


class Waiter:
    """A thread that waits once."""

    def __init__(self, condition: Condition, timeout: float | None = LONG) -> None:
        self.condition = condition
        self.timeout = timeout
        self.result: object = None
        self.thread = threading.Thread(target=self._run)
        before = condition.waiters()
        self.thread.start()
        if timeout is None or timeout >= LONG:
            waiting(condition, before + 1)

    def _run(self) -> None:
        try:
            with self.condition:
                self.result = self.condition.wait(self.timeout)
        except Exception as error:
            self.result = error

    def end(self) -> object:
        self.thread.join(LONG)
        assert not self.thread.is_alive()
        return self.result


def wait_in_child(condition: Condition, timeout: float | None = LONG) -> Child:
    """A process that waits once, and ends with 10 if it was notified."""

    def wait() -> None:
        with condition:
            woken = condition.wait(timeout)
        sys.exit(10 if woken else 20)

    before = condition.waiters()
    child = Child(wait)
    waiting(condition, before + 1)
    return child


# ---------------------------------------------------------------------------------------------------------- the basics


def test_a_condition_shows_its_state(condition, name):
    with condition as entered:
        assert entered is condition and condition.held() and condition.locked()
        assert "held by this thread, 0 waiting" in repr(condition) and name in repr(condition)
    assert "unlocked, 0 waiting" in repr(condition)
    waiter = Waiter(condition)
    assert "unlocked, 1 waiting" in repr(condition)
    with condition:
        condition.notify()
    assert waiter.end() is True
    assert condition.statistics().acquisitions >= 3
    assert values(condition) == [1] + [0] * places.MOST


def test_those_who_wait_longest_are_notified_first(condition):
    waiters = [Waiter(condition) for _ in range(5)]
    for turn, first in enumerate(waiters):
        with condition:
            condition.notify()
        assert first.end() is True
        assert condition.waiters() == 4 - turn


def test_several_are_notified_and_no_more(condition):
    waiters = [Waiter(condition) for _ in range(6)]
    with condition:
        condition.notify(0)
        condition.notify(2)
        condition.notify(n=1)
        assert condition.waiters() == 3
    assert [waiter.end() for waiter in waiters[:3]] == [True] * 3
    with condition:
        condition.notify_all()
    assert [waiter.end() for waiter in waiters[3:]] == [True] * 3


def test_a_notification_is_not_for_those_who_come_later(condition):
    with condition:
        condition.notify(5)
        condition.notify_all()
        assert condition.wait(0) is False
        assert condition.wait(0.01) is False
        assert condition.wait(-1) is False
        assert condition.held()
    assert values(condition) == [1] + [0] * places.MOST


def test_a_wait_gives_the_lock_however_often_it_was_taken(condition):
    def wait():
        with condition, condition:
            condition.acquire()
            results.append(condition.wait(LONG))
            condition.release()
            results.append(condition.held())
        results.append(condition.held())

    results = []
    thread = threading.Thread(target=wait)
    thread.start()
    waiting(condition)
    with condition:
        condition.notify()
    thread.join()
    assert results == [True, True, False]


def test_waiting_for_a_predicate(condition):
    state = 0
    results = []

    def wait():
        with condition:
            results.append(condition.wait_for(lambda: state == 3 and "three", LONG))

    thread = threading.Thread(target=wait)
    thread.start()
    for number in (1, 2, 3):
        waiting(condition)
        with condition:
            state = number
            condition.notify()
            assert condition.waiters() == 0
    thread.join()
    assert results == ["three"]
    with condition:
        assert condition.wait_for(lambda: False, 0.01) is False
        assert condition.wait_for(lambda: [], 0) == []
        assert condition.wait_for(lambda: 5) == 5
        with pytest.raises(TypeError, match="timeout is a number of seconds, not str: '1'"):
            condition.wait_for(lambda: False, "1")


@pytest.mark.parametrize(
    "use", [lambda c: c.wait(), lambda c: c.wait(0), lambda c: c.notify(), lambda c: c.notify_all()]
)
def test_without_the_lock_nothing_is_done(condition, use):
    with pytest.raises(RuntimeError, match="acquire it first"):
        use(condition)
    other = Condition(condition.name)
    with other, pytest.raises(RuntimeError, match="acquire it first"):
        use(condition)
    assert values(condition) == [1] + [0] * places.MOST


@pytest.mark.parametrize(
    ("use", "error"),
    [
        (lambda c: c.wait("1"), TypeError),
        (lambda c: c.wait(float("nan")), ValueError),
        (lambda c: c.wait(1e300), OverflowError),
        (lambda c: c.wait(1, 2), TypeError),
        (lambda c: c.notify(-1), ValueError),
        (lambda c: c.notify("1"), TypeError),
        (lambda c: c.notify(1.0), TypeError),
    ],
)
def test_senseless_arguments_are_refused(condition, use, error):
    with condition:
        with pytest.raises(error):
            use(condition)
        assert condition.held()
        condition.notify(1 << 62)


def test_opening(name):
    with pytest.raises(NotFound, match=name):
        Condition.attach(name)
    condition = Condition.create(name)
    try:
        with pytest.raises(NameExists):
            Condition.create(name)
        with pytest.raises(WrongKind, match="condition"):
            Lock(name)
        by_key, by_id = Condition(key=condition.key), Condition(semid=condition.semid)
        waiters = [Waiter(by_key), Waiter(by_id)]
        with condition:
            condition.notify_all()
        assert [waiter.end() for waiter in waiters] == [True, True]
        for lock in (threading.Lock(), "lock", 5):
            with pytest.raises(TypeError, match="lock is"):
                Condition(name, lock)
        with pytest.raises(ValueError, match="on_owner_died"):
            Condition(name, on_owner_died="shout")
    finally:
        condition.unlink()
    lock = Lock(name)
    with pytest.raises(WrongKind):
        Condition(name)
    lock.unlink()


def test_there_are_places_for_so_many(condition):
    with condition:
        taken = [condition._enter() for _ in range(places.MOST)]
        assert sorted(taken) == list(range(places.MOST))
        with pytest.raises(LimitReached, match="248 wait already"):
            condition.wait(LONG)
        assert condition.held()
        condition._leave(taken[7], False)
        assert condition.wait(0) is False
        # Of one that died there is a place as well.
        condition._abandon(taken[8])
        assert condition.wait(0) is False
        condition.notify_all()
        assert condition.waiters() == 0
        for place in taken[:7] + taken[9:]:
            assert condition._leave(place, False) is True
    assert values(condition) == [1] + [0] * places.MOST


# ------------------------------------------------------------------------------------------------------- whose lock


def test_what_was_taken_by_an_object_that_is_closed_while_its_thread_waits_is_forgotten(names):
    lock, other = (RLock(name) for name in [names()] * 2)
    condition = Condition(names(), lock)
    for closes in (False, True):
        lock.acquire()
        other.acquire()
        end = threading.Thread(target=lambda: wait_until(condition.waiters, "it to wait") or other.close())
        if closes:
            end.start()
        assert condition.wait(0.3) is False
        if closes:
            end.join()
        else:
            other.release()
            assert lock.held()
        lock.release()
        assert not lock.held() and not lock.locked()
    for each in (condition, lock):
        each.unlink()


def test_threads_wait_that_have_it_by_way_of_the_same_other_object(names):
    """Each has it again by way of that, as often as before: one gives the lock, the next has it and waits."""
    lock, other = (RLock(name) for name in [names()] * 2)
    condition = Condition(names(), lock)
    ended = []

    def wait(times):
        for _ in range(times):
            other.acquire()
        with condition:
            condition.wait(LONG)
            assert other.held()
        assert other.held() and lock.locked()
        for left in reversed(range(times)):
            other.release()
            assert other.held() == bool(left)
        ended.append(times)

    for _ in range(3):
        threads = [threading.Thread(target=wait, args=(1 + number,)) for number in range(4)]
        for count, thread in enumerate(threads):
            thread.start()
            wait_until(lambda count=count: condition.waiters() == count + 1, "it to wait")
        with condition:
            condition.notify_all()
        for thread in threads:
            thread.join(LONG)
    assert sorted(ended) == sorted([1, 2, 3, 4] * 3) and not lock.locked()
    for each in (condition, lock):
        each.unlink()


@pytest.mark.parametrize("kind", [Lock, RLock])
def test_conditions_share_a_lock(names, kind):
    lock = kind(names())
    filled, emptied = (Condition(names(), kind(lock.name)) for _ in range(2))
    items: list[int] = []
    got = []

    def consume():
        for _ in range(200):
            with filled:
                while not items:
                    filled.wait(LONG)
                got.append(items.pop())
                with contextlib.suppress(RuntimeError):  # each has its object for the one lock
                    emptied.notify()
            with emptied:
                emptied.notify()

    def produce():
        for number in range(200):
            with emptied:
                while len(items) >= 2:
                    emptied.wait(LONG)
                items.append(number)
            with filled:
                filled.notify()

    try:
        threads = [threading.Thread(target=run) for run in (consume, produce)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        assert sorted(got) == list(range(200))
    finally:
        for each in (filled, emptied, lock):
            each.unlink()


def test_two_conditions_on_one_object(names):
    lock = Lock(names())
    first, second = Condition(names(), lock), Condition(names(), lock)
    try:
        assert first.lock is lock and not first.own
        with lock:
            assert first.held() and second.held()
            first.notify()
            assert second.wait(0) is False
            assert lock.held()
            with pytest.raises(RuntimeError, match="holds it already"):
                first.acquire()
        waiter = Waiter(second)
        with first:
            first.notify_all()
            assert second.waiters() == 1
            second.notify_all()
        assert waiter.end() is True
    finally:
        for each in (first, second, lock):
            each.unlink()


def test_another_lock_than_others_have_is_refused(names):
    name, lock, other = names(), Lock(names()), Lock(names())
    condition = Condition(name, lock)
    try:
        for wrong in (None, other):
            with pytest.raises(WrongKind, match=rf"another lock: lock '{lock.name}' \(key {lock.key:#x}\); give"):
                Condition(name, wrong)
        Condition(name, Lock(lock.name)).close()
    finally:
        for each in (condition, lock, other):
            each.unlink()


@pytest.mark.parametrize("which", ["own", "of a pool", "by key", "gone"])
def test_who_gives_another_lock_is_told_which_others_have(names, which):
    name, other = names(), names()
    key = key_of(other)
    pool = LockPool(other, 4) if which == "of a pool" else None
    if pool is not None:
        lock, says = pool[2], f"lock 2 of lock pool '{other}' (key {key:#x})"
    elif which == "own":
        lock, says = None, "its own (lock=None)"
    elif which == "by key":
        lock, says = Lock(key=key), f"lock (key {key:#x})"
    else:
        lock, says = Lock(other), f"semaphore 0 of the set with key {key:#x}"
    condition, wrong = Condition(name, lock), Lock(names())
    if which == "gone":
        lock.unlink()
    try:
        with pytest.raises(WrongKind) as caught:
            Condition.attach(name, wrong)
        assert f"another lock: {says}; give it the same" in str(caught.value)
    finally:
        for each in (condition, wrong, pool or lock or condition):
            each.unlink()


# --------------------------------------------------------------------------------------------------- between processes


def test_processes_notify_each_other(condition, shared):
    """Each takes its turn: nobody is woken twice, nobody sleeps for ever."""
    turns, parties = scaled(300), 3

    def play(mine):
        here = Condition.attach(condition.name)
        for turn in range(turns):
            with here:
                while shared[0] != turn * parties + mine:
                    here.wait(LONG)
                shared[0] += 1
                here.notify_all()

    children = [Child(play, mine) for mine in range(parties)]
    assert [child.wait() for child in children] == [0] * parties
    assert shared[0] == turns * parties
    assert values(condition) == [1] + [0] * places.MOST


def test_each_of_many_items_is_taken_by_one(condition, shared):
    """One notification for an item: were one lost, somebody would sleep beside an item."""
    items, consumers = scaled(600), 4

    def consume():
        here = Condition.attach(condition.name)
        while True:
            with here:
                while not shared[0]:
                    if shared[1] == items:
                        return
                    here.wait(LONG)
                shared[0] -= 1
                shared[1] += 1
                if shared[1] == items:
                    here.notify_all()

    children = [Child(consume) for _ in range(consumers)]
    for _ in range(items):
        with condition:
            shared[0] += 1
            condition.notify()
    assert [child.wait() for child in children] == [0] * consumers
    assert values(condition) == [1] + [0] * places.MOST


def test_a_waiter_of_another_pid_namespace_is_not_taken_for_dead(condition):
    """Its pid means nothing there, or somebody else."""

    def notify():
        assert os.getpid() == 1
        assert condition.waiters() == 2
        with condition:
            condition.notify()
        assert condition.waiters() == 1

    waiters = [Waiter(condition), Waiter(condition)]
    assert in_new_namespace(CLONE_NEWPID, notify) == 0
    assert waiters[0].end() is True and condition.waiters() == 1
    with condition:
        condition.notify()
    assert waiters[1].end() is True


def test_who_is_killed_in_another_pid_namespace_is_dead(condition):
    def wait():
        condition.acquire()
        signal.setitimer(signal.ITIMER_REAL, 0.01)  # whose signal kills
        condition.wait()

    def run():
        child = Child(wait)
        assert os.getpid() == 1 and child.wait() == -signal.SIGALRM

    assert in_new_namespace(CLONE_NEWPID, run) == 0
    waiter = Waiter(condition)
    with condition:
        condition.notify()
    assert waiter.end() is True


def test_more_are_woken_than_one_call_can(name):
    """Where SEMOPM is low: they are woken one by one."""

    def run():
        with open("/proc/sys/kernel/sem", "w") as limits:
            limits.write("250 32000 10 128")
        condition = Condition(name)
        with condition:
            taken = [condition._enter() for _ in range(30)]
            condition.notify_all()
            assert values(condition)[1:31] == [3] * 30
            for place in taken:
                assert condition._leave(place, False) is True

    assert in_new_namespace(CLONE_NEWIPC, run) == 0


def test_a_forked_child_is_not_a_waiter(condition):
    def child():
        assert condition.waiters() == 1
        with condition:
            condition.notify()
        assert condition.waiters() == 0

    waiter = Waiter(condition)
    assert Child(child).wait() == 0
    assert waiter.end() is True


def states_of_children(pid: int) -> list[str]:
    """Of the children of a process, what they do: a letter, as in proc(5)."""
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        pids = children.read().split()
    states = []
    for each in pids:
        with open(f"/proc/{each}/stat") as stat:
            states.append(stat.read().rpartition(")")[2].split()[0])
    return states


def test_a_fork_in_the_midst_of_a_wait(condition):
    """By a signal's handler: the child has neither the place nor the lock, and the parent waits on."""

    def wait():
        forked = []

        def fork(*_):
            forked.append(os.fork())

        signal.signal(signal.SIGUSR1, fork)
        with contextlib.ExitStack() as stack:
            stack.enter_context(condition)
            try:
                woken = condition.wait(LONG)
            except RuntimeError as error:
                os._exit(30 if "forked" in str(error) and not condition.held() else 31)
        _, status = os.waitpid(forked[0], 0)
        assert os.waitstatus_to_exitcode(status) == 30
        sys.exit(10 if woken else 20)

    child = Child(wait)
    asleep(condition)
    child.signal(signal.SIGUSR1)
    # Its child ends at once, and not when the wait does.
    wait_until(lambda: any(state == "Z" for state in states_of_children(child.pid)), "the end of its child")
    assert condition.waiters() == 1
    with condition:
        condition.notify()
    assert child.wait() == 10
    assert values(condition) == [1] + [0] * places.MOST


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_it_is_passed_to_other_processes(condition, method):
    import multiprocessing

    context = multiprocessing.get_context(method)
    process = context.Process(target=_notify_when_somebody_waits, args=(condition,))
    with condition:
        process.start()
        assert condition.wait(LONG) is True
    process.join()
    assert process.exitcode == 0


def _notify_when_somebody_waits(condition: Condition) -> None:
    with condition:
        assert condition.waiters() == 1
        condition.notify()


def test_pickles(condition, names):
    again = pickle.loads(pickle.dumps(condition))
    assert again.semid == condition.semid and again is not condition
    lock = Lock(names(), on_owner_died="raise")
    guarded = Condition(names(), lock)
    try:
        again = pickle.loads(pickle.dumps(guarded))
        assert again.lock.semid == lock.semid and again.lock.on_owner_died == "raise"
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(condition.lock)
    finally:
        guarded.unlink()
        lock.unlink()
    with pytest.raises(NotFound):
        pickle.loads(pickle.dumps(guarded))


# ---------------------------------------------------------------------------------------------------------- killed


def test_who_was_killed_while_it_waited_is_not_notified(condition):
    victim = wait_in_child(condition)
    waiter = Waiter(condition)
    victim.kill()
    assert condition.waiters() == 1
    with condition:
        condition.notify()
    assert waiter.end() is True
    assert values(condition) == [1] + [0] * places.MOST


@pytest.mark.parametrize("noticed", [False, True])
def test_a_notification_goes_on_from_who_was_killed_with_it(condition, noticed):
    """Before it noticed (it is stopped), and when it waits for the lock already."""
    victim = wait_in_child(condition)
    waiters = [Waiter(condition), Waiter(condition)]
    if not noticed:
        asleep(condition, 3)
        victim.signal(signal.SIGSTOP)
    with condition:
        condition.notify()
        assert condition.waiters() == 2
        if noticed:
            waits_for_lock(condition)
        victim.kill()
    assert waiters[0].end() is True
    # And to nobody else: what is left is one who lives.
    assert condition.waiters() == 1 and sum(values(condition)) == 1 + 1
    with condition:
        condition.notify_all()
    assert waiters[1].end() is True
    assert values(condition) == [1] + [0] * places.MOST


def test_it_does_not_go_on_to_who_came_later(condition):
    victim = wait_in_child(condition)
    asleep(condition)
    victim.signal(signal.SIGSTOP)
    with condition:
        condition.notify()
    with condition:
        later = condition._enter()
    victim.kill()
    with condition:
        assert condition._woken(later) is False  # which settles what the dead have left
        assert condition._leave(later, False) is False
    assert values(condition) == [1] + [0] * places.MOST


def test_a_zombie_is_dead(condition):
    """Its parent has not waited for it, so its pid still is somebody's."""
    victim = wait_in_child(condition)
    os.kill(victim.pid, signal.SIGKILL)
    wait_until(lambda: condition.waiters() == 0, "its end")
    waiter = Waiter(condition)
    with condition:
        condition.notify()
    assert waiter.end() is True
    victim.kill()


def test_who_notifies_is_killed_before_it_has_woken_them(condition):
    """The words say that it is woken, the semaphore does not: the waiter looks at the words now and then."""
    waiter = Waiter(condition)
    asleep(condition)
    companion = ffi.from_buffer("char[]", condition._segment.mapping)
    words = ffi.cast("struct semshare_places *", companion + ffi.sizeof("struct semshare_lock_segment"))
    assert words.waiters[0].state == lib.SEMSHARE_WAITER_WAITS
    words.waiters[0].state = lib.SEMSHARE_WAITER_WOKEN
    assert waiter.end() is True
    assert values(condition) == [1] + [0] * places.MOST


def test_who_holds_the_lock_is_killed(name):
    """A waiter that has the lock again finds out, as any owner does."""
    found = []
    condition = Condition(name, on_owner_died=lambda lock, died: found.append((lock, died)))

    def hold():
        condition.acquire()
        condition.notify()
        os.kill(os.getpid(), signal.SIGKILL)

    try:
        waiter = Waiter(condition)
        child = Child(hold)
        assert child.wait() == -signal.SIGKILL
        assert waiter.end() is True
        assert found[0][0] is condition.lock and found[0][1].pid == child.pid
        with condition:
            assert condition.suspect and condition.owner_died is not None
            condition.mark_consistent()
            assert not condition.suspect
    finally:
        condition.unlink()


def test_a_death_that_is_raised_leaves_with_the_lock_held(name):
    condition = Condition(name, on_owner_died="raise")
    held = []

    def wait():
        with condition:
            try:
                condition.wait(LONG)
            except OwnerDied:
                held.append(condition.held())

    def hold():
        condition.acquire()
        condition.notify()
        os.kill(os.getpid(), signal.SIGKILL)

    try:
        thread = threading.Thread(target=wait)
        thread.start()
        waiting(condition)
        assert Child(hold).wait() == -signal.SIGKILL
        thread.join()
        assert held == [True]
        with pytest.raises(OwnerDied), condition:
            pass
        assert not condition.locked() and condition.waiters() == 0
    finally:
        condition.unlink()


def test_consumers_are_killed_at_any_moment(condition, shared):
    """Notifications are for one each, so an item that nobody takes would show one that was lost."""
    items = scaled(400)

    def consume():
        here = Condition.attach(condition.name, on_owner_died=lambda lock, died: lock.mark_consistent())
        while True:
            with here:
                while not shared[0]:
                    if shared[1]:
                        return
                    here.wait(LONG)
                shared[0] -= 1

    condition._lock.on_owner_died = lambda lock, died: lock.mark_consistent()
    dice = random.Random(5)
    survivors = [Child(consume) for _ in range(2)]
    victims = [Child(consume) for _ in range(3)]
    for turn in range(items):
        with condition:
            shared[0] += 1
            condition.notify()
        if turn % 10 == 0:
            victims.append(Child(consume))
            victims.pop(dice.randrange(3)).kill()
        elif turn % 3 == 0:
            time.sleep(dice.random() * 0.001)
    wait_until(lambda: shared[0] == 0, "all items to be taken")
    with condition:
        shared[1] = 1
        condition.notify_all()
    assert [child.wait() for child in [*survivors, *victims]] == [0] * 5
    assert values(condition) == [1] + [0] * places.MOST


# ------------------------------------------------------------------------------------------- time, signals, the end


def test_the_time_of_some_is_over_as_they_are_notified(condition):
    """So many are told that they were notified as were: counted by how many waited when it was done."""
    told = 0
    for turn in range(scaled(30)):
        waiters = [Waiter(condition, timeout=0.002 * (1 + number % 3)) for number in range(6)]
        time.sleep(0.001 * (turn % 7))
        with condition:
            before = condition.waiters()
            condition.notify(3)
            given = before - condition.waiters()
        assert given == min(3, before)
        ended = [waiter.end() for waiter in waiters]
        assert ended.count(True) == given
        told += given
    assert values(condition) == [1] + [0] * places.MOST


def test_ctrl_c_leaves_with_the_lock_held(condition):
    def wait():
        condition.acquire()
        try:
            condition.wait()
        except KeyboardInterrupt:
            assert condition.held() and condition.waiters() == 0
            condition.release()
            sys.exit(42)

    child = Child(wait)
    asleep(condition)
    child.signal(signal.SIGINT)
    assert child.wait() == 42
    assert values(condition) == [1] + [0] * places.MOST


def test_ctrl_c_while_others_have_the_lock(condition, shared):
    """It has to wait for that, however often one hits the keys; then the first of them counts."""

    def wait():
        def interrupt(*_):
            shared[0] += 1
            raise KeyboardInterrupt(str(shared[0]))

        signal.signal(signal.SIGINT, interrupt)
        condition.acquire()
        try:
            condition.wait()
        except KeyboardInterrupt as interrupted:
            assert condition.held() and str(interrupted) == "1"
            sys.exit(42)

    child = Child(wait)
    asleep(condition)
    with condition:
        for hit in (1, 2, 3):
            child.signal(signal.SIGINT)
            wait_until(lambda hit=hit: shared[0] == hit, "the handler")
            waits_for_lock(condition)
    assert child.wait() == 42


def test_one_that_is_interrupted_lets_its_notification_go_on(condition):
    def wait():
        condition.acquire()
        try:
            condition.wait()
        except KeyboardInterrupt:
            condition.release()
            sys.exit(42)

    child = Child(wait)
    waiting(condition)
    waiter = Waiter(condition)
    with condition:
        condition.notify()
        waits_for_lock(condition)
        child.signal(signal.SIGINT)
        time.sleep(0.05)
    # Either it was notified and then interrupted, when it had returned, or it was interrupted before.
    status = child.wait()
    if status == 42:
        assert waiter.end() is True
    else:
        with condition:
            condition.notify()
        assert waiter.end() is True


def test_signals_do_not_end_a_wait_nor_prolong_it(condition, shared):
    def wait(timeout):
        def count(*_):
            shared[0] += 1

        signal.signal(signal.SIGALRM, count)
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        with condition:
            woken = condition.wait(timeout)
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.exit(10 if woken else 20)

    assert Child(wait, 0.1).wait() == 20
    shared[0] = 0
    child = Child(wait, None)
    wait_until(lambda: shared[0] > 20 and condition.waiters() == 1, "signals")
    with condition:
        condition.notify()
    assert child.wait() == 10


def test_signals_at_any_moment_lose_no_notification(condition, shared):
    """A handler that raises at any moment, in processes that take items: as in the test of those that are killed."""

    class Poke(Exception):
        pass

    items = scaled(300)

    def consume():
        def poke(*_):
            raise Poke

        here = Condition.attach(condition.name)
        signal.signal(signal.SIGALRM, poke)
        dice = random.Random(os.getpid())
        while True:
            try:
                signal.setitimer(signal.ITIMER_REAL, dice.random() * 0.004 + 1e-6)
                with here:
                    while not shared[0]:
                        if shared[1]:
                            signal.setitimer(signal.ITIMER_REAL, 0)
                            return
                        here.wait(LONG)
                    shared[0] -= 1
            except Poke:
                assert not here.held()

    children = [Child(consume) for _ in range(3)]
    for turn in range(items):
        with condition:
            shared[0] += 1
            condition.notify()
        if turn % 3 == 0:
            time.sleep(0.001)
    wait_until(lambda: shared[0] == 0, "all items to be taken")
    with condition:
        shared[1] = 1
        condition.notify_all()
    for child in children:
        child.wait()
    assert values(condition) == [1] + [0] * places.MOST


def test_removal_reaches_who_waits(condition):
    waiters = [Waiter(condition) for _ in range(3)]
    child = wait_in_child(condition)
    condition.unlink()
    for waiter in waiters:
        error = waiter.end()
        assert isinstance(error, Removed) and condition.name in str(error)
    assert child.wait() == 1
    with pytest.raises(Removed), condition:
        pass


def test_removal_under_a_lock_that_stays(names):
    lock = Lock(names())
    condition = Condition(names(), lock)
    states = []

    def wait():
        with lock:
            try:
                condition.wait()
            except Removed:
                states.append(lock.held())

    thread = threading.Thread(target=wait)
    thread.start()
    waiting(condition)
    condition.unlink()
    thread.join()
    assert states == [True] and not lock.locked()
    lock.unlink()


def test_removal_of_the_lock_alone(names):
    lock = Lock(names())
    condition = Condition(names(), lock)
    waiter = Waiter(condition)
    lock.acquire()
    condition.notify()
    lock.unlink()
    with pytest.raises(Removed):
        lock.release()
    assert isinstance(waiter.end(), Removed)
    assert condition.waiters() == 0
    condition.unlink()


def test_closing_sends_waiting_threads_home(condition):
    other = Condition(condition.name)
    waiters = [Waiter(other), Waiter(other)]
    stays = Waiter(condition)
    other.close()
    for waiter in waiters:
        error = waiter.end()
        assert isinstance(error, ValueError) and "closed" in str(error)
    assert other.closed and "closed" in repr(other)
    other.close()
    for use in (other.wait, other.notify, other.notify_all, other.waiters, other.acquire, other.__enter__):
        with pytest.raises(ValueError, match="closed"):
            use()
    assert condition.waiters() == 1
    with condition:
        condition.notify()
    assert stays.end() is True
    assert values(condition) == [1] + [0] * places.MOST


def test_closing_under_a_lock_of_others_gives_that_back(names):
    lock = Lock(names())
    condition = Condition(names(), lock)
    held = []

    def wait():
        with lock:
            try:
                condition.wait()
            except ValueError:
                held.append(lock.held())

    thread = threading.Thread(target=wait)
    thread.start()
    waiting(condition)
    condition.close()
    thread.join()
    assert held == [True] and not lock.locked()
    for each in (Condition(condition.name, lock), lock):
        each.unlink()


def test_one_that_is_held_is_not_closed(condition):
    with condition, pytest.raises(RuntimeError, match="release it first"):
        condition.close()
    assert not condition.closed
    with condition:
        assert condition.wait(0) is False


def test_nothing_is_left_when_python_ends_while_it_waits(condition):
    code = (
        "import threading, semshare\n"
        f"condition = semshare.Condition({condition.name!r})\n"
        "def wait():\n"
        "    with condition: condition.wait()\n"
        "threading.Thread(target=wait, daemon=True).start()\n"
        "while not condition.waiters(): pass\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert condition.waiters() == 0
    waiter = Waiter(condition)
    with condition:
        condition.notify()
    assert waiter.end() is True


# --------------------------------------------------------------------------------------------------- against a model


class Model(RuleBasedStateMachine):
    """All that can happen to waiters, one thing at a time, and who is notified then.

    A wait goes piece by piece; to be gone without the lock is, to all others, to have been killed.
    """

    names = None  # set below

    def __init__(self) -> None:
        super().__init__()
        self.condition = Condition(type(self).names())
        self.clock = 0
        self.waits: list[tuple[int, int]] = []  # since when, in which place: longest first
        self.woken: dict[int, tuple[int, int]] = {}  # by place: since when it waited, and when it was notified
        self.orphans: list[int] = []  # when notifications were given whose waiters died

    def teardown(self) -> None:
        self.condition.unlink()

    def _tick(self) -> int:
        self.clock += 1
        return self.clock

    def _go_on(self, given: int) -> None:
        """A notification goes to who waits longest of those who waited then."""
        for index, (since, place) in enumerate(self.waits):
            if since < given:
                del self.waits[index]
                self.woken[place] = (since, given)
                return

    def _settle(self) -> None:
        # In the order of their places, which decides nothing if each is of its own moment: the model says who has one,
        # not which.
        for given in sorted(self.orphans):
            self._go_on(given)
        self.orphans.clear()

    @initialize()
    def begin(self) -> None:
        with self.condition:
            assert self.condition.wait(0) is False

    @precondition(lambda self: len(self.waits) + len(self.woken) < 12)
    @rule()
    def enter(self) -> None:
        with self.condition:
            self.waits.append((self._tick(), self.condition._enter()))

    @rule(count=st.integers(0, 4))
    def notify(self, count: int) -> None:
        with self.condition:
            self.condition.notify(count)
        now = self._tick()
        for _ in range(count):
            self._go_on(now)

    @rule()
    def notify_all(self) -> None:
        with self.condition:
            self.condition.notify_all()
        now = self._tick()
        while self.waits:
            self._go_on(now)

    @precondition(lambda self: self.waits)
    @rule(data=st.data())
    def die_waiting(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.waits))
        self.waits.remove(entry)
        self.condition._abandon(entry[1])

    @precondition(lambda self: self.woken and not self.orphans)
    @rule(data=st.data(), noticed=st.booleans())
    def die_woken(self, data: st.DataObject, noticed: bool) -> None:
        place = data.draw(st.sampled_from(sorted(self.woken)))
        if noticed:
            assert self.condition._sleep(place, 0) is True
        self.condition._abandon(place)
        self.orphans.append(self.woken.pop(place)[1])

    @precondition(lambda self: self.waits)
    @rule(data=st.data(), interrupted=st.booleans())
    def leave_waiting(self, data: st.DataObject, interrupted: bool) -> None:
        entry = data.draw(st.sampled_from(self.waits))
        with self.condition:
            # Whoever has the lock again settles first, and may be the one that it goes on to.
            notified = self.condition._woken(entry[1])
            self._settle()
            assert notified == (entry[1] in self.woken)
            assert self.condition._leave(entry[1], interrupted) is (notified and not interrupted)
        if not notified:
            self.waits.remove(entry)
            return
        _, given = self.woken.pop(entry[1])
        if interrupted:
            self._go_on(given)

    @precondition(lambda self: self.woken)
    @rule(data=st.data(), interrupted=st.booleans())
    def leave_woken(self, data: st.DataObject, interrupted: bool) -> None:
        place = data.draw(st.sampled_from(sorted(self.woken)))
        with self.condition:
            assert self.condition._woken(place)
            self._settle()
            assert self.condition._leave(place, interrupted) is (not interrupted)
        _, given = self.woken.pop(place)
        if interrupted:
            self._go_on(given)

    @invariant()
    def who_is_notified_is_as_the_model_says(self) -> None:
        assert self.condition.waiters() == len(self.waits)
        for place in self.woken:
            assert self.condition._sleep(place, 0) is True
        if not self.orphans:
            for _, place in self.waits:
                assert self.condition._sleep(place, 0) is False


def test_a_condition_does_what_its_model_does(names):
    """The state machine above, whose conditions are named as those of a test."""
    from hypothesis.stateful import run_state_machine_as_test

    Model.names = names
    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=scaled(25), stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
