# SPDX-License-Identifier: MIT
"""A lock between processes: semaphore 0 of a SysV set."""

from __future__ import annotations

import errno
import time
import warnings
from typing import Any, Callable, NamedTuple

from semshare import names, segment
from semshare._abi import ffi, lib
from semshare._native import LockCore, is_dead
from semshare.errors import (
    Error,
    HolderDead,
    LockBroken,
    NotFound,
    OwnerDied,
    OwnerDiedWarning,
    Removed,
    Timeout,
    failure,
)
from semshare.lock_statistics import LockStatistics
from semshare.segment import Segment

# Making a lock takes microseconds. Who finds one half made waits so long for its creator, if that is known to live, ...
CREATOR_LIMIT = 10.0
# ... and so long if it is not known who it is: it died, or is between two calls on a machine that is busy.
UNKNOWN_LIMIT = 5.0
POLL = 0.001

KINDS = {1: "process", 2: "kernel thread"}


class Owner(NamedTuple):
    """Who holds a lock, as its words say. A plain program writes none: then they are of somebody before it."""

    kind: int
    """1 a process, 2 a kernel thread."""
    pid: int
    tid: int
    start: int
    """When the process was started, clock ticks since boot."""

    @property
    def alive(self) -> bool:
        """Whether that process still runs. Of a kernel thread, and of another pid namespace, it says nothing."""
        return not is_dead(self.pid) and (self.start < 2 or start_of(self.pid) in (None, self.start))


