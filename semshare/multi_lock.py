# SPDX-License-Identifier: MIT
"""Several semaphores of a set, taken together or not at all."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any, final

from semshare import arguments, semaphore_set
from semshare._abi import lib
from semshare._native import GuardCore
from semshare.errors import BadValue
from semshare.lock_pool import LockPool, offset_of
from semshare.named import attach
from semshare.owned import Owned
from semshare.owner import Owner
from semshare.rwlock import EXCLUSIVE
from semshare.semaphore_set import SemaphoreSet


@final
class MultiLock(Owned, GuardCore):
    """Several locks of a set as one: acquire() takes all of them by one semop, or none, and release() gives all back.

        with semshare.MultiLock(pool, [3, 17, 99]):
            ...

    Nobody who takes all that he needs this way waits while he holds something: there is no order in which locks have to
    be taken, and no deadlock. It is used like a Lock; pool.multi(3, 17, 99) makes the same.

    Args:
        pool: a LockPool; or a SemaphoreSet that another program has, whose semaphores are 1 where they are free.
        numbers: of its locks, each once; at most as many as operations in a call: the third number of kernel.sem,
            SEMOPM, which is 500 if nobody changed it.

    If the owner of one of the locks died inside, `owner_died` says so as of a Lock. mark_consistent() is for all of
    them. A SemaphoreSet has no memory beside it that could tell: then nobody knows who owns them, and nobody is told of
    a death.

    Raises:
        IndexError: the pool has no lock of that number.
        ValueError: a number is there twice, or there is none.
        BadValue: there are too many (E2BIG).
    """

    def __init__(self, pool: LockPool | SemaphoreSet, numbers: Iterable[int]) -> None:
        if not isinstance(pool, (LockPool, SemaphoreSet)):
            raise TypeError(f"pool is a LockPool or a SemaphoreSet, not {type(pool).__name__}: {pool!r}")
        if isinstance(pool, LockPool) and pool.closed:
            raise ValueError(f"{pool._what}: it is closed; open it anew")
        places = _places(pool, numbers)
        if not places or len(set(places)) < len(places):
            raise ValueError(f"{pool._what}: numbers {places}: give the numbers of one lock or more, each once")
        most = semaphore_set.limits().operations_per_call
        if len(places) > most:
            raise BadValue(
                errno.E2BIG,
                f"{pool._what}: {len(places)} locks at once: one call has at most {most} operations (SEMOPM, the third "
                "number of sysctl kernel.sem); take fewer, or as root raise it",
            )
        self.key = pool.key
        self.numbers: tuple[int, ...] = tuple(places)
        memory: Any = None
        offsets: tuple[int, ...] = ()
        if isinstance(pool, LockPool):
            assert pool._segment is not None, "it remembers"
            memory, offsets = pool._segment.mapping, tuple(offset_of(number) for number in places)
        self.name = pool.name if isinstance(pool, LockPool) else None
        self.on_owner_died = pool.on_owner_died if isinstance(pool, LockPool) else "warn"
        self._pooled = isinstance(pool, LockPool)
        self._open(
            pool.semid,
            memory,
            offsets,
            EXCLUSIVE,
            self._flags,
            tuple((number, -1, True) for number in places),
            tuple((number, 1, True) for number in places),
        )

    @property
    def _noun(self) -> str:
        return "locks"

    @property
    def _identity(self) -> str:
        shown = ", ".join(map(str, self.numbers[:8])) + (", ..." if len(self.numbers) > 8 else "")
        return f"{shown} of {'pool' if self._pooled else 'set'} {super()._identity}"

    def _renew(self) -> str:
        return f"open the {'pool' if self._pooled else 'set'} anew to make a new one"

    def _owner_words(self) -> tuple[int, ...] | None:
        return self._words(0)

    def owner(self) -> Owner | None:
        """Who holds one of them now, as far as their words tell; None if nobody does."""
        found = (self._owner_by(self._words(index), number) for index, number in enumerate(self.numbers))
        return next((owner for owner in found if owner is not None), None)

    @property
    def deaths(self) -> int:
        """Owners of them found dead inside so far, by anybody."""
        return sum(words[5] for index in range(len(self.numbers)) if (words := self._words(index)) is not None)

    def locked(self) -> bool:
        """Whether anybody holds one of them now."""
        return any(self._look(lib.GETVAL, number) == 0 for number in self.numbers)

    def waiters(self) -> int:
        """How many threads wait for one of them now, of all processes and of the kernel."""
        return sum(self._look(lib.GETNCNT, number) for number in self.numbers)

    def close(self) -> None:
        """Let go of the pool's memory, if it is one of a pool.

        Raises:
            RuntimeError: it is held by way of this object.
        """
        self._close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _multi_of, (self._whose(), self.numbers)

    def _whose(self) -> dict[str, Any]:
        """What opens its pool, or its set, in another process: see of_whom()."""
        return {**self._called(), "on_owner_died": self.on_owner_died} if self._pooled else self._called()


def _places(pool: LockPool | SemaphoreSet, numbers: Iterable[Any]) -> list[int]:
    """The numbers as they are counted from 0, in their order."""
    if isinstance(pool, LockPool):
        return pool._places(numbers)
    places = sorted(arguments.whole("the number of a lock", number) for number in numbers)
    for place in places:
        if not 0 <= place < pool.count:
            raise IndexError(f"{pool!r}: semaphore {place}: it has {pool.count}, numbered from 0")
    return places


def of_whom(how: dict[str, Any]) -> LockPool | SemaphoreSet:
    """Open a pool, or a set, as _whose() says."""
    return attach(LockPool, how) if "on_owner_died" in how else SemaphoreSet(**how)


def _multi_of(how: dict[str, Any], numbers: tuple[int, ...]) -> MultiLock:
    return MultiLock(of_whom(how), numbers)
