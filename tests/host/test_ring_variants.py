# SPDX-License-Identifier: MIT
"""What every variant of the ring promises, each test for each of them: see ring.VARIANTS."""

from __future__ import annotations

import mmap
import os
import random
import threading
import time
from contextlib import suppress

import pytest
from processes import Child, Gate, wait_until
from test_kill_storm import BATCH, Tally, produce, record

from semshare import Empty, EmptyTimeout, Full, FullTimeout, Ring, RingBroken, RoleTaken
from semshare.ring import POLICIES, VARIANTS, Variant

CAPACITY = 4096
#: The share of the long runs that is made unless told.
EFFORT = float(os.environ.get("SEMSHARE_EFFORT", "0.2"))


@pytest.fixture(params=list(VARIANTS))
def variant(request) -> Variant:
    return VARIANTS[request.param]


@pytest.fixture
def ring(name, variant):
    with make(name, CAPACITY, variant) as ring:
        yield ring


def make(name: str, size: int, variant: Variant, **more) -> Ring:
    """A ring that takes the longest records of these tests."""
    if variant.name in ("mpsc", "lanes", "paged"):
        more["max_payload"] = 448
    return Ring.create(name, size, variant=variant.name, **more)


def producers_of(variant: Variant, most: int) -> int:
    """How many there can be at once."""
    return min(variant.producers or most, most)


