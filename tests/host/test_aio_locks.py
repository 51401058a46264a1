# SPDX-License-Identifier: MIT
"""Locks and their like in asyncio: what tasks take, wait for, and are cancelled over."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable

import pytest
from aio_tasks import LIMIT, Counter, end_of, in_loop, taking, until, waiters, waiting
from effort import scaled
from processes import Child, Gate, wait_until

import semshare
from semshare import BadValue, LockPool, OwnerDied, Removed, aio
from semshare.aio import line


@pytest.fixture(autouse=True)
def threads_end_soon(monkeypatch):
    """Each test waits for that."""
    monkeypatch.setattr(line, "IDLE", 0.005)
    monkeypatch.setattr(line, "FIRST_SLICE", 0.03)


@dataclass(frozen=True)
class Kind:
    """A lock in asyncio, and the synchronous form of the same."""

    id: str
    make: Callable[[str], Any]
    """Opens the object that is unlinked and closed."""
    lock: Callable[[Any], Any]
    """Gives what is acquired and released."""
    sync: Callable[[str], Any]
    """Opens the synchronous form of that."""
    owned: bool = True
    """Whether it belongs to a task; permits do not."""


class Pool:
    """A pool of which some locks are taken at once."""

    def __init__(self, name: str) -> None:
        self.pool = LockPool(name, 4)
        self.multi = aio.MultiLock(self.pool, [0, 2, 3])

    def unlink(self) -> None:
        self.pool.unlink()

    def close(self) -> None:
        self.multi.close()
        self.pool.close()


def itself(made: Any) -> Any:
    return made


KINDS = [
    Kind("Lock", aio.Lock, itself, semshare.Lock),
    Kind("RLock", aio.RLock, itself, semshare.RLock),
    Kind("RWLock.write", aio.RWLock, lambda made: made.write(), lambda name: semshare.RWLock(name).write()),
    Kind("MultiLock", Pool, lambda made: made.multi, lambda name: LockPool(name, 4).multi(0, 2, 3)),
    Kind("Condition", aio.Condition, lambda made: made.lock, lambda name: semshare.Condition(name).lock),
    Kind("Semaphore", aio.Semaphore, itself, semshare.Semaphore, False),
    Kind("BoundedSemaphore", aio.BoundedSemaphore, itself, semshare.BoundedSemaphore, False),
]
OWNED = [kind for kind in KINDS if kind.owned]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)
each_owned = pytest.mark.parametrize("kind", OWNED, ids=lambda kind: kind.id)


@pytest.fixture
def kind() -> Kind:
    """Unless a test is for several."""
    return KINDS[0]


@pytest.fixture
def made(kind, name) -> Iterator[Any]:
    yield kind.make(name)
    kind.make(name).unlink()


@pytest.fixture
def lock(kind, made) -> Any:
    return kind.lock(made)


@pytest.fixture
def other(kind, name, lock) -> Any:
    """Another object for the same, synchronous."""
    return kind.sync(name)


def opened(kind: Kind, name: str) -> Any:
    """Another object for the same."""
    return kind.lock(kind.make(name))


# ------------------------------------------------------------------------------------------------ taking and giving


@each_kind
@in_loop
async def test_it_is_an_async_context_manager(lock, other):
    async with lock as entered:
        assert entered is lock
        assert lock.locked()
        assert not other.acquire_nowait()
    assert not lock.locked()
    with pytest.raises(ZeroDivisionError):
        async with lock:
            raise ZeroDivisionError
    assert not lock.locked()


@each_kind
@in_loop
async def test_acquire_says_whether_it_was_taken(lock, other):
    assert await lock.acquire() is True
    lock.release()
    assert lock.acquire_nowait() is True
    lock.release()
    other.acquire()
    assert await lock.acquire(blocking=False) is False
    assert await lock.acquire(False) is False
    assert await lock.acquire(timeout=0) is False
    assert await lock.acquire(timeout=0.02) is False
    assert lock.acquire_nowait() is False
    other.release()
    assert await lock.acquire(timeout=None) is True
    lock.release()
    assert not lock.locked()


@each_kind
@in_loop
async def test_who_waits_gets_it_from_whoever_has_it(lock, other):
    other.acquire()
    (task,) = await waiting(lock)
    await asyncio.sleep(0.01)
    assert not task.done()
    other.release()
    assert await task is True
    assert not other.acquire_nowait()
    lock.release()
    assert other.acquire_nowait()
    other.release()


@in_loop
async def test_senseless_arguments_are_refused_as_by_threading(lock):
    for arguments, error in [
        ({"blocking": False, "timeout": 0}, ValueError),
        ({"blocking": False, "timeout": 1}, ValueError),
        ({"timeout": -2}, ValueError),
        ({"timeout": -0.5}, ValueError),
        ({"timeout": math.nan}, ValueError),
        ({"timeout": 1e300}, OverflowError),
        ({"timeout": "1"}, TypeError),
        ({"timeout": b"1"}, TypeError),
        ({"timeout": [1]}, TypeError),
    ]:
        with pytest.raises(error, match="timeout"):
            lock.acquire(**arguments)
    assert not lock.locked()


@each_kind
@in_loop
async def test_only_what_was_acquired_is_released(kind, lock, made):
    if kind.id == "Semaphore":
        lock.release()
        assert lock.value == 2
    else:
        with pytest.raises((RuntimeError, BadValue)):
            lock.release()
        assert not lock.locked()


@in_loop
async def test_it_shows_its_state(lock, other, name):
    shown = f"<semshare.aio.lock.Lock '{name}', semid {lock.semid}, key {lock.key:#x}: "
    assert repr(lock) == shown + "unlocked>"
    async with lock:
        assert repr(lock) == shown + "held by this task>"
        assert lock.owner().pid == os.getpid()
        assert (lock.held(), other.held()) == (True, False)
        looking = asyncio.create_task(asyncio.to_thread(repr, lock))
        assert (await looking).startswith(shown + "held by Task-")
    with other:
        assert repr(lock) == shown + f"locked by process {os.getpid()}>"
    lock.close()
    assert repr(lock) == shown + "closed>"


@in_loop
async def test_create_and_attach(name):
    with pytest.raises(semshare.NotFound):
        aio.Lock.attach(name)
    async with aio.Lock.create(name, mode=0o640) as lock:
        with pytest.raises(semshare.NameExists):
            aio.Lock.create(name)
        assert aio.Lock.attach(semid=lock.semid).locked()
    with pytest.raises(semshare.WrongKind):
        aio.RLock(name)
    lock.unlink()


@each_kind
@in_loop
async def test_it_is_pickled_as_what_it_is_called(kind, lock):
    if kind.id == "Condition":
        with pytest.raises(TypeError, match="pass the condition"):
            pickle.dumps(lock)
        return
    same = pickle.loads(pickle.dumps(lock))
    assert type(same) is type(lock) and same.semid == lock.semid
    async with same:
        assert not lock.acquire_nowait()


@in_loop
async def test_statistics_and_waiters(lock, other):
    async with lock:
        tasks = await waiting(lock, 5)
        await until(lambda: other.waiters() == 1, "the thread")
        assert lock.waiters() == 5
    for task in tasks:
        await task
        lock.release()
    assert lock.statistics().acquisitions == 6
    assert lock.statistics().contended == 5
    assert lock.statistics().percentile(0.5) > 0


# ------------------------------------------------------------------------------------------------ excluding


@each_kind
@in_loop
async def test_one_at_a_time_is_inside_of_tasks_threads_and_processes(kind, name, lock):
    counter = Counter()
    turns = scaled(150, 10)

    async def add(lock: Any) -> None:
        for _ in range(turns):
            async with lock:
                await counter.add()

    async def tasks() -> None:
        mine = opened(kind, name)
        await asyncio.gather(*(add(mine) for _ in range(3)))

    def thread() -> None:
        mine = kind.sync(name)
        for _ in range(turns):
            with mine:
                before = counter.value
                time.sleep(0)
                counter.value = before + 1

    children = [Child(lambda: asyncio.run(tasks())), Child(thread)]
    same = opened(kind, name)
    await asyncio.gather(add(lock), add(lock), add(same), asyncio.to_thread(thread))
    assert [await end_of(child) for child in children] == [0, 0]
    assert counter.value == 8 * turns
    assert not lock.locked()


@each_kind
@in_loop
async def test_tasks_are_served_in_their_order(lock, other):
    order = []

    async def take(number: int) -> None:
        async with lock:
            order.append(number)

    other.acquire()
    tasks = []
    for number in range(50):
        tasks.append(asyncio.create_task(take(number)))
        await asyncio.sleep(0)
    other.release()
    await asyncio.gather(*tasks)
    assert order == list(range(50))


@each_kind
@in_loop
async def test_who_comes_later_does_not_overtake_those_in_line(lock, other):
    """Though it is free, and the thread has not got it yet."""
    take, begin = lock._line._take, threading.Event()

    def late(seconds: float) -> bool:
        return begin.wait(LIMIT) and take(seconds)

    lock._line._take = late
    order = []

    async def enter(number: int) -> None:
        async with lock:
            order.append(number)

    async def acquire(number: int) -> None:
        await lock.acquire()
        order.append(number)
        lock.release()

    tasks = []
    other.acquire()
    for number, way in enumerate((enter, acquire, enter)):
        tasks.append(asyncio.create_task(way(number)))
        await until(lambda number=number: len(lock._line) > number)
        if number == 0:
            other.release()
    begin.set()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2]


@each_kind
@in_loop
async def test_tasks_in_line_do_not_starve_who_waits_elsewhere(kind, name, lock):
    """However many tasks pass it on among themselves."""
    stop = False

    async def take() -> None:
        while not stop:
            async with lock:
                await asyncio.sleep(0)

    tasks = [asyncio.create_task(take()) for _ in range(5)]
    turns = 10

    def elsewhere() -> None:
        mine = kind.sync(name)
        for _ in range(turns):
            mine.acquire()
            mine.release()

    child = Child(elsewhere)
    await asyncio.to_thread(elsewhere)
    assert await end_of(child) == 0
    stop = True
    await asyncio.gather(*tasks)


@each_kind
@in_loop
async def test_hundreds_wait_in_one_thread(lock, other):
    other.acquire()
    number = 300
    tasks = [asyncio.create_task(taking(lock)) for _ in range(number)]
    await until(lambda: len(lock._line) == number)
    assert len(waiters()) == 1
    assert not any(thread.daemon for thread in waiters())
    other.release()
    for task in tasks:
        assert await task
        lock.release()
    assert not lock.locked()


@each_kind
@in_loop
async def test_other_tasks_run_while_one_waits(lock, other):
    other.acquire()
    (task,) = await waiting(lock)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert not task.done()
    other.release()
    await task
    lock.release()


@in_loop
async def test_two_loops_share_an_object(lock):
    counter = Counter()
    turns = scaled(200, 20)

    async def add() -> None:
        for _ in range(turns):
            async with lock:
                await counter.add()

    async def several() -> None:
        await asyncio.gather(add(), add())

    await asyncio.gather(several(), asyncio.to_thread(asyncio.run, several()))
    assert counter.value == 4 * turns


def test_one_loop_behind_another(lock):
    async def take() -> None:
        async with lock:
            (task,) = await waiting(lock)
        assert await task
        lock.release()

    for _ in range(3):
        asyncio.run(take())
    wait_until(lambda: not waiters())


# ------------------------------------------------------------------------------------------------ of which task


@each_owned
@in_loop
async def test_who_would_wait_for_himself_is_told(kind, name, lock):
    same = opened(kind, name)
    async with lock:
        for object in (lock, same):
            if not (object is lock and lock._reentrant):
                with pytest.raises(RuntimeError, match="would wait for itself"):
                    await object.acquire()
                with pytest.raises(RuntimeError, match="would wait for itself"):
                    await object.acquire(timeout=5)
                with pytest.raises(RuntimeError, match="would wait for itself"):
                    await asyncio.wait_for(object.acquire(), 5)
                assert await object.acquire(blocking=False) is False
    async with same:
        assert lock.locked()
    assert not lock.locked()


@each_owned
@in_loop
async def test_who_waits_for_another_task_is_not(kind, name, lock):
    same = opened(kind, name)
    await lock.acquire()
    tasks = {each: (await waiting(each))[0] for each in (lock, same)}
    with pytest.raises(RuntimeError, match="not acquired by this object"):
        same.release()
    lock.release()
    await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
    for each in sorted(tasks, key=lambda each: not tasks[each].done()):
        assert await tasks[each]
        each.release()


@each_owned
@in_loop
async def test_it_is_for_the_task_that_took_it_to_release_it(kind, made, lock):
    taken, done = asyncio.Event(), asyncio.Event()

    async def take() -> None:
        async with lock:
            taken.set()
            await done.wait()

    task = asyncio.create_task(take())
    await taken.wait()
    with pytest.raises(RuntimeError, match="another task holds it"):
        lock.release()
    with pytest.raises(RuntimeError, match="another task holds it"):
        lock.mark_consistent()
    with pytest.raises(RuntimeError, match="held by way of this object"):
        made.close()
    done.set()
    await task
    assert not lock.locked()


@each_owned
@in_loop
async def test_what_a_task_that_ended_has_left_any_may_release(lock):
    await asyncio.create_task(taking(lock))
    assert lock.locked() and not lock.held()
    assert "which has ended" in repr(lock)
    lock.release()
    assert not lock.locked()


@each_owned
@in_loop
async def test_it_belongs_to_who_called_acquire_whoever_awaits_it(lock, other):
    other.acquire()
    task = asyncio.create_task(lock.acquire())
    await until(lambda: lock._line)
    other.release()
    await task
    assert lock.held()
    with pytest.raises(RuntimeError):
        await asyncio.gather(releasing(lock))
    lock.release()


async def releasing(lock: Any) -> None:
    lock.release()


@in_loop
async def test_an_rlock_may_be_taken_again_by_the_task_that_holds_it(name):
    lock = aio.RLock(name)
    async with lock:
        async with lock:
            assert lock.acquire_nowait()
            (task,) = await waiting(lock)
            lock.release()
        assert lock.held() and not task.done()
        with pytest.raises(RuntimeError):
            aio.RLock(name).release()
    assert await task
    lock.release()
    assert not lock.locked()
    lock.unlink()


# ------------------------------------------------------------------------------------------------ cancelling


@each_kind
@in_loop
async def test_a_task_that_is_cancelled_in_line_is_gone_at_once(lock, other):
    other.acquire()
    first, second, third = await waiting(lock, 3)
    first.cancel()
    third.cancel()
    done, _ = await asyncio.wait({first, third})
    assert all(task.cancelled() for task in done)
    assert not second.done()
    other.release()
    assert await second
    lock.release()
    assert other.acquire_nowait()
    other.release()


@each_kind
@in_loop
async def test_what_comes_for_a_task_that_is_cancelled_goes_on(lock):
    """Cancelled between the moment at which it got it and the one at which it runs."""
    for _ in range(scaled(30, 5)):
        await lock.acquire()
        first, second = await waiting(lock, 2)
        lock.release()
        while len(lock._line) > 1:
            time.sleep(0.001)  # the task cannot run
        first.cancel()
        assert await second
        assert first.cancelled()
        lock.release()
    await until(lambda: not lock.locked())


@each_kind
@in_loop
async def test_what_comes_for_the_last_that_is_cancelled_goes_back(lock, other):
    for turn in range(scaled(30, 5)):
        other.acquire()
        (task,) = await waiting(lock)
        other.release()
        while turn % 2 and lock._line:
            time.sleep(0.001)  # the task cannot run
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: other.acquire_nowait(), "that it comes back")
        other.release()


@each_kind
@in_loop
async def test_a_time_that_is_over_leaves_nothing_behind(lock, other):
    other.acquire()
    assert await asyncio.gather(*(lock.acquire(timeout=0.01 * number) for number in range(5))) == [False] * 5
    for _ in range(3):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(lock.acquire(), 0.01)
    other.release()
    assert await asyncio.wait_for(lock.acquire(), LIMIT)
    lock.release()
    await until(lambda: not lock.locked())


@each_kind
@in_loop
async def test_cancellation_storm(kind, name, lock):
    """Tasks of several processes are cancelled at any moment: what they wait for is not lost, nor had twice."""
    counter = Counter()
    turns = scaled(150, 10)

    async def storm(seed: int) -> None:
        chance = random.Random(seed)
        mine = opened(kind, name)

        async def take() -> None:
            async with mine:
                before = counter.value
                for _ in range(chance.randrange(3)):
                    await asyncio.sleep(0)
                counter.value = before + 1

        async def take_by_hand() -> None:
            way = chance.randrange(3)
            if way == 0:
                got = await mine.acquire(timeout=chance.random() / 500)
            elif way == 1:
                got = await mine.acquire()
            else:
                try:
                    got = await asyncio.wait_for(mine.acquire(), chance.random() / 500)
                except asyncio.TimeoutError:
                    return
            if got:
                mine.release()

        for _ in range(turns):
            tasks = [asyncio.create_task(chance.choice((take, take_by_hand))()) for _ in range(5)]
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            if chance.randrange(2):
                await asyncio.sleep(chance.random() / 1000)
            for task in chance.sample(tasks, 3):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        before = counter.value
        async with mine:
            assert counter.value >= before

    children = [Child(lambda seed=seed: asyncio.run(storm(seed))) for seed in range(2)]
    await storm(9)
    assert [await end_of(child) for child in children] == [0, 0]
    async with lock:
        assert not kind.sync(name).acquire_nowait()
    await until(lambda: kind.sync(name).acquire_nowait(), "that it is free")


# ------------------------------------------------------------------------------------------------ ends


@each_kind
@in_loop
async def test_close_ends_the_waits(kind, made, lock, other):
    other.acquire()
    tasks = await waiting(lock, 3)
    made.close()
    for task in tasks:
        with pytest.raises(ValueError, match="closed"):
            await task
    with pytest.raises(ValueError, match="closed"):
        await lock.acquire()
    with pytest.raises(ValueError, match="closed"):
        lock.acquire_nowait()
    assert lock.closed and "closed" in repr(lock)
    other.release()
    await until(lambda: not waiters())
    assert other.acquire_nowait()
    other.release()


@each_kind
@in_loop
async def test_close_gives_back_what_no_task_has_taken_yet(kind, made, lock, other):
    other.acquire()
    (task,) = await waiting(lock)
    other.release()
    while lock._line:
        time.sleep(0.001)  # the task cannot run
    made.close()
    with pytest.raises(ValueError, match="closed"):
        await task
    await until(lambda: other.acquire_nowait(), "that it comes back")
    other.release()


@each_kind
@in_loop
async def test_unlink_ends_the_waits(made, lock, other):
    other.acquire()
    tasks = await waiting(lock, 3)
    made.unlink()
    for task in tasks:
        with pytest.raises(Removed):
            await task
    with pytest.raises(Removed):
        await lock.acquire()


@each_kind
def test_a_closed_loop_leaves_nothing_behind(kind, lock, other):
    """Nobody cancels the tasks of a loop that is closed like this."""
    loop = asyncio.new_event_loop()
    other.acquire()
    task = loop.create_task(taking(lock))
    while not lock._line:
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    other.release()
    wait_until(lambda: not waiters(), "the end of the thread")
    assert other.acquire_nowait()
    other.release()
    task._log_destroy_pending = False


@each_kind
def test_a_loop_that_is_closed_before_its_task_has_what_it_got(kind, lock, other):
    loop = asyncio.new_event_loop()
    other.acquire()
    task = loop.create_task(taking(lock))
    while not lock._line:
        loop.run_until_complete(asyncio.sleep(0))
    other.release()
    wait_until(lambda: not lock._line)
    assert lock.locked()  # until it is sure that nobody runs the task
    loop.close()
    wait_until(lambda: other.acquire_nowait(), "that it comes back")
    other.release()
    wait_until(lambda: not waiters())
    task._log_destroy_pending = False
    del task
    gc.collect()
    assert not lock.locked()


@each_kind
def test_a_task_that_nobody_refers_to_any_more(kind, lock, other):
    loop = asyncio.new_event_loop()
    for got in (False, True):
        other.acquire()
        coroutine = taking(lock)
        task = loop.create_task(coroutine)
        while not lock._line:
            loop.run_until_complete(asyncio.sleep(0))
        if got:
            other.release()
            wait_until(lambda: not lock._line)
        coroutine.close()
        assert not lock._line
        if not got:
            other.release()
        wait_until(lambda: other.acquire_nowait(), "that it comes back")
        other.release()
        task._log_destroy_pending = False
    loop.close()
    wait_until(lambda: not waiters())


def ends(program: str, name: str, *, send: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program that says "now" and then is to end."""
    in_any_case = f"import signal; signal.alarm({2 * LIMIT:.0f})\n"
    child = subprocess.Popen(
        [sys.executable, "-c", in_any_case + textwrap.dedent(program), name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "now\n", child.communicate()[1]
    if send is not None:
        child.send_signal(send)
    try:
        out, err = child.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        child.kill()
        raise
    return subprocess.CompletedProcess(child.args, child.returncode, out, err)


@in_loop
async def test_ctrl_c_ends_who_waits_and_who_holds(name, lock, other):
    program = """
        import asyncio, sys
        from semshare import aio
        async def main():
            lock, mine = aio.Lock(sys.argv[1]), aio.Lock(sys.argv[1] + "-mine")
            async with mine:
                task = asyncio.create_task(lock.acquire())
                while not lock._line:
                    await asyncio.sleep(0)
                print("now", flush=True)
                await task
        asyncio.run(main())
    """
    mine = aio.Lock(name + "-mine")
    with other:
        done = await asyncio.to_thread(ends, program, name, send=signal.SIGINT)
        assert done.returncode == -signal.SIGINT, done.stderr
        assert "KeyboardInterrupt" in done.stderr
    assert not lock.locked() and not mine.locked()
    async with mine:
        assert mine.owner_died is None  # it was released, not lost
    mine.unlink()


@pytest.mark.parametrize("daemon", [False, True])
@in_loop
async def test_the_interpreter_exits_though_a_task_waits(name, lock, other, daemon):
    """In a loop that nobody closes; in one that runs in a thread that the interpreter does not wait for."""
    program = f"""
        import asyncio, sys, threading
        from semshare import aio
        lock = aio.Lock(sys.argv[1])
        loop = asyncio.new_event_loop()
        async def wait():
            task = asyncio.ensure_future(lock.acquire())
            while not lock._line:
                await asyncio.sleep(0)
            print("now", flush=True)
            if {daemon}:
                await task
        if {daemon}:
            threading.Thread(target=loop.run_until_complete, args=(wait(),), daemon=True).start()
            while not lock._line:
                pass
        else:
            loop.run_until_complete(wait())
    """
    with other:
        done = await asyncio.to_thread(ends, program, name)
        assert done.returncode == 0, done.stderr
    assert not lock.locked()


@in_loop
async def test_who_waits_in_a_thread_that_the_interpreter_waits_for_is_waited_for(name, lock, other):
    program = """
        import asyncio, sys, threading
        from semshare import aio
        ready = threading.Event()
        async def wait():
            lock = aio.Lock(sys.argv[1])
            task = asyncio.ensure_future(lock.acquire())
            while not lock._line:
                await asyncio.sleep(0)
            ready.set()
            await task
            print("got it", flush=True)
        threading.Thread(target=asyncio.run, args=(wait(),)).start()
        ready.wait()
        print("now", flush=True)
    """
    other.acquire()
    done = asyncio.create_task(asyncio.to_thread(ends, program, name))
    await until(lambda: other.waiters() == 1)
    await asyncio.sleep(0.3)  # until the main thread has ended, and a slice of the wait
    other.release()
    assert (await done).stdout == "got it\n", (await done).stderr


@each_kind
@in_loop
async def test_a_forked_child_has_nothing_of_it(kind, name, lock):
    """Neither what is held, nor the thread, nor those in line; and it can use the object itself."""
    await lock.acquire()
    tasks = await waiting(lock, 2)
    gate = Gate()

    def use() -> None:
        assert not waiters() and not lock._line
        if kind.owned:
            assert repr(lock).endswith(f": locked by process {os.getppid()}>")
            with pytest.raises(RuntimeError):
                lock.release()

        async def take() -> None:
            assert not await lock.acquire(timeout=0.01)
            gate.open()
            async with lock:
                assert lock.locked()

        asyncio.run(take())

    child = Child(use)
    await asyncio.to_thread(gate.pass_through)
    lock.release()
    for task in tasks:
        assert await task
        lock.release()
    assert await end_of(child) == 0
    assert not lock.locked()
    gate.close()


# ------------------------------------------------------------------------------------------------ owners that die


def die_inside(lock: Any) -> None:
    """In a child."""

    def die() -> None:
        lock.acquire()
        os.kill(os.getpid(), signal.SIGKILL)

    assert Child(die).wait() == -signal.SIGKILL


@each_owned
@in_loop
async def test_the_next_owner_learns_of_a_death(kind, lock, other, caplog):
    die_inside(other)
    async with lock:
        assert isinstance(lock.owner_died, OwnerDied)
        assert lock.suspect
    assert "died inside" in caplog.text
    async with lock:
        assert lock.owner_died is not None
        lock.mark_consistent()
        assert lock.owner_died is None
    async with lock:
        assert lock.owner_died is None and not lock.suspect
    assert lock.deaths == len(lock._numbers)


@each_owned
@in_loop
async def test_who_waits_learns_of_a_death(kind, name, lock):
    gate = Gate()

    def die() -> None:
        mine = kind.sync(name)
        mine.acquire()
        gate.open()
        time.sleep(LIMIT)

    child = Child(die)
    gate.pass_through()
    first, second = await waiting(lock, 2)
    child.kill()
    assert await first
    assert lock.owner_died.pid == child.pid
    lock.release()
    assert await second
    assert lock.owner_died.pid == child.pid
    lock.mark_consistent()
    lock.release()
    gate.close()


@each_owned
@in_loop
async def test_a_process_that_is_killed_frees_what_its_task_held(kind, name, lock, other):
    gate = Gate()

    async def hold() -> None:
        mine = opened(kind, name)
        await mine.acquire()
        gate.open()
        await asyncio.sleep(LIMIT)

    child = Child(lambda: asyncio.run(hold()))
    gate.pass_through()
    (task,) = await waiting(lock)
    child.kill()
    assert await task
    assert lock.owner_died.pid == child.pid
    lock.mark_consistent()
    lock.release()
    gate.close()


@each_kind
@in_loop
async def test_a_storm_of_kills(kind, name, lock):
    """Processes are killed whose tasks hold it, wait for it, and pass it on to each other."""
    gate, chance = Gate(), random.Random(7)

    async def use() -> None:
        mine = opened(kind, name)

        async def take() -> None:
            while True:
                async with mine:
                    await asyncio.sleep(0)
                await mine.acquire(timeout=0.0001) and mine.release()

        tasks = [asyncio.create_task(take()) for _ in range(4)]
        await asyncio.sleep(0.002)
        gate.open()
        await asyncio.wait(tasks)

    for _ in range(scaled(10, 3)):
        children = [Child(lambda: asyncio.run(use())) for _ in range(2)]
        for _ in children:
            gate.pass_through()
        for child in children:
            await asyncio.sleep(chance.random() / 100)
            child.kill()
        async with lock:
            assert not kind.sync(name).acquire_nowait()
            if kind.owned:
                lock.mark_consistent()
    assert not lock.locked()
    gate.close()


@in_loop
async def test_a_holder_that_died_without_undo_is_told_to_who_waits(lock):
    def take() -> None:
        semshare.SemaphoreSet(semid=lock.semid).operate([semshare.Operation(0, -1)])

    assert Child(take).wait() == 0
    tasks = await waiting(lock, 2)
    for task in tasks:
        with pytest.raises(semshare.HolderDead):
            await task
    semshare.SemaphoreSet(semid=lock.semid).operate([semshare.Operation(0, 1)])
    async with lock:
        pass


@in_loop
async def test_it_may_raise_instead(name):
    lock, other = aio.Lock(name, on_owner_died="raise"), semshare.Lock(name)
    die_inside(other)
    with pytest.raises(OwnerDied):
        await lock.acquire()
    assert not lock.locked()
    with pytest.raises(OwnerDied):
        lock.acquire_nowait()
    assert not lock.locked()
    async with aio.Lock(name) as same:
        (task,) = await waiting(lock)
        del same
    with pytest.raises(OwnerDied):
        await task
    assert not lock.locked()
    async with aio.Lock(name) as same:
        same.mark_consistent()
    async with lock:
        pass
    lock.unlink()


@in_loop
async def test_a_function_sees_to_it_in_the_task(name):
    seen = []

    def see(lock: aio.Lock, died: OwnerDied) -> None:
        seen.append((lock, died.pid, threading.current_thread(), asyncio.current_task()))
        if len(seen) < 3:
            raise ZeroDivisionError
        lock.mark_consistent()

    lock, other = aio.Lock(name, on_owner_died=see), semshare.Lock(name)
    die_inside(other)
    with pytest.raises(ZeroDivisionError):
        await lock.acquire()
    assert not lock.locked()
    other.acquire()
    tasks = await waiting(lock, 2)
    other.release()
    with pytest.raises(ZeroDivisionError):
        await tasks[0]
    assert await tasks[1]
    assert lock.owner_died is None
    lock.release()
    main = threading.current_thread()
    assert [each[0] is lock and each[2] is main for each in seen] == [True] * 3
    assert [each[3] for each in seen[1:]] == tasks

    async def too_late(lock: aio.Lock, died: OwnerDied) -> None: ...

    with pytest.raises(TypeError, match="coroutine"):
        aio.Lock(name, on_owner_died=too_late)
    lock.unlink()


# ------------------------------------------------------------------------------------------------ permits


@in_loop
async def test_permits(name):
    tools = aio.Semaphore(name, 3)
    assert await asyncio.gather(*(tools.acquire() for _ in range(3))) == [True] * 3
    assert tools.value == 0 and tools.locked()
    tasks = await waiting(tools, 4)
    tools.release(3)
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await until(lambda: sum(task.done() for task in tasks) == 3)
    assert [task.done() for task in tasks] == [True, True, True, False]
    tools.release()
    assert await tasks[3]
    tools.release(3)
    assert tools.value == 3
    tools.unlink()


@in_loop
async def test_a_bounded_semaphore_takes_back_no_more_than_there_were(name):
    tools = aio.BoundedSemaphore(name, 2)
    async with tools:
        assert (tools.value, tools.limit) == (1, 2)
    with pytest.raises(BadValue):
        tools.release()
    tools.unlink()


# ------------------------------------------------------------------------------------------------ readers and writers


@pytest.fixture
def table(name) -> Iterator[aio.RWLock]:
    table = aio.RWLock(name)
    yield table
    table.unlink()


@in_loop
async def test_readers_share_and_writers_do_not(table, name):
    other = semshare.RWLock(name)
    async with table.read():
        assert await asyncio.create_task(taking(table.read()))
        assert other.read().acquire_nowait()
        assert table.readers() == 3
        assert not await table.write().acquire(blocking=False)
        other.read().release()
        table.read().release()
        assert table.readers() == 2 - 1
    with pytest.raises(RuntimeError):
        table.read().release()
    table._reader._owners.clear()


async def waiting_writer(table: aio.RWLock) -> asyncio.Task[bool]:
    """Who has said so to readers."""
    (writer,) = await waiting(table.write())
    await until(lambda: semshare.SemaphoreSet(semid=table.semid).values()[semshare.rwlock.WAITING] == 1)
    return writer


@in_loop
async def test_a_writer_who_waits_comes_before_readers(table, name, monkeypatch):
    """Also from one slice of its wait to the next."""
    monkeypatch.setattr(line, "FIRST_SLICE", 0.001)
    monkeypatch.setattr(line, "LONGEST_SLICE", 0.001)
    other = semshare.RWLock(name)
    await table.read().acquire()
    writer = await waiting_writer(table)
    for _ in range(scaled(2000, 100)):
        assert not other.read().acquire_nowait()
    assert await table.read().acquire()  # by who reads
    table.read().release()
    (reader,) = await waiting(table.read())
    table.read().release()
    assert await writer and not reader.done()
    table.write().release()
    assert await reader
    table.read().release()


@in_loop
async def test_a_writer_who_is_cancelled_lets_readers_in(table):
    await table.read().acquire()
    writer = await waiting_writer(table)
    (reader,) = await waiting(table.read())
    writer.cancel()
    assert await reader
    table.read().release()
    table.read().release()
    await until(lambda: semshare.SemaphoreSet(semid=table.semid).values() == [0, 0, 0])


@in_loop
async def test_who_reads_cannot_write_and_who_writes_cannot_read(table, name):
    same = aio.RWLock(name)
    for held, wanted in [
        (table.read(), table.write()),
        (table.read(), same.write()),
        (table.write(), table.read()),
        (table.write(), same.read()),
        (table.write(), same.write()),
    ]:
        async with held:
            with pytest.raises(RuntimeError, match="downgrade"):
                await wanted.acquire()
    assert not table.locked()


@in_loop
async def test_downgrade(table, name):
    other = semshare.RWLock(name)
    with pytest.raises(RuntimeError):
        table.downgrade()
    await table.write().acquire()
    table.downgrade()
    assert table.read().held() and not table.write().held()
    assert other.read().acquire_nowait()
    assert not other.write().acquire_nowait()
    other.read().release()
    table.read().release()
    assert not table.locked()


@in_loop
async def test_a_rwlock_shows_its_state(table):
    assert repr(table).endswith(": unlocked>")
    async with table.read():
        assert repr(table).endswith(": 1 read: held by this task>")
        with pytest.raises(RuntimeError):
            table.close()
    async with table.write():
        assert repr(table).endswith(": written: held by this task>")
        with pytest.raises(RuntimeError):
            table.close()
    for side in (table.read(), table.write()):
        with pytest.raises(ValueError):
            side.close()
        with pytest.raises(ValueError):
            side.unlink()
