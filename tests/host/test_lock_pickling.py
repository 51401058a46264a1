# SPDX-License-Identifier: MIT
"""Locks and their like on their way to other processes: pickled, by multiprocessing, by concurrent.futures."""

from __future__ import annotations

import concurrent.futures
import contextlib
import copy
import multiprocessing
import os
import pickle
from pathlib import Path

import pytest
from lock_factories import KINDS, LOCKS, Can
from processes import LIMIT

from semshare import (
    Area,
    Barrier,
    Event,
    Lock,
    LockPool,
    NotFound,
    OwnerDied,
    Ring,
    RWLock,
    Semaphore,
    SemaphoreSet,
    key_of,
)

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)
each_lock = pytest.mark.parametrize("kind", LOCKS, ids=lambda kind: kind.id)
METHODS = ["fork", "forkserver", "spawn"]


@pytest.fixture(scope="module", params=METHODS)
def context(request):
    """multiprocessing by one start method. A server that has the package loaded already forks quickly."""
    context = multiprocessing.get_context(request.param)
    if request.param == "forkserver":
        context.set_forkserver_preload(["semshare", "test_lock_pickling"])
    return context


@pytest.fixture
def path(monkeypatch):
    """What is spawned finds this module."""
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")])))


def remove(made):
    made.unlink()
    made.close()


# ----------------------------------------------------------------------------------------------------- there and back


@each_kind
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_comes_out_of_a_pickle_is_the_same_one(kind, name, protocol):
    made = kind.make(name)
    try:
        again = pickle.loads(pickle.dumps(made, protocol))
        assert type(again) is type(made) and again is not made
        assert (again.name, again.key, again.semid) == (name, made.key, made.semid)
        if kind.lock is None:
            return
        ours, theirs = kind.lock(made), pickle.loads(pickle.dumps(kind.lock(made), protocol))
        assert type(theirs) is type(ours)
        with ours:
            assert theirs.locked() == ours.locked()
        with theirs:
            assert theirs.locked() == ours.locked()
            if kind.can & Can.OWN:
                assert theirs.held() and ours.owner() == theirs.owner() and ours.owner().pid == os.getpid()
        assert not ours.locked()
    finally:
        remove(made)


@each_lock
def test_a_copy_is_another_object_for_the_same_lock(kind, name):
    made = kind.make(name)
    try:
        lock = kind.lock(made)
        for again in (copy.copy(lock), copy.deepcopy(lock)):
            assert again is not lock and again.semid == lock.semid
            with again:
                if kind.can & Can.EXCLUDE and not kind.can & Can.AGAIN:
                    assert lock.acquire_nowait() is False
            assert not lock.locked()
    finally:
        remove(made)


@each_kind
def test_what_was_made_by_key_or_has_none_is_pickled_as_well(kind, name):
    cls = type(kind.make(name))
    kind.remove(name)
    options = {LockPool: {"count": 4}, Barrier: {"parties": 2}}.get(cls, {})
    made = cls(key=key_of(name), **options)
    try:
        again = pickle.loads(pickle.dumps(made))
        assert (again.name, again.key, again.semid) == (None, made.key, made.semid)
    finally:
        remove(made)


def test_a_lock_without_a_key_is_known_by_its_id():
    private = SemaphoreSet(0, count=1, create=True)
    try:
        private.operate([(0, 1)])
        assert pickle.loads(pickle.dumps(Lock(semid=private.semid))).semid == private.semid
    finally:
        private.remove()


@each_kind
def test_what_was_unlinked_is_not_made_again_by_a_pickle(kind, name):
    made = kind.make(name)
    pickled = [pickle.dumps(made)] + ([pickle.dumps(kind.lock(made))] if kind.lock else [])
    remove(made)
    for each in pickled:
        with pytest.raises(NotFound, match=name):
            pickle.loads(each)


def note(lock, died):
    """A function of a module, so it can be pickled."""


def test_a_pickle_says_what_is_done_when_the_owner_died(names):
    for how in ("warn", "raise", note):
        for cls, options in ((Lock, {}), (RWLock, {}), (LockPool, {"count": 2})):
            made = cls(names(), on_owner_died=how, **options)
            try:
                assert pickle.loads(pickle.dumps(made)).on_owner_died == how
                if cls is LockPool:
                    assert pickle.loads(pickle.dumps(made[1])).on_owner_died == how
                    assert pickle.loads(pickle.dumps(made.multi(0, 1))).on_owner_died == how
                if cls is RWLock:
                    assert pickle.loads(pickle.dumps(made.write())).on_owner_died == how
            finally:
                remove(made)


def test_what_several_share_is_shared_behind_the_pickle(name):
    """A pool goes once with all that it holds, and so does what refers to one object twice."""
    pool = LockPool(name, 3)
    try:
        again, same = pickle.loads(pickle.dumps((pool, pool)))
        assert again is same
    finally:
        remove(pool)


