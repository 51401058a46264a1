# SPDX-License-Identifier: MIT
"""Lock between processes: fork, signals, death of owners, and making it at the same time."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import signal
import subprocess
import sys
import threading
import time
from itertools import repeat
from pathlib import Path

import pytest
import sysv_ipc
from processes import CLONE_NEWPID, Child, Gate, in_new_namespace, wait_until
from semshare._abi import ffi, lib

from semshare import (
    HolderDead,
    Lock,
    NameCollision,
    NotFound,
    OwnerDied,
    RWLock,
    Semaphore,
    SemaphoreSet,
    Timeout,
    key_of,
    named_set,
    segment,
    stale,
)
from semshare.segment import Segment, attach


@pytest.fixture
def lock(name):
    lock = Lock(name)
    yield lock
    lock.unlink()


def waiters(lock: Lock) -> int:
    return SemaphoreSet(semid=lock.semid).waiters()


# --------------------------------------------------------------------------------------------------------------- fork


def test_a_forked_child_does_not_hold_what_its_parent_does(lock):
    def child():
        assert not lock.held()
        with pytest.raises(RuntimeError, match="before the fork"):
            lock.release()
        assert lock.acquire(blocking=False) is False
        assert lock.acquire(timeout=0.01) is False

    with lock:
        assert Child(child).wait() == 0
        assert lock.held()
    assert not lock.locked()


def test_a_forked_child_may_wait_for_its_parent(lock):
    def child():
        with lock:
            assert lock.owner().pid == os.getpid()

    with lock:
        waiting = Child(child)
        wait_until(lambda: waiters(lock) == 1, "the child's wait")
    assert waiting.wait() == 0


def test_the_end_of_a_child_does_not_free_its_parents_lock(lock):
    with lock:
        assert Child(lambda: None).wait() == 0
        assert lock.locked()


def test_processes_exclude_each_other(lock, name):
    counter = memoryview(bytearray(8))
    with open(f"/dev/shm/{name}", "w+b") as file:
        os.unlink(file.name)
        file.write(bytes(4096))
        file.flush()
        counter = memoryview(mmap.mmap(file.fileno(), 4096)).cast("Q")

    def add():
        mine = Lock(name)
        for _ in repeat(None, 5000):
            with mine:
                counter[0] = counter[0] + 1

    children = [Child(add) for _ in range(4)]
    assert [child.wait() for child in children] == [0] * 4
    assert counter[0] == 20000
    assert lock.deaths == 0


# ------------------------------------------------------------------------------------------------------------ signals


def test_interrupted_waits_go_on(lock, name):
    hits = memoryview(mmap.mmap(-1, 4096)).cast("Q")

    def wait():
        def count(*_):
            hits[0] += 1

        signal.signal(signal.SIGALRM, count)
        mine = Lock(name)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        assert mine.acquire() is True
        signal.setitimer(signal.ITIMER_REAL, 0)
        mine.release()

    with lock:
        child = Child(wait)
        wait_until(lambda: hits[0] > 50 and waiters(lock) == 1, "a wait that was interrupted often")
    assert child.wait() == 0


def test_interruptions_do_not_prolong_a_timeout(lock, name):
    def wait():
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        assert Lock(name).acquire(timeout=0.1) is False
        signal.setitimer(signal.ITIMER_REAL, 0)

    with lock:
        assert Child(wait).wait() == 0


def test_ctrl_c_gets_through_and_leaves_the_lock_alone(lock, name):
    def wait():
        mine = Lock(name)
        try:
            mine.acquire()
        except KeyboardInterrupt:
            assert not mine.held()
            sys.exit(42)

    lock.acquire()
    child = Child(wait)
    wait_until(lambda: waiters(lock) == 1, "the child's wait")
    child.signal(signal.SIGINT)
    assert child.wait() == 42
    assert waiters(lock) == 0
    lock.release()
    with lock:
        pass


def test_signals_at_any_moment_lose_no_lock(lock, name):
    """A handler that raises, at random moments of a contended lock: afterwards it is free and nobody was two inside."""

    class Poke(Exception):
        pass

    def work():
        def poke(*_):
            raise Poke

        mine = Lock(name)
        signal.signal(signal.SIGALRM, poke)
        done = 0
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.002))
                while True:
                    mine.acquire()
                    try:
                        done += 1
                    finally:
                        mine.release()
            except Poke:
                signal.setitimer(signal.ITIMER_REAL, 0)
                if mine.held():  # poked between the return of acquire() and the try, or in release()'s call
                    mine.release()
        assert done > 0

    children = [Child(work) for _ in range(3)]
    assert [child.wait() for child in children] == [0] * 3
    assert not lock.locked()
    assert lock.deaths == 0


# ------------------------------------------------------------------------------------------------------ owners that die


def die_holding(name: str) -> int:
    """A child that is killed while it holds the lock. Returns its pid."""
    gate = Gate()

    def hold():
        mine = Lock(name)  # an object that is forgotten gives the lock back
        mine.acquire()
        gate.open()
        signal.pause()

    child = Child(hold)
    gate.pass_through()
    child.kill()
    gate.close()
    return child.pid


def test_the_next_owners_are_told_of_a_death_until_one_marks_the_lock_consistent(lock, name, caplog):
    pid = die_holding(name)
    for owner in (lock, lock, Lock(name)):
        with owner:
            died = owner.owner_died
            assert isinstance(died, OwnerDied) and (died.pid, died.kind, died.errno) == (pid, 1, 130)
            assert owner.deaths == 1 and owner.suspect
    # Each object warns once.
    assert [str(pid) in record.getMessage() for record in caplog.records] == [True, True]
    with lock:
        lock.mark_consistent()
        assert lock.owner_died is None and not lock.suspect
    for owner in (lock, Lock(name)):
        with owner:
            assert owner.owner_died is None
    assert lock.deaths == 1 and Lock(name).deaths == 1
    assert len(caplog.records) == 2


def test_only_who_holds_the_lock_marks_it_consistent(lock, name):
    die_holding(name)
    with pytest.raises(RuntimeError):
        lock.mark_consistent()
    with Lock(name), pytest.raises(RuntimeError):
        lock.mark_consistent()
    with lock:
        assert lock.owner_died is not None


def test_a_lock_may_be_told_to_raise_when_its_owner_died(lock, name):
    pid = die_holding(name)
    strict = Lock(name, on_owner_died="raise")
    for _ in range(3):
        with pytest.raises(OwnerDied, match=str(pid)) as caught:
            strict.acquire()
        assert caught.value.pid == pid and not strict.held() and not strict.locked()
    with lock:
        assert lock.owner_died is not None
    with pytest.raises(OwnerDied, match="marked it consistent"):
        strict.acquire()
    with lock:
        lock.mark_consistent()
    with strict:
        assert strict.owner_died is None
    assert lock.deaths == 1


def test_who_waits_is_told_as_well(lock, name):
    gate = Gate()

    def hold():
        mine = Lock(name)  # an object that is forgotten gives the lock back
        mine.acquire()
        gate.open()
        signal.pause()

    child = Child(hold)
    gate.pass_through()

    def wait():
        seen = []
        with Lock(name, on_owner_died=lambda lock, died: seen.append((lock.held(), died.pid))):
            assert seen == [(True, child.pid)]

    waiting = Child(wait)
    wait_until(lambda: waiters(lock) == 1, "a waiter")
    child.kill()
    assert waiting.wait() == 0
    gate.close()


def test_who_closed_the_lock_while_it_waited_leaves_the_death_to_the_next(lock, name):
    gate = Gate()

    def child():
        with Lock(name):
            gate.open()
            time.sleep(1000)

    dying = Child(child)
    gate.pass_through()
    errors = []

    def wait():
        with pytest.raises(ValueError, match="closed") as error:
            waiting.acquire()
        errors.append(error)

    waiting = Lock(name)
    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: waiters(lock) == 1, "the wait")
    waiting.close()
    dying.kill()
    thread.join()
    assert errors
    with lock:
        assert lock.owner_died.pid == dying.pid
    assert lock.deaths == 1
    gate.close()


def test_a_callback_that_raises_leaves_the_death_to_the_next(lock, name):
    pid = die_holding(name)

    class NotMine(Exception):
        pass

    def refuse(lock, died):
        raise NotMine

    lock.on_owner_died = refuse
    for _ in range(3):
        with pytest.raises(NotMine):
            lock.acquire()
        assert not lock.held() and not lock.locked()
    seen = []
    lock.on_owner_died = lambda lock, died: seen.append(died.pid)
    with lock:
        assert seen == [pid]
    assert lock.deaths == 1


def test_holders_killed_at_any_moment_block_nobody(lock, name):
    """A storm: processes hammer the lock and are killed at random moments; the lock goes on, each death is counted."""
    seen = []
    lock.on_owner_died = lambda lock, died: seen.append(died.pid)

    def hammer():
        mine = Lock(name)
        while True:
            with mine:
                pass

    kills = 150
    children: list[Child] = []
    for _ in range(kills):
        while len(children) < 3:
            children.append(Child(hammer))
        time.sleep(random.uniform(0, 0.01))
        victim = children.pop(random.randrange(len(children)))
        victim.kill()
        with lock:
            pass
    for child in children:
        child.kill()
    with lock:
        pass
    print(
        f"{kills} holders and waiters killed, {lock.deaths} of them inside, {len(seen)} of these told to this process"
    )
    assert not lock.locked()


def test_a_dead_holder_without_undo_is_named_with_the_command_that_frees_it(lock, name):
    taker = Child(lambda: SemaphoreSet(semid=lock.semid).operate([(0, -1)]))
    assert taker.wait() == 0
    with pytest.raises(HolderDead, match=f"semshare unlock {name}") as caught:
        lock.acquire()
    assert (caught.value.pid, caught.value.semid, caught.value.errno) == (taker.pid, lock.semid, 130)
    assert str(taker.pid) in str(caught.value)
    with pytest.raises(HolderDead):
        lock.acquire(timeout=5)
    SemaphoreSet(semid=lock.semid).operate([(0, 1)])
    with lock:
        pass


def test_a_zombie_is_dead_enough(lock):
    taker = Child(lambda: SemaphoreSet(semid=lock.semid).operate([(0, -1)]))
    stat = Path(f"/proc/{taker.pid}/stat")
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "Z", "a zombie")
    with pytest.raises(HolderDead):
        lock.acquire()
    taker.wait()
    SemaphoreSet(semid=lock.semid).operate([(0, 1)])


def test_a_living_holder_without_undo_is_waited_for(lock):
    SemaphoreSet(semid=lock.semid).operate([(0, -1)])
    assert Child(lambda: lock.acquire(timeout=2.5) and sys.exit(1)).wait() == 0
    SemaphoreSet(semid=lock.semid).operate([(0, 1)])


def test_a_semaphore_that_was_reset_is_told_to_both_owners(lock, name):
    gate, done = Gate(), Gate()

    def hold():
        from semshare import LockBroken

        mine = Lock(name)
        mine.acquire()
        gate.open()
        done.pass_through()
        with pytest.raises(LockBroken, match=r"reset.*Check what it guards") as caught:
            mine.release()
        assert f"remove it (semshare rm {name}), and open it anew" in str(caught.value)
        assert "to make a new one" not in str(caught.value), "there is one"
        assert not mine.held()

    child = Child(hold)
    gate.pass_through()
    semaphores = SemaphoreSet(semid=lock.semid)
    semaphores.set_value(0, 1)
    lock.acquire()
    assert lock.owner_died is not None
    done.open()
    assert child.wait() == 0
    assert semaphores.value() == 0, "the first owner must not give back what the second holds"
    lock.release()
    assert semaphores.value() == 1
    with lock:
        assert not Lock(name).acquire_nowait(), "it goes on as it is"
    gate.close(), done.close()


def test_scribbled_words_do_not_hold_the_lock(lock):
    from semshare import LockBroken

    lock.acquire()
    state = ffi.from_buffer("unsigned int[]", lock._segment.mapping)
    state[128 // 4] = 12345
    with pytest.raises(LockBroken):
        lock.release()
    assert SemaphoreSet(semid=lock.semid).value() == 1


# ----------------------------------------------------------------------------------------------- making it, all at once


def test_fifty_processes_make_one_lock_at_once(name):
    start = Gate()

    def make_and_use():
        start.pass_through()
        lock = Lock(name)
        for _ in range(20):
            with lock:
                assert SemaphoreSet(semid=lock.semid).value() == 0

    children = [Child(make_and_use) for _ in range(50)]
    start.open(50)
    assert [child.wait() for child in children] == [0] * 50
    lock = Lock(name, create=False)
    assert SemaphoreSet(semid=lock.semid).value() == 1
    assert lock.deaths == 0
    lock.unlink()
    start.close()


def half_made(name: str, step: str) -> None:
    """What a maker leaves behind that is killed after a step."""
    key = key_of(name)
    shmid = lib.shmget(key, lib.SEMSHARE_LOCK_SEGMENT_SIZE, lib.IPC_CREAT | lib.IPC_EXCL | 0o600)
    assert shmid >= 0
    if step == "segment":
        return
    semid = lib.semget(key, 1, lib.IPC_CREAT | lib.IPC_EXCL | 0o600)
    assert semid >= 0
    if step == "set":
        return
    companion = attach(shmid)
    assert isinstance(companion, Segment)
    companion.fill(key, semid, 1, name)


@pytest.mark.parametrize("step", ["segment", "set", "filled"])
@pytest.mark.parametrize("openers", [1, 8])
def test_a_lock_whose_maker_was_killed_in_between_is_made_anew(name, step, openers):
    assert Child(half_made, name, step).wait() == 0
    if step != "segment":
        with pytest.raises(NotFound, match="maker died"):
            Lock.attach(name)
    start = Gate()

    def open_and_use():
        start.pass_through()
        lock = Lock(name)
        for _ in range(50):
            with lock:
                assert SemaphoreSet(semid=lock.semid).value() == 0
                assert lock.owner().pid == os.getpid()

    children = [Child(open_and_use) for _ in range(openers)]
    start.open(openers)
    assert [child.wait() for child in children] == [0] * openers
    lock = Lock(name, create=False)
    assert SemaphoreSet(semid=lock.semid).value() == 1
    lock.unlink()
    start.close()


@pytest.fixture
def swept(name):
    """Whatever a test has made under its name is removed behind it."""
    yield
    with contextlib.suppress(sysv_ipc.ExistentialError):
        sysv_ipc.SharedMemory(key_of(name)).remove()
    with contextlib.suppress(NotFound):
        SemaphoreSet(key_of(name)).remove()


@pytest.mark.parametrize("opened", [Lock, RWLock, Semaphore, lambda name: Lock(name, create=False)])
def test_a_set_without_a_value_that_nobody_knows_the_maker_of_is_not_removed(name, swept, monkeypatch, opened):
    monkeypatch.setattr(named_set, "UNKNOWN_LIMIT", 0.05)
    foreign = SemaphoreSet(key_of(name), count=3, create=True)
    with pytest.raises(Timeout, match=f"another program made set {foreign.semid} .* ipcrm -S {key_of(name):#x}"):
        opened(name)
    assert SemaphoreSet(key_of(name)).semid == foreign.semid
    foreign.set_value(0, 1)
    with Lock(name) as lock:
        assert lock.semid == foreign.semid
    lock.unlink()


@pytest.mark.parametrize(("number", "delta"), [(0, -1), (2, -1)])
@pytest.mark.parametrize("memory", [None, "blank", "of one of us who died"])
def test_a_set_without_a_value_in_which_others_sleep_is_used(name, swept, number, delta, memory):
    foreign = SemaphoreSet(key_of(name), count=3, create=True)
    if memory == "blank":
        assert Child(half_made, name, "segment").wait() == 0
    sleeper = Child(lambda: foreign.operate([(number, delta)]))
    try:
        wait_until(lambda: foreign.waiters(number) == 1, "a sleeper")
        if memory == "of one of us who died":
            assert Child(Lock, name).wait() == 0
            assert stale.find([name]) == []
        began = time.monotonic()
        lock = Lock(name)
        assert time.monotonic() - began < named_set.UNKNOWN_LIMIT
        assert lock.semid == foreign.semid and lock.locked()
        foreign.operate([(number, -delta)])
        assert sleeper.wait() == 0
        foreign.operate([(0, 1)])
        with lock:
            pass
        lock.unlink()
    finally:
        sleeper.kill()


# ------------------------------------------------------------------------------------- memory of other programs


def foreign_memory(name: str, content: bytes, at: int = 4) -> int:
    """A segment under the name's key whose maker, another program, has ended. Returns its id."""

    def make():
        memory = sysv_ipc.SharedMemory(key_of(name), sysv_ipc.IPC_CREX, size=4096, init_character=b"\0")
        memory.write(content, at)
        memory.detach()

    assert Child(make).wait() == 0
    return lib.shmget(key_of(name), 0, 0)


