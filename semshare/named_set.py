# SPDX-License-Identifier: MIT
"""Finding a set by its key, and making it: any number of processes may do that at once, and be killed over it."""

from __future__ import annotations

import errno
import time
from typing import Any, Final, NamedTuple

from semshare import advice, segment
from semshare._abi import ffi, lib
from semshare._native import is_dead
from semshare.errors import (
    Error,
    LimitReached,
    NameExists,
    NotFound,
    Timeout,
    WrongKind,
    WrongSize,
    failure,
)
from semshare.segment import Segment

# Making a set takes microseconds. Who finds one half made waits so long for its maker, if that is known to live, ...
MAKER_LIMIT: Final = 10.0
# ... and so long if it is not known who it is, or whether they live: they may be between two calls on a busy machine.
UNKNOWN_LIMIT: Final = 5.0
POLL: Final = 0.001

NOUNS: Final[dict[int, str]] = {
    lib.SEMSHARE_SET_LOCK: "lock",
    lib.SEMSHARE_SET_RLOCK: "reentrant lock",
    lib.SEMSHARE_SET_POOL: "lock pool",
    lib.SEMSHARE_SET_RWLOCK: "read/write lock",
    lib.SEMSHARE_SET_SEMAPHORE: "semaphore",
    lib.SEMSHARE_SET_BOUNDED: "bounded semaphore",
    lib.SEMSHARE_SET_EVENT: "event",
    lib.SEMSHARE_SET_CONDITION: "condition",
    lib.SEMSHARE_SET_BARRIER: "barrier",
}

# What `limit` counts, of the kinds that have one.
LIMITS: Final[dict[int, str]] = {lib.SEMSHARE_SET_BOUNDED: "permits", lib.SEMSHARE_SET_BARRIER: "parties"}


def with_article(noun: str) -> str:
    """ "an event", "a lock"."""
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"


class Plan(NamedTuple):
    """What a set is to be, and how a new one begins."""

    kind: int
    """enum semshare_set_kinds"""
    nsems: int = 1
    """Semaphores; 0: as many as the set has that is found, and none is made."""
    first: int = 1
    """The value of semaphore 0 in a new set, ..."""
    others: int = 0
    """... and of all others."""
    limit: int = 0
    """As in struct semshare_lock_segment; 0: whatever that which is found has."""
    remembers: bool = False
    """Whether it cannot be without its companion."""
    adopts: bool = True
    """Whether a set that another program made, which has no companion, can be one of these: then it is given one."""
    exact: bool = True
    """Whether it has exactly so many semaphores, or that many at least."""
    strict: bool = True
    """Whether one that is found has to have that `limit`."""

    missing: str = ""
    """The argument that was not given, and without which none is made."""

    @property
    def noun(self) -> str:
        return NOUNS[self.kind]


class Found(NamedTuple):
    """A set that was found, or made."""

    semid: int
    key: int
    nsems: int
    """Its semaphores."""
    segment: Segment | None
    """Its companion, where it has one."""


def open_or_make(
    key: int, name: str | None, plan: Plan, *, create: bool = True, exclusive: bool = False, mode: int = 0o600
) -> Found:
    """Find the set of that key and its companion, or make them.

    Who makes a set makes its companion before it: under one key only one process can, so it is known who makes the set.
    A new set's semaphore 0 is 0. Its maker fills the companion in, gives the other semaphores their values, and then
    publishes the set by one semop on semaphore 0, which sets its value and sem_otime. Who finds a set that nobody ever
    operated on waits for that; if its maker is dead, removes the set, which nobody can have used, and begins again. (To
    finish it in the maker's place would not do: of two who do that one may publish a lock that the other has taken.)
    One whose maker is not known may be another program's, in which others sleep: it is never removed.

    Raises:
        NotFound: there is none, and it is not to be created.
        NameExists: there is one, and it was to be made: `exclusive`.
        WrongKind, WrongSize: there is one, and it is not as planned.
        NameCollision: one of another name has the same key.
        Denied: this user may not.
        LimitReached: there are as many as there may be.
        Timeout: who makes it lives, and does not finish, or it is another program's, and has no value yet.
    """
    what = f"{plan.noun} {name!r}" if name is not None else f"{plan.noun} with key {key:#x}"
    signed = signed_key(key)
    deadline = time.monotonic() + MAKER_LIMIT
    while True:
        if time.monotonic() > deadline:
            raise Timeout(errno.ETIMEDOUT, f"{what}: it is made and removed all the time; who does that? Try again")
        # Asking for the right to alter it: who may not gets EACCES now, and not at the first acquire().
        semid = lib.semget(signed, 0, 0o200)
        if semid >= 0:
            if not _wait_published(semid, signed, what, create):
                continue
            if exclusive:
                raise NameExists(
                    errno.EEXIST,
                    f"{what}: there is one already, set {semid}; attach it, choose another name, or remove it: "
                    + (f"semshare rm {name}" if name is not None else f"ipcrm -S {key:#x}"),
                )
            count = _count_of(semid)
            companion = segment.companion(signed, semid, count, plan, what, name, mode, make=_adopts(plan, count))
        elif ffi.errno != errno.ENOENT:
            raise failure(ffi.errno, what, "semget")
        elif create and plan.missing:
            raise NotFound(
                errno.ENOENT,
                f"{what}: there is none, and none is made without {plan.missing}; give {plan.missing}= to make one, or "
                "let somebody create it first",
            )
        elif not create:
            raise NotFound(errno.ENOENT, f"{what}: there is none; let somebody create it first (create=True)")
        else:
            count = plan.nsems
            free, companion = segment.claim(signed, count, plan, what, mode)
            if not free:
                continue
            semid = lib.semget(signed, count, lib.IPC_CREAT | lib.IPC_EXCL | (mode & 0o666))
            if semid < 0:
                code = ffi.errno
                _drop(companion)
                if code == errno.EEXIST:
                    continue
                raise _cannot_make(code, what, count)
            if companion is not None:
                companion.fill(key, semid, count, name, plan.kind, plan.limit)
            if code := _publish(semid, plan):
                _drop(companion)
                if code in (errno.EINVAL, errno.EIDRM):
                    continue  # we were so slow that somebody took us for dead
                lib.semctl(semid, 0, lib.IPC_RMID)
                raise failure(code, what, "semop")
        # Nobody may have removed it meanwhile: who took us for dead, or semshare rm.
        if lib.semget(signed, 0, 0) == semid:
            return _checked(Found(semid, key, count, companion), plan, what)
        if companion is not None:
            companion.close()


