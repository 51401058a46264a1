# SPDX-License-Identifier: MIT
"""What there is in this IPC namespace: areas, the rings in them, and semaphore sets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from semshare import Area, AreaInfo, Error, Owner, SemaphoreSet, segment, shm
from semshare._abi import ffi, lib
from semshare._native import is_dead
from semshare.area import list_areas
from semshare.cli import contents
from semshare.cli.contents import Content
from semshare.semaphore_set import SetState, all_sets

KINDS = {lib.SEMSHARE_OWNER_USER: "process", lib.SEMSHARE_OWNER_KERNEL: "kernel thread"}


@dataclass(frozen=True)
class Holder:
    """Who took semaphore 0, as far as can be told."""

    pid: int
    """0: a kernel thread, or a process of another pid namespace."""
    kind: str
    alive: bool | None
    """None where that cannot be seen."""


@dataclass(frozen=True)
class SetInfo:
    """A semaphore set, and what is known of it beside."""

    semid: int
    state: SetState
    name: str
    """Of the lock or the area it belongs to; empty if that is not known."""
    use: str
    """ "lock", what its area holds, or empty: it belongs to somebody else."""
    values: list[int] | None
    """None if this user may not read them, and so are the next two."""
    waiters: list[int] | None
    zero_waiters: list[int] | None
    holder: Holder | None
    """None if nobody holds semaphore 0."""
    deaths: int
    """Owners found dead inside."""
    roles: list[tuple[str, Holder]]
    """Who is the producer, or one of a few, and the consumer of a ring where not everybody can be that."""


@dataclass(frozen=True)
class Inventory:
    areas: list[tuple[AreaInfo, Content | None]]
    sets: list[SetInfo]


def take(*, everybodys: bool = False) -> Inventory:
    """Look at everything.

    Args:
        everybodys: also at sets that are not known to be of this package.
    """
    areas = []
    known: dict[int, tuple[str, str, Any]] = {}
    for info in list_areas():
        pages = _first_pages(info)
        content = contents.find(pages, info.size) if pages is not None else None
        areas.append((info, content))
        if info.semid is not None:
            use, lock = (content.kind.name, content.kind.lock) if content else ("", None)
            known[info.semid] = info.name, use, _lock_words(pages, lock) if lock is not None else None
    for semid, name, words in _bare_locks():
        known.setdefault(semid, (name, "lock", words))
    sets = []
    for semid, state in all_sets():
        if semid in known or everybodys:
            sets.append(_set_info(semid, state, *known.get(semid, ("", "", None))))
    return Inventory(areas, sets)


def _first_pages(info: AreaInfo) -> bytes | None:
    """Those that tell what an area holds; None if this user may not read it, or it has no name any more."""
    if info.unlinked:
        return None
    pages = _read(info, min(info.size, contents.SEEN))
    if pages is not None and contents.looks_at_all(pages):
        pages = _read(info, info.size) or pages
    return pages


def _read(info: AreaInfo, size: int) -> bytes | None:
    """The first bytes of an area, or None."""
    with contextlib.suppress(OSError):
        if info.backend == "posix":
            page = shm.peek(info.name, size) or b""
        else:
            with Area(info.name, readonly=True, backend="module", address=None) as area:
                page = bytes(area.buffer[:size])
        if len(page) == size:
            return page
    return None


def _lock_words(memory: Any, offset: int) -> Any:
    """A copy of the words of a lock, which outlives that memory."""
    words = ffi.new("struct semshare_lock_state *")
    ffi.buffer(words)[:] = memory[offset : offset + ffi.sizeof(words[0])]
    return words


def _bare_locks() -> Iterable[tuple[int, str, Any]]:
    """Semid, name and words of each lock that has a companion segment."""
    for state in segment.all_segments():
        if state.size != lib.SEMSHARE_LOCK_SEGMENT_SIZE or not state.key:
            continue
        companion = segment.attach(state.shmid)
        if companion is None:
            continue
        try:
            if companion.magic == lib.SEMSHARE_LOCK_MAGIC:
                words = _lock_words(ffi.buffer(ffi.from_buffer(companion.mapping)), segment.STATE_OFFSET)
                yield companion.semid, companion.name, words
        finally:
            companion.close()


def _set_info(semid: int, state: SetState, name: str, use: str, words: Any) -> SetInfo:
    values = waiters = zero_waiters = holder = None
    roles: list[tuple[str, Holder]] = []
    with contextlib.suppress(Error):
        found = SemaphoreSet(semid=semid)
        values = found.values()
        waiters = [found.waiters(number) for number in range(len(values))]
        zero_waiters = [found.zero_waiters(number) for number in range(len(values))]
        if use and values[0] == 0:
            holder = holder_of(found, words)
        if use == "ring":
            roles = _roles_of(found, values)
    deaths = words.deaths if words is not None else 0
    return SetInfo(semid, state, name, use, values, waiters, zero_waiters, holder, deaths, roles)


def _roles_of(taken: SemaphoreSet, values: list[int]) -> list[tuple[str, Holder]]:
    """Who holds the semaphores of the roles; a ring without roles has none of these."""
    found = []
    for number in range(lib.SEMSHARE_SEM_PRODUCER, len(values)):
        if values[number]:
            continue
        pid = taken.pid(number)
        # A process that ended has given it back: then kernel code took it, in that process, and has it still.
        kernel = pid != 0 and is_dead(pid)
        what = "consumer" if number == lib.SEMSHARE_SEM_CONSUMER else "producer"
        found.append((what, Holder(0, "kernel", None) if kernel else Holder(pid, "process", True if pid else None)))
    return found


def holder_of(taken: SemaphoreSet, words: Any = None) -> Holder:
    """Who holds semaphore 0 of a set, where it is 0: its words say so, or else the kernel knows who changed it last."""
    last = taken.pid(0)
    if words is not None and words.epoch % 2 and words.owner_kind in KINDS:
        owner = Owner(words.owner_kind, words.owner_pid, words.owner_tid, words.owner_start)
        # A plain program writes an epoch and no owner: then the words are of somebody before it.
        if owner.kind == lib.SEMSHARE_OWNER_KERNEL or owner.pid == last:
            known = owner.kind == lib.SEMSHARE_OWNER_USER
            return Holder(owner.pid, KINDS[owner.kind], owner.alive if known else None)
    return Holder(last, "process" if last else "unknown", not is_dead(last) if last else None)
