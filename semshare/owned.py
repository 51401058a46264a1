# SPDX-License-Identifier: MIT
"""What has an owner, who may die inside: what then becomes of it is the same for all kinds of locks."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Callable, Final, Union

from semshare._abi import lib
from semshare.errors import HolderDead, OwnerDied
from semshare.named import Identified
from semshare.owner import Owner, describe

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
    elif not callable(given):
        raise TypeError(f'on_owner_died is "warn", "raise", or a function, not {type(given).__name__}: {given!r}')
    return given


class Owned(Identified):
    """What has an owner, and words that say who that is."""

    on_owner_died: OnOwnerDied | None = None
    """None: say nothing; of a lock that puts itself right."""
    # Counts for a lock without words; and whose death was logged last.
    _found_dead = 0
    _told: tuple[int, int, int, int] | None = None

    if TYPE_CHECKING:

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
        """
        words = self._owner_words()
        if words is None or not words[0] & 1:
            return None
        return Owner(*words[1:5])

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
        if kind == lib.SEMSHARE_OWNER_USER and pid == os.getpid():
            who = f"thread {tid} of this process" if tid else "a task of this process"
        else:
            who = describe(kind, pid) if pid else "its owner"
        since = "" if fresh else ", and nobody has marked it consistent since"
        died = OwnerDied(
            f"{self._what}: {who} died inside{since}; what the lock guards may be half written: check it, put it "
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