def test_the_lock_of_a_ring_is_not_pickled_but_the_ring_opened_by_name(name):
    ring = Ring.create(name, 4096)
    try:
        with pytest.raises(TypeError, match="open the ring by name"):
            pickle.dumps(ring.lock)
    finally:
        ring.unlink()
        ring.close()


# ----------------------------------------------------------------------------------------------------- multiprocessing


def add(counter, lock, rounds, done):
    """Count in shared memory, not by atomic instructions. Run in a child."""
    words = memoryview(counter.buffer).cast("Q")
    for _ in range(rounds):
        with lock:
            words[0] = words[0] + 1
    words.release()
    done.release()


def count_by_name(name, lock, rounds, done):
    with Area(name) as counter:
        add(counter, lock, rounds, done)


def test_what_is_given_to_a_process_excludes_there(context, names, path):
    """All that exclude, in one process each, and this one: one start for all, as starts are dear."""
    kinds = [kind for kind in LOCKS if kind.can & Can.EXCLUDE]
    made = [kind.make(names()) for kind in kinds]
    areas = [Area.create(names(), 4096) for _ in kinds]
    done = Semaphore(names(), 0)
    rounds = 300
    try:
        jobs = [(area.name, kind.lock(each), rounds, done) for kind, each, area in zip(kinds, made, areas)]
        children = [context.Process(target=work, args=(jobs,)) for _ in range(2)]
        for child in children:
            child.start()
        work(jobs)
        for child in children:
            child.join(LIMIT)
            assert child.exitcode == 0
        for kind, area in zip(kinds, areas):
            assert memoryview(area.buffer).cast("Q")[0] == 3 * rounds, kind.id
        assert done.value == 3 * len(kinds)
    finally:
        for each in [*made, *areas, done]:
            remove(each)


def work(jobs):
    for job in jobs:
        count_by_name(*job)


def look(locks, owner):
    """What a child finds that is given locks which another process holds: its exit status is what is wrong."""
    wrong = []
    for lock in locks:
        with contextlib.suppress(RuntimeError):
            lock.release()
            wrong.append("it was released")
        if lock.held() or lock.acquire_nowait() or lock.acquire(timeout=0):
            wrong.append("it is held twice")
        if lock.owner().pid != owner:
            wrong.append(f"{lock.owner()} has it")
    raise SystemExit(", ".join(wrong) or 0)


def test_what_its_parent_holds_a_child_does_not(context, names, path):
    kinds = [kind for kind in LOCKS if kind.can & Can.OWN]
    made = [kind.make(names()) for kind in kinds]
    locks = [kind.lock(each) for kind, each in zip(kinds, made)]
    try:
        for lock in locks:
            lock.acquire()
        child = context.Process(target=look, args=(locks, os.getpid()))
        child.start()
        child.join(LIMIT)
        held = [lock.held() and lock.locked() for lock in locks]
        for lock in locks:
            lock.release()
        assert child.exitcode == 0
        assert all(held) and not any(lock.locked() for lock in locks)
    finally:
        for each in made:
            remove(each)


def wait_and_tell(event, semaphore):
    if event.wait(LIMIT):
        semaphore.release()


def test_an_event_wakes_who_was_given_it(context, names, path):
    event, told = Event(names()), Semaphore(names(), 0)
    try:
        child = context.Process(target=wait_and_tell, args=(event, told))
        child.start()
        event.set()
        assert told.acquire(timeout=LIMIT)
        child.join(LIMIT)
        assert child.exitcode == 0
    finally:
        remove(event), remove(told)


# -------------------------------------------------------------------------------------------------- concurrent.futures


def add_in_pool(name, lock, rounds):
    with Area(name) as counter:
        words = memoryview(counter.buffer).cast("Q")
        for _ in range(rounds):
            with lock:
                words[0] = words[0] + 1
        words.release()
    return lock.statistics().acquisitions


def test_tasks_of_an_executor_take_what_they_are_given(context, names, path):
    lock, counter = Lock(names()), Area.create(names(), 4096)
    try:
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
            tasks = [executor.submit(add_in_pool, counter.name, lock, 100) for _ in range(6)]
            assert [task.result(LIMIT) for task in tasks] == [100] * 6
        assert memoryview(counter.buffer).cast("Q")[0] == 600
    finally:
        remove(lock), remove(counter)


def open_what_is_gone(name):
    Lock.attach(name)


def hold_and_end(name):
    Lock(name).acquire()  # forgotten while it is held: as if its owner had died
    Lock(name, on_owner_died="raise").acquire()


def test_errors_come_back_from_a_task_as_they_were(names):
    missing, suspect = names(), names()
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as executor:
        with pytest.raises(NotFound, match=missing) as caught:
            executor.submit(open_what_is_gone, missing).result(LIMIT)
        assert caught.value.errno == 2
        with pytest.raises(OwnerDied, match=suspect) as died:
            executor.submit(hold_and_end, suspect).result(LIMIT)
        assert died.value.errno == 130 and died.value.pid > 0 and died.value.pid != os.getpid()
    Lock(suspect).unlink()
