# SPDX-License-Identifier: MIT
"""Counting semaphores between processes: permits, which any process may take, and give back."""

from __future__ import annotations

import errno
from typing import Any, ClassVar, Final, final

from semshare import arguments
from semshare._abi import lib
from semshare._native import GuardCore
from semshare.errors import BadValue
from semshare.named import Named
from semshare.named_set import Plan

MOST: Final = 32767
"""The largest value of a SysV semaphore."""
# What GuardCore._open() is told: permits are of nobody.
COUNTED: Final = 2


class BaseSemaphore(Named, GuardCore):
    """What Semaphore and BoundedSemaphore have in common. Not one itself."""

    _kind: ClassVar[int]
    # How many more the kernel counts than there are permits.
    _beyond = 0

    def _begin(self, semid: int, undo: bool) -> None:
        """The set was found, or made."""
        self._undo = undo
        enter: tuple[tuple[int, int, bool], ...] = ((0, -1, undo),)
        if self._beyond:
            # In one call with that: so many more have to be there, and stay. Without SEM_UNDO, which remembers sums of
            # at most 32767.
            enter += ((0, -self._beyond, False), (0, self._beyond, False))
        self._open(semid, None, (), COUNTED, 0, enter, ((0, 1, undo),))

    @property
    def _noun(self) -> str:
        return Plan(self._kind).noun

    def _options(self) -> dict[str, Any]:
        return {"undo": self._undo}

    def _state(self) -> str:
        return f"{self.value} free"

    @property
    def value(self) -> int:
        """Permits that are free now."""
        return max(0, self._look(lib.GETVAL) - self._beyond)

    def locked(self) -> bool:
        """Whether no permit is free now."""
        return self.value == 0

    def _fail(self, code: int, doing: str) -> None:
        if code == errno.ERANGE and doing == "release":
            raise BadValue(code, f"{self._what}: release: {self._full()}")
        if code == errno.ERANGE:
            raise BadValue(
                code,
                f"{self._what}: {doing}: this process has acquired {MOST} permits and not released them, and the "
                "kernel remembers no more to give back; release them, or if others do that, open it with undo=False",
            )
        super()._fail(code, doing)

    def _full(self) -> str:
        return f"there would be more than {MOST} permits; release what was acquired"


@final
class Semaphore(BaseSemaphore):
    """Permits that processes, kernel code and plain sysv_ipc programs share: threading.Semaphore between processes.

        with semshare.Semaphore("tools", 3):
            ...

    A permit belongs to no thread: who takes one and who gives it back may be different threads, or processes. What a
    process has acquired and not released when it ends, the kernel gives back (SEM_UNDO). Where that is not meant, since
    some processes only release, to signal, and others only acquire, open it with undo=False.

    Args:
        name: its name; the set's key is a hash of it.
        value: permits that a new one has, 0 to 32767. One that exists keeps those that it has.
        key: the set's key, instead of a name: to share it with a program that was given a key.
        semid: the id of a set that exists, instead of either.
        create: make it if there is none. Any number of processes may do that at once.
        exclusive: with `create`: fail if there is one.
        mode: permission bits of a new one, as of a file.
        undo: whether the kernel gives back what this process has acquired by this object and not released.

    release(n=1) gives n permits back.

    Raises:
        NotFound: there is none, and it is not to be created.
        NameExists: there is one: `exclusive`.
        NameCollision: something of another name has the same key.
        WrongKind: there is something else of that name, key or id.
        BadName, BadKey, BadValue, TypeError, ValueError: an argument that cannot be.
        Denied: this user may not.
        LimitReached: there are as many sets, or semaphores, as there may be.
    """

    _kind = lib.SEMSHARE_SET_SEMAPHORE

    def __init__(
        self,
        name: str | None = None,
        value: int = 1,
        *,
        key: int | None = None,
        semid: int | None = None,
        create: bool = True,
        exclusive: bool = False,
        mode: int = 0o600,
        undo: bool = True,
    ) -> None:
        value = arguments.between("value", value, 0, MOST, "a semaphore counts no further")
        found = self._find(Plan(self._kind, first=value, exact=False), name, key, semid, create, exclusive, mode)
        self._begin(found.semid, bool(undo))


@final
class BoundedSemaphore(BaseSemaphore):
    """A Semaphore that refuses to be given more permits than it began with: see there.

    The kernel itself refuses them, so processes, and kernel code, cannot together give more than there may be. Its set
    cannot be shared with a plain sysv_ipc program, which would count otherwise.

    Args:
        value: permits that a new one has, and the most there may be, 1 to 32767; None: 1. If it is given, one that
            exists has to have the same limit.

    All else is as of Semaphore.

    Raises:
        WrongSize: there is one, with another limit than `value`.
        BadValue: by release(): there would be more permits than there may be.
    """

    _kind = lib.SEMSHARE_SET_BOUNDED

    def __init__(
        self,
        name: str | None = None,
        value: int | None = None,
        *,
        key: int | None = None,
        semid: int | None = None,
        create: bool = True,
        exclusive: bool = False,
        mode: int = 0o600,
        undo: bool = True,
    ) -> None:
        limit = 1 if value is None else arguments.between("value", value, 1, MOST, "a semaphore counts no further")
        plan = Plan(self._kind, first=MOST, limit=limit, strict=value is not None, remembers=True, adopts=False)
        found = self._find(plan, name, key, semid, create, exclusive, mode)
        assert found.segment is not None, "it remembers"
        self._limit = found.segment.limit
        self._beyond = MOST - self._limit
        self._begin(found.semid, bool(undo))

    @property
    def limit(self) -> int:
        """The most permits there can be."""
        return self._limit

    def _full(self) -> str:
        return f"there would be more than its {self._limit} permits; release what was acquired, once"