@pytest.mark.parametrize("there", ["no set", "a set"])
@pytest.mark.parametrize(("content", "at"), [(b"data", 4), (b"data", 8), (b"data", 30), (b"x", 4095)])
def test_memory_of_another_program_that_begins_with_zeros_is_left_alone(name, swept, caplog, there, content, at):
    shmid = foreign_memory(name, content, at)
    before = sysv_ipc.SharedMemory(key_of(name)).read()
    if there == "a set":
        SemaphoreSet(key_of(name), count=1, create=True).set_value(0, 1)
    began = time.monotonic()
    with Lock(name) as lock:
        assert time.monotonic() - began < segment.FILL_LIMIT
        assert lock.owner() is None and "another program" in caplog.text
    lock.unlink()
    assert lib.shmget(key_of(name), 0, 0) == shmid
    assert sysv_ipc.SharedMemory(key_of(name)).read() == before


def test_memory_of_another_program_does_not_make_a_set_ours(name, swept, monkeypatch):
    monkeypatch.setattr(named_set, "UNKNOWN_LIMIT", 0.05)
    foreign_memory(name, b"data")
    foreign = SemaphoreSet(key_of(name), count=1, create=True)
    with pytest.raises(Timeout, match="another program"):
        Lock(name)
    foreign.remove()


