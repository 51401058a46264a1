# SPDX-License-Identifier: MIT
"""What a task holds: acquire(), release() and whose it is, for all asyncio forms that are locks."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Coroutine
from typing import Any, ClassVar, TypeVar

from semshare.aio import holds
from semshare.aio.form import Form, seconds_of, this_task
from semshare.aio.line import Queue
from semshare.errors import Error, OwnerDied
from semshare.lock_statistics import LockStatistics, Tally
from semshare.owned import OnOwnerDied

_Self = TypeVar("_Self", bound="Taken")


class Taken(Form):
    """What is taken and given back: a lock, a side of one, or permits."""

    _line: Queue

    def _stand_for(self, sync: Any) -> None:
        super()._stand_for(sync)
        # That of the native part would be of slices.
        self._tally = Tally()
        self._line = Queue(self._what, sync._wait_slice, sync.release)

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> Coroutine[Any, Any, bool]:
        """Take it, as acquire() of the synchronous form; other tasks run while this one waits.

        Whatever is taken is of the task that calls this, also where another one awaits it: that of asyncio.wait_for().
        If it is cancelled, nothing is taken.

        Args:
            blocking: whether to wait.
            timeout: seconds to wait at most; -1 or None: without limit.

        Returns:
            Whether it was taken.

        Raises:
            RuntimeError: this task would wait for itself.
            Removed: the set was removed.
            HolderDead: its holder is dead and used no SEM_UNDO.
            OwnerDied: an owner before died inside, and on_owner_died is "raise".
            BadValue: of a semaphore: this process has acquired as many permits as the kernel remembers.
            ValueError, OverflowError, TypeError: an argument that cannot be; ValueError, too: it is closed.
        """
        return self._acquire(this_task(), seconds_of(blocking, timeout))

    def acquire_nowait(self) -> bool:
        """Take it if that can be at once.

        Returns:
            Whether it was taken.

        Raises:
            Removed, OwnerDied, BadValue: as by acquire().
            ValueError: it is closed.
        """
        return self._acquire_nowait(this_task())

    async def __aenter__(self: _Self) -> _Self:
        task = this_task()
        if self._line or not self._acquire_nowait(task):
            await self._acquire(task, None)
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.release()

    def release(self) -> None:
        """Give it back."""
        raise NotImplementedError

    def statistics(self) -> LockStatistics:
        """How this object fared, in this process. Who waited in line waited for it."""
        return self._tally.statistics()

    # ------------------------------------------------------------------------------------------------- what happens

    async def _acquire(self, task: asyncio.Task[Any] | None, seconds: float | None) -> bool:
        if not await self._get(task, seconds):
            return False
        self._begin(task)
        return True

    def _acquire_nowait(self, task: asyncio.Task[Any] | None) -> bool:
        if self._line.closed:
            self._check_open()
        if not self._sync.acquire_nowait():
            return False
        self._tally.count()
        self._begin(task)
        return True

    async def _get(self, task: asyncio.Task[Any] | None, seconds: float | None) -> bool:
        """Get it from the kernel, by way of the line unless nobody is there."""
        self._check_open()
        if (not self._line or seconds == 0) and self._sync.acquire_nowait():
            self._tally.count()
            return True
        if seconds == 0:
            return False
        self._refuse(task)
        began = time.monotonic_ns()
        if not await self._line.get(seconds):
            return False
        self._tally.count(time.monotonic_ns() - began)
        return True

    def _let_go(self) -> None:
        """Give it to who waits longest, which is for the kernel to say, unless only our line waits.

        The last of the line gets it from the thread in any case: then that does not go on to wait for nobody.
        """
        if len(self._line) > 1 and self._waits_alone():
            self._line.pass_on()
        else:
            self._sync.release()

    def _waits_alone(self) -> bool:
        """Whether nobody waits but the thread of our line."""
        try:
            return int(self._sync.waiters()) <= 1
        except Error:
            return False

    def _begin(self, task: asyncio.Task[Any] | None, kept: bool = False) -> None:
        """It is that task's now.

        Args:
            kept: even if that raises something.
        """

    def _refuse(self, task: asyncio.Task[Any] | None) -> None:
        """Raises:
        RuntimeError: that task would wait for itself.
        """


class Held(Taken):
    """A lock. It belongs to the task that has taken it, and to nobody in particular if that is not known."""

    _numbers: tuple[int, ...]
    """Its semaphores, for who might wait for himself."""
    _reentrant: ClassVar[bool] = False
    """Whether a task that has it may take it again. Of the kernel it has got it once."""

    def _stand_for(self, sync: Any) -> None:
        super()._stand_for(sync)
        self._on_owner_died: OnOwnerDied | None = sync.on_owner_died
        if inspect.iscoroutinefunction(sync.on_owner_died):
            raise TypeError(
                f"{self._what}: on_owner_died: a coroutine function cannot be; look at owner_died behind acquire()"
            )
        # A warning is logged by whoever finds out. What else is to be done is done in the task.
        if sync.on_owner_died != "warn":
            sync.on_owner_died = None
        self._forked()
        holds.opened(self)

    def _forked(self) -> None:
        """None of this process has it."""
        self._owners: dict[asyncio.Task[Any] | None, int] = {}

    def __del__(self) -> None:
        if hasattr(self, "_owners"):
            holds.gone(self)

    def _options(self) -> dict[str, Any]:
        return {**super()._options(), "on_owner_died": self._on_owner_died}

    # --------------------------------------------------------------------------------------------------- taking it

    async def _acquire(self, task: asyncio.Task[Any] | None, seconds: float | None) -> bool:
        return self._again(task) or await super()._acquire(task, seconds)

    def _acquire_nowait(self, task: asyncio.Task[Any] | None) -> bool:
        return self._again(task) or super()._acquire_nowait(task)

    def _again(self, task: asyncio.Task[Any] | None) -> bool:
        if not self._reentrant or task is None or task not in self._owners:
            return False
        self._owners[task] += 1
        return True

    def _begin(self, task: asyncio.Task[Any] | None, kept: bool = False) -> None:
        self._owners[task] = self._owners.get(task, 0) + 1
        if self._sync.owner_died is not None:
            self._see_to_death(task, kept)

    def _refuse(self, task: asyncio.Task[Any] | None) -> None:
        if holds.has(task, self.semid, self._numbers):
            raise RuntimeError(
                f"{self._what}: acquire: this task holds it already and would wait for itself for ever; release it"
            )

    def _see_to_death(self, task: asyncio.Task[Any] | None, kept: bool) -> None:
        """An owner before died inside. If what is to be done about it raises, it is given back."""
        try:
            if self._on_owner_died == "raise":
                raise self._sync.owner_died
            if callable(self._on_owner_died):
                self._on_owner_died(self, self._sync.owner_died)
        except BaseException:
            # Unless the function has done so.
            if not kept and task in self._owners:
                self._give_back(task)
            raise

    # --------------------------------------------------------------------------------------------------- giving it

    def _holder(self, doing: str) -> asyncio.Task[Any] | None:
        """In whose name this task does that: its own, or that of one that has ended, or of nobody.

        Raises:
            RuntimeError: it does not hold it by way of this object.
        """
        owners = self._owners
        task = this_task()
        if task in owners:
            return task
        for owner in owners:
            if owner is None or owner.done():
                return owner
        if not owners:
            raise RuntimeError(f"{self._what}: {doing}: it was not acquired by this object; acquire it first")
        raise RuntimeError(
            f"{self._what}: {doing}: another task holds it; release it in the task that called acquire()"
        )

    def release(self) -> None:
        """Give it back.

        That is for the task that called acquire(), and if that has ended, for any.

        Raises:
            RuntimeError: this task does not hold it by way of this object.
            Removed: the set was removed meanwhile.
            LockBroken: somebody else was inside at the same time.
        """
        self._give_back(self._holder("release"))

    def _give_back(self, task: asyncio.Task[Any] | None) -> None:
        if self._end(task):
            self._let_go()

    def _end(self, task: asyncio.Task[Any] | None) -> bool:
        """It has it once less. False: it has it still, of which the kernel knows nothing."""
        left = self._owners[task] - 1
        if left:
            self._owners[task] = left
        else:
            del self._owners[task]
        return not left or task is None

    def mark_consistent(self) -> None:
        """Say that what it guards is consistent again, though an owner died inside.

        Raises:
            RuntimeError: this task does not hold it by way of this object.
        """
        self._holder("mark_consistent")
        self._sync.mark_consistent()

    def close(self) -> None:
        """Let go of its memory. The set itself stays for others; see unlink().

        Tasks that wait by way of this object get a ValueError.

        Raises:
            RuntimeError: it is held by way of this object.
        """
        self._may_close()
        super().close()

    def _may_close(self) -> None:
        if self._owners:
            raise RuntimeError(f"{self._what}: close: it is held by way of this object; release it first")

    # --------------------------------------------------------------------------------------------------- looking

    def held(self) -> bool:
        """Whether this task holds it by way of this object."""
        return this_task() in self._owners

    def locked(self) -> bool:
        """Whether anybody holds it now."""
        return bool(self._sync.locked())

    @property
    def owner_died(self) -> OwnerDied | None:
        """As of the synchronous form."""
        died: OwnerDied | None = self._sync.owner_died
        return died

    @property
    def suspect(self) -> bool:
        """Whether an owner died inside and nobody has said since that what it guards is consistent."""
        return bool(self._sync.suspect)

    @property
    def deaths(self) -> int:
        """Owners found dead inside so far, by anybody."""
        return int(self._sync.deaths)

    def _state(self) -> str:
        if not self._owners:
            return super()._state()
        if self.held():
            return "held by this task"
        return "held by " + ", ".join(
            "this process" if task is None else task.get_name() + (", which has ended" if task.done() else "")
            for task in self._owners
        )


class Part(Held):
    """A lock that goes with something else."""

    _whole: str
    """What that is."""

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(f"{self._what}: it cannot be pickled; pass the {self._whole}, and use its lock there")

    def close(self) -> None:
        """Raises:
        ValueError: it goes with something else.
        """
        raise ValueError(f"{self._what}: it goes with the {self._whole}; use close() of that")

    def unlink(self) -> None:
        """Raises:
        ValueError: it goes with something else.
        """
        raise ValueError(f"{self._what}: it goes with the {self._whole}; use unlink() of that")


def _forked() -> None:
    for each in holds.all_held():
        each._forked()


os.register_at_fork(after_in_child=_forked)
