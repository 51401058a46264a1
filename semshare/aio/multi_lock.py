# SPDX-License-Identifier: MIT
"""Several locks of a pool, in asyncio: semshare.aio.MultiLock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

import semshare.multi_lock
from semshare.aio.form import unbound
from semshare.aio.held import Held
from semshare.lock_pool import LockPool
from semshare.multi_lock import of_whom
from semshare.semaphore_set import SemaphoreSet


@final
class MultiLock(Held):
    """semshare.MultiLock whose acquire() is awaited: several locks of a pool, all of them or none.

        async with semshare.aio.MultiLock(pool, [3, 17, 99]):
            ...

    It is used like semshare.aio.Lock. Of one number, it is the form of a single lock of a pool.

    Args:
        pool: a semshare.LockPool, or a semshare.SemaphoreSet.
        numbers: of its locks, each once.

    Raises:
        TypeError: the pool's on_owner_died is a coroutine function.
        and as semshare.MultiLock.
    """

    def __init__(self, pool: LockPool | SemaphoreSet, numbers: Iterable[int]) -> None:
        self._stand_for(unbound(semshare.multi_lock.MultiLock, pool, numbers))

    def _stand_for(self, sync: Any) -> None:
        super()._stand_for(sync)
        self._numbers = sync.numbers

    @property
    def numbers(self) -> tuple[int, ...]:
        """Those of the locks, in their order."""
        return self._numbers

    def __reduce__(self) -> tuple[Any, ...]:
        return _multi_of, (self._sync._whose(), self._numbers)

    def unlink(self) -> None:
        """Raises:
        ValueError: it goes with its pool.
        """
        raise ValueError(f"{self._what}: it goes with the pool; use unlink() of that")


def _multi_of(how: dict[str, Any], numbers: tuple[int, ...]) -> MultiLock:
    return MultiLock(of_whom(how), numbers)