def open_set(semid: int, plan: Plan, mode: int = 0o600) -> Found:
    """The set of that id, with its companion if it has a key.

    Raises:
        NotFound: there is none of that id.
        WrongKind, WrongSize: it is not as planned.
        Denied: this user may not read it, or alter it.
    """
    what = f"{plan.noun} with semid {semid}"
    state = _stat(semid)
    if state is None:
        code = errno.ENOENT if ffi.errno in (errno.EINVAL, errno.EIDRM) else ffi.errno
        raise failure(code, what, "open")
    key = int(state.sem_perm.__key) & 0xFFFFFFFF
    count = int(state.sem_nsems)
    companion = None
    # One that was made with IPC_PRIVATE is not found by a key.
    if key and (found := lib.semget(signed_key(key), 0, 0o200)) == semid:
        companion = segment.companion(signed_key(key), semid, count, plan, what, None, mode, make=_adopts(plan, count))
    elif key and found < 0 and ffi.errno == errno.EACCES:
        raise failure(errno.EACCES, what, "semget")
    return _checked(Found(semid, key, count, companion), plan, what)


def signed_key(key: int) -> int:
    """A key as the C library has it: key_t is signed."""
    return key - (1 << 32) if key >= 1 << 31 else key


# ------------------------------------------------------------------------------------------------ is it as planned


def _fits(plan: Plan, count: int) -> bool:
    return not plan.nsems or (plan.nsems == count if plan.exact else plan.nsems <= count)


def _adopts(plan: Plan, count: int) -> bool:
    """Whether a set of `count` semaphores that has no companion may be used as planned: then it is given one."""
    return plan.adopts and _fits(plan, count)


def _checked(found: Found, plan: Plan, what: str) -> Found:
    """`found` if it is as planned; else let go of it."""
    error = _mismatch(found, plan, what)
    if error is None:
        return found
    if found.segment is not None:
        found.segment.close()
    raise error


def _mismatch(found: Found, plan: Plan, what: str) -> Error | None:
    companion, count = found.segment, found.nsems
    if companion is not None and companion.kind != plan.kind:
        noun = NOUNS.get(companion.kind, f"set of a kind that this version does not know ({companion.kind})")
        return WrongKind(
            errno.EMEDIUMTYPE,
            f"{what}: {repr(companion.name) if companion.name else 'it'} is {with_article(noun)}; open it as that, or "
            "choose another name",
        )
    if companion is None and plan.remembers and not found.key:
        return WrongKind(
            errno.EMEDIUMTYPE,
            f"{what}: set {found.semid} has no key (IPC_PRIVATE), so no segment that could tell what it is; make one "
            "by name",
        )
    if companion is None and plan.remembers:
        return WrongKind(
            errno.EMEDIUMTYPE,
            f"{what}: set {found.semid} has {count} semaphores, and no segment that tells what it is: another program "
            "made it, or somebody removed the segment; choose another name",
        )
    if not _fits(plan, count):
        return _other_size(what, count, plan.nsems, "locks" if plan.kind == lib.SEMSHARE_SET_POOL else "semaphores")
    if companion is not None and plan.kind == lib.SEMSHARE_SET_POOL and companion.count != count:
        return _other_size(what, count, companion.count, "semaphores")
    if companion is not None and plan.strict and plan.limit and plan.limit != companion.limit:
        return _other_size(what, companion.limit, plan.limit, LIMITS.get(plan.kind, ""))
    return None


