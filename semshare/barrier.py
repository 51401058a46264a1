# SPDX-License-Identifier: MIT
"""Barriers between processes: so many wait for each other, and then all go on."""

from __future__ import annotations

import errno
import math
from typing import Any, Callable, final

from semshare import arguments, places
from semshare._abi import lib
from semshare._native import BarrierCore
from semshare.errors import BrokenBarrier
from semshare.lock import REPAIRED
from semshare.named import Named
from semshare.places import PlacesLock


@final
class Barrier(Named, BarrierCore):
    """threading.Barrier between processes, and with kernel code.

        start = semshare.Barrier("start", 4)
        if start.wait() == 0:
            ...                         # done by one of the four

    It opens when so many wait, and then is as new. Nobody waits for those on their way out. A party that is killed, or
    interrupted, while it waits is taken out, and the others wait for another in its stead; one whose time is over
    breaks the barrier for all, until reset(). It can be pickled and passed to other processes, where it is another
    object for the same barrier.

    Args:
        name: its name; the set's key is a hash of it.
        parties: how many it takes to open it, 1 to 248; None: as many as that which exists, and none is made.
        action: called by one of them, the last, before the others go on. Of those that use this object: who come by way
            of another have that one's. If it raises, the barrier is broken.
        timeout: seconds that wait() waits where it is not told otherwise; None: without limit.
        key: the set's key, instead of a name.
        semid: the id of a set that exists, instead of either.
        create: make it if there is none. Any number of processes may do that at once.
        exclusive: with `create`: fail if there is one.
        mode: permission bits of a new one, as of a file.

    Raises:
        NotFound: there is none, and it is not to be created, or `parties` is not given.
        NameExists: there is one: `exclusive`.
        NameCollision: something of another name has the same key.
        WrongKind: there is something else of that name, key or id.
        WrongSize: it is of another number of parties.
        BadName, BadKey, BadValue, TypeError, ValueError: an argument that cannot be.
        Denied: this user may not.
        LimitReached: there are as many sets, semaphores or segments as there may be.
    """

    # Who finds the owner of its lock dead has nothing to put right.
    _flags = REPAIRED

    def __init__(
        self,
        name: str | None = None,
        parties: int | None = None,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        key: int | None = None,
        semid: int | None = None,
        create: bool = True,
        exclusive: bool = False,
        mode: int = 0o600,
    ) -> None:
        limit = 0 if parties is None else arguments.between("parties", parties, 1, places.MOST, "make several")
        if action is not None and not callable(action):
            raise TypeError(f"action is a function, not {type(action).__name__}: {action!r}")
        self._action = action
        if timeout is not None and (not isinstance(timeout, (int, float)) or math.isnan(timeout)):
            raise TypeError(f"timeout is a number of seconds, or None: {timeout!r}")
        self._timeout = timeout
        plan = places.plan_of(lib.SEMSHARE_SET_BARRIER, limit)
        plan = plan._replace(missing="" if limit else "parties")
        found = self._find(plan, name, key, semid, create, exclusive, mode)
        assert found.segment is not None, "it remembers"
        memory = found.segment.mapping
        lock = PlacesLock(self, found.semid, memory, self._flags, None)
        BarrierCore._open(self, found.semid, memory, lock, found.segment.limit)

    @property
    def _noun(self) -> str:
        return "barrier"

    def _options(self) -> dict[str, Any]:
        return {"parties": self.parties, "action": self._action, "timeout": self._timeout}

    def _state(self) -> str:
        return "broken" if self.broken else f"{self.n_waiting} of {self.parties} waiting"

    def wait(self, timeout: float | None = None) -> int:
        """Wait until so many do.

        Args:
            timeout: seconds at most; None: as the barrier was told. A signal's handler runs meanwhile; if it raises, as
                Ctrl-C does, this party is taken out.

        Returns:
            A number of this party's own among those that go on with it, 0 to parties - 1.

        Raises:
            BrokenBarrier: it is broken, or was reset, or the time is over.
            LimitReached: 248 are inside, with those on their way out.
            RuntimeError: this thread is inside already: it is the action that waits.
            Removed: the set was removed.
            ValueError: it is closed.
        """
        return self._wait(self._timeout if timeout is None else timeout, self._action)

    def abort(self) -> None:
        """Break it: who waits, or comes before reset(), gets BrokenBarrier.

        Raises:
            RuntimeError: this thread is inside: it is the action that calls it.
            Removed: the set was removed.
            ValueError: it is closed.
        """
        super().abort()

    def reset(self) -> None:
        """Begin anew: who waits gets BrokenBarrier, who comes later waits again.

        Raises:
            RuntimeError: this thread is inside: it is the action that calls it.
            Removed: the set was removed.
            ValueError: it is closed.
        """
        super().reset()

    def waiters(self) -> int:
        """How many wait now, as `n_waiting`."""
        return self.n_waiting

    def _counts(self) -> tuple[int, int, list[int]]:
        counts: tuple[int, int, list[int]] = self._lock._counts()
        return counts

    def _fail(self, code: int, doing: str) -> None:
        if code == errno.ENOSPC:
            raise places.all_taken(self._what)
        if code == errno.EPIPE:
            if self.broken:
                why = "it is broken: aborted, or somebody's time was over; when all know of it, reset() makes it as new"
            else:
                why = "it was reset meanwhile; wait again"
            raise BrokenBarrier(code, f"{self._what}: {doing}: {why}")
        super()._fail(code, doing)

    def close(self) -> None:
        """Let go of its memory. The set itself stays for others; see unlink().

        Threads that wait by way of this object get a ValueError, and are waited for no more.

        Raises:
            RuntimeError: one of them is inside: it is the action that closes it.
        """
        self._lock._close()
        super().close()