def test_records_of_each_size_at_each_place(ring):
    """Short ones move the place on by as little as there is, so that long ones begin, wrap and end everywhere."""
    chance = random.Random(7)
    waiting: list[bytes] = []
    sizes = [0, 1, 31, 32, 33, 100, ring.max_payload // 2, ring.max_payload - 1, ring.max_payload]
    put = taken = 0
    while taken < 20_000:
        for _ in range(chance.randrange(6)):
            payload = chance.randbytes(chance.choice(sizes))
            try:
                ring.put(payload, type=put, blocking=False)
            except Full:
                assert waiting
                break
            waiting.append(payload)
            put += 1
        for found in ring.get_records(chance.randrange(1, 6), blocking=False):
            assert found.payload == waiting.pop(0)
            assert found.type == taken == found.sequence
            taken += 1
    with pytest.raises(ValueError, match="split it"):
        ring.put(bytes(ring.max_payload + 1))


def test_a_record_wraps_at_every_place_where_it_can(ring, variant):
    """Those of 0 bytes move the place on by the least there is, until one of them has stood everywhere."""
    chance = random.Random(11)
    # Eight places of one size, half of the ring, or all of it.
    counted = variant.name in ("mpsc", "paged")
    lane = CAPACITY // 2 if variant.name == "lanes" else CAPACITY
    for size in (1, 33, ring.max_payload // 2, ring.max_payload):
        payload = chance.randbytes(size)
        stood: set[int] = set()
        places = 8 if counted else lane // 32
        while len(stood) < places:
            for _ in range(chance.randrange(1, places)):
                ring.put(b"")
                before = ring.get_record()
                assert before.payload == b""
            ring.put(payload, type=size)
            found = ring.get_record()
            assert (found.payload, found.type, found.sequence) == (payload, size, before.sequence + 1)
            stood.add(before.position % places if counted else before.position % lane // 32)


def test_many_records(name, variant):
    """A million, times the effort: every one of them is there, in its order."""
    records = round(1_000_000 * EFFORT) // 64 * 64

    def produce() -> None:
        with Ring.attach(name) as mine:
            for first in range(0, records, 64):
                mine.put_many([number.to_bytes(8, "little") for number in range(first, first + 64)])

    with make(name, 1 << 18, variant) as ring:
        child = Child(produce)
        following = 0
        while following < records:
            for payload in ring.get_many(256, timeout=30):
                assert int.from_bytes(payload, "little") == following
                following += 1
        assert child.wait() == 0
        assert ring.state().used == 0
        assert sum(ring.state().drops.values()) == 0


def test_full_and_empty(ring):
    with pytest.raises(Empty):
        ring.get_nowait()
    with pytest.raises(EmptyTimeout):
        ring.get(timeout=0.01)
    assert ring.get_many(5, timeout=0.01) == []
    fitted = ring.put_many([b"x" * 100] * 100, timeout=0.01)
    assert 1 < fitted < 100
    with pytest.raises(Full):
        ring.put_nowait(b"x" * 100)
    with pytest.raises(FullTimeout):
        ring.put(b"x" * 100, timeout=0.01)
    assert ring.get_many(100) == [b"x" * 100] * fitted
    ring.put(b"y")
    assert ring.get() == b"y"


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_dropped_is_counted_and_leaves_a_gap(name, variant, policy):
    if not variant.can(policy):
        with pytest.raises(ValueError, match=f"cannot {policy}; it can wait"):
            make(name, CAPACITY, variant, policy=policy)
        return
    with make(name, CAPACITY, variant, policy=policy) as ring:
        chance = random.Random(3)
        wanted = taken = missing = following = 0
        while wanted < 5000:
            for _ in range(chance.randrange(20)):
                with suppress(Full):
                    ring.put(wanted.to_bytes(4, "big") * chance.randrange(1, 100), blocking=False)
                # Only a ring that waits leaves it to the caller to try again.
                if policy != "wait" or ring.state().puts > wanted:
                    wanted += 1
            for found in ring.get_records(chance.randrange(1, 12), blocking=False):
                assert int.from_bytes(found.payload[:4], "big") == found.sequence >= following
                missing += found.sequence - following
                following = found.sequence + 1
                taken += 1
        drops = ring.state().drops
        assert sum(drops.values()) >= missing
        assert (sum(drops.values()) > 500) == (policy != "wait")
        left = len(ring.get_many(1000, blocking=False))
        assert taken + left + sum(drops.values()) == wanted


def test_records_of_several_processes_keep_their_order(name, variant):
    count = producers_of(variant, 3)
    records = 40_000 // BATCH // count * BATCH
    returned = memoryview(mmap.mmap(-1, 4096)).cast("Q")
    tally = Tally()
    with make(name, 1 << 14, variant) as ring:
        children = [Child(produce, name, number, returned, records) for number in range(count)]
        while tally.total < records * count:
            for payload in ring.get_many(100, timeout=30):
                tally.add(payload)
        assert [child.wait() for child in children] == [0] * count
        assert tally.next == dict.fromkeys(range(count), records)
        assert ring.state().used == 0


def test_nobody_sleeps_through_a_wake_up(name, variant):
    """A record goes to and fro; each side has gone to sleep, or is about to, whenever it comes."""
    turns = 3000

    def echo() -> None:
        with Ring.attach(name) as there, Ring.attach(f"{name}.back") as back:
            for _ in range(turns):
                back.put(there.get())

    with (
        make(name, CAPACITY, variant) as there,
        make(f"{name}.back", CAPACITY, variant) as back,
    ):
        child = Child(echo)
        began = time.monotonic()
        for turn in range(turns):
            there.put(turn.to_bytes(4, "big"))
            assert back.get(timeout=60) == turn.to_bytes(4, "big")
        took = time.monotonic() - began
        assert child.wait() == 0
    # Who is not woken looks again after 100 ms.
    assert took < turns * 0.1 / 10


def test_killed_producers_lose_nothing_and_block_nobody(name, variant):
    count = producers_of(variant, 2)
    returned = memoryview(mmap.mmap(-1, 8192)).cast("Q")
    chance = random.Random(1)
    tally = Tally()
    kills = 120
    with make(name, 1 << 13, variant) as ring:
        number = 0
        while number < kills:
            children = []
            for _ in range(count):
                children.append(Child(produce, name, number, returned))
                number += 1
            wait_until(lambda first=number - count: _take(ring, tally) and returned[first])
            until = time.monotonic() + chance.random() * 0.02
            while time.monotonic() < until:
                _take(ring, tally)
            for child in children:
                child.kill()
        while _take(ring, tally):
            pass
        for producer in range(number):
            got = tally.next.get(producer, 0)
            assert returned[producer] <= got <= returned[producer] + BATCH, producer
        # What was killed over is a number that is missing, or nothing at all.
        ring.put(b"last")
        assert ring.get() == b"last"


def _take(ring: Ring, tally: Tally) -> bool:
    payloads = ring.get_many(200, blocking=False)
    for payload in payloads:
        tally.add(payload)
    return bool(payloads)


def test_a_killed_consumer_takes_nothing_with_it_but_what_it_had_taken(name, variant):
    """Its successor goes on where it stood; what it had not given back yet is delivered again."""
    seen = memoryview(mmap.mmap(-1, 4096)).cast("Q")

    def consume() -> None:
        with Ring.attach(name) as ring:
            while True:
                for found in ring.get_records(7):
                    seen[0] = found.sequence + 1

    chance = random.Random(2)
    with make(name, 1 << 13, variant) as ring:
        put = 0
        for _ in range(60):
            child = Child(consume)
            before = seen[0]
            until = None
            while until is None or time.monotonic() < until:
                with suppress(FullTimeout):
                    ring.put(record(0, put, [b"x" * 40] * 64), timeout=0.01)
                    put += 1
                if until is None and seen[0] > before:
                    until = time.monotonic() + chance.random() * 0.01
            child.kill()
        reached = seen[0]
        left = ring.get_records(10_000, blocking=False)
        # Seven at most were taken and never seen.
        assert not left or left[0].sequence <= reached + 7
        assert [each.sequence for each in left] == list(range(put - len(left), put))


def test_threads_share_it(ring):
    """Each in its turn: one object has the role for all threads of its process."""
    taken: list[bytes] = []

    def get() -> None:
        while len(taken) < 4000:
            with suppress(EmptyTimeout):
                taken.append(ring.get(timeout=0.05))

    threads = [threading.Thread(target=get) for _ in range(3)]
    threads += [
        threading.Thread(target=lambda first=first: [ring.put(b"%d" % n) for n in range(first, first + 1000)])
        for first in range(0, 4000, 1000)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, taken)) == list(range(4000))


def test_words_that_lie_break_it_for_all(ring, name, variant):
    ring.put(b"x")
    # The cursors. Where those of the others are robust has its mutex: who writes there locks everybody out.
    places = (128, 136) if variant.name == "robust" else (128, 136, 512, 640)
    with memoryview(ring.area.buffer) as memory:
        for place in places:
            memory[place : place + 8] = bytes([place % 251] * 8)
    with Ring.attach(name) as other, pytest.raises(RingBroken):
        other.get(blocking=False)
    with pytest.raises(RingBroken):
        ring.put(b"y")


# Where there can be one only


@pytest.mark.parametrize("side", ["put", "get"])
def test_who_came_first_has_the_role_until_it_ends(name, variant, side):
    role = 1 if side == "put" else 2
    if not variant.roles & role or (side == "put" and variant.producers > 1):
        pytest.skip("there can be many")
    started = Gate()

    def call(ring: Ring) -> None:
        with suppress(Empty):
            ring.put(b"x") if side == "put" else ring.get(blocking=False)

    def first() -> None:
        with Ring.attach(name) as ring:
            call(ring)
            started.open()
            time.sleep(60)

    with make(name, CAPACITY, variant) as ring, Ring.attach(name) as other:
        child = Child(first)
        started.pass_through()
        with pytest.raises(RoleTaken, match="producer" if side == "put" else "consumer"):
            call(ring)
        child.kill()
        call(ring)
        # In the same process too; and a child of the fork is another.
        with pytest.raises(RoleTaken):
            call(other)

        def forked() -> None:
            with pytest.raises(RoleTaken):
                call(ring)

        assert Child(forked).wait() == 0
        call(ring)
        ring.close()
        call(other)
    started.close()


def test_the_child_of_a_fork_that_ends_does_not_give_its_parents_role(name, variant):
    if not variant.roles:
        pytest.skip("there can be many")
    with make(name, CAPACITY, variant) as ring, Ring.attach(name) as other:
        ring.put(b"x")
        assert ring.get() == b"x"
        assert Child(ring.close).wait() == 0
        assert Child(os.getpid).wait() == 0
        with pytest.raises(RoleTaken):
            other.get(blocking=False)


def test_the_child_of_a_fork_closes_for_itself_whoever_waits_in_its_parent(name, variant):
    """A thread of the parent's that is inside at the fork is not in the child."""

    def put_and_close() -> None:
        ring.put(b"x")
        ring.close()
        with Ring.attach(name) as again:
            again.put(b"y")

    with make(name, CAPACITY, variant) as ring:
        found: list[bytes] = []
        waiting = threading.Thread(target=lambda: found.extend([ring.get(), ring.get()]))
        waiting.start()
        time.sleep(0.05)
        assert Child(put_and_close).wait() == 0
        waiting.join()
        assert found == [b"x", b"y"]


# What only mpsc has: a record that was begun and is not finished


def test_a_producer_that_is_killed_over_a_record_blocks_nobody(name):
    """Wherever in its put it was: what it had begun is passed over, and its slot is found to be free again."""
    with Ring.create(name, CAPACITY, variant="mpsc", max_payload=64) as ring:
        stop = mmap.mmap(-1, 4096)

        def produce() -> None:
            with Ring.attach(name) as mine:
                while True:
                    mine.put(b"%d" % os.getpid(), timeout=1)
                    stop[0] = 1

        for _ in range(40):
            stop[0] = 0
            child = Child(produce)
            wait_until(lambda: ring.get_many(100, blocking=False) and stop[0])
            child.kill()
        began = time.monotonic()
        ring.get_many(1000, blocking=False)
        for number in range(200):
            ring.put(b"%d" % number)
            assert ring.get(timeout=10) == b"%d" % number
        assert time.monotonic() - began < 10
        assert ring.state().used == 0
