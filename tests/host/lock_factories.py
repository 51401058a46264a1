# SPDX-License-Identifier: MIT
"""All kinds of locks and their like, for tests that are the same for each."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Callable

from semshare import Barrier, BoundedSemaphore, Condition, Event, Lock, LockPool, RLock, RWLock, Semaphore


class Can(enum.Flag):
    """What one can, and others cannot."""

    EXCLUDE = enum.auto()
    """One at a time is inside."""
    OWN = enum.auto()
    """It belongs to the thread that took it: it alone releases it, and its death inside is told to the next."""
    AGAIN = enum.auto()
    """Who has it may take it again."""


@dataclass(frozen=True)
class Factory:
    """How to make one of a kind, by name.

    Attributes:
        id: for pytest.
        make: of a name makes the object, or opens it, that has create(), attach() and unlink().
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
        made = self.make(name)
        made.unlink()
        made.close()


def itself(made: Any) -> Any:
    return made


OWNED = Can.EXCLUDE | Can.OWN

KINDS = [
    Factory("Lock", Lock, itself, OWNED),
    Factory("RLock", RLock, itself, OWNED | Can.AGAIN),
    Factory("Semaphore", Semaphore, itself, Can.EXCLUDE),
    Factory("BoundedSemaphore", BoundedSemaphore, itself, Can.EXCLUDE),
    Factory("RWLock.write", RWLock, lambda made: made.write(), OWNED),
    Factory("RWLock.read", RWLock, lambda made: made.read(), Can.AGAIN),
    Factory("LockPool[1]", lambda name: LockPool(name, 4), lambda made: made[1], OWNED),
    Factory("MultiLock", lambda name: LockPool(name, 4), lambda made: made.multi(0, 2, 3), OWNED),
    # It belongs to a thread as well, but whose death is told is that of the owner of its lock.
    Factory("Condition", Condition, itself, Can.EXCLUDE | Can.AGAIN),
    Factory("Event", Event, None, Can(0)),
    Factory("Barrier", lambda name: Barrier(name, 2), None, Can(0)),
]
"""Everything that has a set of its own, or is part of such a thing."""

LOCKS = [kind for kind in KINDS if kind.lock is not None]
"""What can be acquired and released, and used by `with`."""
