# SPDX-License-Identifier: MIT
"""Waiting for a ring at a descriptor: asyncio, select, and what must not get lost on the way.

Nothing here looks again by itself: what asyncio and the semaphores look for every 100 ms is put off for longer than a
test may take, so that a wake-up that gets lost is a test that fails.
"""

from __future__ import annotations

import asyncio
import functools
import os
import random
import select
import stat
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from effort import EFFORT
from processes import Child, Gate

import semshare
from semshare import Empty, EmptyTimeout, Full, FullTimeout, Removed, Ring, aio, shm
from semshare.aio import watch
from semshare.ring import VARIANTS, Variant
from semshare.stale import remove_stale

LIMIT = 20.0
"""Seconds after which a wake-up counts as lost."""
NEVER = 1000.0
EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "async_consumer.py"


@pytest.fixture(autouse=True)
def nobody_looks_again(monkeypatch):
    monkeypatch.setattr(watch, "RECHECK", NEVER)


@pytest.fixture(params=list(VARIANTS))
def variant(request) -> Variant:
    return VARIANTS[request.param]


@pytest.fixture
def ring(name, variant):
    with patient(Ring.create(name, 4096, variant=variant.name, max_payload=payload_of(variant))) as ring:
        yield ring


def payload_of(variant: Variant) -> int:
    """Pages are as large as can be unless told: there would be four of them."""
    return 192 if variant.name == "paged" else 0


def patient(ring: Ring) -> Ring:
    ring._recheck(NEVER)
    return ring


def in_loop(test):
    """Run a test's coroutine, with a limit."""

    @functools.wraps(test)
    def run(**fixtures):
        asyncio.run(asyncio.wait_for(test(**fixtures), 4 * LIMIT))

    return run


def attached(name: str) -> aio.Ring:
    return aio.Ring(patient(Ring.attach(name)))


async def one_who_waits(records: aio.Ring) -> asyncio.Task[bytes]:
    """A task that has found no record, and waits for one."""
    task = asyncio.create_task(records.get())
    while not records._data._waiters:
        await asyncio.sleep(0)
    return task


def producers_of(variant: Variant, most: int) -> int:
    return 1 if variant.roles & 1 else most


def consumers_of(variant: Variant, most: int) -> int:
    return 1 if variant.roles & 2 else most


# ------------------------------------------------------------------------------------------------ get, put, async for


@in_loop
async def test_get_waits_for_a_record(ring):
    async with aio.Ring(ring) as waiting:
        task = await one_who_waits(waiting)
        await asyncio.sleep(0.01)
        assert not task.done()
        ring.put(b"")
        assert await asyncio.wait_for(task, LIMIT) == b""
        with pytest.raises(EmptyTimeout):
            await waiting.get(timeout=0.01)
        with pytest.raises(EmptyTimeout):
            await waiting.get(timeout=0)
        assert await waiting.get_many(3, timeout=0.01) == []
        ring.put_many([b"1", b"2", b"3"], type=7)
        assert (await waiting.get_record()).type == 7
        assert await waiting.get_many(9) == [b"2", b"3"]


@in_loop
async def test_put_waits_for_space(ring):
    async with aio.Ring(ring) as waiting:
        filled = await waiting.put_many([b"x" * 90] * 100, timeout=0.01)
        assert 1 < filled < 100
        with pytest.raises(FullTimeout):
            await waiting.put(b"x" * 90, timeout=0.01)
        task = asyncio.create_task(waiting.put_many([b"y" * 90] * 50))
        taken = []
        while len(taken) < filled + 50:
            taken.append(await waiting.get(timeout=LIMIT))
        assert await asyncio.wait_for(task, LIMIT) == 50
        assert taken == [b"x" * 90] * filled + [b"y" * 90] * 50


@in_loop
async def test_a_ring_that_refuses_does_not_wait(name, variant):
    async with aio.Ring.create(name, 4096, variant=variant.name, policy="refuse") as ring:
        assert 0 < await ring.put_many([b"x" * 90] * 100) < 100
        with pytest.raises(Full):
            await ring.put(b"x" * 90)


@in_loop
async def test_async_for(name, ring):
    def produce() -> None:
        with patient(Ring.attach(name)) as mine:
            for number in range(5000):
                mine.put(b"%d" % number)
            mine.put(b"end")

    child = Child(produce)
    expected = 0
    async with aio.Ring(ring) as records:
        async for payload in records:
            if payload == b"end":
                break
            assert payload == b"%d" % expected
            expected += 1
        assert expected == 5000
        assert child.wait() == 0


