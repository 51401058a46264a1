# SPDX-License-Identifier: MIT
"""Conditions between processes: who holds a lock waits until somebody says that what it guards has changed."""

from __future__ import annotations

import errno
import math
import time
from typing import Any, Callable, Final, TypeVar, final

from semshare import arguments, named_set, places, segment
from semshare._abi import lib
from semshare._native import ConditionCore, LockCore
from semshare.errors import OwnerDied, WrongKind
from semshare.lock import REENTRANT, AreaLock
from semshare.named import Named
from semshare.owned import OnOwnerDied, check_on_owner_died
from semshare.owner import Owner
from semshare.places import PlacesLock

_T = TypeVar("_T")
_PLAN: Final = places.plan_of(lib.SEMSHARE_SET_CONDITION)


@final
class Condition(Named, ConditionCore):
    """threading.Condition between processes, and with kernel code.

        items = semshare.Condition("items")

        with items:                             with items:
            while not available():                  make_available()
                items.wait()                        items.notify()
            take()

    It has a lock of its own, which the thread that holds it may take again (as RLock), or is given one that guards what
    it is about: several conditions may share a Lock or an RLock. It can be pickled and passed to other processes, where
    it is another object for the same condition.

    No notification is lost, and none is given twice: notify() wakes those who wait longest and are alive; of one that
    was killed after it was woken, the notification goes on to who waited at that time, too. 248 can wait at once.

    Args:
        name: its name; the set's key is a hash of it.
        lock: the Lock, RLock or lock of a pool that guards it; the same wherever it is opened. None: its own.
        key: the set's key, instead of a name.
        semid: the id of a set that exists, instead of either.
        create: make it if there is none. Any number of processes may do that at once.
        exclusive: with `create`: fail if there is one.
        mode: permission bits of a new one, as of a file.
        on_owner_died: of its own lock, as of Lock. It is found by acquire(), and by a wait() that has the lock again.

    acquire(), acquire_nowait() and release() are those of the lock.

    Raises:
        NotFound: there is none, and it is not to be created.
        NameExists: there is one: `exclusive`.
        NameCollision: something of another name has the same key.
        WrongKind: there is something else of that name, key or id, or others have it guarded by another lock.
        BadName, BadKey, BadValue, TypeError, ValueError: an argument that cannot be.
        Denied: this user may not.
        LimitReached: there are as many sets, semaphores or segments as there may be; by wait(): 248 wait already.
    """

    _flags = REENTRANT

    def __init__(
        self,
        name: str | None = None,
        lock: LockCore | None = None,
        *,
        key: int | None = None,
        semid: int | None = None,
        create: bool = True,
        exclusive: bool = False,
        mode: int = 0o600,
        on_owner_died: OnOwnerDied = "warn",
    ) -> None:
        check_on_owner_died(on_owner_died)
        if lock is not None and (not isinstance(lock, LockCore) or isinstance(lock, AreaLock)):
            raise TypeError(f"lock is a Lock, an RLock or a lock of a pool, not {type(lock).__name__}: {lock!r}")
        found = self._find(_PLAN, name, key, semid, create, exclusive, mode)
        assert found.segment is not None, "it remembers"
        memory = found.segment.mapping
        self.own = lock is None
        """Whether its lock is its own."""
        if lock is None:
            lock = PlacesLock(self, found.semid, memory, self._flags, on_owner_died)
        ConditionCore._open(self, found.semid, memory, lock, self.own, getattr(lock, "key", 0), lock.number)

    @property
    def _noun(self) -> str:
        return _PLAN.noun

    @property
    def lock(self) -> Any:
        """The lock that guards it."""
        return self._lock

    def _options(self) -> dict[str, Any]:
        return {"on_owner_died": self._lock.on_owner_died} if self.own else {"lock": self._lock}

    def _state(self) -> str:
        return f"{self._lock._condition()}, {self._waiting()} waiting"

    def _fail(self, code: int, doing: str) -> None:
        if code == errno.ENOSPC:
            raise places.all_taken(self._what)
        if code == errno.EXDEV:
            raise WrongKind(
                code,
                f"{self._what}: others have it guarded by another lock: {self._guard()}; give it the same wherever it "
                "is opened, or choose another name",
            )
        super()._fail(code, doing)

    def _guard(self) -> str:
        """The lock that others have it guarded by, as far as that can be told."""
        assert self._segment is not None, "it remembers"
        guard = places.guard_of(self._segment.mapping)
        key, number = guard & 0xFFFFFFFF, (guard >> 32) - 1
        if key == self.key:
            return "its own (lock=None)"
        found = segment.known_by(named_set.signed_key(key)) if key else None
        if found is None:
            return f"semaphore {number} of the set with key {key:#x}"
        name, kind = found
        called = f"{named_set.NOUNS.get(kind, 'set')} {name!r}" if name else named_set.NOUNS.get(kind, "set")
        part = f"lock {number} of " if kind == lib.SEMSHARE_SET_POOL else ""
        return f"{part}{called} (key {key:#x})"

    # ------------------------------------------------------------------------------------------------------ the waits

    def wait_for(self, predicate: Callable[[], _T], timeout: float | None = None) -> _T:
        """Wait until predicate() is true, at most `timeout` seconds, None: without limit. The lock is held.

        Returns:
            What it returned last: false if the time was over.
        """
        deadline = None if timeout is None else time.monotonic() + arguments.seconds("timeout", timeout, -math.inf)
        while not (result := predicate()):
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
        return result

    # ------------------------------------------------------------------------------------------------------ the lock

    def held(self) -> bool:
        """Whether this thread holds the lock by way of this object."""
        return bool(self._lock.held())

    def locked(self) -> bool:
        """Whether anybody holds the lock now."""
        return bool(self._lock.locked())

    def owner(self) -> Owner | None:
        """Who holds the lock now, as far as its words tell."""
        found: Owner | None = self._lock.owner()
        return found

    @property
    def owner_died(self) -> OwnerDied | None:
        """As of Lock: an OwnerDied if an owner of the lock died inside, until mark_consistent(); else None."""
        died: OwnerDied | None = self._lock.owner_died
        return died

    @property
    def suspect(self) -> bool:
        """Whether an owner of the lock died inside and nobody has said since that what it guards is consistent."""
        return bool(self._lock.suspect)

    @property
    def deaths(self) -> int:
        """Owners of the lock found dead inside so far, by anybody."""
        return int(self._lock.deaths)

    def mark_consistent(self) -> None:
        """Say that what the lock guards is consistent again, though an owner died inside.

        Raises:
            RuntimeError: this thread does not hold it by way of this object.
        """
        self._lock.mark_consistent()

    def waiters(self) -> int:
        """How many wait now to be notified, of all processes and of the kernel; who waits for the lock is not one."""
        return self._waiting()

    def _counts(self) -> tuple[int, int, list[int]]:
        counts: tuple[int, int, list[int]] = self._lock._counts()
        return counts

    def close(self) -> None:
        """Let go of its memory. The set itself stays for others; see unlink().

        Threads that wait by way of this object get a ValueError, without the lock if it is the condition's own.

        Raises:
            RuntimeError: its own lock is held by way of this object.
        """
        if self.own:
            self._lock._close()
        super().close()
