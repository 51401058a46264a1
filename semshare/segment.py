# SPDX-License-Identifier: MIT
"""The companion of a bare lock: a SysV shared memory segment under its key, for what a semaphore cannot remember."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from typing import NamedTuple

from semshare import names
from semshare._abi import ffi, lib
from semshare._native import Mapping, is_dead
from semshare.errors import AbiMismatch, NameCollision, Timeout, failure

STATE_OFFSET: int = ffi.offsetof("struct semshare_lock_segment", "state")

# For a creator to fill it in. It takes microseconds; a machine may be busy, or the creator stopped.
FILL_LIMIT = 5.0
POLL = 0.001

# What makes a segment impossible, and a lock without one the best there is.
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.ENOSPC, errno.ENOMEM, errno.ENOSYS)


class Segment:
    """An attached companion."""

    def __init__(self, shmid: int, mapping: Mapping) -> None:
        self.shmid = shmid
        self.mapping = mapping
        self._closed = False
        self._words = ffi.cast("struct semshare_lock_segment *", ffi.from_buffer(mapping))

    @property
    def name(self) -> str:
        """The lock's name as it is stored; empty if it was made by key."""
        return names.text_of(bytes(ffi.buffer(self._words.name)))

    @property
    def semid(self) -> int:
        """The set for which it was made."""
        return int(self._words.semid)

    @property
    def magic(self) -> int:
        """SEMSHARE_LOCK_MAGIC when it is filled in."""
        return int(lib.semshare_published(ffi.addressof(self._words, "magic")))

    @property
    def abi_version(self) -> int:
        """Of who filled it in."""
        return int(self._words.abi_version)

    def fill(self, key: int, semid: int, count: int, name: str | None) -> None:
        """Fill it in, the magic number last. Two who do that at the same time write the same."""
        words = self._words
        words.abi_version = lib.SEMSHARE_ABI_VERSION
        words.features = 0
        words.key = key & 0xFFFFFFFF
        words.semid = semid
        words.nsems = count
        if name is not None:
            ffi.buffer(words.name)[:] = names.padded(name)
        lib.semshare_publish(ffi.addressof(words, "magic"), lib.SEMSHARE_LOCK_MAGIC)

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


def state_of(shmid: int) -> SegmentState | None:
    state = ffi.new("struct shmid_ds *")
    if lib.shmctl(shmid, lib.IPC_STAT, state) < 0:
        return None
    return SegmentState(
        shmid, state.shm_perm.__key, state.shm_segsz, state.shm_cpid, state.shm_nattch, state.shm_perm.cuid
    )


def find(shmid: int | None, key: int | None) -> SegmentState | None:
    """The segment of that id, or else of that key; None if there is none that this user may read."""
    if shmid is None and key is not None:
        shmid = lib.shmget(key, 0, 0)
    return state_of(shmid) if shmid is not None and shmid >= 0 else None


def creator_of(key: int) -> int | None:
    """The process that made the segment under `key`; None if there is none that this user can see."""
    shmid = lib.shmget(key, 0, 0)
    state = state_of(shmid) if shmid >= 0 else None
    return state.creator if state is not None else None


def attach(shmid: int) -> Segment | None:
    """Attach a segment; None if it went away, or this user may not."""
    try:
        mapping = Mapping.of_segment(shmid)
    except OSError:
        return None
    if len(mapping) < lib.SEMSHARE_LOCK_SEGMENT_SIZE:
        mapping.close()
        return None
    return Segment(shmid, mapping)


def companion(key: int, semid: int, count: int, name: str | None, mode: int) -> Segment | None:
    """The companion of the set `semid`, made if there is none.

    Returns:
        None where there cannot be one: this user may not, a limit is reached, or another program has a segment under
        that key. The lock works without; nobody then knows who owns it.

    Raises:
        NameCollision: it is that of a lock of another name.
        AbiMismatch: it was made by another version.
        Timeout: its creator lives and does not fill it in.
    """
    size = lib.SEMSHARE_LOCK_SEGMENT_SIZE
    what = f"lock {name!r}" if name is not None else f"lock with key {key:#x}"
    deadline = time.monotonic() + FILL_LIMIT
    while True:
        made = False
        shmid = lib.shmget(key, 0, 0)
        if shmid < 0 and ffi.errno == errno.ENOENT:
            shmid = lib.shmget(key, size, lib.IPC_CREAT | lib.IPC_EXCL | (mode & 0o666))
            made = shmid >= 0
            if shmid < 0 and ffi.errno == errno.EEXIST:
                continue
        if shmid < 0:
            if ffi.errno in _FORBIDDEN:
                return None
            raise failure(ffi.errno, what, "shmget")
        segment = attach(shmid)
        if segment is None:
            if state_of(shmid) is None and lib.shmget(key, 0, 0) != shmid:
                continue  # it was removed in between
            return None
        if made:
            segment.fill(key, semid, count, name)
            return segment
        while segment.magic == 0:
            state = state_of(shmid)
            if state is None or is_dead(state.creator):
                segment.fill(key, semid, count, name)
                return segment
            if time.monotonic() > deadline:
                segment.close()
                raise Timeout(
                    errno.ETIMEDOUT,
                    f"{what}: process {state.creator} makes it and does not finish; is it stopped? kill -CONT "
                    f"{state.creator}, or ipcrm -m {shmid}",
                )
            time.sleep(POLL)
        if segment.magic != lib.SEMSHARE_LOCK_MAGIC:
            segment.close()
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
            if lib.shmget(key, 0, 0) == shmid:
                return None  # we may not remove it
            if lib.semget(key, 0, 0) != semid:
                return None  # the caller finds that out
            continue
        if name is not None and segment.name not in ("", name):
            other = segment.name
            segment.close()
            raise NameCollision(
                errno.EEXIST,
                f"{what}: key {key:#x} is that of lock {other!r} as well (keys are hashes); choose another name",
            )
        return segment


def all_segments() -> Iterator[SegmentState]:
    """Every SysV segment of this IPC namespace that this user can see."""
    try:
        with open("/proc/sysvipc/shm", encoding="ascii") as table:
            lines = table.read().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        # key, shmid, perms, size, cpid, lpid, nattch, uid, gid, cuid
        words = [int(word) for word in line.split()]
        yield SegmentState(words[1], words[0] & 0xFFFFFFFF, words[3], words[4], words[6], words[9])
