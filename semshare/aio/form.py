# SPDX-License-Identifier: MIT
"""What all asyncio forms have in common: each stands for a synchronous object, and says of it what that says itself."""

from __future__ import annotations

import asyncio
import math
import threading
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from semshare import arguments
from semshare.aio.line import Line
from semshare.lock import REENTRANT, UNBOUND
from semshare.lock_statistics import LockStatistics
from semshare.named import Identified, attach
from semshare.owner import Owner

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from semshare.options import Kept, OwnedOpening

_Self = TypeVar("_Self", bound="Form")


def unbound(cls: Any, *arguments: Any, **options: Any) -> Any:
    """A synchronous object that belongs to no thread, and that no thread may take again: tasks see to both."""
    made = cls.__new__(cls)
    made._flags = cls._flags & ~REENTRANT | UNBOUND
    made.__init__(*arguments, **options)
    return made


def this_task() -> asyncio.Task[Any] | None:
    """The task that runs now, if one does."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def seconds_of(blocking: bool, timeout: float | None) -> float | None:
    """How long acquire() may wait: None is without limit. Its arguments are those of threading.Lock.acquire().

    Raises:
        ValueError, OverflowError, TypeError: they make no sense.
    """
    given = -1.0 if timeout is None else arguments.any_seconds("timeout", timeout)
    if not blocking:
        if given != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        return 0.0
    if given == -1:
        return None
    if math.isnan(given) or given < 0:
        raise ValueError("timeout value must be a non-negative number")
    if given > threading.TIMEOUT_MAX:
        raise OverflowError("timeout value is too large")
    return given


def limit_of(timeout: float | None) -> float | None:
    """How long wait() may wait: None is without limit. Its argument is that of threading.Condition.wait().

    Raises:
        ValueError, OverflowError, TypeError: it makes no sense.
    """
    return None if timeout is None else seconds_of(True, arguments.seconds("timeout", timeout, -math.inf))


class Form(Identified):
    """An asyncio form."""

    _sync: Any
    """The synchronous object."""
    _line: Line
    """Who waits for it."""
    _sync_class: ClassVar[Any]
    """Of what `_sync` is one, where it is made here."""

    def __init__(self, name: str | None = None, **options: Unpack[OwnedOpening]) -> None:
        self._stand_for(unbound(self._sync_class, name, **options))

    def _stand_for(self, sync: Any) -> None:
        self._sync = sync
        self.name = sync.name
        self.key = sync.key
        self.semid: int = sync.semid

    @classmethod
    def create(
        cls: type[_Self], name: str | None = None, *arguments: Any, key: int | None = None, **options: Unpack[Kept]
    ) -> _Self:
        """Make a new one, as create() of the synchronous form."""
        # Which of them it takes, each class tells.
        return cls(name, *arguments, key=key, create=True, exclusive=True, **options)  # type: ignore[misc]

    @classmethod
    def attach(
        cls: type[_Self],
        name: str | None = None,
        *arguments: Any,
        key: int | None = None,
        semid: int | None = None,
        **options: Unpack[Kept],
    ) -> _Self:
        """Open one that exists, as attach() of the synchronous form."""
        return cls(name, *arguments, key=key, semid=semid, create=False, **options)  # type: ignore[misc]

    def __reduce__(self) -> tuple[Any, ...]:
        return attach, (type(self), {**self._called(), **self._options()})

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = self._sync._options()
        return options

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return bool(self._line.closed or self._sync.closed)

    @property
    def _noun(self) -> str:
        return str(self._sync._noun)

    def _renew(self) -> str:
        return str(self._sync._renew())

    @property
    def _identity(self) -> str:
        return str(self._sync._identity)

    def _state(self) -> str:
        return str(self._sync._state())

    def _check_open(self) -> None:
        """Raises:
        ValueError: it is closed.
        """
        if self.closed:
            raise ValueError(f"{self._what}: it is closed; open it anew")

    def owner(self) -> Owner | None:
        """As of the synchronous form: the process that holds it now, and a thread of that."""
        found: Owner | None = self._sync.owner()
        return found

    def waiters(self) -> int:
        """How many wait now: threads of all processes and of the kernel, and tasks by way of this object."""
        # For all who stand in line one thread waits.
        return int(self._sync.waiters()) + max(0, len(self._line) - 1)

    def statistics(self) -> LockStatistics:
        """How this object fared, in this process."""
        found: LockStatistics = self._sync.statistics()
        return found

    def close(self) -> None:
        """Let go of its memory. The set itself stays for others; see unlink().

        Tasks that wait by way of this object get a ValueError.

        Raises:
            RuntimeError: it is held by way of this object.
        """
        self._line.close(self._sync.close)

    def unlink(self) -> None:
        """Remove it, as unlink() of the synchronous form."""
        self._sync.unlink()
