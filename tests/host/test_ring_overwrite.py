# SPDX-License-Identifier: MIT
"""A producer that never waits, and writes over what its consumer, another process, is just reading."""

from __future__ import annotations

import mmap
import random
import time

import pytest
from processes import Child

from semshare import Ring

VARIANTS = ["spsc", "paged", "sysv", "robust"]


def payload(number: int) -> bytes:
    """Different in each word: one that is half of another is no payload."""
    return number.to_bytes(8, "little") * (1 + number % 50)


def check(found: bytes) -> int:
    number = int.from_bytes(found[:8], "little")
    assert found == payload(number), "a torn record"
    return number


def make(name: str, variant: str) -> Ring:
    return Ring.create(name, 4096, variant=variant, policy="overwrite", max_payload=448 if variant == "paged" else 0)


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_taken_is_whole_and_what_is_missing_is_counted(name, variant, batch):
    stop = mmap.mmap(-1, 4096)

    def produce() -> None:
        with Ring.attach(name) as ring:
            number = 0
            while not stop[0]:
                ring.put_many([payload(each) for each in range(number, number + batch)])
                number += batch

    with make(name, variant) as ring:
        child = Child(produce)
        taken, following = 0, 0
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            for found in ring.get_records(5, timeout=10):
                assert check(found.payload) == found.sequence >= following
                following = found.sequence + 1
                taken += 1
        stop[0] = 1
        assert child.wait() == 0
        left = ring.get_records(1000, blocking=False)
        state = ring.state()
        first = left[0].sequence if left else state.puts  # the last look of the loop may have taken all there was
        assert [check(each.payload) for each in left] == list(range(first, state.puts))
        assert state.drops["overwritten"] > 100
        assert taken + len(left) + state.drops["overwritten"] == state.puts
        assert state.used == 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_killed_parties_leave_a_ring_in_order(name, variant):
    """Producer and consumer are killed by turns; what the next ones find is whole, and in order."""
    seen = memoryview(mmap.mmap(-1, 4096)).cast("Q")
    chance = random.Random(5)

    def produce() -> None:
        with Ring.attach(name) as ring:
            number = ring.state().puts + sum(ring.state().drops.values())
            while True:
                ring.put((number % 251).to_bytes(1, "little") * (number % 400))
                number += 1
                seen[1] += 1

    def consume() -> None:
        with Ring.attach(name) as ring:
            while True:
                found = ring.get_record()
                assert found.payload == found.payload[:1] * len(found.payload), "a torn record"
                assert found.sequence >= seen[0]
                seen[0] = found.sequence + 1
                seen[2] += 1

    with make(name, variant) as ring:
        sides = {produce: Child(produce), consume: Child(consume)}
        for turn in range(40):
            before = seen[1], seen[2]
            until = time.monotonic() + 10
            while seen[1] == before[0] or seen[2] == before[1]:
                assert not sides[consume].poll()
                assert not sides[produce].poll()
                assert time.monotonic() < until
            time.sleep(chance.random() * 0.005)
            side = (produce, consume)[turn % 2]
            sides[side].kill()
            sides[side] = Child(side)
        for child in sides.values():
            child.kill()
        assert not ring.state().broken
        ring.put(b"last")
        assert ring.get_many(1000)[-1] == b"last"
