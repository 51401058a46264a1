# SPDX-License-Identifier: MIT
"""Events, conditions and barriers in asyncio."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import signal
import threading
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from aio_tasks import LIMIT, Counter, end_of, in_line, in_loop, until, waiters
from effort import scaled
from processes import Child, wait_until

import semshare
from semshare import BrokenBarrier, OwnerDied, Removed, aio
from semshare.aio import line


@pytest.fixture(autouse=True)
def threads_end_soon(monkeypatch):
    """Each test waits for that."""
    monkeypatch.setattr(line, "IDLE", 0.005)
    monkeypatch.setattr(line, "FIRST_SLICE", 0.03)


# ------------------------------------------------------------------------------------------------ events


@pytest.fixture
def event(name) -> Iterator[aio.Event]:
    event = aio.Event(name)
    yield event
    event.unlink()


@in_loop
async def test_an_event_lets_all_go_on(event, name):
    other = semshare.Event(name)
    assert not await event.wait(timeout=0.01)
    assert not await event.wait(timeout=0)
    tasks = await in_line(event, 100, event.wait)
    assert len(waiters()) == 1
    await until(lambda: other.waiters() == 1)
    assert event.waiters() == 100
    other.set()
    other.clear()
    assert await asyncio.gather(*tasks) == [True] * 100
    assert not event.is_set()
    event.set()
    assert await event.wait() and other.is_set()


@in_loop
async def test_an_event_that_is_over_before_the_thread_looks_again_has_happened(event, name):
    """To those who waited then, and not to who comes later."""
    take, begin, other = event._line._take, threading.Event(), semshare.Event(name)

    def late(seconds: float) -> bool:
        begin.wait(LIMIT)
        return take(seconds)

    event._line._take = late
    tasks = await in_line(event, 3, event.wait)
    short = asyncio.create_task(event.wait(timeout=0.2))
    await until(lambda: len(event._line) == 4)
    other.set()
    other.clear()
    assert await short
    later = asyncio.create_task(event.wait())
    await until(lambda: len(event._line) == 4)
    begin.set()
    assert await asyncio.gather(*tasks) == [True] * 3
    await until(lambda: other.waiters() == 1)
    assert not later.done()
    event.set()
    assert await later


@in_loop
async def test_an_event_that_a_task_sets_and_clears_wakes_those_who_wait_then(event):
    """Whether the thread has begun to wait or not; and nobody who comes later, though the thread is not back yet."""
    take, begin, end = event._line._take, threading.Event(), threading.Event()

    def late(seconds: float) -> bool:
        begin.wait(LIMIT)
        came = take(seconds)
        end.wait(LIMIT)
        return came

    event._line._take = late
    (task,) = await in_line(event, 1, event.wait)
    event.set()
    event.clear()
    assert await task
    (task,) = await in_line(event, 1, event.wait)
    begin.set()
    await until(lambda: semshare.Event(semid=event.semid).waiters() == 1)
    event.set()
    event.clear()
    assert await task
    (task,) = await in_line(event, 1, event.wait)
    end.set()
    await until(lambda: semshare.Event(semid=event.semid).waiters() == 1)
    assert not task.done()
    event.set()
    assert await task


@in_loop
async def test_ends_of_waits_for_an_event(event, name):
    first, second = await in_line(event, 2, event.wait)
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled() and not second.done()
    event.close()
    with pytest.raises(ValueError, match="closed"):
        await second
    with pytest.raises(ValueError, match="closed"):
        event.set()
    same = aio.Event(name)
    (task,) = await in_line(same, 1, same.wait)
    same.unlink()
    with pytest.raises(Removed):
        await task


# ------------------------------------------------------------------------------------------------ conditions


@pytest.fixture(params=["its own", "Lock", "RLock"])
def condition(request, names) -> Iterator[aio.Condition]:
    lock = None if request.param == "its own" else getattr(aio, request.param)(names())
    condition = aio.Condition(names(), lock)
    yield condition
    condition.unlink()
    if lock is not None:
        lock.unlink()


async def notified(condition: aio.Condition, timeout: float | None = None) -> bool:
    async with condition:
        woken = await condition.wait(timeout)
        assert condition.held()
    return woken


@in_loop
async def test_notify_wakes_those_who_wait_longest(condition):
    tasks = []
    for number in range(5):
        tasks.append(asyncio.create_task(notified(condition)))
        await until(lambda number=number: condition.waiters() > number)
    assert not condition.locked()
    async with condition:
        condition.notify(2)
        assert not any(task.done() for task in tasks)
    assert await asyncio.gather(*tasks[:2]) == [True] * 2
    await asyncio.sleep(0.02)
    assert [task.done() for task in tasks[2:]] == [False] * 3
    async with condition:
        condition.notify_all()
    assert await asyncio.gather(*tasks) == [True] * 5
    assert condition.waiters() == 0 and not condition.locked()


@in_loop
async def test_hundreds_wait_for_a_condition_in_one_thread(condition):
    tasks = await in_line(condition, 200, lambda: notified(condition))
    assert len(waiters()) == 1
    async with condition:
        condition.notify_all()
    assert await asyncio.gather(*tasks) == [True] * 200


@in_loop
async def test_a_condition_is_one_for_tasks_threads_and_processes(condition):
    """Each wakes the next."""
    state = Counter()
    turns = scaled(60, 6)
    how = pickle.dumps(semshare.Condition.attach(condition.name, lock=sync_of(condition)))

    def play(number: int) -> None:
        mine = pickle.loads(how)
        for _ in range(turns):
            with mine:
                mine.wait_for(lambda: state.value % 3 == number)
                state.value += 1
                mine.notify_all()

    async def play_too() -> None:
        for _ in range(turns):
            async with condition:
                await condition.wait_for(lambda: state.value % 3 == 2)
                state.value += 1
                condition.notify_all()

    child = Child(play, 0)
    await asyncio.gather(play_too(), asyncio.to_thread(play, 1))
    assert await end_of(child) == 0
    assert state.value == 3 * turns


def sync_of(condition: aio.Condition) -> Any:
    """The lock that guards it, as a thread uses it."""
    if condition._sync.own:
        return None
    cls = semshare.Lock if isinstance(condition.lock, aio.Lock) else semshare.RLock
    return cls(condition.lock.name)


@in_loop
async def test_times_of_waits_for_a_condition(condition):
    async with condition:
        assert await condition.wait(timeout=0.01) is False
        assert await condition.wait(timeout=0) is False
        assert await condition.wait_for(lambda: False, timeout=0.01) is False
        assert await condition.wait_for(lambda: 7) == 7
        with pytest.raises(TypeError, match="timeout is a number of seconds, not str: '1'"):
            await condition.wait_for(lambda: False, "1")
        assert condition.held()
    assert condition.waiters() == 0


@in_loop
async def test_only_who_holds_the_lock_waits_and_notifies(condition):
    for use in (condition.notify, condition.notify_all, lambda: asyncio.ensure_future(condition.wait())):
        with pytest.raises(RuntimeError):
            result = use()
            if result is not None:
                await result
    async with condition:
        for use in (condition.notify, condition.notify_all):
            with pytest.raises(RuntimeError, match="another task"):
                await asyncio.create_task(called(use))


async def called(function: Callable[[], object]) -> None:
    function()


@in_loop
async def test_who_is_cancelled_in_a_wait_has_the_lock_and_hands_its_notification_on(condition):
    held = []

    async def wait() -> None:
        async with condition:
            try:
                await condition.wait()
            except asyncio.CancelledError:
                held.append(condition.held())
                raise

    for _ in range(scaled(20, 3)):
        first = asyncio.create_task(wait())
        await until(lambda: condition.waiters() == 1)
        second = asyncio.create_task(notified(condition))
        await until(lambda: condition.waiters() == 2)
        async with condition:
            condition.notify()
            first.cancel()
        assert await asyncio.wait_for(second, LIMIT)
        await asyncio.gather(first, return_exceptions=True)
        assert first.cancelled()
    assert held and all(held)
    assert condition.waiters() == 0 and not condition.locked()


@in_loop
async def test_who_is_cancelled_is_not_notified(condition, monkeypatch):
    """The thread sleeps in the place of the first, who goes."""
    monkeypatch.setattr(line, "FIRST_SLICE", 1000.0)
    first, second = await in_line(condition, 2, lambda: notified(condition))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert condition.waiters() == 1
    async with condition:
        condition.notify()
    assert await second


@in_loop
async def test_ends_of_waits_for_a_condition(condition):
    (task,) = await in_line(condition, 1, lambda: notified(condition))
    condition.close()
    with pytest.raises(ValueError, match="closed"):
        await task
    if not condition._sync.own:
        assert not condition.lock.locked()
    same = pickle.loads(pickle.dumps(aio.Condition(condition.name, None if condition._sync.own else condition.lock)))
    assert same.waiters() == 0
    (task,) = await in_line(same, 1, lambda: notified(same))
    same.unlink()
    with pytest.raises(Removed):
        await task


def test_a_condition_whose_waiter_goes_with_its_loop(condition):
    """What would have been its notification is for others."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(notified(condition))
    while not condition._line:
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    task._log_destroy_pending = False
    wait_until(lambda: not waiters())
    del task
    gc.collect()
    assert condition.waiters() == 0 and not condition.locked()


