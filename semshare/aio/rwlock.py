# SPDX-License-Identifier: MIT
"""Read/write locks in asyncio: semshare.aio.RWLock."""

from __future__ import annotations

import asyncio
from typing import Any, final

import semshare.rwlock
from semshare.aio import holds
from semshare.aio.form import Form
from semshare.aio.held import Part
from semshare.aio.line import Queue, close_behind
from semshare.lock_statistics import LockStatistics
from semshare.rwlock import READERS, WRITER


class Side(Part):
    """What read() and write() give."""

    _whole = "lock"

    def __init__(self, lock: RWLock, sync: semshare.rwlock.Side) -> None:
        self._lock = lock
        self._stand_for(sync)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self)._of, (self._lock,)

    @classmethod
    def _of(cls, lock: RWLock) -> Side:
        return lock.read() if cls is ReadSide else lock.write()

    def _refuse(self, task: asyncio.Task[Any] | None) -> None:
        if holds.has(task, self.semid, (READERS, WRITER)):
            raise RuntimeError(
                f"{self._what}: acquire: this task reads or writes already and would wait for itself for ever; release "
                "that first, or downgrade()"
            )

    def waiters(self) -> int:
        """As of the lock."""
        return self._lock.waiters()

    def _waits_alone(self) -> bool:
        # By whom a reader is to be followed is not for readers to say.
        return False


@final
class ReadSide(Side):
    """What RWLock.read() gives: a lock that many tasks hold at once, and one task more than once.

    Raises:
        RuntimeError: by acquire(): this task writes, and would wait for itself.
        ValueError: by close() and unlink(): it goes with the RWLock.
    """

    _numbers = (READERS,)
    # A writer who waits, waits for this task as well: it may not wait for that.
    _reentrant = True


@final
class WriteSide(Side):
    """What RWLock.write() gives: a lock that one task holds, while nobody reads.

    Raises:
        RuntimeError: by acquire(): this task reads or writes already, and would wait for itself.
        ValueError: by close() and unlink(): it goes with the RWLock.
    """

    _numbers = (WRITER,)

    def _stand_for(self, sync: Any) -> None:
        super()._stand_for(sync)
        # Readers wait for writers who wait, from one slice to the next.
        self._line = Queue(self._what, sync._wait_slice, sync.release, sync._withdraw)


@final
class RWLock(Form):
    """semshare.RWLock in asyncio: any number of tasks, threads and processes read, or one writes.

        lock = semshare.aio.RWLock("table")
        async with lock.read():
            ...
        async with lock.write():
            ...

    The two sides are used like a semshare.aio.Lock, and each hold belongs to the task that called acquire(). Who reads
    and wants to write has to release first; who writes can go on as a reader by downgrade().

    Args:
        name: and all others: as of semshare.RWLock. A function that is on_owner_died is called in the task, with the
            side that was acquired.

    Raises:
        TypeError: on_owner_died is a coroutine function.
        and as semshare.RWLock.
    """

    _sync_class = semshare.rwlock.RWLock

    def _stand_for(self, sync: semshare.rwlock.RWLock) -> None:
        super()._stand_for(sync)
        self._on_owner_died = sync.on_owner_died
        self._reader = ReadSide(self, sync.read())
        self._writer = WriteSide(self, sync.write())

    def read(self) -> ReadSide:
        """What readers take. The same object each time."""
        return self._reader

    def write(self) -> WriteSide:
        """What a writer takes. The same object each time."""
        return self._writer

    def downgrade(self) -> None:
        """Go on as a reader: this task, which writes, gives that up and reads, with no writer in between.

        It has the read side then, and has to release that.

        Raises:
            RuntimeError: this task does not hold the write side by way of this object.
            Removed: the set was removed.
        """
        task = self._writer._holder("downgrade")
        self._writer._end(task)
        self._sync.downgrade()
        self._reader._begin(task, kept=True)

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return bool(self._writer._line.closed or self._sync.closed)

    def _options(self) -> dict[str, Any]:
        return {"on_owner_died": self._on_owner_died}

    def _state(self) -> str:
        if self._writer._owners:
            return "written: " + self._writer._state()
        if self._reader._owners:
            return f"{self.readers()} read: {self._reader._state()}"
        return super()._state()

    def locked(self) -> bool:
        """Whether anybody reads or writes now."""
        return bool(self._sync.locked())

    def readers(self) -> int:
        """How often it is held to read now: by all processes and by the kernel."""
        return int(self._sync.readers())

    def waiters(self) -> int:
        """How many wait now, to read or to write: threads of all processes and of the kernel, and tasks here."""
        lines = (self._reader._line, self._writer._line)
        return int(self._sync.waiters()) + sum(max(0, len(line) - 1) for line in lines)

    @property
    def deaths(self) -> int:
        """Writers found dead inside so far, by anybody."""
        return int(self._sync.deaths)

    def statistics(self) -> LockStatistics:
        """How this object fared, in this process, reading and writing."""
        return self._reader.statistics() + self._writer.statistics()

    def close(self) -> None:
        """Let go of its memory. The set itself stays for others; see unlink().

        Tasks that wait by way of this object get a ValueError.

        Raises:
            RuntimeError: it is held by way of this object.
        """
        self._reader._may_close()
        self._writer._may_close()
        close_behind((self._reader._line, self._writer._line), self._sync.close)
