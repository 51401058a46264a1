# SPDX-License-Identifier: MIT
"""Tasks that wait, for tests of asyncio."""

from __future__ import annotations

import asyncio
import functools
import mmap
import struct
import threading
import time
from typing import Any, Callable

from processes import Child, wait_until

from semshare.aio.line import _Waiter

LIMIT = 60.0
"""Seconds after which something that should happen did not."""


def in_loop(test):
    """Run a test's coroutine, with a limit; no thread may be left of it."""

    @functools.wraps(test)
    def run(**fixtures):
        asyncio.run(asyncio.wait_for(test(**fixtures), 4 * LIMIT))
        wait_until(lambda: not waiters(), "the end of the threads that wait")

    return run


def waiters() -> list[threading.Thread]:
    """The threads that wait for tasks."""
    return [thread for thread in threading.enumerate() if isinstance(thread, _Waiter)]


async def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Let others run until it is true."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about in {LIMIT:.0f} s"
        await asyncio.sleep(0.001)


async def end_of(child: Child) -> int:
    """Its exit code; the loop runs meanwhile."""
    await until(child.poll, f"the end of child {child.pid}")
    return child.wait()


async def waiting(lock: Any, number: int = 1, **arguments: Any) -> list[asyncio.Task[bool]]:
    """So many tasks, in line."""
    tasks = []
    for _ in range(number):
        before = len(lock._line)
        tasks.append(asyncio.create_task(taking(lock, **arguments)))
        await until(lambda before=before: len(lock._line) > before, "a task in line")
    return tasks


async def taking(lock: Any, **arguments: Any) -> bool:
    return await lock.acquire(**arguments)


class Counter:
    """A number in shared memory, added to in two steps."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)

    @property
    def value(self) -> int:
        return struct.unpack_from("q", self._memory)[0]

    @value.setter
    def value(self, value: int) -> None:
        struct.pack_into("q", self._memory, 0, value)

    async def add(self) -> None:
        before = self.value
        await asyncio.sleep(0)
        self.value = before + 1


async def in_line(form: Any, number: int, make: Callable[[], Any]) -> list[asyncio.Task[Any]]:
    """So many tasks that wait."""
    tasks = [asyncio.create_task(make()) for _ in range(number)]
    await until(lambda: len(form._line) == number)
    return tasks