@in_loop
async def test_other_tasks_run_beside_one_that_always_finds_something(ring):
    async with aio.Ring(ring) as busy:
        turns = 0

        async def tick() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(tick())
        for _ in range(1000):
            await busy.put(b"x")
            await busy.get()
        other.cancel()
        assert turns > 5


@pytest.mark.parametrize("variant_name", list(VARIANTS))
def test_the_example(name, variant_name):
    done = subprocess.run(
        [sys.executable, EXAMPLE, name, variant_name], capture_output=True, text=True, timeout=4 * LIMIT, check=True
    )
    assert done.stdout.splitlines()[-1].startswith("1000 records, in order; ")


# ---------------------------------------------------------------------------------------------------- cancelling, end


@in_loop
async def test_a_cancelled_get_takes_no_record(ring):
    chance = random.Random(3)
    async with aio.Ring(ring) as waiting:
        taken: list[bytes] = []

        async def take() -> None:
            taken.append(await waiting.get())

        for number in range(int(1000 * EFFORT) + 100):
            tasks = [asyncio.create_task(take()) for _ in range(3)]
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            ring.put(b"%d" % number)
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        taken += ring.get_many(1000, blocking=False)
        assert len(taken) == len(set(taken)) == int(1000 * EFFORT) + 100


@in_loop
async def test_a_wakeup_goes_on_to_the_next_when_its_task_is_cancelled(ring):
    async with aio.Ring(ring) as waiting:
        for _ in range(50):
            first = asyncio.create_task(waiting.get())
            second = asyncio.create_task(waiting.get())
            await asyncio.sleep(0)
            ring.put(b"x")
            while not waiting._data._waiters or len(waiting._data._waiters) == 2:
                await asyncio.sleep(0)
            first.cancel()  # woken, and not run yet
            assert await asyncio.wait_for(second, LIMIT) == b"x"
            await asyncio.gather(first, return_exceptions=True)


@in_loop
async def test_close_ends_the_wait(ring):
    waiting = aio.Ring(ring)
    task = await one_who_waits(waiting)
    waiting.close()
    with pytest.raises(ValueError, match="closed"):
        await asyncio.wait_for(task, LIMIT)
    with pytest.raises(ValueError, match="closed"):
        await waiting.get()


@in_loop
async def test_the_end_of_the_set_ends_the_wait(ring, variant, monkeypatch):
    if not variant.semaphores:
        pytest.skip("it has no set")
    monkeypatch.setattr(watch, "RECHECK", 0.01)
    async with aio.Ring(ring) as waiting:
        task = await one_who_waits(waiting)
        ring.unlink()
        with pytest.raises(Removed):
            await asyncio.wait_for(task, LIMIT)


@in_loop
async def test_a_ring_closed_behind_asyncios_back_ends_the_wait(ring, monkeypatch):
    monkeypatch.setattr(watch, "RECHECK", 0.01)
    waiting = aio.Ring(ring)
    task = await one_who_waits(waiting)
    ring.close()
    with pytest.raises(ValueError, match="closed"):
        await asyncio.wait_for(task, LIMIT)


@in_loop
async def test_who_is_woken_by_nobody_looks_again(name, ring, monkeypatch):
    """A producer that is killed when it has taken the word and not rung yet."""
    monkeypatch.setattr(watch, "RECHECK", 0.05)
    async with aio.Ring(ring) as waiting:
        task = await one_who_waits(waiting)
        words = memoryview(ring.area.buffer).cast("I")
        place = semshare.ring.ffi.offsetof("struct semshare_ring_control", "bell_data") // 4
        assert words[place] == 1
        words[place] = 0
        ring.put(b"x")
        assert await asyncio.wait_for(task, LIMIT) == b"x"


def test_one_loop_only(name, ring):
    waiting = aio.Ring(ring)
    ring.put(b"x")
    asyncio.run(waiting.get())
    ring.put(b"x")
    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(waiting.get())


# ------------------------------------------------------------------------------------------------ select and the bells


def readable(descriptor: int, seconds: float = 0) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


def test_the_descriptor_is_readable_until_nothing_is_found(ring):
    descriptor = ring.fileno()
    assert descriptor == ring.fileno()
    assert not readable(descriptor)
    ring.put(b"1")
    assert readable(descriptor, LIMIT)
    ring.put(b"2")
    assert ring.get_nowait() == b"1"
    assert readable(descriptor)
    assert ring.get_nowait() == b"2"
    with pytest.raises(Empty):
        ring.get_nowait()
    assert not readable(descriptor)
    ring.put_many([b"3"] * 3)
    assert readable(descriptor, LIMIT)
    assert len(ring.get_many(5, blocking=False)) == 3
    assert ring.get_many(5, blocking=False) == []
    assert not readable(descriptor)


