#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Takes records in asyncio while other tasks run, without a thread.

    python3 async_consumer.py [NAME [VARIANT]]

A second process puts 1000 records into the ring NAME, with pauses. Here one task takes them, and another counts how
often it had its turn meanwhile.
"""

import asyncio
import os
import sys
import time

import semshare
import semshare.aio

COUNT = 1000


def produce(name: str) -> None:
    with semshare.Ring.attach(name) as ring:
        for number in range(COUNT):
            ring.put(b"%d" % number)
            if number % 100 == 0:
                time.sleep(0.01)


async def take(ring: semshare.aio.Ring) -> None:
    expected = 0
    async for payload in ring:
        assert payload == b"%d" % expected
        expected += 1
        if expected == COUNT:
            return


async def main(name: str, variant: str) -> None:
    async with semshare.aio.Ring.create(name, 1 << 16, variant=variant) as ring:
        child = os.fork()
        if child == 0:
            produce(name)
            os._exit(0)
        turns = 0
        taking = asyncio.create_task(take(ring))
        while not taking.done():
            turns += 1
            await asyncio.sleep(0.001)
        await taking
        os.waitpid(child, 0)
        print(f"{COUNT} records, in order; the other task had {turns} turns meanwhile")


if __name__ == "__main__":
    given = sys.argv[1:]
    asyncio.run(main(given[0] if given else f"async-{os.getpid()}", given[1] if len(given) > 1 else "mpsc"))
