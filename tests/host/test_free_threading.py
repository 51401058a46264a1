# SPDX-License-Identifier: MIT
"""Threads that use, and close, one object at the same time: what Python does without a GIL, and with one."""

from __future__ import annotations

import functools
import gc
import sys
import threading
import time
from contextlib import suppress
from itertools import count

import pytest
from effort import scaled
from lock_factories import LOCKS, Can
from processes import LIMIT

from semshare import (
    Area,
    Channel,
    Empty,
    Error,
    Full,
    Lock,
    Parameter,
    Parameters,
    Ring,
    RWLock,
    Semaphore,
)
from semshare.barrier import Barrier
from semshare.condition import Condition
from semshare.ring import VARIANTS

THREADS = 4
ROUNDS = scaled(400, 50)
NOGIL = not getattr(sys, "_is_gil_enabled", lambda: True)()


@pytest.fixture(autouse=True)
def eager():
    """Where there is a GIL, it is passed on as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(*functions):
    """Run each in a thread of its own, all beginning at the same time. What they returned; raises what one raised."""
    start = threading.Barrier(len(functions))
    results = [None] * len(functions)
    errors = []

    def run(index, function):
        try:
            start.wait(LIMIT)
            results[index] = function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=each, daemon=True) for each in enumerate(functions)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + LIMIT
    while any(thread.is_alive() for thread in threads) and not errors:
        assert time.monotonic() < deadline, "a thread hangs"
        threads[-1].join(0.001)
        threads.append(threads.pop(0))
    if errors:
        raise errors[0]
    return results


def repeat(function):
    for _ in range(ROUNDS):
        function()


def test_importing_the_package_does_not_turn_the_gil_on():
    if hasattr(sys, "_is_gil_enabled") and "t" in sys.abiflags:
        assert not sys._is_gil_enabled()


# -------------------------------------------------------------------------------------------------------------- locks


@pytest.fixture(params=LOCKS, ids=lambda kind: kind.id)
def kind(request):
    return request.param


@pytest.fixture
def lock(kind, name):
    lock = kind(name)
    yield lock
    kind.remove(name)


def look(lock):
    """All that can be asked of one that others use meanwhile."""
    repr(lock)
    lock.held()
    lock.locked()
    lock.statistics()
    _ = lock.closed, lock.semid
    for ask in ("suspect", "owner_died"):
        getattr(lock, ask)
    if hasattr(lock, "owner"):
        lock.owner()


def test_one_object_excludes_threads(kind, lock):
    total = 0

    def add():
        nonlocal total
        with lock:
            seen = total
            if seen % 16 == 0:
                time.sleep(0)  # let others come and wait
            if Can.EXCLUDE in kind.can:
                total = seen + 1

    together(*[lambda: repeat(add)] * THREADS, lambda: repeat(lambda: look(lock)))
    if Can.EXCLUDE in kind.can:
        assert total == THREADS * ROUNDS
    assert lock.statistics().acquisitions == THREADS * ROUNDS
    assert not lock.held()
    assert lock.acquire_nowait()
    lock.release()


def test_objects_come_and_go_while_others_are_used(kind, lock, name):
    def use():
        mine = kind(name)
        with mine:
            pass
        if hasattr(mine, "close"):
            mine.close()

    def forget():
        mine = kind(name)
        if Can.OWN in kind.can:
            mine.acquire()
            mine.mark_consistent()
        del mine

    lock.on_owner_died = lambda taken, died: taken.mark_consistent()
    again = functools.partial(repeat, lambda: lock.acquire() and lock.release())
    together(use_often(use), use_often(forget), use_often(use), again)
    gc.collect()
    with lock:
        lock.mark_consistent() if Can.OWN in kind.can else None


def use_often(function):
    """Making an object takes longer than using one."""

    def run():
        for _ in range(ROUNDS // 8):
            function()

    return run


def test_closing_an_object_that_others_use_is_told_to_them(kind, name):
    kind(name)
    try:
        for _ in range(scaled(5, 2)):
            one = kind(name)
            if not hasattr(one, "close"):
                pytest.skip("it is closed with what it belongs to")
            begun = threading.Event()

            def use(one=one, begun=begun):
                with pytest.raises(ValueError, match="closed"):
                    while True:
                        if not one.acquire(timeout=LIMIT):
                            continue
                        begun.set()
                        try:
                            one.release()
                        except ValueError:
                            kind(name).release()  # permits are of no object
                            raise

            def close(one=one, begun=begun):
                assert begun.wait(LIMIT)
                while not one.closed:
                    with suppress(RuntimeError):  # held just now
                        one.close()

            together(use, use, use, close)
    finally:
        kind.remove(name)


def test_readers_and_writers(name):
    lock = RWLock(name)
    inside = [0, 0]
    numbers = threading.Lock()

    def enter(side):
        with numbers:
            inside[side] += 1
            assert inside == [inside[0], 0] or inside == [0, 1]

    def leave(side):
        with numbers:
            inside[side] -= 1

    def read():
        with lock.read(), lock.read():
            enter(0)
            leave(0)

    def write():
        with lock.write():
            enter(1)
            time.sleep(0)
            leave(1)

    def downgrade():
        lock.write().acquire()
        lock.downgrade()
        enter(0)
        leave(0)
        lock.read().release()

    try:
        together(*[lambda: repeat(read)] * 2, lambda: repeat(write), lambda: repeat(downgrade))
        assert lock.readers() == 0 and not lock.locked()
    finally:
        lock.unlink()


def test_permits_are_given_by_whichever_thread(name):
    semaphore = Semaphore(name, 3)
    other = Semaphore(name)

    def pass_on(taking, giving):
        assert taking.acquire(timeout=LIMIT)
        giving.release()

    try:
        together(
            *[lambda: repeat(lambda: pass_on(semaphore, other))] * 2,
            *[lambda: repeat(lambda: pass_on(other, semaphore))] * 2,
        )
        assert semaphore.value == 3
    finally:
        semaphore.unlink()


def test_ends_of_threads_beside_locks_that_are_used(name):
    lock = Lock(name, on_owner_died=lambda taken, died: taken.mark_consistent())

    def end_inside():
        threads = [threading.Thread(target=lock.acquire) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)

    try:
        together(use_often(end_inside), lambda: repeat(lambda: lock.acquire() and lock.release()))
        with lock:
            pass
        assert lock.deaths == 3 * (ROUNDS // 8)
    finally:
        lock.unlink()


def test_a_condition_and_a_barrier(name, names):
    condition, barrier = Condition(name), Barrier(names(), parties=3)
    items: list[int] = []
    taken: list[int] = []

    def take():
        for _ in range(ROUNDS // 2):
            with condition:
                assert condition.wait_for(lambda: items, LIMIT)
                taken.append(items.pop())

    def put():
        for number in range(ROUNDS):
            with condition:
                items.append(number)
                condition.notify()

    try:
        together(take, take, put)
        assert sorted(taken) == list(range(ROUNDS))
        passed = together(*[lambda: [barrier.wait(LIMIT) for _ in range(ROUNDS // 8)]] * 3)
        assert all(sorted(each) == [0, 1, 2] for each in zip(*passed))
    finally:
        condition.unlink()
        barrier.unlink()


# -------------------------------------------------------------------------------------------------------------- rings


@pytest.fixture(params=list(VARIANTS))
def variant(request):
    return VARIANTS[request.param]


@pytest.fixture
def ring(name, variant):
    more = {"max_payload": 448} if variant.name in ("mpsc", "lanes", "paged") else {}
    with Ring.create(name, 4096, variant=variant.name, **more) as ring:
        yield ring


def test_one_ring_object_passes_records_between_threads(ring, variant):
    numbers = count()
    taken: list[int] = []
    total = 2 * ROUNDS

    def put():
        for number in numbers:
            if number >= total:
                return
            ring.put(b"%d" % number, timeout=LIMIT)

    def get():
        while len(taken) < total:
            with suppress(Empty):
                taken.extend(int(record) for record in ring.get_many(8, timeout=0.05))

    def ask():
        while len(taken) < total:
            _ = repr(ring), ring.capacity, ring.closed, ring.max_payload
            time.sleep(0.001)

    together(put, put, get, get, ask)
    assert sorted(taken) == list(range(total))


def test_records_that_are_open_while_others_come_and_go(ring, variant):
    if variant.name not in ("spsc", "mpsc", "lanes"):
        pytest.skip("it has no open records")
    total = ROUNDS
    taken: list[int] = []

    def put():
        for number in range(total):
            with suppress(Full), ring.reserve(8, timeout=LIMIT) as view:
                view[:] = number.to_bytes(8, "big")
            if number % 16 == 0:
                left = ring.reserve(8, timeout=LIMIT)
                with left:
                    left.cancel()

    def get():
        while len(taken) < 2 * total:
            with suppress(Empty), ring.view(timeout=0.05) as view:
                taken.append(int.from_bytes(view, "big"))

    together(put, put, get)
    assert sorted(taken) == sorted(2 * list(range(total)))


def test_closing_a_ring_that_others_use_is_told_to_them(name, variant):
    more = {"max_payload": 448} if variant.name in ("mpsc", "lanes", "paged") else {}
    with Ring.create(name, 4096, variant=variant.name, **more):
        for _ in range(scaled(5, 2)):
            one = Ring.attach(name)
            begun = threading.Event()

            def put(one=one, begun=begun):
                with pytest.raises(ValueError, match="closed"):
                    while True:
                        with suppress(Full):
                            one.put(b"x", timeout=0.01)
                        begun.set()

            def get(one=one):
                with pytest.raises(ValueError, match="closed"):
                    while True:
                        with suppress(Empty):
                            one.get(timeout=0.01)

            def write(one=one, variant=variant):
                if variant.name not in ("spsc", "mpsc", "lanes"):
                    return
                with pytest.raises((ValueError, RuntimeError)):
                    while True:
                        with suppress(Full), one.reserve(8, timeout=0.01) as view:
                            view[:] = b"12345678"

            def close(one=one, begun=begun):
                assert begun.wait(LIMIT)
                one.close()

            together(put, get, write, close)


# ------------------------------------------------------------------------------------------------------ and the others


def test_one_channel_object(name):
    with Channel.create(name, 16) as channel:

        def answer():
            with Channel.attach(name) as other:
                for command in other.serve():
                    if command.payload == b"end":
                        command.reply(b"")
                        return
                    command.reply(command.payload)

        def ask(tag):
            for number in range(ROUNDS // 4):
                sent = b"%d %d" % (tag, number)
                assert channel.call(1, sent, timeout=LIMIT) == sent

        server = threading.Thread(target=answer, daemon=True)
        server.start()
        together(*[lambda tag=tag: ask(tag) for tag in range(3)], lambda: repeat(channel.state))
        channel.call(1, b"end", timeout=LIMIT)
        server.join(LIMIT)
        assert not server.is_alive()


def test_one_parameters_object(name):
    with Parameters.create(
        name, [Parameter("one", 0.0), Parameter("low", 0, group=1), Parameter("high", 0, group=1)], {"made": 0}
    ) as parameters:

        def change(step):
            for number in range(ROUNDS):
                parameters["one"] = number * step
                with parameters.group() as group:
                    group["low"] = number * step
                    group["high"] = number * step

        def check():
            for _ in range(ROUNDS):
                seen = parameters.snapshot()
                assert seen["low"] == seen["high"]
                assert parameters["one"] >= 0
                assert len(parameters) == 3

        together(lambda: change(1), lambda: change(3), check, check)


def test_one_piece_of_memory(name):
    area = Area.create(name, 8192)
    views: list[memoryview] = []

    def look_at_it():
        for _ in range(ROUNDS):
            view = memoryview(area._mapping)
            view[0:8] = b"01234567"
            views.append(view)
            if len(views) > 50:
                with suppress(IndexError):
                    views.pop().release()

    try:
        together(*[look_at_it] * THREADS)

        def look_until_closed():
            with pytest.raises(ValueError, match="closed"):
                for _ in range(10**9):
                    memoryview(mapping)[0:1]

        mapping = area._mapping
        together(look_until_closed, look_until_closed, lambda: time.sleep(0.01) or area.close())
        assert bytes(views[0][0:8]) == b"01234567"
    finally:
        with suppress(Error):
            Area.attach(name).unlink()