def test_the_descriptor_of_space(ring):
    descriptor = ring.space_fileno()
    assert readable(descriptor, LIMIT)  # there is space
    with pytest.raises(Full):
        while True:
            ring.put_nowait(b"x" * 90)
    assert not readable(descriptor)
    ring.get()
    assert readable(descriptor, LIMIT)


def test_what_was_put_before_is_seen(ring):
    ring.put(b"x")
    assert readable(ring.fileno(), LIMIT)


def test_who_is_awake_is_not_woken(ring):
    """One ring for one wait, however many records are put meanwhile."""
    ring.fileno()
    with pytest.raises(Empty):
        ring.get_nowait()
    for _ in range(5):
        ring.put(b"x")
    assert ring._wakeups[:2] == (0, 1)
    for _ in range(200):
        ring.get_nowait()
        ring.put(b"x")
    assert ring._wakeups[:2] == (0, 1)


def test_nobody_is_rung_for_who_did_not_ask(ring):
    ring.put(b"x")
    ring.get()
    assert ring._wakeups == (0, 0, 0)


def test_the_fifos_go_with_the_area(name, variant):
    with Ring.create(name, 4096, mode=0o640, variant=variant.name):
        for path in shm.bell_paths(name):
            state = os.stat(path)
            assert stat.S_ISFIFO(state.st_mode)
            assert stat.S_IMODE(state.st_mode) == 0o640
    assert not [path for path in shm.bell_paths(name) if os.path.exists(path)]


def test_the_fifos_of_who_was_killed_are_stale_with_its_area(name):
    gate = Gate()

    def make() -> None:
        with Ring.create(name, 4096):
            gate.open()
            time.sleep(LIMIT)

    child = Child(make)
    gate.pass_through()
    child.kill()
    assert all(os.path.exists(path) for path in shm.bell_paths(name))
    assert [each.name for each in remove_stale([name])] == [name]
    gate.close()


def test_fifos_without_an_area_are_stale_and_in_nobodys_way(name):
    with Ring.create(name, 4096) as ring:
        semid = ring.semid
        os.unlink(shm.path_of(name))
    semshare.SemaphoreSet(semid=semid).remove()
    assert all(os.path.exists(path) for path in shm.bell_paths(name))
    assert [each.kind for each in remove_stale([name], dry_run=True)] == ["area"]
    with Ring.create(name, 4096) as ring, pytest.raises(Empty):
        ring.fileno()
        ring.get_nowait()
    os.mkfifo(shm.bell_paths(name)[0])
    assert len(remove_stale([name])) == 1
    assert not os.path.exists(shm.bell_paths(name)[0])


def test_what_is_no_fifo_is_not_listened_to(name):
    with Ring.create(name, 4096) as ring:
        path = shm.bell_paths(name)[0]
        os.unlink(path)
        with open(path, "w"), pytest.raises(semshare.Error):
            ring.fileno()


def test_a_forked_child_has_a_descriptor_of_its_own(ring):
    parents = ring.fileno()

    def look() -> None:
        assert ring.fileno() >= 0
        ring._hear(False)

    assert Child(look).wait() == 0
    assert not readable(parents)
    with pytest.raises(Empty):
        ring.get_nowait()
    ring.put(b"x")
    assert readable(parents, LIMIT)


# --------------------------------------------------------------------------------- empty and not empty, many times over


def chatter(name: str, number: int, count: int, seed: int, batch: int) -> None:
    """Put records with pauses of all lengths between them, so that the consumer goes to sleep at all of its places."""
    chance = random.Random(seed)
    with patient(Ring.attach(name)) as ring:
        sent = 0
        while sent < count:
            size = min(count - sent, chance.randrange(1, batch + 1))
            sent += ring.put_many([b"%d %d" % (number, sent + i) for i in range(size)])
            for _ in range(chance.randrange(60)):
                pass
            if not chance.randrange(20):
                os.sched_yield()


class Tally:
    """What consumers have got: from each producer all, and in its order."""

    def __init__(self) -> None:
        self.last: dict[bytes, int] = {}
        self.count: Counter[bytes] = Counter()

    def add(self, payload: bytes) -> None:
        producer, number = payload.split()
        assert int(number) > self.last.get(producer, -1), "out of order"
        self.last[producer] = int(number)
        self.count[producer] += 1


