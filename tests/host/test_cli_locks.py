# SPDX-License-Identifier: MIT
"""What ls, inspect, doctor and unlock say of locks of all kinds, and do to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import pytest
import sysv_ipc
from click.testing import CliRunner, Result
from companions import Companion
from processes import Child, Gate, wait_until
from semshare._abi import lib

from semshare import (
    IPC_PRIVATE,
    BoundedSemaphore,
    Event,
    Lock,
    LockPool,
    Ring,
    RLock,
    RWLock,
    Semaphore,
    SemaphoreSet,
    advice,
)
from semshare.cli import main, relations

LOCK, RLOCK, POOL, RWLOCK = (
    lib.SEMSHARE_SET_LOCK,
    lib.SEMSHARE_SET_RLOCK,
    lib.SEMSHARE_SET_POOL,
    lib.SEMSHARE_SET_RWLOCK,
)
CONDITION, BARRIER = lib.SEMSHARE_SET_CONDITION, lib.SEMSHARE_SET_BARRIER
ME = os.getpid()


def semshare(*arguments: str) -> Result:
    """Call a command in this process."""
    ended = CliRunner().invoke(main, arguments)
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended


def told(*arguments: str) -> dict:
    """What a command says with --json."""
    ended = semshare(*arguments, "--json")
    return json.loads(ended.stdout)


def listed(name: str) -> dict:
    (found,) = [each for each in told("ls")["sets"] if each["name"] == name]
    return found


def line_of(name: str, text: str) -> str:
    return next(line for line in text.splitlines() if f" {name} " in line)


@pytest.fixture
def children():
    """Children that do not outlive the test: add them."""
    made: list[Child] = []
    yield made
    for child in made:
        child.kill()


@pytest.fixture
def by_hand(name):
    """Makes a set and its companion, which go with the test."""
    made: list[Companion] = []

    def make(*arguments, **more) -> Companion:
        made.append(Companion(name, *arguments, **more))
        return made[-1]

    yield make
    for each in made:
        each.remove()


@pytest.fixture
def lock(name):
    made = Lock(name)
    yield made
    made.unlink()


@pytest.fixture
def pool(name):
    made = LockPool(name, 5)
    yield made
    made.unlink()


def dead_process() -> int:
    child = Child(lambda: None)
    child.wait()
    return child.pid


def waiting(semid: int, number: int = 0, times: int = 1) -> None:
    taken = SemaphoreSet(semid=semid)
    wait_until(lambda: taken.waiters(number) + taken.zero_waiters(number) == times, "the wait")


# ------------------------------------------------------------------------------------------- ls: kinds and their states


@pytest.mark.parametrize(
    "kind, values, limit, use, state",
    [
        (LOCK, [1], 0, "lock", "free"),
        (LOCK, [0], 0, "lock", "taken"),
        (RLOCK, [1], 0, "reentrant lock", "free"),
        (POOL, [1, 0, 1, 0], 0, "lock pool", "2 of 4 taken"),
        (RWLOCK, [0, 0, 0], 0, "read/write lock", "free"),
        (RWLOCK, [0, 3, 0], 0, "read/write lock", "3 reading"),
        (RWLOCK, [0, 3, 2], 0, "read/write lock", "3 reading, 2 to write"),
        (RWLOCK, [1, 0, 0], 0, "read/write lock", "a writer inside"),
        (lib.SEMSHARE_SET_SEMAPHORE, [7], 0, "semaphore", "7 free"),
        (lib.SEMSHARE_SET_BOUNDED, [32767 - 2], 5, "bounded semaphore", "3 of 5 free"),
        (lib.SEMSHARE_SET_EVENT, [1], 0, "event", "not set"),
        (lib.SEMSHARE_SET_EVENT, [0], 0, "event", "set"),
        (CONDITION, [1, 0, 0], 0, "condition", "free"),
        (BARRIER, [1, 0, 0], 3, "barrier", "free, 0 of 3 there"),
    ],
)
def test_ls_says_of_each_kind_what_state_it_is_in(name, by_hand, kind, values, limit, use, state):
    by_hand(kind, values, limit)
    found = listed(name)
    assert (found["use"], found["state"], found["values"]) == (use, state, values)
    line = line_of(name, semshare("ls").stdout)
    assert use in line and state in line


def test_ls_counts_who_waits_at_a_condition_and_at_a_barrier(name, by_hand):
    # The third waits and has been woken, the last two waited and died, one of them woken.
    made = by_hand(CONDITION, [1, 1, 1, 3, 0, 2])
    waits, woken = lib.SEMSHARE_WAITER_WAITS, lib.SEMSHARE_WAITER_WOKEN
    for number, state in enumerate((waits, woken, waits, waits, waits)):
        made.places.waiters[number].state = state
    assert listed(name)["state"] == "free, 2 wait"


def test_ls_says_that_a_barrier_is_broken(name, by_hand):
    made = by_hand(BARRIER, [1, 1], 2)
    made.places.waiters[0].state = lib.SEMSHARE_WAITER_WAITS
    made.places.broken = 1
    assert listed(name)["state"] == "free, 1 of 2 there, broken"


def test_ls_says_how_often_an_rlock_was_taken_and_by_whom(name):
    made = RLock(name)
    with made, made, made:
        found = listed(name)
    assert found["state"] == "taken 3 times"
    assert found["locks"][0]["depth"] == 2 and found["owner"]["pid"] == ME
    made.unlink()


def test_ls_names_the_holders_of_a_pool(name, pool, children):
    with pool[1]:
        plain = SemaphoreSet(semid=pool.semid)
        children.append(Child(plain.operate, [(3, -1)]))
        children[0].wait()
        found = listed(name)
        owners = {each["number"]: each["owner"] for each in found["locks"]}
        assert owners == {
            1: {"pid": ME, "kind": "process", "alive": True},
            3: {"pid": children[0].pid, "kind": "process", "alive": False},
        }
        assert found["state"] == "2 of 5 taken, holder dead"
        line = line_of(name, semshare("ls").stdout)
        assert f"process {ME}" in line and f"process {children[0].pid} dead" in line


def test_ls_says_that_an_owner_died_and_then_that_the_lock_is_suspect(name, lock):
    Child(lambda: [Lock(name).acquire(), os.kill(os.getpid(), signal.SIGKILL)]).wait()
    assert listed(name)["state"] == "free, owner died"
    with lock:
        pass
    found = listed(name)
    assert found["state"] == "free, suspect" and found["suspect"] and found["deaths"] == 1
    with lock:
        lock.mark_consistent()
    assert listed(name)["state"] == "free"


def test_ls_does_not_take_one_who_left_just_now_for_dead(name, by_hand):
    """The words are read before the semaphore: somebody alive may have given it back in between."""
    made = by_hand(LOCK, [1])
    state = made.states[0]
    state.epoch, state.owner_kind, state.owner_pid, state.owner_tid = 5, lib.SEMSHARE_OWNER_USER, ME, ME
    assert listed(name)["state"] == "free"
    state.owner_pid = state.owner_tid = dead_process()
    assert listed(name)["state"] == "free, owner died"


def test_a_thread_that_ended_inside_is_dead_though_its_process_lives(name, by_hand):
    made = by_hand(LOCK, [1])
    tids = []
    thread = threading.Thread(target=lambda: tids.append(threading.get_native_id()))
    thread.start()
    thread.join()
    wait_until(lambda: not os.path.exists(f"/proc/self/task/{tids[0]}"), "the thread's end")
    state = made.states[0]
    state.epoch, state.owner_kind, state.owner_pid, state.owner_tid = 5, lib.SEMSHARE_OWNER_USER, ME, tids[0]
    assert listed(name)["state"] == "free, owner died"


# -------------------------------------------------------------------------------------------------------------- inspect


def test_inspect_tells_all_of_a_lock(name, lock, children):
    with lock:
        children.append(Child(Lock(name).acquire))
        waiting(lock.semid)

        def is_seen() -> bool:
            (semaphore,) = told("inspect", name)["set"]["semaphores"]
            return [each["pid"] for each in semaphore["waiters"]] == [children[0].pid]

        wait_until(is_seen, "the waiter to be seen")
        found = told("inspect", name)
        info = found["set"]
        assert (info["name"], info["use"], info["state"], info["semid"]) == (name, "lock", "taken", lock.semid)
        assert info["taken_times"] == 1 and info["deaths"] == 0 and info["shmid"] is not None
        assert {each["pid"] for each in info["open_in"]} == {ME, children[0].pid}
        (semaphore,) = info["semaphores"]
        assert (semaphore["owner"]["pid"], semaphore["owner"]["tid"]) == (ME, threading.get_native_id())
        assert semaphore["owner"]["alive"] and semaphore["owner"]["command"]
        assert found["area"] is None and found["deadlocks"] == []
        text = semshare("inspect", name).stdout
        assert f"lock {name}: taken" in text and f"held by process {ME} (" in text
    assert "unlocked" not in text


def test_inspect_draws_for_what_the_holder_waits_and_who_has_that(names, children):
    first, second = Lock(names()), Lock(names())
    gate = Gate()

    def take_both():
        mine = Lock(first.name)
        with mine:
            gate.open()
            Lock(second.name).acquire()

    with second:
        children.append(Child(take_both))
        gate.pass_through()
        waiting(second.semid)

        def lines() -> list[str]:
            return semshare("inspect", first.name).stdout.splitlines()

        wait_until(lambda: any("waits for" in line for line in lines()), "the holder's wait to be seen")
        held, waits, held_again = [line for line in lines() if "──" in line]
        assert f"held by process {children[0].pid} (" in held
        assert f"waits for lock {second.name}" in waits
        assert f"held by process {ME} (" in held_again
        assert [line.index("──") for line in (held, waits, held_again)] == [1, 5, 9]
    children[0].kill()
    first.unlink(), second.unlink()


def test_inspect_says_that_a_holder_is_stopped(name, lock, children):
    gate = Gate()

    def hold():
        with Lock(name):
            gate.open()
            signal.pause()

    children.append(Child(hold))
    gate.pass_through()
    children[0].signal(signal.SIGSTOP)
    wait_until(lambda: "stopped" in semshare("inspect", name).stdout, "it to be stopped")
    assert f"kill -CONT {children[0].pid}" in semshare("inspect", name).stdout


def test_inspect_tells_who_died(name, lock):
    child = Child(lambda: [Lock(name).acquire(), os.kill(os.getpid(), signal.SIGKILL)])
    child.wait()
    text = semshare("inspect", name).stdout
    assert f"process {child.pid} inside: who takes it next will be told" in text
    with lock:
        pass
    text = semshare("inspect", name).stdout
    assert f"process {child.pid} inside: nobody has marked it consistent" in text and "suspect" in text
    assert told("inspect", name)["set"]["locks"][0]["dead"]["pid"] == child.pid


def test_inspect_shows_of_a_pool_what_is_taken_or_one_lock(name, pool):
    with pool[1], pool[3]:
        text = semshare("inspect", name).stdout
        assert f"lock 1 of lock pool {name}" in text and f"lock 3 of lock pool {name}" in text
        assert f"lock 2 of lock pool {name}" not in text
        text = semshare("inspect", name, "--number", "3").stdout
        assert f"lock 3 of lock pool {name}" in text and f"lock 1 of lock pool {name}" not in text
        assert [each["number"] for each in told("inspect", name)["set"]["semaphores"]] == [1, 3]
    ended = semshare("inspect", name, "--number", "5")
    assert ended.exit_code == 1 and "0 to 4" in ended.stderr


@pytest.mark.parametrize(
    "make, wait, phrase, number",
    [
        (lambda name: Semaphore(name, 0), lambda made: made.acquire(), "waits for a permit of semaphore", 0),
        (lambda name: BoundedSemaphore(name, 1), lambda made: made.acquire(), "a permit of bounded semaphore", 0),
        (lambda name: Event(name), lambda made: made.wait(), "waits for event", 0),
        (lambda name: RWLock(name), lambda made: made.write().acquire(), "waits to write", lib.SEMSHARE_RWLOCK_READERS),
        (lambda name: LockPool(name, 3), lambda made: made.multi(0, 2).acquire(), "waits for locks 0 and 2 of", 0),
    ],
    ids=["semaphore", "bounded", "event", "rwlock", "multi"],
)
def test_inspect_says_for_what_each_kind_lets_one_wait(name, children, make, wait, phrase, number):
    made = make(name)
    held = []
    if isinstance(made, BoundedSemaphore):
        made.acquire()
    elif isinstance(made, RWLock):
        held.append(made.read())
        held[0].acquire()
    elif isinstance(made, LockPool):
        held += [made[0], made[2]]
        for each in held:
            each.acquire()
    children.append(Child(lambda: wait(make(name))))
    waiting(made.semid, number)
    wait_until(lambda: phrase in semshare("inspect", name).stdout, "the wait to be seen")
    line = next(line for line in semshare("inspect", name).stdout.splitlines() if phrase in line)
    assert f"process {children[0].pid} (" in line and name in line
    children[0].kill()
    for each in held:
        each.release()
    made.unlink()


def test_inspect_says_that_nobody_knows_who_reads(name):
    made = RWLock(name)
    reading = made.read()
    with reading:
        text = semshare("inspect", name).stdout
        assert "1 reading" in text and "1 inside, and who is not known" in text
        assert f"by process {ME} (" in text
    made.unlink()


def test_inspect_tells_of_a_ring_and_its_area(name):
    with Ring.create(name, 4096) as ring:
        ring.put(b"x")
        found = told("inspect", name)
        assert found["area"]["ring"]["puts"] == 1 and found["set"]["semid"] == ring.semid
        text = semshare("inspect", name).stdout
        assert "variant" in text and "sysv" in text and f"ring {name}: free" in text
        ring.unlink()


def test_inspect_tells_of_another_programs_set(children):
    made = SemaphoreSet(IPC_PRIVATE, count=2, create=True)
    children.append(Child(made.operate, [(1, -2)]))
    waiting(made.semid, 1)
    wait_until(lambda: "to grow by 2" in semshare("inspect", "--semid", str(made.semid)).stdout, "the wait to be seen")
    found = told("inspect", "--semid", str(made.semid))["set"]
    assert found["use"] == "" and [each["number"] for each in found["semaphores"]] == [1]
    made.remove()


def test_inspect_counts_whom_it_cannot_see(name, lock, children, monkeypatch):
    monkeypatch.setattr(relations.waits, "look", lambda: relations.waits.Sleepers([], [], 7))
    with lock:
        children.append(Child(Lock(name).acquire))
        waiting(lock.semid)
        wait_until(lambda: told("inspect", name)["set"]["semaphores"][0]["unknown_waiters"] == 1, "it to be counted")
        text = semshare("inspect", name).stdout
        assert "1 more waits, and who is not known" in text and "the 7 processes" in text


def test_inspect_wants_one_object_that_there_is(name):
    assert semshare("inspect").exit_code == 2
    assert semshare("inspect", name, "--semid", "1").exit_code == 2
    for wrong in (name, "a/b"):
        ended = semshare("inspect", wrong)
        assert ended.exit_code == 1 and wrong in ended.stderr and ended.stderr.count("\n") == 1


# --------------------------------------------------------------------------------------------------------- deadlocks


@pytest.fixture
def crosswise(names, children):
    """Two processes that have each a lock that the other waits for: their locks."""
    locks = [Lock(names()) for _ in range(2)]
    ready, go = Gate(), Gate()

    def take(mine: int, other: int):
        with Lock(locks[mine].name):
            ready.open()
            go.pass_through()
            Lock(locks[other].name).acquire()

    children += [Child(take, 0, 1), Child(take, 1, 0)]
    ready.pass_through(), ready.pass_through()
    go.open(2)
    for lock in locks:
        waiting(lock.semid)
    yield locks
    for child in children:
        child.kill()
    for lock in locks:
        lock.unlink()


def mine(found: dict, *children: Child) -> list[dict]:
    """Those deadlocks in which a child is."""
    pids = {child.pid for child in children}
    return [each for each in found["deadlocks"] if pids & {thread["pid"] for thread in each["threads"]}]


def test_doctor_draws_a_deadlock_and_ends_with_1(crosswise, children):
    wait_until(lambda: mine(told("doctor", "--deadlocks"), *children), "the deadlock to be seen")
    ended = semshare("doctor", "--deadlocks")
    assert ended.exit_code == 1
    first, second = children
    a, b = (lock.name for lock in crosswise)
    circle = f"process {first.pid} → lock {b} → process {second.pid} → lock {a} → process {first.pid}"
    assert circle in ended.stdout
    assert f"waits for lock {b}, which process {second.pid} (" in ended.stdout
    assert f"which process {first.pid} has: round again" in ended.stdout
    assert f"kill {second.pid}" in ended.stdout


def test_doctor_tells_programs_of_a_deadlock(crosswise, children):
    wait_until(lambda: mine(told("doctor", "--deadlocks"), *children), "the deadlock to be seen")
    ended = semshare("doctor", "--deadlocks", "--json")
    assert ended.exit_code == 1
    found = json.loads(ended.stdout)
    (deadlock,) = mine(found, *children)
    assert found["ok"] is False and deadlock["certain"] is True
    assert [thread["pid"] for thread in deadlock["threads"]] == [child.pid for child in children]
    assert [thread["waits_for"]["name"] for thread in deadlock["threads"]] == [lock.name for lock in crosswise[::-1]]
    assert all(thread["command"] for thread in deadlock["threads"])


def test_doctor_names_who_waits_behind_a_deadlock(crosswise, children):
    behind = Child(Lock(crosswise[0].name).acquire)
    children.append(behind)
    waiting(crosswise[0].semid, times=2)
    wanted = f"behind them wait process {behind.pid}"
    wait_until(lambda: wanted in semshare("doctor", "--deadlocks").stdout, "who waits behind")


def test_inspect_names_the_deadlock(crosswise, children):
    a, b = (lock.name for lock in crosswise)
    first, second = children
    wait_until(lambda: told("inspect", a)["deadlocks"], "the deadlock to be seen")
    text = semshare("inspect", a).stdout
    assert f"deadlock: process {first.pid} → lock {b} → process {second.pid} → lock {a} → process {first.pid}" in text
    assert "round again" in text


def test_doctor_finds_none_in_a_namespace_where_there_is_none():
    script = [sys.executable, "-m", "semshare.cli", "doctor", "--deadlocks"]
    ended = subprocess.run(["unshare", "-i", *script], capture_output=True, text=True, timeout=60)
    if "unshare" in ended.stderr:
        pytest.skip("no IPC namespace can be made here")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "no deadlocks\n", "")


def test_doctor_says_perhaps_where_it_has_to_guess(children):
    made = [SemaphoreSet(IPC_PRIVATE, count=1, create=True) for _ in range(2)]
    ready, go = Gate(), Gate()

    def take(first, second):
        first.operate([(0, -1)])
        ready.open()
        go.pass_through()
        second.operate([(0, -1)])

    for each in made:
        each.operate([(0, 1)])
    children += [Child(take, *made), Child(take, *made[::-1])]
    ready.pass_through(), ready.pass_through()
    go.open(2)
    wait_until(lambda: mine(told("doctor", "--deadlocks"), *children), "the deadlock to be seen")
    (deadlock,) = mine(told("doctor", "--deadlocks"), *children)
    assert deadlock["certain"] is False
    ended = semshare("doctor", "--deadlocks")
    assert ended.exit_code == 1 and "perhaps a deadlock" in ended.stdout and "perhaps has" in ended.stdout
    for each in made:
        each.remove()


def test_doctor_says_of_whom_it_knows_nothing(name, lock, children, monkeypatch):
    sleepers = relations.waits.Sleepers([], [relations.Thread(ME, ME)], 7)
    monkeypatch.setattr(relations.waits, "look", lambda: sleepers)
    with lock:
        children.append(Child(Lock(name).acquire))
        waiting(lock.semid)
        wanted = f"not known: who the 1 is who waits for lock {name}"
        wait_until(lambda: wanted in semshare("doctor", "--deadlocks").stdout, "it to be counted")
        ended = semshare("doctor", "--deadlocks")
        assert f"process {ME} (" in ended.stdout and "the 7 processes" in ended.stdout
        found = told("doctor", "--deadlocks")
        assert [each["waiters"] for each in found["unknown"] if each["name"] == name] == [1]
        assert found["hidden_processes"] == 7


# ------------------------------------------------------------------------------------------------------------- doctor


def test_doctor_counts_what_is_limited():
    found = {each["what"]: each for each in told("doctor")["findings"]}
    text = found["semaphore limits"]["found"]
    assert "sets used" in text and "semaphores;" in text and "operations in one call" in text
    assert "segments used" in found["segment limits"]["found"]


@pytest.mark.parametrize(
    "limits, what, number",
    [
        ("kernel/sem 32000 1024000000 500 3", "semaphore limits", "SEMMNI"),
        ("kernel/sem 32000 3 500 32000", "semaphore limits", "SEMMNS"),
        ("kernel/shmmni 3", "segment limits", "kernel.shmmni"),
    ],
)
def test_doctor_says_which_limit_is_near_and_what_raises_it(limits, what, number):
    """In an IPC namespace of its own."""
    path, _, value = limits.partition(" ")
    script = f"""
