# SPDX-License-Identifier: MIT
"""Events in asyncio: semshare.aio.Event."""

from __future__ import annotations

import time
from typing import Any, final

import semshare.event
from semshare.aio.form import Form, limit_of
from semshare.aio.line import Crowd
from semshare.lock_statistics import LockStatistics, Tally


@final
class Event(Form):
    """semshare.Event whose wait() is awaited.

        await semshare.aio.Event("ready").wait()

    Args:
        name: and all others: as of semshare.Event.

    Raises:
        as semshare.Event.
    """

    _line: Crowd
    _sync_class = semshare.event.Event

    def _stand_for(self, sync: Any) -> None:
        super()._stand_for(sync)
        self._tally = Tally()
        self._line = Crowd(self._what, sync._wait._wait_slice, sync._turn)

    def is_set(self) -> bool:
        """Whether it has happened."""
        return bool(self._sync.is_set())

    def set(self) -> None:
        """It has happened: all who wait go on, and nobody waits any more. Without effect if it had happened before.

        Raises:
            Removed: the set was removed.
            ValueError: it is closed.
        """
        self._check_open()
        self._sync.set()
        # The thread may not have begun to wait, and would miss it if it is cleared now.
        self._line.all()

    def clear(self) -> None:
        """It has not happened yet, from now on. Without effect if it had not.

        Raises:
            Removed: the set was removed.
            ValueError: it is closed.
        """
        self._check_open()
        self._sync.clear()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has happened, at most `timeout` seconds; None: without limit.

        Returns:
            True; False if the time was over.

        Raises:
            Removed: the set was removed.
            ValueError: it is closed.
        """
        limit = limit_of(timeout)
        self._check_open()
        turn = self._sync._turn()
        if self._sync.is_set():
            self._tally.count()
            return True
        began = time.monotonic_ns()
        if limit == 0 or not await self._line.get(turn, limit):
            return False
        self._tally.count(time.monotonic_ns() - began)
        return True

    def statistics(self) -> LockStatistics:
        """How those who waited by way of this object fared, in this process."""
        return self._tally.statistics()