@in_loop
async def test_a_condition_whose_lock_finds_an_owner_dead(name):
    condition = aio.Condition(name, on_owner_died="raise")
    (task,) = await in_line(condition, 1, lambda: notified(condition))
    other = semshare.Condition(name)

    def die() -> None:
        other.acquire()
        other.notify()
        os.kill(os.getpid(), signal.SIGKILL)

    assert await end_of(Child(die)) == -signal.SIGKILL
    with pytest.raises(OwnerDied):
        await task
    assert not condition.locked() and condition.waiters() == 0
    with other:
        other.mark_consistent()
    condition.unlink()


# ------------------------------------------------------------------------------------------------ barriers


@pytest.fixture
def barrier(name) -> Iterator[aio.Barrier]:
    barrier = aio.Barrier(name, 3)
    yield barrier
    barrier.unlink()


@in_loop
async def test_a_barrier_is_one_for_tasks_threads_and_processes(barrier, name):
    turns = scaled(60, 6)
    other = semshare.Barrier(name, 3)

    def meet() -> None:
        for _ in range(turns):
            other.wait()

    async def meet_too() -> None:
        for _ in range(turns):
            async with barrier as number:
                assert 0 <= number < 3

    child = Child(meet)
    await asyncio.gather(meet_too(), asyncio.to_thread(meet))
    assert await end_of(child) == 0
    assert sorted(await asyncio.gather(*(barrier.wait() for _ in range(3)))) == [0, 1, 2]
    assert (barrier.n_waiting, barrier.broken, barrier.parties) == (0, False, 3)