import json, subprocess, sys
open("/proc/sys/{path}", "w").write("{value}")
from semshare import LockPool
LockPool("limited-1", 1), LockPool("limited-2", 1), LockPool("limited-3", 1)
subprocess.run([sys.executable, "-m", "semshare.cli", "doctor", "--json"])
"""
    ended = subprocess.run(["unshare", "-i", sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    if "unshare" in ended.stderr or "PermissionError" in ended.stderr:
        pytest.skip("no IPC namespace with limits of its own can be made here")
    found = {each["what"]: each for each in json.loads(ended.stdout)["findings"]}
    assert found[what]["verdict"] == "note" and number in found[what]["advice"]
    assert "3 of 3" in found[what]["found"]


@pytest.mark.parametrize(
    "removes, uid, verdict", [(True, 1000, "note"), (True, 0, "yes"), (True, 999, "yes"), (False, 1000, "yes")]
)
def test_doctor_tells_users_whose_sets_vanish_when_they_log_out(monkeypatch, removes, uid, verdict):
    isdir = os.path.isdir
    monkeypatch.setattr(os.path, "isdir", lambda path: path == "/run/systemd/system" or isdir(path))
    monkeypatch.setattr(os, "getuid", lambda: uid)
    monkeypatch.setattr(advice, "logind_removes", lambda: removes)
    (found,) = [each for each in told("doctor")["findings"] if "RemoveIPC" in each["what"]]
    assert found["verdict"] == verdict
    assert ("enable-linger" in found["advice"]) == (verdict == "note")


# ------------------------------------------------------------------------------------------------------------- unlock


def taken_without_undo(semid: int, number: int) -> int:
    """Have a process take a semaphore and die. Its pid."""
    child = Child(SemaphoreSet(semid=semid).operate, [(number, -1)])
    assert child.wait() == 0
    return child.pid


def test_unlock_frees_one_lock_of_a_pool(name, pool):
    pid = taken_without_undo(pool.semid, 3)
    with pool[2]:
        ended = semshare("unlock", name, "--number", "3")
        assert ended.exit_code == 0 and str(pid) in ended.stdout and "lock 3" in ended.stdout
        assert SemaphoreSet(semid=pool.semid).values() == [1, 1, 0, 1, 1]
        ended = semshare("unlock", name, "--number", "2")
        assert ended.exit_code == 1 and f"process {ME} holds it and is alive" in ended.stderr


def test_unlock_of_a_pool_wants_to_know_which(name, pool):
    taken_without_undo(pool.semid, 0)
    ended = semshare("unlock", name)
    assert ended.exit_code == 1 and "--number 0 to 4" in ended.stderr
    ended = semshare("unlock", name, "--number", "5")
    assert ended.exit_code == 1 and "no lock 5" in ended.stderr
    assert SemaphoreSet(semid=pool.semid).value(0) == 0


def test_unlock_refuses_a_number_of_what_is_no_pool(name, lock):
    taken_without_undo(lock.semid, 0)
    ended = semshare("unlock", name, "--number", "1")
    assert ended.exit_code == 1 and "no pool" in ended.stderr
    assert semshare("unlock", name, "--number", "0").exit_code == 0


@pytest.mark.parametrize("make", [lambda name: Event(name), lambda name: Semaphore(name, 0)])
def test_unlock_leaves_alone_what_nobody_holds(name, make):
    """An event that is set has the value 0, as a lock that is taken has."""
    made = make(name)
    if isinstance(made, Event):
        made.set()
    values = SemaphoreSet(semid=made.semid).values()
    for more in ([], ["--force"]):
        ended = semshare("unlock", name, *more)
        assert ended.exit_code == 1 and "nobody holds" in ended.stderr and ended.stderr.count("\n") == 1
        assert f"it is {'an event' if isinstance(made, Event) else 'a semaphore'}," in ended.stderr
        assert f"semshare inspect {name} " in ended.stderr
    assert SemaphoreSet(semid=made.semid).values() == values
    made.unlink()


def test_unlock_leaves_a_read_write_lock_alone_and_says_who_tells_who_has_it(name):
    lock = RWLock(name)
    with lock.write():
        for more in ([name], [name, "--force"], ["--semid", str(lock.semid)]):
            ended = semshare("unlock", *more)
            assert ended.exit_code == 1 and ended.stderr.count("\n") == 1
            assert f"semshare inspect {name} " in ended.stderr and "nobody" not in ended.stderr
        assert lock.write().held() and lock.locked()
    lock.unlink()


def test_unlock_frees_a_plain_programs_semaphore_by_its_semid():
    plain = sysv_ipc.Semaphore(None, sysv_ipc.IPC_CREX, initial_value=1)
    taken_without_undo(plain.id, 0)
    assert semshare("unlock", "--semid", str(plain.id)).exit_code == 0
    assert plain.value == 1
    plain.remove()
