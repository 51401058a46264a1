# SPDX-License-Identifier: MIT
"""A read/write lock between processes: any number of readers, or one writer."""

from __future__ import annotations

from typing import Any, Final, final

from semshare import segment
from semshare._abi import lib
from semshare._native import GuardCore
from semshare.lock import UNBOUND
from semshare.lock_statistics import LockStatistics
from semshare.named import Named, attach
from semshare.named_set import Found, Plan
from semshare.owned import OnOwnerDied, Owned, check_on_owner_died
from semshare.owner import Owner

_PLAN: Final = Plan(lib.SEMSHARE_SET_RWLOCK, lib.SEMSHARE_RWLOCK_NSEMS, first=0)
WRITER: Final[int] = lib.SEMSHARE_RWLOCK_WRITER
READERS: Final[int] = lib.SEMSHARE_RWLOCK_READERS
WAITING: Final[int] = lib.SEMSHARE_RWLOCK_WAITING

# What GuardCore._open() is told.
EXCLUSIVE: Final = 0
SHARED: Final = 1


class Side(Owned, GuardCore):
    """What read() and write() give. Of a fork's parent and child, and of threads, each has its own holds."""

    _side: str

    def __init__(self, lock: RWLock, found: Found) -> None:
        self.name = lock.name
        self.key = lock.key
        self.on_owner_died = lock.on_owner_died
        self._flags = lock._flags
        self._begin(found.semid, found.segment.mapping if found.segment is not None else None)

    def _begin(self, semid: int, memory: Any) -> None:
        raise NotImplementedError

    @property
    def _noun(self) -> str:
        return f"{_PLAN.noun} ({self._side})"

    def _renew(self) -> str:
        return "open it anew to make a new one"

    @property
    def _semaphore(self) -> tuple[int, bool]:
        return WRITER, False

    def _owner_words(self) -> tuple[int, ...] | None:
        return self._words(0)

    def __reduce__(self) -> tuple[Any, ...]:
        return _side_of, ({**self._called(), "on_owner_died": self.on_owner_died}, self._side)


def _side_of(how: dict[str, Any], side: str) -> Side:
    lock = attach(RWLock, how)
    return lock.read() if side == "read" else lock.write()


@final
class ReadSide(Side):
    """What RWLock.read() gives: a lock that many hold at once, and one thread more than once.

    Raises:
        RuntimeError: by acquire(): this thread writes, and would wait for itself, or would wait for threads that wait
            for it; by release() and mark_consistent(): it does not hold it by way of this object.
        Removed: by acquire(), release() and locked(): the set was removed.
        OwnerDied: by acquire(): a writer died inside, and on_owner_died is "raise".
        ValueError: by acquire() and locked(): the RWLock is closed.
    """

    _side = "read"

    def _begin(self, semid: int, memory: Any) -> None:
        enter = ((WAITING, 0, False), (WRITER, 0, False), (READERS, 1, True))
        # A writer who waits, waits for this thread as well: it may not wait for that. Tasks see to that themselves.
        again = () if self._flags & UNBOUND else ((READERS, 1, True),)
        leave = ((READERS, -1, True),)
        self._open(semid, memory, (segment.STATE_OFFSET,), SHARED, self._flags, enter, leave, again=again)

    def locked(self) -> bool:
        """Whether anybody reads now."""
        return self._look(lib.GETVAL, READERS) > 0


@final
class WriteSide(Side):
    """What RWLock.write() gives: a lock that one thread holds, while nobody reads.

    Raises:
        RuntimeError: by acquire(): this thread reads or writes already, and would wait for itself, or would wait for
            threads that wait for it; by release() and mark_consistent(): it does not hold it by way of this object.
        Removed: by acquire(), release() and locked(): the set was removed.
        OwnerDied: by acquire(): a writer died inside, and on_owner_died is "raise".
        LockBroken: by release(): somebody else was inside at the same time.
        ValueError: by acquire() and locked(): the RWLock is closed.
    """

    _side = "write"

    def _begin(self, semid: int, memory: Any) -> None:
        enter = ((WRITER, 0, False), (READERS, 0, False), (WRITER, 1, True))
        # Who waits has said so: new readers wait for that.
        self._open(
            semid,
            memory,
            (segment.STATE_OFFSET,),
            EXCLUSIVE,
            self._flags,
            enter,
            ((WRITER, -1, True),),
            announce=((WAITING, 1, True),),
            announced=(*enter, (WAITING, -1, True)),
            withdraw=((WAITING, -1, True),),
        )

    def locked(self) -> bool:
        """Whether somebody writes now."""
        return self._look(lib.GETVAL, WRITER) > 0


