# SPDX-License-Identifier: MIT
"""The companion of a set: a SysV shared memory segment under its key, for what semaphores cannot remember."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from semshare import advice, names
from semshare._abi import ffi, lib
from semshare._native import Mapping, is_dead
from semshare.errors import AbiMismatch, LimitReached, NameCollision, Timeout, failure

if TYPE_CHECKING:
    from semshare.named_set import Plan

logger: Final = logging.getLogger("semshare")

STATE_OFFSET: Final[int] = ffi.offsetof("struct semshare_lock_segment", "state")
STATE_SIZE: Final[int] = ffi.sizeof("struct semshare_lock_state")

# Of a pool of as many locks as a set can have semaphores at all.
LARGEST: Final[int] = STATE_OFFSET + 65536 * STATE_SIZE

# For a creator to fill it in. It takes microseconds; a machine may be busy, or the creator stopped.
FILL_LIMIT = 5.0
POLL = 0.001

# What makes a segment impossible, and a lock without one the best there is.
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.ENOSPC, errno.ENOMEM, errno.ENOSYS)
_LIMITED = (errno.ENOSPC, errno.ENOMEM)

# What is the less for it: owners are not known.
_OWNED = (lib.SEMSHARE_SET_LOCK, lib.SEMSHARE_SET_RWLOCK)

_PLACES = (lib.SEMSHARE_SET_CONDITION, lib.SEMSHARE_SET_BARRIER)


def size_of(kind: int, count: int) -> int:
    """Bytes of the companion of a set of `count` semaphores."""
    page: int = lib.SEMSHARE_LOCK_SEGMENT_SIZE
    if kind in _PLACES:
        return int(lib.SEMSHARE_PLACES_SEGMENT_SIZE)
    if kind != lib.SEMSHARE_SET_POOL:
        return page
    return -(-(STATE_OFFSET + count * STATE_SIZE) // page) * page


class Segment:
    """An attached companion."""

    def __init__(self, shmid: int, mapping: Mapping) -> None:
        self.shmid = shmid
        self.mapping = mapping
        self._closed = False
        self._words = ffi.cast("struct semshare_lock_segment *", ffi.from_buffer(mapping))

    @property
    def name(self) -> str:
        """Its name as it is stored; empty if it was made by key."""
        return names.text_of(bytes(ffi.buffer(self._words.name)))

    @property
    def semid(self) -> int:
        """The set for which it was made."""
        return int(self._words.semid)

    @property
    def count(self) -> int:
        """Semaphores in that set."""
        return int(self._words.nsems)

    @property
    def kind(self) -> int:
        """What the set is: enum semshare_set_kinds."""
        return int(self._words.kind)

    @property
    def limit(self) -> int:
        """The most permits, or the parties, of a set that has such; else 0."""
        return int(self._words.limit)

    @property
    def magic(self) -> int:
        """SEMSHARE_LOCK_MAGIC when it is filled in."""
        return int(lib.semshare_published(ffi.addressof(self._words, "magic")))

    @property
    def abi_version(self) -> int:
        """Of who filled it in."""
        return int(self._words.abi_version)

    def fill(
        self,
        key: int,
        semid: int,
        count: int,
        name: str | None,
        kind: int = lib.SEMSHARE_SET_LOCK,
        limit: int = 0,
    ) -> None:
        """Fill it in, the magic number last. Two who do that at the same time write the same."""
        words = self._words
        words.abi_version = lib.SEMSHARE_ABI_VERSION
        words.features = 0
        words.key = key & 0xFFFFFFFF
        words.semid = semid
        words.nsems = count
        words.kind = kind
        words.limit = limit
        if name is not None:
            ffi.buffer(words.name)[:] = names.padded(name)
        lib.semshare_publish(ffi.addressof(words, "magic"), lib.SEMSHARE_LOCK_MAGIC)

    def is_blank(self, key: int) -> bool:
        """Whether it has no more than who fills it in may have written, in that order; else it is another program's.

        Of one with a magic number it says nothing.
        """
        size = len(self.mapping)
        if size % lib.SEMSHARE_LOCK_SEGMENT_SIZE or size > LARGEST:
            return False
        # Its maker may have gone on between a look at the head and one at the rest: then the head has the key now.
        return self._looks_blank(key) or self._looks_blank(key)

    def _looks_blank(self, key: int) -> bool:
        words = self._words
        version = words.abi_version
        if words.key or words.features:
            ours = version == lib.SEMSHARE_ABI_VERSION and words.key == key & 0xFFFFFFFF and not words.features
            behind = STATE_OFFSET
        else:
            ours = version in (0, lib.SEMSHARE_ABI_VERSION)
            behind = ffi.offsetof("struct semshare_lock_segment", "semid")
        return ours and not bytes(memoryview(self.mapping)[behind:]).strip(b"\0")

    def close(self) -> None:
        """Detach, once nobody has a view of it."""
        self._words = ffi.NULL
        if not self._closed:
            self._closed = True
            self.mapping.close()
            del self.mapping

    def remove(self) -> None:
        """Remove the segment, if it is still there and this user may."""
        lib.shmctl(self.shmid, lib.IPC_RMID, ffi.NULL)


class SegmentState(NamedTuple):
    """What IPC_STAT says of a segment."""

    shmid: int
    key: int
    size: int
    creator: int
    attached: int
    owner: int
    """The creator's user."""
    changed: int
    """When it was made, or its permissions were changed: seconds since 1970."""


