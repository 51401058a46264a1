# SPDX-License-Identifier: MIT
"""What killed processes left behind: areas, the sets that they own, and companions of sets.

Two degrees. What is *certain* nobody can use any more, or nobody can have used yet: an area without a user, a companion
whose set was removed, a set whose creator was killed before it was complete. It may be removed without being asked for
by name.

A named lock that nobody has open is another matter. It is meant to outlive the processes that use it: those of the next
hour find it by its name, with what it remembers. From outside, one that waits for them cannot be told from one that
nobody wants any more. So it is only found, as perhaps unused, and removed by its name alone.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Callable, Final

from semshare import segment, shm
from semshare._abi import ffi, lib
from semshare._native import is_dead
from semshare.area_info import AreaInfo
from semshare.errors import Error, Removed
from semshare.named_set import NOUNS, is_waited_for
from semshare.segment import Segment, SegmentState
from semshare.semaphore_set import SemaphoreSet


@dataclass(frozen=True)
class Stale:
    """Something that nobody uses any more, or perhaps."""

    kind: str
    """ "area", or what its set is: "lock", "semaphore", …"""
    name: str
    detail: str
    """Its files, sets and segments."""
    why: str
    """What says so."""
    age: float
    """Seconds since it was used last, as far as the kernel remembers that, or else since it was made."""
    certain: bool
    """Whether nobody can want it any more. If not, it is removed by its name only."""
    remove: Callable[[], bool] = field(repr=False, compare=False)
    """Looks once more and removes it. False: somebody uses it now, or this user may not."""


def find(only: Collection[str] | None = None) -> list[Stale]:
    """Look for it.

    Args:
        only: under these names; None: all that this user can see, whoever made it.
    """
    return [each for each in (*_areas(), *_bells(), *_sets()) if only is None or each.name in only]


def remove_stale(only: Collection[str] | None = None, *, dry_run: bool = False) -> list[Stale]:
    """Remove it.

    Args:
        only: under these names, also what is not certain; None: all that is certain, whoever made it.
        dry_run: only say what would be removed.

    Returns:
        What was removed. What another user owns is left alone.
    """
    wanted = [each for each in find(only) if each.certain or only is not None]
    return [each for each in wanted if dry_run or each.remove()]


# -------------------------------------------------------------------------------------------------------------- areas


def _areas() -> Iterator[Stale]:
    for info in shm.stale_areas():
        path = shm.path_of(info.name)
        owned = f", set {info.semid}" if info.owns_set and info.semid is not None else ""
        yield Stale(
            "area",
            info.name,
            f"{path}{owned}",
            "nobody has it open: its last user was killed",
            max(time.time() - info.created, 0.0),
            True,
            partial(_remove_area, info),
        )


def _remove_area(info: AreaInfo) -> bool:
    unbound = _unbound_set(info)
    if not shm.remove_if_stale(info.name):
        return False
    if unbound is not None:
        with contextlib.suppress(Error):
            unbound.remove()
    return True


def _unbound_set(info: AreaInfo) -> SemaphoreSet | None:
    """The set of an area whose maker was killed after making it and before binding it: never operated on."""
    if info.semid is not None:
        return None
    try:
        found = SemaphoreSet(info.key)
        state = found.stat()
    except Error:
        return None
    ours = state.semaphores in (
        lib.SEMSHARE_RING_NSEMS,
        lib.SEMSHARE_RING_ROLE_NSEMS,
        lib.SEMSHARE_RING_LANES_NSEMS,
        lib.SEMSHARE_CHANNEL_NSEMS,
        lib.SEMSHARE_PARAMETERS_NSEMS,
    )
    return found if ours and not state.last_operation else None


def _bells() -> Iterator[Stale]:
    for name in sorted(set(shm.stray_bells())):
        yield Stale(
            "area",
            name,
            f"FIFOs {shm.FOLDER}/{shm.BELL_PREFIX}{name}.*",
            "the file of their area is gone",
            _age_of(shm.bell_paths(name)),
            True,
            partial(_remove_bells, name),
        )


def _age_of(paths: Iterable[str]) -> float:
    """Seconds since the files were made that are there."""
    made = []
    for path in paths:
        with contextlib.suppress(OSError):
            made.append(os.lstat(path).st_ctime)
    return max(time.time() - max(made), 0.0) if made else 0.0


def _remove_bells(name: str) -> bool:
    try:
        shm.remove_bells(name)
    except PermissionError:
        return False
    return True


# --------------------------------------------------------------------------------------------------------------- sets


def _sets() -> Iterator[Stale]:
    for state, companion in segment.all_companions():
        if state.attached:
            continue
        found = _judge(state, companion)
        if found is not None:
            yield found


def _judge(state: SegmentState, companion: Segment) -> Stale | None:
    """What is to be said of a set whose companion nobody has attached; None: somebody uses it, or may."""
    name = companion.name or f"key {state.key:#x}"
    noun = NOUNS.get(companion.kind, "set")
    now = time.time()
    try:
        taken = _set_of(state, companion)
        if taken is None:
            why = f"its set {companion.semid} was removed"
            remove = partial(_remove_companion, state)
            return Stale(noun, name, f"segment {state.shmid}", why, max(now - state.changed, 0.0), True, remove)
        if not is_dead(state.creator):
            return None
        facts = taken.stat()
        finished = _was_finished(taken, facts.last_operation, companion.kind)
        if finished and not _is_idle(taken, companion.kind):
            return None
    except Error:
        return None  # this user may not look
    died = f"its creator, process {state.creator},"
    return Stale(
        noun,
        name,
        f"segment {state.shmid}, set {taken.semid}",
        f"{died} has ended, and nobody has it open or waits" if finished else f"{died} was killed making it",
        max(now - (facts.last_operation or facts.last_change), 0.0),
        not finished,
        partial(_remove_set, state, taken, companion.kind),
    )


def _set_of(state: SegmentState, companion: Segment) -> SemaphoreSet | None:
    """The set of a companion; None if it was removed."""
    try:
        taken = SemaphoreSet(semid=companion.semid)
    except Removed:
        return None
    # Ids come round: it may be another one.
    return taken if taken.key & 0xFFFFFFFF == state.key else None


def _was_finished(taken: SemaphoreSet, last_operation: int, kind: int) -> bool:
    """A new set is published by a semop.

    One that another program made, and was adopted, has a value, or a last pid, or somebody sleeps in it.
    """
    if last_operation or is_waited_for(taken.semid):
        return True
    return kind != lib.SEMSHARE_SET_POOL and (taken.value(0) > 0 or taken.pid(0) > 0)


def _is_idle(taken: SemaphoreSet, kind: int) -> bool:
    """Whether nobody is inside, or waits: a plain program does not attach the companion."""
    values = taken.values()
    if kind in _FREE and any(value != _FREE[kind] for value in values):
        return False
    # A place's semaphore is odd as long as its waiter lives.
    if kind in _PLACES and (values[0] != 1 or any(value & 1 for value in values[1:])):
        return False
    if kind == lib.SEMSHARE_SET_POOL:
        return True  # where all are free nobody waits, and there are many
    return not any(taken.waiters(number) or taken.zero_waiters(number) for number in range(len(values)))


def _remove_companion(state: SegmentState) -> bool:
    """Remove a companion whose set is gone."""
    now = segment.state_of(state.shmid)
    if now is None or now.attached or now.key & 0xFFFFFFFF != state.key:
        return False
    return bool(lib.shmctl(state.shmid, lib.IPC_RMID, ffi.NULL) >= 0)


def _remove_set(state: SegmentState, taken: SemaphoreSet, kind: int) -> bool:
    """Remove a set, and behind it its companion: killed in between, that is left, and tells what it was."""
    now = segment.state_of(state.shmid)
    if now is None or now.attached:
        return False
    with contextlib.suppress(Error):
        if _was_finished(taken, taken.stat().last_operation, kind) and not _is_idle(taken, kind):
            return False
        taken.remove()
        return bool(lib.shmctl(state.shmid, lib.IPC_RMID, ffi.NULL) >= 0)
    return False


# Values of all semaphores of a set in which nobody is.
_FREE: Final = {
    lib.SEMSHARE_SET_LOCK: 1,
    lib.SEMSHARE_SET_RLOCK: 1,
    lib.SEMSHARE_SET_POOL: 1,
    lib.SEMSHARE_SET_RWLOCK: 0,
}
# Semaphore 0 is a lock, the others those of places.
_PLACES: Final = (lib.SEMSHARE_SET_CONDITION, lib.SEMSHARE_SET_BARRIER)
