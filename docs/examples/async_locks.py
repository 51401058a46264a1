#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tasks of several processes change a file in turn, while others give up, are cancelled, and are killed inside.

    python3 async_locks.py [NAME]
"""

import asyncio
import multiprocessing
import os
import signal
import sys
import tempfile
from pathlib import Path

import semshare
import semshare.aio

TASKS = 50


async def add(lock: semshare.aio.Lock, path: Path) -> None:
    async with lock:
        number = int(path.read_text())
        await asyncio.sleep(0)  # other tasks run: only the lock keeps them from the file
        path.write_text(str(number + 1))


async def many(name: str, path: Path) -> None:
    lock = semshare.aio.Lock(name)
    await asyncio.gather(*(add(lock, path) for _ in range(TASKS)))


def process(name: str, path: Path) -> None:
    asyncio.run(many(name, path))


def die_inside(name: str, path: Path) -> None:
    with semshare.Lock(name):  # a thread's, the same lock
        path.write_text("half wri")
        os.kill(os.getpid(), signal.SIGKILL)


async def try_for(lock: semshare.aio.Lock, seconds: float) -> bool:
    return await lock.acquire(timeout=seconds)


async def main(name: str, path: Path) -> None:
    def repair(lock: semshare.aio.Lock, died: semshare.OwnerDied) -> None:
        """Called by the task that has the lock next."""
        print(f"process {died.pid} died inside: {path.read_text()!r}")
        path.write_text("0")
        lock.mark_consistent()

    path.write_text("0")
    lock = semshare.aio.Lock(name, on_owner_died=repair)
    other = multiprocessing.Process(target=process, args=(name, path))
    other.start()
    await asyncio.gather(many(name, path), asyncio.to_thread(other.join))
    print(f"{2 * TASKS} tasks of 2 processes: {path.read_text()}")

    async with lock:
        waiting = [asyncio.create_task(add(lock, path)) for _ in range(3)]
        print("had in a tenth of a second:", await asyncio.create_task(try_for(lock, 0.1)))
        waiting[0].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    print("three more, one of them cancelled:", path.read_text())

    victim = multiprocessing.Process(target=die_inside, args=(name, path))
    victim.start()
    await asyncio.to_thread(victim.join)
    await add(lock, path)
    print("after the repair:", path.read_text())
    lock.unlink()


if __name__ == "__main__":
    with tempfile.NamedTemporaryFile() as file:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else f"async-locks-{os.getpid()}", Path(file.name)))