def state_of(shmid: int) -> SegmentState | None:
    state = ffi.new("struct shmid_ds *")
    if lib.shmctl(shmid, lib.IPC_STAT, state) < 0:
        return None
    return SegmentState(
        shmid,
        state.shm_perm.__key,
        state.shm_segsz,
        state.shm_cpid,
        state.shm_nattch,
        state.shm_perm.cuid,
        state.shm_ctime,
    )


def find(shmid: int | None, key: int | None) -> SegmentState | None:
    """The segment of that id, or else of that key; None if there is none that this user may read."""
    if shmid is None and key is not None:
        shmid = lib.shmget(key, 0, 0)
    return state_of(shmid) if shmid is not None and shmid >= 0 else None


def maker_of(key: int, semid: int) -> int | None:
    """The process that makes the set `semid`, which nobody has published: it made the segment under its key before.

    0 if that is one of ours, of another pid namespace. None if it is not known who it is: there is no segment that this
    user may see, or it is of another set, or another program's.
    """
    shmid = lib.shmget(key, 0, 0)
    state = state_of(shmid) if shmid >= 0 else None
    segment = attach(shmid, readonly=True) if state is not None else None
    if state is None or segment is None:
        return None
    try:
        if segment.magic == lib.SEMSHARE_LOCK_MAGIC:
            return state.creator if segment.semid == semid else None
        return (state.creator or None) if segment.is_blank(key) else None
    finally:
        segment.close()


def known_by(key: int) -> tuple[str, int] | None:
    """The name and the kind of what has that key, as its companion says; None if this user sees none."""
    shmid = lib.shmget(key, 0, 0)
    segment = attach(shmid, readonly=True) if shmid >= 0 else None
    if segment is None:
        return None
    try:
        return (segment.name, segment.kind) if segment.magic == lib.SEMSHARE_LOCK_MAGIC else None
    finally:
        segment.close()


def attach(shmid: int, *, readonly: bool = False) -> Segment | None:
    """Attach a segment; None if it went away, or this user may not."""
    try:
        mapping = Mapping.of_segment(shmid, readonly)
    except OSError:
        return None
    if len(mapping) < lib.SEMSHARE_LOCK_SEGMENT_SIZE:
        mapping.close()
        return None
    return Segment(shmid, mapping)


def claim(key: int, count: int, plan: Plan, what: str, mode: int) -> tuple[bool, Segment | None]:
    """A new segment, not filled in yet, for a set of `count` semaphores that is to be made.

    It comes before the set, so that who finds a set that is not finished knows who makes it: see open_or_make().

    Returns:
        Whether the set can be made: if not, there is one already. And the segment, None where there cannot be one.

    Raises:
        As companion().
    """
    deadline = time.monotonic() + FILL_LIMIT
    while True:
        made, segment = _make(key, count, plan, what, mode)
        if made or lib.semget(key, 0, 0) >= 0:
            return made, segment
        shmid = lib.shmget(key, 0, 0)
        if shmid < 0 and ffi.errno == errno.ENOENT:
            continue  # it was removed in between
        state = state_of(shmid) if shmid >= 0 else None
        old = attach(shmid) if state is not None else None
        if state is None or old is None:
            if lib.shmget(key, 0, 0) != shmid:
                continue
            _refuse_strange(shmid, plan, what)
            return True, None
        magic, semid = old.magic, old.semid
        left = _is_left_behind(old, key, deadline) if magic == 0 else magic == lib.SEMSHARE_LOCK_MAGIC
        old.close()
        if left is None:
            _wait(deadline, state, what)
            continue
        if not left:
            _refuse_strange(shmid, plan, what)
            return True, None
        # Looked at after the segment: its set is gone, or was never made and never will be.
        if lib.semget(key, 0, 0) >= 0 if magic == 0 else _is_set_of(key, semid):
            return False, None
        if lib.shmctl(shmid, lib.IPC_RMID, ffi.NULL) < 0 and lib.shmget(key, 0, 0) == shmid:
            _refuse_strange(shmid, plan, what)  # we may not remove it
            return True, None