@in_loop
async def test_hundreds_wait_at_a_barrier_in_one_thread(name):
    barrier = aio.Barrier(name, 200)
    tasks = await in_line(barrier, 199, barrier.wait)
    assert len(waiters()) == 1 and barrier.waiters() == 199
    numbers = [await barrier.wait(), *await asyncio.gather(*tasks)]
    assert sorted(numbers) == list(range(200))
    barrier.unlink()


@in_loop
async def test_the_action_of_a_barrier_is_inside_it(name):
    async def act() -> None:
        for call in (barrier.wait, barrier.abort, barrier.reset):
            with pytest.raises(RuntimeError, match="inside already"):
                await call()
        acted.append(True)

    acted: list[bool] = []
    barrier = aio.Barrier(name, 2, act)
    assert sorted(await asyncio.gather(barrier.wait(), barrier.wait())) == [0, 1]
    assert acted == [True] and not barrier.broken
    barrier.unlink()


@in_loop
async def test_waits_are_counted_as_waits_and_not_as_their_slices(names):
    event, condition = aio.Event(names()), aio.Condition(names())
    task = asyncio.create_task(event.wait())
    await asyncio.sleep(0.4)
    event.set()
    assert await task and await event.wait()
    told = event.statistics()
    assert (told.acquisitions, told.contended) == (2, 1) and told.percentile(1) >= 400_000_000
    async with condition:
        pass
    assert condition.statistics().acquisitions == 1 and condition.deaths == 0
    event.unlink()
    condition.unlink()


@in_loop
async def test_a_time_that_is_over_breaks_a_barrier(barrier):
    (task,) = await in_line(barrier, 1, barrier.wait)
    with pytest.raises(BrokenBarrier):
        await barrier.wait(timeout=0.01)
    with pytest.raises(BrokenBarrier):
        await task
    assert barrier.broken
    await barrier.reset()
    assert not barrier.broken
    tasks = await in_line(barrier, 2, barrier.wait)
    await barrier.abort()
    for task in tasks:
        with pytest.raises(BrokenBarrier):
            await task


@in_loop
async def test_who_is_cancelled_at_a_barrier_is_taken_out(barrier, monkeypatch):
    """The thread sleeps in the place of the first, who goes."""
    monkeypatch.setattr(line, "FIRST_SLICE", 1000.0)
    first, second = await in_line(barrier, 2, barrier.wait)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert barrier.n_waiting == 1 and not barrier.broken
    third = asyncio.create_task(barrier.wait())
    await until(lambda: barrier.n_waiting == 2)
    assert not second.done()
    assert sorted([await barrier.wait(), await second, await third]) == [0, 1, 2]


@in_loop
async def test_the_action_of_a_barrier(names):
    done = []

    async def act() -> None:
        await asyncio.sleep(0)
        done.append(asyncio.current_task())

    for action in (lambda: done.append(None), act):
        barrier = aio.Barrier(names(), 2, action)
        await asyncio.gather(barrier.wait(), barrier.wait())
        assert len(done) == 1
        done.clear()
        barrier.unlink()

    async def fail() -> None:
        raise ZeroDivisionError

    barrier = aio.Barrier(names(), 2, fail)
    results = await asyncio.gather(barrier.wait(), barrier.wait(), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["BrokenBarrier", "ZeroDivisionError"]
    assert barrier.broken
    barrier.unlink()


@in_loop
async def test_ends_of_waits_at_a_barrier(barrier, name):
    (task,) = await in_line(barrier, 1, barrier.wait)
    barrier.close()
    with pytest.raises(ValueError, match="closed"):
        await task
    same = aio.Barrier.attach(name)
    await until(lambda: same.n_waiting == 0)
    (task,) = await in_line(same, 1, same.wait)
    same.unlink()
    with pytest.raises(Removed):
        await task
