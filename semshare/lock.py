# SPDX-License-Identifier: MIT
"""Locks between processes: semaphore 0 of a SysV set, and what it cannot remember in the set's companion."""

from __future__ import annotations

from typing import Any, ClassVar, Final, final

from semshare import segment
from semshare._abi import lib
from semshare._native import LockCore
from semshare.named import Named
from semshare.named_set import Plan
from semshare.owned import OnOwnerDied, Owned, check_on_owner_died

# What LockCore._open() is told.
RING: Final = 1
"""The words are those of a ring, which is put right when its owner died."""
REPAIRED: Final = 2
"""Who finds the owner dead has put right what the lock guards: it is not suspect."""
REENTRANT: Final = 4
UNBOUND: Final = 8
"""It belongs to no thread: any may release it."""


class BaseLock(Owned, Named, LockCore):
    """What Lock and RLock have in common. Not one itself."""

    _plan: ClassVar[Plan]

    def __init__(
        self,
        name: str | None = None,
        *,
        key: int | None = None,
        semid: int | None = None,
        create: bool = True,
        exclusive: bool = False,
        mode: int = 0o600,
        on_owner_died: OnOwnerDied = "warn",
    ) -> None:
        self.on_owner_died = check_on_owner_died(on_owner_died)
        found = self._find(self._plan, name, key, semid, create, exclusive, mode)
        memory = found.segment.mapping if found.segment is not None else None
        self._open(found.semid, memory, segment.STATE_OFFSET, self._flags)

    @property
    def _noun(self) -> str:
        return self._plan.noun

    def _owner_words(self) -> tuple[int, ...] | None:
        return self._words()

    def _options(self) -> dict[str, Any]:
        return {"on_owner_died": self.on_owner_died}


@final
class Lock(BaseLock):
    """A lock that processes, kernel code and plain sysv_ipc programs share.

    Use it as a context manager:

        with semshare.Lock("my-lock"):
            ...

    or with acquire() and release(), which are those of threading.Lock. It is not reentrant (see RLock), belongs to the
    thread that took it, and may be used by the threads of a process and by forked children, each for itself. It can be
    pickled and passed to other processes, where it is another object for the same lock.

    When its owner is killed the kernel gives it back (SEM_UNDO). What the lock guards may then be half written, so the
    lock is suspect: whoever takes it finds in `owner_died` who died, until somebody who holds it has put that right and
    says so by mark_consistent().

    Args:
        name: its name; the set's key is a hash of it.
        key: the set's key, instead of a name: to share a lock with a program that was given a key.
        semid: the id of a set that exists, instead of either.
        create: make the lock if there is none. Any number of processes may do that at once.
        exclusive: with `create`: fail if there is one.
        mode: permission bits of a new lock, as of a file: who may take a lock needs to read and write.
        on_owner_died: what an acquire does that finds the lock suspect. "warn": log a warning with the pid, to the
            logger "semshare", and hold the lock. "raise": give it back as it was found, and raise OwnerDied. A
            function: call it with the lock, which is held, and an OwnerDied; if it raises, the lock is given back as it
            was found, and the exception goes to the caller of acquire().

    The lock stays until unlink(), or until the machine is switched off.

    Raises:
        NotFound: there is none, and it is not to be created.
        NameExists: there is one: `exclusive`.
        NameCollision: a lock of another name has the same key.
        WrongKind: there is something else of that name, key or id: an RLock, say.
        BadName, BadKey, BadValue, TypeError, ValueError: an argument that cannot be.
        Denied: this user may not.
        LimitReached: there are as many sets, or semaphores, as there may be.
    """

    # One that another program made may be the first semaphore of a larger set.
    _plan = Plan(lib.SEMSHARE_SET_LOCK, exact=False)


@final
class RLock(BaseLock):
    """A lock that the thread that holds it may take again, by way of whichever object, as often as it releases it.

    Otherwise it is like Lock, with the same arguments: see there. Between processes and threads it excludes like that,
    and a plain sysv_ipc.Semaphore(key) is the same lock, taken once.

    Raises:
        LimitReached, NameCollision: there can be no memory beside its set, which tells who has it, and how often.
        WrongKind: as of Lock; or the set has no key.
        All else that Lock raises.
    """

    # Who holds it, and how often, its companion tells.
    _plan = Plan(lib.SEMSHARE_SET_RLOCK, exact=False, remembers=True)
    _flags = REENTRANT


@final
class AreaLock(Owned, LockCore):
    """A lock whose set and words belong to an area: that of a ring, say. It is used like Lock, and goes with its area.

    Args:
        of: what it is the lock of.
        memory: the area's, and `offset` where the words are in it.
        flags: RING or REPAIRED: who finds the owner dead puts it right, so nobody else is told.
    """

    def __init__(self, of: str, name: str, key: int, semid: int, memory: Any, offset: int, flags: int) -> None:
        self._of = of
        self.name = name
        self.key = key
        self._open(semid, memory, offset, flags)

    @property
    def _noun(self) -> str:
        return f"lock of {self._of}"

    def _owner_words(self) -> tuple[int, ...] | None:
        return self._words()

    def _renew(self) -> str:
        return f"make the {self._of} anew"

    def _for_unlock(self) -> str:
        return f"--semid {self.semid}"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(f"{self._what}: it cannot be pickled; open the {self._of} by name there")

    def close(self) -> None:
        """Let go of the area's memory.

        Raises:
            RuntimeError: it is held by way of this object.
        """
        self._close()

    def unlink(self) -> None:
        """Raises:
        ValueError: it goes with what it is the lock of.
        """
        raise ValueError(f"{self._what}: it goes with the {self._of}; use unlink() of that")