def companion(
    key: int, semid: int, count: int, plan: Plan, what: str, name: str | None, mode: int, *, make: bool = True
) -> Segment | None:
    """The companion of the set `semid`, of `count` semaphores, which is published.

    Args:
        make: make it as `plan` says if there is none.

    Returns:
        None where there is none, and cannot be one: this user may not, a limit is reached, or another program has a
        segment under that key. If the plan does without, it works; nobody then knows who owns it.

    Raises:
        NameCollision: it is that of a set of another name; or, if there has to be one, of another program.
        Denied, LimitReached: there has to be one, and cannot be.
        AbiMismatch: it was made by another version.
        Timeout: its creator lives and does not fill it in.
    """
    deadline = time.monotonic() + FILL_LIMIT
    while True:
        shmid = lib.shmget(key, 0, 0)
        if shmid < 0 and ffi.errno == errno.ENOENT:
            made, segment = _make(key, count, plan, what, mode) if make else (True, None)
            if segment is not None:
                segment.fill(key, semid, count, name, plan.kind, plan.limit)
            if made:
                return segment
            continue
        if shmid < 0:
            _refuse(ffi.errno, plan, what, count)
            return None
        segment = attach(shmid)
        if segment is None:
            if lib.shmget(key, 0, 0) != shmid:
                continue  # it was removed in between
            _refuse_strange(shmid, plan, what)
            return None
        if segment.magic == 0:
            left = _is_left_behind(segment, key, deadline)
            if left is None or lib.shmget(key, 0, 0) != shmid:
                segment.close()
                _wait(deadline, state_of(shmid), what)
                continue
            if left:
                segment.fill(key, semid, count, name, plan.kind, plan.limit)
        if segment.magic != lib.SEMSHARE_LOCK_MAGIC:
            segment.close()
            _refuse_strange(shmid, plan, what)
            return None
        if segment.abi_version != lib.SEMSHARE_ABI_VERSION:
            version = segment.abi_version
            segment.close()
            raise AbiMismatch(
                errno.EPROTO,
                f"{what}: made by semshare with ABI version {version}, this is {lib.SEMSHARE_ABI_VERSION}; "
                "install the same version for all who use it",
            )
        if segment.semid != semid:
            # Of a set that was removed without it, by ipcrm for example. If it is ours that is gone, leave it alone.
            if lib.semget(key, 0, 0) == semid:
                segment.remove()
            segment.close()
            if lib.semget(key, 0, 0) != semid:
                return None  # the caller finds that out
            if lib.shmget(key, 0, 0) == shmid:
                _refuse_strange(shmid, plan, what)  # we may not remove it
                return None
            continue
        if name is not None and segment.name not in ("", name):
            other = segment.name
            segment.close()
            raise NameCollision(
                errno.EEXIST,
                f"{what}: key {key & 0xFFFFFFFF:#x} is that of {other!r}, too: keys are hashes; choose another name",
            )
        if len(segment.mapping) < size_of(segment.kind, segment.count):
            segment.close()
            _refuse_strange(shmid, plan, what)
            return None
        return segment


