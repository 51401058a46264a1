# SPDX-License-Identifier: MIT
"""Counting semaphores in asyncio: semshare.aio.Semaphore and semshare.aio.BoundedSemaphore."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import semshare.semaphore
from semshare.aio.form import unbound
from semshare.aio.held import Taken

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from semshare.options import CountedOpening


class BaseSemaphore(Taken):
    """What Semaphore and BoundedSemaphore have in common. Not one itself."""

    def release(self, n: int = 1) -> None:
        """Give so many permits back, as release() of the synchronous form. Any task may.

        Raises:
            BadValue: there would be more permits than there may be; none is given back.
            Removed: the set was removed.
            ValueError: n is less than 1, or it is closed.
        """
        self._check_open()
        if n == 1:
            self._let_go()
        else:
            self._sync.release(n)

    @property
    def value(self) -> int:
        """Permits that are free now."""
        return int(self._sync.value)

    def locked(self) -> bool:
        """Whether no permit is free now."""
        return bool(self._sync.locked())


@final
class Semaphore(BaseSemaphore):
    """semshare.Semaphore whose acquire() is awaited.

        async with semshare.aio.Semaphore("tools", 3):
            ...

    Tasks that use one object get permits in the order in which they asked for them. What the process has when it ends,
    the kernel gives back.

    Args:
        name, value: and all others: as of semshare.Semaphore.

    Raises:
        as semshare.Semaphore.
    """

    def __init__(self, name: str | None = None, value: int = 1, **options: Unpack[CountedOpening]) -> None:
        self._stand_for(unbound(semshare.semaphore.Semaphore, name, value, **options))


@final
class BoundedSemaphore(BaseSemaphore):
    """A Semaphore that refuses to be given more permits than it began with.

    Args:
        name, value: and all others: as of semshare.BoundedSemaphore.

    Raises:
        as semshare.BoundedSemaphore.
    """

    def __init__(self, name: str | None = None, value: int | None = None, **options: Unpack[CountedOpening]) -> None:
        self._stand_for(unbound(semshare.semaphore.BoundedSemaphore, name, value, **options))

    @property
    def limit(self) -> int:
        """The most permits there can be."""
        return int(self._sync.limit)
