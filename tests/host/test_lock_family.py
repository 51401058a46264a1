# SPDX-License-Identifier: MIT
"""What all locks have in common, ours and those that Python people have had before: the same tests for each."""

from __future__ import annotations

import gc
import logging
import mmap
import os
import random
import signal
import statistics
import sys
import threading
import time
import traceback
from typing import Callable

import pytest
from effort import EFFORT, scaled
from lock_factories import LOCKS, OTHERS, Can, Factory
from processes import LIMIT, Child, Gate, wait_until
from semshare._abi import lib

from semshare import Lock, OwnerDied, Removed, RWLock, Semaphore, SemaphoreSet, key_of

SOON = 0.05
"""Seconds that a wait takes which is to end by itself."""


class Made:
    """A lock to be tested, and what else stands for it."""

    def __init__(self, kind: Factory, name: str) -> None:
        self.kind = kind
        self.can = kind.can
        self.name = name
        self.whole = kind.make(name)
        """What has waiters(), close() and unlink()."""
        self.lock = kind.lock(self.whole)

    def again(self):
        """Another object for the same lock; of what has no name, the object."""
        return self.kind(self.name) if self.can & Can.NAME else self.lock

    def excluded(self):
        """What cannot be had while somebody has it."""
        return self.again() if self.can & Can.EXCLUDE else RWLock(self.name).write()

    def free(self) -> bool:
        """Whether somebody else could have it now."""

        def look() -> None:
            lock = self.excluded()
            if not lock.acquire(False):
                sys.exit(10)
            lock.release()

        # To others that are forked behind its back, what multiprocessing's has taken is theirs, too.
        runner = Child(look) if self.can & Can.NAME else Thread(look)
        code = runner.wait()
        assert code in (0, 10)
        return code == 0

    def asleep(self) -> int:
        """How many sleep who wait for it."""
        semaphores = SemaphoreSet(semid=self.whole.semid)
        return sum(semaphores.waiters(n) + semaphores.zero_waiters(n) for n in range(len(semaphores.values())))


