# SPDX-License-Identifier: MIT
"""Many locks in one set: one name, one companion, and what belongs together is taken together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, final, overload

from semshare import arguments, segment
from semshare._abi import lib
from semshare._native import LockCore
from semshare.lock_statistics import LockStatistics
from semshare.named import Named, attach
from semshare.named_set import Plan
from semshare.owned import OnOwnerDied, Owned, check_on_owner_died
from semshare.semaphore_set import SemaphoreSet

if TYPE_CHECKING:
    from semshare.multi_lock import MultiLock

_NOUN: Final = Plan(lib.SEMSHARE_SET_POOL).noun
# SEMMSL of a kernel that nobody has told otherwise. The kernel refuses what is too much for it.
MOST: Final = 32000


def offset_of(number: int) -> int:
    """Where the words of a pool's lock are in its companion."""
    return segment.STATE_OFFSET + number * segment.STATE_SIZE


@final
class MemberLock(Owned, LockCore):
    """One lock of a LockPool. It is used like a Lock, and goes with its pool.

    Raises:
        RuntimeError: by acquire(): this thread would wait for itself, or for threads that wait for it; by release() and
            mark_consistent(): it does not hold it by way of this object.
        Removed: by acquire(), release(), locked() and waiters(): the set was removed.
        HolderDead: by acquire(): its holder is dead and used no SEM_UNDO.
        OwnerDied: by acquire(): an owner before died inside, and on_owner_died is "raise".
        LockBroken: by release(): somebody else was inside at the same time.
        ValueError: by acquire(), locked() and waiters(): the pool is closed.
    """

    def __init__(self, pool: LockPool, number: int, semid: int, memory: Any) -> None:
        self.name = pool.name
        self.key = pool.key
        self.on_owner_died = pool.on_owner_died
        self._open(semid, memory, offset_of(number), 0, number)

    @property
    def _noun(self) -> str:
        return "lock"

    @property
    def _identity(self) -> str:
        return f"{self.number} of pool {super()._identity}"

    def _renew(self) -> str:
        return "open the pool anew to make a new one"

    def _for_unlock(self) -> str:
        return f"{super()._for_unlock()} --number {self.number}"

    def _owner_words(self) -> tuple[int, ...] | None:
        return self._words()

    def waiters(self) -> int:
        """How many threads wait for it now, of all processes and of the kernel."""
        return self._look(lib.GETNCNT, self.number)

    def __reduce__(self) -> tuple[Any, ...]:
        return _member_of, ({**self._called(), "on_owner_died": self.on_owner_died}, self.number)


def _member_of(how: dict[str, Any], number: int) -> MemberLock:
    return attach(LockPool, how)[number]


@final
class LockPool(Named):
    """Locks that are numbered, and share a set: for many, where a set and a segment for each would be too much.

        pool = semshare.LockPool("rows", 10_000)
        with pool[17]:
            ...
        with pool.multi(3, 17, 99):
            ...

    pool[n] is like a Lock, and the same object each time: objects are made as they are asked for. To a plain sysv_ipc
    program only the first one is a lock.

    Args:
        name: its name; the set's key is a hash of it.
        count: how many locks a new one has, 1 to 32000, or what the third number less of kernel.sem says (SEMMSL); if
            there is one already, it has to have as many. None: as many as that has, and none is made.
        key: the set's key, instead of a name.
        semid: the id of a set that exists, instead of either.
        create: make it if there is none. Any number of processes may do that at once.
        exclusive: with `create`: fail if there is one.
        mode: permission bits of a new one, as of a file.
        on_owner_died: as of Lock, for all locks in it; a function is called with the lock that was acquired.

    Raises:
        NotFound: there is none, and it is not to be created, or `count` is not given.
        NameExists: there is one: `exclusive`.
        NameCollision: something of another name has the same key.
        WrongKind: there is something else of that name, key or id.
        WrongSize: it has another number of locks.
        BadName, BadKey, BadValue, TypeError, ValueError: an argument that cannot be.
        Denied: this user may not.
        LimitReached: there are as many sets, semaphores or segments as there may be, or a set cannot be so large.
    """

    def __init__(
        self,
        name: str | None = None,
        count: int | None = None,
        *,
        key: int | None = None,
        semid: int | None = None,
        create: bool = True,
        exclusive: bool = False,
        mode: int = 0o600,
        on_owner_died: OnOwnerDied = "warn",
    ) -> None:
        self.on_owner_died = check_on_owner_died(on_owner_died)
        wanted = 0 if count is None else arguments.between("count", count, 1, 65535, "make several pools")
        plan = Plan(lib.SEMSHARE_SET_POOL, wanted, first=1, others=1, remembers=True, adopts=False)
        plan = plan._replace(missing="" if wanted else "count")
        found = self._find(plan, name, key, semid, create, exclusive, mode)
        assert found.segment is not None, "it remembers"
        self._semid = found.semid
        self._count = found.nsems
        self._closed = False
        self._members: dict[int, MemberLock] = {}

    @property
    def semid(self) -> int:
        """The set's id."""
        return self._semid

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed

    @property
    def _noun(self) -> str:
        return _NOUN

    def _options(self) -> dict[str, Any]:
        return {"on_owner_died": self.on_owner_died}

    def _state(self) -> str:
        return f"{self.taken()} of {self._count} locked"

    def taken(self) -> int:
        """How many of its locks are locked now."""
        self._look(lib.GETVAL)  # which raises what is wrong with it
        return sum(value == 0 for value in SemaphoreSet(semid=self._semid).values())

    def waiters(self) -> int:
        """How many threads wait for one of its locks now, of all processes and of the kernel."""
        return sum(self._look(lib.GETNCNT, number) for number in range(self._count))

    def statistics(self) -> LockStatistics:
        """How the locks that this object gave out fared, in this process; without those of MultiLocks."""
        return sum((member.statistics() for member in list(self._members.values())), LockStatistics())

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, number: int) -> MemberLock: ...
    @overload
    def __getitem__(self, number: slice) -> list[MemberLock]: ...
    def __getitem__(self, number: int | slice) -> MemberLock | list[MemberLock]:
        """The lock of that number; negative: from the end.

        Raises:
            IndexError: there is none.
        """
        try:
            return self._members[number]  # type: ignore[index]
        except (KeyError, TypeError):
            if isinstance(number, slice):
                return [self[each] for each in range(*number.indices(self._count))]
        place = self._place(number)
        if self._closed:
            raise ValueError(f"{self._what}: it is closed; open it anew")
        assert self._segment is not None, "it remembers"
        # Of two threads that come here at once one has the other's.
        return self._members.setdefault(place, MemberLock(self, place, self._semid, self._segment.mapping))

    def __iter__(self) -> Iterator[MemberLock]:
        return (self[number] for number in range(self._count))

    def multi(self, *numbers: int) -> MultiLock:
        """Several of its locks as one: see MultiLock."""
        from semshare.multi_lock import MultiLock

        return MultiLock(self, numbers)

    def _place(self, number: Any) -> int:
        place = arguments.whole("the number of a lock", number)
        if not -self._count <= place < self._count:
            raise IndexError(f"{self._what}: lock {place}: it has {self._count}, numbered from 0")
        return place % self._count

    def _places(self, numbers: Iterable[Any]) -> list[int]:
        return sorted(self._place(number) for number in numbers)

    def _close(self) -> None:
        # All or none: what is held cannot be closed.
        for member in list(self._members.values()):
            member._may_close()
        for number, member in list(self._members.items()):
            member._close()
            del self._members[number]
        self._closed = True
