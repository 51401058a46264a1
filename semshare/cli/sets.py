# SPDX-License-Identifier: MIT
"""What can be seen of a semaphore set: its values, its locks and who holds them, who has a place at it."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import Any, Final

from semshare import Error, Owner, SemaphoreSet
from semshare._abi import ffi, lib
from semshare._native import is_dead
from semshare.named_set import NOUNS
from semshare.owner import KINDS
from semshare.segment import STATE_OFFSET, Segment, SegmentState
from semshare.semaphore_set import SetState

#: Kinds with places for waiters. Semaphore 0 is a lock.
PLACES: Final = (lib.SEMSHARE_SET_CONDITION, lib.SEMSHARE_SET_BARRIER)
#: Kinds whose semaphore 0 is not one that somebody holds.
OWNERLESS: Final = (lib.SEMSHARE_SET_SEMAPHORE, lib.SEMSHARE_SET_BOUNDED, lib.SEMSHARE_SET_EVENT)
LARGEST_VALUE: Final = 32767
#: Where the count of a lock's turns begins again: an epoch has 32 bits, and grows by 2 with each.
TURNS: Final = 2**31


@dataclass(frozen=True)
class Holder:
    """Who took a semaphore, as far as can be told."""

    pid: int
    """0: a kernel thread, or a process of another pid namespace."""
    kind: str
    alive: bool | None
    """None where that cannot be seen."""
    tid: int = 0
    """0: it is not known which of its threads, or it belongs to none."""
    epoch: int | None = None
    """Tells this hold from the next one; None if there are no words that do."""


@dataclass(frozen=True)
class LockState:
    """A lock of a set: who has it, and what its words remember."""

    number: int
    """Of the semaphore."""
    holder: Holder | None
    """None if nobody has it."""
    deaths: int = 0
    """Owners found dead inside."""
    suspect: bool = False
    """An owner died inside, and nobody has said since then that what the lock guards is consistent."""
    depth: int = 0
    """How many times more its owner has taken it."""
    dead: Owner | None = None
    """Who died inside: of a lock that is suspect, or whose next owner is yet to be told."""


@dataclass(frozen=True)
class Place:
    """A waiter at a condition or a barrier, as its words say."""

    number: int
    """Of its semaphore."""
    woken: bool
    """It has not noticed yet."""
    waiter: Owner


@dataclass(frozen=True)
class Beside:
    """What is known of a set from memory beside it."""

    name: str = ""
    use: str = ""
    words: Any = None
    """The states of its locks: an array of struct semshare_lock_state; or None."""
    kind: int | None = None
    limit: int = 0
    shmid: int | None = None
    places: Any = None
    """struct semshare_places, or None."""


@dataclass(frozen=True)
class SetInfo:
    """A semaphore set, and what is known of it beside."""

    semid: int
    state: SetState
    name: str
    """Of the lock or the area it belongs to; empty if that is not known."""
    use: str
    """ "lock", or another of NOUNS, what its area holds, or empty: it belongs to somebody else."""
    values: list[int] | None
    """None if this user may not read them, and so are the next two."""
    waiters: list[int] | None
    zero_waiters: list[int] | None
    locks: list[LockState]
    """Its locks; of a pool, those that are not simply free."""
    roles: list[tuple[str, int, Holder]]
    """Who is the producer, or one of a few, and the consumer of a ring where not everybody can be that, and by which
    semaphore."""
    kind: int | None = None
    """enum semshare_set_kinds, of a set with a companion."""
    limit: int = 0
    """Permits of a bounded semaphore, parties of a barrier."""
    shmid: int | None = None
    """The companion."""
    deaths: int = 0
    turns: int | None = None
    """How many times its locks were taken so far, a read/write lock to write, modulo TURNS; None if nobody counts."""
    places: list[Place] = field(default_factory=list)
    generation: int = 0
    broken: bool = False
    """Of a barrier, as the one before."""

    @property
    def holder(self) -> Holder | None:
        """Who holds semaphore 0; None if nobody does."""
        return next((lock.holder for lock in self.locks if lock.number == 0), None)

    @property
    def permits(self) -> int | None:
        """How many are free, of a semaphore."""
        if not self.values or self.kind not in (lib.SEMSHARE_SET_SEMAPHORE, lib.SEMSHARE_SET_BOUNDED):
            return None
        return self.values[0] - (LARGEST_VALUE - self.limit if self.limit else 0)

    @property
    def waiting(self) -> int:
        """How many wait at its semaphores."""
        return sum(self.waiters or []) + sum(self.zero_waiters or [])


# --------------------------------------------------------------------------------------------------- the memory beside


def copy_of_words(memory: Any, offset: int, count: int = 1) -> Any:
    """The states of some locks, which outlive that memory."""
    words = ffi.new("struct semshare_lock_state[]", count)
    ffi.buffer(words)[:] = memory[offset : offset + ffi.sizeof(words)]
    return words


def beside(state: SegmentState, companion: Segment) -> Beside:
    """What the companion of a set says."""
    memory = ffi.buffer(ffi.from_buffer(companion.mapping))
    room = (len(memory) - STATE_OFFSET) // ffi.sizeof("struct semshare_lock_state")
    count = min(companion.count, room) if companion.kind == lib.SEMSHARE_SET_POOL else 1
    places = None
    if companion.kind in PLACES and len(memory) >= lib.SEMSHARE_PLACES_SEGMENT_SIZE:
        places = ffi.new("struct semshare_places *")
        start = ffi.sizeof("struct semshare_lock_segment")
        ffi.buffer(places)[:] = memory[start : start + ffi.sizeof(places[0])]
    return Beside(
        companion.name,
        NOUNS.get(companion.kind, "set"),
        copy_of_words(memory, STATE_OFFSET, count) if companion.kind not in OWNERLESS else None,
        companion.kind,
        companion.limit,
        state.shmid,
        places,
    )


# ------------------------------------------------------------------------------------------------------------ the set


def look(semid: int, state: SetState, known: Beside) -> SetInfo:
    """Look at a set, as far as this user may."""
    values = waiters = zero_waiters = None
    locks: list[LockState] = []
    roles: list[tuple[str, int, Holder]] = []
    with contextlib.suppress(Error):
        found = SemaphoreSet(semid=semid)
        values = found.values()
        waiters, zero_waiters = _waiting(found, values, known.kind)
        locks = _locks_of(found, values, known)
        if known.use == "ring":
            roles = _roles_of(found, values)
    words = known.words
    places = known.places
    return SetInfo(
        semid,
        state,
        known.name,
        known.use,
        values,
        waiters,
        zero_waiters,
        locks,
        roles,
        known.kind,
        known.limit,
        known.shmid,
        sum(each.deaths for each in words) if words is not None else 0,
        sum((each.epoch + 1) // 2 for each in words) % TURNS if words is not None else None,
        _places_in(places, values) if places is not None else [],
        places.generation if places is not None else 0,
        bool(places.broken) if places is not None else False,
    )


def _waiting(found: SemaphoreSet, values: list[int], kind: int | None) -> tuple[list[int], list[int]]:
    if kind == lib.SEMSHARE_SET_POOL:
        # It may have thousands, and nobody waits for one that is free.
        return [0 if value else found.waiters(number) for number, value in enumerate(values)], [0] * len(values)
    numbers = range(len(values))
    return [found.waiters(number) for number in numbers], [found.zero_waiters(number) for number in numbers]


def _locks_of(found: SemaphoreSet, values: list[int], known: Beside) -> list[LockState]:
    """The locks of a set, of which those of a pool only if there is something to be said of them."""
    if not known.use or known.kind in OWNERLESS:
        return []
    if known.words is None:
        return [LockState(0, holder_of(found) if values[0] == 0 else None)]
    taken = 1 if known.kind == lib.SEMSHARE_SET_RWLOCK else 0
    states = []
    for number, words in enumerate(known.words):
        if number >= len(values):
            break
        is_taken = values[number] == taken
        if known.kind == lib.SEMSHARE_SET_POOL and not (is_taken or words.epoch & 1 or words.suspect):
            continue
        holder = holder_of(found, number, words) if is_taken else None
        states.append(
            LockState(
                number, holder, words.deaths, bool(words.suspect), words.depth if holder else 0, _dead(words, holder)
            )
        )
    return states


def _owner(words: Any) -> Owner:
    return Owner(words.owner_kind, words.owner_pid, words.owner_tid, words.owner_start)


def _dead(words: Any, holder: Holder | None) -> Owner | None:
    """Who died inside a lock.

    An odd epoch alone does not say so: the words were looked at before the semaphore, and others go on meanwhile.
    """
    owner = _owner(words)
    if words.epoch & 1 and (holder is None or holder.epoch is None) and is_gone(owner):
        return owner
    if words.suspect:
        return Owner(words.dead_kind, words.dead_pid, words.dead_tid, words.dead_start)
    return None


def is_gone(owner: Owner) -> bool:
    """Whether a process, or one of its threads, is known to have ended."""
    if owner.kind != lib.SEMSHARE_OWNER_USER:
        return False
    return owner.alive is False or (owner.tid != 0 and not os.path.exists(f"/proc/{owner.pid}/task/{owner.tid}"))


def _roles_of(taken: SemaphoreSet, values: list[int]) -> list[tuple[str, int, Holder]]:
    """Who holds the semaphores of the roles; a ring without roles has none of these."""
    found = []
    for number in range(lib.SEMSHARE_SEM_PRODUCER, len(values)):
        if values[number]:
            continue
        pid = taken.pid(number)
        # A process that ended has given it back: then kernel code took it, in that process, and has it still.
        kernel = pid != 0 and is_dead(pid)
        what = "consumer" if number == lib.SEMSHARE_SEM_CONSUMER else "producer"
        holder = Holder(0, "kernel", None) if kernel else Holder(pid, "process", True if pid else None)
        found.append((what, number, holder))
    return found


def _places_in(places: Any, values: list[int] | None) -> list[Place]:
    """Those who wait still. Who died, or was interrupted, left his place, and words that nobody has seen to yet."""
    found = []
    for number, each in enumerate(places.waiters, 1):
        # Odd as long as there is somebody: semshare/core/places.h.
        left = values is not None and not (number < len(values) and values[number] & 1)
        if each.state != lib.SEMSHARE_WAITER_NONE and not left:
            waiter = Owner(each.kind, each.pid, each.tid, each.start)
            found.append(Place(number, each.state != lib.SEMSHARE_WAITER_WAITS, waiter))
    return found


def holder_of(taken: SemaphoreSet, number: int = 0, words: Any = None) -> Holder:
    """Who holds a semaphore that is taken: its words say so, or else the kernel knows who changed it last."""
    last = taken.pid(number)
    if words is not None and words.epoch % 2 and words.owner_kind in KINDS:
        owner = _owner(words)
        # A plain program writes an epoch and no owner: then the words are of somebody before it.
        if owner.kind == lib.SEMSHARE_OWNER_KERNEL or owner.pid == last:
            return Holder(owner.pid, KINDS[owner.kind], owner.alive, owner.tid, words.epoch)
    return Holder(last, "process" if last else "unknown", not is_dead(last) if last else None)