def start_of(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot; None if that cannot be seen."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return int(stat.read().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


class Lock(LockCore):
    """A lock that processes, kernel code and plain sysv_ipc programs share.

    Use it as a context manager:

        with semshare.Lock("my-lock"):
            ...

    or with acquire() and release(), which are those of threading.Lock. It is not reentrant, belongs to the thread that
    took it, and may be used by the threads of a process and by forked children, each for itself. When its owner is
    killed the kernel gives it back (SEM_UNDO), and the next owner finds in `owner_died` who that was, since what the
    lock guards may be half written.

    Args:
        name: its name; the set's key is a hash of it.
        key: the set's key, instead of a name: to share a lock with a program that was given a key.
        semid: the id of a set that exists, instead of either.
        create: make the lock if there is none. Any number of processes may do that at once.
        mode: permission bits of a new lock, as of a file: who may take a lock needs to read and write.
        on_owner_died: called as on_owner_died(lock, died) by an acquire that finds the owner before dead inside, with
            the lock held. If it raises, the lock is given back for the next to see to, and the exception goes to the
            caller of acquire(). Without it an OwnerDiedWarning is given.

    The lock stays until unlink(), or until the machine is switched off.

    Raises:
        NotFound: there is none, and it is not to be created.
        Denied: this user may not.
        NameCollision: a lock of another name has the same key.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        key: int | None = None,
        semid: int | None = None,
        create: bool = True,
        mode: int = 0o600,
        on_owner_died: Callable[[Lock, OwnerDied], object] | None = None,
    ) -> None:
        if sum(given is not None for given in (name, key, semid)) != 1:
            raise ValueError("a lock is given by its name, its key or its semid: one of them")
        self.on_owner_died = on_owner_died
        self.name = name
        self._segment: Segment | None = None
        self._ring = False
        self._found_dead = 0
        if semid is not None:
            self.key = _key_of_set(semid)
        elif name is not None:
            self.key = names.key_of(name)
        else:
            assert key is not None
            if not 0 < key < 1 << 32:
                raise ValueError(f"key {key}: a key is 1 to 0xffffffff; 0 is IPC_PRIVATE, which names nothing")
            self.key = key
        if semid is None:
            semid, self._segment = _open(self.key, name, create, mode)
        elif self.key and lib.semget(_signed(self.key), 0, 0) == semid:
            self._segment = segment.companion(_signed(self.key), semid, _count_of(semid), None, mode)
        if self._segment is not None and self.name is None:
            self.name = self._segment.name or None
        self._open(semid, self._segment.mapping if self._segment else None, segment.STATE_OFFSET, False)

    @classmethod
    def _of_ring(cls, name: str, key: int, semid: int, memory: Any, offset: int) -> Lock:
        """The lock of a ring: its words are in the ring's control page."""
        self = cls.__new__(cls)
        self.on_owner_died = None
        self.name = name
        self.key = key
        self._segment = None
        self._ring = True
        self._found_dead = 0
        self._open(semid, memory, offset, True)
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} {self._identity}: {self._condition()}>"

    @property
    def _identity(self) -> str:
        called = f"{self.name!r}, " if self.name else ""
        return f"{called}semid {self.semid}, key {self.key:#x}"

    @property
    def _what(self) -> str:
        return f"lock of ring {self._identity}" if self._ring else f"lock {self._identity}"

    def _condition(self) -> str:
        if self.closed:
            return "closed"
        if self.held():
            return "held by this thread"
        try:
            if not self.locked():
                return "unlocked"
        except Error:
            return "removed"
        who = self.owner
        return f"locked by {KINDS.get(who.kind, 'owner')} {who.pid}" if who else "locked"

    # ------------------------------------------------------------------------------------------------------- looking

    @property
    def owner(self) -> Owner | None:
        """Who holds the lock now, as far as its words tell; None if nobody does, or nothing is known.

        A look without the lock: the owner may have changed when you read it.
        """
        words = self._words()
        if words is None or not words[0] & 1:
            return None
        return Owner(*words[1:5])

    @property
    def deaths(self) -> int:
        """Owners found dead inside so far, by anybody; without a companion segment, by this object."""
        words = self._words()
        return words[5] if words is not None else self._found_dead

    def statistics(self) -> LockStatistics:
        """How this object fared with the lock, in this process."""
        return LockStatistics(*self._counts())

    # ----------------------------------------------------------------------------------------------------------- end

    def close(self) -> None:
        """Let go of the lock's memory. The lock itself stays for others; see unlink().

        Threads that wait for it by way of this object get a ValueError.

        Raises:
            RuntimeError: it is held by way of this object.
        """
        self._close()
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def unlink(self) -> None:
        """Remove the lock. Who waits for it, or uses it later, gets Removed. Without effect if that was done before.

        Raises:
            Denied: only its owner, its creator or root may.
        """
        if self._ring:
            raise ValueError(f"{self._what}: it goes with its ring; use the ring's unlink()")
        if lib.semctl(self.semid, 0, lib.IPC_RMID) < 0 and ffi.errno not in (errno.EINVAL, errno.EIDRM):
            raise failure(ffi.errno, self._what, "unlink")
        # Behind the set: killed in between, the next who makes the lock sees that the segment is not of its set.
        if self._segment is not None:
            self._segment.remove()

    # ------------------------------------------------------------------------------------- called by the native part

    def _fail(self, code: int, doing: str) -> None:
        if code in (errno.EINVAL, errno.EIDRM):
            raise Removed(errno.EIDRM, f"{self._what}: {doing}: its set was removed; {self._renew()}")
        if code == errno.EPROTO:
            raise LockBroken(
                code,
                f"{self._what}: {doing}: somebody else was inside at the same time, or wrote its words: was the "
                f"semaphore reset (SETVAL, or sysv_ipc with IPC_CREAT)? Check what it guards; {self._renew()}",
            )
        raise failure(code, self._what, doing)

    def _renew(self) -> str:
        if self._ring:
            return "make a new ring"
        return "open the lock anew to make a new one"

    def _holder_dead(self, pid: int) -> None:
        which = self.name if self.name and not self._ring else f"--semid {self.semid}"
        raise HolderDead(
            f"{self._what}: process {pid} took it without SEM_UNDO and is dead; check what the lock guards, then "
            f"free it: semshare unlock {which}",
            pid,
            self.semid,
        )

    def _owner_died(self, kind: int, pid: int, tid: int, start: int) -> OwnerDied:
        self._found_dead += 1
        who = f"{KINDS.get(kind, 'owner')} {pid}" if pid else "its owner"
        died = OwnerDied(
            f"{self._what}: {who} died inside; what the lock guards may be half written: check it, put it right",
            kind,
            pid,
            tid,
            start,
        )
        if self.on_owner_died is not None:
            self.on_owner_died(self, died)
        elif not self._ring:
            # A ring has put itself right.
            warnings.warn(
                f"{died.strerror}; pass on_owner_died to say how, or look at owner_died", OwnerDiedWarning, stacklevel=2
            )
        return died


# ------------------------------------------------------------------------------------------------- finding and making


def _signed(key: int) -> int:
    return key - (1 << 32) if key >= 1 << 31 else key


