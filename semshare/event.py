# SPDX-License-Identifier: MIT
"""An event between processes: it has happened, or not yet, and any number may wait for it."""

from __future__ import annotations

import errno
import math
from typing import Any, final

from semshare import arguments, segment
from semshare._abi import ffi, lib
from semshare._native import GuardCore
from semshare.named import Identified, Named
from semshare.named_set import Found, Plan
from semshare.semaphore import COUNTED

_PLAN = Plan(lib.SEMSHARE_SET_EVENT)


class _Wait(Identified, GuardCore):
    """The wait for 0: of an event nothing is taken, so that is all."""

    def __init__(self, found: Found, name: str | None) -> None:
        self.name = name
        self.key = found.key
        memory = found.segment.mapping if found.segment is not None else None
        # Never left, so what leaving it does is of no consequence.
        self._open(found.semid, memory, (segment.STATE_OFFSET,), COUNTED, 0, ((0, 0, False),), ((0, 0, False),))

    @property
    def _noun(self) -> str:
        return "event"

    def _fail(self, code: int, doing: str) -> None:
        super()._fail(code, "wait" if doing == "acquire" else doing)


@final
class Event(Named):
    """An event that processes and kernel code share: threading.Event between processes.

        semshare.Event("ready").set()

        semshare.Event("ready").wait()

    Its semaphore is 0 once it has happened. Who waits for it when it is set goes on, even if it is cleared at once: of
    who is awake then, for a signal's handler, say, that is so if there is a segment beside the set (else a warning is
    logged), and unless it was set by a plain program. It stays as it is when whoever set it ends.

    Args:
        name: its name; the set's key is a hash of it.
        key: the set's key, instead of a name.
        semid: the id of a set that exists, instead of either.
        create: make it, not set, if there is none. Any number of processes may do that at once.
        exclusive: with `create`: fail if there is one.
        mode: permission bits of a new one, as of a file: who waits, or sets it, needs to write.

    Raises:
        NotFound: there is none, and it is not to be created.
        NameExists: there is one: `exclusive`.
        NameCollision: something of another name has the same key.
        WrongKind: there is something else of that name, key or id.
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
    ) -> None:
        found = self._find(_PLAN, name, key, semid, create, exclusive, mode)
        self._wait = _Wait(found, self.name)
        self._words: Any = None
        if found.segment is not None:
            memory = ffi.from_buffer("char[]", found.segment.mapping)
            self._words = ffi.cast("struct semshare_lock_state *", memory + segment.STATE_OFFSET)

    @property
    def semid(self) -> int:
        """The set's id."""
        return self._wait.semid

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._wait.closed

    @property
    def _noun(self) -> str:
        return _PLAN.noun

    def _state(self) -> str:
        return "set" if self.is_set() else "not set"

    def _counts(self) -> tuple[int, int, list[int]]:
        return self._wait._counts()

    def _close(self) -> None:
        self._wait._close()
        self._words = None

    def _turn(self) -> int:
        """How often it has happened, where that is counted: a number that is another when it has happened again."""
        words = self._words
        return int(lib.semshare_event_turn(words)) if words is not None else 0

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._look(lib.GETVAL) == 0

    def set(self) -> None:
        """It has happened: all who wait go on, and nobody waits any more. Without effect if it had happened before.

        Raises:
            Removed: the set was removed.
        """
        words = self._words
        if self._operate("set", (0, -1, lib.IPC_NOWAIT)) and words is not None:
            lib.semshare_event_count(words)

    def clear(self) -> None:
        """It has not happened yet, from now on. Without effect if it had not.

        Raises:
            Removed: the set was removed.
        """
        self._operate("clear", (0, 0, lib.IPC_NOWAIT), (0, 1, lib.IPC_NOWAIT))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has happened, at most `timeout` seconds; None: without limit.

        Returns:
            True; False if the time was over.

        Raises:
            Removed: the set was removed.
        """
        if timeout is None:
            return self._wait.acquire()
        return self._wait.acquire(timeout=arguments.seconds("timeout", timeout, -math.inf))

    def waiters(self) -> int:
        """How many threads wait now, of all processes and of the kernel."""
        return self._look(lib.GETZCNT)

    def _operate(self, doing: str, *operations: tuple[int, int, int]) -> bool:
        """All or none. False: none, it is as it is to be already."""
        if self.closed:
            raise ValueError(f"{self._what}: it is closed; open it anew")
        array = ffi.new("struct sembuf[]", list(operations))
        while lib.semop(self.semid, array, len(operations)) < 0:
            if ffi.errno == errno.EAGAIN:
                return False
            if ffi.errno != errno.EINTR:
                self._fail(ffi.errno, doing)
        return True