@final
class RWLock(Named):
    """A lock that many hold to read, or one holds to write: processes and kernel code share it.

        lock = semshare.RWLock("table")
        with lock.read():
            ...
        with lock.write():
            ...

    read() and write() give the two sides of it, which are used like a Lock: with `with`, or acquire() and release(). A
    reader enters, and leaves, by one system call; so does a writer who finds nobody inside. Writers come first: while
    one waits nobody else begins to read, and who reads already may do so again. Each hold belongs to the thread that
    took it. Who reads and wants to write has to release first: it would wait for itself. Who writes can go on as a
    reader, with nobody in between, by downgrade().

    When whoever is inside is killed the kernel gives back what it had. What a reader leaves behind is nothing; of a
    writer it may be half written, so the next, reader or writer, finds in `owner_died` of its side who that was, until
    one of them has put it right and calls mark_consistent() of it.

    Args:
        name: its name; the set's key is a hash of it.
        key: the set's key, instead of a name.
        semid: the id of a set that exists, instead of either.
        create: make it if there is none. Any number of processes may do that at once.
        exclusive: with `create`: fail if there is one.
        mode: permission bits of a new one, as of a file: readers need to write, too.
        on_owner_died: as of Lock; a function is called with the side that was acquired.

    Raises:
        NotFound: there is none, and it is not to be created.
        NameExists: there is one: `exclusive`.
        NameCollision: something of another name has the same key.
        WrongKind, WrongSize: there is something else of that name, key or id.
        BadName, BadKey, BadValue, TypeError, ValueError: an argument that cannot be.
        Denied: this user may not.
        LimitReached: there are as many sets, or semaphores, as there may be.
    """

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
        found = self._find(_PLAN, name, key, semid, create, exclusive, mode)
        self._reader = ReadSide(self, found)
        self._writer = WriteSide(self, found)

    def read(self) -> ReadSide:
        """What readers take. The same object each time."""
        return self._reader

    def write(self) -> WriteSide:
        """What a writer takes. The same object each time."""
        return self._writer

    def downgrade(self) -> None:
        """Go on as a reader: this thread, which writes, gives that up and reads, with no writer in between.

        It has the read side then, and has to release that.

        Raises:
            RuntimeError: this thread does not hold the write side by way of this object.
            Removed: the set was removed.
        """
        self._writer._hand_over(self._reader, ((WRITER, -1, True), (READERS, 1, True)))

    @property
    def semid(self) -> int:
        """The set's id."""
        return self._writer.semid

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._reader.closed

    @property
    def _noun(self) -> str:
        return _PLAN.noun

    def _options(self) -> dict[str, Any]:
        return {"on_owner_died": self.on_owner_died}

    def _state(self) -> str:
        if self._writer.held():
            return "written by this thread"
        if self._writer.locked():
            who = self.owner()
            return f"written by {who}" if who else "written"
        if readers := self.readers():
            return f"{readers} read{', this thread too' if self._reader.held() else ''}"
        return "unlocked"

    def locked(self) -> bool:
        """Whether anybody reads or writes now."""
        return self._writer.locked() or self._reader.locked()

    def owner(self) -> Owner | None:
        """Who writes now, as far as its words tell; None if nobody does, or nothing is known.

        A look without the lock: the owner may have changed when you read it.
        """
        return self._writer.owner()

    def readers(self) -> int:
        """How often it is held to read now: by all processes and by the kernel."""
        return self._look(lib.GETVAL, READERS)

    def waiters(self) -> int:
        """How many threads wait now, to read or to write, of all processes and of the kernel."""
        return sum(self._look(lib.GETZCNT, number) for number in (WRITER, READERS, WAITING))

    @property
    def deaths(self) -> int:
        """Writers found dead inside so far, by anybody."""
        return self._writer.deaths

    def statistics(self) -> LockStatistics:
        """How this object fared, in this process, reading and writing."""
        return self._reader.statistics() + self._writer.statistics()

    def _close(self) -> None:
        # Both or neither: what is held cannot be closed. That is asked first: who waits for the other side would be
        # told that it was closed.
        self._reader._may_close()
        self._writer._close()
        try:
            self._reader._close()
        except RuntimeError:
            assert self._segment is None or self._segment.mapping is not None
            self._writer._begin(self._reader.semid, self._segment.mapping if self._segment is not None else None)
            raise
