# SPDX-License-Identifier: MIT
"""Locks in asyncio: semshare.aio.Lock and semshare.aio.RLock."""

from __future__ import annotations

import asyncio
from typing import Any, final

import semshare.lock
from semshare.aio.held import Held, Part
from semshare.places import PlacesLock


class BaseLock(Held):
    """What Lock and RLock have in common. Not one itself."""

    def _stand_for(self, sync: Any) -> None:
        super()._stand_for(sync)
        self._numbers = (sync.number,)

    # ---------------------------------------------------------------------------------------- of a condition's wait

    def _is_of(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether that task has it."""
        return task in self._owners

    def _times(self, task: asyncio.Task[Any] | None) -> int:
        """How often that task has it."""
        return self._owners[task]

    def _give_back_all(self, task: asyncio.Task[Any] | None) -> None:
        """Give it back however often that task has it."""
        self._owners[task] = 1
        self._give_back(task)

    async def _take_back(self, task: asyncio.Task[Any] | None, times: int) -> BaseException | None:
        """Have it so often again. If the task that waits for it is cancelled meanwhile, that is returned.

        Raises:
            OwnerDied, or what on_owner_died raised: with the lock in hand.
            Anything else: without.
        """
        cancelled = None
        while True:
            try:
                await self._get(None, None)
                break
            except asyncio.CancelledError as error:
                cancelled = error
        self._owners[task] = times - 1
        self._begin(task, kept=True)
        return cancelled


@final
class Lock(BaseLock):
    """semshare.Lock whose acquire() is awaited.

        async with semshare.aio.Lock("my-lock"):
            ...

    It is the same lock for threads, processes and kernel code, and one for tasks: it belongs to the task that calls
    acquire(), which is to call release(). Tasks that use one object get it in the order in which they asked for it, as
    far as other processes let them have it. An object may be used in several event loops, and threads.

    Args:
        name: and all others: as of semshare.Lock.

    A function that is on_owner_died is called in the task, with this object.

    Raises:
        TypeError: on_owner_died is a coroutine function.
        and as semshare.Lock.
    """

    _sync_class = semshare.lock.Lock


@final
class RLock(BaseLock):
    """A Lock that the task that holds it may take again by way of the same object, as often as it releases it.

    Otherwise it is like Lock: see there. Between tasks, threads and processes it excludes like semshare.RLock.

    Raises:
        TypeError: on_owner_died is a coroutine function.
        and as semshare.RLock.
    """

    _sync_class = semshare.lock.RLock
    _reentrant = True


@final
class OwnLock(Part, BaseLock):
    """The lock of a condition or a barrier. It is used like an RLock, and goes with what it is the lock of."""

    _reentrant = True

    def __init__(self, whole: str, sync: PlacesLock) -> None:
        self._whole = whole
        self._stand_for(sync)