def _stat(semid: int) -> Any:
    state = ffi.new("struct semid_ds *")
    return state if lib.semctl(semid, 0, lib.IPC_STAT, state) >= 0 else None


def _key_of_set(semid: int) -> int:
    state = _stat(semid)
    if state is None:
        code = errno.ENOENT if ffi.errno in (errno.EINVAL, errno.EIDRM) else ffi.errno
        raise failure(code, f"lock with semid {semid}", "open")
    return int(state.sem_perm.__key) & 0xFFFFFFFF


def _count_of(semid: int) -> int:
    state = _stat(semid)
    return int(state.sem_nsems) if state is not None else 1


def _open(key: int, name: str | None, create: bool, mode: int) -> tuple[int, Segment | None]:
    """Find the set and its companion, or make them.

    A new set's semaphore is 0. Its creator makes the companion and then publishes the lock by one semop, which sets the
    value to 1 and sem_otime to now. Who finds a set that nobody has ever operated on waits for that; if the creator is
    dead, removes the set, which nobody can have used, and begins again. (To finish it in the creator's place would not
    do: of two who do that one may publish a lock that the other has taken already.)
    """
    what = f"lock {name!r}" if name is not None else f"lock with key {key:#x}"
    signed = _signed(key)
    deadline = time.monotonic() + CREATOR_LIMIT
    while True:
        if time.monotonic() > deadline:
            raise Timeout(errno.ETIMEDOUT, f"{what}: it is made and removed all the time; who does that? Try again")
        # Asking for the right to alter it: who may not gets EACCES now, and not at the first acquire().
        semid = lib.semget(signed, 0, 0o200)
        if semid >= 0:
            if not _wait_published(semid, signed, what, create):
                continue
            companion = segment.companion(signed, semid, _count_of(semid), name, mode)
        elif ffi.errno != errno.ENOENT:
            raise failure(ffi.errno, what, "semget")
        elif not create:
            raise NotFound(errno.ENOENT, f"{what}: there is none; let somebody create it first (create=True)")
        else:
            semid = lib.semget(signed, 1, lib.IPC_CREAT | lib.IPC_EXCL | (mode & 0o666))
            if semid < 0:
                if ffi.errno == errno.EEXIST:
                    continue
                raise failure(ffi.errno, what, "semget")
            companion = segment.companion(signed, semid, 1, name, mode)
            publish = ffi.new("struct sembuf[]", [(0, 1, 0)])
            if lib.semop(semid, publish, 1) < 0:
                code = ffi.errno
                if companion is not None:
                    companion.close()
                if code in (errno.EINVAL, errno.EIDRM):
                    continue  # we were so slow that somebody took us for dead
                raise failure(code, what, "semop")
        # Nobody may have removed it meanwhile: who took us for dead, or semshare rm.
        if lib.semget(signed, 0, 0) == semid:
            return semid, companion
        if companion is not None:
            companion.close()


def _wait_published(semid: int, key: int, what: str, take_over: bool) -> bool:
    """Wait until a set that was found is one that its creator has finished. False: it is gone, look again.

    A set that somebody made with SETVAL, as sysv_ipc does, has no sem_otime but a value, or a last pid.
    """
    began = time.monotonic()
    while True:
        state = _stat(semid)
        if state is None:
            # Not to be read, it cannot be waited for; who may only write it waits for its value.
            return ffi.errno not in (errno.EINVAL, errno.EIDRM)
        if state.sem_otime or lib.semctl(semid, 0, lib.GETVAL) > 0 or lib.semctl(semid, 0, lib.GETPID) > 0:
            return True
        waited = time.monotonic() - began
        creator = segment.creator_of(key)
        dead = is_dead(creator) if creator else waited > UNKNOWN_LIMIT
        if dead and not take_over:
            raise NotFound(errno.ENOENT, f"{what}: its creator died before it was finished; make it with create=True")
        if dead:
            if lib.semctl(semid, 0, lib.IPC_RMID) < 0 and ffi.errno not in (errno.EINVAL, errno.EIDRM):
                raise failure(ffi.errno, what, "its creator died before it was finished, and it cannot be removed")
            return False
        if waited > CREATOR_LIMIT:
            raise Timeout(
                errno.ETIMEDOUT,
                f"{what}: process {creator} makes it and does not finish; is it stopped? kill -CONT {creator}, or "
                f"ipcrm -s {semid}",
            )
        time.sleep(POLL)
