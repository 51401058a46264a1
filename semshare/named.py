# SPDX-License-Identifier: MIT
"""What all objects have in common that stand for a set, or a part of one, which others find by name, key or id."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, TypeVar

from semshare import advice, arguments, named_set, names
from semshare._abi import ffi, lib
from semshare.errors import Error, LockBroken, Removed, failure
from semshare.lock_statistics import LockStatistics
from semshare.named_set import Found, Plan
from semshare.owner import Owner
from semshare.segment import Segment

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from semshare.options import Kept

_Self = TypeVar("_Self", bound="Named")


class Identified:
    """What has a name and a key, and shows them, in its repr and in its errors."""

    name: str | None
    """None if it was made by key, or belongs to another program."""
    key: int
    """0: its set has none (IPC_PRIVATE)."""
    _flags: int = 0
    """What its native part is told of it, or of its lock: those of semshare.lock."""

    if TYPE_CHECKING:
        # Of its native part, or of itself.
        @property
        def semid(self) -> int: ...
        @property
        def closed(self) -> bool: ...
        def _counts(self) -> tuple[int, int, list[int]]: ...

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} {self._identity}: {self._condition()}>"

    @property
    def _noun(self) -> str:
        raise NotImplementedError

    @property
    def _identity(self) -> str:
        called = f"{self.name!r}, " if self.name else ""
        return f"{called}semid {self.semid}, key {self.key:#x}"

    @property
    def _what(self) -> str:
        return f"{self._noun} {self._identity}"

    def _called(self) -> dict[str, Any]:
        """What opens the same in another process, and in this one."""
        if self.closed:
            raise ValueError(f"{self._what}: it is closed, and cannot be pickled; open it anew")
        if self.name is not None and names.key_of(self.name) == self.key:
            return {"name": self.name}
        return {"key": self.key} if self.key else {"semid": self.semid}

    def _condition(self) -> str:
        """Its state in a few words, for the repr."""
        if self.closed:
            return "closed"
        try:
            self._look(lib.GETVAL)  # what is known beside the set may outlive it
            return self._state()
        except Error as error:
            return "removed" if isinstance(error, Removed) else "not to be read"

    def _state(self) -> str:
        raise NotImplementedError

    def _look(self, command: int, number: int = 0) -> int:
        """What semctl says of a semaphore: GETVAL, GETNCNT, GETZCNT or GETPID."""
        if self.closed:
            raise ValueError(f"{self._what}: it is closed; open it anew")
        result = lib.semctl(self.semid, number, command)
        if result < 0:
            self._fail(ffi.errno, "semctl")
        return int(result)

    def owner(self) -> Owner | None:
        """Who holds it now. None if nobody does, if that is not known, or where there is no owner, as of permits."""
        return None

    def statistics(self) -> LockStatistics:
        """How this object fared, in this process."""
        return LockStatistics(*self._counts())

    # Called by the native part, too.

    def _fail(self, code: int, doing: str) -> None:
        """Raise what an errno of the set means."""
        if code in (errno.EINVAL, errno.EIDRM):
            raise Removed(
                errno.EIDRM, f"{self._what}: {doing}: its set was removed; {advice.why_removed()}{self._renew()}"
            )
        if code == errno.EPROTO:
            raise LockBroken(
                code,
                f"{self._what}: {doing}: somebody else was inside at the same time, or wrote its words: was the "
                "semaphore reset (SETVAL, or sysv_ipc with IPC_CREAT)? Check what it guards. It goes on as it is; if "
                "this happens again, and nobody resets it, its value is wrong: remove it "
                f"({self._removal()}), and open it anew",
            )
        raise failure(code, self._what, doing)

    def _removal(self) -> str:
        """The command that removes it, or what it is a part of."""
        if self.name:
            return f"semshare rm {self.name}"
        return f"semshare rm --key {self.key:#x}" if self.key else f"ipcrm -s {self.semid}"

    def _renew(self) -> str:
        return f"open the {self._noun} anew to make a new one"


class Named(Identified):
    """An object that stands for a set of its own."""

    _segment: Segment | None = None

    def _find(
        self, plan: Plan, name: str | None, key: int | None, semid: int | None, create: bool, exclusive: bool, mode: int
    ) -> Found:
        """Find or make the set, and remember what it is called. All arguments are checked here."""
        if sum(given is not None for given in (name, key, semid)) != 1:
            raise ValueError(f"{plan.noun}: name, key or semid: give one of them")
        if exclusive and (not create or semid is not None):
            raise ValueError("exclusive: it is for a new one, by name or key: with create=True")
        mode = arguments.mode(mode)
        if semid is not None:
            found = named_set.open_set(arguments.semid(semid), plan, mode)
        else:
            number = names.key_of(name) if name is not None else arguments.key(key)
            found = named_set.open_or_make(number, name, plan, create=create, exclusive=exclusive, mode=mode)
        self._segment = found.segment
        self.key = found.key
        self.name = name if name is not None or found.segment is None else found.segment.name or None
        return found

    @classmethod
    def create(
        cls: type[_Self], name: str | None = None, *arguments: Any, key: int | None = None, **options: Unpack[Kept]
    ) -> _Self:
        """Make a new one.

        Args:
            arguments, options: what else the class takes, in its order or by name.

        Raises:
            NameExists: there is one already.
        """
        return cls(name, *arguments, key=key, create=True, exclusive=True, **options)

    @classmethod
    def attach(
        cls: type[_Self],
        name: str | None = None,
        *arguments: Any,
        key: int | None = None,
        semid: int | None = None,
        **options: Unpack[Kept],
    ) -> _Self:
        """Open one that exists.

        Args:
            arguments, options: what else the class takes, in its order or by name.

        Raises:
            NotFound: there is none.
        """
        return cls(name, *arguments, key=key, semid=semid, create=False, **options)

    if TYPE_CHECKING:

        def __init__(
            self,
            name: str | None = None,
            *,
            key: int | None = None,
            semid: int | None = None,
            create: bool = True,
            exclusive: bool = False,
            mode: int = 0o600,
            **options: Any,
        ) -> None: ...
        def _close(self) -> None: ...

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle says what it is called: who loads it opens the same, if it still is there."""
        return attach, (type(self), {**self._called(), **self._options()})

    def _options(self) -> dict[str, Any]:
        """What else one like this was opened with."""
        return {}

    def waiters(self) -> int:
        """How many threads wait now, of all processes and of the kernel."""
        return self._look(lib.GETNCNT)

    def close(self) -> None:
        """Let go of its memory. The set itself stays for others; see unlink().

        Threads that wait by way of this object get a ValueError.

        Raises:
            RuntimeError: it is held by way of this object.
        """
        self._close()
        if self._segment is not None:
            self._segment.close()  # and is kept, for unlink()

    def unlink(self) -> None:
        """Remove it. Who waits for it, or uses it later, gets Removed. Without effect if that was done before.

        Raises:
            Denied: only its owner, its creator or root may.
        """
        if lib.semctl(self.semid, 0, lib.IPC_RMID) < 0 and ffi.errno not in (errno.EINVAL, errno.EIDRM):
            raise failure(ffi.errno, self._what, "unlink")
        # Behind the set: killed in between, the next who makes one sees that the segment is not of its set.
        if self._segment is not None:
            self._segment.remove()


def attach(cls: type[_Self], how: dict[str, Any]) -> _Self:
    """What a pickle calls."""
    return cls.attach(**how)
