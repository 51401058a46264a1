# SPDX-License-Identifier: MIT
"""What every variant of the ring promises when kernel code takes part, beside Python, and from which contexts.

As tests/host/test_ring_variants.py for the kernel's side; poll and eventfd are tested elsewhere.
"""

from __future__ import annotations

import errno
import mmap
import os
import random
import struct
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest
from abi import (
    CONTROL,
    DEMO_RECORD,
    GETVAL,
    Child,
    Demo,
    Handle,
    Tally,
    check,
    errno_of,
    eventually,
    insmod,
    libc,
    loaded,
    rmmod,
    semctl,
    semget,
)
from effort import scaled
from kernel import KernelLog
from pace import SLACK, SLOW
from semshare._abi import lib
from test_ring_api import (
    CONSUMER,
    FOREVER,
    HARDIRQ,
    NMI,
    PREEMPT_OFF,
    PROCESS,
    PRODUCER,
    SOFTIRQ,
    KernelRing,
)

import semshare
from semshare import ring as rings
from semshare.ring import POLICIES, Variant

CAPACITY = 4096
CLONE_NEWPID = 0x20000000
VARIANTS = {name: variant for name, variant in rings.VARIANTS.items() if name != "robust"}
CONTEXTS = {"process": PROCESS, "preempt off": PREEMPT_OFF, "softirq": SOFTIRQ, "hardirq": HARDIRQ, "nmi": NMI}
LOCKLESS = [variant for variant in VARIANTS.values() if not variant.locked]
# Where in the control page: the variants' words; pages have no tail, and their head where others have it.
WORDS = 512
AT_HEAD, AT_TAIL = WORDS + 128, WORDS
AT_STATE = 152
ABANDONED = rings.CAUSES.index("abandoned")
COUNTED = ("mpsc", "paged")  # their places are counted, those of the others are bytes
# Those that divide the ring by the longest record, which they are told.
DIVIDED = (*COUNTED, "lanes")
SLOWNESS = 2 if SLOW else 1
ALLOWED = sorted(os.sched_getaffinity(0))


@pytest.fixture(scope="module", autouse=True)
def module():
    names = [name for name in ("semshare_ring_test", "semshare_demo") if not loaded(name)]
    for name in names:
        insmod(name)
    yield
    for name in names:
        rmmod(name)


@pytest.fixture(params=list(VARIANTS))
def variant(request) -> Variant:
    return VARIANTS[request.param]


@pytest.fixture(params=LOCKLESS, ids=lambda variant: variant.name)
def lockless(request) -> Variant:
    return request.param


class Both:
    """A ring with a side in Python and handles in the kernel."""

    def __init__(self, variant: Variant, capacity=CAPACITY, made_by="python", policy="wait", max_payload=448):
        self.variant, self.stack = variant, ExitStack()
        self.name = f"variants-{os.getpid()}"
        payload = max_payload if variant.name in DIVIDED else 0
        self.handle = self.stack.enter_context(Handle())
        if made_by == "python":
            ring = semshare.Ring.create(
                self.name, capacity, variant=variant.name, policy=policy, max_payload=payload, backend="module"
            )
            self.python = self.stack.enter_context(ring)
            self.handle.attach(self.name)
            self.kernel = self.open()
        else:
            self.handle.create(self.name, CONTROL + capacity)
            made = KernelRing(
                self.handle,
                capacity=capacity,
                variant=variant.number,
                policy=semshare.ring.POLICIES.index(policy),
                max_payload=payload,
            )
            self.kernel = self.stack.enter_context(made)
            self.python = self.stack.enter_context(semshare.Ring.attach(self.name))

    def open(self) -> KernelRing:
        return self.stack.enter_context(KernelRing(self.handle))

    def attach(self) -> semshare.Ring:
        return self.stack.enter_context(semshare.Ring.attach(self.name))

    def word(self, at: int) -> int:
        return struct.unpack_from("Q", self.python.area.buffer, at)[0]

    @property
    def at_head(self) -> int:
        return {"sysv": 128, "paged": WORDS}.get(self.variant.name, AT_HEAD)

    def set_word(self, at: int, value: int) -> None:
        struct.pack_into("Q", self.python.area.buffer, at, value)

    def semaphore(self, number: int) -> int:
        return semctl(self.python.semid, number, GETVAL)

    def __enter__(self) -> Both:
        return self

    def __exit__(self, *_) -> None:
        self.stack.close()


class Words:
    """Checks the records of bursts: each a number, once or more often, and the numbers of each tag in order."""

    def __init__(self, longest=160):
        self.longest = longest // 8
        self.next: dict[int, int] = {}
        self.total = 0

    def add(self, kind: int, payload: bytes) -> None:
        number = self.next.get(kind, 0)
        assert payload == struct.pack("Q", number) * (1 + number % self.longest), (kind, payload, number)
        self.next[kind] = number + 1
        self.total += 1

    def take(self, ring, total, timeout=SLACK) -> None:
        while self.total < total:
            records = ring.get_records(200, timeout=timeout)
            assert records, (self.next, total)
            for record in records:
                self.add(record.type, record.payload)