@in_loop
async def test_no_wakeup_is_lost(name, ring, variant):
    """A lost one is a get() that does not end. Who sleeps in a call: test_notify_soak.py."""
    each = int(100_000 * EFFORT) + 2000
    producers = producers_of(variant, 2)
    children = [Child(chatter, name, n, each, n, 3) for n in range(producers)]
    tally = Tally()
    async with aio.Ring(ring) as records:
        for _ in range(producers * each):
            # Cancelled, it does not look once more, as one does whose time is over.
            tally.add(await asyncio.wait_for(records.get(), LIMIT))
        with pytest.raises(Empty):
            ring.get_nowait()
        assert [child.wait() for child in children] == [0] * producers
    assert list(tally.count.values()) == [each] * producers


def test_no_wakeup_is_lost_at_a_descriptor(name, ring, variant):
    each = int(100_000 * EFFORT) + 2000
    producers = producers_of(variant, 2)
    children = [Child(chatter, name, n, each, n, 3) for n in range(producers)]
    tally = Tally()
    waits = 0
    with select.epoll() as poll:
        poll.register(ring.fileno(), select.EPOLLIN | select.EPOLLET)
        left = producers * each
        while left:
            while payloads := ring.get_many(100, blocking=False):
                left -= len(payloads)
                for payload in payloads:
                    tally.add(payload)
            if left:
                waits += 1
                assert poll.poll(LIMIT), "a wake-up was lost"
    assert [child.wait() for child in children] == [0] * producers
    assert list(tally.count.values()) == [each] * producers
    assert waits > 20, "the consumer hardly ever slept, so this showed nothing"


@in_loop
async def test_no_wakeup_for_space_is_lost(name, ring, variant):
    """Two tasks put into a ring that is full nearly all the time."""
    each = int(20_000 * EFFORT) + 1000

    def consume() -> None:
        chance = random.Random(5)
        tally = Tally()
        with patient(Ring.attach(name)) as mine:
            left = 2 * each
            while left:
                for payload in mine.get_many(chance.randrange(1, 20), timeout=LIMIT):
                    tally.add(payload)
                    left -= 1
                for _ in range(chance.randrange(100)):
                    pass

    child = Child(consume)

    async def produce(number: int) -> None:
        for i in range(each):
            await asyncio.wait_for(records.put((b"%d %d" % (number, i)).ljust(90)), LIMIT)

    async with aio.Ring(ring) as records:
        await asyncio.gather(produce(0), produce(1))
        assert await asyncio.to_thread(child.wait) == 0


def consume_some(name: str, gate: Gate, done: str) -> None:
    """One of several consumers, until told to stop by a record."""

    async def run() -> None:
        async with attached(name) as records:
            gate.open()
            async for payload in records:
                if payload == b"stop":
                    return
                with Ring.attach(done) as results:
                    results.put(payload)

    asyncio.run(run())


def test_a_wakeup_for_several_consumers_reaches_one_that_waits(name, names, variant):
    """One consumer that is busy for long must not have taken along the wake-up of the others."""
    if consumers_of(variant, 2) == 1:
        pytest.skip("there can be one only")
    with patient(Ring.create(name, 1 << 16, variant=variant.name)) as ring, Ring.create(names(), 1 << 16) as results:
        gate = Gate()
        children = [Child(consume_some, name, gate, results.name) for _ in range(3)]
        for _ in children:
            gate.pass_through()
        for round_ in range(int(1000 * EFFORT) + 100):
            count = round_ % 5 + 1
            for number in range(count):
                ring.put(b"%d %d" % (round_, number))
            got = [results.get(timeout=LIMIT) for _ in range(count)]
            assert sorted(got) == [b"%d %d" % (round_, number) for number in range(count)]
        ring.put_many([b"stop"] * len(children))
        assert [child.wait() for child in children] == [0] * len(children)
        gate.close()


def test_a_busy_consumer_does_not_keep_a_wakeup_for_itself(name, variant):
    """It has been rung, takes one of two records, and then nothing for long: the other is for who waits beside it."""
    if consumers_of(variant, 2) == 1:
        pytest.skip("there can be one only")
    with patient(Ring.create(name, 4096, variant=variant.name)) as busy:
        other = patient(Ring.attach(name))

        async def run() -> None:
            async with aio.Ring(other) as waiting:
                waiting_task = asyncio.create_task(waiting.get())
                busy.fileno()
                with pytest.raises(Empty):
                    busy.get_nowait()
                await asyncio.sleep(0)
                busy.put(b"1")
                busy._hear(False)
                assert busy.get_nowait() == b"1"
                busy.put(b"2")
                assert await asyncio.wait_for(waiting_task, LIMIT) == b"2"

        asyncio.run(run())
