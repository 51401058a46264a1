# SPDX-License-Identifier: MIT
"""Owners that die inside, processes and threads: the next one is told, until somebody says that all is well."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading

import pytest
import sysv_ipc
from lock_factories import LOCKS, Can
from processes import LIMIT, Child, Gate, wait_until
from semshare._abi import ffi, lib

from semshare import Lock, LockPool, OwnerDied, RLock, RWLock

# Of a condition it is the lock, which is one of these.
OWNED = [kind for kind in LOCKS if Can.OWN in kind.can and kind.id != "Condition"]


@pytest.fixture(params=OWNED, ids=lambda kind: kind.id)
def kind(request):
    return request.param


@pytest.fixture
def lock(kind, name):
    lock = kind(name)
    yield lock
    kind.remove(name)


def kill_inside(make, *taken) -> int:
    """A child takes what `make` makes and is killed with that. Its pid."""
    gate = Gate()

    def hold():
        lock = make(*taken)  # an object that is forgotten gives the lock back
        lock.acquire()
        gate.open()
        signal.pause()

    child = Child(hold)
    gate.pass_through()
    child.kill()
    gate.close()
    return child.pid


def deaths(lock) -> int:
    """Owners found dead: of several locks at once each counts its own."""
    return lock.deaths // len(getattr(lock, "numbers", (0,)))


def waiters(kind, name: str) -> int:
    """Threads that wait for what that kind makes: of several locks for the first that is taken."""
    made = kind.make(name)
    return sum(member.waiters() for member in made) if isinstance(made, LockPool) else made.waiters()


def run(function, *arguments):
    """A thread that has ended, as far as the system is concerned. What it returned."""
    result = []
    thread = threading.Thread(target=lambda: result.append((threading.get_native_id(), function(*arguments))))
    thread.start()
    thread.join(LIMIT)
    assert result, "the thread does not end, or raised"
    tid, value = result[0]
    wait_until(lambda: not os.path.exists(f"/proc/self/task/{tid}"), "the end of the thread")
    return tid, value


# ------------------------------------------------------------------------------------------------------- of processes


def test_a_lock_stays_suspect_until_an_owner_marks_it_consistent(kind, lock, name):
    assert not lock.suspect
    pid = kill_inside(kind, name)
    others = [kind(name) for _ in range(3)]
    for owner in (lock, *others, lock):
        with owner:
            died = owner.owner_died
            assert isinstance(died, OwnerDied) and (died.kind, died.pid, died.tid) == (1, pid, pid)
        assert owner.suspect and deaths(owner) == 1
    with lock:
        lock.mark_consistent()
        assert lock.owner_died is None and not lock.suspect
    for owner in others:
        assert not owner.suspect
        with owner:
            assert owner.owner_died is None
    assert deaths(lock) == 1


def test_other_processes_are_told_as_well(kind, lock, name):
    def look(expected):
        with kind(name) as mine:
            assert (mine.owner_died and mine.owner_died.pid) == expected

    pid = kill_inside(kind, name)
    assert Child(look, pid).wait() == 0
    assert Child(look, pid).wait() == 0
    with lock:
        lock.mark_consistent()
    assert Child(look, None).wait() == 0


def test_the_last_to_die_is_the_one_that_is_named(kind, lock, name):
    first = kill_inside(kind, name)
    with lock:
        assert lock.owner_died.pid == first
    second = kill_inside(kind, name)
    for _ in range(2):
        with lock:
            assert lock.owner_died.pid == second
    assert deaths(lock) == 2


def test_only_who_holds_a_lock_can_mark_it_consistent(kind, lock, name):
    kill_inside(kind, name)
    with pytest.raises(RuntimeError, match="mark_consistent"):
        lock.mark_consistent()
    with lock:
        with pytest.raises(RuntimeError, match="mark_consistent"):
            kind(name).mark_consistent()

        def mark():
            with pytest.raises(RuntimeError, match="another thread"):
                lock.mark_consistent()

        run(mark)
        assert lock.suspect and lock.owner_died is not None


def test_who_waits_is_told(kind, lock, name):
    gate = Gate()

    def hold():
        mine = kind(name)
        mine.acquire()
        gate.open()
        signal.pause()

    child = Child(hold)
    gate.pass_through()

    def wait():
        with kind(name) as mine:
            return mine.owner_died.pid

    waiting = threading.Thread(target=lambda: seen.append(wait()))
    seen: list[int] = []
    waiting.start()
    wait_until(lambda: waiters(kind, name) == 1, "a waiter")
    child.kill()
    waiting.join(LIMIT)
    assert seen == [child.pid]
    gate.close()


def test_who_does_not_want_a_suspect_lock_leaves_it_as_it_was(kind, lock, name):
    pid = kill_inside(kind, name)
    choosy = kind(name)
    choosy.on_owner_died = "raise"
    for _ in range(2):
        with pytest.raises(OwnerDied, match="died inside; ") as caught:
            choosy.acquire()
        assert caught.value.pid == pid
        assert not choosy.held() and not lock.locked() and choosy.owner_died is None
    with lock:
        assert lock.owner_died.pid == pid and deaths(lock) == 1
    # Found now, and not put right.
    with pytest.raises(OwnerDied, match="nobody has marked it consistent since"):
        choosy.acquire()
    assert not lock.locked()
    with lock:
        lock.mark_consistent()
    with choosy:
        pass


def test_a_function_may_put_it_right(kind, lock, name):
    seen = []

    def repair(found, died):
        assert found is lock and found.held()
        seen.append(died.pid)
        found.mark_consistent()

    lock.on_owner_died = repair
    pid = kill_inside(kind, name)
    with lock:
        assert seen == [pid] and lock.owner_died is None and not lock.suspect
    with lock:
        assert seen == [pid]


def test_a_function_may_give_it_back(kind, lock, name):
    kill_inside(kind, name)
    lock.on_owner_died = lambda found, died: found.release()
    lock.acquire()
    assert not lock.held() and not lock.locked() and lock.owner_died is None
    with pytest.raises(RuntimeError):
        lock.release()


def test_a_warning_is_logged_once_of_each_death(kind, lock, name, caplog):
    with caplog.at_level(logging.WARNING, "semshare"):
        first = kill_inside(kind, name)
        for _ in range(3):
            with lock:
                pass
        second = kill_inside(kind, name)
        with lock:
            pass
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2 and f"process {first} " in told[0] and f"process {second} " in told[1]


def test_a_lock_forgotten_while_held_is_that_of_a_dead_owner(kind, lock, name):
    other = kind(name)
    other.acquire()
    del other
    gc.collect()
    with lock:
        assert (lock.owner_died.pid, lock.owner_died.tid) == (os.getpid(), threading.get_native_id())


# ---------------------------------------------------------------------------------------------------------- of threads


def test_a_thread_that_ends_with_a_lock_gives_it_to_the_next(kind, lock, name):
    tid, taken = run(lock.acquire)
    assert taken and not lock.locked() and not lock.held()
    with lock:
        assert (lock.owner_died.pid, lock.owner_died.tid) == (os.getpid(), tid)
    with lock:
        lock.mark_consistent()


def test_who_waits_gets_what_a_thread_ends_with(kind, lock, name):
    seen = []

    def take_and_end():
        lock.acquire()
        waiting.start()
        wait_until(lambda: waiters(kind, name) == 1, "a waiter")

    def wait():
        with kind(name) as mine:
            seen.append(mine.owner_died.tid)

    waiting = threading.Thread(target=wait)
    tid, _ = run(take_and_end)
    waiting.join(LIMIT)
    assert seen == [tid]


def test_a_thread_that_ends_with_nothing_changes_nothing(kind, lock, name):
    def use():
        with lock:
            pass

    with lock:
        run(lambda: lock.acquire_nowait())
        assert lock.held() and lock.locked()
    run(use)
    with lock:
        assert lock.owner_died is None


def test_a_thread_of_a_forked_child_does_not_end_with_its_parents_locks(kind, lock):
    def child():
        run(lambda: lock.acquire_nowait())

    with lock:
        assert Child(child).wait() == 0
        assert lock.locked()
    with lock:
        assert lock.owner_died is None


# ------------------------------------------------------------------------------------------------- of some kinds only


@pytest.fixture
def rlock(name):
    lock = RLock(name)
    yield lock
    lock.unlink()


def test_a_new_owner_has_a_lock_once_however_often_the_dead_one_had(rlock, name):
    gate = Gate()

    def hold():
        mine, other = RLock(name), RLock(name)
        for each in (mine, other, mine):
            each.acquire()
        gate.open()
        signal.pause()

    child = Child(hold)
    gate.pass_through()
    child.kill()
    rlock.acquire()
    assert rlock.owner_died.pid == child.pid
    rlock.release()
    assert not rlock.locked()
    gate.close()


def test_a_thread_ends_with_a_lock_that_it_has_by_way_of_two_objects(rlock, name):
    other = RLock(name)

    def take():
        for each in (rlock, other, other, rlock):
            each.acquire()

    tid, _ = run(take)
    assert not rlock.locked()
    for owner in (rlock, other):
        with owner:
            assert owner.owner_died.tid == tid and owner.deaths == 1


def test_an_object_that_is_forgotten_leaves_the_lock_to_another_of_its_thread(rlock, name):
    other = RLock(name)
    other.acquire()
    other.acquire()
    rlock.acquire()
    del other
    gc.collect()
    assert rlock.locked() and rlock.held()
    rlock.release()
    assert not rlock.locked()
    with rlock:
        assert rlock.owner_died is None


def test_whoever_takes_a_suspect_lock_again_is_told_by_way_of_each_object(rlock, name):
    pid = kill_inside(RLock, name)
    other = RLock(name)
    with rlock, other:
        assert rlock.owner_died.pid == other.owner_died.pid == pid
        other.mark_consistent()
    with rlock:
        assert rlock.owner_died is None


@pytest.fixture
def rwlock(name):
    lock = RWLock(name)
    yield lock
    lock.unlink()


def test_readers_are_told_of_a_writers_death(rwlock, name):
    pid = kill_inside(lambda: RWLock(name).write())
    others = [RWLock(name) for _ in range(2)]
    with rwlock.read() as one, others[0].read() as two:
        assert one.owner_died.pid == two.owner_died.pid == pid
    with others[1].write() as writer:
        assert writer.owner_died.pid == pid
    assert writer.deaths == 1
    with rwlock.read() as reader:
        assert reader.owner_died.pid == pid
        reader.mark_consistent()
    for side in (rwlock.read(), rwlock.write()):
        with side:
            assert side.owner_died is None


def test_readers_that_die_leave_nothing_behind(rwlock, name):
    kill_inside(lambda: RWLock(name).read())
    run(lambda: [rwlock.read().acquire() for _ in range(3)])
    assert rwlock.readers() == 0
    forgotten = RWLock(name)
    forgotten.read().acquire()
    forgotten.read().acquire()
    assert rwlock.readers() == 2
    del forgotten
    gc.collect()
    assert rwlock.readers() == 0
    with rwlock.write() as writer:
        assert writer.owner_died is None and not writer.suspect


def test_a_reader_that_does_not_want_a_suspect_lock_leaves_it(rwlock, name):
    pid = kill_inside(lambda: RWLock(name).write())
    choosy = RWLock(name, on_owner_died="raise")
    for side in (choosy.read(), choosy.read(), choosy.write()):
        with pytest.raises(OwnerDied) as caught:
            side.acquire()
        assert caught.value.pid == pid
        assert rwlock.readers() == 0 and not rwlock.locked()
    with rwlock.write() as writer:
        assert writer.owner_died.pid == pid and writer.deaths == 1


def test_a_writer_that_is_killed_while_it_waits_lets_readers_in(rwlock, name):
    with rwlock.read():
        waiting = Child(lambda: RWLock(name).write().acquire())
        wait_until(lambda: rwlock.waiters() == 1, "a writer that waits")
        waiting.kill()
    with rwlock.write() as writer:
        assert writer.owner_died is None


@pytest.fixture
def pool(name):
    pool = LockPool(name, 6)
    yield pool
    pool.unlink()


def test_of_several_locks_those_are_suspect_whose_owner_died(pool, name):
    pid = kill_inside(lambda: LockPool(name, 6)[2])
    some = pool.multi(1, 2, 3)
    with some:
        assert some.owner_died.pid == pid and some.deaths == 1
        assert [pool[number].suspect for number in range(1, 4)] == [False, True, False]
    with pool.multi(3, 4) as others:
        assert others.owner_died is None
    with some:
        some.mark_consistent()
    with pool[2] as one:
        assert one.owner_died is None


def test_of_several_locks_all_are_suspect_if_their_owner_dies(pool, name):
    pid = kill_inside(lambda: LockPool(name, 6).multi(1, 2, 3))
    for number in range(1, 4):
        with pool[number] as one:
            assert one.owner_died.pid == pid
            if number < 3:
                one.mark_consistent()
    choosy = LockPool(name, 6, on_owner_died="raise").multi(2, 3)
    with pytest.raises(OwnerDied):
        choosy.acquire()
    assert not pool[2].locked() and not pool[2].suspect and pool[3].suspect


def test_a_lock_without_words_remembers_nothing(name):
    from semshare import SemaphoreSet

    private = SemaphoreSet(0, count=1, create=True)
    try:
        private.operate([(0, 1)])
        lock = Lock(semid=private.semid)
        kill_inside(lambda: Lock(semid=private.semid))
        with lock:
            assert lock.owner_died is None and not lock.suspect
            lock.mark_consistent()
        run(lock.acquire)
        assert not lock.locked()
    finally:
        private.remove()


@pytest.mark.parametrize("marked", [False, True])
def test_a_function_that_takes_it_again_and_raises_leaves_nothing_taken(rlock, name, marked):
    def take_again(found, died):
        if marked:
            found.mark_consistent()
        found.acquire()
        raise ZeroDivisionError

    kill_inside(RLock, name)
    for found in ("died", "suspect"):
        choosy = RLock(name, on_owner_died=take_again)
        if found == "suspect" and marked:
            break
        with pytest.raises(ZeroDivisionError):
            choosy.acquire()
        assert not choosy.held() and not rlock.locked(), found
        rlock.acquire()
        rlock.release()
        assert not rlock.locked(), found


def test_a_reader_that_takes_it_again_and_raises_leaves_nothing_taken(rwlock, name):
    def take_again(found, died):
        found.acquire()
        raise ZeroDivisionError

    kill_inside(lambda: RWLock(name).write())
    with pytest.raises(ZeroDivisionError):
        RWLock(name, on_owner_died=take_again).read().acquire()
    assert rwlock.readers() == 0
    assert rwlock.write().acquire(timeout=LIMIT)
    rwlock.write().release()


# ------------------------------------------------------------------------------------------------------ who it was


def test_nobody_owns_what_the_dead_have_given_back(kind, lock, name):
    kill_inside(kind, name)
    assert not lock.locked() and lock.owner() is None
    with lock:
        assert lock.owner().pid == os.getpid()


def test_who_writes_no_words_is_not_taken_for_the_one_before(name):
    pid = kill_inside(Lock, name)
    lock = Lock(name)
    plain = sysv_ipc.Semaphore(lock.key)
    plain.acquire()
    assert lock.locked() and lock.owner() is None and str(pid) not in repr(lock)
    plain.release()
    lock.unlink()


def test_a_thread_of_another_process_that_ended_is_named_as_that(name):
    """Its process still runs: to say of that that it died would be wrong."""
    gate, lock = Gate(), Lock(name)

    def end_thread():
        mine = Lock(name)
        run(mine.acquire)
        gate.open()
        signal.pause()

    child = Child(end_thread)
    gate.pass_through()
    with lock:
        assert lock.owner_died.pid == child.pid
        assert f"thread {lock.owner_died.tid} of process {child.pid} died inside" in str(lock.owner_died)
    child.kill()
    gate.close()
    lock.unlink()


def test_an_earlier_process_of_the_same_pid_is_another(name):
    lock = Lock(name)
    words = ffi.cast("struct semshare_lock_segment *", ffi.from_buffer(lock._segment.mapping)).state
    words.owner_kind, words.owner_pid, words.owner_tid = lib.SEMSHARE_OWNER_USER, os.getpid(), 1
    words.owner_start = 2
    words.epoch += 1
    with lock:
        assert "this process" not in str(lock.owner_died)
    lock.unlink()


async def repair(lock, died):
    lock.mark_consistent()


def test_a_function_that_nobody_would_await_is_refused(name):
    with pytest.raises(TypeError, match="on_owner_died is a coroutine function"):
        Lock(name, on_owner_died=repair)