def payload_of(number: int, size: int) -> bytes:
    return (number.to_bytes(4, "little") * (size // 4 + 1))[:size]


# Records to and fro


@pytest.mark.parametrize("made_by", ["python", "kernel"])
def test_records_of_each_size_at_each_place_from_the_kernel(variant, made_by):
    """Short ones move the place on by as little as there is, so that long ones begin, wrap and end everywhere."""
    chance = random.Random(7)
    with Both(variant, made_by=made_by) as ring:
        ring.kernel.take_role(PRODUCER)
        longest = ring.python.max_payload
        sizes = [0, 1, 31, 32, 33, 100, longest // 2, longest - 1, longest]
        waiting: list[bytes] = []
        put = taken = 0
        while taken < scaled(4000, 800):
            batch = [payload_of(put + n, chance.choice(sizes)) for n in range(chance.randrange(1, 7))]
            done = 0
            with suppress(BlockingIOError):
                done = ring.kernel.put_batch([(put + n, payload) for n, payload in enumerate(batch)])
            assert done or waiting
            waiting += batch[:done]
            put += done
            for found in ring.python.get_records(chance.randrange(1, 7), blocking=False):
                assert found.payload == waiting.pop(0)
                assert found.type == taken == found.sequence
                taken += 1
        assert errno_of(ring.kernel.put, bytes(longest + 1)) == "EMSGSIZE"


@pytest.mark.parametrize("made_by", ["python", "kernel"])
def test_records_of_each_size_at_each_place_to_the_kernel(variant, made_by):
    chance = random.Random(8)
    with Both(variant, made_by=made_by) as ring:
        ring.kernel.take_role(CONSUMER)
        longest = ring.python.max_payload
        sizes = [0, 1, 31, 32, 33, 100, longest // 2, longest - 1, longest]
        waiting: list[bytes] = []
        put = taken = 0
        latest = time.monotonic_ns()
        while taken < scaled(4000, 800):
            batch = [payload_of(put + n, chance.choice(sizes)) for n in range(chance.randrange(1, 7))]
            done = ring.python.put_many(batch, blocking=False)
            waiting += batch[:done]
            put += done
            with suppress(BlockingIOError):
                for found in ring.kernel.get_records(chance.randrange(1, 7)):
                    assert found.payload == waiting.pop(0)
                    assert found.sequence == taken
                    assert latest <= found.time_ns <= time.monotonic_ns()
                    latest = found.time_ns
                    taken += 1
            if waiting:
                assert errno_of(ring.kernel.get, size=0) == ("EMSGSIZE" if waiting[0] else None)
                if not waiting[0]:
                    waiting.pop(0)
                    taken += 1


def test_where_interrupts_are_off_a_record_has_64_kib_at_most(variant):
    """Elsewhere as many as the ring allows. The demo's records are of all lengths, the same in each run."""
    longest, count = 100_000, 20
    sizes = [n * 0x61C8864680B583EB % 2**64 >> 32 for n in range(count)]
    sizes = [DEMO_RECORD.size + (size * (longest + 1) >> 32) for size in sizes]
    fit = count if not variant.roles & PRODUCER else next(n for n, size in enumerate(sizes) if size > 65536)
    assert max(sizes) > 65536 and fit
    with Both(variant, 1 << 20, max_payload=(1 << 17) - 64) as ring, Demo() as demo:
        demo.start(ring.handle.fd, payload=longest, count=count)
        taken = [len(ring.python.get(timeout=SLACK)) for _ in range(fit)]
        assert taken == sizes[:fit]
        (ended,) = demo.wait(1)
        assert (ended["done"], ended["error"]) == (fit, 0 if fit == count else errno.EMSGSIZE)


@pytest.mark.parametrize("consumer", ["python", "kernel"])
def test_a_record_wraps_at_every_place_where_it_can(variant, consumer):
    """Those of 0 bytes move the place on by the least there is, to where it has not stood yet."""
    chance = random.Random(11)
    with Both(variant) as ring:
        ring.kernel.take_role(PRODUCER if consumer == "python" else CONSUMER)
        # Eight places of one size, a lane, which is half of the ring, or all of it.
        places = 8 if variant.name in COUNTED else CAPACITY // 32 // (2 if variant.name == "lanes" else 1)
        unit = 1 if variant.name in COUNTED else 32

        def pass_through(payloads):
            if consumer == "python":
                assert ring.kernel.put_batch([(len(each), each) for each in payloads]) == len(payloads)
                found = ring.python.get_records(len(payloads), blocking=False)
                assert [each.type for each in found] == [len(each) for each in payloads]
            else:
                assert ring.python.put_many(payloads, blocking=False) == len(payloads)
                found = ring.kernel.get_records(len(payloads))
            assert [each.payload for each in found] == payloads
            return found[-1].position

        at = 0
        for size in (1, ring.python.max_payload // 2, ring.python.max_payload):
            payload = chance.randbytes(size)
            footprint = 1 if unit == 1 else -(-(size + 32) // 32)
            stood: set[int] = set()
            while len(stood) < places:
                on = next(steps for steps in range(places) if (at + steps) % places not in stood)
                while on > 30:
                    pass_through([b""] * 30)
                    at, on = at + 30, on - 30
                stood.add((at + on) % places)
                at = pass_through([b""] * on + [payload]) // unit + footprint


def test_full_and_empty(variant):
    with Both(variant) as ring:
        ring.kernel.take_role(PRODUCER)
        ring.kernel.take_role(CONSUMER)
        assert errno_of(ring.kernel.get) == "EAGAIN"
        began = time.monotonic()
        assert errno_of(ring.kernel.get, timeout_ms=50) == "ETIMEDOUT"
        assert time.monotonic() - began >= 0.05
        fitted = 0
        with suppress(BlockingIOError):
            while True:
                fitted += ring.kernel.put_batch([(1, bytes(100))] * 5)
        assert fitted > 1
        assert errno_of(ring.kernel.put, bytes(100), timeout_ms=50) == "ETIMEDOUT"
        assert len(ring.kernel.get_batch(1)) == 1
        ring.kernel.put(bytes(100), 2)
        assert [kind for kind, _ in ring.kernel.get_batch()] == [1] * (fitted - 1) + [2]


def skip_what_it_cannot(variant, policy):
    if not variant.can(policy):
        pytest.skip("it cannot")


@pytest.mark.parametrize("policy", ["refuse", "overwrite"])
def test_what_the_kernel_drops_is_counted_and_leaves_a_gap(variant, policy):
    skip_what_it_cannot(variant, policy)
    chance = random.Random(3)
    with Both(variant, policy=policy) as ring:
        ring.kernel.take_role(PRODUCER)
        wanted = taken = missing = following = 0
        while wanted < scaled(3000, 600):
            for _ in range(chance.randrange(20)):
                error = errno_of(ring.kernel.put, wanted.to_bytes(4, "big") * chance.randrange(1, 100))
                assert error in (None, "ENOBUFS" if policy == "refuse" else None)
                wanted += 1
            batch = [(0, (wanted + n).to_bytes(4, "big")) for n in range(chance.randrange(1, 5))]
            try:
                done = ring.kernel.put_batch(batch)
            except OSError:
                wanted += len(batch)
            else:
                # The rest is dropped with the first that was refused.
                wanted += len(batch)
                assert 0 < done <= len(batch)
            for found in ring.python.get_records(chance.randrange(1, 12), blocking=False):
                assert int.from_bytes(found.payload[:4], "big") == found.sequence >= following
                missing += found.sequence - following
                following = found.sequence + 1
                taken += 1
        taken += len(ring.python.get_many(1000, blocking=False))
        drops = ring.python.state().drops
        assert drops["refused" if policy == "refuse" else "overwritten"] == sum(drops.values()) >= missing > 100
        assert taken + sum(drops.values()) == wanted


@pytest.mark.parametrize("policy", ["refuse", "overwrite"])
def test_what_a_process_drops_is_a_gap_to_the_kernel(variant, policy):
    skip_what_it_cannot(variant, policy)
    chance = random.Random(5)
    with Both(variant, policy=policy) as ring:
        ring.kernel.take_role(CONSUMER)
        wanted = taken = missing = following = 0
        while wanted < scaled(3000, 600):
            for _ in range(chance.randrange(20)):
                with suppress(semshare.Full):
                    ring.python.put(wanted.to_bytes(4, "big") * chance.randrange(1, 100), blocking=False)
                wanted += 1
            with suppress(BlockingIOError):
                for found in ring.kernel.get_records(chance.randrange(1, 12)):
                    assert int.from_bytes(found.payload[:4], "big") == found.sequence >= following
                    missing += found.sequence - following
                    following = found.sequence + 1
                    taken += 1
        with suppress(BlockingIOError):
            while True:
                taken += len(ring.kernel.get_records())
        drops = list(ring.kernel.status().drops)
        assert drops[POLICIES.index(policy) - 1] == sum(drops) >= missing > 100
        assert taken + sum(drops) == wanted


@pytest.mark.parametrize("producer", ["python", "kernel"])
def test_the_oldest_is_overwritten_and_what_is_taken_is_whole(variant, producer):
    """By a producer that never waits, on another processor; what is missing is as much as is counted."""
    skip_what_it_cannot(variant, "overwrite")
    stop = mmap.mmap(-1, 4096)

    def record(number):
        return struct.pack("I", number) * (1 + number % 20)

    def produce(name):
        number = 0
        with Handle().attach(name) as handle, KernelRing(handle) as kernel, semshare.Ring.attach(name) as python:
            while not stop[0]:
                records = [record(number + n) for n in range(20)]
                if producer == "kernel":
                    # It waits for the lock only, if there is one.
                    number += kernel.put_batch([(0, each) for each in records], timeout_ms=FOREVER)
                else:
                    number += python.put_many(records, timeout=SLACK)

    with Both(variant, policy="overwrite") as ring:
        child = Child(produce, ring.name)
        # Two that keep step, on an emulated processor, might never meet where it is full.
        full = time.monotonic() + SLACK
        # Of pages it is the consumer who counts, as it finds them written again.
        while variant.name != "paged" and not ring.python.state().drops["overwritten"]:
            if time.monotonic() > full:
                stop[0] = 1
            time.sleep(0.001)
            assert not stop[0], "nothing is overwritten"
        following = taken = 0
        found: list[semshare.Record] = []
        ends = time.monotonic() + scaled(5, least=1)
        while found or not stop[0]:
            now = time.monotonic()
            # On a busy machine neither may have happened yet.
            enough = now > full or (now > ends and taken and ring.python.state().drops["overwritten"])
            if enough and not stop[0]:
                stop[0] = 1
                child.wait()
            found = []
            with suppress(BlockingIOError, TimeoutError):
                if producer == "kernel":
                    found = ring.python.get_records(7, timeout=0.1)
                else:
                    found = ring.kernel.get_records(7, timeout_ms=100)
            for each in found:
                assert each.sequence >= following and each.payload == record(each.sequence)
                following = each.sequence + 1
                taken += 1
        state = ring.python.state()
        assert state.broken is None
        assert taken + state.drops["overwritten"] == state.puts == following
        assert taken and state.drops["overwritten"]


# A look


def test_the_kernel_tells_the_same_of_a_ring_as_python(variant):
    with Both(variant, policy="refuse") as ring:
        ring.kernel.take_role(PRODUCER)
        ring.kernel.put_batch([(0, bytes(60))] * 4)
        ring.python.get_many(3)
        while errno_of(ring.kernel.put, bytes(300)) is None:
            pass
        state = ring.python.state()
        for context in CONTEXTS.values():
            ring.kernel.context = context
            status = ring.kernel.status()
            assert (status.capacity, status.used, status.puts) == (CAPACITY, state.used, state.puts)
            assert status.gets == (3 if variant.locked else (1 << 64) - 1) and status.broken == 0
            assert list(status.drops) == list(state.drops.values()) == [1, 0, 0]
        # A word that lies is no more than that: it does not say more than there can be.
        ring.set_word(ring.at_head, 1 << 40)
        assert ring.kernel.status().used == CAPACITY
        # What one of its users says is known before a call finds it out.
        struct.pack_into("I", ring.python.area.buffer, AT_STATE, 77)
        assert ring.kernel.status().broken == lib.SEMSHARE_RING_BROKEN


@pytest.mark.parametrize("side", ["put", "get"])
def test_a_cursor_that_moves_all_the_time_keeps_nobody_beyond_its_timeout(side):
    """And leaves neither space nor a record: the kernel looks again each time it moves, but not for ever."""

    def flip(name, at, step):
        with semshare.Ring.attach(name) as ring:
            word = memoryview(ring.area.buffer)[at : at + 8].cast("Q")
            values = (word[0], word[0] + step)
            Child.tell()
            while True:
                word[0], word[0], word[0], word[0] = values * 2

    with Both(VARIANTS["spsc" if side == "put" else "mpsc"]) as ring:
        ring.kernel.take_role(PRODUCER if side == "put" else CONSUMER)
        if side == "put":
            with suppress(BlockingIOError):
                while True:
                    ring.kernel.put(bytes(900))
            child = Child(flip, ring.name, AT_HEAD, 32)
            call = partial(ring.kernel.put, bytes(900), timeout_ms=300)
        else:
            child = Child(flip, ring.name, AT_TAIL, 1)
            call = partial(ring.kernel.get, timeout_ms=300)
        child.told()
        try:
            assert errno_of(call) == "ETIMEDOUT"
        finally:
            child.kill()


# Contexts


@pytest.mark.parametrize("context", CONTEXTS)
def test_records_from_any_context(lockless, context):
    """Put where the kernel may neither sleep nor take a lock; they come in order, and wake a consumer that sleeps."""
    records = scaled(20_000, 3000)

    def produce(name):
        with Handle().attach(name) as handle, KernelRing(handle) as kernel:
            kernel.take_role(PRODUCER)
            kernel.context = CONTEXTS[context]
            kernel.cpu = ALLOWED[-1] if kernel.context >= HARDIRQ else 0
            assert kernel.burst(5, 0, records)[0] == records

    with Both(lockless, 1 << 13) as ring:
        child = Child(produce, ring.name)
        words = Words()
        words.take(ring.python, records)
        child.wait()
        assert words.next == {5: records} and ring.python.state().used == 0


def test_the_kernel_takes_records_in_any_context(lockless):
    with Both(lockless) as ring:
        ring.kernel.take_role(CONSUMER)
        taken = put = 0
        for turn in range(scaled(2000, 300)):
            ring.kernel.context = list(CONTEXTS.values())[turn % len(CONTEXTS)]
            put += ring.python.put_many([b"x" * (put % 50)] * 5, type=put, blocking=False)
            assert errno_of(ring.kernel.get_batch, 0) == "EINVAL"
            for found in ring.kernel.get_records(7):
                assert found.payload == b"x" * (found.type % 50) and found.sequence == taken
                taken += 1
        while taken < put:
            taken += len(ring.kernel.get_records(7))
        assert errno_of(ring.kernel.get) == "EAGAIN"


def test_what_would_sleep_is_refused_where_nothing_may(variant):
    with Both(variant) as ring:
        calls = [
            lambda: ring.kernel.put(b"x", timeout_ms=10),
            lambda: ring.kernel.get(timeout_ms=FOREVER),
            lambda: ring.kernel.take_role(PRODUCER),
            ring.kernel.lock,
        ]
        if variant.locked:
            calls += [lambda: ring.kernel.put(b"x"), ring.kernel.get]
        for context in set(CONTEXTS) - {"process"}:
            ring.kernel.context = CONTEXTS[context]
            assert [errno_of(call) for call in calls] == ["ENOTSUP"] * len(calls), context


@pytest.mark.parametrize("context", ["hardirq", "nmi"])
def test_interrupts_put_into_the_middle_of_a_put(lockless, context):
    """On the processor where another producer is at work: neither waits for the other, and nothing is lost."""
    if len(ALLOWED) < 2:
        pytest.skip("one processor only")
    records = scaled(20_000, 4000)

    def interrupted(name):
        os.sched_setaffinity(0, {ALLOWED[0]})
        with Handle().attach(name) as handle, KernelRing(handle) as kernel:
            kernel.take_role(PRODUCER)
            assert kernel.burst(1, 0, records)[0] == records

    def interrupting(name):
        os.sched_setaffinity(0, {ALLOWED[1]})
        with Handle().attach(name) as handle, KernelRing(handle) as kernel:
            kernel.take_role(PRODUCER)
            kernel.context, kernel.cpu = CONTEXTS[context], ALLOWED[0]
            done, in_vain = kernel.burst(2, 0, records)
            assert done == records
            print(f"{in_vain} calls in vain")

    with Both(lockless, 1 << 14) as ring:
        children = [Child(interrupted, ring.name), Child(interrupting, ring.name)]
        words = Words()
        words.take(ring.python, 2 * records)
        for child in children:
            child.wait()
        assert words.next == {1: records, 2: records}


# Many


def put_words(name: str, number: int, records: int) -> None:
    """A producer whose records Words checks."""
    with semshare.Ring.attach(name) as ring:
        for first in range(0, records, 20):
            payloads = [struct.pack("Q", n) * (1 + n % 20) for n in range(first, min(first + 20, records))]
            done = 0
            while done < len(payloads):
                done += ring.put_many(payloads[done:], type=number, timeout=SLACK)


@pytest.mark.parametrize("consumer", ["python", "kernel"])
@pytest.mark.parametrize("made_by", ["python", "kernel"])
def test_two_kernel_and_four_python_producers(variant, made_by, consumer):
    """Or as many as there can be: of spsc the kernel is the one producer, with as many threads as it likes."""
    records = scaled(2000, 300)
    pythons = [] if variant.producers == 1 else [11, 12, 13, 14]
    threads = 2 if pythons else 4
    with Both(variant, 1 << 14, made_by=made_by) as ring, Demo() as demo:
        demo.start(ring.handle.fd, threads=threads, first=20, payload=90, count=records)
        children = [Child(put_words, ring.name, number, records) for number in pythons]
        words, tally = Words(), Tally()

        def take():
            if consumer == "kernel":
                return ring.kernel.get_batch(timeout_ms=SLACK * 1000)
            return [(each.type, each.payload) for each in ring.python.get_records(100, timeout=SLACK)]

        while words.total + tally.records < (threads + len(pythons)) * records:
            found = take()
            assert found, (words.next, tally.next)
            for kind, payload in found:
                words.add(kind, payload) if kind in pythons else tally.add([(kind, payload)])
        for child in children:
            child.wait()
        assert all(each["error"] == 0 for each in demo.wait(threads))
        assert words.next == dict.fromkeys(pythons, records)
        assert tally.next == dict.fromkeys(range(20, 20 + threads), records)
        assert ring.python.state().used == 0


@pytest.mark.parametrize("consumer", ["python", "kernel"])
@pytest.mark.parametrize("made_by", ["python", "kernel"])
def test_what_is_there_is_merged_in_the_order_of_time(made_by, consumer):
    """Records of the kernel's lane and of five of Python's, put one after the other in any order: so they come out."""
    chance = random.Random(9)
    with Both(VARIANTS["lanes"], 1 << 14, made_by=made_by) as ring:
        # Who puts takes the role, and so a lane, with the first.
        ring.kernel.take_role(PRODUCER)
        if consumer == "kernel":
            ring.kernel.take_role(CONSUMER)
        producers = [lambda payload: ring.kernel.put(payload), *(ring.attach().put for _ in range(5))]
        put, taken, lanes = 0, 0, {}
        latest = 0
        for _ in range(scaled(150, least=20)):
            # Of a lane of 2 KiB no more than is there for sure, whoever comes how often.
            for _ in range(chance.randrange(30 - (put - taken))):
                chance.choice(producers)(b"%d" % put)
                put += 1
            # Some are left, and what comes then is later.
            if put > taken:
                some = chance.randrange(1, put - taken + 1)
                found = ring.kernel.get_records(some) if consumer == "kernel" else ring.python.get_records(some)
                for each in found:
                    assert each.payload == b"%d" % taken and each.time_ns >= latest
                    lane = each.position >> 56
                    assert each.sequence == lanes.setdefault(lane, 0)
                    lanes[lane] += 1
                    taken, latest = taken + 1, each.time_ns
        # All of the kernel's are of one lane, and there are no others.
        assert len(lanes) == len(producers)


# Sleeping and waking


@pytest.mark.parametrize("context", ["process", "hardirq", "nmi"])
def test_a_put_from_anywhere_wakes_a_process(lockless, context):
    """By its hint, not by the look that comes every 100 ms."""
    turns = scaled(60, 20)

    def consume(name):
        late = []
        with semshare.Ring.attach(name) as ring:
            for _ in range(turns):
                Child.tell()
                sent = struct.unpack("Q", ring.get(timeout=SLACK))[0]
                late.append(time.monotonic_ns() - sent)
        assert SLOW or sorted(late)[turns // 2] < 50e6, late

    with Both(lockless) as ring:
        ring.kernel.take_role(PRODUCER)
        ring.kernel.context = CONTEXTS[context]
        child = Child(consume, ring.name)
        for _ in range(turns):
            child.told()
            eventually(lambda: ring.python.state().consumers_may_sleep)
            ring.kernel.put(struct.pack("Q", time.monotonic_ns()))
        child.wait()


def test_a_process_wakes_the_kernel(lockless):
    turns = scaled(60, 20)

    def consume(name):
        late = []
        with Handle().attach(name) as handle, KernelRing(handle) as kernel:
            for _ in range(turns):
                Child.tell()
                sent = struct.unpack("Q", kernel.get(timeout_ms=FOREVER)[1])[0]
                late.append(time.monotonic_ns() - sent)
        assert SLOW or sorted(late)[turns // 2] < 50e6, late

    with Both(lockless) as ring:
        child = Child(consume, ring.name)
        for _ in range(turns):
            child.told()
            eventually(lambda: ring.python.state().consumers_may_sleep)
            ring.python.put(struct.pack("Q", time.monotonic_ns()))
        child.wait()


def test_space_wakes_the_kernel(lockless):
    """A ring that is full most of the time: a lost wake-up costs 100 ms each."""
    records = scaled(1500, 300)

    def produce(name):
        with Handle().attach(name) as handle, KernelRing(handle) as kernel:
            for number in range(records):
                kernel.put(struct.pack("I", number) * 100, timeout_ms=FOREVER)

    with Both(lockless) as ring:
        child = Child(produce, ring.name)
        began = time.monotonic()
        for number in range(records):
            assert ring.python.get(timeout=SLACK) == struct.pack("I", number) * 100
        assert time.monotonic() - began < records * 0.1 / 3 + SLACK
        child.wait()


# Roles


@pytest.mark.parametrize("role", [PRODUCER, CONSUMER], ids=["producer", "consumer"])
def test_the_kernel_and_processes_have_a_role_in_turn(lockless, role):
    if not lockless.roles & role:
        pytest.skip("there can be many")
    semaphore = 3 if role == PRODUCER else 4

    def python(ring):
        return ring.put(b"x") if role == PRODUCER else ring.get(timeout=0.01)

    def kernel(ring, **more):
        return ring.put(b"x", **more) if role == PRODUCER else ring.get(**more)

    done = (None, "ETIMEDOUT")

    def hold(name):
        with semshare.Ring.attach(name) as ring, suppress(semshare.EmptyTimeout):
            python(ring)
        ring = semshare.Ring.attach(name)
        with suppress(semshare.EmptyTimeout):
            python(ring)
        Child.tell()
        time.sleep(SLACK * 10)

    with Both(lockless) as ring:
        if role == PRODUCER and lockless.producers > 1:
            # Of two lanes somebody else has the first.
            ring.attach().put(b"")
            semaphore = 5
        assert ring.semaphore(semaphore) == 1
        # Who does not wait takes no role.
        assert errno_of(kernel, ring.kernel) == "EPERM"
        child = Child(hold, ring.name)
        child.told()
        assert errno_of(ring.kernel.take_role, role) == "EBUSY"
        assert errno_of(kernel, ring.kernel, timeout_ms=10) == "EBUSY"
        child.kill()
        # What killed it has given its role back.
        assert errno_of(kernel, ring.kernel, timeout_ms=10) in done
        assert ring.semaphore(semaphore) == 0
        with pytest.raises(semshare.RoleTaken):
            python(ring.python)
        # The kernel is one party, whatever handles it has.
        other = ring.open()
        other.take_role(role)
        other.take_role(role)
        ring.kernel.close()
        with pytest.raises(semshare.RoleTaken):
            python(ring.python)
        other.close()
        assert ring.semaphore(semaphore) == 1
        with suppress(semshare.EmptyTimeout):
            python(ring.python)


def test_a_variant_with_many_on_a_side_has_no_role_for_it(variant):
    with Both(variant) as ring:
        for role in (PRODUCER, CONSUMER):
            if not variant.roles & role:
                ring.kernel.take_role(role)
        assert errno_of(ring.kernel.take_role, 0) == errno_of(ring.kernel.take_role, 3) == "EINVAL"
        if variant.roles:
            assert [ring.semaphore(number) for number in (0, 3, 4)] == [1, 1, 1]
            assert errno_of(KernelRing, ring.handle, flags=1) == "EINVAL"  # no lock to do without


def test_cursors_are_the_kernels_own_while_it_has_the_role(lockless):
    """What a process writes over them in the area is not read again."""
    with Both(lockless) as ring:
        ring.kernel.take_role(CONSUMER)
        ring.python.put_many([b"one", b"two"])
        assert ring.kernel.get() == (0, b"one")
        ring.set_word(ring.at_head, 12345)
        assert ring.kernel.get() == (0, b"two")
        assert errno_of(ring.kernel.get) == "EAGAIN"
        assert ring.word(ring.at_head) != 12345 and ring.python.state().used == 0


# A producer that dies over a record


@pytest.fixture
def slots():
    with Both(VARIANTS["mpsc"], max_payload=960) as ring:  # four slots
        yield ring


def reserve(ring) -> None:
    """What a producer does before it is killed, or stopped, over a record."""
    ring.set_word(AT_TAIL, ring.word(AT_TAIL) + 1)


@pytest.mark.parametrize("side", ["kernel", "python"])
def test_a_record_that_is_never_finished_is_passed_over(slots, side):
    get = (lambda: slots.kernel.get(timeout_ms=SLACK * 1000)[1]) if side == "kernel" else slots.python.get
    for turn in range(scaled(2)):
        slots.kernel.put(b"before")
        assert get() == b"before"
        reserve(slots)
        slots.kernel.put(b"behind")
        began = time.monotonic()
        assert get() == b"behind"
        assert 0.9 < time.monotonic() - began < 1.2 + SLACK
        assert slots.python.state().drops["abandoned"] == turn + 1


@pytest.mark.parametrize("side", ["kernel", "python"])
def test_nor_is_a_ring_full_for_ever_of_such_records(side):
    with Both(VARIANTS["mpsc"], max_payload=1024) as slots:  # two slots
        reserve(slots)
        reserve(slots)
        assert errno_of(slots.kernel.put, b"x") == "EAGAIN"
        if side == "kernel":
            assert errno_of(slots.kernel.get, timeout_ms=2500 * SLOWNESS) == "ETIMEDOUT"
        else:
            with pytest.raises(semshare.EmptyTimeout):
                slots.python.get(timeout=2.5 * SLOWNESS)
        assert slots.python.state().drops["abandoned"] == 2
        # Though nothing was read they are given back; their producers may still write there: that takes a lap more.
        assert slots.word(AT_HEAD) == slots.word(AT_TAIL) == 2


def test_a_slot_of_a_process_that_is_known_to_be_dead_is_free_at_once(slots):
    """It is killed over its record, again and again: the kernel finds that out, and never waits for the deadline."""

    def die(name):
        with semshare.Ring.attach(name) as ring:
            ring.put(b"alive")
            # As in the instant before a commit: the tail moved, and the slot says whose it is.
            buffer = ring.area.buffer
            tail = struct.unpack_from("Q", buffer, AT_TAIL)[0]
            struct.pack_into("Q", buffer, AT_TAIL, tail + 1)
            slot = CONTROL + tail % 4 * 1024
            start = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19]) & 0xFFFFFFFF
            struct.pack_into("III", buffer, slot + 8, os.getpid(), start, os.stat("/proc/self/ns/pid").st_ino)

    turns = 6
    began = time.monotonic()
    for turn in range(turns):
        Child(die, slots.name).wait()
        slots.kernel.put(b"behind")
        assert slots.kernel.get(timeout_ms=SLACK * 1000)[1] == b"alive"
        assert slots.kernel.get(timeout_ms=SLACK * 1000)[1] == b"behind"
        assert slots.python.state().drops["abandoned"] == turn + 1
    assert time.monotonic() - began < turns * 0.7 + SLACK


def test_a_slot_does_not_tell_which_processes_another_namespace_has(name):
    """The ring is of a pid namespace of its own: a number of the consumer's that is nobody's counts as alive."""
    until, end = os.pipe()

    def make():
        os.close(end)
        check(libc.unshare(CLONE_NEWPID))
        Child(make_inside, Child._tell).wait()

    def make_inside(tell):
        with semshare.Ring.create(name, CAPACITY, variant="mpsc", max_payload=960, backend="module"):
            os.write(tell, b"ready")
            os.read(until, 1)

    nobody = Child(int)
    number = nobody.pid
    nobody.wait()
    maker = Child(make)
    maker.told()
    with Handle().attach(name) as handle, KernelRing(handle) as consumer, handle.map() as memory:
        consumer.take_role(CONSUMER)
        # As in the instant before a commit: the tail moved, and the slot says whose it is.
        began = time.monotonic()
        struct.pack_into("Q", memory, AT_TAIL, 1)
        struct.pack_into("III", memory, CONTROL + 8, number, 0, os.stat("/proc/self/ns/pid").st_ino)
        while struct.unpack_from("Q", memory, AT_HEAD)[0] == 0:
            assert errno_of(consumer.get, timeout_ms=20) == "ETIMEDOUT"
        assert time.monotonic() - began > 0.9
    os.close(end)
    maker.wait()
    os.close(until)


# Records written where they lie


@pytest.mark.parametrize("context", CONTEXTS)
def test_the_kernel_writes_a_record_where_it_will_be_read(slots, context):
    slots.kernel.context = CONTEXTS[context]
    for turn in range(0, 30, 3):
        slots.kernel.reserve(960)
        slots.kernel.put(b"behind")
        # It was reserved before, and comes before.
        assert slots.python.get_records(9, blocking=False) == []
        slots.kernel.commit(b"x" * 100, 7)
        first, second = slots.python.get_records(9, blocking=False)
        assert first[:2] == (b"x" * 100, 7) and second.payload == b"behind"
        assert (first.sequence, second.sequence) == (turn, turn + 1)
        slots.kernel.reserve(0)
        slots.kernel.cancel()
        slots.python.get_records(9, blocking=False)
    # What was given up leaves a gap, and is counted.
    assert slots.kernel.status().drops[ABANDONED] == 10


def test_what_cannot_be_reserved_is_refused_as_a_put_is(slots):
    assert errno_of(slots.kernel.reserve, 961) == "EMSGSIZE"
    slots.kernel.reserve(10)
    assert errno_of(slots.kernel.commit, bytes(961)) == "EMSGSIZE"
    slots.kernel.commit(b"ok")
    assert slots.python.get() == b"ok"
    assert slots.kernel.put_batch([(0, b"")] * 5) == 4
    assert errno_of(slots.kernel.reserve, 1) == "EAGAIN"
    assert errno_of(slots.kernel.reserve, 1, timeout_ms=50) == "ETIMEDOUT"
    slots.kernel.context = HARDIRQ
    assert errno_of(slots.kernel.reserve, 1, timeout_ms=50) == "ENOTSUP"
    struct.pack_into("I", slots.python.area.buffer, AT_STATE, 1)
    assert errno_of(slots.kernel.reserve, 1) == "EPROTO"


def test_a_reservation_that_a_ring_refuses_counts_as_a_put():
    with Both(VARIANTS["mpsc"], policy="refuse", max_payload=960) as slots:
        assert slots.kernel.put_batch([(0, b"")] * 4) == 4
        assert errno_of(slots.kernel.reserve, 1) == "ENOBUFS"
        assert list(slots.kernel.status().drops) == [1, 0, 0]


def test_who_reserves_waits_for_space(slots):
    def produce(name):
        with Handle().attach(name) as handle, KernelRing(handle) as kernel:
            Child.tell()
            kernel.reserve(10, timeout_ms=FOREVER)
            kernel.commit(b"waited")

    assert slots.kernel.put_batch([(0, b"full")] * 4) == 4
    child = Child(produce, slots.name)
    child.told()
    eventually(lambda: slots.python.state().producers_may_sleep)
    assert [slots.python.get(timeout=SLACK) for _ in range(5)] == [b"full"] * 4 + [b"waited"]
    child.wait()


def test_others_are_written_under_a_lock_or_by_one_at_a_time(variant):
    if variant.name == "mpsc":
        pytest.skip("it can")
    with Both(variant) as ring:
        ring.kernel.take_role(PRODUCER)
        assert errno_of(ring.kernel.reserve, 10) == "ENOTSUP"


@pytest.mark.parametrize(("late", "consumer"), [("kernel", "python"), ("kernel", "kernel"), ("python", "kernel")])
def test_a_commit_that_comes_too_late_fails(slots, late, consumer):
    """The consumer went on without it; its slot is used again once it has let go, and by nobody before."""

    def get():
        return slots.kernel.get(timeout_ms=SLACK * 1000)[1] if consumer == "kernel" else slots.python.get(timeout=SLACK)

    def room():
        done = slots.kernel.put_batch([(0, b"next")] * 5)
        assert [get() for _ in range(done)] == [b"next"] * done
        return done

    def overtake():
        slots.kernel.put(b"behind")
        assert get() == b"behind"
        assert slots.kernel.status().drops[ABANDONED] == 1
        # Of four slots one is being written into.
        assert [room(), room()] == [3, 3]

    if late == "kernel":
        slots.kernel.reserve(960)
        overtake()
        assert errno_of(slots.kernel.commit, b"late" * 240) == "ESTALE"
    else:
        with pytest.raises(semshare.Abandoned), slots.attach().reserve(960) as view:
            overtake()
            view[:] = b"late" * 240
    # The next who comes round finds it free.
    room()
    assert room() == 4


# Lies


@pytest.mark.parametrize("side", ["put", "get"])
def test_words_that_lie_break_it_for_all(lockless, side):
    """Sticky, counted, told in the log; who sleeps is woken."""
    counter = Path("/sys/module/semshare/parameters/rings_broken")

    def sleep(name):
        with semshare.Ring.attach(name) as ring:
            Child.tell()
            with suppress(semshare.RingBroken):
                while True:
                    ring.get(timeout=SLACK * 3) if side == "put" else ring.put(bytes(400), timeout=SLACK * 3)

    if side == "get" and lockless.name == "paged":
        pytest.skip("what is no page is passed over: see the next test")
    with KernelLog() as log, Both(lockless) as ring:
        # The consumer of mpsc looks at slots, and not at the tail, for whether there is something.
        lies = {"put": ring.at_head, "get": AT_TAIL if lockless.roles & PRODUCER else None}
        before = int(counter.read_text())
        ring.kernel.take_role(PRODUCER if side == "put" else CONSUMER)
        child = Child(sleep, ring.name)
        child.told()
        eventually(
            lambda: (
                ring.python.state().consumers_may_sleep if side == "put" else ring.python.state().producers_may_sleep
            )
        )

        def call():
            if lies[side] is None:
                # Slots whose state is of no position that there is.
                for slot in range(8):
                    ring.set_word(CONTROL + slot * 512, 99 << 3)
            else:
                ring.set_word(lies[side], 0x1234567)
            return ring.kernel.get() if side == "get" else ring.kernel.put(bytes(400))

        # Until its own look at the other's cursor, and though that one goes on moving it.
        eventually(lambda: errno_of(call) == "EPROTO")
        assert int(counter.read_text()) == before + 1
        assert struct.unpack_from("I", ring.python.area.buffer, AT_STATE)[0] == lib.SEMSHARE_RING_BAD_CURSORS
        child.wait()
        # Sticky: also where a user says that all is well.
        ring.set_word(AT_HEAD, 0)
        ring.set_word(AT_TAIL, 0)
        struct.pack_into("I", ring.python.area.buffer, AT_STATE, 0)
        assert ring.kernel.status().broken == lib.SEMSHARE_RING_BAD_CURSORS
        assert errno_of(ring.kernel.put, b"x") == errno_of(ring.kernel.get, timeout_ms=FOREVER) == "EPROTO"
        assert errno_of(KernelRing, ring.handle) == "EPROTO"
        assert any("its ring is broken" in line for line in log.read())


def test_pages_that_make_no_sense_are_passed_over_and_counted():
    with Both(VARIANTS["paged"]) as ring:
        ring.kernel.take_role(CONSUMER)
        assert ring.python.put_many([b"%d" % number for number in range(6)]) == 6
        for page, at, value in ((1, 16, 0xFFFF), (3, 24, 99)):  # the size of its payload, its number
            ring.set_word(CONTROL + page * 512 + at, value)
        assert [found.payload for found in ring.kernel.get_records()] == [b"0", b"2", b"4", b"5"]
        assert list(ring.kernel.status().drops) == [0, 0, 2]


def test_geometry_is_the_kernels_own(lockless):
    with Both(lockless, made_by="kernel") as ring:
        memory = memoryview(ring.python.area.buffer)
        memory[16:40] = b"\xff" * 24  # capacity, max_payload, …
        other = ring.open()
        other.take_role(PRODUCER)
        other.put(b"x" * 100)
        ring.kernel.take_role(CONSUMER)
        assert ring.kernel.get() == (0, b"x" * 100)
        memory.release()


def test_the_kernel_refuses_what_is_for_processes_only():
    with semshare.Ring.create(f"robust-{os.getpid()}", CAPACITY, variant="robust", backend="module") as ring:
        ring.put(b"x")
        with Handle().attach(ring.name) as handle:
            assert errno_of(KernelRing, handle) == "ENXIO"
            # With a set that somebody gives it, too.
            handle.bind(semget(0, 5, 0o600), 1)
            assert errno_of(KernelRing, handle) == "ENOTSUP"
        assert ring.get() == b"x"


# The end


def test_destroyed_means_destroyed_for_all(lockless):
    def sleep(name):
        with semshare.Ring.attach(name) as ring:
            Child.tell()
            with suppress(semshare.Removed, semshare.RingBroken):
                ring.get(timeout=SLACK * 3)
                raise AssertionError("not told")

    with Both(lockless, made_by="kernel") as ring:
        other = ring.open()
        child = Child(sleep, ring.name)
        child.told()
        eventually(lambda: ring.python.state().consumers_may_sleep)
        ring.kernel.destroy()
        child.wait()
        assert errno_of(other.put, b"x") == errno_of(other.put, b"x", timeout_ms=FOREVER) == "EPROTO"


def test_modules_stay_while_a_ring_is_open(lockless):
    with Both(lockless) as ring:
        ring.kernel.take_role(PRODUCER)
        assert errno_of(rmmod, "semshare") in ("EWOULDBLOCK", "EAGAIN")
        assert errno_of(rmmod, "semshare_ring_test") in ("EWOULDBLOCK", "EAGAIN")
        ring.kernel.put(b"x")
        assert ring.python.get() == b"x"


def test_areas_can_be_had_again_right_after_a_storm_of_doorbells(lockless):
    """What an interrupt has rung is still under way when the last reference goes."""
    for turn in range(scaled(100, 20)):
        with Both(lockless) as ring:
            ring.kernel.take_role(PRODUCER)
            ring.kernel.context = NMI if turn % 2 else HARDIRQ
            for _ in range(5):
                struct.pack_into("I", ring.python.area.buffer, 144, 1)  # need_data
                ring.kernel.put(b"x")