@pytest.mark.parametrize("there", ["no set", "a set"])
def test_empty_memory_that_another_program_uses_is_left_alone(name, swept, monkeypatch, there):
    monkeypatch.setattr(segment, "FILL_LIMIT", 0.1)
    shmid = foreign_memory(name, b"")
    user = sysv_ipc.SharedMemory(key_of(name))
    if there == "a set":
        SemaphoreSet(key_of(name), count=1, create=True).set_value(0, 1)
    with Lock(name) as lock:
        assert lock.owner() is None
    lock.unlink()
    assert lib.shmget(key_of(name), 0, 0) == shmid
    assert not user.read().strip(b"\0")
    user.detach()


def test_a_lock_whose_maker_was_killed_in_another_pid_namespace_is_made_anew_after_a_while(name, monkeypatch):
    """Whether that lives cannot be seen from here, but that it is one of ours."""
    monkeypatch.setattr(named_set, "UNKNOWN_LIMIT", 0.05)
    monkeypatch.setattr(named_set, "MAKER_LIMIT", 0.5)
    assert Child(half_made, name, "filled").wait() == 0
    abandoned = SemaphoreSet(key_of(name))

    def make():
        with Lock(name) as lock:
            assert lock.semid != abandoned.semid
        lock.unlink()

    assert in_new_namespace(CLONE_NEWPID, make) == 0


