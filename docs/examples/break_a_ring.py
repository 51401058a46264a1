#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes nonsense over a ring while kernel threads put records into it, and into another one.

    # python3 break_a_ring.py

Needs the module, its client semshare_demo, whose threads are the producers, and root.
"""

from __future__ import annotations

import os
import random
import struct
import time

import semshare
from semshare.demo.kernel import KernelThreads


def made(name: str) -> semshare.Ring:
    return semshare.Ring.create(f"{name}-{os.getpid()}", 1 << 14, backend="module")


def take(ring: semshare.Ring, count: int, expected: int) -> int:
    """Take so many records, whose numbers go on from `expected`."""
    for _ in range(count):
        assert ring.get_record(timeout=60).sequence == expected
        expected += 1
    return expected


def scribble(ring: semshare.Ring) -> None:
    """Write over its words until it is broken, as whoever may write the area can."""
    chance = random.Random(1)
    with memoryview(ring.area.buffer) as words:
        while True:
            # Head, tail, owner and whatever else stands behind the geometry.
            struct.pack_into("Q", words, chance.randrange(64, 512, 8), chance.getrandbits(64))
            ring.get_many(100, timeout=0.01)


def demonstrate(victim: semshare.Ring, other: semshare.Ring) -> None:
    victims, others = (KernelThreads(ring.area.fileno()) for ring in (victim, other))
    for threads in (victims, others):
        threads.put_records(2, 0, 100, 0, unlocked=False)
    take(victim, 1000, 0)
    expected = take(other, 1000, 0)
    try:
        scribble(victim)
    except semshare.RingBroken as error:
        print(error)
    # The kernel keeps that in memory of its own: whatever is written from now on, to it this ring is broken.
    while any(each.running for each in victims.status()):
        time.sleep(0.01)
    print("its kernel threads:", ", ".join(os.strerror(each.error) for each in victims.status()))
    take(other, 1000, expected)
    print("the other ring: 1000 more records, in order")
    for threads in (victims, others):
        threads.close()


def main() -> None:
    with made("victim") as victim, made("other") as other:
        demonstrate(victim, other)


if __name__ == "__main__":
    main()
