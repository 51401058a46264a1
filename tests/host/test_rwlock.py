# SPDX-License-Identifier: MIT
"""RWLock: many readers or one writer, processes and threads."""

from __future__ import annotations

import mmap
import os
import signal
import threading

import pytest
from effort import scaled
from processes import LIMIT, Child, Gate, wait_until

from semshare import Error, OwnerDied, Removed, RWLock, SemaphoreSet


@pytest.fixture
def lock(name):
    lock = RWLock(name)
    yield lock
    lock.unlink()


def values(lock):
    """Of the writer's semaphore, the readers' and that of the writers who wait."""
    return SemaphoreSet(semid=lock.semid).values()


def in_thread(function):
    """What it returns, in another thread."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(function()))
    thread.start()
    thread.join()
    return answers[0]


class Inside:
    """A child that is inside by one side of the lock until it is told to go, or killed."""

    def __init__(self, name, side):
        self._in, self._out = Gate(), Gate()

        def stay():
            lock = getattr(RWLock(name), side)()
            lock.acquire()
            self._in.open()
            self._out.pass_through()
            lock.release()

        self.child = Child(stay)
        self.pid = self.child.pid

    def wait_until_inside(self):
        self._in.pass_through()
        return self

    def go(self):
        self._out.open()
        assert self.child.wait() == 0
        self._close()

    def kill(self):
        self.child.kill()
        self._close()

    def _close(self):
        self._in.close(), self._out.close()


def test_readers_share_and_writers_do_not(lock, name):
    with lock.read() as reader:
        assert reader is lock.read() and lock.readers() == 1 and lock.locked()
        other = Inside(name, "read").wait_until_inside()
        assert lock.readers() == 2 and values(lock) == [0, 2, 0]
        assert in_thread(lambda: lock.write().acquire(timeout=0.01)) is False
        assert in_thread(lock.write().acquire_nowait) is False
        other.go()
    assert lock.readers() == 0 and not lock.locked()
    with lock.write():
        assert values(lock) == [1, 0, 0] and lock.locked() and lock.write().locked()
        assert lock.owner().pid == os.getpid()
        for side in (RWLock(name).read(), RWLock(name).write()):
            assert in_thread(side.acquire_nowait) is False
            assert in_thread(lambda side=side: side.acquire(timeout=0.01)) is False
    assert values(lock) == [0, 0, 0] and lock.owner() is None
    assert lock.statistics().acquisitions == 2


def test_it_shows_its_state(lock, name):
    assert repr(lock).endswith(": unlocked>")
    with lock.read():
        assert repr(lock).endswith(": 1 read, this thread too>")
        assert repr(lock.read()).endswith(": held by this thread>") and repr(lock.write()).endswith(": unlocked>")
        assert repr(RWLock(name)).endswith(": 1 read>")
    with lock.write():
        assert repr(lock).endswith(": written by this thread>")
    writer = Inside(name, "write").wait_until_inside()
    assert repr(lock).endswith(f": written by process {writer.pid}>")
    assert repr(lock.write()).endswith(f": locked by process {writer.pid}>")
    writer.go()


def test_a_thread_may_read_again_even_while_a_writer_waits(lock, name):
    with lock.read():
        writer = Inside(name, "write")
        wait_until(lambda: values(lock)[2] == 1, "a writer who waits")
        with lock.read():
            assert lock.readers() == 2
        assert in_thread(lambda: lock.read().acquire(timeout=0.01)) is False, "a new reader comes after the writer"
        assert in_thread(RWLock(name).read().acquire_nowait) is False
        assert lock.readers() == 1 and lock.waiters() == 1
    writer.wait_until_inside()
    assert values(lock) == [1, 0, 0]
    writer.go()


def test_readers_who_came_while_a_writer_waited_go_on_after_it(lock, name):
    with lock.read():
        writer = Inside(name, "write")
        wait_until(lambda: values(lock)[2] == 1, "a writer who waits")
        reader = Inside(name, "read")
        wait_until(lambda: lock.waiters() == 2, "a reader who waits, too")
    writer.wait_until_inside()
    assert lock.readers() == 0 and lock.waiters() == 1
    writer.go()
    reader.wait_until_inside()
    reader.go()


@pytest.mark.parametrize("end", ["timeout", "kill", "interrupt"])
def test_a_writer_who_gives_up_holds_up_no_readers(lock, name, end):
    with lock.read():
        if end == "timeout":
            assert in_thread(lambda: lock.write().acquire(timeout=0.01)) is False
        else:
            writer = Child(lambda: RWLock(name).write().acquire())
            wait_until(lambda: values(lock)[2] == 1, "a writer who waits")
            writer.signal(signal.SIGKILL if end == "kill" else signal.SIGINT)
            assert writer.wait() != 0
        assert values(lock) == [0, 1, 0]
        assert in_thread(lock.read().acquire_nowait) is True


def test_only_the_thread_that_is_inside_leaves(lock, name):
    def refused(function):
        with pytest.raises(RuntimeError) as caught:
            function()
        return str(caught.value)

    for side in (lock.read(), lock.write()):
        with side:
            assert "another thread" in in_thread(lambda side=side: refused(side.release))
            assert Child(lambda side=side: refused(side.release)).wait() == 0
            assert lock.locked()
        assert not lock.locked()


def test_who_reads_and_wants_to_write_is_refused_at_once(lock, name):
    for other in (lock, RWLock(name)):
        with lock.read():
            with pytest.raises(RuntimeError):
                other.write().acquire()
            with pytest.raises(RuntimeError):
                other.write().acquire(timeout=LIMIT)
            assert values(lock) == [0, 1, 0]


def test_who_writes_and_wants_in_again_is_refused_at_once(lock, name):
    for other in (lock, RWLock(name)):
        with lock.write():
            for side in (other.read(), other.write()):
                with pytest.raises(RuntimeError):
                    side.acquire()
                with pytest.raises(RuntimeError):
                    side.acquire(timeout=LIMIT)
            assert values(lock) == [1, 0, 0]


def test_a_writer_goes_on_as_a_reader(lock, name):
    with lock.write():
        reader = Inside(name, "read")
        writer = Inside(name, "write")
        wait_until(lambda: lock.waiters() == 2, "both to wait")
        lock.downgrade()
        assert lock.read().held() and not lock.write().held()
        assert lock.owner() is None and values(lock) == [0, 1, 1]
        # The writer who waits comes first, and not before this reader has gone.
        with pytest.raises(RuntimeError):
            lock.downgrade()
        lock.read().release()
        writer.wait_until_inside()
        writer.go()
        reader.wait_until_inside()
        reader.go()
        lock.write().acquire()
    assert not lock.locked()


def test_what_cannot_be_downgraded_is_released(lock):
    lock.write().acquire()
    SemaphoreSet(semid=lock.semid).set_value(1, 32767)
    with pytest.raises(Error):
        lock.downgrade()
    assert not lock.write().held() and not lock.read().held()
    assert SemaphoreSet(semid=lock.semid).value(0) == 0, "no writer"


def test_who_does_not_write_cannot_downgrade(lock):
    for side in (None, lock.read()):
        if side:
            side.acquire()
        with pytest.raises(RuntimeError, match="not acquired by this object"):
            lock.downgrade()
    lock.read().release()
    with lock.write():

        def refused():
            with pytest.raises(RuntimeError, match="another thread"):
                lock.downgrade()
            return True

        assert in_thread(refused)


def test_a_reader_who_is_killed_leaves_nothing_behind(lock, name):
    reader = Inside(name, "read").wait_until_inside()
    reader.kill()
    assert values(lock) == [0, 0, 0]
    with lock.write():
        assert lock.write().owner_died is None and lock.deaths == 0


@pytest.mark.parametrize("first", ["read", "write"])
def test_the_next_is_told_of_a_writer_who_died(lock, name, first, caplog):
    writer = Inside(name, "write").wait_until_inside()
    writer.kill()
    assert values(lock) == [0, 0, 0]
    for _ in range(2):
        with getattr(lock, first)() as side:
            assert isinstance(side.owner_died, OwnerDied) and side.owner_died.pid == writer.pid
            assert side.suspect and lock.deaths == 1
    assert [str(writer.pid) in record.getMessage() for record in caplog.records] == [True]
    for side in (RWLock(name).read(), RWLock(name).write()):
        with side:
            assert side.owner_died.pid == writer.pid
    with lock.write() as side:
        side.mark_consistent()
    for side in (lock.read(), lock.write()):
        with side:
            assert side.owner_died is None and not side.suspect
    assert lock.deaths == 1


def test_who_wants_to_be_stopped_by_a_death_is(lock, name):
    strict = RWLock(name, on_owner_died="raise")
    writer = Inside(name, "write").wait_until_inside()
    writer.kill()
    for side in (strict.read(), strict.write()):
        for _ in range(2):
            with pytest.raises(OwnerDied, match=str(writer.pid)):
                side.acquire()
            assert values(lock) == [0, 0, 0] and not side.held()
    with lock.write() as side:
        side.mark_consistent()
    with strict.read(), strict.read():
        pass


def test_what_is_held_is_not_closed(lock, name):
    for side in ("read", "write"):
        mine = RWLock(name)
        with getattr(mine, side)():
            with pytest.raises(RuntimeError, match="release it first"):
                mine.close()
            assert not mine.closed
        with mine.read():
            pass
        with mine.write():
            pass
        mine.close()
        assert mine.closed


def test_who_waits_for_one_side_is_not_told_that_what_is_held_was_closed(lock, name):
    mine, taken = RWLock(name), []
    with mine.read():
        writer = threading.Thread(target=lambda: taken.append(mine.write().acquire(timeout=LIMIT)))
        writer.start()
        wait_until(lambda: lock.waiters() == 1, "a writer who waits")
        with pytest.raises(RuntimeError, match="release it first"):
            mine.close()
        assert not mine.write().closed and not mine.read().closed
    writer.join()
    assert taken == [True]


def test_what_was_held_twice_of_a_removed_set_is_released(name):
    lock = RWLock(name)
    side = lock.read()
    side.acquire()
    side.acquire()
    lock.unlink()
    for left in (True, False):
        with pytest.raises(Removed):
            side.release()
        assert side.held() is left
    lock.close()


def test_readers_see_what_writers_wrote_and_nothing_half_done(lock, name):
    """Two words that are the same whenever nobody writes."""
    words = memoryview(mmap.mmap(-1, 4096)).cast("Q")
    rounds = scaled(500)

    def write():
        mine = RWLock(name).write()
        for _ in range(rounds):
            with mine:
                words[0] = words[0] + 1
                words[100] = words[100] + 1

    def read():
        mine = RWLock(name).read()
        for _ in range(rounds):
            with mine:
                assert words[100] == words[0]

    children = [Child(write) for _ in range(2)] + [Child(read) for _ in range(3)]
    assert [child.wait() for child in children] == [0] * 5
    assert words[0] == words[100] == 2 * rounds
    assert values(lock) == [0, 0, 0] and lock.deaths == 0