def test_who_makes_it_and_lives_is_waited_for(name, monkeypatch):
    monkeypatch.setattr(named_set, "MAKER_LIMIT", 0.2)
    monkeypatch.setattr(segment, "FILL_LIMIT", 0.2)
    gate, go_on = Gate(), Gate()

    def make():
        for step in ("set", "filled"):
            half_made(name, step)
            gate.open()
            go_on.pass_through()
            SemaphoreSet(key_of(name)).remove()
            Segment.remove(attach(lib.shmget(key_of(name), 0, 0)))
        gate.open()
        go_on.pass_through()

    maker = Child(make)
    for _ in range(2):
        gate.pass_through()
        with pytest.raises(Timeout, match=f"kill -CONT {maker.pid}"):
            Lock(name)
        go_on.open()
    gate.pass_through()
    go_on.open()
    assert maker.wait() == 0
    Lock(name).unlink()
    gate.close(), go_on.close()


def test_makers_killed_at_any_moment_leave_a_lock_that_can_be_made(name):
    def make():
        while True:
            Lock(name).unlink()

    for _ in range(40):
        child = Child(make)
        time.sleep(random.uniform(0.0, 0.01))
        child.kill()
        lock = Lock(name)
        with lock:
            assert lock.owner().pid == os.getpid()
        lock.unlink()