def _other_size(what: str, has: int, wanted: int, of: str) -> WrongSize:
    return WrongSize(errno.EINVAL, f"{what}: it has {has} {of}, not {wanted}; open it as it is, or choose another name")


# ------------------------------------------------------------------------------------------------------------ the steps


def _stat(semid: int) -> Any:
    state = ffi.new("struct semid_ds *")
    return state if lib.semctl(semid, 0, lib.IPC_STAT, state) >= 0 else None


def _count_of(semid: int) -> int:
    state = _stat(semid)
    return int(state.sem_nsems) if state is not None else 1


def _cannot_make(code: int, what: str, count: int) -> Error:
    if code == errno.ENOSPC or (code == errno.EINVAL and count > 1):
        return LimitReached(errno.ENOSPC, f"{what}: semget: {advice.sets_are_limited(count)}")
    return failure(code, what, "semget")


def _publish(semid: int, plan: Plan) -> int:
    """Give a new set its values. Returns an errno, or 0.

    Nobody has used it yet, so there is no undo that SETALL could erase. It cannot publish: it sets no sem_otime.
    """
    if plan.others:
        values = ffi.new("unsigned short[]", [0] + [plan.others] * (plan.nsems - 1))
        if lib.semctl(semid, 0, lib.SETALL, values) < 0:
            return int(ffi.errno)
    # By 0 as well: it waits for 0, which the value is, and sets sem_otime.
    publish = ffi.new("struct sembuf[]", [(0, plan.first, 0)])
    return int(ffi.errno) if lib.semop(semid, publish, 1) < 0 else 0


def _drop(companion: Segment | None) -> None:
    """That of a set which is not made after all."""
    if companion is not None:
        companion.remove()
        companion.close()


def _wait_published(semid: int, key: int, what: str, take_over: bool) -> bool:
    """Wait until a set that was found is one that its maker has finished. False: it is gone, look again."""
    began = time.monotonic()
    while True:
        published = _is_published(semid, key)
        if published is not False:
            return bool(published)
        maker = segment.maker_of(key, semid)
        waited = time.monotonic() - began
        dead = maker is not None and (is_dead(maker) if maker else waited > UNKNOWN_LIMIT)
        # What it has not done when it is dead it never will; but it may have done that just before.
        if dead and _is_published(semid, key):
            return True
        # Another program's, which one of us may have given the segment that he died beside.
        if (maker is None or dead) and is_waited_for(semid):
            return True
        if dead and not take_over:
            raise NotFound(errno.ENOENT, f"{what}: its maker died before it was finished; make it with create=True")
        if dead:
            if lib.semctl(semid, 0, lib.IPC_RMID) < 0 and ffi.errno not in (errno.EINVAL, errno.EIDRM):
                raise failure(ffi.errno, what, "its maker died before it was finished, and it cannot be removed")
            return False
        if maker is None and waited > UNKNOWN_LIMIT:
            raise Timeout(
                errno.ETIMEDOUT,
                f"{what}: another program made set {semid} under its key, and nobody has given that a value, or used "
                f"it; give it one (SETVAL), or if nobody wants it, remove it: ipcrm -S {key & 0xFFFFFFFF:#x}",
            )
        if maker is not None and waited > MAKER_LIMIT:
            raise Timeout(
                errno.ETIMEDOUT,
                f"{what}: process {maker} makes it and does not finish; is it stopped? kill -CONT {maker}, or "
                f"ipcrm -s {semid}",
            )
        time.sleep(POLL)


def _is_published(semid: int, key: int) -> bool | None:
    """Whether the set's maker has finished it; None: it is gone."""
    state = _stat(semid)
    if state is None:
        # Not to be read, it cannot be waited for; who may only write it waits for its value.
        return None if ffi.errno in (errno.EINVAL, errno.EIDRM) else True
    return bool(state.sem_otime) or (_was_set(semid) and not _is_pool(key, semid))


def _was_set(semid: int) -> bool:
    """A set that somebody made with SETVAL, as sysv_ipc does, has no sem_otime but a value, or a last pid."""
    return bool(lib.semctl(semid, 0, lib.GETVAL) > 0 or lib.semctl(semid, 0, lib.GETPID) > 0)


def is_waited_for(semid: int) -> bool:
    """Whether anybody sleeps on it: who made it with semget alone may leave it at 0, and others wait for more."""
    return any(
        lib.semctl(semid, number, command) > 0
        for number in range(_count_of(semid))
        for command in (lib.GETNCNT, lib.GETZCNT)
    )


def _is_pool(key: int, semid: int) -> bool:
    """Whether it is a pool whose maker has done SETALL and not published it yet."""
    shmid = lib.shmget(key, 0, 0)
    companion = segment.attach(shmid) if shmid >= 0 else None
    if companion is None:
        return False
    try:
        return companion.semid == semid and companion.kind == lib.SEMSHARE_SET_POOL
    finally:
        companion.close()
