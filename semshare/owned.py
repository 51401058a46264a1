# SPDX-License-Identifier: MIT
"""What has an owner, who may die inside: what then becomes of it is the same for all kinds of locks."""

from __future__ import annotations

import inspect
import logging
import os
from typing import TYPE_CHECKING, Any, Callable, Final, Union

from semshare import _native
from semshare._abi import lib
from semshare.errors import HolderDead, OwnerDied
from semshare.named import Identified
from semshare.owner import Owner

logger: Final = logging.getLogger("semshare")

OnOwnerDied = Union[str, Callable[[Any, OwnerDied], object]]
"""What an acquire does that finds the owner before dead inside: "warn", "raise", or a function of lock and death."""


def check_on_owner_died(given: OnOwnerDied) -> OnOwnerDied:
    """Raises:
    ValueError, TypeError: it is none.
    """
    if isinstance(given, str):
        if given not in ("warn", "raise"):
            raise ValueError(f'on_owner_died {given!r}: it is "warn", "raise", or a function')
    elif inspect.iscoroutinefunction(given):
        raise TypeError(
            "on_owner_died is a coroutine function, which nobody would await; give a function, or look at owner_died "
            "behind acquire()"
        )
    elif not callable(given):
        raise TypeError(f'on_owner_died is "warn", "raise", or a function, not {type(given).__name__}: {given!r}')
    return given


def _describe_dead(owner: Owner) -> str:
    """What is known of the end of one that was found dead inside."""
    if not owner.pid:
        return "its owner died inside"
    if not owner.alive:
        return f"{owner} died inside"
    # The process lives. A lock is given back as well when a thread ends, or when what took it is forgotten.
    of = f"process {owner.pid}"
    if owner.pid == os.getpid() and owner.start == _native.owner()[3]:
        of = "this process"
    if not owner.tid:
        return f"a task of {of} died inside"
    if of == "this process" or not os.path.exists(f"/proc/{owner.pid}/task/{owner.tid}"):
        return f"thread {owner.tid} of {of} died inside"
    return f"{of}, which still runs, was inside and has not left (was the semaphore raised?)"


class Owned(Identified):
    """What has an owner, and words that say who that is."""

    on_owner_died: OnOwnerDied | None = None
    """None: say nothing; of a lock that puts itself right."""
    # Counts for a lock without words; and whose death was logged last.
    _found_dead = 0
    _told: tuple[int, int, int, int] | None = None

    if TYPE_CHECKING:

        @property
        def number(self) -> int: ...
        def held(self) -> bool: ...
        def locked(self) -> bool: ...

    def _state(self) -> str:
        if self.held():
            return "held by this thread"
        if not self.locked():
            return "unlocked"
        who = self.owner()
        return f"locked by {who}" if who else "locked"

    def _owner_words(self) -> tuple[int, ...] | None:
        """Its words: epoch, kind, pid, tid, start, deaths and more, or None where it has none."""
        raise NotImplementedError

    def owner(self) -> Owner | None:
        """Who holds it now, as far as its words tell; None if nobody does, or nothing is known.

        A look without the lock: the owner may have changed when you read it.

        Raises:
            Removed: the set was removed.
        """
        return self._owner_by(self._owner_words(), *self._semaphore)

    @property
    def _semaphore(self) -> tuple[int, bool]:
        """The number of its semaphore, and whether that is 0 when somebody holds it; or else when nobody does."""
        return self.number, True

    def _owner_by(self, words: tuple[int, ...] | None, number: int, zero: bool = True) -> Owner | None:
        """Whom these words name, if that is who has the semaphore."""
        if words is None or not words[0] & 1:
            return None
        # The words of one who died stay as they are until somebody else who writes some takes it.
        if (self._look(lib.GETVAL, number) == 0) != zero:
            return None
        owner = Owner(*words[1:5])
        last = self._look(lib.GETPID, number)
        return owner if owner.kind != lib.SEMSHARE_OWNER_USER or last in (0, owner.pid) else None

    @property
    def deaths(self) -> int:
        """Owners found dead inside so far, by anybody; without a companion segment, by this object."""
        words = self._owner_words()
        return words[5] if words is not None else self._found_dead

    # ------------------------------------------------------------------------------------- called by the native part

    def _holder_dead(self, pid: int) -> None:
        raise HolderDead(
            f"{self._what}: process {pid} took it without SEM_UNDO and is dead; check what the lock guards, then "
            f"free it: semshare unlock {self._for_unlock()}",
            pid,
            self.semid,
        )

    def _for_unlock(self) -> str:
        return self.name or f"--semid {self.semid}"

    def _owner_died(self, kind: int, pid: int, tid: int, start: int, fresh: bool) -> OwnerDied:
        """The owner before died inside, or (not `fresh`) one before that, and nobody has put it right since."""
        self._found_dead += fresh
        who = _describe_dead(Owner(kind, pid, tid, start))
        since = "" if fresh else ", and nobody has marked it consistent since"
        died = OwnerDied(
            f"{self._what}: {who}{since}; what the lock guards may be half written: check it, put it "
            "right, then mark_consistent()",
            kind,
            pid,
            tid,
            start,
        )
        if self.on_owner_died == "raise":
            raise died
        if callable(self.on_owner_died):
            self.on_owner_died(self, died)
        elif self.on_owner_died is not None and (fresh or self._told != (kind, pid, tid, start)):
            logger.warning("%s", died.strerror)
            self._told = (kind, pid, tid, start)
        return died