def test_a_companion_of_a_set_that_is_gone_is_replaced(name):
    old = Lock(name)
    SemaphoreSet(semid=old.semid).remove()
    new = Lock(name)
    with new:
        assert new.owner().pid == os.getpid() and Lock(name).owner() == new.owner()
    new.unlink()


def test_names_with_the_same_key_are_told_apart(name, names):
    """Two names whose hashes collide: the lock's name is stored, so the second is refused."""
    lock = Lock(name)
    try:
        stored = ffi.from_buffer("char[]", lock._segment.mapping)
        other = names()
        ffi.buffer(stored)[24 : 24 + 64] = other.encode().ljust(64, b"\0")
        with pytest.raises(NameCollision, match=other):
            Lock(name)
    finally:
        lock.unlink()


def test_a_strange_segment_under_the_key_is_left_alone(name):
    shmid = lib.shmget(key_of(name), 100, lib.IPC_CREAT | lib.IPC_EXCL | 0o600)
    try:
        lock = Lock(name)
        with lock:
            assert lock.owner() is None
            with pytest.raises(RuntimeError):
                Lock(name).acquire()
        lock.unlink()
        assert lib.shmget(key_of(name), 0, 0) == shmid
    finally:
        lib.shmctl(shmid, lib.IPC_RMID, ffi.NULL)


def test_nothing_is_left_when_python_ends_while_holding(lock, name):
    code = f"import semshare; lock = semshare.Lock({name!r}); lock.acquire()"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert lock.acquire(timeout=10)
    assert lock.owner_died is not None
    lock.release()
