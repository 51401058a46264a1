# SPDX-License-Identifier: MIT
"""What conditions and barriers have in common: a lock, and behind it a place for each that waits."""

from __future__ import annotations

import errno
from typing import Any, Final, final

from semshare import segment
from semshare._abi import ffi, lib
from semshare._native import LockCore
from semshare.errors import LimitReached
from semshare.named import Named
from semshare.named_set import Plan
from semshare.owned import OnOwnerDied, Owned

MOST: Final[int] = lib.SEMSHARE_PLACES
"""How many can wait at once."""


@final
class PlacesLock(Owned, LockCore):
    """The lock of a condition or a barrier. It is used like a Lock, and goes with what it is the lock of."""

    def __init__(self, of: Named, semid: int, memory: Any, flags: int, on_owner_died: OnOwnerDied | None) -> None:
        self._of = of._noun
        self.name = of.name
        self.key = of.key
        self.on_owner_died = on_owner_died
        self._open(semid, memory, segment.STATE_OFFSET, flags)

    @property
    def _noun(self) -> str:
        return f"lock of {self._of}"

    def _renew(self) -> str:
        return f"open the {self._of} anew to make a new one"

    def _owner_words(self) -> tuple[int, ...] | None:
        return self._words()

    def waiters(self) -> int:
        """How many threads wait for it now, of all processes and of the kernel."""
        return self._look(lib.GETNCNT)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(f"{self._what}: it cannot be pickled; pass the {self._of}, and use its lock there")


def plan_of(kind: int, limit: int = 0) -> Plan:
    """The set of one: a lock, and a semaphore for each place."""
    return Plan(kind, lib.SEMSHARE_PLACES_NSEMS, limit=limit, remembers=True, adopts=False)


def guard_of(memory: Any) -> int:
    """Of a condition: the key of the set whose lock guards it; in the upper half 1 + the number of that semaphore."""
    words = ffi.from_buffer("char[]", memory) + segment.STATE_OFFSET + segment.STATE_SIZE
    return int(ffi.cast("struct semshare_places *", words).guard)


def all_taken(what: str) -> LimitReached:
    """Nobody else can wait."""
    return LimitReached(
        errno.ENOSPC,
        f"{what}: wait: {MOST} wait already, or are on their way out, and there is no place for more; let fewer wait, "
        "or make several",
    )
