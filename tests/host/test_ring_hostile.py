# SPDX-License-Identifier: MIT
"""A user scribbles over a ring. Its other users get errors of this package, and never crash, hang or read elsewhere."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import Child

from semshare import Error, Ring

numbers = itertools.count()

# Offsets of words that matter, and anything else.
OFFSETS = st.sampled_from([64, 68, 72, 80, 88, 128, 136, 144, 148, 152, 160, 168]) | st.integers(0, 8191 - 8)
VALUES = st.sampled_from(
    [0, 1, 8, 16, 4096, 4112, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 63, (1 << 64) - 16, (1 << 64) - 1]
) | st.integers(0, (1 << 64) - 1)


def use(ring: Ring, scribbles: list[tuple[int, int, int]]) -> None:
    """Do something between all scribbles; only errors of this package may come of it."""
    memory = ring.area.buffer
    for offset, value, what in scribbles:
        memory[offset : offset + 8] = value.to_bytes(8, "little")
        calls = [
            lambda: ring.put(b"x" * 100, timeout=0),
            lambda: ring.get(timeout=0),
            lambda: ring.put_many([b"abc"] * 20, timeout=0),
            lambda: ring.get_many(20, timeout=0),
            lambda: ring.get_record(False),
            lambda: ring.lock.acquire(timeout=0) and ring.lock.release(),
            lambda: Ring.attach(ring.name).close(),
            lambda: (ring.state(), ring.lock.owner(), repr(ring), repr(ring.lock)),
        ]
        with contextlib.suppress(Error):
            calls[what]()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scribbles=st.lists(st.tuples(OFFSETS, VALUES, st.integers(0, 7)), min_size=1, max_size=25), locked=st.booleans())
def test_scribbles_between_calls_come_to_nothing_but_errors(scribbles, locked):
    with Ring.create(f"test-{os.getpid()}-hostile-{next(numbers)}", 4096, locked=locked) as ring:
        if any(offset < 4 for offset, _, _ in scribbles):
            ring.unlink()  # without its magic number it cannot be attached: do not wait for that
        assert Child(use, ring, scribbles).wait() == 0


def test_scribbles_during_calls_come_to_nothing_but_errors(name):
    """One process writes random words over the whole ring all the time while others use it."""

    def scribble(ring: Ring) -> None:
        memory = ring.area.buffer.cast("Q")
        chance = random.Random(5)
        while True:
            # Most in the control page, where it hurts. Small numbers and steps make lies that are nearly true.
            place = chance.randrange(8, 32) if chance.random() < 0.7 else chance.randrange(len(memory))
            memory[place] = chance.choice([0, 1, 16, 64, 4096, chance.getrandbits(12) & ~15, chance.getrandbits(64)])

    def work(ring: Ring, seed: int) -> None:
        chance = random.Random(seed)
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            with contextlib.suppress(Error):
                chance.choice(
                    [
                        lambda: ring.put(os.urandom(chance.randrange(993)), timeout=0),
                        lambda: ring.get(timeout=0),
                        lambda: ring.put_many([b"x" * chance.randrange(500)] * 10, timeout=0),
                        lambda: ring.get_many(10, timeout=0),
                    ]
                )()

    for round_number in range(10):
        with Ring.create(name, 4096, locked=round_number % 2 == 0) as ring:
            scribbler = Child(scribble, ring)
            workers = [Child(work, ring, seed) for seed in range(2)]
            try:
                assert [worker.wait() for worker in workers] == [0, 0]
            finally:
                scribbler.kill()
