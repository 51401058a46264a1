# SPDX-License-Identifier: MIT
"""All kinds of locks and their like, ours and others, for tests that are the same for each."""

from __future__ import annotations

import enum
import multiprocessing
import threading
from dataclasses import dataclass
from typing import Any, Callable

from semshare import Barrier, BoundedSemaphore, Condition, Event, Lock, LockPool, RLock, RWLock, Semaphore, key_of


class Can(enum.Flag):
    """What one can, and others cannot."""

    EXCLUDE = enum.auto()
    """One at a time is inside."""
    HOLD = enum.auto()
    """Threads hold it: who did not take it cannot release it."""
    OWN = enum.auto()
    """That, one at a time, its owner: if that dies inside, the next is told."""
    AGAIN = enum.auto()
    """Who has it may take it again."""
    TIME = enum.auto()
    """acquire() takes a timeout."""
    SHARE = enum.auto()
    """It is one for several processes: for forked ones at least."""
    NAME = enum.auto()
    """Who has its name has another object for it; it is a SysV set, so who sleeps is seen, and the dead release it."""
    OURS = enum.auto()
    """It is of this package: it can be pickled, looked at, closed."""


@dataclass(frozen=True)
class Factory:
    """How to make one of a kind, by name.

    Attributes:
        id: for pytest.
        make: of a name makes the object, or opens it, that is removed by unlink(), and, if it is ours, has create() and
            attach(). Of one that has no name it makes a new one each time.
        lock: of that object gives what is acquired and released; None: it is no lock.
        can: what that can.
    """

    id: str
    make: Callable[[str], Any]
    lock: Callable[[Any], Any] | None
    can: Can

    def __call__(self, name: str) -> Any:
        """What is acquired and released. The object is removed by remove()."""
        assert self.lock is not None
        return self.lock(self.make(name))

    def remove(self, name: str) -> None:
        """Remove what was made under that name."""
        if self.can & Can.NAME:
            made = self.make(name)
            made.unlink()
            made.close()


class Plain:
    """A sysv_ipc.Semaphore, used as its own documentation does, as a lock."""

    def __init__(self, name: str) -> None:
        # Not above: on a Python without a GIL that turns it on.
        import sysv_ipc

        self._busy = sysv_ipc.BusyError
        try:
            self._semaphore = sysv_ipc.Semaphore(key_of(name), sysv_ipc.IPC_CREX, initial_value=1)
        except sysv_ipc.ExistentialError:
            self._semaphore = sysv_ipc.Semaphore(key_of(name))
        self._semaphore.undo = True
        self.unlink = self._semaphore.remove
        self.release = self._semaphore.release

    @property
    def semid(self) -> int:
        return int(self._semaphore.id)

    def acquire(self, blocking: bool = True) -> bool:
        self._semaphore.block = blocking
        try:
            self._semaphore.acquire()
        except self._busy:
            return False
        return True

    def __enter__(self) -> Plain:
        self.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def close(self) -> None:
        pass


def itself(made: Any) -> Any:
    return made


OURS = Can.TIME | Can.SHARE | Can.NAME | Can.OURS
OWNED = OURS | Can.EXCLUDE | Can.HOLD | Can.OWN

KINDS = [
    Factory("Lock", Lock, itself, OWNED),
    Factory("RLock", RLock, itself, OWNED | Can.AGAIN),
    Factory("Semaphore", Semaphore, itself, OURS | Can.EXCLUDE),
    Factory("BoundedSemaphore", BoundedSemaphore, itself, OURS | Can.EXCLUDE),
    Factory("RWLock.write", RWLock, lambda made: made.write(), OWNED),
    Factory("RWLock.read", RWLock, lambda made: made.read(), OURS | Can.HOLD | Can.AGAIN),
    Factory("LockPool[1]", lambda name: LockPool(name, 4), lambda made: made[1], OWNED),
    Factory("MultiLock", lambda name: LockPool(name, 4), lambda made: made.multi(0, 2, 3), OWNED),
    Factory("Condition", Condition, itself, OWNED | Can.AGAIN),
    Factory("Event", Event, None, OURS),
    Factory("Barrier", lambda name: Barrier(name, 2), None, OURS),
]
"""Everything that has a set of its own, or is part of such a thing."""

LOCKS = [kind for kind in KINDS if kind.lock is not None]
"""What can be acquired and released, and used by `with`."""

_fork = multiprocessing.get_context("fork")

OTHERS = [
    Factory("threading.Lock", lambda name: threading.Lock(), itself, Can.EXCLUDE | Can.TIME),
    Factory("threading.RLock", lambda name: threading.RLock(), itself, Can.EXCLUDE | Can.TIME | Can.HOLD | Can.AGAIN),
    Factory("threading.Semaphore", lambda name: threading.Semaphore(), itself, Can.EXCLUDE | Can.TIME),
    Factory("multiprocessing.Lock", lambda name: _fork.Lock(), itself, Can.EXCLUDE | Can.TIME | Can.SHARE),
    Factory(
        "multiprocessing.RLock",
        lambda name: _fork.RLock(),
        itself,
        Can.EXCLUDE | Can.TIME | Can.SHARE | Can.HOLD | Can.AGAIN,
    ),
    Factory("multiprocessing.Semaphore", lambda name: _fork.Semaphore(), itself, Can.EXCLUDE | Can.TIME | Can.SHARE),
    Factory("sysv_ipc.Semaphore", Plain, itself, Can.EXCLUDE | Can.SHARE | Can.NAME),
]
"""What Python people have had before."""
