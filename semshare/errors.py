# SPDX-License-Identifier: MIT
"""The errors of this package: one base, an errno in each, a message that says what happened to what and what to do."""

from __future__ import annotations

import errno
import os
import queue
import threading


class Error(OSError):
    """Base of all errors here. An OSError, so `errno` says what the kernel said.

    A class that has a counterpart among Python's own errors is that as well: `except FileNotFoundError` catches
    NotFound.
    """

    def __str__(self) -> str:
        name = errno.errorcode.get(self.errno or 0, "no errno")
        return f"{self.strerror} [{name}]"


class Timeout(Error, TimeoutError):
    """The time was over before it could be done."""


class WouldBlock(Error, BlockingIOError):
    """It could not be done at once, and was not to be waited for."""


class Full(Error, queue.Full):
    """A ring has no space for the record."""


class FullTimeout(Full, Timeout):
    """A ring had no space for the record until the time was over."""


class Empty(Error, queue.Empty):
    """A ring has no record."""


class EmptyTimeout(Empty, Timeout):
    """A ring had no record until the time was over."""


class NotFound(Error, FileNotFoundError):
    """There is nothing of that name, key or id."""


class NameExists(Error, FileExistsError):
    """There is something of that name already."""


class NameCollision(Error):
    """Something of another name has the same key: keys are hashes of 31 bits."""


class BadName(Error, ValueError):
    """That cannot be a name (EINVAL), or is too long for one (ENAMETOOLONG)."""


class BadKey(Error, ValueError):
    """That cannot be the key of a set: it is 0, which names nothing (EINVAL), or has more than 32 bits (ERANGE)."""


class BadValue(Error, ValueError):
    """A number that a semaphore, or a set, cannot have (ERANGE)."""


class WrongKind(Error):
    """What has that name, key or id is something else than it was opened as: a pool is no lock (EMEDIUMTYPE)."""


class WrongSize(Error):
    """It has another number of locks, permits or parties than it was opened with (EINVAL)."""


class LimitReached(Error):
    """The system has as many sets, semaphores, segments or as much memory of that sort as it may (ENOSPC)."""


class Denied(Error, PermissionError):
    """This process may not do that."""


class Removed(Error):
    """The semaphore set was removed (EIDRM)."""


class OwnerDied(Error):
    """The owner of a lock died inside (EOWNERDEAD). What the lock guards may be half written.

    Whoever owns the lock next finds one of these in its `owner_died`. It is raised only by a lock that was opened with
    on_owner_died="raise".

    Attributes:
        kind: 1 a process, 2 a kernel thread, 0 not known.
        pid: its process.
        tid: its thread.
        start: when its process was started, clock ticks since boot.
    """

    def __init__(self, message: str, kind: int = 0, pid: int = 0, tid: int = 0, start: int = 0) -> None:
        super().__init__(errno.EOWNERDEAD, message)
        self.kind = kind
        self.pid = pid
        self.tid = tid
        self.start = start

    def __reduce__(self) -> tuple[type[OwnerDied], tuple[str, int, int, int, int]]:
        return type(self), (self.strerror or "", self.kind, self.pid, self.tid, self.start)


class HolderDead(Error):
    """A semaphore is held for good: its holder is dead and used no SEM_UNDO (EOWNERDEAD).

    Attributes:
        pid: the process that held it.
        semid: the set.
    """

    def __init__(self, message: str, pid: int = 0, semid: int = -1) -> None:
        super().__init__(errno.EOWNERDEAD, message)
        self.pid = pid
        self.semid = semid

    def __reduce__(self) -> tuple[type[HolderDead], tuple[str, int, int]]:
        return type(self), (self.strerror or "", self.pid, self.semid)


class LockBroken(Error):
    """Two owners were inside at once, because somebody reset the semaphore (EPROTO)."""


class BrokenBarrier(Error, threading.BrokenBarrierError):
    """A barrier was aborted, or reset, or somebody's time was over while others waited (EPIPE)."""


class RingBroken(Error):
    """A ring's words make no sense any more (EPROTO). It stays so: make a new one."""


class Abandoned(Error):
    """A record was not finished in time: its ring's consumer went on without it, and it was not put (ESTALE)."""


class OutOfLimits(Error, ValueError):
    """A value is outside of the limits of its parameter (ERANGE). It was not changed."""


class UnknownParameter(NotFound, KeyError):
    """There is no parameter, or no state value, of that name."""


class RoleTaken(Error):
    """Only one party can put into this ring, or get from it, and there is one already (EALREADY)."""


class AddressTaken(Error):
    """Something is mapped already where an area was to be mapped (EEXIST)."""


class PeerDied(Error, ConnectionResetError):
    """Who had taken a command is gone, and did not answer it (ECONNRESET). Whether it was carried out is not known."""


class UnknownOpcode(Error):
    """Who answers a channel does not know a command's opcode (EOPNOTSUPP). Nothing was done."""


class Malformed(Error):
    """Who answers a channel could make no sense of a command (EBADMSG). Nothing was done."""


class Cancelled(Error):
    """A command was cancelled before its reply came (ECANCELED)."""


class CommandFailed(Error):
    """Who answers a channel says that a command failed: errno and message are its own."""


class ChannelBroken(Error):
    """A channel's words make no sense any more (EPROTO). It stays so: make a new one."""


class AbiMismatch(Error):
    """The other side speaks another version of the ABI (EPROTO)."""


_CLASSES: dict[int, type[Error]] = {
    errno.ENOENT: NotFound,
    errno.EEXIST: NameExists,
    errno.EACCES: Denied,
    errno.EPERM: Denied,
    errno.EIDRM: Removed,
    errno.EAGAIN: WouldBlock,
    errno.ENOSPC: LimitReached,
    errno.ETIMEDOUT: Timeout,
}

_ADVICE: dict[int, str] = {
    errno.ENOENT: "make it first, or look at the name: semshare ls shows what there is",
    errno.EEXIST: "open it, choose another name, or remove it: semshare rm NAME",
    errno.EACCES: "its mode does not allow that to this user: ask its owner, or make it with a wider mode",
    errno.EPERM: "only its owner, its creator or root may: ask them",
    errno.EIDRM: "somebody removed it: make a new one",
    errno.EAGAIN: "it could not be done at once; try again, or wait for it",
    errno.EINVAL: "see man 2 semop, semctl and semget for what they refuse",
    errno.E2BIG: "too many operations in one call: sysctl kernel.sem, its third number (SEMOPM)",
    errno.EFBIG: "there is no semaphore of that number in the set: semshare ls shows how many there are",
    errno.ERANGE: "a semaphore counts from 0 to 32767, and SEM_UNDO remembers as much",
    errno.ENOSPC: "a limit is reached: semshare rm --stale removes what nobody uses; sysctl kernel.sem, df /dev/shm",
    errno.ENOMEM: "memory is short: free some, or ask for less",
    errno.ENOSYS: "this kernel has no SysV IPC (CONFIG_SYSVIPC), or a sandbox forbids it: semshare doctor",
    errno.EFAULT: "a pointer that leads nowhere: this is a bug, please report it",
}


def failure(code: int, what: str, doing: str) -> Error:
    """The error for an errno: `what` is the object by kind and name, `doing` what was tried."""
    advice = _ADVICE.get(code, "semshare doctor looks at what this machine lacks")
    return _CLASSES.get(code, Error)(code, f"{what}: {doing}: {os.strerror(code)}; {advice}")
