# SPDX-License-Identifier: MIT
"""Barriers in asyncio: semshare.aio.Barrier."""

from __future__ import annotations

import functools
import inspect
import os
from typing import TYPE_CHECKING, Any, Callable, final

import semshare.barrier
from semshare.aio.form import Form, limit_of, unbound
from semshare.aio.line import Line, Turn, close_behind
from semshare.aio.lock import OwnLock
from semshare.lock_statistics import LockStatistics

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from semshare.options import Opening


@final
class Barrier(Form):
    """semshare.Barrier in asyncio: tasks, threads and processes wait for each other, and then all go on.

        start = semshare.aio.Barrier("start", 4)
        if await start.wait() == 0:
            ...                         # done by one of the four

    A task that is cancelled while it waits is taken out, and the others wait for another in its stead.

    Args:
        name, parties, action, timeout: and all others: as of semshare.Barrier. The action may be a coroutine function.

    Raises:
        as semshare.Barrier.
    """

    def __init__(
        self,
        name: str | None = None,
        parties: int | None = None,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        **options: Unpack[Opening],
    ) -> None:
        sync = unbound(semshare.barrier.Barrier, name, parties, action, timeout, **options)
        self._action = action
        self._timeout = sync._timeout
        self._lock = OwnLock("barrier", sync._lock)
        self._stand_for(sync)

    def _stand_for(self, sync: Any) -> None:
        super()._stand_for(sync)
        self._line = Line(self._what)

    async def wait(self, timeout: float | None = None) -> int:
        """Wait until so many do.

        Args:
            timeout: seconds at most; None: as the barrier was told.

        Returns:
            A number of this party's own among those that go on with it, 0 to parties - 1.

        Raises:
            BrokenBarrier: it is broken, or was reset, or the time is over.
            LimitReached: 248 are inside, with those on their way out.
            Removed: the set was removed.
            RuntimeError: this task is inside already: it is the action that waits.
            ValueError: it is closed.
        """
        limit = limit_of(self._timeout if timeout is None else timeout)
        self._check_open()
        self._check_outside("wait")
        async with self._lock:
            last, *arrival = self._sync._arrive()
            if last:
                await self._open_it()
        index = int(arrival[1])
        if last:
            return index
        process = os.getpid()
        try:
            if not await self._line.wait(self._turn(arrival), limit):
                async with self._lock:
                    self._sync._give_up(*arrival)
        finally:
            # Not in the child of a fork, in which this task ends because nobody refers to it.
            if os.getpid() == process:
                self._sync._leave(*arrival)
        return index

    def _turn(self, arrival: list[int]) -> Turn:
        sync = self._sync
        return Turn(functools.partial(sync._sleep, *arrival), functools.partial(sync._rouse, *arrival))

    async def _open_it(self) -> None:
        """By the last, with the lock. If the action raises, it is broken."""
        try:
            if self._action is not None:
                result = self._action()
                if inspect.isawaitable(result):
                    await result
        except BaseException:
            self._sync._break()
            raise
        self._sync._let_through()

    async def __aenter__(self) -> int:
        """wait(): the number of this party."""
        return await self.wait()

    async def __aexit__(self, *exception: object) -> None:
        pass

    async def abort(self) -> None:
        """Break the barrier: who waits, or comes before reset(), gets BrokenBarrier.

        Raises:
            Removed: the set was removed.
            RuntimeError: this task is inside: it is the action that calls it.
            ValueError: it is closed.
        """
        self._check_outside("abort")
        async with self._lock:
            self._sync._break()

    async def reset(self) -> None:
        """Begin anew: who waits gets BrokenBarrier, who comes later waits again.

        Raises:
            Removed: the set was removed.
            RuntimeError: this task is inside: it is the action that calls it.
            ValueError: it is closed.
        """
        self._check_outside("reset")
        async with self._lock:
            self._sync._reset()

    def _check_outside(self, doing: str) -> None:
        # Its lock may be taken again, and would be.
        if self._lock.held():
            raise RuntimeError(f"{self._what}: {doing}: this task is inside already: it is the action that calls it")

    @property
    def parties(self) -> int:
        """How many it takes to open it."""
        return int(self._sync.parties)

    @property
    def n_waiting(self) -> int:
        """How many wait now, in all processes."""
        return int(self._sync.n_waiting)

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        return bool(self._sync.broken)

    def waiters(self) -> int:
        """How many wait now, as `n_waiting`."""
        return self.n_waiting

    def statistics(self) -> LockStatistics:
        """How its lock fared by way of this object, in this process."""
        return self._lock.statistics()

    def close(self) -> None:
        """Let go of its memory. The set itself stays for others; see unlink().

        Tasks that wait by way of this object get a ValueError, and are waited for no more.

        Raises:
            RuntimeError: one of them is inside: it is the action that closes it.
        """
        self._lock._may_close()
        close_behind((self._line, self._lock._line), self._sync.close)
