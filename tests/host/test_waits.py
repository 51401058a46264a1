# SPDX-License-Identifier: MIT
"""Who waits for whom: what /proc shows of a wait, and which of these are deadlocks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sysv_ipc
from effort import scaled
from processes import Child, Gate, wait_until
from semshare._abi import lib

from semshare import (
    IPC_PRIVATE,
    SEM_UNDO,
    Lock,
    LockPool,
    Operation,
    RLock,
    RWLock,
    SemaphoreSet,
    aio,
    deadlocks,
    waits,
)
from semshare.cli import relations
from semshare.deadlocks import Hold, Semaphore
from semshare.waits import Thread

pytestmark = pytest.mark.skipif(platform.machine() not in waits.SEMOP_CALLS, reason="its calls have unknown numbers")


@pytest.fixture
def semaphores():
    """A set of three semaphores of another program."""
    made = SemaphoreSet(IPC_PRIVATE, count=3, create=True)
    yield made
    with contextlib.suppress(OSError):
        made.remove()


@pytest.fixture
def children():
    """Children that do not outlive the test: add them."""
    made: list[Child] = []
    yield made
    for child in made:
        child.kill()


def waiting(taken: SemaphoreSet, number: int = 0, times: int = 1) -> None:
    """Wait until so many wait for a semaphore."""
    wait_until(lambda: taken.waiters(number) + taken.zero_waiters(number) == times, "the wait")


def waits_of(pid: int) -> list[waits.Wait]:
    """A process's, by as many looks as it takes: a wait in slices has moments in which it is none."""
    found: list[waits.Wait] = []

    def is_seen() -> bool:
        found[:] = [wait for wait in waits.look().waits if wait.thread.pid == pid]
        return bool(found)

    wait_until(is_seen, f"a wait of process {pid} to be seen")
    return found


# ------------------------------------------------------------------------------------------------------ what is blocked


@pytest.mark.parametrize(
    "operations, values, numbers",
    [
        ([(0, -1)], [0], [0]),
        ([(0, -1)], [1], []),
        ([(0, -3)], [2], [0]),
        ([(0, 0)], [1], [0]),
        ([(0, 0)], [0], []),
        ([(0, -1), (1, -1)], [0, 0], [0, 1]),
        ([(0, -1), (1, -1)], [1, 0], [1]),
        ([(0, 0), (0, 1)], [0], []),
        ([(0, 1), (0, 0)], [0], [0]),
        ([(0, -32763), (0, 32762)], [32762], [0]),
        ([(0, -32763), (0, 32762)], [32763], []),
        ([(7, -1)], [0], []),
    ],
)
def test_what_is_in_the_way_of_operations(operations, values, numbers):
    given = [Operation(*each) for each in operations]
    assert [each.number for each in waits.blocked(given, values)] == numbers


# --------------------------------------------------------------------------------------------------------- what is seen


@pytest.mark.parametrize(
    "operations, timeout",
    [([(0, -1)], None), ([(1, -2, SEM_UNDO)], 1000.0), ([(0, 1), (1, 0), (2, -5), (0, -1)], None)],
)
def test_a_wait_is_seen_with_its_operations(semaphores, children, operations, timeout):
    children.append(Child(semaphores.operate, operations, timeout))
    waiting(semaphores, next(number for number, delta, *_ in operations if delta < 0))
    (wait,) = waits_of(children[0].pid)
    assert wait.thread == Thread(children[0].pid, children[0].pid)
    assert wait.semid == semaphores.semid
    assert list(wait.operations) == [Operation(*each) for each in operations]


def test_a_wait_that_is_over_is_not_seen(semaphores, children):
    gate = Gate()

    def wait_and_stay():
        semaphores.operate([(0, -1)])
        gate.open()
        signal.pause()

    children.append(Child(wait_and_stay))
    waiting(semaphores)
    semaphores.operate([(0, 1)])
    gate.pass_through()
    assert not [wait for wait in waits.look().waits if wait.thread.pid == children[0].pid]
    gate.close()


