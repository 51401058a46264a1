# SPDX-License-Identifier: MIT
"""Conditions in asyncio: semshare.aio.Condition."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Callable, TypeVar, final

import semshare.condition
from semshare.aio.form import Form, limit_of, unbound
from semshare.aio.line import Line, Turn, close_behind
from semshare.aio.lock import BaseLock, OwnLock
from semshare.errors import OwnerDied
from semshare.lock_statistics import LockStatistics

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from semshare.options import OwnedOpening

_T = TypeVar("_T")


@final
class Condition(Form):
    """semshare.Condition in asyncio.

        items = semshare.aio.Condition("items")

        async with items:                       async with items:
            while not available():                  make_available()
                await items.wait()                  items.notify()
            take()

    It is the same condition for threads, processes and kernel code.

    Args:
        name: its name.
        lock: the semshare.aio.Lock or RLock that guards it; the same wherever it is opened. None: its own, which the
            task that holds it may take again.
        options: all others: as of semshare.Condition.

    Raises:
        TypeError: lock is no semshare.aio.Lock or RLock; or on_owner_died, of its own lock, is a coroutine function.
        and as semshare.Condition.
    """

    def __init__(self, name: str | None = None, lock: BaseLock | None = None, **options: Unpack[OwnedOpening]) -> None:
        if lock is None:
            sync = unbound(semshare.condition.Condition, name, **options)
            self._lock: BaseLock = OwnLock("condition", sync.lock)
        elif isinstance(lock, BaseLock):
            sync = unbound(semshare.condition.Condition, name, lock._sync, **options)
            self._lock = lock
        else:
            raise TypeError(f"lock is a semshare.aio.Lock or RLock, not {type(lock).__name__}: {lock!r}")
        self._stand_for(sync)

    def _stand_for(self, sync: Any) -> None:
        super()._stand_for(sync)
        self._line = Line(self._what)

    def _options(self) -> dict[str, Any]:
        return {"on_owner_died": self._lock._on_owner_died} if self._sync.own else {"lock": self._lock}

    def _state(self) -> str:
        return f"{self._lock._condition()}, {self._sync.waiters()} waiting"

    @property
    def lock(self) -> BaseLock:
        """The lock that guards it."""
        return self._lock

    # ------------------------------------------------------------------------------------------------------ the waits

    async def wait(self, timeout: float | None = None) -> bool:
        """Give the lock back, wait to be notified, and take the lock again.

        If the task is cancelled it ends when it has the lock again, as that of asyncio.Condition does, and if it was
        notified that goes on to another.

        Args:
            timeout: seconds at most, in which the wait for the lock is not counted; None: without limit.

        Returns:
            Whether it was notified.

        Raises:
            RuntimeError: this task does not hold the lock.
            LimitReached: 248 wait already.
            Removed: the set was removed; the lock may not be held then.
            OwnerDied: of a lock that was opened with on_owner_died="raise": it is held.
            ValueError: it is closed; then its own lock is not held.
        """
        limit = limit_of(timeout)
        deadline = None if limit is None else time.monotonic() + limit
        lock, sync = self._lock, self._sync
        task = lock._holder("wait")
        times = lock._times(task)
        place = sync._enter()
        process = os.getpid()
        again = False
        try:
            while True:
                came, error = await self._sleep(task, place, deadline, again)
                error = await lock._take_back(task, times) or error
                # It may have been woken for something to settle that turns out to be nothing of its own.
                if error is not None or not came or sync._woken(place):
                    break
                again = True
        except BaseException:
            if lock._is_of(task):
                sync._leave(place, True)
            elif os.getpid() == process:
                # To others this waiter has died.
                sync._abandon(place)
            raise
        notified = bool(sync._leave(place, error is not None))
        if error is not None:
            raise error
        return notified

    async def _sleep(
        self, task: asyncio.Task[Any] | None, place: int, deadline: float | None, again: bool
    ) -> tuple[bool, BaseException | None]:
        """One sleep, without the lock. Returns whether it was woken, and what has ended the wait: it has to go on."""
        turn = Turn(functools.partial(self._sync._sleep, place), functools.partial(self._sync._rouse, place))
        try:
            self._lock._give_back_all(task)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            return await self._line.wait(turn, left, first=again), None
        except GeneratorExit:
            # Nobody runs this task any more.
            raise
        except BaseException as error:
            return False, error

    async def wait_for(self, predicate: Callable[[], _T], timeout: float | None = None) -> _T:
        """Wait until predicate() is true, at most `timeout` seconds, None: without limit. The lock is held.

        Returns:
            What it returned last: false if the time was over.

        Raises:
            as wait(); and what predicate() raises.
        """
        limit = limit_of(timeout)
        deadline = None if limit is None else time.monotonic() + limit
        while not (result := predicate()):
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            await self.wait(left)
        return result

    def notify(self, n: int = 1) -> None:
        """Wake the n that wait longest, and are alive. The lock is held.

        Raises:
            RuntimeError: this task does not hold the lock.
            Removed: the set was removed.
            ValueError: n is less than 0.
        """
        self._lock._holder("notify")
        self._sync.notify(n)

    def notify_all(self) -> None:
        """Wake all that wait. The lock is held.

        Raises:
            RuntimeError: this task does not hold the lock.
            Removed: the set was removed.
        """
        self._lock._holder("notify")
        self._sync.notify_all()

    def waiters(self) -> int:
        """How many wait now to be notified, of all processes and of the kernel; who waits for the lock is not one."""
        return int(self._sync.waiters())

    def statistics(self) -> LockStatistics:
        """How its lock fared by way of this object, in this process."""
        return self._lock.statistics()

    # ------------------------------------------------------------------------------------------------------- the lock

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> Coroutine[Any, Any, bool]:
        """Take the lock, as acquire() of semshare.aio.Lock.

        Raises:
            as acquire() of semshare.aio.Lock.
        """
        return self._lock.acquire(blocking, timeout)

    def acquire_nowait(self) -> bool:
        """Take the lock if that can be at once.

        Raises:
            as acquire_nowait() of semshare.aio.Lock.
        """
        return self._lock.acquire_nowait()

    def release(self) -> None:
        """Give the lock back, as release() of semshare.aio.Lock.

        Raises:
            as release() of semshare.aio.Lock.
        """
        self._lock.release()

    async def __aenter__(self) -> Condition:
        await self._lock.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        # An exception that is on its way out of a wait() that could not have the lock again says why.
        if not exception or exception[0] is None or self._lock.held():
            self._lock.release()

    def held(self) -> bool:
        """Whether this task holds the lock by way of its object."""
        return self._lock.held()

    def locked(self) -> bool:
        """Whether anybody holds the lock now."""
        return self._lock.locked()

    @property
    def owner_died(self) -> OwnerDied | None:
        """As of semshare.Lock: an OwnerDied if an owner of the lock died inside, until mark_consistent(); else None."""
        return self._lock.owner_died

    @property
    def deaths(self) -> int:
        """Owners of the lock found dead inside so far, by anybody."""
        return self._lock.deaths

    @property
    def suspect(self) -> bool:
        """Whether an owner of the lock died inside and nobody has said since that what it guards is consistent."""
        return self._lock.suspect

    def mark_consistent(self) -> None:
        """Say that what the lock guards is consistent again, though an owner died inside.

        Raises:
            RuntimeError: this task does not hold it by way of its object.
        """
        self._lock.mark_consistent()

    def close(self) -> None:
        """Let go of its memory. The set itself stays for others; see unlink().

        Tasks that wait by way of this object get a ValueError, without the lock if it is the condition's own.

        Raises:
            RuntimeError: its own lock is held by way of this object.
        """
        if self._sync.own:
            self._lock._may_close()
            close_behind((self._line, self._lock._line), self._sync.close)
        else:
            super().close()