class Thread:
    """As Child, a thread."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._code = 1
        self._thread = threading.Thread(target=self._run, args=(function, *arguments), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            function(*arguments)
            self._code = 0
        except SystemExit as end:
            self._code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()

    def wait(self) -> int:
        self._thread.join(LIMIT)
        assert not self._thread.is_alive(), f"a thread did not end in {LIMIT:.0f} s"
        return self._code


def each(can: Can, but: Can | None = None):
    """For each lock that can all that, and nothing of the other."""
    kinds = [kind for kind in LOCKS + OTHERS if kind.can & can == can and not (but and kind.can & but)]
    return pytest.mark.parametrize("made", kinds, ids=[kind.id for kind in kinds], indirect=True)


@pytest.fixture
def made(request, name):
    made = Made(request.param, name)
    yield made
    request.param.remove(name)


@pytest.fixture
def words():
    """64-bit words that forked children share, all 0."""
    return memoryview(mmap.mmap(-1, 4096)).cast("Q")


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.close()


def do_all(runner, *functions):
    """All of these at once, in threads or processes."""
    running = [runner(function) for function in functions]
    assert [each.wait() for each in running] == [0] * len(running)


class Holder:
    """Somebody else who has it: a process, or a thread where it is only one for those, until let_go() or kill()."""

    def __init__(self, lock: Callable[[], object], runner=Child) -> None:
        self._inside, self._go = Gate(), Gate()
        self._lock = lock
        self.runner = runner(self._hold)
        self._inside.pass_through()

    def _hold(self) -> None:
        lock = self._lock()
        lock.acquire()
        self._inside.open()
        self._go.pass_through()
        lock.release()

    @property
    def pid(self) -> int:
        return self.runner.pid

    def let_go(self) -> None:
        self._go.open()
        assert self.runner.wait() == 0
        self._inside.close(), self._go.close()

    def kill(self) -> None:
        self.runner.kill()
        self._inside.close(), self._go.close()

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.let_go()


def closing(made: Made):
    """What is closed: of what is only part of something, that."""
    return made.lock if hasattr(made.lock, "close") else made.whole


def held_elsewhere(made: Made) -> Holder:
    """Somebody who keeps it from everybody else."""
    return Holder(made.excluded, Child if made.can & Can.SHARE else Thread)


# ------------------------------------------------------------------------------------------------------------ exclusion


TURNS = scaled(2000, 300)


def add_often(lock, words, again: bool) -> None:
    """Add 1, so that it shows if somebody else does at the same time."""
    for turn in range(TURNS):
        with lock:
            seen = words[0]
            if turn % 16 == 0:
                time.sleep(0)  # let others run
            if again and turn % 8 == 0:
                with lock:
                    words[0] = seen + 1
            else:
                words[0] = seen + 1


@each(Can.EXCLUDE)
def test_threads_that_use_one_object_exclude_each_other(made, words):
    do_all(Thread, *[lambda: add_often(made.lock, words, bool(made.can & Can.AGAIN))] * 3)
    assert words[0] == 3 * TURNS
    assert made.free()


@each(Can.EXCLUDE | Can.NAME)
def test_threads_that_use_an_object_each_exclude_each_other(made, words):
    do_all(Thread, *[lambda: add_often(made.again(), words, bool(made.can & Can.AGAIN))] * 3)
    assert words[0] == 3 * TURNS
    assert made.free()


@each(Can.EXCLUDE | Can.SHARE)
def test_processes_exclude_each_other(made, words):
    do_all(Child, *[lambda: add_often(made.again(), words, bool(made.can & Can.AGAIN))] * 3)
    assert words[0] == 3 * TURNS
    assert made.free()


@each(Can.EXCLUDE | Can.SHARE)
def test_threads_of_several_processes_exclude_each_other(made, words):
    def child() -> None:
        do_all(Thread, *[lambda: add_often(made.lock, words, bool(made.can & Can.AGAIN))] * 2)

    do_all(Child, child, child)
    assert words[0] == 4 * TURNS
    assert made.free()


@pytest.mark.parametrize("runner", [Thread, Child])
def test_readers_see_nothing_that_is_half_written(runner, name, words):
    lock = RWLock(name)

    def write() -> None:
        mine = RWLock(name)
        for _ in range(TURNS // 2):
            with mine.write():
                words[0] += 1
                time.sleep(0)
                words[1] = words[0]

    def read() -> None:
        mine = RWLock(name)
        last = 0
        while last < TURNS:
            with mine.read():
                last = words[0]
                assert words[1] == last

    try:
        do_all(runner, write, write, read, read)
        assert words[0] == words[1] == TURNS // 2 * 2
    finally:
        lock.unlink()


@pytest.mark.parametrize("runner", [Thread, Child])
def test_readers_are_inside_together(runner, name):
    lock = RWLock(name)
    inside, go = Gate(), Gate()

    def read() -> None:
        with RWLock(name).read():
            inside.open()
            go.pass_through()

    try:
        readers = [runner(read) for _ in range(3)]
        for _ in readers:
            inside.pass_through()
        assert lock.readers() == 3 and not lock.write().acquire(False)
        go.open(3)
        assert [reader.wait() for reader in readers] == [0] * 3
        assert lock.readers() == 0
    finally:
        lock.unlink()
        inside.close(), go.close()


@each(Can.AGAIN)
def test_who_has_it_may_take_it_again_and_gives_it_back_as_often(made):
    for _ in range(2):
        assert made.lock.acquire()
    with made.lock:
        assert made.lock.acquire(False)
    for _ in range(3):
        assert not made.free()
        made.lock.release()
    assert made.free()
    with pytest.raises((RuntimeError, AssertionError)):
        made.lock.release()


@each(Can.AGAIN | Can.OURS)
def test_who_has_it_may_take_it_again_by_way_of_another_object(made):
    """And gives it back by way of each as often as it has taken it by way of that."""
    other = made.again()
    with made.lock:
        with other:
            other.acquire()
            assert other.held() and made.lock.held()
        assert other.held()
        other.release()
        assert not other.held() and made.lock.held() and not made.free()
        with pytest.raises(RuntimeError):
            other.release()
        other.acquire()
    assert other.held() and not made.lock.held() and not made.free()
    other.release()
    assert made.free()


@each(Can.OURS)
def test_an_exception_inside_gives_it_back(made):
    with pytest.raises(ZeroDivisionError), made.lock as entered:
        assert entered is made.lock
        assert not made.free()
        raise ZeroDivisionError
    assert made.free()


# ----------------------------------------------------------------------------------------------------------- overtaking

QUOTA = scaled(200, 40)


def compete(made: Made, runner, words) -> tuple[int, list[int]]:
    """Three that hammer, until the slowest has been inside QUOTA times.

    Returns how often they were inside, and by how many others each was overtaken at worst.
    """
    runners = 3

    def hammer(number: int) -> None:
        lock = made.again()
        count = most = 0
        while words[1] < runners:
            asked = words[0]
            with lock:
                most = max(most, words[0] - asked)
                words[0] += 1
                count += 1
                words[1] += count == QUOTA
        words[2 + number] = most

    do_all(runner, *[lambda number=number: hammer(number) for number in range(runners)])
    return words[0], list(words[2 : 2 + runners])


@each(Can.EXCLUDE | Can.TIME, but=Can.AGAIN)
def test_who_has_it_and_does_not_wait_for_it_is_told_that_it_is_taken(made):
    with made.lock:
        assert made.lock.acquire(False) is False
        assert made.lock.acquire(timeout=0) is False
    assert made.free()


@each(Can.OURS)
def test_nothing_is_left_of_one_that_is_removed_after_it_was_closed(made):
    made.whole.close()
    made.whole.unlink()
    assert lib.semget(key_of(made.name), 0, 0) < 0 and lib.shmget(key_of(made.name), 0, 0) < 0


@each(Can.EXCLUDE)
def test_no_thread_starves(made, words):
    """Who starves makes this hang: the others go on until it has had its turns."""
    count, most = compete(made, Thread, words)
    print(f"{made.kind.id}: threads, {count} turns; overtaken at worst by {most}")
    assert count >= 3 * QUOTA


@each(Can.EXCLUDE | Can.SHARE)
def test_no_process_starves(made, words):
    count, most = compete(made, Child, words)
    print(f"{made.kind.id}: processes, {count} turns; overtaken at worst by {most}")
    assert count >= 3 * QUOTA


def test_writers_do_not_starve_among_readers(name, words):
    """There always is a reader inside, as each stays until the other is; but that one lets a writer go first."""
    lock = RWLock(name)
    writes = scaled(20, 5)
    entries = words[1:3]

    def read(number: int) -> None:
        mine = RWLock(name)
        while words[0] < writes:
            with mine.read():
                entries[number] += 1
                before = entries[1 - number]
                end = time.monotonic() + SOON
                while entries[1 - number] == before and time.monotonic() < end and words[0] < writes:
                    time.sleep(0)

    def write() -> None:
        mine = RWLock(name)
        overtaken = []
        wait_until(lambda: all(entries), "the readers")
        for _ in range(writes):
            asked = sum(entries)
            with mine.write():
                overtaken.append(sum(entries) - asked)
                words[0] += 1
        print(f"writers overtaken by readers: median {statistics.median(overtaken)}, at worst {max(overtaken)}")

    try:
        do_all(Child, lambda: read(0), lambda: read(1), write)
    finally:
        lock.unlink()


@each(Can.NAME)
def test_who_sleeps_is_served_before_who_comes_again(made, words):
    """A holder gives it back and wants it again at once: those who slept are before it. (But for one whose sleep had
    just been interrupted, so the median is what counts.)"""
    waiters, rounds = 3, scaled(15, 5)
    go = Gate()
    inside = words[8 : 8 + waiters]
    left = words[16 : 16 + waiters]

    def wait(number: int) -> None:
        lock = made.again()
        for _ in range(rounds):
            go.pass_through()
            with lock:
                inside[number] = words[0]
            left[number] += 1

    children = [Child(wait, number) for number in range(waiters)]
    holder = made.excluded()
    overtaken = []
    for turn in range(rounds):
        holder.acquire()
        before = words[0]
        go.open(waiters)
        wait_until(lambda: made.asleep() == waiters, "those who wait")
        holder.release()
        while sum(left) < waiters * (turn + 1):
            with holder:
                words[0] += 1
        overtaken += [seen - before for seen in inside]
    assert [child.wait() for child in children] == [0] * waiters
    go.close()
    print(f"{made.kind.id}: overtaken while asleep: median {statistics.median(overtaken)}, at worst {max(overtaken)}")
    assert statistics.median(overtaken) <= 10


@pytest.mark.skipif(EFFORT < 1, reason="it takes ten seconds")
def test_nobody_starves_where_it_takes_seconds_until_it_is_ones_turn(names):
    """Who waits looks around each second, and so loses his place among those who sleep: he has to learn from that.

    Several kinds at once. When each has had its turn twice they are watched for as long as it takes to give each three.
    """
    runners = 13
    all_made = [Made(kind, names()) for kind in LOCKS if kind.id in ("Lock", "Semaphore", "RWLock.write")]
    counts = [memoryview(mmap.mmap(-1, 4096)).cast("Q") for _ in all_made]

    def take_turns(lock, words, number: int) -> None:
        while not words[runners]:
            with lock:
                words[number] += 1
                time.sleep(0.1)

    children = [
        Child(take_turns, made.lock, words, number)
        for made, words in zip(all_made, counts)
        for number in range(runners)
    ]
    for made, words in zip(all_made, counts):
        turns = words[:runners]
        wait_until(lambda turns=turns: min(turns) >= 2, "two turns of each")
        before = list(turns)
        wait_until(lambda turns=turns, before=before: sum(turns) >= sum(before) + 3 * runners, "three of each")
        had = [now - then for now, then in zip(turns, before)]
        print(f"{made.kind.id}: {sorted(had)} turns")
        words[runners] = 1
        assert sorted(had)[1] >= 2  # one may have been slow in coming again
    assert [child.wait() for child in children] == [0] * len(children)
    for made in all_made:
        made.kind.remove(made.name)


# -------------------------------------------------------------------------------------------------------- time, signals


@each(Can.TIME)
def test_a_timeout_of_0_does_not_wait(made):
    lock = made.again()
    with held_elsewhere(made):
        for _ in range(50):
            assert lock.acquire(False) is False
            assert lock.acquire(True, 0) is False
            if made.can & Can.OURS:
                assert lock.acquire(timeout=0.0) is False and lock.acquire(blocking=False) is False
                assert lock.acquire_nowait() is False
    assert lock.acquire(True, 0) is True
    lock.release()
    if made.can & Can.OURS:
        assert lock.acquire_nowait() is True
        lock.release()
        counted = lock.statistics()
        assert (counted.acquisitions, counted.contended) == (2, 0)
    assert made.free()


@each(Can.TIME)
def test_a_timed_wait_ends_by_itself_and_not_before_its_time(made):
    lock = made.again()
    with held_elsewhere(made):
        for _ in range(3):
            began = time.monotonic()
            assert lock.acquire(True, SOON) is False
            # That of multiprocessing follows a clock that can be set.
            assert time.monotonic() - began >= SOON or not made.can & Can.OURS
        if made.can & Can.NAME:
            assert made.asleep() == 0
    assert made.free()


@each(Can.TIME)
def test_a_timed_wait_has_it_as_soon_as_it_is_free(made):
    def wait() -> None:
        lock = made.again()
        began.open()
        assert lock.acquire(True, 10 * LIMIT) is True
        lock.release()

    began = Gate()
    with held_elsewhere(made):
        waiting = Thread(wait)
        began.pass_through()
        if made.can & Can.NAME:
            wait_until(lambda: made.asleep() == 1, "the wait")
    assert waiting.wait() == 0
    began.close()


@each(Can.TIME | Can.SHARE)
def test_interruptions_do_not_end_a_wait_nor_prolong_it(made, words):
    def wait() -> None:
        def count(*_):
            words[0] += 1

        lock = made.again()
        signal.signal(signal.SIGALRM, count)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        began = time.monotonic()
        assert lock.acquire(True, 2 * SOON) is False
        assert time.monotonic() - began >= 2 * SOON or not made.can & Can.OURS
        assert words[0] > 0
        words[1] = words[0]
        assert lock.acquire() is True
        signal.setitimer(signal.ITIMER_REAL, 0)
        lock.release()

    with held_elsewhere(made):
        child = Child(wait)
        wait_until(lambda: words[1] and words[0] > words[1] + 20, "a wait that was interrupted often")
    assert child.wait() == 0
    assert made.free()


@each(Can.TIME | Can.SHARE)
def test_who_is_stopped_while_it_waits_goes_on_waiting(made, gate):
    def wait() -> None:
        lock = made.again()
        gate.open()
        assert lock.acquire() is True
        lock.release()
        sys.exit(42)

    with held_elsewhere(made):
        child = Child(wait)
        gate.pass_through()
        for _ in range(3):
            if made.can & Can.NAME:
                wait_until(lambda: made.asleep() == 1, "the wait")
            child.signal(signal.SIGSTOP)
            os.waitid(os.P_PID, child.pid, os.WSTOPPED)
            assert not made.free()
            child.signal(signal.SIGCONT)
            os.waitid(os.P_PID, child.pid, os.WCONTINUED)
    assert child.wait() == 42
    assert made.free()


@each(Can.TIME | Can.SHARE)
def test_a_handler_that_raises_ends_the_wait_and_nothing_is_held(made, gate):
    def wait() -> None:
        try:
            lock = made.again()
            gate.open()
            lock.acquire()
        except KeyboardInterrupt:
            if made.can & Can.HOLD:
                with pytest.raises((RuntimeError, AssertionError)):
                    lock.release()
            sys.exit(42)

    with held_elsewhere(made):
        child = Child(wait)
        gate.pass_through()
        if made.can & Can.NAME:
            wait_until(lambda: made.asleep() == 1, "the wait")
        child.signal(signal.SIGINT)
        assert child.wait() == 42
        if made.can & Can.NAME:
            assert made.asleep() == 0
    assert made.free()


@pytest.mark.skipif(
    sys.version_info < (3, 10), reason="3.9 runs handlers between a with block and its end: threading.Lock is lost, too"
)
@each(Can.OURS)
def test_a_handler_that_raises_at_any_moment_loses_nothing(made):
    """Three that are poked while they come and go: afterwards all is as it was."""

    class Poke(Exception):
        pass

    def poke(*_) -> None:
        raise Poke

    def come_and_go() -> None:
        lock = made.again()
        signal.signal(signal.SIGALRM, poke)
        pokes = turns = 0
        end = time.monotonic() + scaled(40, 5) / 100
        while time.monotonic() < end or not turns or not pokes:
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.002))
                while True:
                    with lock:
                        turns += 1
            except Poke:
                pokes += 1

    semaphores = SemaphoreSet(semid=made.whole.semid)
    before = semaphores.values()
    do_all(Child, come_and_go, come_and_go, come_and_go)
    assert semaphores.values() == before
    assert made.free()
    if made.can & Can.OWN:
        assert made.lock.deaths == 0


# --------------------------------------------------------------------------------------------------- forked, and passed


@each(Can.SHARE | Can.OURS)
def test_a_forked_child_has_nothing_of_what_its_parent_has(made):
    def child() -> None:
        for lock in (made.lock, made.again()):
            if made.can & Can.HOLD:
                assert not lock.held()
                with pytest.raises(RuntimeError, match="before the fork" if lock is made.lock else "not acquired"):
                    lock.release()
            if made.can & Can.EXCLUDE:
                assert lock.acquire(False) is False
                assert lock.acquire(timeout=0.01) is False
        assert not made.excluded().acquire(False)

    made.lock.acquire()
    assert Child(child).wait() == 0
    assert not made.free()
    if made.can & Can.HOLD:
        assert made.lock.held()
    made.lock.release()
    assert made.free()


@each(Can.SHARE)
def test_a_child_that_ends_frees_nothing_of_its_parents(made):
    def forget() -> None:
        made.lock = made.whole = None
        gc.collect()

    made.lock.acquire()
    assert Child(lambda: None).wait() == 0
    assert not made.free()
    assert Child(forget).wait() == 0
    assert not made.free()
    Child(time.sleep, 1000).kill()
    assert not made.free()
    made.lock.release()
    assert made.free()


@each(Can.SHARE)
def test_a_child_may_wait_for_its_parent_and_the_parent_for_its_child(made, gate):
    def child() -> None:
        with made.excluded():
            gate.open()

    made.lock.acquire()
    waiting = Child(child)
    if made.can & Can.NAME:
        wait_until(lambda: made.asleep() == 1, "the child's wait")
    made.lock.release()
    gate.pass_through()
    with made.lock:
        pass
    assert waiting.wait() == 0


@each(Can.OURS)
def test_a_process_may_be_forked_while_its_threads_come_and_go(made, words):
    """The child can use what it inherits, in whatever state that was, and has none of it."""

    def come_and_go() -> None:
        while not words[0]:
            with made.lock:
                pass

    def child() -> None:
        for lock in (made.lock, made.again()):
            with lock:
                pass
        closing(made).close()

    threads = [Thread(come_and_go) for _ in range(2)]
    for _ in range(scaled(20, 5)):
        assert Child(child).wait() == 0
    words[0] = 1
    assert [thread.wait() for thread in threads] == [0, 0]
    assert made.free()


@each(Can.OURS)
def test_a_forked_child_does_not_wait_for_what_its_parents_threads_do(made):
    def wait() -> None:
        with made.lock:
            pass

    def child() -> None:
        closing(made).close()
        with pytest.raises(ValueError, match="closed"):
            made.lock.acquire()
        assert not made.excluded().acquire(False)

    with held_elsewhere(made):
        waiting = Thread(wait)
        wait_until(lambda: made.asleep() == 1, "the wait")
        assert Child(child).wait() == 0
        assert made.asleep() == 1
    assert waiting.wait() == 0
    assert made.free()


@each(Can.OURS, but=Can.HOLD)
def test_permits_are_given_back_by_whoever_wants_to(made):
    made.lock.acquire()
    made.again().release()
    assert made.lock.value == 1
    made.lock.acquire()
    assert Thread(made.lock.release).wait() == 0
    assert made.lock.value == 1
    made.lock.acquire()
    # A permit that another process has given is not taken back when that ends.
    assert Child(made.lock.release).wait() == 0
    assert made.lock.value == 1


@each(Can.OURS, but=Can.HOLD)
def test_permits_may_be_given_by_others_time_and_again(made):
    """More often than there are permits: one process takes, one gives, as signals are."""
    times = 20

    def give() -> None:
        for _ in range(times):
            wait_until(lambda: made.lock.value == 0, "that it is taken")
            made.lock.release()

    giver = Child(give)
    for _ in range(times):
        made.lock.acquire()
    assert giver.wait() == 0
    made.lock.acquire()
    assert made.lock.value == 0


@each(Can.OURS, but=Can.HOLD)
def test_permits_of_a_process_that_ends_are_given_back_once(made):
    def take_and_give() -> None:
        made.lock.acquire()
        made.again().release()

    def take() -> None:
        made.again().acquire()

    for child in (take_and_give, take, take):
        assert made.lock.value == 1
        assert Child(child).wait() == 0
    assert made.lock.value == 1


# ------------------------------------------------------------------------------------------------------ owners that die


@each(Can.NAME)
def test_a_holder_that_is_killed_frees_it_for_those_who_wait(made):
    def wait() -> None:
        with made.excluded():
            pass

    for _ in range(3):
        holder = Holder(made.again)
        waiting = [Child(wait) for _ in range(2)]
        wait_until(lambda: made.asleep() == 2, "those who wait")
        holder.kill()
        assert [child.wait() for child in waiting] == [0, 0]
    assert made.free()


@each(Can.NAME)
def test_a_waiter_that_is_killed_leaves_nothing_behind(made):
    semaphores = SemaphoreSet(semid=made.whole.semid)
    before = semaphores.values()
    with held_elsewhere(made):
        for _ in range(3):
            waiting = Child(lambda: made.again().acquire())
            wait_until(lambda: made.asleep() == 1, "the wait")
            waiting.kill()
            assert made.asleep() == 0
    assert semaphores.values() == before
    assert made.free()
    if made.can & Can.OWN:
        with made.lock:
            assert made.lock.owner_died is None
        assert made.lock.deaths == 0


@each(Can.OWN)
def test_each_owner_is_told_of_a_death_until_one_has_put_it_right(made, caplog):
    deaths = 3 if made.kind.id == "MultiLock" else 1  # each of its locks counts
    holder = Holder(made.again)
    holder.kill()
    for lock in (made.lock, made.lock, made.again()):
        with lock:
            died = lock.owner_died
            assert isinstance(died, OwnerDied) and died.pid == holder.pid
            assert lock.suspect and lock.deaths == deaths
    # Once by each object.
    warned = [record for record in caplog.records if record.name == "semshare"]
    assert [str(holder.pid) in record.getMessage() for record in warned] == [True, True]
    assert {record.levelno for record in warned} == {logging.WARNING}
    with pytest.raises(RuntimeError):
        made.lock.mark_consistent()
    with made.lock:
        made.lock.mark_consistent()
        assert made.lock.owner_died is None and not made.lock.suspect
    for lock in (made.lock, made.again()):
        with lock:
            assert lock.owner_died is None
    assert made.lock.deaths == deaths


@each(Can.OWN)
def test_of_several_who_died_one_after_the_other_the_last_is_told(made):
    """A process that is killed, then a thread that ends, then an object that is forgotten."""
    each_counts = 3 if made.kind.id == "MultiLock" else 1
    tids = []

    def end() -> None:
        tids.append(threading.get_native_id())
        locks.append(made.again())
        locks[-1].acquire()

    locks: list = []  # which outlive it
    Holder(made.again).kill()
    assert Thread(end).wait() == 0
    wait_until(made.free, "that it is free")
    with made.lock:
        assert (made.lock.owner_died.pid, made.lock.owner_died.tid) == (os.getpid(), tids[0])
        assert made.lock.deaths == 2 * each_counts
    made.again().acquire()
    gc.collect()
    with made.lock:
        assert made.lock.owner_died.tid == threading.get_native_id()
        assert made.lock.deaths == 3 * each_counts


def test_a_reader_still_knows_of_a_death_while_another_is_told(name):
    """Both by way of one object; the other hears it by a function, at which time it does not have the answer yet."""
    known = []
    lock = RWLock(name, on_owner_died=lambda side, died: known.append(side.owner_died))
    try:
        Holder(lambda: RWLock(name).write()).kill()
        with lock.read() as side:
            died = side.owner_died
            assert Thread(lambda: side.__enter__() and side.release()).wait() == 0
            assert known == [None, died] and side.owner_died is not None
    finally:
        lock.unlink()


@each(Can.OURS, but=Can.HOLD)
def test_an_object_that_is_forgotten_keeps_its_permit(made):
    made.again().acquire()
    gc.collect()
    assert made.lock.value == 0
    made.lock.release()
    assert made.lock.value == 1


# ----------------------------------------------------------------------------------- who would wait for itself for ever


@each(Can.OURS, but=Can.HOLD)
def test_who_waits_for_a_permit_of_its_own_may_be_given_it_by_others(made):
    with made.lock:
        assert made.lock.acquire(timeout=SOON) is False
        giver = Thread(lambda: (wait_until(lambda: made.asleep() == 1, "the wait"), made.again().release()))
        assert made.lock.acquire() is True
        assert giver.wait() == 0
    assert made.lock.value == 1


@each(Can.OURS | Can.HOLD)
def test_threads_that_would_wait_for_each_other_for_ever_are_told(made, names):
    """One has this lock and wants a second; the other has that, and waits for this one."""
    second = Lock(names())

    def wait() -> None:
        with second, made.excluded():
            pass

    try:
        with made.lock:
            other = Thread(wait)
            wait_until(lambda: made.asleep() == 1, "the other's wait")
            mine = Lock(second.name)
            for wait_for in (mine.acquire, mine.__enter__):
                with pytest.raises(RuntimeError, match=f"(?s){second.name}.*{made.name}|{made.name}.*{second.name}"):
                    wait_for()
            assert not mine.held()
            # One that ends by itself is no wait for ever.
            assert mine.acquire(timeout=SOON) is False
        assert other.wait() == 0
        with mine, made.lock:
            pass
    finally:
        second.unlink()


@each(Can.OURS | Can.HOLD | Can.EXCLUDE)
def test_threads_that_merely_wait_hear_nothing(made, names, words):
    """They take one at a time in any order, and several in the order that all keep: nobody would wait for ever."""
    locks = [made.kind(names()), made.lock, Lock(names()), Semaphore(names())]

    def work(seed: int) -> None:
        mine = [made.kind(locks[0].name), made.again(), Lock(locks[2].name), Semaphore(locks[3].name)]
        chance = random.Random(seed)
        for _ in range(scaled(150, 30)):
            chosen = sorted(chance.sample(range(len(mine)), chance.choice([1, 1, 2, 3])))
            for number in chosen:
                mine[number].acquire()
            if chance.random() < 0.2:
                time.sleep(0)
            for number in chance.sample(chosen, len(chosen)):
                mine[number].release()
            words[seed] += 1

    try:
        do_all(Thread, *[lambda seed=seed: work(seed) for seed in range(4)])
    finally:
        made.kind.remove(locks[0].name)
        locks[2].unlink(), locks[3].unlink()


# ------------------------------------------------------------------------------------------ who may give it back, close


@each(Can.HOLD)
def test_only_who_took_it_gives_it_back(made):
    def give() -> None:
        with pytest.raises((RuntimeError, AssertionError)):
            made.lock.release()

    give()
    made.lock.acquire()
    assert Thread(give).wait() == 0
    if made.can & Can.OURS:
        with pytest.raises(RuntimeError, match=f"{made.name}.*not acquired by this object"):
            made.again().release()
        assert Child(give).wait() == 0
    assert not made.free()
    made.lock.release()
    assert made.free()
    give()
    assert made.free()


@each(Can.OURS | Can.HOLD)
def test_what_a_thread_holds_is_not_closed(made, gate):
    done = Gate()

    def other() -> None:
        with made.lock:
            gate.open()
            done.pass_through()

    with made.lock, pytest.raises(RuntimeError, match="release it first"):
        closing(made).close()
    thread = Thread(other)
    gate.pass_through()
    with pytest.raises(RuntimeError, match="release it first"):
        closing(made).close()
    done.open()
    assert thread.wait() == 0
    with made.lock:
        pass
    closing(made).close()
    closing(made).close()
    assert made.lock.closed and made.free()
    done.close()


def test_closing_sends_those_home_who_wait_by_way_of_it(names):
    """All kinds at once: it takes up to a second."""

    def wait(made: Made) -> None:
        with pytest.raises(ValueError, match="closed"):
            made.lock.acquire()

    all_made = [Made(kind, names()) for kind in LOCKS]
    holders = [held_elsewhere(made) for made in all_made]
    waiting = [Thread(wait, made) for made in all_made for _ in range(2)]
    for made in all_made:
        wait_until(lambda made=made: made.asleep() == 2, "the waits")
        closing(made).close()
    assert [thread.wait() for thread in waiting] == [0] * len(waiting)
    for made, holder in zip(all_made, holders):
        assert made.asleep() == 0
        holder.let_go()
        with made.again():
            pass
        assert made.free()
        made.kind.remove(made.name)


@each(Can.OURS)
def test_removal_reaches_who_waits_and_who_holds(made):
    def wait() -> None:
        lock = made.again()
        with pytest.raises(Removed, match=made.name):
            lock.acquire()
        if made.can & Can.HOLD:
            assert not lock.held()

    lock = made.excluded()
    lock.acquire()
    waiting = [Child(wait), Thread(wait), Thread(wait)]
    wait_until(lambda: made.asleep() == 3, "those who wait")
    made.whole.unlink()
    assert [each.wait() for each in waiting] == [0] * 3
    with pytest.raises(Removed, match=made.name):
        lock.release()
    if made.can & Can.HOLD:
        assert not lock.held()
    made.whole.unlink()


# -------------------------------------------------------------------------------------------------------- looking at it


@each(Can.OURS)
def test_whether_it_is_locked_is_seen_by_everybody(made):
    def look() -> None:
        assert made.lock.locked() and made.again().locked()

    assert made.lock.locked() is False
    with made.again():
        look()
        assert Thread(look).wait() == Child(look).wait() == 0
    assert made.lock.locked() is False
    with Holder(made.again):
        look()
    assert made.lock.locked() is False


@each(Can.OURS)
def test_who_owns_it_is_known_where_there_is_an_owner(made):
    assert made.lock.owner() is None
    with Holder(made.again) as holder:
        owner = made.lock.owner()
        if made.can & Can.OWN:
            assert (owner.kind, owner.pid, owner.tid) == (1, holder.pid, holder.pid)
            assert owner.alive is True
            assert owner.command and "python" in owner.command
        else:
            assert owner is None
    assert made.lock.owner() is None
    if made.can & Can.OWN:
        assert owner.alive is False and owner.command is None

        def thread() -> None:
            with made.lock:
                owner = made.again().owner()
                assert (owner.pid, owner.tid, owner.alive) == (os.getpid(), threading.get_native_id(), True)

        assert Thread(thread).wait() == 0


@each(Can.OURS)
def test_who_waits_is_counted(made):
    def wait() -> None:
        with made.again():
            pass

    # Of a condition it is those who wait to be notified.
    waiters = made.asleep if made.kind.id == "Condition" else getattr(made.lock, "waiters", made.whole.waiters)
    assert waiters() == 0
    with held_elsewhere(made):
        waiting = []
        for number, runner in enumerate((Thread, Child, Thread), 1):
            waiting.append(runner(wait))
            wait_until(lambda number=number: waiters() == number, f"{number} who wait")
    assert [each.wait() for each in waiting] == [0] * 3
    assert waiters() == 0


@each(Can.OURS)
def test_statistics_are_those_of_the_object_and_add_up(made):
    lock = made.again()
    for _ in range(5):
        with lock:
            pass
    counted = lock.statistics()
    assert (counted.acquisitions, counted.contended, sum(counted.wait_ns)) == (5, 0, 0)
    assert counted.percentile(0.5) is None
    assert made.lock.statistics().acquisitions == 0

    def wait() -> None:
        with lock:
            pass

    with held_elsewhere(made):
        waiting = Thread(wait)
        wait_until(lambda: made.asleep() == 1, "the wait")
    assert waiting.wait() == 0
    later = lock.statistics()
    assert (later.acquisitions, later.contended, sum(later.wait_ns)) == (6, 1, 1)
    assert (later - counted).contended == 1 and (later + counted).acquisitions == 11
    assert later.percentile(0.5) == later.percentile(1) > 0


@each(Can.OURS)
def test_a_repr_shows_name_and_state(made):
    def shown() -> str:
        text = repr(made.lock)
        assert made.name in text and type(made.lock).__name__ in text
        return text

    free = shown()
    assert "unlocked" in free if made.can & Can.HOLD else "1 free" in free
    with made.lock:
        assert "held by this thread" in shown() if made.can & Can.HOLD else "0 free" in shown()
    with Holder(made.again) as holder:
        assert shown() != free
        if made.can & Can.OWN:
            assert f"locked by process {holder.pid}" in shown()
    assert shown() == free
    closing(made).close()
    assert "closed" in shown()