def _make(key: int, count: int, plan: Plan, what: str, mode: int) -> tuple[bool, Segment | None]:
    """Make a segment. Whether that was done, or cannot be done and the plan does without; if not, there is one."""
    while True:
        shmid = lib.shmget(key, size_of(plan.kind, count), lib.IPC_CREAT | lib.IPC_EXCL | (mode & 0o666))
        if shmid < 0 and ffi.errno == errno.EEXIST:
            return False, None
        if shmid < 0:
            _refuse(ffi.errno, plan, what, count)
            return True, None
        segment = attach(shmid)
        if segment is not None or lib.shmget(key, 0, 0) == shmid:
            break
    if segment is None:
        lib.shmctl(shmid, lib.IPC_RMID, ffi.NULL)
        _refuse_strange(shmid, plan, what)
    return True, segment


def _is_left_behind(segment: Segment, key: int, deadline: float) -> bool | None:
    """Whether the maker of a segment that has no magic number died before it was filled in.

    False: it is the memory of another program, which is not ours to write, or to remove. None: look again, without
    having it attached meanwhile.
    """
    if not segment.is_blank(key):
        return None if segment.magic else False  # it may have been filled in just now
    state = state_of(segment.shmid)
    if state is None or not is_dead(state.creator):
        return None
    # Others who look for its maker have it for an instant; a program that uses it has it for long.
    if state.attached > 1:
        return False if time.monotonic() > deadline else None
    return True


def _is_set_of(key: int, semid: int) -> bool:
    """Whether there is a set of that id, with that key: ids are used again."""
    state = ffi.new("struct semid_ds *")
    if lib.semctl(semid, 0, lib.IPC_STAT, state) < 0:
        return ffi.errno not in (errno.EINVAL, errno.EIDRM)
    return (int(state.sem_perm.__key) ^ key) & 0xFFFFFFFF == 0


def _wait(deadline: float, state: SegmentState | None, what: str) -> None:
    """For the creator of a segment to fill it in."""
    if state is not None and time.monotonic() > deadline:
        raise Timeout(
            errno.ETIMEDOUT,
            f"{what}: process {state.creator} makes it and does not finish; is it stopped? kill -CONT "
            f"{state.creator}, or ipcrm -m {state.shmid}",
        )
    time.sleep(POLL)


def _refuse(code: int, plan: Plan, what: str, count: int) -> None:
    """shmget said that: raise it if there has to be a segment."""
    if code in _FORBIDDEN and not plan.remembers:
        _warn_without(plan, what, os.strerror(code))
        return
    if code in _LIMITED:
        raise LimitReached(code, f"{what}: shmget: {advice.segments_are_limited(size_of(plan.kind, count))}")
    raise failure(code, what, "shmget")


def _refuse_strange(shmid: int, plan: Plan, what: str) -> None:
    """The segment is not ours to use, or not this user's: raise that if there has to be one."""
    if plan.remembers:
        raise NameCollision(
            errno.EEXIST,
            f"{what}: another program has segment {shmid} under its key, or this user may not use it, and it cannot be "
            "without one; choose another name, or ask for the right to write",
        )
    _warn_without(plan, what, f"segment {shmid} is another program's, or this user may not use it")


def _warn_without(plan: Plan, what: str, why: str) -> None:
    """It works, but for what a user may count on."""
    if plan.kind in _OWNED:
        logger.warning(
            "%s: it has no segment beside it (%s), so nobody will know who owns it, or be told that its owner died "
            "inside; make room (semshare rm --stale, ipcs -ml), or choose another name",
            what,
            why,
        )


def all_segments() -> Iterator[SegmentState]:
    """Every SysV segment of this IPC namespace that this user can see."""
    try:
        with open("/proc/sysvipc/shm", encoding="ascii") as table:
            lines = table.read().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        # key, shmid, perms, size, cpid, lpid, nattch, uid, gid, cuid, cgid, atime, dtime, ctime
        words = [int(word) for word in line.split()]
        yield SegmentState(words[1], words[0] & 0xFFFFFFFF, words[3], words[4], words[6], words[9], words[13])


def all_companions() -> Iterator[tuple[SegmentState, Segment]]:
    """Every companion of this IPC namespace that this user may read, with its state before anybody looked at it.

    It is detached again when the next is asked for.
    """
    for state in all_segments():
        # Only what can be one: other programs' memory is not looked at.
        if not state.key or state.size % lib.SEMSHARE_LOCK_SEGMENT_SIZE or state.size > LARGEST:
            continue
        companion = attach(state.shmid, readonly=True)
        if companion is None:
            continue
        try:
            if companion.magic == lib.SEMSHARE_LOCK_MAGIC:
                yield state, companion
        finally:
            companion.close()
