#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Signals the kernel module beside it by an eventfd, and waits at descriptors for its records: poll, then asyncio.

    python3 wait_for_answers.py [COUNT]

Neither side has a thread for it. Needs Python 3.10, for os.eventfd().
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
import time
from pathlib import Path

import semshare
import semshare.aio

AREA = "answers"
PARAMETER = Path("/sys/module/semshare_doorbell/parameters/eventfd")


def age_of(payload: bytes) -> int:
    """Nanoseconds since the kernel wrote that record: it has CLOCK_MONOTONIC, as we have."""
    return time.monotonic_ns() - int.from_bytes(payload, sys.byteorder)


def with_poll(ring: semshare.Ring, bell: int) -> None:
    waiting = select.poll()
    # Of the ring: readable when there are records. It is cleared by a look that finds nothing, so look first.
    waiting.register(ring.fileno(), select.POLLIN)
    assert not ring.get_many(1, blocking=False)
    os.eventfd_write(bell, 1)
    assert waiting.poll(60_000), "no answer"
    for payload in ring.get_many(10, blocking=False):
        print("poll: an answer,", "just now" if 0 <= age_of(payload) < 60e9 else "of another time")


async def with_asyncio(ring: semshare.aio.Ring, bell: int, count: int) -> None:
    for _ in range(count):
        os.eventfd_write(bell, 1)
        await ring.get(timeout=60)
    print(f"asyncio: {count} signals, {count} answers")


def main(count: int) -> None:
    with semshare.Ring.create(AREA, 1 << 16, variant="mpsc") as ring:
        print(f"the ring is there. Now, as root: insmod semshare_doorbell.ko area={AREA}", flush=True)
        while not PARAMETER.exists():
            time.sleep(0.1)
        # Handed over once; from then on each signal of it is a call in the kernel.
        bell = os.eventfd(0)
        while True:
            try:
                PARAMETER.write_text(str(bell))
                break
            except BlockingIOError:  # it is still being loaded
                time.sleep(0.1)
        with_poll(ring, bell)

        async def rest() -> None:
            async with semshare.aio.Ring.attach(AREA) as mine:
                await with_asyncio(mine, bell, count)

        ring.close()
        asyncio.run(rest())
        os.close(bell)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