def test_each_thread_is_seen_by_itself(semaphores):
    threads = [threading.Thread(target=semaphores.operate, args=([(number, -1)],)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(3):
            waiting(semaphores, number)
        found = {
            wait.operations[0].number: wait.thread for wait in waits.look().waits if wait.semid == semaphores.semid
        }
        assert found == {number: Thread(os.getpid(), thread.native_id) for number, thread in enumerate(threads)}
    finally:
        semaphores.operate([(number, 1) for number in range(3)])
        for thread in threads:
            thread.join()


def test_a_wait_of_a_lock_is_seen_though_it_comes_in_slices(name, children):
    lock = Lock(name)
    with lock:
        children.append(Child(lambda: Lock(name).acquire(timeout=1000.0)))
        waiting(SemaphoreSet(semid=lock.semid))
        (wait,) = waits_of(children[0].pid)
        assert (wait.semid, wait.operations[0].number, wait.operations[0].delta) == (lock.semid, 0, -1)
    lock.unlink()


def test_waits_in_another_ipc_namespace_are_not_ours(semaphores):
    script = """
from semshare import IPC_PRIVATE, SemaphoreSet
import sys
made = SemaphoreSet(IPC_PRIVATE, count=3, create=True)
print(made.semid, flush=True)
made.operate([(0, -1)])
"""
    process = subprocess.Popen(["unshare", "-i", sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    if not process.stdout.readline():
        pytest.skip("no IPC namespace can be made here")
    try:
        wait_until(lambda: "semtimedop" in Path(f"/proc/{process.pid}/wchan").read_text(), "its wait")
        found = waits.look()
        assert process.pid not in [wait.thread.pid for wait in found.waits]
        assert process.pid not in [thread.pid for thread in found.unplaced]
    finally:
        process.kill()
        process.communicate()


def test_a_process_that_may_not_be_traced_is_counted_and_its_wait_has_no_place(semaphores, children, monkeypatch):
    children.append(Child(semaphores.operate, [(0, -1)]))
    waiting(semaphores)
    pid, wait_of = children[0].pid, waits._wait_of

    def refuse(thread):
        if thread.pid == pid:
            raise PermissionError
        return wait_of(thread)

    monkeypatch.setattr(waits, "_wait_of", refuse)
    found = waits.look()
    assert Thread(pid, pid) in found.unplaced
    assert pid not in [wait.thread.pid for wait in found.waits]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_processes_of_other_users_are_hidden_from_users(semaphores, children):
    children.append(Child(semaphores.operate, [(0, -1)]))
    waiting(semaphores)

    def look():
        os.setgroups([])
        os.setresuid(65534, 65534, 65534)
        found = waits.look()
        assert found.hidden > 0 and children[0].pid not in [wait.thread.pid for wait in found.waits]

    assert Child(look).wait() == 0


def test_a_routed_wait_is_read_out_of_its_ioctl(monkeypatch):
    """As a program of `semshare exec` sleeps, whose call cannot be made without the module."""
    memory = {
        0x1000: waits._ROUTED.pack(4711, 2, 0x2000, 0, 0, 0),
        0x2000: waits._SEMBUF.pack(3, -1, SEM_UNDO) + waits._SEMBUF.pack(4, 0, 0),
    }
    call = waits.IOCTL_CALLS[platform.machine()]
    line = f"{call} 0x5 {lib.SEMSHARE_ROUTE_SEMTIMEDOP:#x} 0x1000 0x0 0x0 0x0 0x7ffe0000 0x7fff0000\n"
    monkeypatch.setattr(waits, "_first_line", lambda path: line)
    monkeypatch.setattr(waits, "_memory", lambda pid, address, size: memory[address][:size])
    me = Thread(os.getpid(), os.getpid())
    expected = (Operation(3, -1, SEM_UNDO), Operation(4, 0, 0))
    assert waits._wait_of(me) == waits.Wait(me, 4711, expected)
    line = line.replace(f"{lib.SEMSHARE_ROUTE_SEMTIMEDOP:#x}", "0x5401")
    assert waits._wait_of(me) is None


# ------------------------------------------------------------------------------------------------- which are deadlocks


def threads(*numbers: int) -> list[Thread]:
    return [Thread(number, number) for number in numbers]


def sems(*numbers: int) -> list[Semaphore]:
    return [Semaphore(number, 0) for number in numbers]


def find(wants: dict, has: dict) -> list[list[tuple[int, int, bool]]]:
    """Cycles of (pid, semid, certain), from who waits for which and who has which."""
    found = deadlocks.find(
        {Thread(pid, pid): sems(*semids) for pid, semids in wants.items()},
        {Semaphore(semid, 0): holds for semid, holds in has.items()},
    )
    return [[(step.thread.pid, step.semaphore.semid, step.certain) for step in cycle] for cycle in found]


def of(*pids: int) -> list[Hold]:
    return [Hold(thread) for thread in threads(*pids)]


def test_a_chain_is_no_deadlock():
    assert find({1: [10], 2: [11]}, {10: of(2), 11: of(3)}) == []


def test_a_circle_is_one_and_begins_at_its_first_thread():
    assert find({2: [10], 1: [11]}, {10: of(1), 11: of(2)}) == [[(1, 11, True), (2, 10, True)]]


def test_who_waits_for_himself_is_one():
    assert find({1: [10]}, {10: of(1)}) == [[(1, 10, True)]]


def test_who_waits_behind_a_circle_is_not_in_it():
    assert find({1: [11], 2: [10], 3: [10]}, {10: of(1), 11: of(2)}) == [[(1, 11, True), (2, 10, True)]]


def test_all_circles_are_found_each_once():
    wants = {1: [11], 2: [10], 3: [13], 4: [14], 5: [12]}
    has = {10: of(1), 11: of(2), 12: of(3), 13: of(4), 14: of(5)}
    assert find(wants, has) == [
        [(1, 11, True), (2, 10, True)],
        [(3, 13, True), (4, 14, True), (5, 12, True)],
    ]


def test_one_of_several_holders_and_one_of_several_semaphores_is_enough():
    assert find({1: [10, 11], 2: [12]}, {11: of(7, 2), 12: of(1)}) == [[(1, 11, True), (2, 12, True)]]


def test_where_the_thread_is_not_known_any_of_its_process_may_be_it_and_that_is_said():
    waits_for = {Thread(1, 1): sems(11), Thread(2, 8): sems(10), Thread(2, 9): sems(99)}
    found = deadlocks.find(waits_for, {sems(10)[0]: of(1), sems(11)[0]: [Hold(Thread(2, 0))]})
    assert [[(step.thread, step.certain) for step in cycle] for cycle in found] == [
        [(Thread(1, 1), False), (Thread(2, 8), True)]
    ]


def test_what_is_only_presumed_is_said():
    assert find({1: [10], 2: [11]}, {10: [Hold(Thread(2, 2), False)], 11: of(1)}) == [[(1, 10, False), (2, 11, True)]]


# -------------------------------------------------------------------------------------------------- between processes


def cycles(looks: int = 3) -> list[tuple[deadlocks.Step, ...]]:
    return relations.take(looks, 0.02).cycles


def cycles_of(*children: Child) -> list[tuple[deadlocks.Step, ...]]:
    """The cycles in which one of the children is. Others may test here too."""
    pids = {child.pid for child in children}
    return [cycle for cycle in cycles() if pids & {step.thread.pid for step in cycle}]


def cycle_of(*children: Child) -> tuple[deadlocks.Step, ...]:
    """The one cycle, as soon as it is seen: a busy machine may keep a waiter in the moment between two slices."""
    found: list[tuple[deadlocks.Step, ...]] = []

    def is_seen() -> bool:
        found[:] = cycles_of(*children)
        return bool(found)

    wait_until(is_seen, "the deadlock to be seen")
    assert len(found) == 1
    return found[0]


def take_crosswise(children, *takes) -> None:
    """Have as many children each take its own first, then all of them the next one's, and wait for it."""
    ready, go = Gate(), Gate()

    def take(mine, next_one):
        mine()
        ready.open()
        go.pass_through()
        next_one()

    for number, mine in enumerate(takes):
        children.append(Child(take, mine, takes[(number + 1) % len(takes)]))
    for _ in takes:
        ready.pass_through()
    go.open(len(takes))


def hold(lock) -> None:
    """Take a lock that is not to go with the last reference to it."""
    kept.append(lock)
    lock.acquire()


kept: list[object] = []


def steps(cycle) -> set[tuple[int, int, int]]:
    return {(step.thread.pid, step.semaphore.semid, step.semaphore.number) for step in cycle}


@pytest.mark.parametrize("kind", [Lock, RLock])
@pytest.mark.parametrize("number", [2, 3])
def test_processes_that_take_locks_crosswise_are_a_deadlock(names, children, kind, number):
    locks = [kind(names()) for _ in range(number)]
    take_crosswise(children, *[kind(lock.name).acquire for lock in locks])
    cycle = cycle_of(*children)
    assert all(step.certain for step in cycle)
    assert steps(cycle) == {(child.pid, locks[(place + 1) % number].semid, 0) for place, child in enumerate(children)}
    for lock in locks:
        lock.unlink()


def test_once_one_of_them_is_killed_there_is_none(names, children):
    locks = [Lock(names()) for _ in range(2)]
    take_crosswise(children, *[Lock(lock.name).acquire for lock in locks])
    cycle_of(*children)
    children[0].kill()
    assert children[1].wait() == 0
    assert not cycles_of(*children)
    for lock in locks:
        lock.unlink()


def test_locks_of_a_pool_are_told_apart(name, children):
    pool = LockPool(name, 5)
    take_crosswise(children, *[lambda n=n: hold(LockPool(name, 5)[n]) for n in (1, 4)])
    assert steps(cycle_of(*children)) == {(children[0].pid, pool.semid, 4), (children[1].pid, pool.semid, 1)}
    pool.unlink()


def test_who_waits_for_several_at_once_waits_for_each(name, children):
    pool = LockPool(name, 5)
    take_crosswise(children, lambda: hold(LockPool(name, 5)[4]), lambda: hold(LockPool(name, 5).multi(0, 1, 2)))
    wait_until(lambda: cycles_of(*children), "the deadlock")
    found = relations.take(3, 0.02)
    (multi,) = [each for each in found.waits.values() if each.wait.thread.pid == children[0].pid]
    assert [semaphore.number for semaphore in multi.semaphores] == [0, 1, 2]
    pool.unlink()


def test_a_long_wait_is_no_deadlock(names, children):
    first, second = Lock(names()), Lock(names())
    gate = Gate()

    def hold_and_wait():
        with Lock(first.name):
            gate.open()
            Lock(second.name).acquire()

    with second:
        children.append(Child(hold_and_wait))
        gate.pass_through()
        waiting(SemaphoreSet(semid=second.semid))
        children.append(Child(Lock(first.name).acquire))
        waiting(SemaphoreSet(semid=first.semid))
        found = relations.take(3, 0.02)
        assert not cycles_of(*children)
        assert [hold.thread.pid for hold in found.holds[Semaphore(second.semid, 0)]] == [os.getpid()]
        assert [hold.thread.pid for hold in found.holds[Semaphore(first.semid, 0)]] == [children[0].pid]
        assert {each.wait.thread.pid for each in found.waiters_for(first.semid)} == {children[1].pid}
    first.unlink(), second.unlink()


def test_processes_that_take_turns_in_the_right_order_are_none_however_often_one_looks(names, children):
    locks = [Lock(names()) for _ in range(3)]

    def turn():
        first, second, third = (Lock(lock.name) for lock in locks)
        while True:
            with first, second, third:
                pass
            with second, third:
                pass

    children += [Child(turn) for _ in range(2)]
    for _ in range(scaled(5)):
        assert not cycles_of(*children)
    for child in children:
        child.kill()
    for lock in locks:
        lock.unlink()


def test_a_thread_that_holds_and_another_that_waits_are_two(names, children):
    """Of the same process: so nobody waits in a circle."""
    mine, its = Lock(names()), Lock(names())
    gate = Gate()

    def take_both():
        hold(Lock(its.name))
        gate.open()
        hold(Lock(mine.name))

    mine.acquire()
    children.append(Child(take_both))
    gate.pass_through()
    other = threading.Thread(target=lambda: its.acquire(timeout=1000.0) and its.release())
    other.start()
    waiting(SemaphoreSet(semid=its.semid))
    waiting(SemaphoreSet(semid=mine.semid))
    for _ in range(3):
        assert not cycles_of(children[0])
    children[0].kill()
    other.join()
    mine.release()
    mine.unlink(), its.unlink()


def test_the_thread_that_is_in_a_deadlock_is_named(names, children):
    locks = [Lock(names()) for _ in range(2)]
    tids, tell = os.pipe()
    ready, go = Gate(), Gate()

    def with_threads():
        def take():
            os.write(tell, b"%d\n" % threading.get_native_id())
            hold(Lock(locks[0].name))
            ready.open()
            go.pass_through()
            hold(Lock(locks[1].name))

        thread = threading.Thread(target=take)
        thread.start()
        thread.join()

    def alone():
        hold(Lock(locks[1].name))
        ready.open()
        go.pass_through()
        hold(Lock(locks[0].name))

    children += [Child(with_threads), Child(alone)]
    ready.pass_through(), ready.pass_through()
    go.open(2)
    tid = int(os.read(tids, 20))
    cycle = cycle_of(*children)
    assert {step.thread for step in cycle} == {
        Thread(children[0].pid, tid),
        Thread(children[1].pid, children[1].pid),
    }
    assert all(step.certain for step in cycle)
    for lock in locks:
        lock.unlink()


def test_a_plain_program_that_takes_our_lock_twice_is_one(name, children):
    lock = Lock(name)

    def take_twice():
        plain = sysv_ipc.Semaphore(lock.key)
        plain.undo = True
        plain.acquire()
        plain.acquire()

    children.append(Child(take_twice))
    (step,) = cycle_of(*children)
    assert step.certain and step.thread.pid == children[0].pid and step.semaphore.semid == lock.semid
    lock.unlink()


def test_plain_programs_that_take_their_own_semaphores_crosswise_are_perhaps_one(children):
    made = [SemaphoreSet(IPC_PRIVATE, count=1, create=True) for _ in range(2)]
    for each in made:
        each.operate([(0, 1)])
    take_crosswise(children, *[lambda each=each: each.operate([(0, -1)]) for each in made])
    cycle = cycle_of(*children)
    assert not any(step.certain for step in cycle)
    assert steps(cycle) == {(children[0].pid, made[1].semid, 0), (children[1].pid, made[0].semid, 0)}
    for each in made:
        each.remove()


def test_tasks_that_take_locks_crosswise_are_perhaps_one(names, children):
    """A task has no thread of its own, and others of its process may wait."""
    locks = [Lock(names()) for _ in range(2)]
    ready, go = Gate(), Gate()

    def run(mine, other):
        async def take():
            async with aio.Lock(locks[mine].name):
                ready.open()
                go.pass_through()
                async with aio.Lock(locks[other].name):
                    pass

        asyncio.run(take())

    children += [Child(run, 0, 1), Child(run, 1, 0)]
    ready.pass_through(), ready.pass_through()
    go.open(2)
    cycle = cycle_of(*children)
    assert {(step.thread.pid, step.semaphore.semid, step.certain) for step in cycle} == {
        (children[0].pid, locks[1].semid, False),
        (children[1].pid, locks[0].semid, False),
    }
    assert [lock.owner().tid for lock in locks] == [0, 0]
    for child in children:
        child.kill()
    for lock in locks:
        lock.unlink()


def test_who_waits_for_an_event_that_he_took_last_is_none(semaphores, children):
    def consume():
        while True:
            semaphores.operate([(0, -1)])

    children.append(Child(consume))
    semaphores.operate([(0, 1)])
    wait_until(lambda: semaphores.value(0) == 0 and semaphores.waiters(0) == 1, "the consumer")
    assert semaphores.pid(0) == children[0].pid
    assert not cycles_of(*children)


def test_a_writer_and_a_reader_in_each_others_way_are_perhaps_one(names, children):
    """Who reads leaves no words: who did that last is taken for the reader."""
    lock, shared = Lock(names()), RWLock(names())

    ready, go = Gate(), Gate()

    def take(first, second):
        hold(first())
        ready.open()
        go.pass_through()
        hold(second())

    read, write = (lambda: RWLock(shared.name).read()), (lambda: RWLock(shared.name).write())
    children += [Child(take, read, lambda: Lock(lock.name)), Child(take, lambda: Lock(lock.name), write)]
    ready.pass_through(), ready.pass_through()
    go.open(2)
    cycle = cycle_of(*children)
    certain = {step.thread.pid: step.certain for step in cycle}
    assert certain == {children[0].pid: True, children[1].pid: False}
    lock.unlink(), shared.unlink()


def test_who_may_not_read_because_a_writer_waits_waits_for_that_writer(names, children):
    shared = RWLock(names())
    taken = SemaphoreSet(semid=shared.semid)
    reading = shared.read()
    reading.acquire()
    children.append(Child(lambda: RWLock(shared.name).write().acquire()))
    wait_until(lambda: taken.value(lib.SEMSHARE_RWLOCK_WAITING) == 1, "the writer")
    children.append(Child(lambda: RWLock(shared.name).read().acquire()))
    waiting(taken, lib.SEMSHARE_RWLOCK_WAITING)
    semaphore = Semaphore(shared.semid, lib.SEMSHARE_RWLOCK_WAITING)

    def is_seen() -> bool:
        found = relations.take(2, 0.02)
        holds = [hold.thread.pid for hold in found.holds.get(semaphore, ())]
        waiters = [each.wait.thread.pid for each in found.waiters_for(*semaphore)]
        return holds == [children[0].pid] and waiters == [children[1].pid]

    wait_until(is_seen, "the reader behind the writer")
    assert not cycles_of(*children)
    for child in children:
        child.kill()
    reading.release()
    shared.unlink()


def test_waiters_that_cannot_be_seen_are_counted(name, children, monkeypatch):
    lock = Lock(name)
    with lock:
        children += [Child(Lock(name).acquire) for _ in range(2)]
        waiting(SemaphoreSet(semid=lock.semid), times=2)
        look = waits.look

        def partly():
            found = look()
            hidden = [wait for wait in found.waits if wait.thread.pid != children[0].pid]
            return found._replace(waits=hidden)

        monkeypatch.setattr(waits, "look", partly)
        semaphore = Semaphore(lock.semid, 0)
        wait_until(lambda: relations.take(2, 0.02).unknown.get(semaphore) == 1, "one to be counted")
    for child in children:
        child.kill()
    lock.unlink()


def test_a_hold_that_changed_hands_between_the_looks_is_in_no_deadlock(names, children, monkeypatch):
    """Of two looks each may show a circle, and neither be one: the epoch tells that it was another time."""
    locks = [Lock(names()) for _ in range(2)]
    take_crosswise(children, *[Lock(lock.name).acquire for lock in locks])
    cycle_of(*children)
    look = relations._look
    turns = iter(range(1000))

    def moved():
        found, turn = look(), next(turns)
        for semaphore, held in found.held.items():
            held[:] = [each._replace(epoch=turn) if semaphore.semid == locks[0].semid else each for each in held]
        return found

    monkeypatch.setattr(relations, "_look", moved)
    assert not cycles_of(*children)
    for child in children:
        child.kill()
    for lock in locks:
        lock.unlink()


def test_a_set_that_is_removed_between_the_looks_is_no_trouble(children, monkeypatch):
    made = SemaphoreSet(IPC_PRIVATE, count=1, create=True)

    def wait():
        with contextlib.suppress(OSError):
            made.operate([(0, -1)])

    children.append(Child(wait))
    waiting(made)
    waits_of(children[0].pid)
    look = relations._look
    looks = []

    def look_and_remove():
        looks.append(look())
        if len(looks) == 2:
            assert made.semid in looks[0].sets and made.semid in looks[1].sets
            made.remove()
        return looks[-1]

    monkeypatch.setattr(relations, "_look", look_and_remove)
    found = relations.take(3, 0.01)
    assert made.semid not in found.sets
    assert not [each for each in found.waits.values() if each.wait.semid == made.semid]
    assert not [semaphore for semaphore in found.unknown if semaphore.semid == made.semid]


@pytest.mark.parametrize(
    "counts, most", [([1, 0, 1, 1], 1), ([0, 0, 0, 1], 0), ([2, 2, 0], 2), ([0, 1, 1, 2, 0, 2], 1)]
)
def test_who_waits_in_slices_is_counted_though_some_looks_miss_it(counts, most):
    assert relations._in_half(counts) == most


def test_a_look_does_not_take_long():
    """A bound against hanging, no measurement."""
    began = time.monotonic()
    waits.look()
    assert time.monotonic() - began < 60
